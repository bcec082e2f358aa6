//! The Open Inference Protocol, version 2, by REST: the server, its models, their repository. Inference is next door.

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Shared, v2_infer};
use crate::caller::Caller;
use crate::infer::repository::{self, Wish};
use crate::infer::{self, models, tensor};
use crate::problem::{Problem, ProblemDetails};

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v2", get(server))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models/{model}", get(model))
        .route("/v2/models/{model}/ready", get(model_ready))
        .route("/v2/models/{model}/infer", post(v2_infer::infer))
        .route("/v2/models/{model}/versions/{version}", get(version))
        .route("/v2/models/{model}/versions/{version}/ready", get(version_ready))
        .route("/v2/models/{model}/versions/{version}/infer", post(v2_infer::infer_version))
        .route("/v2/repository/index", post(index))
        .route("/v2/repository/models/{model}/load", post(load))
        .route("/v2/repository/models/{model}/unload", post(unload))
}

/// What the server is.
#[derive(Serialize, ToSchema)]
pub(crate) struct ServerMetadata {
    name: &'static str,
    version: &'static str,
    extensions: [&'static str; 4],
}

/// What a model takes and gives.
#[derive(Serialize, ToSchema)]
pub(crate) struct ModelMetadata {
    name: String,
    versions: Vec<String>,
    platform: &'static str,
    inputs: Vec<TensorMetadata>,
    outputs: Vec<TensorMetadata>,
}

/// A tensor; -1 is a dimension of any size.
#[derive(Serialize, ToSchema)]
pub(crate) struct TensorMetadata {
    pub(crate) name: &'static str,
    pub(crate) datatype: &'static str,
    pub(crate) shape: Vec<i64>,
}

/// Whether the server lives.
#[derive(Serialize, ToSchema)]
pub(crate) struct Live {
    live: bool,
}

/// Whether the server, or a model, is ready.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ready {
    ready: bool,
}

/// Which models are wanted.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct IndexRequest {
    /// Only those that are ready.
    ready: bool,
}

/// A model version.
#[derive(Serialize, ToSchema)]
pub(crate) struct IndexEntry {
    name: String,
    version: String,
    /// `READY`, `LOADING` or `UNAVAILABLE`.
    state: &'static str,
    reason: String,
}

/// What any model takes.
pub(crate) fn inputs() -> Vec<TensorMetadata> {
    vec![TensorMetadata { name: infer::IMAGE, datatype: tensor::BYTES, shape: vec![-1] }]
}

/// What any model gives.
pub(crate) fn outputs() -> Vec<TensorMetadata> {
    vec![
        TensorMetadata { name: infer::PROBABILITIES, datatype: tensor::FP32, shape: vec![-1, -1] },
        TensorMetadata { name: infer::LABEL, datatype: tensor::BYTES, shape: vec![-1] },
    ]
}

/// What this server is
#[utoipa::path(get, path = "/v2", tag = "open inference protocol", responses((status = 200, description = "Name, version, extensions", body = ServerMetadata)))]
pub(crate) async fn server() -> Json<ServerMetadata> {
    Json(ServerMetadata { name: models::SERVER, version: models::VERSION, extensions: models::EXTENSIONS })
}

/// Whether this server lives
#[utoipa::path(get, path = "/v2/health/live", tag = "open inference protocol", responses((status = 200, description = "It does", body = Live)))]
pub(crate) async fn live() -> Json<Live> {
    Json(Live { live: true })
}

