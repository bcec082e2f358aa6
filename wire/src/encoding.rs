//! How a value is encoded, and how that is told from its media type or its first bytes.

use std::fmt;
use std::str::FromStr;

/// The media type of [`Encoding::Bincode`].
pub const BINCODE: &str = "application/x-bincode";
/// The media type of [`Encoding::Json`].
pub const JSON: &str = "application/json";
/// The media type of a CloudEvent in structured mode, JSON event format.
pub const CLOUDEVENTS_JSON: &str = "application/cloudevents+json";

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
            _ if value.first() == Some(&crate::codec::BINCODE_VERSION) => Self::Bincode,
            _ => Self::Raw,
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
