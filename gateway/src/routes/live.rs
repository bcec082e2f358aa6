//! `GET /v1/live`: what workers do, as they publish it.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use client::live::view::{Asked, Figures, ModelRow, Point, View, WorkerRow};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use crate::problem::{Problem, ProblemDetails};

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/v1/live", get(live))
}

/// What is asked about.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// How many minutes to look back, 1 to 60; 5 where nothing is said.
    #[param(minimum = 1, maximum = 60)]
    minutes: Option<u64>,
    /// Only what is done with that model.
    model: Option<String>,
    /// Only that version.
    #[param(minimum = 1, maximum = 4_294_967_295_u32, format = Int64)]
    version: Option<u32>,
    /// Only what that worker does.
    worker: Option<String>,
}

/// What workers do.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Told {
    /// When, RFC 3339.
    at: String,
    /// What keeps more from being heard; none where nothing does.
    fault: Option<String>,
    /// About the last ten seconds of the workers that are there: `per_second`, `answered`, `failed`, `errors` by code, `p50_ms`, `p90_ms`,
    /// `p99_ms` and `batch`, images a batch on average.
    #[schema(value_type = Object)]
    now: Figures,
    /// The same of all the time that was asked for.
    #[schema(value_type = Object)]
    total: Figures,
    /// Records behind the committed offsets; none where that is not known.
    lag: Option<u64>,
    /// How far back it goes, in seconds.
    window_s: u64,
    /// How long a point is, in seconds.
    step_s: u64,
    /// One for each step that is over, the oldest first: `per_second`, `failed_per_second`, `p50_ms`, `p99_ms`, `batch` and `lag`.
    #[schema(value_type = Vec<Object>)]
    points: Vec<Point>,
    /// Each worker, those too that ended or have been silent, for ten minutes: its name, `presence`, state and figures.
    #[schema(value_type = Vec<Object>)]
    workers: Vec<WorkerRow>,
    /// Each model version, and with an empty name requests for which none was found.
    #[schema(value_type = Vec<Object>)]
    models: Vec<ModelRow>,
}

impl From<View> for Told {
    fn from(view: View) -> Self {
        let View { at, fault, now, total, lag, window_s, step_s, points, workers, models } = view;
        Self { at: at.to_string(), fault, now, total, lag, window_s, step_s, points, workers, models }
    }
}

/// What workers do, live
///
/// Of all workers, whoever asked them, as they publish it each second: rates, times in the worker, batches, lag and errors.
#[utoipa::path(get, path = "/v1/live", tag = "service", params(Wanted), responses(
    (status = 200, description = "What workers published, added up", body = Told),
    (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn live(
    State(gateway): State<Shared>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Told>, Problem> {
    let Query(Wanted { minutes, model, version, worker }) =
        wanted.map_err(|error| Problem::bad_request(error.body_text()))?;
    let minutes = minutes.unwrap_or(5);
    if !(1..=60).contains(&minutes) {
        return Err(Problem::bad_request(format!("minutes is {minutes}: 1 to 60 are kept")));
    }
    if version == Some(0) {
        return Err(Problem::bad_request("version is 0, and versions begin with 1"));
    }
    let asked = Asked { window: Duration::from_secs(minutes * 60), model, version, worker };
    Ok(Json(gateway.live.view(&asked).await.into()))
}
