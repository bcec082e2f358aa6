//! The Open Inference Protocol by gRPC.

use axum::Router;

use crate::routes::Shared;

/// A method's name where it is one of ours.
#[must_use]
pub fn known_method(_path: &str) -> Option<&'static str> {
    None
}

/// What is served by gRPC.
pub fn router(_gateway: &Shared) -> Router {
    Router::new()
}
