//! What stands before the routes: it asks who comes, and lets through who may, before any of a body is read.

use axum::extract::{FromRequestParts as _, MatchedPath, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use client::Scope;
use tonic::Status;

use super::identity::Rate;
use super::rate::Left;
use super::table::{self, Need};
use super::{Subject, credential, origin};
use crate::audit;
use crate::body;
use crate::caller::Caller;
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::routes::Shared;

/// Before each route by HTTP.
pub async fn http(State(gateway): State<Shared>, request: Request, next: Next) -> Response {
    let Some(path) = request.extensions().get::<MatchedPath>().cloned() else {
        // There is nothing: that is no secret.
        return next.run(request).await;
    };
    let need = table::http(request.method(), path.as_str());
    let (mut parts, body) = request.into_parts();
    let admitted = match foreign(&gateway, &parts, need) {
        Err(problem) => Err(problem),
        Ok(()) => admit(&gateway, &mut parts, path.as_str(), need).await,
    };
    match admitted {
        Ok(left) => {
            let mut response = next.run(Request::from_parts(parts, body)).await;
            tell(left, &mut response);
            response
        }
        Err(problem) => {
            refused(&parts, need, &problem);
            // Not read before it was known who comes; a client that sends all before it reads sees the answer.
            body::pass_over(&parts.headers, body);
            problem.into_response()
        }
    }
}

/// Before each method by gRPC.
pub async fn grpc(State(gateway): State<Shared>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let need = table::grpc(&path);
    let (mut parts, body) = request.into_parts();
    match admit(&gateway, &mut parts, &path, need).await {
        Ok(_) => next.run(Request::from_parts(parts, body)).await,
        Err(problem) => {
            refused(&parts, need, &problem);
            Status::from(problem).into_http()
        }
    }
}

fn foreign(gateway: &Gateway, parts: &Parts, need: Option<Need>) -> Result<(), Problem> {
    if table::changes_something(&parts.method, need) {
        return origin::check(&parts.headers, &parts.uri, &gateway.config.http.cors_origins);
    }
    Ok(())
}

/// Lets in who may; what is left of their rate.
async fn admit(
    gateway: &Gateway,
    parts: &mut Parts,
    path: &str,
    need: Option<Need>,
) -> Result<Option<(Rate, Left)>, Problem> {
    let auth = &gateway.auth;
    if !auth.is_required() {
        return Ok(None);
    }
    let scope = match need {
        None => None,
        Some(need) => match auth.scope(need) {
            None => return Ok(None),
            scope => scope,
        },
    };
    let identity = auth.identify(&parts.headers, parts.extensions.get::<Subject>()).await?;
    // Nobody behind here needs it, and so nobody lets it out.
    credential::forget(&mut parts.headers);
    if let Some(Caller { who, .. }) = parts.extensions.get::<Caller>() {
        who.is(identity.clone());
    }
    let Some(scope) = scope else {
        return Err(Problem::forbidden(format!(
            "no scope allows {} {}: there is no such method here, or this gateway's table of routes does not name it",
            parts.method,
            wire::quoted(path)
        )));
    };
    let left = auth.admit(&identity, scope)?;
    // A model that the path names; one that the query or the body names is looked at where that is read.
    if let Ok(named) = RawPathParams::from_request_parts(parts, &()).await
        && let Some((_, model)) = named.iter().find(|(name, _)| *name == "model")
    {
        identity.may_ask(Some(model))?;
    }
    Ok(identity.rate.zip(left))
}

/// Where something that lasts was refused, that is told.
fn refused(parts: &Parts, need: Option<Need>, problem: &Problem) {
    if !matches!(need, Some(Need::Scope(Scope::Promote | Scope::Review))) || parts.method.is_safe() {
        return;
    }
    let caller = parts.extensions.get::<Caller>().cloned().unwrap_or_default();
    let subject = format!("{} {}", parts.method, parts.uri.path());
    audit::Entry::new("request", &subject).asked_by(&caller).refused(problem.detail());
}

/// The rate and what is left of it (draft-ietf-httpapi-ratelimit-headers).
fn tell(left: Option<(Rate, Left)>, response: &mut Response) {
    let Some((rate, left)) = left else { return };
    let window = rate.burst.div_ceil(rate.per_second.max(1));
    let reset = left.full_in.as_millis().div_ceil(1000);
    for (name, value) in [
        ("ratelimit-policy", format!("\"caller\";q={};w={window}", rate.burst)),
        ("ratelimit", format!("\"caller\";r={};t={reset}", left.tokens)),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
}
