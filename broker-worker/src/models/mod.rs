//! Which model versions this worker serves, and which one a request means.

pub mod config;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::sync::Arc;

use registry::{Registry, Select};
use wire::{ErrorCode, ErrorReply};

use crate::engines::{Choice, Engines};
use crate::served::{LoadError, NotLoaded, Served};

/// All that are served, and those that would be if their files were whole.
#[derive(Clone, Debug)]
pub struct Models {
    served: Vec<Arc<Served>>,
    skipped: Vec<Skipped>,
    default: String,
    /// They are named in the configuration: that one of them can't be served is an error.
    named: bool,
}

/// A model of the folder that can't be served. Those beside it are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its name.
    pub name: String,
    /// The version, where it is known which one is meant.
    pub version: Option<u32>,
    /// Why, and what to do.
    pub reason: String,
}

/// Why the configured models can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// The registry refuses one.
    #[error(transparent)]
    Registry(#[from] registry::RegistryError),
    /// This build can't serve one.
    #[error(transparent)]
    Engine(#[from] LoadError),
    /// One can't be loaded.
    #[error(transparent)]
    NotLoaded(#[from] NotLoaded),
    /// There are none.
    #[error("no model is served: models.serve names none and {root} holds none")]
    None {
        /// `models.root`.
        root: String,
    },
    /// None of those that there are can be served.
    #[error("no model can be served: {reasons}")]
    NoneLeft {
        /// Why not, each.
        reasons: String,
    },
    /// One is named twice.
    #[error("{name} version {version} is served twice: name it once in models.serve")]
    Twice {
        /// Its name.
        name: String,
        /// Its version.
        version: u32,
    },
    /// The default is not among them.
    #[error(
        "models.default is {default}, and this worker serves {served} only: name one of them, as with --set models.default=NAME"
    )]
    Default {
        /// The configured name.
        default: String,
        /// Those served.
        served: String,
    },
}

impl ModelsError {
    fn none_left(skipped: &[Skipped]) -> Self {
        let reasons: Vec<_> = skipped.iter().map(|s| s.reason.as_str()).collect();
        Self::NoneLeft { reasons: reasons.join("; ") }
    }
}

impl Skipped {
    fn new(name: String, version: Option<u32>, error: &dyn Error) -> Self {
        let reason = format!("{name} is not served: {}", with_causes(error));
        tracing::error!(model = name, "{reason}");
        Self { name, version, reason }
    }
}

impl Models {
    /// Those, beside none that can't be served.
    #[cfg(test)]
    pub fn new(served: Vec<Served>, default: &str, root: &str) -> Result<Self, ModelsError> {
        Self::with_skipped(served, Vec::new(), default, root)
    }

    /// Those in `served`, beside others that can't be served; `default` is the one that a request without a name means.
    /// It may be one of the others: requests that mean it are told so.
    ///
    /// # Errors
    /// [`ModelsError`] where there are none, one is there twice, or the default is not among them.
    pub fn with_skipped(
        served: Vec<Served>,
        skipped: Vec<Skipped>,
        default: &str,
        root: &str,
    ) -> Result<Self, ModelsError> {
        if served.is_empty() && skipped.is_empty() {
            return Err(ModelsError::None { root: root.to_owned() });
        }
        if served.is_empty() {
            return Err(ModelsError::none_left(&skipped));
        }
        for (i, model) in served.iter().enumerate() {
            let id = &model.id;
            if served[..i].iter().any(|m| m.id.name == id.name && m.id.version == id.version) {
                return Err(ModelsError::Twice { name: id.name.clone(), version: id.version });
            }
        }
        let served = served.into_iter().map(Arc::new).collect();
        let models = Self { served, skipped, default: default.to_owned(), named: true };
        if models.served.iter().any(|m| m.id.name == default)
            || models.skipped.iter().any(|m| m.name == default)
        {
            Ok(models)
        } else {
            Err(ModelsError::Default { default: default.to_owned(), served: models.list() })
        }
    }

