//! Which model versions this worker serves, and which one a request means.

mod catalog;
pub mod config;
mod demand;
mod follow;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::sync::Arc;

use registry::Select;
use wire::{ErrorCode, ErrorReply};

pub use catalog::Catalog;
pub use demand::{Asked, Demand, Refused, unfit};
pub use follow::{Follower, Versions};

use crate::engines::Choice;
use crate::served::{LoadError, NotLoaded, Served};

/// All that are served, and those that would be if their files were whole: a state that a promotion replaces by another.
#[derive(Clone, Debug)]
pub struct Models {
    entries: Vec<Entry>,
    skipped: Vec<Skipped>,
    default: String,
    /// They are named in the configuration: that one of them can't be served is an error.
    named: bool,
}

/// One thing that is to be served, and what serves it now. Of two that mean the same version both have the same.
#[derive(Clone, Debug)]
struct Entry {
    wanted: Wanted,
    served: Arc<Served>,
}

/// A model that is to be served, and which of its versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The version; where `None` the production version, or the latest where none is in production.
    pub select: Option<Select>,
    /// What computes it.
    pub engine: Choice,
}

impl Wanted {
    /// What tells it apart from all else that is wanted, for messages by key.
    #[must_use]
    pub fn key(&self) -> String {
        let name = &self.name;
        self.select
            .as_ref()
            .map_or_else(|| format!("model-{name}"), |select| format!("model-{name}-{select}"))
    }

    /// Whether another version may be meant tomorrow.
    #[must_use]
    pub fn moves(&self) -> bool {
        !matches!(self.select, Some(Select::Version(_)))
    }
}

