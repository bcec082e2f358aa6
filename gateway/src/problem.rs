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
}

impl Problem {
    fn new(status: StatusCode, code: ErrorCode, detail: impl Into<String>) -> Self {
        let retryable = code.is_retryable();
        Self { status, code: code.name().to_owned(), detail: detail.into(), retryable }
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

    /// It may not be done here.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorCode::InvalidArgument, detail)
    }

    /// It can't be done as things are.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, ErrorCode::InvalidArgument, detail)
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
        Self { status, code: code.name().to_owned(), detail: message, retryable }
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
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
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