    /// Those of that section, from its folder: each file is there in its size, and is read and checked by [`Models::load`]. Of
    /// models that are not named but found there, those that are not whole are skipped: somebody may be copying them.
    ///
    /// # Errors
    /// [`ModelsError`] where one that is named is missing or damaged, or where none is left.
    pub(crate) fn open(config: &config::Models, engines: Engines) -> Result<Self, ModelsError> {
        let registry = Registry::open(&config.root)?;
        let open = |name: &str, select: &Select, engine: Choice| -> Result<Served, ModelsError> {
            Ok(engines.open(registry.load(name, select)?, engine, config.allow_torchscript)?)
        };
        let general = config.engine;
        let (mut served, mut skipped) = (Vec::new(), Vec::new());
        for named in &config.serve {
            served.push(open(&named.name, &named.version.0, named.engine.unwrap_or(general))?);
        }
        if config.serve.is_empty() {
            for name in registry.models()? {
                match found(&registry, &name).map_err(Into::into).and_then(|found| match found {
                    Some(select) => open(&name, &select, general).map(Some),
                    None => Ok(None),
                }) {
                    Ok(found) => served.extend(found),
                    Err(error) => {
                        let version = registry.resolve(&name, &Select::default()).ok();
                        skipped.push(Skipped::new(name, version, &error));
                    }
                }
            }
        }
        let root = config.root.display().to_string();
        let models = Self::with_skipped(served, skipped, &config.default, &root)?;
        Ok(Self { named: !config.serve.is_empty(), ..models })
    }

    /// Reads their weights and tries each out, one after the other. Of models that are not named but found, those that can't be
    /// loaded, or not be computed, are skipped.
    ///
    /// # Errors
    /// [`ModelsError`] where one that is named can't be loaded or computed, or none can.
    pub fn load(mut self) -> Result<Self, ModelsError> {
        for model in std::mem::take(&mut self.served) {
            // The last that is heard of a file whose code ends the process.
            tracing::info!("{model:?} is being loaded");
            match model.try_out() {
                Ok(()) => self.served.push(model),
                Err(source) => {
                    let error = NotLoaded { model: format!("{model:?}"), source };
                    if self.named {
                        return Err(error.into());
                    }
                    let (name, version) = (model.id.name.clone(), model.id.version);
                    self.skipped.push(Skipped::new(name, Some(version), &error));
                }
            }
        }
        if self.served.is_empty() { Err(ModelsError::none_left(&self.skipped)) } else { Ok(self) }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.served.iter()
    }

    /// Those that can't be served.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Whether it answers a request that names no model.
    #[must_use]
    pub fn is_default(&self, served: &Served) -> bool {
        self.find(None, None).is_ok_and(|found| found.id == served.id)
    }

    /// The one that a request means: without a name the default, without a version the first one configured.
    ///
    /// # Errors
    /// `NOT_FOUND` where it is not served here; `UNAVAILABLE` where it would be if its files were whole.
    pub fn find(&self, name: Option<&str>, version: Option<u32>) -> Result<&Arc<Served>, ErrorReply> {
        self.position(name, version).map(|at| &self.served[at])
    }

    /// As [`Models::find`], its place in the order of [`Models::iter`].
    pub(crate) fn position(&self, name: Option<&str>, version: Option<u32>) -> Result<usize, ErrorReply> {
        let name = name.unwrap_or(&self.default);
        let mut named = self.served.iter().enumerate().filter(|(_, m)| m.id.name == name).peekable();
        let not_found = |message: String| ErrorReply::new(ErrorCode::NotFound, message);
        if named.peek().is_none() {
            if self.skipped.iter().any(|skipped| skipped.name == name) {
                let message = format!("model '{name}' can't be served by this worker: its log says why");
                return Err(ErrorReply::new(ErrorCode::Unavailable, message));
            }
            let (name, served) = (wire::quoted(name), self.list());
            return Err(not_found(format!("model '{name}' is not served here; there are: {served}")));
        }
        let found = named.find(|(_, m)| version.is_none_or(|v| m.id.version == v));
        found.map(|(at, _)| at).ok_or_else(|| {
            let version = version.unwrap_or_default();
            not_found(format!("version {version} of {name} is not served here; there are: {}", self.list()))
        })
    }

    fn list(&self) -> String {
        let names: Vec<_> = self.served.iter().map(|m| format!("{:?}", **m)).collect();
        names.join(", ")
    }
}

/// Which version of a model that is found in the folder is meant: the production version, or the latest where it names
/// none. Nothing where it has no version yet.
fn found(registry: &Registry, name: &str) -> Result<Option<Select>, registry::RegistryError> {
    if registry.versions(name)?.is_empty() {
        return Ok(None);
    }
    Ok(Some(match registry.resolve(name, &Select::default()) {
        Err(registry::RegistryError::UnknownAlias { .. }) => Select::Latest,
        _ => Select::default(),
    }))
}

/// An error with its causes, a line of each: what follows the first one may be pages of a library's stack trace.
fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let lines: Vec<_> =
        causes.map(|cause| cause.to_string().lines().next().unwrap_or_default().to_owned()).collect();
    lines.join(": ")
}
