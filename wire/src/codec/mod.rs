//! Bodies to bytes and back: each encoding has a file of its own here. Every size is capped before anything is allocated.

pub(crate) mod bincode;
pub(crate) mod fields;
pub(crate) mod json;

/// No value larger than this is decoded, whatever a caller's own limit says: 64 MiB.
pub const MAX_VALUE_BYTES: usize = 64 << 20;

/// How much of a stranger's words an error repeats.
const MAX_QUOTED_BYTES: usize = 200;

/// Why a record's headers or value can't be read. The text tells the sender what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The record has no value, or the image in it no bytes.
    #[error("the {0} is empty: send the bytes of an image file")]
    Empty(&'static str),
    /// More bytes than allowed.
    #[error("the value has {bytes} bytes and the limit is {limit}: send a smaller image")]
    TooLarge {
        /// What came.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A media type that nobody here reads.
    #[error(
        "content-type '{0}' is not known: use image/png (or jpeg, webp, gif, bmp), application/json or application/x-bincode"
    )]
    ContentType(String),
    /// The version byte is not ours.
    #[error("bincode layout version {0} is not known: this side reads version {known}", known = bincode::LAYOUT)]
    Version(u8),
    /// Another version of our own records than this side reads, or of CloudEvents.
    #[error("{attribute} '{found}' is not known: this side reads {known}")]
    Event {
        /// The attribute's header, `ce_type` or `ce_specversion`.
        attribute: &'static str,
        /// What it says.
        found: String,
        /// What it has to say.
        known: &'static str,
    },
    /// The value is not what its encoding says.
    #[error("the value is not a {encoding} {what}: {reason}")]
    Malformed {
        /// `bincode` or `JSON`.
        encoding: &'static str,
        /// `request` or `result`.
        what: &'static str,
        /// The decoder's words.
        reason: String,
    },
    /// The id in the value can't be one.
    #[error("the request id in the value is not {0}")]
    Id(&'static str),
    /// A header's value is not what its name asks for.
    #[error("header {name}: {reason}")]
    Header {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl DecodeError {
    pub(crate) fn malformed(encoding: &'static str, what: &'static str, reason: impl ToString) -> Self {
        Self::Malformed { encoding, what, reason: quoted(&reason.to_string()) }
    }

    pub(crate) fn header(name: &'static str, reason: &str) -> Self {
        Self::Header { name, reason: quoted(reason) }
    }
}

/// The beginning of a text that a stranger chose the length of: 200 bytes at most, and a sign that there is more. It ends
/// in an answer and in a log line.
#[must_use]
pub fn quoted(text: &str) -> String {
    if text.len() <= MAX_QUOTED_BYTES {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(MAX_QUOTED_BYTES)])
}

pub(crate) fn check_size(value: &[u8], limit: usize) -> Result<(), DecodeError> {
    let limit = limit.min(MAX_VALUE_BYTES);
    match value.len() {
        0 => Err(DecodeError::Empty("value")),
        bytes if bytes > limit => Err(DecodeError::TooLarge { bytes, limit }),
        _ => Ok(()),
    }
}
