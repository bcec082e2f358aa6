//! What a record says beside its value. It can always be read, so that even a record whose value can't is answered.

use jiff::Timestamp;

use crate::codec::{self, DecodeError};
use crate::encoding::{self, Encoding, Media};
use crate::event;
use crate::header::{self, Headers};

/// Where an answer goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyTo {
    /// The topic; the configured one where `None`.
    pub topic: Option<String>,
    /// The partition; chosen by the record's key where `None`.
    pub partition: Option<i32>,
    /// Bytes to echo unchanged.
    pub correlation_id: Option<Vec<u8>>,
}

/// W3C trace context and baggage, carried through unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`.
    pub parent: Option<String>,
    /// `tracestate`.
    pub state: Option<String>,
    /// `baggage`.
    pub baggage: Option<String>,
}

impl TraceContext {
    /// The trace id, 32 hexadecimal digits, where `traceparent` is well-formed (W3C Trace Context, section 3.2).
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        let hex = |field: &str, digits: usize| {
            field.len() == digits && field.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let nil = |field: &str| field.bytes().all(|b| b == b'0');
        let mut fields = self.parent.as_deref()?.split('-');
        let (version, trace, parent) = (fields.next()?, fields.next()?, fields.next()?);
        let well_formed = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(parent, 16);
        (well_formed && !nil(trace) && !nil(parent)).then_some(trace)
    }

    fn read(headers: &Headers) -> Self {
        let lossless = |name| headers.get(name).and_then(|v| std::str::from_utf8(v).ok()).map(str::to_owned);
        Self {
            parent: lossless(header::TRACEPARENT),
            state: lossless(header::TRACESTATE),
            baggage: lossless(header::BAGGAGE),
        }
    }

    pub(crate) fn write(&self, headers: &mut Headers) {
        let fields = [
            (header::TRACEPARENT, &self.parent),
            (header::TRACESTATE, &self.state),
            (header::BAGGAGE, &self.baggage),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                headers.push(name, value.as_str());
            }
        }
    }
}

/// A record's headers and key, understood. What could not be understood is kept in `defect` and is reported when the
/// value is decoded, so that the error reply still finds its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// `ce_id`, else the record's key where it is text.
    pub id: Option<String>,
    /// The id of a request that brings none anywhere; a random one where `None`. Whoever reads the record may know a better
    /// one.
    pub default_id: Option<String>,
    /// Where the answer goes.
    pub reply_to: ReplyTo,
    /// Carried through.
    pub trace: TraceContext,
    /// How the value is encoded; `None` where no `content-type` says so and its bytes are to be looked at.
    pub encoding: Option<Encoding>,
    /// The value is a CloudEvent in structured mode.
    pub structured: bool,
    /// How the sender wants the answer encoded.
    pub accept: Option<Encoding>,
    /// `ce_model`.
    pub model: Option<String>,
    /// `ce_modelversion`.
    pub model_version: Option<u32>,
    /// `ce_topk`.
    pub top_k: Option<u32>,
    /// `ce_deadline`.
    pub deadline: Option<Timestamp>,
    /// `ce_timeoutms`.
    pub timeout_ms: Option<u64>,
    /// `ce_priority`.
    pub priority: Option<u32>,
    /// The first thing wrong with the headers.
    pub defect: Option<DecodeError>,
}