/// Something that is to be served and can't be. What is beside it is served, and an earlier version of its own, where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// What is wanted.
    pub wanted: Wanted,
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
    fn new(wanted: &Wanted, version: Option<u32>, error: &(dyn Error + 'static)) -> Self {
        let skipped = Self::beside(wanted, version, None, error);
        skipped.log();
        skipped
    }

    /// Where a request named it.
    fn asked_for(wanted: &Wanted, version: u32, error: &(dyn Error + 'static)) -> Self {
        let (name, error) = (&wanted.name, cli::sentence(error));
        let reason = format!("{name} {version} was asked for, and is not served: {error}");
        let skipped = Self { wanted: wanted.clone(), version: Some(version), reason };
        skipped.log();
        skipped
    }

    /// Where `instead` is served for it.
    fn beside(
        wanted: &Wanted,
        version: Option<u32>,
        instead: Option<&Arc<Served>>,
        error: &(dyn Error + 'static),
    ) -> Self {
        let (name, error) = (&wanted.name, cli::sentence(error));
        let reason = match (version, instead) {
            (Some(version), Some(instead)) => {
                format!("{name} {version} is not served, and {instead:?} still is: {error}")
            }
            (None, Some(instead)) => {
                format!(
                    "which version of {name} is meant can't be found out, and {instead:?} is served: {error}"
                )
            }
            (_, None) => format!("{name} is not served: {error}"),
        };
        Self { wanted: wanted.clone(), version, reason }
    }

    fn log(&self) {
        tracing::error!(model = self.wanted.name, "{}", self.reason);
    }
}

impl Models {
    /// Those, beside none that can't be served.
    #[cfg(test)]
    pub fn new(served: Vec<Served>, default: &str, root: &str) -> Result<Self, ModelsError> {
        Self::with_skipped(served, Vec::new(), default, root)
    }

    /// Those in `served`, as by their numbers, beside others that can't be served.
    #[cfg(test)]
    pub fn with_skipped(
        served: Vec<Served>,
        skipped: Vec<Skipped>,
        default: &str,
        root: &str,
    ) -> Result<Self, ModelsError> {
        let entry = |served: Served| {
            let select = Some(Select::Version(served.id.version));
            let wanted = Wanted { name: served.id.name.clone(), select, engine: Choice::default() };
            (wanted, Arc::new(served))
        };
        Self::of(served.into_iter().map(entry).collect(), skipped, default, root)
    }

    /// What is wanted and what serves it, beside others that can't be served; `default` is the one that a request without a name
    /// means. It may be one of the others: requests that mean it are told so.
    ///
    /// # Errors
    /// [`ModelsError`] where there are none, one is wanted twice, or the default is not among them.
    fn of(
        served: Vec<(Wanted, Arc<Served>)>,
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
        for (i, (wanted, model)) in served.iter().enumerate() {
            let same = |other: &Wanted| other.name == wanted.name && other.select == wanted.select;
            if served[..i].iter().any(|(other, _)| same(other)) {
                return Err(ModelsError::Twice { name: wanted.name.clone(), version: model.id.version });
            }
        }
        let entries = served.into_iter().map(|(wanted, served)| Entry { wanted, served }).collect();
        let models = Self { entries, skipped, default: default.to_owned(), named: true };
        if models.entries.iter().any(|entry| entry.wanted.name == default)
            || models.skipped.iter().any(|skipped| skipped.wanted.name == default)
        {
            Ok(models)
        } else {
            Err(ModelsError::Default { default: default.to_owned(), served: models.list() })
        }
    }

    /// Reads their weights and tries each out, one after the other. Of models that are not named but found, those that can't be
    /// loaded, or not be computed, are skipped.
    ///
    /// # Errors
    /// [`ModelsError`] where one that is named can't be loaded or computed, or none can.
    pub fn load(mut self) -> Result<Self, ModelsError> {
        let all: Vec<_> = self.iter().map(Arc::clone).collect();
        for model in all {
            // The last that is heard of a file whose code ends the process.
            tracing::info!("{model:?} is being loaded");
            let Err(source) = model.try_out() else { continue };
            let error = NotLoaded { model: format!("{model:?}"), source };
            if self.named {
                return Err(error.into());
            }
            let (stay, go) = self.entries.into_iter().partition(|entry| !Arc::ptr_eq(&entry.served, &model));
            self.entries = stay;
            let go: Vec<Entry> = go;
            let skipped = |entry: &Entry| Skipped::new(&entry.wanted, Some(model.id.version), &error);
            self.skipped.extend(go.iter().map(skipped));
        }
        if self.entries.is_empty() { Err(ModelsError::none_left(&self.skipped)) } else { Ok(self) }
    }

    /// With that version for what is wanted, in the place of the one that serves it now, or behind all others.
    #[must_use]
    pub fn with(&self, wanted: &Wanted, served: Arc<Served>) -> Self {
        let mut new = self.clone();
        let entry = Entry { wanted: wanted.clone(), served };
        match new.place(wanted) {
            Some(at) => new.entries[at] = entry,
            None => new.entries.push(entry),
        }
        new.without_skipped(wanted)
    }

    /// Without that.
    #[must_use]
    pub fn without(&self, wanted: &Wanted) -> Self {
        let mut new = self.clone();
        new.entries.retain(|entry| entry.wanted != *wanted);
        new
    }

    /// What a request wants that names a version of a model which is served, and computed as that is; none where it is not.
    #[must_use]
    pub fn on_demand(&self, name: Option<&str>, version: u32) -> Option<Wanted> {
        let name = name.unwrap_or(&self.default);
        let of = self.entries.iter().map(|entry| &entry.wanted).find(|wanted| wanted.name == name)?;
        Some(Wanted { select: Some(Select::Version(version)), ..of.clone() })
    }

    /// All that this version serves.
    pub fn wanted_by<'a>(&'a self, served: &'a Arc<Served>) -> impl Iterator<Item = &'a Wanted> {
        self.entries.iter().filter(|entry| Arc::ptr_eq(&entry.served, served)).map(|entry| &entry.wanted)
    }

    /// With that beside what is served.
    #[must_use]
    pub fn with_one_skipped(&self, skipped: Skipped) -> Self {
        let mut new = self.without_skipped(&skipped.wanted);
        new.skipped.push(skipped);
        new
    }

    /// With nothing to say against what is wanted.
    #[must_use]
    pub fn without_skipped(&self, wanted: &Wanted) -> Self {
        let mut new = self.clone();
        new.skipped.retain(|skipped| skipped.wanted != *wanted);
        new
    }

    /// What serves what is wanted.
    #[must_use]
    pub fn serving(&self, wanted: &Wanted) -> Option<&Arc<Served>> {
        self.place(wanted).map(|at| &self.entries[at].served)
    }

    /// That version, where it is served, whoever wants it.
    #[must_use]
    pub fn version(&self, name: &str, version: u32) -> Option<&Arc<Served>> {
        self.served().find(|served| served.id.name == name && served.id.version == version)
    }

    fn place(&self, wanted: &Wanted) -> Option<usize> {
        self.entries.iter().position(|entry| entry.wanted == *wanted)
    }

    /// What serves each thing that is wanted, in their order.
    pub fn served(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.entries.iter().map(|entry| &entry.served)
    }

    /// Each version once, and its place in the order of [`Models::served`].
    pub fn distinct(&self) -> impl Iterator<Item = (usize, &Arc<Served>)> {
        let before = |at: usize| self.served().take(at);
        let first =
            move |(at, model): &(usize, &Arc<Served>)| !before(*at).any(|other| Arc::ptr_eq(other, model));
        self.served().enumerate().filter(first)
    }

    /// Each version that is served, once.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.distinct().map(|(_, model)| model)
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
        self.position(name, version).map(|at| &self.entries[at].served)
    }

    /// As [`Models::find`], its place in the order of [`Models::served`].
    pub(crate) fn position(&self, name: Option<&str>, version: Option<u32>) -> Result<usize, ErrorReply> {
        let name = name.unwrap_or(&self.default);
        let mut named = self.served().enumerate().filter(|(_, m)| m.id.name == name).peekable();
        let not_found = |message: String| ErrorReply::new(ErrorCode::NotFound, message);
        if named.peek().is_none() {
            if self.skipped.iter().any(|skipped| skipped.wanted.name == name) {
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
        let names: Vec<_> = self.iter().map(|m| format!("{:?}", **m)).collect();
        names.join(", ")
    }
}
