//! What a worker says that it serves: one JSON record a model version on a compacted topic, written at start and again
//! every few seconds, taken back with a tombstone at the end. A record older than its own `ttl_s` is of a worker that died.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};

/// One model version, served by one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The worker's name.
    pub worker: String,
    /// The topic on which it takes requests.
    pub requests_topic: String,
    /// The model's name.
    pub model: String,
    /// The version.
    pub version: u32,
    /// The digest of its manifest, which holds those of all its files: `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// The net's architecture, as `efficientnet-lite0`.
    pub architecture: String,
    /// How many labels it can answer with.
    pub labels: u32,
    /// The worker answers with it where a request names no model.
    pub default: bool,
    /// It is being loaded: requests wait for that. Not written where it is loaded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub loading: bool,
    /// How much memory it takes, in bytes, about; not written where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// How many of a hundred requests that name the model and no version it answers, where another version answers the rest; not
    /// written where none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic_percent: Option<u8>,
    /// How many of a hundred of those requests it computes beside the version that answers them; not written where it answers itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow_percent: Option<u8>,
    /// When this was written.
    pub announced_at: Timestamp,
    /// For how many seconds it holds.
    pub ttl_s: u32,
    /// What the same worker found and does not serve; not written where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SkippedModel>,
}

/// A model that a worker found and could not load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedModel {
    /// Its name.
    pub model: String,
    /// The version, where it was known by then.
    #[serde(default)]
    pub version: Option<u32>,
    /// Why, in a sentence.
    pub reason: String,
}

impl Announcement {
    /// The record's key: the topic is compacted by it.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}/{}", self.worker, self.model, self.version)
    }

    /// Whether it still holds at that time.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        now.duration_since(self.announced_at) <= SignedDuration::from_secs(i64::from(self.ttl_s))
    }

    /// The record's value, JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::json::write(self)
    }

    /// Reads a record's value.
    ///
    /// # Errors
    /// [`DecodeError`] where it is not an announcement.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        codec::check_size(value, codec::MAX_VALUE_BYTES)?;
        codec::json::read(value, "announcement")
    }
}
