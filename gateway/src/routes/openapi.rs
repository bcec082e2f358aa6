//! `GET /openapi.json`: the OpenAPI document, made of the handlers themselves.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa::OpenApi;

use super::{
    Shared, activity, batch, live, models, predict, probes, results, review, security, v2, v2_infer, workers,
};

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/openapi.json", get(openapi))
}

/// The document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "mlaas gateway",
        description = "Image classification by HTTP: docs/http.md has examples, limits and errors.",
        license(name = "MIT OR Apache-2.0")
    ),
    paths(
        predict::predict,
        batch::batch,
        results::result,
        results::events,
        v2::server,
        v2::live,
        v2::ready,
        v2::model,
        v2::version,
        v2::model_ready,
        v2::version_ready,
        v2_infer::infer,
        v2_infer::infer_version,
        v2::index,
        v2::load,
        v2::unload,
        review::list,
        review::item,
        review::labels,
        review::image,
        review::say,
        review::take_back,
        models::list,
        models::history,
        models::promote,
        models::rollback,
        workers::workers,
        activity::activity,
        activity::image,
        live::live,
        probes::live,
        probes::ready,
        probes::metrics,
        openapi,
    ),
    tags(
        (name = "predict", description = "Images in, labels out"),
        (name = "results", description = "Results that are asked for later"),
        (name = "open inference protocol", description = "Version 2, as KServe, Triton and MLServer speak it"),
        (name = "review", description = "Images that people should look at, and what they say of them"),
        (name = "models", description = "Which versions there are, and which one is in service"),
        (name = "service", description = "Who serves what, and how that goes: what the page shows"),
        (name = "probes", description = "For whoever runs the gateway"),
    )
)]
struct Document;

static GUARDED: LazyLock<String> = LazyLock::new(|| written(true));
static OPEN: LazyLock<String> = LazyLock::new(|| written(false));

/// The document as JSON, of a gateway that asks who comes in, or of one that does not.
pub(crate) fn text(guarded: bool) -> &'static str {
    if guarded { &GUARDED } else { &OPEN }
}

fn written(guarded: bool) -> String {
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    security::add(&mut document, guarded);
    serde_json::to_string_pretty(&document).map(|text| text + "\n").unwrap_or_default()
}

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "probes", responses((status = 200, description = "OpenAPI, JSON", content_type = "application/json", body = Object)))]
pub(crate) async fn openapi(State(gateway): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], text(gateway.auth.is_required()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    // All but the page's own files.
    const SOURCES: [&str; 11] = [
        include_str!("openapi.rs"),
        include_str!("predict.rs"),
        include_str!("batch.rs"),
        include_str!("results.rs"),
        include_str!("review.rs"),
        include_str!("models.rs"),
        include_str!("v2.rs"),
        include_str!("workers.rs"),
        include_str!("activity.rs"),
        include_str!("live.rs"),
        include_str!("probes.rs"),
    ];

    #[test]
    fn each_route_is_in_the_document_and_nothing_else() {
        let mark = concat!(".route", "(\"");
        let routes: BTreeSet<_> = SOURCES
            .iter()
            .flat_map(|source| source.split(mark).skip(1))
            .map(|rest| rest.split('"').next().unwrap().to_owned())
            .collect();
        let document: Value = serde_json::from_str(text(true)).unwrap();
        let paths: BTreeSet<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(routes, paths);
    }

    #[test]
    fn each_operation_has_a_summary_and_says_what_a_problem_looks_like() {
        let document: Value = serde_json::from_str(text(true)).unwrap();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                assert!(
                    operation["summary"].as_str().is_some_and(|words| !words.is_empty()),
                    "{method} {path}"
                );
                let problems = operation["responses"].to_string().contains("ProblemDetails");
                let none = ["/livez", "/readyz", "/metrics", "/openapi.json", "/v2", "/v2/health/live"];
                assert!(problems || none.contains(&path.as_str()), "{method} {path}");
            }
        }
    }
}
