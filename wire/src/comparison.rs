//! What a version said that computed a request beside the one that answered it: one JSON record an image on a topic of its own.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};
use crate::result::{ModelId, Prediction};

/// One image, labelled by two versions of a model, of which one has answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The request's id.
    pub request_id: String,
    /// What was answered.
    pub answer: Labelled,
    /// What the other version says.
    pub shadow: Labelled,
    /// Whether their first labels are the same.
    pub agree: bool,
    /// Who computed both.
    pub worker: String,
    /// When the second one was computed.
    pub computed_at: Timestamp,
}

/// What a version says of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Labelled {
    /// The version.
    pub model: ModelId,
    /// Most probable first.
    pub predictions: Vec<Prediction>,
}

impl Comparison {
    /// The record's value, JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::json::write(self)
    }

    /// Reads a record's value.
    ///
    /// # Errors
    /// [`DecodeError`] where it is no comparison.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        codec::check_size(value, codec::MAX_VALUE_BYTES)?;
        codec::json::read(value, "comparison")
    }
}
