//! A version: its manifest, which of its artifacts are there, and their bytes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cache::Cache;
use crate::content::{Content, sha256};
use crate::digest::FileEntry;
use crate::error::RegistryError;
use crate::manifest::{Artifact, EngineKind, MANIFEST_FILE, Manifest, Sample};
use crate::registry::Registry;
use crate::signature::{KEY_LIMIT, SIGNATURE_FILE};
use crate::store::{Entry, EntryKind, Progress, Store};

/// The largest manifest that is read, in bytes: room for some hundred thousand labels.
pub(crate) const MANIFEST_LIMIT: u64 = 16 << 20;

/// A version whose manifest has been read.
#[derive(Clone, Debug)]
pub struct ModelVersion {
    /// What the version says about itself.
    pub manifest: Manifest,
    /// The version's identity, the SHA-256 of its manifest as it lies there: `sha256:<64 hexadecimal digits>`.
    pub digest: String,
    key: String,
    /// The names of its files that were there when it was opened.
    found: BTreeSet<String>,
    store: Arc<dyn Store>,
    cache: Arc<Cache>,
    progress: Progress,
}

impl ModelVersion {
    /// The version whose files lie there, signed by one of the keys that the registry trusts, where there are some.
    ///
    /// # Errors
    /// If its manifest is wrong, or not signed as it should be, none of its artifacts' files is there, a sample is not, one file is of another
    /// size, or there is one too many.
    pub(crate) fn open(registry: &Registry, key: &str) -> Result<Self, RegistryError> {
        let store = Arc::clone(&registry.store);
        let path = store.place(key).join(MANIFEST_FILE);
        let missing = || RegistryError::MissingFile { path: path.clone() };
        let bytes = store.get(&format!("{key}/{MANIFEST_FILE}"), MANIFEST_LIMIT)?.ok_or_else(missing)?;
        // Before anything of it is believed.
        if let Some(keys) = registry.trusted() {
            let signature = store.get(&format!("{key}/{SIGNATURE_FILE}"), KEY_LIMIT)?;
            keys.check(&store.place(key), &bytes, signature.as_deref())?;
        }
        let digest = format!("sha256:{}", sha256(&bytes));
        let text = String::from_utf8(bytes)
            .map_err(|error| RegistryError::BadManifest { path: path.clone(), source: error.into() })?;
        let manifest = Manifest::from_yaml(&text, &path)?;
        let (cache, progress) = (registry.cache(), registry.progress());
        let found = BTreeSet::new();
        let mut version = Self { manifest, digest, key: key.to_owned(), found, store, cache, progress };
        version.look()?;
        if let Some(first) = version.manifest.artifacts.first()
            && version.artifacts().next().is_none()
        {
            return Err(version.not_fetched(first));
        }
        Ok(version)
    }

    /// The artifacts whose files are there, in the manifest's order.
    pub fn artifacts(&self) -> impl Iterator<Item = &Artifact> {
        self.manifest.artifacts.iter().filter(|artifact| self.is_there(&artifact.file))
    }

    /// Whether the version has that file now; in an object store, whether it had when it was opened.
    #[must_use]
    pub fn is_there(&self, file: &str) -> bool {
        self.store.local(&self.key(file)).map_or_else(|| self.found.contains(file), |path| path.is_file())
    }

    /// Where an artifact's file lies, or would, for people: a path, or a URL.
    #[must_use]
    pub fn path(&self, artifact: &Artifact) -> PathBuf {
        self.place(&artifact.file)
    }

    pub(crate) fn place(&self, file: &str) -> PathBuf {
        self.store.place(&self.key).join(file)
    }

    pub(crate) fn key(&self, file: &str) -> String {
        format!("{}/{file}", self.key)
    }

    /// What the artifact for `engine` holds: read once, and these very bytes held to the manifest. None where the manifest lists
    /// no such artifact. A file of an object store is copied to this machine first, unless it was before.
    ///
    /// # Errors
    /// If the file is not fetched, truncated or tampered with.
    pub fn read(&self, engine: EngineKind) -> Result<Option<(&Artifact, Content)>, RegistryError> {
        let Some(artifact) = self.manifest.artifact(engine) else { return Ok(None) };
        let Some(entry) = self.manifest.files.get(&artifact.file) else {
            return Err(RegistryError::MissingFile { path: self.path(artifact) });
        };
        match self.content(&artifact.file, entry) {
            Ok(content) => Ok(Some((artifact, content))),
            Err(RegistryError::MissingFile { .. }) => Err(self.not_fetched(artifact)),
            Err(error) => Err(error),
        }
    }

