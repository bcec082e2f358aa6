//! Which model versions this worker serves, and which one a request means.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use model::{Device, Predictor};
use model_core::{EngineError, ImageLimits, Pixels, Preprocessor};
use registry::{ModelVersion, Registry, Select};
use wire::{ErrorCode, ErrorReply, ModelId, Prediction};

use crate::backend::{Backend, BackendError, Input, Loader, Prepare};
use crate::config::Config;

/// A model version that is served.
pub struct Served {
    /// Its name, version and digest.
    pub id: ModelId,
    /// The net's architecture, for the announcement.
    pub architecture: String,
    /// How many labels it can answer with.
    pub labels: u32,
    /// From file to pixels.
    pub prepare: Box<dyn Prepare>,
    /// From nothing to a warm backend.
    pub load: Box<Loader>,
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id.name, self.id.version)
    }
}

/// All that are served, and those that would be if their files were whole.
#[derive(Clone, Debug)]
pub struct Models {
    served: Vec<Arc<Served>>,
    skipped: Vec<Skipped>,
    default: String,
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
    /// The predictor refuses one.
    #[error(transparent)]
    Model(#[from] model::ModelError),
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
    #[error("models.default is {default}, and this worker serves {served} only")]
    Default {
        /// The configured name.
        default: String,
        /// Those served.
        served: String,
    },
}

impl Models {
    /// Those in `served`, `default` being the one that a request without a name means.
    ///
    /// # Errors
    /// [`ModelsError`] where there are none, one is there twice, or the default is not among them.
    pub fn new(served: Vec<Served>, default: &str, root: &str) -> Result<Self, ModelsError> {
        Self::with_skipped(served, Vec::new(), default, root)
    }

