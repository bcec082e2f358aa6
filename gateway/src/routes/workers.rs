//! `GET /v1/workers`: what workers say that they serve, and what there is to know before one asks them.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use client::Announcement;
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use crate::problem::ProblemDetails;

/// What stands in a record beside the image, as far as it is known beforehand.
const BESIDE: usize = 4 << 10;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/v1/workers", get(workers))
}

/// Who serves what.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Workers {
    /// This gateway's name.
    gateway: String,
    /// Why requests can't be sent now; none where they can.
    fault: Option<String>,
    /// The largest image that is taken, in bytes.
    max_image_bytes: usize,
    /// How long an answer is waited for where a request does not say, in milliseconds.
    timeout_ms: u64,
    /// What workers said last, as it stands on the models topic (docs/protocol.md), by model, version and worker.
    #[schema(value_type = Vec<Object>)]
    announcements: Vec<Announcement>,
}

/// What workers say that they serve
///
/// Each announcement as it stands on the models topic, as long as it holds.
#[utoipa::path(get, path = "/v1/workers", tag = "service", responses(
    (status = 200, description = "Who serves what", body = Workers),
    (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn workers(State(gateway): State<Shared>) -> Json<Workers> {
    let limit = gateway.config.limits.max_image_bytes;
    let (fault, announcements) = match gateway.backend.world() {
        Ok(world) => (gateway.health.fault(), world.served().into_iter().cloned().collect()),
        Err(problem) => (Some(problem.detail().to_owned()), Vec::new()),
    };
    // An embedded broker takes less.
    let record = gateway.backend.client().map(|client| client.max_record_bytes().saturating_sub(BESIDE));
    Json(Workers {
        gateway: gateway.config.gateway_name(),
        fault,
        max_image_bytes: record.map_or(limit, |record| limit.min(record)),
        timeout_ms: u64::try_from(gateway.config.requests.timeout.as_millis()).unwrap_or(u64::MAX),
        announcements,
    })
}
