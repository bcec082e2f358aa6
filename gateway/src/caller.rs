//! What belongs to each request, whatever it asks: its id, its trace, its line in the log, and an answer in the form of problem
//! details even where a part that knows nothing of them answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use client::TraceContext;
use uuid::Uuid;

use crate::auth::identity::Who;
use crate::gateway::Gateway;
use crate::problem::Problem;

/// The name of the header that tells requests apart.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// How much of a path is logged.
const MAX_PATH: usize = 300;
/// W3C Trace Context, section 3.3: vendors take at least that much.
const MAX_TRACESTATE: usize = 512;
/// W3C Baggage, section 3.3.2.
const MAX_BAGGAGE: usize = 8192;

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// What the log and the answer name the request by.
    pub request_id: String,
    /// Goes with the request to the worker and back.
    pub trace: TraceContext,
    /// Who it is, as soon as that is known.
    pub who: Who,
    /// From where, by the connection.
    pub peer: Option<SocketAddr>,
}

impl Caller {
    /// Of what the head of a request says. What is not as it should be counts as not said: none of it may become a header of a
    /// record, or of an answer, as it came.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Self {
        let id =
            text(headers, &REQUEST_ID, 128).filter(|id| id.bytes().all(|byte| !matches!(byte, b' ' | b',')));
        let request_id = id.unwrap_or_else(|| Uuid::now_v7().to_string());
        Self { request_id, trace: trace(headers), ..Self::default() }
    }
}

/// The trace that the caller is in, and this gateway's span of it; a new one where there is none.
fn trace(headers: &HeaderMap) -> TraceContext {
    let given = TraceContext {
        parent: text(headers, &TRACEPARENT, 256),
        state: text(headers, "tracestate", MAX_TRACESTATE),
        baggage: text(headers, "baggage", MAX_BAGGAGE),
    };
    let span = Uuid::new_v4().as_u64_pair().1.max(1);
    let Some(trace) = given.trace_id() else {
        let trace = Uuid::new_v4().simple();
        return TraceContext { parent: Some(format!("00-{trace}-{span:016x}-00")), state: None, ..given };
    };
    // Of the flags of a version that is not known only the first is (section 4.3).
    let sampled = given.parent.as_deref().and_then(|parent| parent.split('-').nth(3));
    let sampled =
        sampled.and_then(|flags| u8::from_str_radix(flags, 16).ok()).is_some_and(|flags| flags & 1 == 1);
    let parent = format!("00-{trace}-{span:016x}-0{}", u8::from(sampled));
    TraceContext { parent: Some(parent), ..given }
}

/// A header that is there once, printable ASCII, and not too long.
fn text(headers: &HeaderMap, name: impl header::AsHeaderName, longest: usize) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let text = value.to_str().ok()?;
    ((1..=longest).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
        .then(|| text.to_owned())
}

/// Which of the two servers this is, and what it names a route in metrics.
#[derive(Clone, Debug)]
pub struct Server {
    /// `http` or `grpc`.
    pub name: &'static str,
    /// What all of it shares.
    pub gateway: Arc<Gateway>,
}

/// Around each request: gives it its id and its trace, and says in log, metrics and answer what became of it.
pub async fn around(State(server): State<Server>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0);
    let caller = Caller { peer, ..Caller::read(request.headers()) };
    let method = request.method().clone();
    // As much of it as tells anybody anything.
    let path: String = request.uri().path().chars().take(MAX_PATH).collect();
    let route = match (server.name, request.extensions().get::<MatchedPath>()) {
        // gRPC's routes are patterns of a service's; a method's own name is told where there is such a one.
        ("grpc", Some(_)) => crate::grpc::known_method(&path).unwrap_or("other").to_owned(),
        (_, Some(matched)) => matched.as_str().to_owned(),
        (_, None) => "other".to_owned(),
    };
    let http1 = request.version() < Version::HTTP_2;
    let parent = caller.trace.parent.clone();
    request.extensions_mut().insert(caller.clone());
    // A caller that hangs up ends this future where it stands: that too is told.
    let mut line =
        Line { server: &server, route, method, path, peer, caller: &caller, started, status: None };
    let mut response = next.run(request).await;
    if server.name == "http" {
        response = as_problem(response);
    }
    line.status = Some(status(&server, &response));
    drop(line);
    let headers = response.headers_mut();
    // Whoever keeps the connection would next find it closed, perhaps with a request on its way.
    if http1 && server.gateway.health.is_draining() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if server.name == "http" {
        guarded(headers);
    }
    for (name, value) in [(REQUEST_ID, Some(&caller.request_id)), (TRACEPARENT, parent.as_ref())] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    }
    response
}

