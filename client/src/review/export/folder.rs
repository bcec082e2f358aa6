//! The folder itself, and the list of what was written to it. A file is written beside its place and renamed, and the list names it before it
//! is there, so that whatever ends an export leaves nothing that the next one does not know.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ExportError;

/// The list's name. `model train` passes over what begins with a dot.
pub const MANIFEST: &str = ".mlaas-review.json";
/// What it is written as, and what is locked.
const LOCK: &str = ".mlaas-review.lock";
const VERSION: u32 = 1;
/// What files may end in.
const ENDINGS: [&str; 6] = ["png", "jpg", "webp", "gif", "bmp", "bin"];

/// What became of a file that was written before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    AsItWas,
    Moved,
    Removed,
    /// Somebody has removed it: it is written again where it is wanted.
    Gone,
    /// Somebody has changed it: it is theirs now.
    Changed(String),
}

/// Where a file was written. Its name is empty while it is to be written: only its bytes tell what it ends in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    pub(super) folder: String,
    pub(super) file: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    /// By model and digest.
    files: BTreeMap<String, BTreeMap<String, Written>>,
}

/// A folder that nobody else exports to.
pub(super) struct Folder {
    path: PathBuf,
    manifest: Manifest,
    _lock: File,
}

fn at(path: &Path) -> impl Fn(io::Error) -> ExportError + '_ {
    move |source| ExportError::Io { path: path.to_owned(), source }
}

impl Folder {
    /// Makes it where it is not there, and reads what was written to it.
    pub(super) fn open(path: &Path) -> Result<Self, ExportError> {
        fs::create_dir_all(path).map_err(at(path))?;
        let lock_path = path.join(LOCK);
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ExportError::Busy(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(ExportError::Io { path: lock_path, source }),
        }
        let list = path.join(MANIFEST);
        let manifest = match fs::read(&list) {
            Ok(text) => read(&text).map_err(|reason| ExportError::Manifest { path: list, reason })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Manifest::default(),
            Err(source) => return Err(ExportError::Io { path: list, source }),
        };
        let mut folder = Self { path: path.to_owned(), manifest, _lock: lock };
        folder.find_planned();
        Ok(folder)
    }

