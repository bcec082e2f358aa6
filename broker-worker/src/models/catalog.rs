//! The versions that there are in the folder of models, and which of them are to be served.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use registry::{Author, Cache, PublicKeys, Registry, RegistryError, Seen, Select};

use super::follow::Versions;
use super::{Meant, Models, ModelsError, Part, Skipped, Trial, Wanted, config};
use crate::engines::Engines;
use crate::served::Served;
use crate::trials::Verdict;

/// So long a store that can't be reached is let be, at the start.
const PAUSE: Duration = Duration::from_secs(2);

/// The models that there are, as the configuration means them.
#[derive(Debug)]
pub struct Catalog {
    registry: Registry,
    config: config::Models,
    engines: Engines,
    /// Who signs what it changes.
    worker: String,
}

impl Catalog {
    /// By that section. Where a worker decides about a version that is tried out, the history says it was this one.
    ///
    /// # Errors
    /// [`ModelsError`] where there is no such folder, or a key can't be read.
    pub(crate) fn new(
        config: &config::Models,
        engines: Engines,
        worker: String,
    ) -> Result<Self, ModelsError> {
        let cache =
            config.cache_folder.clone().map_or_else(Cache::default, Cache::at).of_bytes(config.cache_bytes);
        let mut registry = Registry::follow(&config.root, cache)?;
        if !config.public_keys.is_empty() {
            registry = registry.trusting(PublicKeys::read(&config.public_keys)?);
        }
        Ok(Self { registry, config: config.clone(), engines, worker })
    }

    /// As [`open`](Self::open); while a store can't be reached of which nothing was seen before, it is waited for.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_in_time(&self) -> Result<Models, ModelsError> {
        let mut said = false;
        loop {
            match self.open() {
                Err(error) if error.is_away() => {
                    if !std::mem::replace(&mut said, true) {
                        let error = cli::sentence(&error);
                        tracing::warn!("waiting for the models: {error}");
                    }
                    thread::sleep(PAUSE);
                }
                opened => {
                    if let Some(why) = self.registry.away() {
                        tracing::warn!("the models are those that were last seen: {why}");
                    }
                    return opened;
                }
            }
        }
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
            match self.resolve(&wanted).and_then(|meant| meant.map(|meant| open(meant.version)).transpose()) {
                Ok(found) => served.extend(found.map(|found| (wanted, found))),
                Err(error) if named || error.is_away() => return Err(error),
                Err(error) => {
                    let version = self.registry.resolve(&wanted.name, &Select::default()).ok();
                    skipped.push(Skipped::new(&wanted, version, &error));
                }
            }
        }
        let root = self.config.root.display().to_string();
        Ok(Models::of(served, skipped, &self.config.default, &root)?.named(named))
    }

    /// Whether the configuration names what is served.
    fn is_named(&self) -> bool {
        !self.config.serve.is_empty()
    }
}

/// What an alias was seen to say of a version that is tried out.
fn tried_out(seen: Seen) -> Option<Trial> {
    let (change, since) = (seen.number, seen.at.unwrap_or_default());
    let of = |part, trial: registry::Trial| {
        let registry::Trial { version, percent, limits, .. } = trial;
        Trial { version, part, percent, limits, change, since }
    };
    let canary = seen.canary.map(|trial| of(Part::Canary, trial));
    canary.or_else(|| seen.shadow.map(|trial| of(Part::Shadow, trial)))
}

impl Versions for Catalog {
    fn wanted(&self) -> Result<Vec<Wanted>, ModelsError> {
        let general = self.config.engine;
        if self.is_named() {
            let named = self.config.serve.iter().map(|named| Wanted {
                name: named.name.clone(),
                select: Some(named.version.0.clone()),
                engine: named.engine.unwrap_or(general),
                part: Part::Meant,
            });
            return Ok(named.collect());
        }
        let found = |name| Wanted { name, select: None, engine: general, part: Part::Meant };
        Ok(self.registry.models()?.into_iter().map(found).collect())
    }

    fn resolve(&self, wanted: &Wanted) -> Result<Option<Meant>, ModelsError> {
        let Wanted { name, select, .. } = wanted;
        let meant = |select: &Select| {
            let (version, seen) = self.registry.resolve_seen(name, select)?;
            Ok::<_, RegistryError>(Some(Meant { version, trial: tried_out(seen) }))
        };
        let Some(select) = select else {
            if self.registry.versions(name)?.is_empty() {
                return Ok(None);
            }
            return Ok(match meant(&Select::default()) {
                Err(RegistryError::UnknownAlias { .. }) => meant(&Select::Latest)?,
                production => production?,
            });
        };
        Ok(meant(select)?)
    }

    fn open_version(&self, wanted: &Wanted, version: u32) -> Result<Served, ModelsError> {
        let found = self.registry.load(&wanted.name, &Select::Version(version))?;
        Ok(self.engines.open(found, wanted.engine, self.config.allow_torchscript)?)
    }

    fn state(&self, name: &str, version: u32) -> String {
        // What can't be seen is tried again when it can.
        self.registry.state(name, version).unwrap_or_default()
    }

    fn away(&self) -> Option<String> {
        self.registry.away()
    }

    fn end_canary(&self, wanted: &Wanted, trial: &Trial, verdict: &Verdict) -> Result<(), ModelsError> {
        let Select::Alias(alias) = wanted.select.clone().unwrap_or_default() else { return Ok(()) };
        let (Verdict::Over(reason) | Verdict::Kept(reason)) = verdict else { return Ok(()) };
        let author =
            Author { by: format!("worker {}", self.worker), reason: Some(reason.clone()), evidence: None };
        let promoted = matches!(verdict, Verdict::Kept(_));
        match self.registry.end_canary(&wanted.name, &alias, trial.change, promoted, &author) {
            // Whoever was faster is followed.
            Ok(_) | Err(RegistryError::ChangedMeanwhile { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
