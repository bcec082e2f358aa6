//! Where a registry's small files lie: the few things that aliases and their history ask of it.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::content::{is_absence, read_small};
use crate::error::RegistryError;
use crate::version::write_whole;

/// Files by key: names with `/` between them, from the registry's root.
pub trait Store: fmt::Debug + Send + Sync {
    /// The names of what lies directly in `folder`, in no order; none where there is no such folder.
    ///
    /// # Errors
    /// If it cannot be listed.
    fn list(&self, folder: &str) -> Result<Vec<String>, RegistryError>;

    /// What the file holds; none where there is no such file.
    ///
    /// # Errors
    /// If it cannot be read, or is longer than `limit` bytes.
    fn get(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, RegistryError>;

    /// Writes a file where there is none; whether this call did. Of several at once one does. Readers see it whole or not at all,
    /// also after a loss of power.
    ///
    /// # Errors
    /// If writing fails.
    fn put_if_absent(&self, key: &str, bytes: &[u8]) -> Result<bool, RegistryError>;

    /// Writes a file or replaces it. Readers see the old one or the new one, also after a loss of power.
    ///
    /// # Errors
    /// If writing fails.
    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), RegistryError>;

    /// How people find a file.
    fn place(&self, key: &str) -> PathBuf;
}

/// A folder of this machine.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The files below `root`.
    #[must_use]
    pub fn at(root: impl AsRef<Path>) -> Self {
        Self { root: root.as_ref().to_owned() }
    }

    /// Makes the folders above a file, durably.
    fn make_room(&self, path: &Path) -> Result<(), RegistryError> {
        let folder = path.parent().unwrap_or(&self.root);
        let absent: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
        if absent.is_empty() {
            return Ok(());
        }
        fs::create_dir_all(folder).map_err(RegistryError::io("create", folder))?;
        absent.iter().filter_map(|made| made.parent()).try_for_each(sync)
    }
}

impl Store for Folder {
    fn list(&self, folder: &str) -> Result<Vec<String>, RegistryError> {
        let path = self.place(folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if is_absence(&error) => return Ok(Vec::new()),
            Err(error) => return Err(RegistryError::io("list", path)(error)),
        };
        let name = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().into_string().ok());
        let names: Result<Vec<_>, _> = entries.filter_map(|entry| name(entry).transpose()).collect();
        names.map_err(RegistryError::io("list", path))
    }

    fn get(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, RegistryError> {
        read_small(&self.place(key), limit)
    }

    fn put_if_absent(&self, key: &str, bytes: &[u8]) -> Result<bool, RegistryError> {
        /// Tells the drafts of this process's threads apart.
        static DRAFTS: AtomicU64 = AtomicU64::new(0);
        let path = self.place(key);
        self.make_room(&path)?;
        let draft = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let draft = path.with_file_name(format!(".{name}.{}.{draft}", process::id()));
        let write = || {
            let mut file = File::create(&draft)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            // A link is made where nothing is, or not at all.
            match fs::hard_link(&draft, &path) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error),
            }
        };
        let written = write();
        // Who failed has said so; a draft that can't be removed harms nobody.
        drop(fs::remove_file(&draft));
        let written = written.map_err(RegistryError::io("write", &path))?;
        path.parent().map_or(Ok(()), sync)?;
        Ok(written)
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        let path = self.place(key);
        self.make_room(&path)?;
        write_whole(&path, bytes)
    }

    fn place(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }
}

/// Makes what a folder lists durable.
pub(crate) fn sync(folder: &Path) -> Result<(), RegistryError> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(RegistryError::io("write", folder))
}
