//! Reading a request's body: no more than a limit, no longer than a time, and no more of all bodies together than there is room
//! for. What is too large is refused as soon as that is known; its rest is read and dropped up to a bound, so that a client that
//! sends all before it reads sees the answer.

use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use futures_util::{Stream, StreamExt as _};
use serde::de::DeserializeOwned;

use crate::admission::Room;
use crate::gateway::Gateway;
use crate::problem::Problem;

/// How much of a body that is too large is read and dropped, in bytes.
const DROPPED: usize = 64 << 20;
/// And for how long.
const DROPPING: Duration = Duration::from_secs(10);

/// A body in memory.
#[derive(Debug)]
pub struct Held {
    /// Its bytes.
    pub bytes: Bytes,
    /// They are counted as long as this lives.
    pub room: Room,
}

/// The JSON that a body of at most that many bytes holds, which its `content-type` has to say; `what` names it in what is said.
///
/// # Errors
/// As [`read`], 415 where it is of another kind, 400 where it is not understood.
pub async fn json<T: DeserializeOwned>(
    gateway: &Gateway,
    headers: &HeaderMap,
    body: Body,
    what: &str,
    limit: usize,
) -> Result<T, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::media_type(format!("{what} is said in application/json")));
    }
    let held = read(gateway, headers, body, what, limit).await?;
    serde_json::from_slice(&held.bytes).map_err(|error| Problem::bad_request(format!("the body: {error}")))
}

/// Reads a body of at most that many bytes; `what` names it in what is said.
///
/// # Errors
/// [`Problem`]: 408, 413, 415 where it is encoded, 429 where there is no room, 400 where it broke off.
pub async fn read(
    gateway: &Gateway,
    headers: &HeaderMap,
    body: Body,
    what: &str,
    limit: usize,
) -> Result<Held, Problem> {
    let encoded = headers.get(header::CONTENT_ENCODING).is_some_and(|kind| kind.as_bytes() != b"identity");
    let expects = headers.contains_key(header::EXPECT);
    let mut stream = body.into_data_stream();
    if encoded {
        drop_rest(stream, expects);
        return Err(Problem::media_type("a compressed body is not taken: images are compressed already"));
    }
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) {
        drop_rest(stream, expects);
        return Err(Problem::too_large(what, limit));
    }
    let mut room = gateway.admission.room();
    let mut bytes = Vec::new();
    let timeout = gateway.config.http.body_timeout;
    let reading = async {
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|_| Problem::bad_request("the body broke off"))?;
            if bytes.len() + piece.len() > limit {
                return Err(Problem::too_large(what, limit));
            }
            room.grow(piece.len())?;
            bytes.extend_from_slice(&piece);
        }
        Ok(())
    };
    match tokio::time::timeout(timeout, reading).await {
        Ok(Ok(())) => Ok(Held { bytes: bytes.into(), room }),
        Ok(Err(problem)) => {
            drop_rest(stream, false);
            Err(problem)
        }
        Err(_) => Err(Problem::too_slow(timeout)),
    }
}

/// Reads and drops the body of a request that was answered without it.
pub fn pass_over(headers: &HeaderMap, body: Body) {
    drop_rest(body.into_data_stream(), headers.contains_key(header::EXPECT));
}

/// Reads on beside the answer. Whoever waits to be told to go on with the body is not: the answer tells it all.
fn drop_rest(
    mut rest: impl Stream<Item = Result<Bytes, axum::Error>> + Send + Unpin + 'static,
    expects: bool,
) {
    if expects {
        return;
    }
    tokio::spawn(async move {
        let dropping = async {
            let mut dropped = 0;
            let mut rest = Pin::new(&mut rest);
            while let Some(Ok(piece)) = rest.next().await {
                dropped += piece.len();
                if dropped > DROPPED {
                    break;
                }
            }
        };
        // Over or not: the connection closes with what is left.
        drop(tokio::time::timeout(DROPPING, dropping).await);
    });
}
