//! A request: one image and what is asked about it.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};
use crate::encoding::Encoding;
use crate::envelope::{self, Envelope, ReplyTo, TraceContext};
use crate::event::{self, Event};
use crate::header::{self, Headers};

/// One image and what is asked about it. Where `None`, the worker's configuration decides. What is read from a record may
/// borrow its image from the record's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Correlates the answer. Unique for each request.
    pub id: String,
    /// The name of the model that should answer.
    pub model: Option<String>,
    /// The version of that model.
    pub model_version: Option<u32>,
    /// How many predictions to return, most probable first.
    pub top_k: Option<u32>,
    /// The time after which nobody waits for the answer; see [`Self::expires`].
    pub deadline: Option<Timestamp>,
    /// For how many milliseconds somebody waits, from the record's own timestamp on. It travels beside the value only, as
    /// that timestamp does.
    pub timeout_ms: Option<u64>,
    /// Lower goes first.
    pub priority: Option<u32>,
    /// The bytes of an image file.
    pub image: Cow<'a, [u8]>,
}

/// The value of a request in JSON and in bincode. In bincode the order of the fields is the layout.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body<'a> {
    #[serde(default, deserialize_with = "codec::fields::text::optional")]
    pub(crate) request_id: Option<String>,
    #[serde(default, deserialize_with = "codec::fields::text::optional")]
    pub(crate) model: Option<String>,
    #[serde(default)]
    pub(crate) model_version: Option<u32>,
    #[serde(default)]
    pub(crate) top_k: Option<u32>,
    #[serde(default)]
    pub(crate) deadline: Option<Timestamp>,
    #[serde(default)]
    pub(crate) priority: Option<u32>,
    #[serde(borrow, with = "codec::fields::image")]
    pub(crate) image: Cow<'a, [u8]>,
}

impl<'a> Body<'a> {
    pub(crate) fn of_image(image: Cow<'a, [u8]>) -> Self {
        Self { image, ..Self::default() }
    }
}

impl<'a> Request<'a> {
    /// A request for that image with a new id, everything else left to the worker.
    #[must_use]
    pub fn new(image: impl Into<Cow<'a, [u8]>>) -> Self {
        Self {
            id: crate::new_request_id(),
            model: None,
            model_version: None,
            top_k: None,
            deadline: None,
            timeout_ms: None,
            priority: None,
            image: image.into(),
        }
    }

    /// The same, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Request<'static> {
        Request { image: Cow::Owned(self.image.into_owned()), ..self }
    }

    /// The value of a record that carries this request.
    #[must_use]
    pub fn encode(&self, encoding: Encoding) -> Vec<u8> {
        let body = || Body {
            request_id: Some(self.id.clone()),
            model: self.model.clone(),
            model_version: self.model_version,
            top_k: self.top_k,
            deadline: self.deadline,
            priority: self.priority,
            image: Cow::Borrowed(&self.image),
        };
        match encoding {
            Encoding::Bincode => codec::bincode::write(&body(), self.image.len() + 192),
            Encoding::Json => codec::json::write(&body()),
            Encoding::Raw => self.image.to_vec(),
        }
    }

    /// The headers of a record that carries this request: CloudEvents in binary mode, where to answer, trace context.
    /// `source` is a URI reference; what may not stand in one is percent-encoded.
    #[must_use]
    pub fn headers(
        &self,
        encoding: Encoding,
        source: &str,
        time: Timestamp,
        reply_to: &ReplyTo,
        trace: &TraceContext,
    ) -> Headers {
        let mut headers = event::attributes(header::TYPE_REQUEST, &self.id, source, time);
        headers.push(header::CONTENT_TYPE, encoding.media_type(&self.image));
        let mut optional = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                headers.push(name, value);
            }
        };
        optional(header::MODEL, self.model.clone());
        optional(header::MODEL_VERSION, self.model_version.map(|v| v.to_string()));
        optional(header::TOP_K, self.top_k.map(|k| k.to_string()));
        optional(header::DEADLINE, self.deadline.map(|t| t.to_string()));
        optional(header::TIMEOUT_MS, self.timeout_ms.map(|ms| ms.to_string()));
        optional(header::PRIORITY, self.priority.map(|p| p.to_string()));
        optional(header::REPLY_TOPIC, reply_to.topic.clone());
        trace.write(&mut headers);
        if let Some(partition) = reply_to.partition {
            headers.push(header::REPLY_PARTITION, partition.to_be_bytes());
        }
        if let Some(id) = &reply_to.correlation_id {
            headers.push(header::CORRELATION_ID, id.as_slice());
        }
        headers
    }

    /// Reads the value of a record. What a header says goes before what the value says, and so does the record's key
    /// where no header gives an id; only the id of a CloudEvent in structured mode goes before both. A request without
    /// any id gets the envelope's default.
    ///
    /// # Errors
    /// [`DecodeError`] where the value is empty, larger than `max_bytes`, not what its `content-type` says, or where a
    /// header was not understood.
    pub fn decode(envelope: &Envelope, value: &'a [u8], max_bytes: usize) -> Result<Self, DecodeError> {
        if let Some(defect) = &envelope.defect {
            return Err(defect.clone());
        }
        codec::check_size(value, max_bytes)?;
        let (body, timeout_ms) = if envelope.structured {
            Event::read(value)?.into_request()?
        } else {
            let body = match envelope.encoding.unwrap_or_else(|| Encoding::sniff(value)) {
                Encoding::Bincode => codec::bincode::read(value, "request")?,
                Encoding::Json => codec::json::read(value, "request")?,
                Encoding::Raw => Body::of_image(Cow::Borrowed(value)),
            };
            (body, None)
        };
        if body.image.is_empty() {
            return Err(DecodeError::Empty("image"));
        }
        // A body's own id ends in headers and log lines too, so the rule for `ce_id` holds for it.
        if body.request_id.as_deref().is_some_and(|id| !envelope::is_id(id)) {
            return Err(DecodeError::Id(envelope::ID_RULE));
        }
        let (first, second) = if envelope.structured {
            (body.request_id, envelope.id.clone())
        } else {
            (envelope.id.clone(), body.request_id)
        };
        Ok(Self {
            id: first
                .or(second)
                .or_else(|| envelope.default_id.clone())
                .unwrap_or_else(crate::new_request_id),
            model: envelope.model.clone().or(body.model),
            model_version: envelope.model_version.or(body.model_version),
            top_k: envelope.top_k.or(body.top_k),
            deadline: envelope.deadline.or(body.deadline),
            timeout_ms: envelope.timeout_ms.or(timeout_ms),
            priority: envelope.priority.or(body.priority),
            image: body.image,
        })
    }

    /// When nobody waits for the answer any more; `None` where no time was set or it lies beyond all times.
    ///
    /// The time allowed counts from `written`, the record's timestamp, and goes before the deadline, as `max-age` goes
    /// before `Expires` in HTTP: a deadline is by the sender's clock, the timestamp by the broker's where its topic has
    /// `message.timestamp.type=LogAppendTime`. Nothing was written after it `arrived`: a timestamp of a clock that is ahead
    /// counts as that, and so does none.
    #[must_use]
    pub fn expires(&self, written: Option<Timestamp>, arrived: Timestamp) -> Option<Timestamp> {
        let Some(allowed) = self.timeout_ms else { return self.deadline };
        let from = written.map_or(arrived, |written| written.min(arrived));
        from.checked_add(SignedDuration::from_millis(i64::try_from(allowed).ok()?)).ok()
    }
}
