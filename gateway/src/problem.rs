//! What went wrong, as HTTP says it (RFC 9457) and as gRPC does. Every answer that is not what was asked for is one of these.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use client::{ClientError, ErrorCode, ErrorReply};
use serde::Serialize;
use utoipa::ToSchema;

/// After how many seconds to try again what was refused because too much is under way.
const RETRY_AFTER_S: u64 = 1;

// Codes of gRPC's that no worker answers with: nobody asks a worker who they are.
const UNAUTHENTICATED: &str = "UNAUTHENTICATED";
const PERMISSION_DENIED: &str = "PERMISSION_DENIED";

/// Problem details (RFC 9457).
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ProblemDetails {
    /// `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong and what to do about it.
    pub detail: String,
    /// The same under the name that the Open Inference Protocol gives it.
    pub error: String,
    /// gRPC's canonical code, as a worker's answer on Kafka has it.
    pub code: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    status: StatusCode,
    code: String,
    detail: String,
    retryable: bool,
    /// After how many seconds the same request may succeed, where that is known.
    retry_after_s: Option<u64>,
    /// What is to be shown, where that is missing (RFC 6750).
    challenge: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, code: ErrorCode, detail: impl Into<String>) -> Self {
        Self::coded(status, code.name(), code.is_retryable(), detail)
    }

    fn coded(status: StatusCode, code: &str, retryable: bool, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { status, code: code.to_owned(), detail, retryable, retry_after_s: None, challenge: None }
    }

    /// Who asks does not say who they are.
    #[must_use]
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        let problem = Self::coded(StatusCode::UNAUTHORIZED, UNAUTHENTICATED, false, detail);
        Self { challenge: Some("Bearer realm=\"mlaas\"".to_owned()), ..problem }
    }

    /// Who asks says who they are, and is not believed. What they said may not stand in `detail`.
    #[must_use]
    pub fn not_believed(detail: impl Into<String>) -> Self {
        let challenge = "Bearer realm=\"mlaas\", error=\"invalid_token\"".to_owned();
        Self { challenge: Some(challenge), ..Self::unauthenticated(detail) }
    }

    /// Who asks is known, and may not do that.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::coded(StatusCode::FORBIDDEN, PERMISSION_DENIED, false, detail)
    }

    /// The same, for want of a scope.
    #[must_use]
    pub fn without_scope(scope: &str, detail: impl Into<String>) -> Self {
        let challenge = format!("Bearer realm=\"mlaas\", error=\"insufficient_scope\", scope=\"{scope}\"");
        Self { challenge: Some(challenge), ..Self::forbidden(detail) }
    }

    /// Who asks, asks too often.
    #[must_use]
    pub fn too_fast(detail: impl Into<String>, wait: Duration) -> Self {
        let seconds = u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
        Self { retry_after_s: Some(seconds), ..Self::too_many(detail) }
    }

    /// What was asked makes no sense.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::InvalidArgument, detail)
    }

    /// There is no such thing.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorCode::NotFound, detail)
    }

    /// There is, and this can't be done with it. What can stands in the header `Allow`.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let detail = "this path does not take that method: see the header Allow";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::InvalidArgument, detail)
    }

    /// The body did not come in time.
    #[must_use]
    pub fn too_slow(limit: Duration) -> Self {
        let detail = format!("the body did not come within {}", humantime::format_duration(limit));
        Self::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::DeadlineExceeded, detail)
    }

    /// It can't be done as things are.
    #[must_use]
    pub fn failed_precondition(detail: impl Into<String>) -> Self {
        Self::coded(StatusCode::CONFLICT, "FAILED_PRECONDITION", false, detail)
    }

    /// More than is taken.
    #[must_use]
    pub fn too_large(what: &str, limit: usize) -> Self {
        let detail = format!("{what} is over the {limit} bytes that are taken");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::OutOfRange, detail)
    }

    /// Not a kind that is taken.
    #[must_use]
    pub fn media_type(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::InvalidArgument, detail)
    }

    /// Understood, and can't be done.
    #[must_use]
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::InvalidArgument, detail)
    }

    /// Too much is under way.
    #[must_use]
    pub fn too_many(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::ResourceExhausted, detail)
    }

    /// It can't be done now.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, detail)
    }

    /// Somebody else was quicker.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::coded(StatusCode::CONFLICT, "ABORTED", false, detail)
    }

    /// It can't be done here.
    #[must_use]
    pub fn not_implemented(detail: impl Into<String>) -> Self {
        Self::coded(StatusCode::NOT_IMPLEMENTED, "UNIMPLEMENTED", false, detail)
    }

    /// No answer in time.
    #[must_use]
    pub fn deadline(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, ErrorCode::DeadlineExceeded, detail)
    }

    /// A fault of ours.
    #[must_use]
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Internal, detail)
    }

    /// What HTTP's status is.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// It in the words of RFC 9457.
    #[must_use]
    pub fn details(&self) -> ProblemDetails {
        ProblemDetails {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            error: self.detail.clone(),
            code: self.code.clone(),
            retryable: self.retryable,
        }
    }
}