    /// Its samples, and what each one's file holds, which is held to the manifest.
    ///
    /// # Errors
    /// If a file is missing, truncated or tampered with.
    pub fn samples(&self) -> Result<Vec<(&Sample, Content)>, RegistryError> {
        let mut samples = Vec::new();
        for sample in &self.manifest.samples {
            let missing = || RegistryError::MissingFile { path: self.place(&sample.file) };
            let entry = self.manifest.files.get(&sample.file).ok_or_else(missing)?;
            samples.push((sample, self.content(&sample.file, entry)?));
        }
        Ok(samples)
    }

    /// What one of its files holds, which is what the manifest says of it.
    pub(crate) fn content(&self, file: &str, entry: &FileEntry) -> Result<Content, RegistryError> {
        let key = self.key(file);
        if let Some(path) = self.store.local(&key) {
            return Content::checked(&path, entry);
        }
        if !self.found.contains(file) {
            return Err(RegistryError::MissingFile { path: self.place(file) });
        }
        let progress = |bytes| self.progress.tell(file, bytes, entry.size);
        self.cache.read(&*self.store, &key, entry, &progress)
    }

    /// Its manifest as it lies there, which is the one that was opened.
    pub(crate) fn manifest_bytes(&self) -> Result<Vec<u8>, RegistryError> {
        let path = self.place(MANIFEST_FILE);
        let missing = || RegistryError::MissingFile { path: path.clone() };
        let bytes = self.store.get(&self.key(MANIFEST_FILE), MANIFEST_LIMIT)?.ok_or_else(missing)?;
        let found = format!("sha256:{}", sha256(&bytes));
        if found == self.digest {
            return Ok(bytes);
        }
        Err(RegistryError::TamperedFile { path, expected: self.digest.clone(), found })
    }

    pub(crate) fn signature(&self) -> Result<Option<Vec<u8>>, RegistryError> {
        self.store.get(&self.key(SIGNATURE_FILE), KEY_LIMIT)
    }

    /// Puts a file that was made for an artifact beside the others, whole or not at all. One that is there already stays.
    ///
    /// # Errors
    /// If the bytes are not the manifest's, or writing fails.
    pub fn put(&self, artifact: &Artifact, bytes: &[u8]) -> Result<PathBuf, RegistryError> {
        let path = self.path(artifact);
        let found = FileEntry::of_bytes(bytes);
        match self.manifest.files.get(&artifact.file) {
            Some(expected) if *expected == found => {
                if self.content(&artifact.file, expected).is_err() {
                    self.store.put(&self.key(&artifact.file), bytes)?;
                }
                Ok(path)
            }
            expected => Err(RegistryError::OtherContent {
                path,
                found: found.digest(),
                expected: expected.map(FileEntry::digest).unwrap_or_default(),
            }),
        }
    }

    /// The sentence for an artifact whose file is not there.
    #[must_use]
    pub fn not_fetched(&self, artifact: &Artifact) -> RegistryError {
        RegistryError::NotFetched { path: self.path(artifact), fetch: artifact.fetch.clone() }
    }

    /// Holds what lies there to the manifest. Names that begin with a dot are drafts and other systems' own.
    fn look(&mut self) -> Result<(), RegistryError> {
        for Entry { name, kind, .. } in self.store.list(&self.key)? {
            if name.starts_with('.') || name == MANIFEST_FILE || name == SIGNATURE_FILE {
                continue;
            }
            let path = self.place(&name);
            let Some(described) = self.manifest.files.get(&name) else {
                return Err(RegistryError::StrayFile { path });
            };
            let EntryKind::File(size) = kind else { return Err(RegistryError::MissingFile { path }) };
            described.check_size(&path, size)?;
            self.found.insert(name);
        }
        // They are small, and no command fetches them.
        match self.manifest.samples.iter().find(|sample| !self.found.contains(&sample.file)) {
            Some(sample) => Err(RegistryError::MissingFile { path: self.place(&sample.file) }),
            None => Ok(()),
        }
    }
}

/// Writes a file so that who looks finds the old one, none, or this one whole, also after a loss of power.
///
/// # Errors
/// If writing fails.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), RegistryError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The name begins with a dot, so that no reader takes a half-written file for one of the version's.
    let draft = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let write = || {
        let mut file = File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| {
        // The first error is the one worth telling.
        drop(fs::remove_file(&draft));
        RegistryError::io("write", path)(error)
    })
}
