//! Model versions in a folder of this machine.

use std::fs::{self, File, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Entry, EntryKind, Parcel, Store};
use crate::content::{is_absence, read_small};
use crate::digest::FileEntry;
use crate::draft::{self, Draft};
use crate::error::RegistryError;
use crate::select::Select;
use crate::version::write_whole;

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
    fn list(&self, folder: &str) -> Result<Vec<Entry>, RegistryError> {
        let path = self.place(folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            // The root is there, or has been taken away since.
            Err(error) if is_absence(&error) && !folder.is_empty() => return Ok(Vec::new()),
            Err(error) => return Err(RegistryError::io("list", path)(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(RegistryError::io("list", &path))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            match entry.path().metadata() {
                Ok(metadata) => found.push(Entry::of(name, &metadata)),
                // It was taken away since, or is a link to nowhere.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(RegistryError::io("read", entry.path())(error)),
            }
        }
        Ok(found)
    }

    fn versions(&self, model: &str) -> Result<Vec<u32>, RegistryError> {
        let number = |entry: Entry| match (entry.kind, entry.name.parse()) {
            (EntryKind::Folder, Ok(Select::Version(version))) => Some(version),
            _ => None,
        };
        let mut versions: Vec<u32> = self.list(model)?.into_iter().filter_map(number).collect();
        versions.sort_unstable();
        Ok(versions)
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

    fn publish(&self, parcel: &Parcel<'_>) -> Result<(), RegistryError> {
        let model = self.place(parcel.model);
        let folder = model.join(parcel.version.to_string());
        if folder.exists() {
            return Err(RegistryError::VersionExists { path: folder });
        }
        draft::sweep(&model);
        let draft = Draft::create(&model, parcel.version)?;
        draft.fill(parcel)?;
        draft.publish(&folder)
    }

    fn remove(
        &self,
        model: &str,
        version: u32,
        keep: &dyn Fn() -> Result<(), RegistryError>,
    ) -> Result<(), RegistryError> {
        let model = self.place(model);
        let folder = model.join(version.to_string());
        let gone = draft::hidden(&model, version);
        fs::rename(&folder, &gone).map_err(RegistryError::io("remove", &folder))?;
        // Who promoted it meanwhile gets it back; who does so from now on does not find it.
        if let Err(error) = keep() {
            fs::rename(&gone, &folder).map_err(RegistryError::io("put back", &folder))?;
            return Err(error);
        }
        fs::remove_dir_all(&gone).map_err(RegistryError::io("remove", &gone))
    }

    fn local(&self, key: &str) -> Option<PathBuf> {
        Some(self.place(key))
    }

    fn fetch(
        &self,
        key: &str,
        entry: &FileEntry,
        path: &Path,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        let from = self.place(key);
        fs::copy(&from, path).map_err(RegistryError::io("copy", from))?;
        progress(entry.size);
        Ok(())
    }

    fn place(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }
}

impl Entry {
    fn of(name: String, found: &Metadata) -> Self {
        let kind = match () {
            () if found.is_dir() => EntryKind::Folder,
            () if found.is_file() => EntryKind::File(found.len()),
            () => EntryKind::Other,
        };
        Self { name, kind, mark: format!("{}.{}", found.mtime(), found.mtime_nsec()) }
    }
}

/// Makes what a folder lists durable.
pub(crate) fn sync(folder: &Path) -> Result<(), RegistryError> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(RegistryError::io("write", folder))
}
