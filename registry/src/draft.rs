//! A version on its way into the registry: written beside its place under a name that no reader takes for a version, made durable,
//! and renamed. One that is not published is removed when it is dropped, and what a killed process left by the next one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, SystemTime};

use crate::error::RegistryError;
use crate::manifest::MANIFEST_FILE;
use crate::store::{Parcel, sync};

/// A draft's folder is locked as soon as it is made. For that moment a young one is let be.
const YOUNG: Duration = Duration::from_secs(60);

/// A folder that is filled, and then published or removed.
pub(crate) struct Draft {
    folder: PathBuf,
    /// The folders that were made for it, the innermost first.
    made: Vec<PathBuf>,
    /// Held while this process lives: it tells the others that the draft is somebody's.
    _lock: Option<File>,
    published: bool,
}

impl Draft {
    /// An empty one in the model's folder, which is made where it is not there.
    pub(crate) fn create(model: &Path, version: u32) -> Result<Self, RegistryError> {
        let made = model.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
        let made = made.map(Path::to_owned).collect();
        let folder = hidden(model, version);
        let mut draft = Self { folder, made, _lock: None, published: false };
        fs::create_dir_all(model).map_err(RegistryError::io("create", model))?;
        fs::create_dir(&draft.folder).map_err(RegistryError::io("create", &draft.folder))?;
        draft._lock = File::open(&draft.folder).ok().filter(|folder| folder.try_lock().is_ok());
        Ok(draft)
    }

    /// Writes the files, and the manifest.
    pub(crate) fn fill(&self, parcel: &Parcel<'_>) -> Result<(), RegistryError> {
        for (name, bytes) in parcel.files {
            self.write(&self.folder.join(name), bytes)?;
            parcel.progress.tell(name, bytes.len() as u64, bytes.len() as u64);
        }
        self.write(&self.folder.join(MANIFEST_FILE), parcel.manifest)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), RegistryError> {
        let write = || {
            let mut file = File::create_new(path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(RegistryError::io("write", path))
    }

    /// Gives it the version's name, which nobody may have taken.
    pub(crate) fn publish(mut self, version: &Path) -> Result<(), RegistryError> {
        sync(&self.folder)?;
        // A folder that is not empty is never replaced.
        match fs::rename(&self.folder, version) {
            Ok(()) => self.published = true,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty
                        | io::ErrorKind::AlreadyExists
                        | io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(RegistryError::VersionExists { path: version.into() });
            }
            Err(error) => return Err(RegistryError::io("create", version)(error)),
        }
        let outer = self.made.iter().filter_map(|folder| folder.parent()).filter(|path| path.is_dir());
        version.parent().into_iter().chain(outer).try_for_each(sync)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        // Nothing can be done about what can't be removed, and what led here is the error worth telling.
        drop(fs::remove_dir_all(&self.folder));
        // One that somebody else uses by now is not empty, and stays.
        self.made.iter().for_each(|folder| drop(fs::remove_dir(folder)));
    }
}

/// A path for what becomes a version, or was one: no reader takes it for one, and if its process is killed the next one to publish
/// removes it.
pub(crate) fn hidden(model: &Path, version: u32) -> PathBuf {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // Process ids may be the same on two machines, or in two containers.
    model.join(format!(".{version}.{}.{}", process::id(), now.as_nanos()))
}

/// Removes the drafts whose process is gone.
pub(crate) fn sweep(model: &Path) {
    let Ok(entries) = fs::read_dir(model) else { return };
    for folder in entries.flatten().map(|entry| entry.path()) {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let parts: Vec<_> = name.split('.').collect();
        let number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let is_draft =
            matches!(parts.as_slice(), ["", rest @ ..] if rest.len() == 3 && rest.iter().all(number));
        let age = fs::symlink_metadata(&folder).ok().filter(|found| found.is_dir());
        let age = age.and_then(|found| found.modified().ok()?.elapsed().ok());
        if is_draft
            && age.is_some_and(|age| age > YOUNG)
            && File::open(&folder).is_ok_and(|folder| folder.try_lock().is_ok())
        {
            drop(fs::remove_dir_all(&folder));
        }
    }
}
