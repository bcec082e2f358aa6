//! Which versions of a model there are, and which one is in service: the registry of model versions, where the gateway is told where it lies.
//! It keeps nothing of it, and asks it anew each time.

use std::error::Error as _;
use std::path::PathBuf;

use registry::{Author, Change, Registry, RegistryError, Seen, Select, TryOut};
use serde::{Deserialize, Serialize};

use crate::gateway::Gateway;
use crate::problem::Problem;

/// The alias that workers serve where they are not told another.
pub const PRODUCTION: &str = "production";
/// The longest reason that is kept, in bytes: an entry of the history is small.
const MAX_REASON: usize = 2000;

/// The section `models` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Models {
    /// Where the model versions lie: a folder, or the URL of an object store (`s3://bucket/prefix`, `gs://`, `az://`); none where people may
    /// not promote here.
    pub root: Option<PathBuf>,
}

/// A change that somebody asks for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Who and why.
    pub author: Author,
    /// The number of the last change that they saw, where they say so.
    pub seen: Option<u32>,
}

impl Gateway {
    /// Asks the registry, beside the runtime: it reads files, or an object store.
    ///
    /// # Errors
    /// [`Problem`]: 501 where it is not said where the registry lies, 404, 409 or 422 as what it says, 503 where it can't be read or written.
    pub async fn registry<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Registry) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, Problem> {
        let Some(root) = self.config.models.root.clone() else {
            return Err(Problem::not_implemented(
                "this gateway does not know where the model versions lie: set models.root to the folder or object store of the workers",
            ));
        };
        let asked = tokio::task::spawn_blocking(move || ask(&Registry::open(root)?)).await;
        asked.map_err(|error| Problem::internal(error.to_string()))?.map_err(|error| problem(&error))
    }
}

/// Puts a version into service, or tries it out by that many of a hundred requests. It was not held against the one in service here: that is
/// what `model promote --force` does, and the history keeps the reason.
///
/// # Errors
/// [`RegistryError::ChangedMeanwhile`] where somebody else was quicker; else as [`Registry::promote`] and [`Registry::try_out`].
pub fn promote(
    registry: &Registry,
    model: &str,
    version: u32,
    canary: Option<u8>,
    wish: &Wish,
) -> Result<Change, RegistryError> {
    let seen = as_seen(registry, model, wish)?;
    match canary {
        Some(percent) => {
            registry.try_out(model, PRODUCTION, version, TryOut::Canary(percent, None), &wish.author)
        }
        None => registry.promote(model, PRODUCTION, version, &wish.author, Some(&seen)),
    }
}

/// Ends what is tried out, or goes back to a version that was in service before.
///
/// # Errors
/// As [`promote`], and where there is nothing to go back to.
pub fn rollback(
    registry: &Registry,
    model: &str,
    to: Option<u32>,
    wish: &Wish,
) -> Result<Change, RegistryError> {
    as_seen(registry, model, wish)?;
    registry.rollback(model, PRODUCTION, to, &wish.author)
}

/// What is in service, if it is what whoever asks has seen.
fn as_seen(registry: &Registry, model: &str, wish: &Wish) -> Result<Seen, RegistryError> {
    let seen = registry.alias(model, PRODUCTION)?;
    if wish.seen.is_some_and(|number| number != seen.number) {
        let (name, alias) = (model.to_owned(), PRODUCTION.to_owned());
        return Err(RegistryError::ChangedMeanwhile { name, alias, found: seen.version });
    }
    Ok(seen)
}

/// Who, and why.
///
/// # Errors
/// [`Problem`] 422 where there is no reason, or one that the history does not keep.
pub fn author(by: String, reason: &str) -> Result<Author, Problem> {
    let reason = reason.trim();
    let unseen = |c: char| c.is_control() && c != '\n';
    if reason.is_empty() || reason.len() > MAX_REASON || reason.chars().any(unseen) {
        return Err(Problem::unprocessable(format!(
            "reason is why it is done, which the history keeps: 1 to {MAX_REASON} bytes, without control characters"
        )));
    }
    Ok(Author { by, reason: Some(reason.to_owned()), evidence: None })
}

/// All labels of the version in service, that of none of the classes included.
///
/// # Errors
/// Where it can't be read.
pub fn labels(registry: &Registry, model: &str) -> Result<Vec<String>, RegistryError> {
    let manifest = registry.load(model, &Select::Alias(PRODUCTION.to_owned()))?.manifest;
    let reject = manifest.classes.reject.map(|reject| reject.label);
    let mut labels: Vec<_> = manifest.classes.labels.into_iter().map(|class| class.label).collect();
    labels.extend(reject);
    labels.sort();
    labels.dedup();
    Ok(labels)
}

fn problem(error: &RegistryError) -> Problem {
    use RegistryError as E;
    let words = cli::sentence(error);
    match error {
        E::UnknownModel { .. } | E::UnknownVersion { .. } | E::NoVersions { .. } | E::UnknownAlias { .. } => {
            Problem::not_found(words)
        }
        E::ChangedMeanwhile { .. } | E::TrialOver { .. } => Problem::conflict(words),
        E::BadName { .. } | E::BadSelect { .. } | E::NoTrial { .. } | E::NoRollback { .. } => {
            Problem::unprocessable(words)
        }
        // What whoever runs the gateway has to mend.
        _ => {
            tracing::warn!(cause = error.source().map(ToString::to_string), "{error}");
            Problem::unavailable(words)
        }
    }
}
