//! What belongs to each call that brings images: how long it may take, as the caller says, how long its message may take to
//! come, and room for its bytes.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::Frame;
use tokio::time::{Instant, Sleep};
use tonic::Status;

use super::SERVICE;
use crate::admission::Room;
use crate::problem::Problem;
use crate::routes::Shared;

/// When the caller does not wait any more.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Instant);

/// Around each call: holds it to its deadline, and its message to time and room.
pub async fn bounded(State(gateway): State<Shared>, mut request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with(SERVICE) {
        return next.run(request).await;
    }
    let limit = match timeout(request.headers()) {
        Ok(limit) => {
            limit.unwrap_or(gateway.config.requests.max_timeout).min(gateway.config.requests.max_timeout)
        }
        Err(problem) => return Status::from(problem).into_http(),
    };
    let deadline = Instant::now() + limit;
    request.extensions_mut().insert(Deadline(deadline));
    let room = Arc::new(Mutex::new(gateway.admission.room()));
    let timeout = gateway.config.http.body_timeout;
    let late = Box::pin(tokio::time::sleep(timeout));
    let metered = |body| Body::new(Metered { body, room: Arc::clone(&room), late, timeout, failed: false });
    let answered = tokio::time::timeout_at(deadline, next.run(request.map(metered))).await;
    // Its bytes are counted until it is answered.
    drop(room);
    answered
        .unwrap_or_else(|_| Status::from(Problem::deadline("the deadline of the call is over")).into_http())
}

/// `grpc-timeout`: up to 8 digits and a unit.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let bad =
        || Problem::bad_request("grpc-timeout is not understood: up to 8 digits and one of H, M, S, m, u, n");
    let text = value.to_str().map_err(|_| bad())?;
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(bad)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let number: u64 = digits.parse().map_err(|_| bad())?;
    match unit {
        "H" => Ok(Some(Duration::from_secs(number * 3600))),
        "M" => Ok(Some(Duration::from_secs(number * 60))),
        "S" => Ok(Some(Duration::from_secs(number))),
        "m" => Ok(Some(Duration::from_millis(number))),
        "u" => Ok(Some(Duration::from_micros(number))),
        "n" => Ok(Some(Duration::from_nanos(number))),
        _ => Err(bad()),
    }
}

/// A message while it comes.
struct Metered {
    body: Body,
    room: Arc<Mutex<Room>>,
    late: Pin<Box<Sleep>>,
    timeout: Duration,
    failed: bool,
}

impl hyper::body::Body for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let problem = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => match self.late.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => Problem::too_slow(self.timeout),
            },
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(_))) => Problem::bad_request("the message broke off"),
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                match self.room.lock().unwrap_or_else(PoisonError::into_inner).grow(bytes) {
                    Ok(()) => return Poll::Ready(Some(Ok(frame))),
                    Err(problem) => problem,
                }
            }
        };
        self.failed = true;
        Poll::Ready(Some(Err(problem.into())))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(text: &'static str) -> Option<Result<Duration, u16>> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", HeaderValue::from_static(text));
        match timeout(&headers) {
            Ok(time) => time.map(Ok),
            Err(problem) => Some(Err(problem.status().as_u16())),
        }
    }

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        for (text, time) in [
            ("2H", Duration::from_secs(7200)),
            ("3M", Duration::from_secs(180)),
            ("4S", Duration::from_secs(4)),
            ("99999999m", Duration::from_millis(99_999_999)),
            ("6u", Duration::from_micros(6)),
            ("7n", Duration::from_nanos(7)),
        ] {
            assert_eq!(read(text), Some(Ok(time)), "{text}");
        }
        for text in ["", "S", "1", "1s", "100000000S", "-1S", "+1S", "1.5S", " 1S"] {
            assert_eq!(read(text), Some(Err(400)), "{text}");
        }
        assert_eq!(timeout(&HeaderMap::new()), Ok(None));
    }
}
