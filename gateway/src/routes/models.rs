//! `/v1/models/{model}`: which versions there are, what was in service, and putting another one there, where `models.root` says where they lie.

use axum::Router;
use axum::extract::{Extension, Path, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use registry::{Change, Metric, Registry, RegistryError, Select};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Shared, fresh};
use crate::audit::Entry;
use crate::body;
use crate::caller::Caller;
use crate::problem::{Problem, ProblemDetails};
use crate::review::reviewer;
use crate::versions::{self, PRODUCTION, Wish};

/// What a body says.
const CHANGE: &str = "what is to be in service";
/// The largest one, in bytes.
const MAX_BODY: usize = 16 << 10;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/models/{model}/versions", get(list))
        .route("/v1/models/{model}/history", get(history))
        .route("/v1/models/{model}/promote", post(promote))
        .route("/v1/models/{model}/rollback", post(rollback))
}

/// A model's versions.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Versions {
    model: String,
    /// The version in service; none where none is.
    production: Option<u32>,
    /// The number of the last change: say it as `seen`, and nothing is changed that somebody else changed meanwhile.
    seen: u32,
    /// The version that is tried out, and how, as the history has it; none where none is.
    #[schema(value_type = Option<Object>)]
    canary: Option<registry::Trial>,
    /// The version that computes beside, and how; none where none does.
    #[schema(value_type = Option<Object>)]
    shadow: Option<registry::Trial>,
    /// The versions, the youngest first.
    versions: Vec<Version>,
}

/// A version.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Version {
    version: u32,
    /// The digest of its manifest; none where it can't be read.
    digest: Option<String>,
    /// How many classes it has.
    labels: Option<usize>,
    /// What was measured of it, as its manifest has it.
    #[schema(value_type = Vec<Object>)]
    metrics: Vec<Metric>,
    /// Why it can't be read; none where it can.
    fault: Option<String>,
}

/// What was in service, the last change first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Changes {
    model: String,
    /// Each as docs/registry.md has it.
    #[schema(value_type = Vec<Object>)]
    changes: Vec<Change>,
}

/// What is to be in service.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Promotion {
    /// The version.
    #[schema(minimum = 1)]
    version: u32,
    /// Why: the history keeps it.
    #[schema(max_length = 2000)]
    reason: String,
    /// Who does it.
    #[schema(max_length = 100)]
    by: Option<String>,
    /// Only by so many of a hundred requests, beside the one in service.
    #[schema(minimum = 1, maximum = 99)]
    canary: Option<u8>,
    /// The number of the last change that was seen.
    seen: Option<u32>,
}

/// What is to be in service again.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rollback {
    /// The version; where none is said, what is tried out ends, or the one before comes back.
    #[schema(minimum = 1)]
    to: Option<u32>,
    /// Why: the history keeps it.
    #[schema(max_length = 2000)]
    reason: String,
    /// Who does it.
    #[schema(max_length = 100)]
    by: Option<String>,
    /// The number of the last change that was seen.
    seen: Option<u32>,
}

/// A change that was made.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Changed {
    model: String,
    /// As docs/registry.md has it.
    #[schema(value_type = Object)]
    change: Change,
}

