//! What there is to ask by HTTP. [`router`] is all of it; whoever has more to serve merges routes of their own into it.

mod activity;
mod batch;
mod live;
mod models;
pub(crate) mod openapi;
mod page;
mod predict;
mod probes;
mod results;
mod review;
mod security;
pub(crate) mod v2;
mod v2_infer;
mod workers;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use serde::Serialize;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use crate::auth::guard;
use crate::caller::{REQUEST_ID, Server, around};
use crate::config::Http;
use crate::gateway::Gateway;
use crate::problem::Problem;

/// Each handler's state.
pub type Shared = Arc<Gateway>;

/// What is served by HTTP. `more` are routes beside these; a path that both have is a fault of the program's.
pub fn router(gateway: &Shared, more: Router<Shared>) -> Router {
    let http = &gateway.config.http;
    let mut router = Router::new()
        .merge(probes::routes())
        .merge(predict::routes())
        .merge(batch::routes())
        .merge(results::routes())
        .merge(review::routes())
        .merge(models::routes())
        .merge(v2::routes())
        .merge(workers::routes())
        .merge(activity::routes())
        .merge(live::routes())
        .merge(openapi::routes())
        .merge(page::routes(http.page))
        .merge(more)
        .fallback(nothing_there)
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(Arc::clone(gateway))
        // Each handler that reads a body has a limit of its own.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(|_| panicked()))
        // Also before what others merged: a route that it does not know is refused.
        .layer(from_fn_with_state(Arc::clone(gateway), guard::http));
    if http.compression {
        router = router.layer(CompressionLayer::new());
    }
    if let Some(cors) = cors(http) {
        router = router.layer(cors);
    }
    let server = Server { name: "http", gateway: Arc::clone(gateway) };
    router.layer(from_fn_with_state(server, around))
}

/// JSON that nobody is to keep.
fn fresh(body: impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

async fn nothing_there() -> Problem {
    Problem::not_found("there is nothing at this path: see /openapi.json")
}

fn panicked() -> Response {
    Problem::internal("a fault of the gateway's: see its log").into_response()
}

fn cors(http: &Http) -> Option<CorsLayer> {
    if http.cors_origins.is_empty() {
        return None;
    }
    let origins = if http.cors_origins.iter().any(|origin| origin == "*") {
        AllowOrigin::from(Any)
    } else {
        AllowOrigin::list(http.cors_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let binary = HeaderName::from_static("inference-header-content-length");
    let trace = ["traceparent", "tracestate", "baggage"].map(HeaderName::from_static);
    let credentials = vec![header::AUTHORIZATION, HeaderName::from_static("x-api-key")];
    let allowed =
        [vec![header::CONTENT_TYPE, header::ACCEPT, REQUEST_ID, binary.clone()], credentials, trace.to_vec()]
            .concat();
    let shown = [
        header::LOCATION,
        header::RETRY_AFTER,
        header::WWW_AUTHENTICATE,
        REQUEST_ID,
        trace[0].clone(),
        binary,
    ];
    Some(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST, Method::DELETE])
            .allow_headers(allowed)
            .expose_headers(shown),
    )
}
