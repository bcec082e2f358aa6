//! Copies of an object store's files on this machine: by their SHA-256, so that one file of several versions, or of several stores,
//! lies here once. A copy is whole or not there, is held to its digest each time that it is read, and those least recently read go
//! when all together take more than they may. Any number of processes share one.
//!
//! ```text
//! cache/
//!   sha256/<64 digits>         a file; .part while it is being copied, locked by whoever copies it
//!   uploads/<64 digits>.json   how far an upload is that may be gone on with
//!   seen/<64 digits>/          what was last seen of a store, for when it can't be reached
//! ```

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::content::Content;
use crate::digest::FileEntry;
use crate::error::RegistryError;
use crate::store::{Store, sync};

/// So much may all copies take together, unless somebody says otherwise: 10 GiB.
const BYTES: u64 = 10 << 30;

/// A folder of copies.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    bytes: u64,
}

impl Default for Cache {
    /// `$MLAAS_CACHE`, else `mlaas` in the user's folder of caches (`$XDG_CACHE_HOME`, `~/.cache`), of 10 GiB.
    fn default() -> Self {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let of_user = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
        let folder = set("MLAAS_CACHE").or_else(|| Some(of_user()?.join("mlaas")));
        Self { folder: folder.unwrap_or_else(|| env::temp_dir().join("mlaas")), bytes: BYTES }
    }
}

impl Cache {
    /// In `folder`, which is made where it is not there; of 10 GiB.
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        Self { folder, bytes: BYTES }
    }

    /// At most so many bytes.
    #[must_use]
    pub fn of_bytes(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }

    #[cfg(feature = "cloud")]
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the store's file holds, which is what `entry` says: the copy here, or a new one.
    pub(crate) fn read(
        &self,
        store: &dyn Store,
        key: &str,
        entry: &FileEntry,
        progress: &dyn Fn(u64),
    ) -> Result<Content, RegistryError> {
        let copy = self.folder.join("sha256").join(&entry.sha256);
        let content = match Content::checked(&copy, entry) {
            // When it was last used, for whoever needs room.
            Ok(content) => {
                let touch = |file: File| file.set_modified(SystemTime::now());
                drop(File::options().append(true).open(&copy).and_then(touch));
                content
            }
            Err(_) => {
                self.copy(store, key, entry, &copy, progress)?;
                Content::checked(&copy, entry)?
            }
        };
        Ok(Content { path: store.place(key), ..content })
    }

    fn copy(
        &self,
        store: &dyn Store,
        key: &str,
        entry: &FileEntry,
        copy: &Path,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        if entry.size > self.bytes {
            return Err(RegistryError::SmallCache {
                path: store.place(key),
                needed: entry.size,
                folder: self.folder.clone(),
                limit: self.bytes,
            });
        }
        let folder = self.folder.join("sha256");
        fs::create_dir_all(&folder).map_err(RegistryError::io("create", &folder))?;
        let part = copy.with_extension("part");
        let io = |action| RegistryError::io(action, &part);
        let open = File::options().create(true).append(true).open(&part).map_err(io("create"))?;
        // Of several processes one copies.
        open.lock().map_err(io("lock"))?;
        if Content::checked(copy, entry).is_ok() {
            return Ok(());
        }
        self.make_room(&folder, entry.size)?;
        store.fetch(key, entry, &part, progress)?;
        let found = FileEntry::of(&part)?;
        if found != *entry {
            // It is of no use to whoever would go on with it.
            drop(fs::remove_file(&part));
            return Err(RegistryError::TamperedFile {
                path: store.place(key),
                expected: entry.digest(),
                found: found.digest(),
            });
        }
        open.sync_all().map_err(io("write"))?;
        fs::rename(&part, copy).map_err(io("rename"))?;
        sync(&folder)
    }

    /// Removes copies until `needed` bytes more are allowed, the least recently read first. What is read at this moment lives on
    /// until it has been.
    fn make_room(&self, folder: &Path, needed: u64) -> Result<(), RegistryError> {
        let entries = fs::read_dir(folder).map_err(RegistryError::io("list", folder))?;
        let mut copies: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let found = entry.metadata().ok()?;
                let whole = entry.path().extension().is_none();
                Some((found.modified().ok()?, found.len(), entry.path())).filter(|_| whole)
            })
            .collect();
        copies.sort();
        let mut held: u64 = copies.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in copies {
            if held + needed <= self.bytes {
                break;
            }
            // Somebody else may have been faster.
            drop(fs::remove_file(path));
            held -= size;
        }
        Ok(())
    }
}
