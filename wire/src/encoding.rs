//! How a value is encoded, and how that is told from its media type or its first bytes.

use std::fmt;
use std::str::FromStr;

/// The media type of [`Encoding::Bincode`].
pub const BINCODE: &str = "application/x-bincode";
/// The media type of [`Encoding::Json`].
pub const JSON: &str = "application/json";
/// The media type of a CloudEvent in structured mode, JSON event format.
pub const CLOUDEVENTS_JSON: &str = "application/cloudevents+json";
/// The media type of bytes that nothing is said about.
const BYTES: &str = "application/octet-stream";

/// How a request or a result is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// bincode 2, standard configuration, behind one version byte.
    Bincode,
    /// JSON; an image in it is base64 (RFC 4648, padded).
    Json,
    /// The bytes of an image file; everything else rides in headers. Requests only.
    Raw,
}

impl Encoding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Bincode, Self::Json, Self::Raw];

    /// The encoding of an answer where nothing else was asked for: the request's own, JSON for raw images.
    #[must_use]
    pub fn of_answer(self) -> Self {
        match self {
            Self::Bincode => Self::Bincode,
            Self::Json | Self::Raw => Self::Json,
        }
    }

    /// What the first bytes of a value say, where no `content-type` does: a bincode version byte, the brace of a JSON
    /// object, else an image file.
    #[must_use]
    pub fn sniff(value: &[u8]) -> Self {
        match value.iter().find(|b| !b.is_ascii_whitespace()) {
            Some(b'{') => Self::Json,
            _ if value.first() == Some(&crate::codec::bincode::LAYOUT) => Self::Bincode,
            _ => Self::Raw,
        }
    }

    /// The `content-type` of a value in this encoding; `image` is what a raw one holds.
    pub(crate) fn media_type(self, image: &[u8]) -> &'static str {
        match self {
            Self::Bincode => BINCODE,
            Self::Json => JSON,
            Self::Raw => image_media_type(image).unwrap_or(BYTES),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bincode => "bincode",
            Self::Json => "json",
            Self::Raw => "raw",
        })
    }
}

impl FromStr for Encoding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|e| e.to_string() == text)
            .ok_or_else(|| format!("'{text}' is no encoding: use bincode, json or raw"))
    }
}

/// What a `content-type` says about a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// It is a body in that encoding.
    Body(Encoding),
    /// It is a CloudEvent in structured mode.
    Event,
    /// It is bytes: look at them.
    Bytes,
}

impl Media {
    /// `None` for a media type that nobody here reads.
    pub(crate) fn read(text: &str) -> Option<Self> {
        match essence(text).as_str() {
            BINCODE => Some(Self::Body(Encoding::Bincode)),
            JSON => Some(Self::Body(Encoding::Json)),
            CLOUDEVENTS_JSON => Some(Self::Event),
            BYTES => Some(Self::Bytes),
            other => other.starts_with("image/").then_some(Self::Body(Encoding::Raw)),
        }
    }
}

/// The first encoding of an answer that an `accept` names: `Some(None)` where any will do, `None` where it names no encoding
/// of ours.
pub(crate) fn accepted(text: &str) -> Option<Option<Encoding>> {
    text.split(',').map(essence).find_map(|t| match t.as_str() {
        BINCODE => Some(Some(Encoding::Bincode)),
        JSON | "application/*" => Some(Some(Encoding::Json)),
        "*/*" => Some(None),
        _ => None,
    })
}

/// Type and subtype, without parameters, in lower case.
pub(crate) fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The media type in `image/...` that the first bytes of a file announce.
#[must_use]
pub fn image_media_type(file: &[u8]) -> Option<&'static str> {
    match file {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'B', b'M', ..] => Some("image/bmp"),
        _ => None,
    }
}
