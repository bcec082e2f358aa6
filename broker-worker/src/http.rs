//! `/livez`, `/readyz` and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::metrics::Metrics;

/// Health and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where; port 0 takes a free one.
    pub listen: SocketAddr,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)) }
    }
}

#[derive(Clone)]
struct Shown {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

/// Serves until the token is cancelled.
///
/// # Errors
/// The listener's.
pub async fn serve(
    listener: TcpListener,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    end: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(text))
        .with_state(Shown { health, metrics });
    // A connection that is kept open does not hold the end up: the process's own end closes it.
    tokio::select! {
        served = axum::serve(listener, router) => served,
        () = end.cancelled() => Ok(()),
    }
}

async fn live(State(shown): State<Shown>) -> impl IntoResponse {
    said(shown.health.live().map(|()| Vec::new()).map_err(|reason| vec![reason]))
}

async fn ready(State(shown): State<Shown>) -> impl IntoResponse {
    said(shown.health.ready())
}

async fn text(State(shown): State<Shown>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shown.metrics.text())
}

/// `ok` and what there is to know beside it, or what is wrong; a line each.
fn said(state: Result<Vec<String>, Vec<String>>) -> (StatusCode, String) {
    let (status, lines) = match state {
        Ok(notes) => (StatusCode::OK, [vec!["ok".to_owned()], notes].concat()),
        Err(reasons) => (StatusCode::SERVICE_UNAVAILABLE, reasons),
    };
    (status, lines.join("\n") + "\n")
}