/// What no answer goes without, whatever it is: it is taken for what it says that it is, shows in no frame, and is kept by nobody.
fn guarded(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// An error that some part of the server answered with in words of its own.
fn as_problem(response: Response) -> Response {
    let status = response.status();
    let is_one = |headers: &HeaderMap| {
        headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem+json"))
    };
    let plain = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !(status.is_client_error() || status.is_server_error()) || is_one(response.headers()) || plain {
        return response;
    }
    let words = status.canonical_reason().unwrap_or("error");
    let problem = match status {
        StatusCode::METHOD_NOT_ALLOWED => Problem::method_not_allowed(),
        status if status.is_client_error() => Problem::bad_request(words),
        _ => Problem::internal(words),
    };
    let mut answer = problem.into_response();
    if let Some(allow) = response.headers().get(header::ALLOW) {
        answer.headers_mut().insert(header::ALLOW, allow.clone());
    }
    answer
}

/// What the answer's status is: HTTP's, or the name of gRPC's where it stands in the head.
fn status(server: &Server, response: &Response) -> String {
    if server.name == "grpc" {
        let code = response.headers().get("grpc-status").and_then(|code| code.to_str().ok());
        return code.map_or_else(|| "0".to_owned(), str::to_owned);
    }
    response.status().as_u16().to_string()
}

/// A request's line in the log, written when it is dropped.
struct Line<'a> {
    server: &'a Server,
    route: String,
    method: axum::http::Method,
    path: String,
    peer: Option<SocketAddr>,
    caller: &'a Caller,
    started: Instant,
    /// None where the caller did not wait for it.
    status: Option<String>,
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let took: Duration = self.started.elapsed();
        let status = self.status.as_deref().unwrap_or("hung up");
        self.server.gateway.metrics.answered(self.server.name, &self.route, status, took);
        self.server.gateway.history.request(self.server.name, &self.route, status, took);
        let peer = self.peer.map(tracing::field::display);
        let duration_ms = took.as_secs_f64() * 1000.0;
        let trace_id = self.caller.trace.trace_id().unwrap_or_default();
        let (server, method, path) = (self.server.name, &self.method, &self.path);
        let caller = self.caller.who.id();
        // Probes and the page's questions come every few seconds, and tell nobody anything.
        if matches!(
            &*self.route,
            "/livez"
                | "/readyz"
                | "/metrics"
                | "/v2/health/live"
                | "/v2/health/ready"
                | "/v1/workers"
                | "/v1/activity"
        ) {
            tracing::debug!(server, %method, path, status, duration_ms, peer, caller, request_id = self.caller.request_id, trace_id, "request");
        } else {
            tracing::info!(server, %method, path, status, duration_ms, peer, caller, request_id = self.caller.request_id, trace_id, "request");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&str, &[u8])]) -> Caller {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        Caller::read(&map)
    }

    const PARENT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_goes_on_under_a_span_of_the_gateway_s_own() {
        let caller = read(&[("traceparent", PARENT), ("tracestate", b"a=b"), ("x-request-id", b"mine")]);
        let parent = caller.trace.parent.clone().unwrap();
        assert!(
            parent.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && parent.ends_with("-01"),
            "{parent}"
        );
        assert!(!parent.contains("b7ad6b7169203331"), "{parent}");
        assert_eq!(caller.trace.state.as_deref(), Some("a=b"));
        assert_eq!(caller.request_id, "mine");
    }

    #[test]
    fn what_is_not_as_it_should_be_is_not_passed_on() {
        let long = vec![b'x'; 600];
        for headers in [
            &[("traceparent", &b"00-nonsense"[..]), ("tracestate", b"a=b"), ("x-request-id", b"\xff")][..],
            &[
                ("traceparent", PARENT),
                ("traceparent", PARENT),
                ("tracestate", b"a=b"),
                ("x-request-id", b"a b"),
            ],
            &[("tracestate", &long), ("x-request-id", &long)],
        ] {
            let caller = read(headers);
            assert_eq!(caller.trace.state, None);
            assert!(caller.trace.trace_id().is_some(), "a new one");
            assert!(!caller.trace.parent.unwrap().contains("0af7651916cd43dd"));
            assert!(Uuid::parse_str(&caller.request_id).is_ok(), "{}", caller.request_id);
        }
        assert_eq!(read(&[("baggage", b"k=v\tw")]).trace.baggage, None);
        assert_eq!(read(&[("baggage", b"k=v")]).trace.baggage.as_deref(), Some("k=v"));
    }
}
