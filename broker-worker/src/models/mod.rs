//! Which model versions this worker serves, and which one a request means.

mod catalog;
pub mod config;
mod demand;
mod follow;
mod table;
#[cfg(test)]
mod tests;
mod ticket;

use std::error::Error;
use std::sync::Arc;

use jiff::Timestamp;
use registry::{Limits, Select};

pub use catalog::Catalog;
pub use demand::{Asked, Asking, Demand, Refused, unfit};
pub use follow::{Follower, Versions};
#[cfg(test)]
pub use table::Position;
pub use table::{Models, Share};

use crate::engines::Choice;
use crate::served::{LoadError, NotLoaded, Served};

/// A model that is to be served, and which of its versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The version; where `None` the production version, or the latest where none is in production.
    pub select: Option<Select>,
    /// What computes it.
    pub engine: Choice,
    /// That itself, or what is tried out beside it.
    pub part: Part,
}

/// What a version of a model is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// It is the version that is meant.
    #[default]
    Meant,
    /// It answers some of the requests in the place of that.
    Canary,
    /// It computes some of the requests beside that, and answers none.
    Shadow,
}

impl Part {
    /// Those that are tried out.
    pub const TRIED: [Self; 2] = [Self::Canary, Self::Shadow];
}

impl Wanted {
    /// What is tried out beside this, as that part.
    #[must_use]
    pub fn beside(&self, part: Part) -> Self {
        Self { part, ..self.clone() }
    }

    /// Whether this is that part beside the other.
    fn is_beside(&self, other: &Self, part: Part) -> bool {
        let of = |wanted: &Self| (wanted.part, wanted.engine);
        of(self) == (part, other.engine) && self.name == other.name && self.select == other.select
    }

    /// What tells it apart from all else that is wanted, for messages by key.
    #[must_use]
    pub fn key(&self) -> String {
        let name = &self.name;
        let select = self.select.as_ref().map_or_else(String::new, |select| format!("-{select}"));
        let part = match self.part {
            Part::Meant => "",
            Part::Canary => "-canary",
            Part::Shadow => "-shadow",
        };
        format!("model-{name}{select}{part}")
    }

    /// Whether another version may be meant tomorrow.
    #[must_use]
    pub fn moves(&self) -> bool {
        !matches!(self.select, Some(Select::Version(_)))
    }
}

/// The version that is meant, and what is tried out beside it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meant {
    /// The version.
    pub version: u32,
    /// Another one.
    pub trial: Option<Trial>,
}

/// A version that is tried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The version.
    pub version: u32,
    /// Whether it answers.
    pub part: Part,
    /// By how many of a hundred requests.
    pub percent: u8,
    /// Within what it has to keep, where it is not for people to see to that.
    pub limits: Option<Limits>,
    /// Which change of the alias began it.
    pub change: u32,
    /// When that was, by the clock of whoever made it.
    pub since: Timestamp,
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
    /// Whether the store of models can't be reached: the same may go well a little later.
    fn is_away(&self) -> bool {
        matches!(self, Self::Registry(error) if error.is_away())
    }

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
            (Some(version), None) if wanted.part != Part::Meant => {
                format!("{name} {version} is not tried out: {error}")
            }
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
