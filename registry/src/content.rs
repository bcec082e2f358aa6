//! A file's bytes, read once: what is hashed is what is computed with, whatever becomes of the file meanwhile.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{FileEntry, RegistryError};

/// A file's bytes, and where they came from.
#[derive(Clone, Debug)]
pub struct Content {
    /// The file; for messages, not for reading it again.
    pub path: PathBuf,
    /// What it held.
    pub bytes: Vec<u8>,
}

impl Content {
    /// The file at `path`, of any content. For files that no manifest describes yet.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn unchecked(path: &Path) -> Result<Self, RegistryError> {
        let bytes = std::fs::read(path).map_err(RegistryError::io("read", path))?;
        Ok(Self { path: path.to_owned(), bytes })
    }

    /// The file at `path`, which is the one described. Never takes more memory than `entry` says.
    ///
    /// # Errors
    /// Missing, truncated or tampered, each its own variant.
    pub(crate) fn checked(path: &Path, entry: &FileEntry) -> Result<Self, RegistryError> {
        let missing = || RegistryError::MissingFile { path: path.into() };
        let mut file = open(path)?.ok_or_else(missing)?;
        let metadata = file.metadata().map_err(RegistryError::io("read", path))?;
        entry.check_size(path, metadata.len())?;
        // The length is the file's own by now, so a manifest cannot ask for memory that no file fills.
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        file.by_ref()
            .take(entry.size + 1)
            .read_to_end(&mut bytes)
            .map_err(RegistryError::io("read", path))?;
        let found = FileEntry::of_bytes(&bytes);
        if found.size < entry.size {
            return Err(truncated(path, entry, found.size));
        }
        if found != *entry {
            return Err(tampered(path, found.digest(), entry.digest()));
        }
        Ok(Self { path: path.to_owned(), bytes })
    }
}

/// The file at `path`; none where there is no such file. What is no file is an error, and not opened: a pipe would be waited for
/// without end.
pub(crate) fn open(path: &Path) -> Result<Option<File>, RegistryError> {
    let found = |found: Metadata| if found.is_file() { File::open(path).map(Some) } else { Ok(None) };
    match path.metadata().and_then(found) {
        Ok(Some(file)) => Ok(Some(file)),
        Ok(None) => Err(RegistryError::NoFile { path: path.into() }),
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(RegistryError::io("read", path)(error)),
    }
}

/// What the small file at `path` holds; none where there is no such file.
pub(crate) fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, RegistryError> {
    let Some(file) = open(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(RegistryError::io("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(RegistryError::LargeFile { path: path.into(), limit });
    }
    Ok(Some(bytes))
}

/// Whether an error says that something is not there.
pub(crate) fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

impl FileEntry {
    /// The entry that describes the file at `path` as it is now.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn of(path: &Path) -> Result<Self, RegistryError> {
        let mut file = File::open(path).map_err(RegistryError::io("open", path))?;
        hash(&mut file).map_err(RegistryError::io("read", path))
    }

    /// The entry that describes these bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self { size: bytes.len() as u64, sha256: sha256(bytes) }
    }

    /// Checks that the file at `path` can be the one described, by its size.
    pub(crate) fn check_size(&self, path: &Path, size: u64) -> Result<(), RegistryError> {
        if size < self.size {
            return Err(truncated(path, self, size));
        }
        if size > self.size {
            return Err(tampered(path, format!("{size} bytes"), format!("{} bytes", self.size)));
        }
        Ok(())
    }
}

fn truncated(path: &Path, entry: &FileEntry, found: u64) -> RegistryError {
    RegistryError::TruncatedFile { path: path.into(), expected: entry.size, found }
}

fn tampered(path: &Path, found: String, expected: String) -> RegistryError {
    RegistryError::TamperedFile { path: path.into(), expected, found }
}

/// SHA-256 in lower-case hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Length and SHA-256 of what comes piece by piece.
#[derive(Default)]
pub(crate) struct Hash {
    hasher: Sha256,
    size: u64,
}

impl Hash {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
    }

    pub(crate) fn entry(self) -> FileEntry {
        FileEntry { size: self.size, sha256: format!("{:x}", self.hasher.finalize()) }
    }
}

/// Length and SHA-256 of all that `reader` gives, in constant memory.
fn hash(reader: &mut impl Read) -> io::Result<FileEntry> {
    let mut hash = Hash::default();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hash.entry()),
            Ok(read) => hash.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