/// A worker's error.
impl From<ErrorReply> for Problem {
    fn from(reply: ErrorReply) -> Self {
        let status = match reply.code {
            // The request could be read, or it would not have been sent: it is the image that can't be.
            ErrorCode::InvalidArgument => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            ErrorCode::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::OutOfRange => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::Internal | ErrorCode::Unknown(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let ErrorReply { code, message, retryable } = reply;
        Self::coded(status, code.name(), retryable, message)
    }
}

/// No answer of a worker's at all.
impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        let detail = error.to_string();
        match &error {
            ClientError::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::OutOfRange, detail)
            }
            // Nobody has it, so that to send it again does no harm.
            ClientError::Timeout { acknowledged: false, .. } => Self::unavailable(detail),
            error if error.is_timeout() => Self::deadline(detail),
            ClientError::BadReply { .. } | ClientError::Thread(_) => Self::internal(detail),
            _ => Self::unavailable(detail),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.details())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let seconds = self.retry_after_s.unwrap_or(RETRY_AFTER_S);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.challenge.and_then(|challenge| HeaderValue::from_str(&challenge).ok()) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.status == StatusCode::PAYLOAD_TOO_LARGE {
            // Behind an answer that did not wait for the request's end no other request can follow.
            headers.insert(HeaderName::from_static("connection"), HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<Problem> for tonic::Status {
    fn from(problem: Problem) -> Self {
        use tonic::Code;
        let code = match problem.code.as_str() {
            "INVALID_ARGUMENT" => Code::InvalidArgument,
            "NOT_FOUND" => Code::NotFound,
            "DEADLINE_EXCEEDED" => Code::DeadlineExceeded,
            "RESOURCE_EXHAUSTED" => Code::ResourceExhausted,
            "UNAVAILABLE" => Code::Unavailable,
            "OUT_OF_RANGE" => Code::OutOfRange,
            "INTERNAL" => Code::Internal,
            UNAUTHENTICATED => Code::Unauthenticated,
            PERMISSION_DENIED => Code::PermissionDenied,
            "ABORTED" => Code::Aborted,
            "FAILED_PRECONDITION" => Code::FailedPrecondition,
            "UNIMPLEMENTED" => Code::Unimplemented,
            _ => Code::Unknown,
        };
        Self::new(code, problem.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_of_a_worker_has_its_status() {
        for (code, status) in [
            (ErrorCode::InvalidArgument, 422),
            (ErrorCode::NotFound, 404),
            (ErrorCode::DeadlineExceeded, 504),
            (ErrorCode::ResourceExhausted, 429),
            (ErrorCode::Unavailable, 503),
            (ErrorCode::Internal, 500),
            (ErrorCode::OutOfRange, 413),
        ] {
            let problem = Problem::from(ErrorReply::new(code, "it is so"));
            let details = problem.details();
            assert_eq!((details.status, details.code.as_str()), (status, code.name()));
            assert_eq!(details.retryable, code.is_retryable());
            let status = tonic::Status::from(problem);
            assert_eq!(status.message(), "it is so");
            assert_ne!(status.code(), tonic::Code::Unknown, "{code}");
        }
    }

    #[test]
    fn who_is_to_come_again_is_told_when() {
        let header = |problem: Problem, name: HeaderName| {
            problem.into_response().headers().get(name).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(header(Problem::too_many("x"), header::RETRY_AFTER).as_deref(), Some("1"));
        assert_eq!(header(Problem::unavailable("x"), header::RETRY_AFTER).as_deref(), Some("1"));
        assert_eq!(header(Problem::bad_request("x"), header::RETRY_AFTER), None);
        // A second that has begun is waited for to its end.
        for (millis, seconds) in [(1, "1"), (1000, "1"), (1001, "2"), (61_500, "62")] {
            let problem = Problem::too_fast("x", Duration::from_millis(millis));
            assert_eq!(header(problem, header::RETRY_AFTER).as_deref(), Some(seconds));
        }
    }

    #[test]
    fn who_may_not_come_in_is_told_what_to_show() {
        let challenge = |problem: Problem| {
            let response = problem.into_response();
            let challenge = response.headers().get(header::WWW_AUTHENTICATE);
            (response.status().as_u16(), challenge.map(|value| value.to_str().unwrap().to_owned()))
        };
        let bearer = |more: &str| Some(format!("Bearer realm=\"mlaas\"{more}"));
        assert_eq!(challenge(Problem::unauthenticated("x")), (401, bearer("")));
        assert_eq!(challenge(Problem::not_believed("x")), (401, bearer(", error=\"invalid_token\"")));
        let scope = ", error=\"insufficient_scope\", scope=\"read\"";
        assert_eq!(challenge(Problem::without_scope("read", "x")), (403, bearer(scope)));
        assert_eq!(challenge(Problem::forbidden("x")), (403, None));
        for (problem, code) in [
            (Problem::unauthenticated("x"), tonic::Code::Unauthenticated),
            (Problem::forbidden("x"), tonic::Code::PermissionDenied),
            (Problem::too_fast("x", Duration::ZERO), tonic::Code::ResourceExhausted),
        ] {
            assert_eq!(tonic::Status::from(problem).code(), code);
        }
    }

    #[test]
    fn a_request_that_no_broker_has_may_be_sent_again() {
        let late = |acknowledged| ClientError::Timeout {
            id: "a".into(),
            waited: Duration::from_secs(1),
            acknowledged,
        };
        assert_eq!(Problem::from(late(false)).status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(Problem::from(late(true)).status(), StatusCode::GATEWAY_TIMEOUT);
    }
}
