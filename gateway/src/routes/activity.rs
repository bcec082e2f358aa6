//! `GET /v1/activity`: what this gateway answered in the last hour, and small pictures of the last images.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use crate::history::Activity;
use crate::images::ImageFile;
use crate::problem::{Problem, ProblemDetails};

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/v1/activity", get(activity)).route("/v1/activity/images/{number}", get(image))
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

/// A small picture of an image that was answered lately
///
/// As `/v1/activity` names it, for as long as the image is among the last.
#[utoipa::path(get, path = "/v1/activity/images/{number}", tag = "service",
    params(("number" = u64, Path, description = "As the image's thumbnail says")),
    responses(
        (status = 200, description = "A JPEG file", content_type = "image/jpeg", body = ImageFile),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    ))]
pub(crate) async fn image(
    State(gateway): State<Shared>,
    Path(number): Path<String>,
) -> Result<Response, Problem> {
    let jpeg = number.parse().ok().and_then(|number| gateway.history.pictured(number));
    let Some(jpeg) = jpeg else {
        return Err(Problem::not_found("there is no such picture, or no longer: see /v1/activity"));
    };
    let headers = [
        (header::CONTENT_TYPE, "image/jpeg"),
        (header::CACHE_CONTROL, "private, max-age=3600"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, jpeg.to_vec()).into_response())
}
