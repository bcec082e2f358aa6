//! Which scope each route needs. What is not named here is refused where authentication is on: whoever adds a route says here
//! who may ask for it.

use axum::http::Method;
use client::Scope;

/// What a caller needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: anybody may ask.
    Open,
    /// To be known, and to have that scope.
    Scope(Scope),
    /// Nothing where `auth.open_metrics` says so, else [`Scope::Read`].
    Metrics,
}

use Need::{Metrics, Open};
const PREDICT: Need = Need::Scope(Scope::Predict);
const READ: Need = Need::Scope(Scope::Read);
const PROMOTE: Need = Need::Scope(Scope::Promote);
const REVIEW: Need = Need::Scope(Scope::Review);

/// A route by HTTP, its path as the router writes it; HEAD goes with GET.
const HTTP: &[(Method, &str, Need)] = &[
    (Method::GET, "/livez", Open),
    (Method::GET, "/readyz", Open),
    (Method::GET, "/metrics", Metrics),
    (Method::GET, "/openapi.json", Open),
    (Method::GET, "/", Open),
    (Method::GET, "/ui/{file}", Open),
    (Method::POST, "/predict", PREDICT),
    (Method::POST, "/v1/batch", PREDICT),
    (Method::GET, "/v1/results/{id}", PREDICT),
    (Method::GET, "/v1/results/{id}/events", PREDICT),
    (Method::GET, "/v1/workers", READ),
    (Method::GET, "/v1/activity", READ),
    (Method::GET, "/v1/activity/images/{number}", READ),
    (Method::GET, "/v2", READ),
    (Method::GET, "/v2/health/live", Open),
    (Method::GET, "/v2/health/ready", Open),
    (Method::GET, "/v2/models/{model}", READ),
    (Method::GET, "/v2/models/{model}/ready", READ),
    (Method::GET, "/v2/models/{model}/versions/{version}", READ),
    (Method::GET, "/v2/models/{model}/versions/{version}/ready", READ),
    (Method::POST, "/v2/models/{model}/infer", PREDICT),
    (Method::POST, "/v2/models/{model}/versions/{version}/infer", PREDICT),
    (Method::POST, "/v2/repository/index", READ),
    (Method::POST, "/v2/repository/models/{model}/load", PROMOTE),
    (Method::POST, "/v2/repository/models/{model}/unload", PROMOTE),
    (Method::POST, "/v1/models/{model}/promote", PROMOTE),
    (Method::POST, "/v1/models/{model}/rollback", PROMOTE),
];

/// Whole families: that path and all beneath it. [`HTTP`] goes before.
const FAMILIES: &[(Method, &str, Need)] = &[
    (Method::GET, "/v1/review", REVIEW),
    (Method::POST, "/v1/review", REVIEW),
    (Method::PUT, "/v1/review", REVIEW),
    (Method::DELETE, "/v1/review", REVIEW),
    (Method::GET, "/v1/live", READ),
    (Method::GET, "/v1/models", READ),
];

/// The methods by gRPC.
const GRPC: &[(&str, Need)] = &[
    ("/inference.GRPCInferenceService/ServerLive", Open),
    ("/inference.GRPCInferenceService/ServerReady", Open),
    ("/inference.GRPCInferenceService/ModelReady", READ),
    ("/inference.GRPCInferenceService/ServerMetadata", READ),
    ("/inference.GRPCInferenceService/ModelMetadata", READ),
    ("/inference.GRPCInferenceService/ModelInfer", PREDICT),
    ("/inference.GRPCInferenceService/RepositoryIndex", READ),
    ("/inference.GRPCInferenceService/RepositoryModelLoad", PROMOTE),
    ("/inference.GRPCInferenceService/RepositoryModelUnload", PROMOTE),
    ("/grpc.health.v1.Health/Check", Open),
    ("/grpc.health.v1.Health/Watch", Open),
    ("/grpc.health.v1.Health/List", Open),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", READ),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", READ),
];

/// What a request by HTTP needs; `path` is the route's. None where the table does not name it.
#[must_use]
pub fn http(method: &Method, path: &str) -> Option<Need> {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let exact = HTTP.iter().find(|(known, route, _)| known == method && *route == path);
    let family = || {
        FAMILIES.iter().find(|(known, root, _)| {
            let beneath = path.strip_prefix(root);
            known == method && beneath.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    exact.or_else(family).map(|(_, _, need)| *need)
}

/// What a call by gRPC needs. None where the table does not name it.
#[must_use]
pub fn grpc(path: &str) -> Option<Need> {
    GRPC.iter().find(|(known, _)| *known == path).map(|(_, need)| *need)
}

/// Whether a request changes what others see: such a one a foreign page must not have a browser send.
#[must_use]
pub fn changes_something(method: &Method, need: Option<Need>) -> bool {
    !method.is_safe() && matches!(need, Some(PROMOTE | REVIEW))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn each_operation_of_the_document_and_each_method_by_grpc_is_named() {
        let document: Value = serde_json::from_str(crate::openapi()).unwrap();
        let mut operations = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                let method: Method = method.to_uppercase().parse().unwrap();
                assert!(http(&method, path).is_some(), "{method} {path} is in no row of the table");
                operations += 1;
            }
        }
        assert!(operations > 20, "{operations}");
        for method in crate::grpc::METHODS {
            assert!(grpc(method).is_some(), "{method} is in no row of the table");
        }
    }

    #[test]
    fn what_the_page_s_files_are_asked_by_is_open_and_nothing_else_is_by_accident() {
        let open: Vec<_> =
            HTTP.iter().chain(FAMILIES).filter(|row| row.2 == Open).map(|(_, path, _)| *path).collect();
        let expected =
            ["/livez", "/readyz", "/openapi.json", "/", "/ui/{file}", "/v2/health/live", "/v2/health/ready"];
        assert_eq!(open, expected);
        assert!(HTTP.iter().chain(FAMILIES).filter(|row| row.2 == Open).all(|row| row.0 == Method::GET));
    }

    #[test]
    fn families_end_where_a_name_does() {
        assert_eq!(http(&Method::POST, "/v1/review/{id}/label"), Some(REVIEW));
        assert_eq!(http(&Method::GET, "/v1/review"), Some(REVIEW));
        assert_eq!(http(&Method::GET, "/v1/reviews"), None);
        assert_eq!(http(&Method::HEAD, "/v1/live/events"), Some(READ));
        assert_eq!(http(&Method::POST, "/v1/live"), None);
        assert_eq!(http(&Method::DELETE, "/predict"), None);
        assert_eq!(http(&Method::POST, "/v1/models/{model}/delete"), None);
        assert_eq!(http(&Method::POST, "/v1/models/{model}/rollback"), Some(PROMOTE));
        assert_eq!(grpc("/inference.GRPCInferenceService/ModelStreamInfer"), None);
    }

    #[test]
    fn what_changes_something_is_told_by_method_and_scope() {
        for (method, path, changes) in [
            (Method::POST, "/v1/models/{model}/promote", true),
            (Method::POST, "/v1/review/{id}", true),
            (Method::GET, "/v1/review/{id}", false),
            (Method::POST, "/predict", false),
            (Method::POST, "/v2/repository/models/{model}/load", true),
        ] {
            assert_eq!(changes_something(&method, http(&method, path)), changes, "{method} {path}");
        }
    }
}
