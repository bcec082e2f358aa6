//! `/livez`, `/readyz` and `/metrics`, as a worker's.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::Shared;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/livez", get(live)).route("/readyz", get(ready)).route("/metrics", get(metrics))
}

/// Whether the gateway lives
#[utoipa::path(get, path = "/livez", tag = "probes", responses((status = 200, description = "`ok`", body = String, content_type = "text/plain")))]
pub(crate) async fn live() -> impl IntoResponse {
    "ok\n"
}

/// Whether the gateway is ready, and why not
#[utoipa::path(get, path = "/readyz", tag = "probes", responses(
    (status = 200, description = "`ok`, and what there is to know beside it", body = String, content_type = "text/plain"),
    (status = 503, description = "What it waits for, a line each", body = String, content_type = "text/plain"),
))]
pub(crate) async fn ready(State(gateway): State<Shared>) -> impl IntoResponse {
    match gateway.health.ready() {
        Ok(()) => {
            // Requests wait in Kafka for a worker to come: that keeps nobody from sending some.
            let served = gateway.backend.world().is_ok_and(|world| !world.served().is_empty());
            let note = if served {
                ""
            } else {
                "no worker says that it serves a model: requests wait until one does\n"
            };
            (StatusCode::OK, format!("ok\n{note}"))
        }
        Err(reasons) => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
    }
}

/// Metrics for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "probes", responses((status = 200, description = "Prometheus's text format", body = String, content_type = "text/plain")))]
pub(crate) async fn metrics(State(gateway): State<Shared>) -> impl IntoResponse {
    let text = gateway.metrics.text(&gateway.admission);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
