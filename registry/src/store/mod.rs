//! Where a registry's files lie, and what the registry asks of that place: a folder, or an object store.

#[cfg(feature = "cloud")]
mod address;
#[cfg(feature = "cloud")]
mod cloud;
#[cfg(feature = "cloud")]
mod download;
#[cfg(feature = "cloud")]
mod fault;
mod folder;
#[cfg(feature = "cloud")]
mod publish;
#[cfg(feature = "cloud")]
mod remembered;
#[cfg(all(test, feature = "cloud"))]
mod tests;
#[cfg(feature = "cloud")]
mod upload;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cache::Cache;
use crate::digest::FileEntry;
use crate::error::RegistryError;

#[cfg(feature = "cloud")]
pub use fault::StoreFault;
pub use folder::Folder;
pub(crate) use folder::sync;

/// Files by key: names with `/` between them, from the registry's root.
///
/// A version's files are written by [`publish`](Self::publish) alone, and never again: whoever sees its manifest sees all of it.
pub trait Store: fmt::Debug + Send + Sync {
    /// What lies directly in `folder`, in no order; nothing where there is no such folder.
    ///
    /// # Errors
    /// If it cannot be listed.
    fn list(&self, folder: &str) -> Result<Vec<Entry>, RegistryError>;

    /// The numbers that a model's versions have, ascending; none where there is no such model.
    ///
    /// # Errors
    /// If they cannot be listed.
    fn versions(&self, model: &str) -> Result<Vec<u32>, RegistryError>;

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

    /// Publishes a version: readers see all of it or nothing. Of several who publish under one number one does.
    ///
    /// # Errors
    /// If there is such a version, or writing fails.
    fn publish(&self, version: &Parcel<'_>) -> Result<(), RegistryError>;

    /// Takes a version away, unless `keep` says why not once no reader finds it any more. Readers see all of it or nothing.
    ///
    /// # Errors
    /// `keep`'s, or if it cannot be removed.
    fn remove(
        &self,
        model: &str,
        version: u32,
        keep: &dyn Fn() -> Result<(), RegistryError>,
    ) -> Result<(), RegistryError>;

    /// The path of a file, where it lies on this machine; none where it has to be copied first.
    fn local(&self, key: &str) -> Option<PathBuf>;

    /// Copies a file to `path`. What an earlier copy that broke off has left there is gone on with. `progress` is told how many bytes
    /// are there.
    ///
    /// # Errors
    /// If reading or writing fails, or the file is longer than `entry` says.
    fn fetch(
        &self,
        key: &str,
        entry: &FileEntry,
        path: &Path,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError>;

    /// How people find a file.
    fn place(&self, key: &str) -> PathBuf;

    /// Why the last look went by what had been seen before, where it did.
    fn away(&self) -> Option<String> {
        None
    }
}

/// Something that lies in a folder.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "cloud", derive(serde::Deserialize, serde::Serialize))]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Another one than before where a file has been written since.
    pub mark: String,
}

/// What lies in a folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "cloud", derive(serde::Deserialize, serde::Serialize))]
pub enum EntryKind {
    /// A folder.
    Folder,
    /// A file of so many bytes.
    File(u64),
    /// A pipe, a device: nothing that belongs there.
    Other,
}

/// A version on its way into a store.
#[derive(Clone, Copy, Debug)]
pub struct Parcel<'a> {
    /// The model.
    pub model: &'a str,
    /// The version's number.
    pub version: u32,
    /// Its manifest.
    pub manifest: &'a [u8],
    /// Its other files: their names, and what they hold.
    pub files: &'a [(&'a str, &'a [u8])],
    /// Who wants to know how far it is.
    pub progress: &'a Progress,
}

/// Whoever wants to know how far copies are.
#[derive(Clone)]
pub struct Progress(Arc<Told>);

/// Is told the file's name, how many of its bytes are copied, and how many it has.
type Told = dyn Fn(&str, u64, u64) + Send + Sync;

impl Progress {
    /// Is told the file's name, how many of its bytes are copied, and how many it has.
    pub fn new(told: impl Fn(&str, u64, u64) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    pub(crate) fn tell(&self, file: &str, copied: u64, size: u64) {
        (self.0)(file, copied, size);
    }
}

impl Default for Progress {
    /// Nobody.
    fn default() -> Self {
        Self::new(|_, _, _| ())
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

/// How long a store that does not answer is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// For whoever asks once.
    Much,
    /// For whoever asks again soon.
    Little,
}

/// What stands at `location`: the path of a folder, or the URL of an object store.
///
/// # Errors
/// If that is no URL of a store that this build knows, or its settings in the environment are wrong.
pub(crate) fn at(location: &Path, patience: Patience) -> Result<Arc<dyn Store>, RegistryError> {
    if !is_url(location) {
        return Ok(Arc::new(Folder::at(location)));
    }
    #[cfg(feature = "cloud")]
    return Ok(Arc::new(cloud::Cloud::open(&location.to_string_lossy(), patience)?));
    #[cfg(not(feature = "cloud"))]
    {
        let _ = patience;
        let reason = "this build reads folders only: build it with the feature `cloud`".into();
        Err(RegistryError::NoStore { url: location.into(), reason })
    }
}

/// The same store, but for an object store: that goes by what it has shown before where it can't be reached.
pub(crate) fn remembered(store: Arc<dyn Store>, location: &Path, cache: &Cache) -> Arc<dyn Store> {
    #[cfg(feature = "cloud")]
    if is_url(location) {
        return Arc::new(remembered::Remembered::new(store, location, cache));
    }
    let _ = (location, cache);
    store
}

/// Whether that is the URL of an object store, and not a path.
#[must_use]
pub fn is_url(location: &Path) -> bool {
    let scheme = location.to_str().and_then(|location| location.split_once("://"));
    scheme.is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+')
    })
}
