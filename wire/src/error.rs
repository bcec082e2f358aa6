//! What went wrong, as an answer says it: gRPC's canonical codes, a sentence, and whether to try again.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::{self, DecodeError};

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// gRPC's canonical code.
    pub code: ErrorCode,
    /// A sentence that says what to do.
    #[serde(deserialize_with = "codec::fields::text::deserialize")]
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

impl ErrorReply {
    /// With the code's own word on whether to try again.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retryable: code.is_retryable() }
    }
}

impl From<DecodeError> for ErrorReply {
    fn from(error: DecodeError) -> Self {
        let code = match error {
            DecodeError::TooLarge { .. } => ErrorCode::OutOfRange,
            _ => ErrorCode::InvalidArgument,
        };
        Self::new(code, error.to_string())
    }
}

/// gRPC's canonical codes, those that occur here, and whatever a newer worker may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The request can't be read or its image can't be decoded.
    InvalidArgument,
    /// No such model, or no such version of it.
    NotFound,
    /// The deadline passed before an answer was computed.
    DeadlineExceeded,
    /// A queue is full.
    ResourceExhausted,
    /// The worker can't answer now.
    Unavailable,
    /// A fault of ours.
    Internal,
    /// The image, or the answer, is larger than a limit allows.
    OutOfRange,
    /// One that this version does not know, kept as it came. Nothing here writes one.
    Unknown(UnknownCode),
}

impl ErrorCode {
    /// All that are known; in bincode a code is its place in this list.
    pub const ALL: [Self; 7] = [
        Self::InvalidArgument,
        Self::NotFound,
        Self::DeadlineExceeded,
        Self::ResourceExhausted,
        Self::Unavailable,
        Self::Internal,
        Self::OutOfRange,
    ];

    /// Its canonical name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::NotFound => "NOT_FOUND",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unknown(code) => code.name(),
        }
    }

    /// Whether the same request may succeed later. Of a code that is not known only the reply itself can say.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        match self {
            Self::ResourceExhausted | Self::Unavailable | Self::Internal => true,
            Self::InvalidArgument
            | Self::NotFound
            | Self::DeadlineExceeded
            | Self::OutOfRange
            | Self::Unknown(_) => false,
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        let known = Self::ALL.into_iter().find(|code| code.name() == name);
        known.or_else(|| UnknownCode::new(name).map(Self::Unknown))
    }

    fn from_number(number: u32) -> Self {
        let known = usize::try_from(number).ok().and_then(|place| Self::ALL.get(place).copied());
        known.unwrap_or_else(|| Self::Unknown(UnknownCode::of_number(number)))
    }

    /// Its number in bincode. A name that came without one gets the largest, which is nobody's.
    fn number(self) -> u32 {
        let known =
            Self::ALL.iter().position(|code| *code == self).and_then(|place| u32::try_from(place).ok());
        known.or_else(|| self.name().strip_prefix(NUMBERED)?.parse().ok()).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(self.name())
        } else {
            serializer.serialize_u32(self.number())
        }
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u32::deserialize(deserializer).map(Self::from_number);
        }
        let name = codec::fields::text::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| D::Error::custom(format_args!("'{name}' is not {NAME_RULE}")))
    }
}

/// What a code has to look like, known or not.
const NAME_RULE: &str = "the name of an error code: 1 to 40 of A to Z, 0 to 9 and _";
const MAX_NAME: usize = 40;
/// What the name of a code begins with that came as a number only.
const NUMBERED: &str = "CODE_";

/// The name of a code that this version does not know; `CODE_9` where it came as the number 9.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct UnknownCode {
    /// Upper-case ASCII, filled up with zeros: a code stays a plain value, as those that are known are.
    name: [u8; MAX_NAME],
}

impl UnknownCode {
    fn new(text: &str) -> Option<Self> {
        let allowed = |byte: u8| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_');
        if !(1..=MAX_NAME).contains(&text.len()) || !text.bytes().all(allowed) {
            return None;
        }
        let mut name = [0; MAX_NAME];
        name[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self { name })
    }

    fn of_number(number: u32) -> Self {
        // A prefix of five letters and at most ten digits always is a name.
        Self::new(&format!("{NUMBERED}{number}")).unwrap_or(Self { name: [b'_'; MAX_NAME] })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        let length = self.name.iter().position(|byte| *byte == 0).unwrap_or(MAX_NAME);
        std::str::from_utf8(&self.name[..length]).unwrap_or_default()
    }
}

impl fmt::Debug for UnknownCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
