//! A record as a CloudEvent: the attributes that each of ours carries, which of those of others are understood, and the event
//! format in which the whole record is one JSON object (structured mode).

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Deserialize;

use crate::codec::{self, DecodeError};
use crate::encoding::{Encoding, Media};
use crate::header::{self, Headers};
use crate::request::Body;

/// What every type of ours begins with.
const OURS: &str = "mlaas.";
/// The version of CloudEvents.
const SPEC_VERSION: &str = "1.0";

/// The attributes of a record of that type, under that id, from that source, as headers.
pub(crate) fn attributes(kind: &str, id: &str, source: &str, time: Timestamp) -> Headers {
    let mut headers = Headers::new();
    headers.push(header::SPEC_VERSION, SPEC_VERSION);
    headers.push(header::ID, id);
    headers.push(header::SOURCE, &*percent_encoded(source, URI));
    headers.push(header::TYPE, kind);
    headers.push(header::TIME, time.to_string());
    headers
}

/// Whether a record is what this side reads. Somebody else's type is nothing to us; another of ours, or another version, would
/// be read wrongly.
pub(crate) fn check(
    kind: Option<&str>,
    spec_version: Option<&str>,
    known: &'static str,
) -> Result<(), DecodeError> {
    let refuse = |attribute, found: &str, known| {
        Err(DecodeError::Event { attribute, found: codec::quoted(found), known })
    };
    match (kind, spec_version) {
        (Some(kind), _) if kind != known && kind.starts_with(OURS) => refuse(header::TYPE, kind, known),
        (_, Some(version)) if version != SPEC_VERSION => refuse(header::SPEC_VERSION, version, SPEC_VERSION),
        _ => Ok(()),
    }
}

/// The same for headers; what is no text is no type of ours.
pub(crate) fn check_headers(headers: &Headers, known: &'static str) -> Result<(), DecodeError> {
    let text = |name| headers.get(name).map(String::from_utf8_lossy);
    check(text(header::TYPE).as_deref(), text(header::SPEC_VERSION).as_deref(), known)
}

/// What may stand in a URI reference unencoded (RFC 3986, 2.2 and 2.3), the percent sign of what is encoded already included.
const URI: &[u8] = b"-._~:/?#[]@!$&'()*+,;=%";
/// What may stand in one segment of its path unencoded.
const SEGMENT: &[u8] = b"-._~:@!$&'()*+,;=";

/// That text as one segment of a URI's path.
pub(crate) fn segment(text: &str) -> Cow<'_, str> {
    percent_encoded(text, SEGMENT)
}

fn percent_encoded<'a>(text: &'a str, allowed: &[u8]) -> Cow<'a, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || allowed.contains(&byte);
    if text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    let encoded = text.bytes().fold(String::with_capacity(text.len() + 16), |mut encoded, byte| {
        if plain(byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            write!(encoded, "%{byte:02X}").ok();
        }
        encoded
    });
    Cow::Owned(encoded)
}

/// An event in structured mode. Attributes that are nothing to us are passed over, as the specification asks, and numbers may
/// be text: what takes an event from binary mode to this one has only text to go by.
#[derive(Debug, Deserialize)]
pub(crate) struct Event<'a> {
    #[serde(default)]
    specversion: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    id: String,
    #[serde(default)]
    datacontenttype: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default, deserialize_with = "codec::fields::number::optional")]
    modelversion: Option<u32>,
    #[serde(default, deserialize_with = "codec::fields::number::optional")]
    topk: Option<u32>,
    #[serde(default)]
    deadline: Option<Timestamp>,
    #[serde(default, deserialize_with = "codec::fields::number::optional")]
    timeoutms: Option<u64>,
    #[serde(default, deserialize_with = "codec::fields::number::optional")]
    priority: Option<u32>,
    #[serde(default, borrow)]
    data: Option<Body<'a>>,
    #[serde(default, borrow)]
    data_base64: Option<Base64<'a>>,
}

#[derive(Debug, Deserialize)]
struct Base64<'a>(#[serde(borrow, with = "codec::fields::image")] Cow<'a, [u8]>);

impl<'a> Event<'a> {
    pub(crate) fn read(value: &'a [u8]) -> Result<Self, DecodeError> {
        codec::json::read(value, "CloudEvent")
    }

    /// The request in it, and the time that it allows.
    pub(crate) fn into_request(self) -> Result<(Body<'a>, Option<u64>), DecodeError> {
        check(self.kind.as_deref(), self.specversion.as_deref(), header::TYPE_REQUEST)?;
        let malformed = |reason: &str| Err(DecodeError::malformed("JSON", "CloudEvent", reason));
        let is_image = match self.datacontenttype.as_deref() {
            None => true,
            Some(kind) => Media::read(kind) == Some(Media::Body(Encoding::Raw)),
        };
        let body = match (self.data, self.data_base64) {
            (Some(body), None) => body,
            (None, Some(Base64(image))) if is_image => Body::of_image(image),
            (None, Some(_)) => return malformed("data_base64 needs a datacontenttype of image/..."),
            (Some(_), Some(_)) => return malformed("both data and data_base64 are given"),
            (None, None) => return malformed("neither data nor data_base64 is given"),
        };
        let body = Body {
            request_id: Some(self.id),
            model: self.model.or(body.model),
            model_version: self.modelversion.or(body.model_version),
            top_k: self.topk.or(body.top_k),
            deadline: self.deadline.or(body.deadline),
            priority: self.priority.or(body.priority),
            image: body.image,
        };
        Ok((body, self.timeoutms))
    }
}