impl Envelope {
    /// Reads a record's key and headers.
    #[must_use]
    pub fn read(key: Option<&[u8]>, headers: &Headers) -> Self {
        let mut reader = Reader { headers, defect: None };
        let key = key.and_then(|k| std::str::from_utf8(k).ok()).filter(|k| is_id(k));
        let id = reader
            .parsed(header::ID, |text| {
                is_id(text).then(|| text.to_owned()).ok_or_else(|| format!("not {ID_RULE}"))
            })
            .or_else(|| key.map(str::to_owned));
        let reply_to = ReplyTo {
            topic: reader.parsed(header::REPLY_TOPIC, |text| topic_name(text).map(str::to_owned)),
            partition: reader.partition(),
            correlation_id: headers.get(header::CORRELATION_ID).map(<[u8]>::to_vec),
        };
        if let Err(defect) = event::check_headers(headers, header::TYPE_REQUEST) {
            reader.note(defect);
        }
        let media = reader.text(header::CONTENT_TYPE).and_then(|text| reader.content_type(text));
        let accept = reader.text(header::ACCEPT).and_then(|t| reader.accept(t));
        Self {
            id,
            default_id: None,
            reply_to,
            trace: TraceContext::read(headers),
            encoding: match media {
                Some(Media::Body(encoding)) => Some(encoding),
                Some(Media::Event) => Some(Encoding::Json),
                Some(Media::Bytes) | None => None,
            },
            structured: media == Some(Media::Event),
            accept,
            model: reader.text(header::MODEL).map(str::to_owned),
            model_version: reader.parsed(header::MODEL_VERSION, number),
            top_k: reader.parsed(header::TOP_K, number),
            deadline: reader.parsed(header::DEADLINE, |t| t.parse().map_err(|e: jiff::Error| e.to_string())),
            timeout_ms: reader.parsed(header::TIMEOUT_MS, number),
            priority: reader.parsed(header::PRIORITY, number),
            defect: reader.defect,
        }
    }

    /// How the answer to this record is encoded, once its value's own encoding is known.
    #[must_use]
    pub fn answer_encoding(&self, value: &[u8]) -> Encoding {
        let own = self.encoding.unwrap_or_else(|| Encoding::sniff(value));
        self.accept.unwrap_or(own).of_answer()
    }
}

struct Reader<'a> {
    headers: &'a Headers,
    defect: Option<DecodeError>,
}

impl<'a> Reader<'a> {
    fn note(&mut self, defect: DecodeError) {
        self.defect.get_or_insert(defect);
    }

    fn text(&mut self, name: &'static str) -> Option<&'a str> {
        let bytes = self.headers.get(name)?;
        std::str::from_utf8(bytes).map_err(|_| self.note(DecodeError::header(name, "not UTF-8 text"))).ok()
    }

    fn parsed<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(name)?;
        parse(text).map_err(|reason| self.note(DecodeError::header(name, &reason))).ok()
    }

    fn partition(&mut self) -> Option<i32> {
        let bytes = self.headers.get(header::REPLY_PARTITION)?;
        let reason = match <[u8; 4]>::try_from(bytes).map(i32::from_be_bytes) {
            Ok(partition @ 0..) => return Some(partition),
            Ok(negative) => format!("{negative} is no partition number"),
            Err(_) => format!("{} bytes where a big-endian 32-bit partition number belongs", bytes.len()),
        };
        self.note(DecodeError::header(header::REPLY_PARTITION, &reason));
        None
    }

    fn content_type(&mut self, text: &str) -> Option<Media> {
        let media = Media::read(text);
        if media.is_none() {
            self.note(DecodeError::ContentType(codec::quoted(text)));
        }
        media
    }

    fn accept(&mut self, text: &str) -> Option<Encoding> {
        let wanted = encoding::accepted(text);
        if wanted.is_none() {
            let text = codec::quoted(text);
            let reason = format!("'{text}' names neither application/json nor application/x-bincode");
            self.note(DecodeError::header(header::ACCEPT, &reason));
        }
        wanted.flatten()
    }
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse()
        .map_err(|_| format!("'{}' is not a whole number, or one that is too large", codec::quoted(text)))
}

/// What [`is_id`] asks, in words.
pub(crate) const ID_RULE: &str = "1 to 256 bytes of text without control characters";

/// Whether this text can be a request id: short, and printable in a log line.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=256).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Kafka's rule for topic names.
fn topic_name(text: &str) -> Result<&str, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=249).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".." {
        Ok(text)
    } else {
        Err(format!("'{}' is not a Kafka topic name", codec::quoted(text)))
    }
}
