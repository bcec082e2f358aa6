//! What a person says that an image shows: one JSON record an image and model on a compacted topic. A tombstone takes it back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};
use crate::review::is_digest;

/// The longest label that a person may give, in bytes.
pub const MAX_LABEL_BYTES: usize = 200;

/// What a person says of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// SHA-256 of the image file: `sha256:` and 64 hexadecimal digits.
    pub image: String,
    /// The model whose label it is: others may have other names for the same.
    pub model: String,
    /// Whether the model was right.
    pub verdict: Verdict,
    /// What it shows; none where it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What the model said first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<String>,
    /// The version that said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Who says it. Nobody has checked that unless the gateway that wrote it asks who comes in.
    pub by: String,
    /// When it was said.
    pub at: Timestamp,
}

/// What a person says of a model's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is right.
    Confirmed,
    /// Something else is.
    Corrected,
    /// The image is of no use.
    Skipped,
    /// Something that only newer programs say.
    #[serde(other)]
    Unknown,
}

impl Label {
    /// The record's key: the topic is compacted by it, so that the last word stays.
    #[must_use]
    pub fn key(&self) -> String {
        key(&self.model, &self.image)
    }

    /// The record's value, JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::json::write(self)
    }

    /// Reads a record's value.
    ///
    /// # Errors
    /// [`DecodeError`] where it is no label.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        codec::check_size(value, codec::MAX_VALUE_BYTES)?;
        let label: Self = codec::json::read(value, "label")?;
        let wrong = |reason| Err(DecodeError::malformed("JSON", "label", reason));
        match (label.verdict, &label.label) {
            _ if !is_digest(&label.image) => wrong("image is not sha256: and 64 hexadecimal digits"),
            (Verdict::Confirmed | Verdict::Corrected, None) => {
                wrong("what is confirmed or corrected has a label")
            }
            _ => Ok(label),
        }
    }
}

/// The key of the label that people give an image for that model.
#[must_use]
pub fn key(model: &str, image: &str) -> String {
    format!("{model}/{image}")
}

/// Sees that a text can be a label.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with it.
pub fn check(label: &str) -> Result<(), String> {
    if label.trim().is_empty() {
        Err("is empty".to_owned())
    } else if label.len() > MAX_LABEL_BYTES {
        Err(format!("is longer than {MAX_LABEL_BYTES} bytes"))
    } else if label.trim() != label {
        Err("begins or ends with a space".to_owned())
    } else if label.chars().any(is_unseen) {
        Err("holds a control character".to_owned())
    } else {
        Ok(())
    }
}

/// What is not seen, and turns what is around it: control characters, and those that change a text's direction.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
