//! What holds model versions: list them, load one after checking it, publish a new one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cache::Cache;
use crate::digest::FileEntry;
use crate::error::RegistryError;
use crate::history::Seen;
use crate::manifest::{MANIFEST_FILE, Manifest};
use crate::name::is_plain_name;
use crate::select::Select;
use crate::signature::{PublicKeys, SIGNATURE_FILE, SigningKey};
use crate::store::{self, EntryKind, Parcel, Patience, Progress, Store};
use crate::version::{MANIFEST_LIMIT, ModelVersion};

/// A folder of model versions, or an object store that holds some.
#[derive(Clone, Debug)]
pub struct Registry {
    pub(crate) root: PathBuf,
    pub(crate) store: Arc<dyn Store>,
    cache: Arc<Cache>,
    trusted: Option<PublicKeys>,
    progress: Progress,
}

impl Registry {
    /// The model versions at `root`: the path of a folder, or the URL of an object store (`s3://bucket/prefix`, `gs://`, `az://`).
    ///
    /// # Errors
    /// If `root` is neither a folder nor such a URL, or what the environment says of the store is wrong.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, RegistryError> {
        let root = root.as_ref();
        is_folder_or_url(root)?;
        Self::at(root)
    }

    /// As [`open`](Self::open), for a folder that need not be there: publishing makes it.
    ///
    /// # Errors
    /// As `open`, but for that.
    pub fn at(root: impl AsRef<Path>) -> Result<Self, RegistryError> {
        let root = root.as_ref();
        Ok(Self::over(store::at(root, Patience::Much)?, root))
    }

    /// As [`open`](Self::open), for whoever looks again and again and changes nothing. Where an object store can't be reached, it is gone by
    /// what was seen of it before, also by another process with that cache; [`away`](Self::away) says so.
    ///
    /// # Errors
    /// As `open`.
    pub fn follow(root: impl AsRef<Path>, cache: Cache) -> Result<Self, RegistryError> {
        let root = root.as_ref();
        is_folder_or_url(root)?;
        Ok(Self::over(store::at(root, Patience::Little)?, root).cached(cache).remembering())
    }

    /// What is in that store, which people find at `root`.
    pub(crate) fn over(store: Arc<dyn Store>, root: &Path) -> Self {
        let (cache, progress) = (Arc::new(Cache::default()), Progress::default());
        Self { root: root.to_path_buf(), store, cache, trusted: None, progress }
    }

    /// Loads from now on only versions that are signed by one of those keys.
    #[must_use]
    pub fn trusting(self, keys: PublicKeys) -> Self {
        Self { trusted: Some(keys), ..self }
    }

    /// Keeps copies of an object store's files there from now on.
    #[must_use]
    pub fn cached(self, cache: Cache) -> Self {
        Self { cache: Arc::new(cache), ..self }
    }

    /// Tells how far each file is that is copied from or to an object store.
    #[must_use]
    pub fn reporting(self, progress: impl Fn(&str, u64, u64) + Send + Sync + 'static) -> Self {
        Self { progress: Progress::new(progress), ..self }
    }

    pub(crate) fn remembering(self) -> Self {
        Self { store: store::remembered(self.store, &self.root, &self.cache), ..self }
    }

    /// Why the last look went by what had been seen before, where it did.
    #[must_use]
    pub fn away(&self) -> Option<String> {
        self.store.away()
    }

    /// The names of all models, sorted.
    ///
    /// # Errors
    /// If the root cannot be read.
    pub fn models(&self) -> Result<Vec<String>, RegistryError> {
        let folders = self.store.list("")?.into_iter().filter(|entry| entry.kind == EntryKind::Folder);
        let mut names: Vec<String> =
            folders.map(|entry| entry.name).filter(|name| is_plain_name(name)).collect();
        names.sort();
        Ok(names)
    }

    /// A model's version numbers, ascending. Folders whose names are no version numbers are passed over.
    ///
    /// # Errors
    /// If there is no such model, or its folder cannot be read.
    pub fn versions(&self, name: &str) -> Result<Vec<u32>, RegistryError> {
        plain(name)?;
        let versions = self.store.versions(name)?;
        if versions.is_empty() {
            self.known_model(name)?;
        }
        Ok(versions)
    }

    /// The number that `select` means for this model.
    ///
    /// # Errors
    /// If there is no such model, version or alias.
    pub fn resolve(&self, name: &str, select: &Select) -> Result<u32, RegistryError> {
        Ok(self.resolve_seen(name, select)?.0)
    }

    /// As [`resolve`](Self::resolve), and where an alias says so, what it was seen to say: a version that is tried out beside it
    /// is among it, as long as it is there.
    ///
    /// # Errors
    /// As `resolve`.
    pub fn resolve_seen(&self, name: &str, select: &Select) -> Result<(u32, Seen), RegistryError> {
        let versions = self.versions(name)?;
        let mut seen = Seen::default();
        let version = match select {
            Select::Version(version) => *version,
            Select::Latest => *versions
                .last()
                .ok_or_else(|| RegistryError::NoVersions { name: name.into(), path: self.root.join(name) })?,
            Select::Alias(alias) => {
                seen = self.history_of(name, alias)?.named()?;
                seen.version
                    .ok_or_else(|| RegistryError::UnknownAlias { name: name.into(), alias: alias.clone() })?
            }
        };
        if !versions.contains(&version) {
            return Err(RegistryError::UnknownVersion {
                name: name.into(),
                version,
                known: self.known(name)?,
            });
        }
        for trial in [&mut seen.canary, &mut seen.shadow] {
            trial.take_if(|trial| !versions.contains(&trial.version));
        }
        Ok((version, seen))
    }

    /// Finds a version, reads its manifest and looks at its folder: each file is there in its size or not fetched, and nothing else
    /// is. What the files hold is checked when they are read, [`ModelVersion::read`].
    ///
    /// # Errors
    /// If there is no such version, its manifest is wrong, none of its files is fetched, one is of another size, or there is
    /// one too many.
    pub fn load(&self, name: &str, select: &Select) -> Result<ModelVersion, RegistryError> {
        let version = self.resolve(name, select)?;
        let loaded = ModelVersion::open(self, &key(name, version))?;
        let manifest = &loaded.manifest;
        if manifest.name != name || manifest.version != version {
            return Err(RegistryError::InvalidManifest {
                path: loaded.place(MANIFEST_FILE),
                message: format!(
                    "it describes {} version {}, and lies in the folder of {name} version {version}",
                    manifest.name, manifest.version
                ),
            });
        }
        Ok(loaded)
    }

    /// The number after a model's last version; 1 where there is no such model.
    ///
    /// # Errors
    /// If that is no name for a model, or its folder cannot be read.
    pub fn next_version(&self, name: &str) -> Result<u32, RegistryError> {
        plain(name)?;
        let versions = match self.store.versions(name) {
            Err(RegistryError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
            versions => versions?,
        };
        Ok(versions.last().map_or(1, |last| last.saturating_add(1)))
    }

    /// Publishes a version: `files` (an artifact's file, and what it holds) are written, the manifest's `files` is filled in, and the
    /// folder appears whole or not at all, also after a loss of power. Of one that fails nothing is left, the folders that were made
    /// for it included.
    ///
    /// # Errors
    /// If the version exists, the manifest says something that cannot be, or writing fails.
    pub fn publish(
        &self,
        mut manifest: Manifest,
        files: &[(&str, &[u8])],
    ) -> Result<ModelVersion, RegistryError> {
        plain(&manifest.name)?;
        manifest.files.clear();
        for (name, bytes) in files {
            plain(name)?;
            manifest.files.insert((*name).to_owned(), FileEntry::of_bytes(bytes));
        }
        let place = self.store.place(&key(&manifest.name, manifest.version)).join(MANIFEST_FILE);
        // What can't be is said before much is written.
        let text = manifest.to_yaml(&place)?;
        self.put(&manifest, text.as_bytes(), files)?;
        self.load(&manifest.name, &Select::Version(manifest.version))
    }

    fn put(&self, manifest: &Manifest, text: &[u8], files: &[(&str, &[u8])]) -> Result<(), RegistryError> {
        let (model, version) = (manifest.name.as_str(), manifest.version);
        if text.len() as u64 > MANIFEST_LIMIT {
            let path = self.store.place(&key(model, version)).join(MANIFEST_FILE);
            return Err(RegistryError::LargeFile { path, limit: MANIFEST_LIMIT });
        }
        self.store.publish(&Parcel { model, version, manifest: text, files, progress: &self.progress })
    }

    /// Copies a version from another registry, byte by byte: its manifest, and with it its identity, its signature, and all of its
    /// files that are fetched there. Each is held to the manifest on the way.
    ///
    /// # Errors
    /// If there is no such version there or it is damaged, there is one of that number here, or reading or writing fails.
    pub fn copy_from(&self, other: &Self, name: &str, version: u32) -> Result<ModelVersion, RegistryError> {
        let loaded = other.load(name, &Select::Version(version))?;
        let text = loaded.manifest_bytes()?;
        let mut files = Vec::new();
        for (file, entry) in &loaded.manifest.files {
            if loaded.is_there(file) {
                files.push((file.as_str(), loaded.content(file, entry)?.bytes));
            }
        }
        files.extend(loaded.signature()?.map(|signature| (SIGNATURE_FILE, signature)));
        let files: Vec<_> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        self.put(&loaded.manifest, &text, &files)?;
        self.load(name, &Select::Version(version))
    }

    /// Signs a version: from now on whoever trusts that key loads it. A signature that it had is replaced.
    ///
    /// # Errors
    /// If there is no such version, it is not whole, or writing fails.
    pub fn sign(&self, name: &str, version: u32, key: &SigningKey) -> Result<PathBuf, RegistryError> {
        let known = Self { trusted: None, ..self.clone() };
        let loaded = known.load(name, &Select::Version(version))?;
        // What is signed is what was looked at.
        let bytes = loaded.manifest_bytes()?;
        let file = loaded.key(SIGNATURE_FILE);
        self.store.put(&file, &key.sign(&bytes))?;
        key.public().check(&loaded.place(""), &bytes, loaded.signature()?.as_deref())?;
        Ok(self.store.place(&file))
    }

    /// What changes when something in the version's folder does.
    ///
    /// # Errors
    /// If its folder cannot be listed.
    pub fn state(&self, name: &str, version: u32) -> Result<String, RegistryError> {
        let entries = self.store.list(&key(name, version))?;
        let mut files: Vec<_> =
            entries.iter().map(|entry| format!("{} {:?} {}", entry.name, entry.kind, entry.mark)).collect();
        files.sort();
        Ok(files.join("\n"))
    }

    /// How far copies are, for whoever wants to know.
    pub(crate) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    pub(crate) fn cache(&self) -> Arc<Cache> {
        Arc::clone(&self.cache)
    }

    pub(crate) fn trusted(&self) -> Option<&PublicKeys> {
        self.trusted.as_ref()
    }

    pub(crate) fn known(&self, name: &str) -> Result<String, RegistryError> {
        let known: Vec<String> = self.versions(name)?.iter().map(u32::to_string).collect();
        Ok(list(&known))
    }

    /// Whether there is such a model, with versions or without.
    pub(crate) fn known_model(&self, name: &str) -> Result<(), RegistryError> {
        plain(name)?;
        let models = self.models()?;
        if models.iter().any(|model| model == name) {
            return Ok(());
        }
        Err(RegistryError::UnknownModel { name: name.into(), root: self.root.clone(), known: list(&models) })
    }
}

fn is_folder_or_url(root: &Path) -> Result<(), RegistryError> {
    if store::is_url(root) || root.is_dir() {
        Ok(())
    } else {
        Err(RegistryError::NoRoot { path: root.into() })
    }
}

/// Where a version's files lie.
pub(crate) fn key(name: &str, version: u32) -> String {
    format!("{name}/{version}")
}

fn plain(name: &str) -> Result<(), RegistryError> {
    if is_plain_name(name) { Ok(()) } else { Err(RegistryError::BadName { name: name.into() }) }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
