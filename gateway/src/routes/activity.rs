//! `GET /v1/activity`: what this gateway answered in the last hour.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use crate::history::Activity;
use crate::problem::{Problem, ProblemDetails};

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/v1/activity", get(activity))
}

/// How far to look back.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Back {
    /// Minutes, 1 to 60; 5 where nothing is said.
    #[param(minimum = 1, maximum = 60)]
    minutes: Option<u64>,
}

/// What this gateway answered lately
///
/// Requests for labels, by HTTP and gRPC, since the gateway started and for an hour at most; of its own alone, where there are several.
#[utoipa::path(get, path = "/v1/activity", tag = "service", params(Back), responses(
    (status = 200, description = "Counts, times, errors and the last images", body = Activity),
    (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn activity(
    State(gateway): State<Shared>,
    back: Result<Query<Back>, QueryRejection>,
) -> Result<Json<Activity>, Problem> {
    if !gateway.config.http.page {
        return Err(Problem::not_found("http.page is off here, and nothing is kept for it"));
    }
    let Query(Back { minutes }) = back.map_err(|error| Problem::bad_request(error.body_text()))?;
    let minutes = minutes.unwrap_or(5);
    if !(1..=60).contains(&minutes) {
        return Err(Problem::bad_request(format!("minutes is {minutes}: 1 to 60 are kept")));
    }
    let (in_flight, max_in_flight) = (gateway.admission.in_flight(), gateway.config.limits.max_in_flight);
    Ok(Json(Activity { in_flight, max_in_flight, ..gateway.history.last(minutes) }))
}