    /// Says which files are to be written, before any is.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(super) fn plan<'a>(
        &mut self,
        model: &str,
        files: impl Iterator<Item = (&'a String, &'a String)>,
    ) -> Result<(), ExportError> {
        for (digest, folder) in files {
            self.remember(model, digest, Written { folder: folder.clone(), file: String::new() });
        }
        self.save()
    }

    /// What an export that was ended had planned is there, or is not.
    fn find_planned(&mut self) {
        let path = &self.path;
        for files in self.manifest.files.values_mut() {
            files.retain(|digest, written| {
                if !written.file.is_empty() {
                    return true;
                }
                let stem = digest.trim_start_matches("sha256:");
                let there = ENDINGS.iter().map(|ending| format!("{stem}.{ending}"));
                let found = there.into_iter().find(|file| path.join(&written.folder).join(file).is_file());
                written.file = found.unwrap_or_default();
                !written.file.is_empty()
            });
        }
    }

    /// Forgets what was planned and is not written, and writes the list.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(super) fn finish(&mut self) -> Result<(), ExportError> {
        for files in self.manifest.files.values_mut() {
            files.retain(|_, written| !written.file.is_empty());
        }
        self.save()
    }

    /// What was written of that model.
    pub(super) fn written(&self, model: &str) -> Vec<(String, Written)> {
        self.manifest.files.get(model).into_iter().flatten().map(|(d, w)| (d.clone(), w.clone())).collect()
    }

    /// Whether an image of that model is there.
    pub(super) fn has(&self, model: &str, digest: &str) -> bool {
        self.manifest.files.get(model).is_some_and(|files| files.contains_key(digest))
    }

    /// Sees that a file is there still. One that is not, or is another now, is forgotten.
    pub(super) fn check(&mut self, model: &str, digest: &str, file: &Written) -> Result<Kept, ExportError> {
        let kept = self.state(digest, file)?;
        if kept != Kept::AsItWas {
            self.forget(model, digest);
        }
        Ok(kept)
    }

    /// Moves a file to the folder of another label.
    pub(super) fn shift(
        &mut self,
        model: &str,
        digest: &str,
        file: &Written,
        name: &str,
    ) -> Result<Kept, ExportError> {
        let moved = Written { folder: name.to_owned(), file: file.file.clone() };
        match self.state(digest, file)? {
            Kept::AsItWas => {}
            // An export that was ended may have moved it already.
            Kept::Gone if self.state(digest, &moved)? == Kept::AsItWas => {
                self.remember(model, digest, moved);
                return Ok(Kept::Moved);
            }
            other => {
                self.forget(model, digest);
                return Ok(other);
            }
        }
        let (from, to) = (self.path_of(file), self.path_of(&moved));
        self.make(name)?;
        fs::rename(&from, &to).map_err(at(&to))?;
        self.remember(model, digest, moved);
        self.tidy(&file.folder)?;
        Ok(Kept::Moved)
    }

    /// Removes a file.
    pub(super) fn remove(&mut self, model: &str, digest: &str, file: &Written) -> Result<Kept, ExportError> {
        let state = self.state(digest, file)?;
        if state == Kept::AsItWas {
            let path = self.path_of(file);
            fs::remove_file(&path).map_err(at(&path))?;
            self.tidy(&file.folder)?;
        }
        self.forget(model, digest);
        Ok(if state == Kept::AsItWas { Kept::Removed } else { state })
    }

    /// Writes a file. Where it is refused, why.
    pub(super) fn add(
        &mut self,
        model: &str,
        digest: &str,
        name: &str,
        bytes: &[u8],
    ) -> Result<Option<String>, ExportError> {
        if self::digest(bytes) != digest {
            return Ok(Some(format!("an image on the topic is not the one that its header says, {digest}")));
        }
        let kind = wire::encoding::image_media_type(bytes).map(|kind| kind.trim_start_matches("image/"));
        let extension = match kind {
            Some("jpeg") => "jpg",
            Some(kind) if ENDINGS.contains(&kind) => kind,
            _ => "bin",
        };
        let file = format!("{}.{extension}", digest.trim_start_matches("sha256:"));
        let written = Written { folder: name.to_owned(), file };
        let path = self.path_of(&written);
        match self.state(digest, &written)? {
            // It is whoever's who put it there.
            Kept::AsItWas => {
                self.forget(model, digest);
                return Ok(None);
            }
            Kept::Gone => {}
            _ => return Ok(Some(format!("{} is there, and is another image", path.display()))),
        }
        self.make(name)?;
        self.put(&path, bytes)?;
        self.remember(model, digest, written);
        Ok(None)
    }

    /// Writes the list.
    pub(super) fn save(&mut self) -> Result<(), ExportError> {
        self.manifest.version = VERSION;
        self.manifest.files.retain(|_, files| !files.is_empty());
        let text = serde_json::to_vec_pretty(&self.manifest).map_err(io::Error::from);
        let path = self.path.join(MANIFEST);
        self.put(&path, &text.map_err(at(&path))?)
    }

    /// Writes a file whole or not at all.
    fn put(&self, path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
        // Nobody else writes here: one name for all is enough, and a killed export leaves one file at most.
        let draft = self.path.join(".mlaas-review.draft");
        let write = || {
            let mut file = File::create(&draft)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&draft, path)
        };
        write().map_err(at(path))
    }

    fn path_of(&self, file: &Written) -> PathBuf {
        self.path.join(&file.folder).join(&file.file)
    }

    fn remember(&mut self, model: &str, digest: &str, file: Written) {
        self.manifest.files.entry(model.to_owned()).or_default().insert(digest.to_owned(), file);
    }

    fn forget(&mut self, model: &str, digest: &str) {
        self.manifest.files.get_mut(model).and_then(|files| files.remove(digest));
    }

    /// Makes a label's folder. One that leads elsewhere is refused.
    fn make(&self, name: &str) -> Result<(), ExportError> {
        let path = self.path.join(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = fs::symlink_metadata(&path).map_err(at(&path))?;
                if found.is_dir() {
                    return Ok(());
                }
                let other = io::Error::other("it is to be a folder of images, and is none");
                Err(ExportError::Io { path, source: other })
            }
            made => made.map_err(at(&path)),
        }
    }

    /// Removes a label's folder that nothing is in any more: a class without an image is none.
    fn tidy(&self, name: &str) -> Result<(), ExportError> {
        let path = self.path.join(name);
        match fs::remove_dir(&path) {
            Err(error)
                if !matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) =>
            {
                Err(at(&path)(error))
            }
            _ => Ok(()),
        }
    }

    fn state(&self, digest: &str, file: &Written) -> Result<Kept, ExportError> {
        let path = self.path_of(file);
        match fs::symlink_metadata(&path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Kept::Gone);
            }
            Err(source) => return Err(ExportError::Io { path, source }),
            Ok(found) if found.is_file() => {}
            Ok(_) => {
                return Ok(Kept::Changed(format!(
                    "{} is no file any more: it is left as it is",
                    path.display()
                )));
            }
        }
        let bytes = fs::read(&path).map_err(at(&path))?;
        Ok(if self::digest(&bytes) == digest {
            Kept::AsItWas
        } else {
            Kept::Changed(format!("{} was changed since it was written: it is left as it is", path.display()))
        })
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

/// Reads a list, of which each line names a file that could have been written: whoever gives a folder on must not choose what is removed.
fn read(text: &[u8]) -> Result<Manifest, String> {
    let manifest: Manifest = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if manifest.version != VERSION {
        return Err(format!("version {} is not known", manifest.version));
    }
    for (digest, file) in manifest.files.values().flatten() {
        let stem = file.file.rsplit_once('.').map(|(stem, _)| stem);
        let possible = super::folder_name(&file.folder).as_deref() == Ok(&file.folder)
            && !file.folder.contains('/')
            && wire::is_digest(digest)
            && (file.file.is_empty() || stem == digest.strip_prefix("sha256:"))
            && !file.file.contains(['/', '\\']);
        if !possible {
            return Err(format!("it names {}/{}", file.folder.escape_debug(), file.file.escape_debug()));
        }
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests;
