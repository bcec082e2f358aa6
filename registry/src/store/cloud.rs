//! Model versions in an object store: Amazon S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;
use std::{fs, io, thread};

use futures_util::TryStreamExt as _;
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use object_store::{
    Error, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions,
};
use tokio::runtime::{Builder, Runtime};

use super::address;
use super::download::{self, Failed};
use super::fault::StoreFault;
use super::{Entry, EntryKind, Parcel, Patience, Store};
use crate::cache::Cache;
use crate::digest::FileEntry;
use crate::error::RegistryError;
use crate::manifest::MANIFEST_FILE;
use crate::select::Select;

/// So often a copy that broke off is gone on with, where nothing came meanwhile.
const RESUMES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// An object store, and the prefix in it below which the versions lie.
#[derive(Debug)]
pub(crate) struct Cloud {
    url: String,
    prefix: Key,
    store: Arc<dyn Both>,
    runtime: &'static Runtime,
    /// Where is noted how far uploads are.
    pub(super) uploads: PathBuf,
}

/// What is asked of a store.
pub(super) trait Both: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Both for T {}

impl Cloud {
    /// What that URL means: `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
    ///
    /// # Errors
    /// If it is no such URL, or what stands in the environment is wrong.
    pub(crate) fn open(url: &str, patience: Patience) -> Result<Self, RegistryError> {
        let bad = |reason: String| RegistryError::NoStore { url: url.into(), reason };
        let (store, prefix) = address::open(url, patience).map_err(bad)?;
        Self::over(store, url, prefix, Cache::default()).map_err(|error| bad(error.to_string()))
    }

    /// The versions below `prefix` in a store; how far uploads are is noted beside the copies.
    pub(super) fn over(store: Arc<dyn Both>, url: &str, prefix: Key, cache: Cache) -> io::Result<Self> {
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            prefix,
            store,
            runtime: runtime()?,
            uploads: cache.folder().join("uploads"),
        })
    }

    pub(super) fn store(&self) -> Arc<dyn Both> {
        Arc::clone(&self.store)
    }

    pub(super) fn key(&self, key: &str) -> Key {
        key.split('/').filter(|part| !part.is_empty()).fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// Has `work` done, and waits for it; also where the caller must not wait on a runtime of its own.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (done, answer) = mpsc::sync_channel(1);
        self.runtime.spawn(async move { drop(done.send(work.await)) });
        answer.recv().unwrap_or_else(|gone| Err(Error::Generic { store: "store", source: gone.into() }))
    }

    pub(super) fn fails(&self, action: &'static str, key: &str) -> impl FnOnce(Error) -> RegistryError {
        let path = self.place(key);
        move |error| RegistryError::Store { action, path, source: StoreFault::new(error) }
    }

    pub(super) fn get_with(
        &self,
        key: &str,
        options: GetOptions,
    ) -> Result<Option<GetResult>, RegistryError> {
        let (store, path) = (Arc::clone(&self.store), self.key(key));
        match self.wait(async move { store.get_opts(&path, options).await }) {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.fails("read", key)(error)),
        }
    }

    /// All files of a model, by what stands behind its name.
    pub(super) fn all(&self, folder: &str) -> Result<Vec<(String, ObjectMeta)>, RegistryError> {
        let (store, path) = (Arc::clone(&self.store), self.key(folder));
        let prefix = path.clone();
        let objects = self
            .wait(async move { store.list(Some(&path)).try_collect::<Vec<_>>().await })
            .map_err(self.fails("list", folder))?;
        let behind = |object: ObjectMeta| {
            let parts: Vec<_> =
                object.location.prefix_match(&prefix)?.map(|part| part.as_ref().to_owned()).collect();
            Some((parts.join("/"), object))
        };
        Ok(objects.into_iter().filter_map(behind).collect())
    }

    pub(super) fn delete(&self, key: &str) -> Result<(), RegistryError> {
        let (store, path) = (Arc::clone(&self.store), self.key(key));
        match self.wait(async move { store.delete(&path).await }) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.fails("remove", key)(error)),
        }
    }
}

impl Store for Cloud {
    fn list(&self, folder: &str) -> Result<Vec<Entry>, RegistryError> {
        let (store, path) = (Arc::clone(&self.store), self.key(folder));
        let listed = self
            .wait(async move {
                // Of a whole bucket there is no prefix.
                let prefix = Some(&path).filter(|path| !path.as_ref().is_empty());
                store.list_with_delimiter(prefix).await
            })
            .map_err(self.fails("list", folder))?;
        let name = |path: &Key| path.filename().map(str::to_owned);
        let folders = listed.common_prefixes.iter().filter_map(|path| {
            Some(Entry { name: name(path)?, kind: EntryKind::Folder, mark: String::new() })
        });
        let files = listed.objects.iter().filter_map(|object| {
            let mark = object.e_tag.clone().unwrap_or_else(|| object.last_modified.to_rfc3339());
            Some(Entry { name: name(&object.location)?, kind: EntryKind::File(object.size), mark })
        });
        Ok(folders.chain(files).collect())
    }

