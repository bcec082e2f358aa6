//! The folders that hold model versions: list them, load one after checking it, publish a new one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::content::{read_small, sha256};
use crate::draft::{self, Draft};
use crate::error::RegistryError;
use crate::manifest::{MANIFEST_FILE, Manifest};
use crate::name::is_plain_name;
use crate::select::Select;
use crate::signature::{PublicKeys, SIGNATURE_FILE, SigningKey};
use crate::store::{Folder, Store};
use crate::version::{MANIFEST_LIMIT, ModelVersion, write_whole};

/// A folder of model versions.
#[derive(Clone, Debug)]
pub struct Registry {
    pub(crate) root: PathBuf,
    pub(crate) store: Arc<dyn Store>,
    trusted: Option<PublicKeys>,
}

impl Registry {
    /// The model versions under `root`.
    ///
    /// # Errors
    /// If `root` is no folder.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, RegistryError> {
        let root = root.as_ref().to_path_buf();
        if !root.is_dir() {
            return Err(RegistryError::NoRoot { path: root });
        }
        Ok(Self::at(root))
    }

    /// The model versions under `root`, a folder that need not be there: publishing makes it.
    #[must_use]
    pub fn at(root: impl AsRef<Path>) -> Self {
        Self { root: root.as_ref().to_path_buf(), store: Arc::new(Folder::at(root)), trusted: None }
    }

    /// Loads from now on only versions that are signed by one of those keys.
    #[must_use]
    pub fn trusting(self, keys: PublicKeys) -> Self {
        Self { trusted: Some(keys), ..self }
    }

    /// The names of all models, sorted.
    ///
    /// # Errors
    /// If the root cannot be read.
    pub fn models(&self) -> Result<Vec<String>, RegistryError> {
        let mut names: Vec<String> =
            folders(&self.root)?.into_iter().filter(|name| is_plain_name(name)).collect();
        names.sort();
        Ok(names)
    }

    /// A model's version numbers, ascending. Folders whose names are no version numbers are passed over.
    ///
    /// # Errors
    /// If there is no such model, or its folder cannot be read.
    pub fn versions(&self, name: &str) -> Result<Vec<u32>, RegistryError> {
        numbers(&self.folder(name)?)
    }

    /// The number that `select` means for this model.
    ///
    /// # Errors
    /// If there is no such model, version or alias.
    pub fn resolve(&self, name: &str, select: &Select) -> Result<u32, RegistryError> {
        let versions = self.versions(name)?;
        let version = match select {
            Select::Version(version) => *version,
            Select::Latest => *versions
                .last()
                .ok_or_else(|| RegistryError::NoVersions { name: name.into(), path: self.root.join(name) })?,
            Select::Alias(alias) => {
                let seen = self.history_of(name, alias)?.seen()?;
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
        Ok(version)
    }

    /// Finds a version, reads its manifest and looks at its folder: each file is there in its size or not fetched, and nothing else
    /// is. What the files hold is checked when they are read, [`ModelVersion::read`].
    ///
    /// # Errors
    /// If there is no such version, its manifest is wrong, none of its files is fetched, one is of another size, or there is
    /// one too many.
    pub fn load(&self, name: &str, select: &Select) -> Result<ModelVersion, RegistryError> {
        let version = self.resolve(name, select)?;
        let folder = self.root.join(name).join(version.to_string());
        let loaded = ModelVersion::open(&folder, self.trusted.as_ref())?;
        let manifest = &loaded.manifest;
        if manifest.name != name || manifest.version != version {
            return Err(RegistryError::InvalidManifest {
                path: folder.join(MANIFEST_FILE),
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
        if !is_plain_name(name) {
            return Err(RegistryError::BadName { name: name.into() });
        }
        // One look: somebody may be making the folder.
        match numbers(&self.root.join(name)) {
            Ok(versions) => Ok(versions.last().map_or(1, |last| last.saturating_add(1))),
            Err(RegistryError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(1),
            Err(error) => Err(error),
        }
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
        if !is_plain_name(&manifest.name) {
            return Err(RegistryError::BadName { name: manifest.name });
        }
        let model = self.root.join(&manifest.name);
        let folder = model.join(manifest.version.to_string());
        if folder.exists() {
            return Err(RegistryError::VersionExists { path: folder });
        }
        draft::sweep(&model);
        let draft = Draft::create(&model, manifest.version)?;
        draft.fill(&mut manifest, files)?;
        draft.publish(&folder)?;
        self.load(&manifest.name, &Select::Version(manifest.version))
    }

    /// Signs a version: from now on whoever trusts that key loads it. A signature that it had is replaced.
    ///
    /// # Errors
    /// If there is no such version, it is not whole, or writing fails.
    pub fn sign(&self, name: &str, version: u32, key: &SigningKey) -> Result<PathBuf, RegistryError> {
        let select = Select::Version(version);
        let known = Self { trusted: None, ..self.clone() };
        let folder = known.folder(name)?.join(known.resolve(name, &select)?.to_string());
        let manifest = folder.join(MANIFEST_FILE);
        let missing = || RegistryError::MissingFile { path: manifest.clone() };
        let bytes = read_small(&manifest, MANIFEST_LIMIT)?.ok_or_else(missing)?;
        let (expected, found) = (known.load(name, &select)?.digest, format!("sha256:{}", sha256(&bytes)));
        // What is signed is what was looked at.
        if expected != found {
            return Err(RegistryError::TamperedFile { path: manifest, expected, found });
        }
        let path = folder.join(SIGNATURE_FILE);
        write_whole(&path, &key.sign(&bytes))?;
        key.public().check(&folder, &bytes)?;
        Ok(path)
    }

    pub(crate) fn known(&self, name: &str) -> Result<String, RegistryError> {
        let known: Vec<String> = self.versions(name)?.iter().map(u32::to_string).collect();
        Ok(list(&known))
    }

    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, RegistryError> {
        if !is_plain_name(name) {
            return Err(RegistryError::BadName { name: name.into() });
        }
        let folder = self.root.join(name);
        if !folder.is_dir() {
            return Err(RegistryError::UnknownModel {
                name: name.into(),
                root: self.root.clone(),
                known: list(&self.models()?),
            });
        }
        Ok(folder)
    }
}

/// The numbers of the versions in a model's folder, ascending.
fn numbers(model: &Path) -> Result<Vec<u32>, RegistryError> {
    let number = |folder: &String| match folder.parse() {
        Ok(Select::Version(version)) => Some(version),
        _ => None,
    };
    let mut versions: Vec<u32> = folders(model)?.iter().filter_map(number).collect();
    versions.sort_unstable();
    Ok(versions)
}

fn folders(path: &Path) -> Result<Vec<String>, RegistryError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(RegistryError::io("list", path))? {
        let entry = entry.map_err(RegistryError::io("list", path))?;
        if entry.path().is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    Ok(names)
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
