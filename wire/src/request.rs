//! A request: one image and what is asked about it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};
use crate::encoding::{self, Encoding};
use crate::envelope::{self, Envelope, ReplyTo, TraceContext};
use crate::header::{self, Headers};

/// One image and what is asked about it. Where `None`, the worker's configuration decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Correlates the answer. Unique for each request.
    pub id: String,
    /// The name of the model that should answer.
    pub model: Option<String>,
    /// The version of that model.
    pub model_version: Option<u32>,
    /// How many predictions to return, most probable first.
    pub top_k: Option<u32>,
    /// The time after which nobody waits for the answer.
    pub deadline: Option<Timestamp>,
    /// Lower goes first.
    pub priority: Option<u32>,
    /// The bytes of an image file.
    pub image: Vec<u8>,
}

/// The value of a request in JSON and in bincode. In bincode the order of the fields is the layout.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default, deserialize_with = "codec::text::optional")]
    request_id: Option<String>,
    #[serde(default, deserialize_with = "codec::text::optional")]
    model: Option<String>,
    #[serde(default)]
    model_version: Option<u32>,
    #[serde(default)]
    top_k: Option<u32>,
    #[serde(default)]
    deadline: Option<Timestamp>,
    #[serde(default)]
    priority: Option<u32>,
    #[serde(with = "codec::image_bytes")]
    image: Vec<u8>,
}

/// A CloudEvent in structured mode, JSON event format. Attributes that are nothing to us are passed over, as the
/// specification asks.
#[derive(Debug, Deserialize)]
struct Event {
    id: String,
    #[serde(default)]
    datacontenttype: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    modelversion: Option<u32>,
    #[serde(default)]
    topk: Option<u32>,
    #[serde(default)]
    deadline: Option<Timestamp>,
    #[serde(default)]
    priority: Option<u32>,
    #[serde(default)]
    data: Option<Body>,
    #[serde(default)]
    data_base64: Option<Base64>,
}

#[derive(Debug, Deserialize)]
struct Base64(#[serde(with = "codec::image_bytes")] Vec<u8>);

impl Request {
    /// A request for that image with a new id, everything else left to the worker.
    #[must_use]
    pub fn new(image: Vec<u8>) -> Self {
        Self {
            id: crate::new_request_id(),
            model: None,
            model_version: None,
            top_k: None,
            deadline: None,
            priority: None,
            image,
        }
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
            image: self.image.clone(),
        };
        match encoding {
            Encoding::Bincode => codec::to_bincode(&body()),
            Encoding::Json => codec::to_json(&body()),
            Encoding::Raw => self.image.clone(),
        }
    }

    /// The headers of a record that carries this request: CloudEvents in binary mode, where to answer, trace context.
    #[must_use]
    pub fn headers(
        &self,
        encoding: Encoding,
        source: &str,
        time: Timestamp,
        reply_to: &ReplyTo,
        trace: &TraceContext,
    ) -> Headers {
        let mut headers = Headers::of_event(header::TYPE_REQUEST, &self.id, source, time);
        let content_type = match encoding {
            Encoding::Bincode => encoding::BINCODE,
            Encoding::Json => encoding::JSON,
            Encoding::Raw => encoding::image_media_type(&self.image).unwrap_or("application/octet-stream"),
        };
        headers.push(header::CONTENT_TYPE, content_type);
        let mut optional = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                headers.push(name, value);
            }
        };
        optional(header::MODEL, self.model.clone());
        optional(header::MODEL_VERSION, self.model_version.map(|v| v.to_string()));
        optional(header::TOP_K, self.top_k.map(|k| k.to_string()));
        optional(header::DEADLINE, self.deadline.map(|t| t.to_string()));
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
    /// any id gets a new one.
    ///
    /// # Errors
    /// [`DecodeError`] where the value is empty, larger than `max_bytes`, not what its `content-type` says, or where a
    /// header was not understood.
    pub fn decode(envelope: &Envelope, value: &[u8], max_bytes: usize) -> Result<Self, DecodeError> {
        if let Some(defect) = &envelope.defect {
            return Err(defect.clone());
        }
        codec::check_size(value, max_bytes)?;
        let body = if envelope.structured {
            codec::from_json::<Event>(value, "CloudEvent")?.into_body()?
        } else {
            match envelope.encoding.unwrap_or_else(|| Encoding::sniff(value)) {
                Encoding::Bincode => codec::from_bincode(value, "request")?,
                Encoding::Json => codec::from_json(value, "request")?,
                Encoding::Raw => Body::of_image(value.to_vec()),
            }
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
            id: first.or(second).unwrap_or_else(crate::new_request_id),
            model: envelope.model.clone().or(body.model),
            model_version: envelope.model_version.or(body.model_version),
            top_k: envelope.top_k.or(body.top_k),
            deadline: envelope.deadline.or(body.deadline),
            priority: envelope.priority.or(body.priority),
            image: body.image,
        })
    }
}

impl Body {
    fn of_image(image: Vec<u8>) -> Self {
        Self { image, ..Self::default() }
    }
}

impl Event {
    fn into_body(self) -> Result<Body, DecodeError> {
        let malformed = |reason: &str| DecodeError::Malformed {
            encoding: "JSON",
            what: "CloudEvent",
            reason: reason.to_owned(),
        };
        let image_data =
            self.datacontenttype.as_deref().is_some_and(|t| t.to_ascii_lowercase().starts_with("image/"));
        let body = match (self.data, self.data_base64) {
            (Some(body), None) => body,
            (None, Some(Base64(image))) if image_data || self.datacontenttype.is_none() => {
                Body::of_image(image)
            }
            (None, Some(_)) => return Err(malformed("data_base64 needs a datacontenttype of image/...")),
            (Some(_), Some(_)) => return Err(malformed("both data and data_base64 are given")),
            (None, None) => return Err(malformed("neither data nor data_base64 is given")),
        };
        Ok(Body {
            request_id: Some(self.id),
            model: self.model.or(body.model),
            model_version: self.modelversion.or(body.model_version),
            top_k: self.topk.or(body.top_k),
            deadline: self.deadline.or(body.deadline),
            priority: self.priority.or(body.priority),
            image: body.image,
        })
    }
}
