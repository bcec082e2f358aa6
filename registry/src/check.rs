//! A file's size and SHA-256 as it is, and the comparison with what the manifest promises.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{FileEntry, RegistryError};

impl FileEntry {
    /// The entry that describes the file at `path` as it is now.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn of(path: &Path) -> Result<Self, RegistryError> {
        let mut file = File::open(path).map_err(RegistryError::io("open", path))?;
        let (size, sha256) = hash(&mut file).map_err(RegistryError::io("read", path))?;
        Ok(Self { size, sha256 })
    }

    /// Checks that the file at `path` is the one described.
    ///
    /// # Errors
    /// Missing, truncated or tampered, each its own variant.
    pub(crate) fn verify(&self, path: &Path) -> Result<(), RegistryError> {
        let size = match path.metadata() {
            Ok(found) if found.is_file() => found.len(),
            Ok(_) => return Err(RegistryError::MissingFile { path: path.into() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RegistryError::MissingFile { path: path.into() });
            }
            Err(error) => return Err(RegistryError::io("read", path)(error)),
        };
        if size < self.size {
            return Err(RegistryError::TruncatedFile { path: path.into(), expected: self.size, found: size });
        }
        let differs = |found: String, expected: String| RegistryError::TamperedFile {
            path: path.into(),
            expected,
            found,
        };
        if size > self.size {
            return Err(differs(format!("{size} bytes"), format!("{} bytes", self.size)));
        }
        let found = Self::of(path)?;
        if found.sha256 != self.sha256 {
            return Err(differs(found.digest(), self.digest()));
        }
        Ok(())
    }
}

/// Length and SHA-256 of all that `reader` gives, in constant memory.
fn hash(reader: &mut impl Read) -> io::Result<(u64, String)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut size = 0;
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        size += read as u64;
        hasher.update(&buffer[..read]);
    }
    Ok((size, format!("{:x}", hasher.finalize())))
}