    fn versions(&self, model: &str) -> Result<Vec<u32>, RegistryError> {
        let number = |(name, _): &(String, ObjectMeta)| match name
            .strip_suffix(MANIFEST_FILE)?
            .strip_suffix('/')?
            .parse()
        {
            Ok(Select::Version(version)) => Some(version),
            _ => None,
        };
        let mut versions: Vec<u32> = self.all(model)?.iter().filter_map(number).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    fn get(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, RegistryError> {
        let Some(found) = self.get_with(key, GetOptions::default())? else { return Ok(None) };
        if found.meta.size > limit {
            return Err(RegistryError::LargeFile { path: self.place(key), limit });
        }
        let bytes = self.wait(async move { found.bytes().await }).map_err(self.fails("read", key))?;
        Ok(Some(bytes.into()))
    }

    fn put_if_absent(&self, key: &str, bytes: &[u8]) -> Result<bool, RegistryError> {
        let (store, path, content) = (Arc::clone(&self.store), self.key(key), bytes.to_vec());
        let options = PutOptions::from(PutMode::Create);
        match self.wait(async move { store.put_opts(&path, content.into(), options).await }) {
            Ok(_) => Ok(true),
            // The answer to an earlier try may have been lost on its way: then it is one's own that is there.
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                Ok(self.get(key, bytes.len() as u64).ok().flatten().is_some_and(|found| found == bytes))
            }
            Err(error) => Err(self.fails("write", key)(error)),
        }
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        let (store, path, content) = (Arc::clone(&self.store), self.key(key), bytes.to_vec());
        let put = self.wait(async move { store.put(&path, content.into()).await });
        put.map(drop).map_err(self.fails("write", key))
    }

    fn publish(&self, parcel: &Parcel<'_>) -> Result<(), RegistryError> {
        self.publish_whole(parcel)
    }

    fn remove(
        &self,
        model: &str,
        version: u32,
        keep: &dyn Fn() -> Result<(), RegistryError>,
    ) -> Result<(), RegistryError> {
        self.take_away(model, version, keep)
    }

    fn local(&self, _: &str) -> Option<PathBuf> {
        None
    }

    fn fetch(
        &self,
        key: &str,
        entry: &FileEntry,
        path: &Path,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        let io = |action| RegistryError::io(action, path);
        let length = || path.metadata().map(|found| found.len());
        let mut here = match length() {
            Ok(length) if length <= entry.size => length,
            Ok(_) => {
                fs::remove_file(path).map_err(io("remove"))?;
                0
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(io("read")(error)),
        };
        progress(here);
        let mut resumes = 0;
        while here < entry.size {
            let options =
                GetOptions { range: Some(GetRange::Bounded(here..entry.size)), ..GetOptions::default() };
            let missing = || RegistryError::MissingFile { path: self.place(key) };
            let copied = self.get_with(key, options).and_then(|found| {
                let found = found.ok_or_else(missing)?;
                entry.check_size(&self.place(key), found.meta.size)?;
                match download::append(self.runtime, found, path, &|more| progress(here + more)) {
                    Err(Failed::Here(error)) => Err(io("write")(error)),
                    Err(Failed::There(error)) => Err(self.fails("read", key)(error)),
                    Ok(()) => Ok(()),
                }
            });
            let before = here;
            here = length().map_err(io("read"))?;
            match copied {
                Err(error) if !matches!(error, RegistryError::Store { .. }) => return Err(error),
                _ if here > before => resumes = 0,
                Err(error) if resumes == RESUMES => return Err(error),
                Ok(()) if resumes == RESUMES => {
                    let path = self.place(key);
                    return Err(RegistryError::TruncatedFile { path, expected: entry.size, found: here });
                }
                _ => {
                    resumes += 1;
                    thread::sleep(PAUSE * resumes);
                }
            }
        }
        Ok(())
    }

    fn place(&self, key: &str) -> PathBuf {
        if key.is_empty() { self.url.clone().into() } else { format!("{}/{key}", self.url).into() }
    }
}

/// One thread that waits for stores, for as long as the process lives.
fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let made = Builder::new_multi_thread().worker_threads(1).thread_name("store").enable_all().build()?;
    if let Err(one_too_many) = RUNTIME.set(made) {
        one_too_many.shutdown_background();
    }
    RUNTIME.get().ok_or_else(|| io::Error::other("no runtime"))
}