    /// As [`Models::new`], beside others that can't be served. The default may be one of those: requests that mean it
    /// are told so.
    ///
    /// # Errors
    /// As [`Models::new`].
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
            let reasons: Vec<_> = skipped.into_iter().map(|s| s.reason).collect();
            return Err(ModelsError::NoneLeft { reasons: reasons.join("; ") });
        }
        for (i, model) in served.iter().enumerate() {
            let id = &model.id;
            if served[..i].iter().any(|m| m.id.name == id.name && m.id.version == id.version) {
                return Err(ModelsError::Twice { name: id.name.clone(), version: id.version });
            }
        }
        let served = served.into_iter().map(Arc::new).collect();
        let models = Self { served, skipped, default: default.to_owned() };
        if models.served.iter().any(|m| m.id.name == default)
            || models.skipped.iter().any(|m| m.name == default)
        {
            Ok(models)
        } else {
            Err(ModelsError::Default { default: default.to_owned(), served: models.list() })
        }
    }

    /// Those of the configuration, from its folder: each file is checked against its digest, nothing is loaded yet. Of
    /// models that are not named but found there, those that are not whole are skipped: somebody may be copying them.
    ///
    /// # Errors
    /// [`ModelsError`] where one that is named is missing or damaged, or where none is left.
    pub fn open(config: &Config) -> Result<Self, ModelsError> {
        let registry = Registry::open(&config.models.root)?;
        let device = config.device.0.resolve()?;
        let limits = config.limits.image();
        let open = |name: &str, select: &Select| -> Result<Served, ModelsError> {
            Ok(Served::new(registry.load(name, select)?, device, limits)?)
        };
        let (mut served, mut skipped) = (Vec::new(), Vec::new());
        for named in &config.models.serve {
            served.push(open(&named.name, &named.version.0)?);
        }
        if config.models.serve.is_empty() {
            for name in registry.models()? {
                match found(&registry, &name).map_err(Into::into).and_then(|found| match found {
                    Some(select) => open(&name, &select).map(Some),
                    None => Ok(None),
                }) {
                    Ok(found) => served.extend(found),
                    Err(error) => {
                        let version = registry.resolve(&name, &Select::default()).ok();
                        let reason = format!("{name} is not served: {error}");
                        tracing::error!(model = name, "{reason}");
                        skipped.push(Skipped { name, version, reason });
                    }
                }
            }
        }
        let root = config.models.root.display().to_string();
        Self::with_skipped(served, skipped, &config.models.default, &root)
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

impl Served {
    /// A version of the registry.
    ///
    /// # Errors
    /// [`model::ModelError`] where this build can't serve it.
    pub fn new(
        version: ModelVersion,
        device: Device,
        limits: ImageLimits,
    ) -> Result<Self, model::ModelError> {
        let manifest = &version.manifest;
        let preprocessor = Preprocessor::new(manifest)?;
        let classes = manifest.classes.clone();
        // Loaded by the first instance; the others share its weights.
        let first: Mutex<Option<Predictor>> = Mutex::default();
        Ok(Self {
            id: ModelId {
                name: manifest.name.clone(),
                version: manifest.version,
                digest: version.digest.clone(),
            },
            architecture: architecture(manifest.architecture),
            labels: u32::try_from(classes.labels.len() + usize::from(classes.none.is_some()))
                .unwrap_or(u32::MAX),
            prepare: Box::new(Decoder { preprocessor, limits }),
            load: Box::new(move |max_batch| {
                let failed = |e: model::ModelError| BackendError(e.to_string());
                let predictor = {
                    let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                    match &*first {
                        Some(first) => first.share(),
                        None => first.insert(Predictor::load(&version, device).map_err(failed)?).share(),
                    }
                };
                predictor.warm_up(max_batch).map_err(engine_failed)?;
                Ok(Box::new(Net { predictor, classes: classes.clone() }))
            }),
        })
    }
}

/// The manifest's own word for it.
fn architecture(architecture: registry::Architecture) -> String {
    serde_json::to_value(architecture)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_else(|| format!("{architecture:?}"))
}

struct Decoder {
    preprocessor: Preprocessor,
    limits: ImageLimits,
}

impl Prepare for Decoder {
    fn prepare(&self, file: &[u8]) -> Result<Pixels, String> {
        self.preprocessor.decode(file, &self.limits).map_err(|e| e.to_string())
    }
}

/// A sentence for the sender; the library's own words, which may be pages of a stack trace, are for the log.
fn engine_failed(error: EngineError) -> BackendError {
    tracing::error!(error = &error as &dyn std::error::Error, "the engine failed");
    BackendError(error.to_string())
}

struct Net {
    predictor: Predictor,
    classes: registry::Classes,
}

impl Backend for Net {
    fn predict(&mut self, batch: &[Input<'_>]) -> Result<Vec<Vec<Prediction>>, BackendError> {
        let pixels: Vec<_> = batch.iter().map(|input| input.pixels).collect();
        let scores = self.predictor.predict(&pixels).map_err(engine_failed)?;
        let named = |(scores, input): (&model_core::Scores, &Input<'_>)| {
            let top = scores.top_k(&self.classes, input.top_k);
            top.into_iter().map(|p| Prediction { label: p.label, index: p.index, probability: p.probability })
        };
        Ok(scores.iter().zip(batch).map(|pair| named(pair).collect()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles;
    use std::path::Path;

    fn models() -> Models {
        let served = vec![doubles::served("bird", 2), doubles::served("bird", 1), doubles::served("shoe", 1)];
        Models::new(served, "shoe", "weights").unwrap()
    }

    #[test]
    fn finds_by_name_and_version_and_falls_back_to_the_default() {
        let found = |name, version| models().find(name, version).map(|m| format!("{m:?}"));
        assert_eq!(found(None, None).unwrap(), "shoe 1");
        assert_eq!(found(Some("bird"), None).unwrap(), "bird 2", "the first one configured");
        assert_eq!(found(Some("bird"), Some(1)).unwrap(), "bird 1");
    }

    #[test]
    fn says_what_there_is_where_it_finds_nothing() {
        for (name, version) in [(Some("fish"), None), (Some("bird"), Some(9)), (None, Some(2))] {
            let error = models().find(name, version).unwrap_err();
            assert_eq!(error.code, ErrorCode::NotFound);
            assert!(error.message.ends_with("there are: bird 2, bird 1, shoe 1"), "{}", error.message);
        }
        let long = models().find(Some(&"x".repeat(1 << 20)), None).unwrap_err().message;
        assert!(long.len() < 400, "a name that long is cut: {} bytes", long.len());
    }

    /// A copy of the shipped Fashion-MNIST model, and another model beside it whose weights are cut short.
    fn half_copied() -> tempfile::TempDir {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights/fashion-mnist");
        let dir = tempfile::tempdir().unwrap();
        for name in ["fashion-mnist", "half"] {
            let version = dir.path().join(name).join("1");
            std::fs::create_dir_all(&version).unwrap();
            std::fs::write(dir.path().join(name).join("production"), "1\n").unwrap();
            let manifest = std::fs::read_to_string(shipped.join("1/manifest.yaml")).unwrap();
            let manifest = manifest.replacen("fashion-mnist", name, 1);
            std::fs::write(version.join("manifest.yaml"), manifest).unwrap();
            let weights = std::fs::read(shipped.join("1/model.safetensors")).unwrap();
            let end = if name == "half" { weights.len() / 2 } else { weights.len() };
            std::fs::write(version.join("model.safetensors"), &weights[..end]).unwrap();
        }
        dir
    }

    #[test]
    fn a_half_copied_model_is_skipped_and_those_beside_it_are_served() {
        let dir = half_copied();
        let mut config = Config::default();
        config.models.root = dir.path().to_owned();
        let models = Models::open(&config).unwrap();
        assert_eq!(models.list(), "fashion-mnist 1");
        let [skipped] = models.skipped() else { panic!("{:?}", models.skipped()) };
        assert_eq!((skipped.name.as_str(), skipped.version), ("half", Some(1)));
        assert!(skipped.reason.starts_with("half is not served: "), "{}", skipped.reason);
        assert_eq!(models.find(Some("half"), None).unwrap_err().code, ErrorCode::Unavailable);

        config.models.default = "half".to_owned();
        let models = Models::open(&config).unwrap();
        assert_eq!(models.find(None, None).unwrap_err().code, ErrorCode::Unavailable);

        std::fs::remove_file(dir.path().join("half/1/manifest.yaml")).unwrap();
        assert_eq!(Models::open(&config).unwrap().skipped().len(), 1, "nor does a missing file");
    }

    #[test]
    fn a_damaged_model_that_is_named_or_alone_is_fatal() {
        let dir = half_copied();
        let mut config = Config::default();
        config.models.root = dir.path().to_owned();
        config.models.serve = serde_yaml::from_str("[{name: fashion-mnist}, {name: half}]").unwrap();
        assert!(matches!(Models::open(&config), Err(ModelsError::Registry(_))));
        config.models.serve.clear();
        std::fs::remove_dir_all(dir.path().join("fashion-mnist")).unwrap();
        let error = Models::open(&config).unwrap_err().to_string();
        assert!(error.starts_with("no model can be served: half is not served: "), "{error}");
    }

    #[test]
    fn refuses_nothing_to_serve_the_same_twice_and_a_default_that_is_not_served() {
        let error = |served, default| Models::new(served, default, "weights").unwrap_err().to_string();
        assert!(error(vec![], "bird").contains("no model"));
        assert!(
            error(vec![doubles::served("bird", 1), doubles::served("bird", 1)], "bird").contains("twice")
        );
        assert!(error(vec![doubles::served("bird", 1)], "fish").contains("models.default is fish"));
    }
}