/// The versions of a model
///
/// What the registry has of them; workers say at `/v1/workers` what they serve.
#[utoipa::path(get, path = "/v1/models/{model}/versions", tag = "models",
    params(("model" = String, Path, description = "The model's name")),
    responses(
        (status = 200, description = "Its versions", body = Versions),
        (status = "default", description = "Problem details; 501 where models.root is not set", body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(
    State(gateway): State<Shared>,
    Path(model): Path<String>,
) -> Result<Response, Problem> {
    let versions = gateway.registry(move |registry| {
        let seen = registry.alias(&model, PRODUCTION)?;
        let mut versions = Vec::new();
        for version in registry.versions(&model)?.into_iter().rev() {
            let found = registry.load(&model, &Select::Version(version));
            let fault = found.as_ref().err().map(|error| cli::sentence(error));
            let found = found.ok();
            versions.push(Version {
                version,
                fault,
                digest: found.as_ref().map(|found| found.digest.clone()),
                labels: found.as_ref().map(|found| found.manifest.classes.labels.len()),
                metrics: found.map(|found| found.manifest.metrics).unwrap_or_default(),
            });
        }
        let registry::Seen { version: production, number, canary, shadow, .. } = seen;
        Ok(Versions { model, production, seen: number, canary, shadow, versions })
    });
    Ok(fresh(versions.await?))
}

/// Which versions of a model were in service
#[utoipa::path(get, path = "/v1/models/{model}/history", tag = "models",
    params(("model" = String, Path, description = "The model's name")),
    responses(
        (status = 200, description = "Who changed that, when and why", body = Changes),
        (status = "default", description = "Problem details; 501 where models.root is not set", body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn history(
    State(gateway): State<Shared>,
    Path(model): Path<String>,
) -> Result<Response, Problem> {
    let changes = gateway.registry(move |registry| {
        let mut changes = registry.history(&model, PRODUCTION)?;
        changes.reverse();
        Ok(Changes { model, changes })
    });
    Ok(fresh(changes.await?))
}

/// Put a version into service
///
/// It is not held against the one that is: as `model promote --force`, it wants a reason, which the history keeps. Workers follow within a
/// moment.
#[utoipa::path(post, path = "/v1/models/{model}/promote", tag = "models",
    params(("model" = String, Path, description = "The model's name")),
    request_body(content((Promotion = "application/json"))),
    responses(
        (status = 200, description = "It is", body = Changed),
        (status = 409, description = "Somebody else was quicker", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "default", description = "Problem details; 501 where models.root is not set", body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn promote(
    State(gateway): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(model): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let Promotion { version, reason, by, canary, seen } =
        body::json(&gateway, &parts.headers, body, CHANGE, MAX_BODY).await?;
    let subject = format!("{model} {version}");
    let change = move |registry: &Registry, model: &str, wish: &Wish| {
        versions::promote(registry, model, version, canary, wish)
    };
    changed(&gateway, &caller, model, (by, &reason, seen), ("model.promote", &subject), change).await
}

/// Go back to a version that was in service before, or end what is tried out
#[utoipa::path(post, path = "/v1/models/{model}/rollback", tag = "models",
    params(("model" = String, Path, description = "The model's name")),
    request_body(content((Rollback = "application/json"))),
    responses(
        (status = 200, description = "It is", body = Changed),
        (status = 409, description = "Somebody else was quicker", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "default", description = "Problem details; 501 where models.root is not set", body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn rollback(
    State(gateway): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(model): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let Rollback { to, reason, by, seen } =
        body::json(&gateway, &parts.headers, body, CHANGE, MAX_BODY).await?;
    let subject = model.clone();
    let change =
        move |registry: &Registry, model: &str, wish: &Wish| versions::rollback(registry, model, to, wish);
    changed(&gateway, &caller, model, (by, &reason, seen), ("model.rollback", &subject), change).await
}

/// Has what is in service changed, by whoever asks, and writes down who that was and what came of it.
async fn changed(
    gateway: &Shared,
    caller: &Caller,
    model: String,
    (by, reason, seen): (Option<String>, &str, Option<u32>),
    (action, subject): (&str, &str),
    change: impl FnOnce(&Registry, &str, &Wish) -> Result<Change, RegistryError> + Send + 'static,
) -> Result<Response, Problem> {
    gateway.may_be_changed()?;
    let by = reviewer(caller, by.as_deref())?;
    let wish = Wish { author: versions::author(by.clone(), reason)?, seen };
    let named = model.clone();
    let change = gateway.registry(move |registry| change(registry, &named, &wish)).await;
    Entry::new(action, subject).by(&by).asked_by(caller).came_to(&change);
    Ok(fresh(Changed { model, change: change? }))
}
