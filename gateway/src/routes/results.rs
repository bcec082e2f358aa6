//! Results that are asked for later, of any gateway: once, or as an event when they come.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use client::{Looked, Results};
use futures_util::{Stream, stream};

use super::Shared;
use crate::answer::{Answer, Pending, or_problem};
use crate::later::Later;
use crate::metrics::Counted;
use crate::problem::{Problem, ProblemDetails};

/// Between two looks of a stream of events.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a look may wait for its turn and for the broker's answers.
const WAIT: Duration = Duration::from_secs(15);
/// Between two signs of life on one.
const SIGN: Duration = Duration::from_secs(15);

/// What comes when the result does.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "written field by field; this describes it")]
pub(crate) struct ResultEvent {
    /// `result` or `problem`.
    #[schema(pattern = "^(result|problem)$")]
    event: String,
    /// The answer, or problem details, as JSON.
    data: String,
    id: String,
}

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/v1/results/{id}", get(result)).route("/v1/results/{id}/events", get(events))
}

/// The result of an asynchronous request
///
/// Any gateway finds it, as long as the results topic keeps it.
#[utoipa::path(
    get, path = "/v1/results/{id}", tag = "results",
    params(("id" = String, Path, description = "What the 202 gave")),
    responses(
        (status = 200, description = "The labels", body = Answer),
        (status = 202, description = "It is not answered yet", body = Pending),
        (status = 404, description = "No gateway gave that id, or its result is not there any more", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "default", description = "Problem details; a worker's error too", body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn result(
    State(gateway): State<Shared>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let mut later = Later::read(&id, gateway.config.results.timeout)?;
    let results = gateway.backend.results()?;
    match look(&results, &mut later, gateway.config.results.look).await? {
        Seen::Answer(answer) => Ok(Json(or_problem(*answer)?).into_response()),
        Seen::NotYet => {
            let again = [(header::RETRY_AFTER, "1"), (header::CACHE_CONTROL, "no-store")];
            Ok((StatusCode::ACCEPTED, again, Json(Pending::of(&id))).into_response())
        }
        Seen::Never => Err(never()),
        Seen::MoreToRead => Err(Problem::unavailable(
            "more has been answered since than one look may read (results.look): ask for the events of this result",
        )),
    }
}

/// The result of an asynchronous request, as an event when it comes
///
/// One event, `result` with the answer or `problem` with problem details, and the stream ends.
#[utoipa::path(
    get, path = "/v1/results/{id}/events", tag = "results",
    params(("id" = String, Path, description = "What the 202 gave")),
    responses(
        (status = 200, description = "Server-sent events", body = ResultEvent, content_type = "text/event-stream"),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn events(
    State(gateway): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let later = Later::read(&id, gateway.config.results.timeout)?;
    if headers.contains_key("last-event-id") {
        // A browser comes back after the stream's end; there is nothing behind its one event.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let results = gateway.backend.results()?;
    let counted = gateway.metrics.stream();
    if gateway.metrics.streams() > gateway.config.results.max_streams {
        return Err(Problem::too_many("as many streams of events are open as may be (results.max_streams)"));
    }
    let events = when_it_comes(gateway, results, later, counted);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(SIGN)).into_response())
}

fn when_it_comes(
    gateway: Shared,
    results: Results,
    mut later: Later,
    counted: Counted,
) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::once(async move {
        let _counted = counted;
        let answer = loop {
            let seen = tokio::select! {
                seen = look(&results, &mut later, gateway.config.results.look) => seen,
                () = gateway.draining.cancelled() => break Err(Problem::unavailable("this gateway is shutting down: ask another")),
            };
            match seen {
                Ok(Seen::Answer(answer)) => break or_problem(*answer),
                Ok(Seen::Never) => break Err(never()),
                Ok(Seen::NotYet) => tokio::time::sleep(AGAIN).await,
                Ok(Seen::MoreToRead) => {}
                Err(problem) => break Err(problem),
            }
        };
        let event = match answer {
            Ok(answer) => Event::default().event("result").json_data(answer),
            Err(problem) => Event::default().event("problem").json_data(problem.details()),
        };
        Ok(event.unwrap_or_default().id("1"))
    })
}

/// What a look saw.
enum Seen {
    Answer(Box<client::Response>),
    NotYet,
    Never,
    MoreToRead,
}

/// Looks once. What was read is not read again the next time.
async fn look(results: &Results, later: &mut Later, limit: Duration) -> Result<Seen, Problem> {
    // Before the look: what is answered at the last moment is seen by it.
    let may_come = later.may_come();
    // A look has an end of its own; the wait for a place among those that go on has none.
    let Ok(looked) = tokio::time::timeout(limit + WAIT, results.look(&later.claim, limit)).await else {
        return Err(Problem::unavailable("too many results are looked for at once (results.max_looks)"));
    };
    match looked? {
        Looked::Found(answer) => Ok(Seen::Answer(answer)),
        Looked::NotThere { next } => {
            later.claim.offset = next;
            Ok(if may_come { Seen::NotYet } else { Seen::Never })
        }
        Looked::NotReadToItsEnd { next } if next > later.claim.offset => {
            later.claim.offset = next;
            Ok(Seen::MoreToRead)
        }
        Looked::NotReadToItsEnd { .. } => Err(Problem::unavailable("the results topic can't be read now")),
    }
}

fn never() -> Problem {
    Problem::not_found(
        "the time of this request is over, and its result is not on the results topic, or not any more",
    )
}
