//! What workers are asked to do beside answering: one JSON record a model version on a compacted topic. Whoever never reads it loses
//! nothing but time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};

/// What workers are asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// What.
    pub action: Action,
    /// The model's name; none where all are meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Its version; none where all are meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// When it was asked.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
}

/// What a worker is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Load the version, as if a request named it.
    Load,
    /// Let the version go, unless it is in service.
    Unload,
    /// Look now which versions are in service.
    Refresh,
    /// Something that only newer workers do.
    #[serde(other)]
    Unknown,
}

impl Control {
    /// The record's key: the topic is compacted by it, so that the last word about each version stays.
    #[must_use]
    pub fn key(&self) -> String {
        match (&self.model, self.version) {
            (Some(model), Some(version)) => format!("{model}/{version}"),
            _ => "all".to_owned(),
        }
    }

    /// The record's value, JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::json::write(self)
    }

    /// Reads a record's value.
    ///
    /// # Errors
    /// [`DecodeError`] where it is no such record.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        codec::check_size(value, codec::MAX_VALUE_BYTES)?;
        codec::json::read(value, "control record")
    }
}
