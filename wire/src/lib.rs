//! The contract between whoever asks for a prediction and whoever answers: requests, results, their encodings and the
//! names of the record headers. No input or output happens here.
//!
//! - [`header`]: names and values of record headers (CloudEvents, Spring's request/reply, W3C trace context).
//! - [`envelope`]: what a record says beside its value: request id, where to answer, how to encode the answer.
//! - [`request`] and [`result`]: the two messages; [`error`]: the codes of a result that is an error.
//! - [`encoding`]: how a value is encoded, and how that is told.
//! - [`dead_letter`]: the headers of a record that can never succeed (Kafka Connect's).
//! - [`control`]: what workers are asked to do beside answering; [`key`]: who may ask gateways for what.
//! - [`announcement`]: what a worker says it serves; [`comparison`]: what a version says beside the one that answers.
//! - [`snapshot`]: what a worker has done lately and how it is; [`histogram`]: times in it that can be added up.
//! - [`review`]: an image that a person should look at; [`mod@label`]: what a person says that it shows.
//!
//! The page `docs/protocol.md` tells the same to someone without Rust.

#![forbid(unsafe_code)]

pub mod announcement;
mod codec;
pub mod comparison;
pub mod control;
pub mod dead_letter;
pub mod encoding;
pub mod envelope;
pub mod error;
mod event;
pub mod header;
pub mod histogram;
pub mod key;
pub mod label;
pub mod request;
pub mod result;
pub mod review;
pub mod snapshot;

pub use announcement::{Announcement, SkippedModel};
pub use codec::{DecodeError, MAX_VALUE_BYTES, quoted};
pub use comparison::{Comparison, Labelled};
pub use control::{Action, Control};
pub use encoding::Encoding;
pub use envelope::{Envelope, ReplyTo, TraceContext};
pub use error::{ErrorCode, ErrorReply, UnknownCode};
pub use header::Headers;
pub use histogram::Histogram;
pub use key::{KeyRecord, Scope};
pub use label::{Label, Verdict};
pub use request::Request;
pub use result::{ModelId, Outcome, Prediction, Response, Success, Timings};
pub use review::{Review, Why, is_digest};
pub use snapshot::{Counts, ModelFigures, Rooms, Snapshot, WorkerState};

/// A new request id: a UUID of version 7 (RFC 9562), which sorts by the time it was made.
#[must_use]
pub fn new_request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}
