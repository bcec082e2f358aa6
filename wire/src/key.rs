//! Who may ask gateways for what: one JSON record a key on a compacted topic. The key itself stands nowhere, only its digest.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};

/// A key, as gateways know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// What it is called by in logs and when it is revoked; no secret. The record's key.
    pub id: String,
    /// What a person calls it.
    pub name: String,
    /// SHA-256 of the key's text, `sha256:` and 64 hexadecimal digits in lower case.
    pub digest: String,
    /// What may be asked with it.
    pub scopes: Vec<Scope>,
    /// The models that may be asked with it; none where all may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// How many images a second may be sent with it, and as many requests that bring none; none where gateways' own limit holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// How many at once, after a rest; none where as many as a second's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// From when on it is of no use any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked: it is of no use since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<String>,
}

/// What a caller of gateways may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Ask what images show, and for answers that were left for later.
    Predict,
    /// See who serves what, and how that goes.
    Read,
    /// Say which version of a model serves.
    Promote,
    /// See images that were put aside, and say what they show.
    Review,
    /// Something that only newer gateways know.
    #[serde(other)]
    Unknown,
}

impl Scope {
    /// Those that can be given.
    pub const ALL: [Self; 4] = [Self::Predict, Self::Read, Self::Promote, Self::Review];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Predict => "predict",
            Self::Read => "read",
            Self::Promote => "promote",
            Self::Review => "review",
            Self::Unknown => "unknown",
        }
    }

    /// The one of that name, if it can be given.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

impl KeyRecord {
    /// The record's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.id
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
        codec::json::read(value, "key record")
    }
}
