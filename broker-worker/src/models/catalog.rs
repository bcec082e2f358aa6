//! The versions that there are in the folder of models, and which of them are to be served.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use registry::{PublicKeys, Registry, RegistryError, Select};

use super::follow::Versions;
use super::{Models, ModelsError, Skipped, Wanted, config};
use crate::engines::Engines;
use crate::served::Served;

/// The folder of models, as the configuration means it.
#[derive(Debug)]
pub struct Catalog {
    registry: Registry,
    config: config::Models,
    engines: Engines,
}

impl Catalog {
    /// By that section.
    ///
    /// # Errors
    /// [`ModelsError`] where there is no such folder, or a key can't be read.
    pub(crate) fn new(config: &config::Models, engines: Engines) -> Result<Self, ModelsError> {
        let mut registry = Registry::open(&config.root)?;
        if !config.public_keys.is_empty() {
            registry = registry.trusting(PublicKeys::read(&config.public_keys)?);
        }
        Ok(Self { registry, config: config.clone(), engines })
    }

    /// What is to be served now: each file is there in its size, and is read and checked by [`Models::load`]. Of models that are
    /// not named but found there, those that are not whole are skipped: somebody may be copying them.
    ///
    /// # Errors
    /// [`ModelsError`] where one that is named is missing or damaged, or where none is left.
    pub fn open(&self) -> Result<Models, ModelsError> {
        let (mut served, mut skipped): (Vec<(Wanted, Arc<Served>)>, _) = (Vec::new(), Vec::new());
        let named = self.is_named();
        for wanted in self.wanted()? {
            let open = |version| {
                let same = |(_, served): &&(Wanted, Arc<Served>)| {
                    served.id.name == wanted.name && served.id.version == version
                };
                served.iter().find(same).map_or_else(
                    || self.open_version(&wanted, version).map(Arc::new),
                    |(_, served)| Ok(Arc::clone(served)),
                )
            };
            match self.resolve(&wanted).and_then(|version| version.map(open).transpose()) {
                Ok(found) => served.extend(found.map(|found| (wanted, found))),
                Err(error) if named => return Err(error),
                Err(error) => {
                    let version = self.registry.resolve(&wanted.name, &Select::default()).ok();
                    skipped.push(Skipped::new(&wanted, version, &error));
                }
            }
        }
        let root = self.config.root.display().to_string();
        let models = Models::of(served, skipped, &self.config.default, &root)?;
        Ok(Models { named, ..models })
    }

    /// Whether the configuration names what is served.
    fn is_named(&self) -> bool {
        !self.config.serve.is_empty()
    }

    fn folder(&self, name: &str, version: u32) -> PathBuf {
        self.config.root.join(name).join(version.to_string())
    }
}

impl Versions for Catalog {
    fn wanted(&self) -> Result<Vec<Wanted>, ModelsError> {
        let general = self.config.engine;
        if self.is_named() {
            let named = self.config.serve.iter().map(|named| Wanted {
                name: named.name.clone(),
                select: Some(named.version.0.clone()),
                engine: named.engine.unwrap_or(general),
            });
            return Ok(named.collect());
        }
        let found = |name| Wanted { name, select: None, engine: general };
        Ok(self.registry.models()?.into_iter().map(found).collect())
    }

    fn resolve(&self, wanted: &Wanted) -> Result<Option<u32>, ModelsError> {
        let Wanted { name, select, .. } = wanted;
        let Some(select) = select else {
            if self.registry.versions(name)?.is_empty() {
                return Ok(None);
            }
            return Ok(Some(match self.registry.resolve(name, &Select::default()) {
                Err(RegistryError::UnknownAlias { .. }) => self.registry.resolve(name, &Select::Latest)?,
                production => production?,
            }));
        };
        Ok(Some(self.registry.resolve(name, select)?))
    }

    fn open_version(&self, wanted: &Wanted, version: u32) -> Result<Served, ModelsError> {
        let found = self.registry.load(&wanted.name, &Select::Version(version))?;
        Ok(self.engines.open(found, wanted.engine, self.config.allow_torchscript)?)
    }

    fn state(&self, name: &str, version: u32) -> String {
        let entries = fs::read_dir(self.folder(name, version)).into_iter().flatten().flatten();
        let mut files: Vec<_> = entries
            .filter_map(|entry| {
                let found = entry.path().metadata().ok()?;
                let file = entry.file_name().to_string_lossy().into_owned();
                Some(format!("{file} {} {}.{}", found.size(), found.mtime(), found.mtime_nsec()))
            })
            .collect();
        files.sort();
        files.join("\n")
    }
}