/// Whether requests can be sent to workers
#[utoipa::path(get, path = "/v2/health/ready", tag = "open inference protocol", responses(
    (status = 200, description = "They can", body = Ready),
    (status = 503, description = "Why they can't", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn ready(State(gateway): State<Shared>) -> Result<Json<Ready>, Problem> {
    gateway.health.ready().map_err(|reasons| Problem::unavailable(reasons.join("; ")))?;
    Ok(Json(Ready { ready: true }))
}

/// What a model takes and gives
#[utoipa::path(get, path = "/v2/models/{model}", tag = "open inference protocol", params(("model" = String, Path)), responses(
    (status = 200, description = "Versions, inputs, outputs", body = ModelMetadata),
    (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn model(
    State(gateway): State<Shared>,
    Path(model): Path<String>,
) -> Result<Json<ModelMetadata>, Problem> {
    metadata(&gateway, model, None)
}

/// What a version of a model takes and gives
#[utoipa::path(get, path = "/v2/models/{model}/versions/{version}", tag = "open inference protocol",
    params(("model" = String, Path), ("version" = String, Path)), responses(
    (status = 200, description = "Inputs, outputs", body = ModelMetadata),
    (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn version(
    State(gateway): State<Shared>,
    Path((model, version)): Path<(String, String)>,
) -> Result<Json<ModelMetadata>, Problem> {
    let version = infer::version(&version)?;
    metadata(&gateway, model, version)
}

fn metadata(gateway: &Shared, model: String, version: Option<u32>) -> Result<Json<ModelMetadata>, Problem> {
    let versions = models::find(gateway, &model, version)?.keys().map(u32::to_string).collect();
    let platform = models::PLATFORM;
    Ok(Json(ModelMetadata { name: model, versions, platform, inputs: inputs(), outputs: outputs() }))
}

/// Whether a worker serves a model
#[utoipa::path(get, path = "/v2/models/{model}/ready", tag = "open inference protocol", params(("model" = String, Path)), responses(
    (status = 200, description = "One does", body = Ready),
    (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn model_ready(
    State(gateway): State<Shared>,
    Path(model): Path<String>,
) -> Result<Json<Ready>, Problem> {
    models::ready(&gateway, &model, None)?;
    Ok(Json(Ready { ready: true }))
}

/// Whether a worker serves a version of a model
#[utoipa::path(get, path = "/v2/models/{model}/versions/{version}/ready", tag = "open inference protocol",
    params(("model" = String, Path), ("version" = String, Path)), responses(
    (status = 200, description = "One does", body = Ready),
    (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn version_ready(
    State(gateway): State<Shared>,
    Path((model, version)): Path<(String, String)>,
) -> Result<Json<Ready>, Problem> {
    models::ready(&gateway, &model, infer::version(&version)?)?;
    Ok(Json(Ready { ready: true }))
}

/// Which versions of which models there are
#[utoipa::path(post, path = "/v2/repository/index", tag = "open inference protocol", request_body = Option<IndexRequest>, responses(
    (status = 200, description = "All that workers serve, are loading, or found and can't serve", body = Vec<IndexEntry>),
    (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn index(
    State(gateway): State<Shared>,
    body: axum::extract::Request,
) -> Result<Json<Vec<IndexEntry>>, Problem> {
    let asked = optional::<IndexRequest>(&gateway, body).await?;
    let entry = |entry: models::Indexed| IndexEntry {
        name: entry.model,
        version: entry.version.map(|version| version.to_string()).unwrap_or_default(),
        state: entry.state,
        reason: entry.reason,
    };
    Ok(Json(models::index(&gateway, asked.ready)?.into_iter().map(entry).collect()))
}

/// How a model is loaded or unloaded.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub(crate) struct RepositoryRequest {
    parameters: RepositoryParameters,
}

/// What can be said about it.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RepositoryParameters {
    /// The version, a decimal number. Without it workers look at once which version is in service (load), or let all others go (unload).
    #[schema(pattern = "^[0-9]{1,10}$")]
    version: Option<String>,
    /// The same as Triton's clients say it: `{"version_policy": {"specific": {"versions": [3]}}}`. Nothing else can be set.
    config: Option<String>,
    /// Nothing depends on a model here.
    unload_dependents: Option<bool>,
}

/// Have workers load a version
#[utoipa::path(post, path = "/v2/repository/models/{model}/load", tag = "open inference protocol", params(("model" = String, Path)), request_body = Option<RepositoryRequest>, responses(
    (status = 200, description = "Each worker that serves the model has"),
    (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn load(
    State(gateway): State<Shared>,
    Path(model): Path<String>,
    Extension(caller): Extension<Caller>,
    body: axum::extract::Request,
) -> Result<(), Problem> {
    change(&gateway, Wish::Load, &model, &caller, body).await
}

/// Have workers let a version go that is not in service
#[utoipa::path(post, path = "/v2/repository/models/{model}/unload", tag = "open inference protocol", params(("model" = String, Path)), request_body = Option<RepositoryRequest>, responses(
    (status = 200, description = "No worker serves it any more"),
    (status = 409, description = "It is in service", body = ProblemDetails, content_type = "application/problem+json"),
    (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn unload(
    State(gateway): State<Shared>,
    Path(model): Path<String>,
    Extension(caller): Extension<Caller>,
    body: axum::extract::Request,
) -> Result<(), Problem> {
    change(&gateway, Wish::Unload, &model, &caller, body).await
}

async fn change(
    gateway: &Shared,
    wish: Wish,
    model: &str,
    caller: &Caller,
    request: axum::extract::Request,
) -> Result<(), Problem> {
    let RepositoryParameters { version, config, unload_dependents: _ } =
        optional::<RepositoryRequest>(gateway, request).await?.parameters;
    let version = repository::version_of(config.as_deref(), version.as_deref())?;
    repository::carry_out(gateway, wish, model, version, caller).await
}

/// A small JSON body, or none: what there is none of is its default. Its content-type does not matter.
async fn optional<T: Default + DeserializeOwned>(
    gateway: &Shared,
    request: axum::extract::Request,
) -> Result<T, Problem> {
    let (parts, body) = request.into_parts();
    let held = crate::body::read(gateway, &parts.headers, body, "the body", 1 << 16).await?;
    match held.bytes.trim_ascii() {
        [] => Ok(T::default()),
        text => serde_json::from_slice::<Option<T>>(text)
            .map(Option::unwrap_or_default)
            .map_err(|error| Problem::bad_request(format!("the JSON is not understood: {error}"))),
    }
}
