//! A result: labels with their probabilities, or what went wrong.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};
use crate::encoding::{Encoding, Media};
use crate::envelope::{ReplyTo, TraceContext};
use crate::error::ErrorReply;
use crate::event;
use crate::header::{self, Headers};

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Body", into = "Body")]
pub struct Response {
    /// The id of the request that this answers.
    pub request_id: String,
    /// Labels, or what went wrong.
    pub outcome: Outcome,
    /// Where the time went.
    pub timings: Timings,
    /// The worker that answered.
    pub worker: String,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// With labels.
    Success(Success),
    /// With an error.
    Error(ErrorReply),
}

/// Labels, and who gave them.
#[derive(Clone, Debug, PartialEq)]
pub struct Success {
    /// The model version that answered.
    pub model: ModelId,
    /// The top k, most probable first.
    pub predictions: Vec<Prediction>,
    /// How many images were in the batch that this one was computed in.
    pub batch_size: u32,
}

/// A model version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelId {
    /// Its name.
    #[serde(deserialize_with = "codec::fields::text::deserialize")]
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The digest of its manifest, which holds those of all its files: `sha256:` and 64 hexadecimal digits.
    #[serde(deserialize_with = "codec::fields::text::deserialize")]
    pub digest: String,
}

/// One label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The class's name.
    #[serde(deserialize_with = "codec::fields::text::deserialize")]
    pub label: String,
    /// The class's index in the model's own output; `None` (JSON `null`) for an outcome that is no class of it, as
    /// "not a bird".
    pub index: Option<u32>,
    /// From 0 to 1.
    pub probability: f32,
}

/// Where a request's time in the worker went, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Reading the request and turning its image into the net's input.
    pub decode: u64,
    /// Waiting for a batch and for an instance.
    pub queue: u64,
    /// The batch's time in the net.
    pub inference: u64,
    /// From the record's arrival to its result.
    pub total: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Success,
    Error,
}

/// The value of a result in JSON and in bincode. In bincode the order of the fields is the layout.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Body {
    status: Status,
    #[serde(deserialize_with = "codec::fields::text::deserialize")]
    request_id: String,
    model: Option<ModelId>,
    #[serde(default)]
    predictions: Vec<Prediction>,
    error: Option<ErrorReply>,
    #[serde(default)]
    timings_us: Timings,
    #[serde(default)]
    batch_size: u32,
    #[serde(deserialize_with = "codec::fields::text::deserialize")]
    worker: String,
}

impl From<Response> for Body {
    fn from(response: Response) -> Self {
        let Response { request_id, outcome, timings: timings_us, worker } = response;
        match outcome {
            Outcome::Success(Success { model, predictions, batch_size }) => Self {
                status: Status::Success,
                request_id,
                model: Some(model),
                predictions,
                error: None,
                timings_us,
                batch_size,
                worker,
            },
            Outcome::Error(error) => Self {
                status: Status::Error,
                request_id,
                model: None,
                predictions: Vec::new(),
                error: Some(error),
                timings_us,
                batch_size: 0,
                worker,
            },
        }
    }
}

impl TryFrom<Body> for Response {
    type Error = &'static str;

    fn try_from(body: Body) -> Result<Self, Self::Error> {
        let outcome = match (body.status, body.model, body.error) {
            (Status::Success, Some(model), None) => Outcome::Success(Success {
                model,
                predictions: body.predictions,
                batch_size: body.batch_size,
            }),
            (Status::Error, None, Some(error)) => Outcome::Error(error),
            (Status::Success, ..) => return Err("a success has a model and no error"),
            (Status::Error, ..) => return Err("an error has an error and no model"),
        };
        Ok(Self { request_id: body.request_id, outcome, timings: body.timings_us, worker: body.worker })
    }
}

impl Response {
    /// The value of a record that carries this result. [`Encoding::Raw`] has no form for a result and stands for JSON.
    #[must_use]
    pub fn encode(&self, encoding: Encoding) -> Vec<u8> {
        match encoding.of_answer() {
            Encoding::Bincode => codec::bincode::write(self, 512),
            Encoding::Json | Encoding::Raw => codec::json::write(self),
        }
    }

    /// The headers of a record that carries this result.
    #[must_use]
    pub fn headers(
        &self,
        encoding: Encoding,
        time: Timestamp,
        reply_to: &ReplyTo,
        trace: &TraceContext,
    ) -> Headers {
        let source = format!("/mlaas/worker/{}", event::segment(&self.worker));
        let mut headers = event::attributes(header::TYPE_RESULT, &self.request_id, &source, time);
        headers.push(header::CONTENT_TYPE, encoding.of_answer().media_type(&[]));
        trace.write(&mut headers);
        if let Some(id) = &reply_to.correlation_id {
            headers.push(header::CORRELATION_ID, id.as_slice());
        }
        headers
    }

    /// Reads the value of a record, by its `content-type` where there is one. Leniently: fields that are not known are
    /// passed over, in bincode what stands behind the last one.
    ///
    /// # Errors
    /// [`DecodeError`] where the value is empty, over 64 MiB, not a result, or a result of another version.
    pub fn decode(headers: &Headers, value: &[u8]) -> Result<Self, DecodeError> {
        event::check_headers(headers, header::TYPE_RESULT)?;
        codec::check_size(value, codec::MAX_VALUE_BYTES)?;
        let encoding = match headers.get(header::CONTENT_TYPE).map(String::from_utf8_lossy) {
            None => Encoding::sniff(value),
            Some(text) => match Media::read(&text) {
                Some(Media::Body(encoding @ (Encoding::Bincode | Encoding::Json))) => encoding,
                Some(Media::Bytes) => Encoding::sniff(value),
                _ => return Err(DecodeError::ContentType(codec::quoted(&text))),
            },
        };
        match encoding {
            Encoding::Bincode => codec::bincode::read_front(value, "result").map(|(result, _)| result),
            Encoding::Json | Encoding::Raw => codec::json::read(value, "result"),
        }
    }
}
