//! What a worker has done lately and how it is: one JSON record about each second on a topic of its own. Whoever never reads it loses
//! nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};
use crate::histogram::Histogram;

/// A worker that serves hundreds of versions writes less.
const MAX_BYTES: usize = 256 << 10;

/// What one worker has done since its snapshot before, and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The worker's name.
    pub worker: String,
    /// When this was written.
    pub at: Timestamp,
    /// What is counted here was counted for so many milliseconds before that: since the snapshot before, or since the start.
    pub covers_ms: u64,
    /// How often the worker writes one, in milliseconds.
    pub interval_ms: u64,
    /// For how many seconds the worker has been running.
    #[serde(default)]
    pub uptime_s: u64,
    /// The versions that it serves, or answered with meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelFigures>,
    /// Requests answered with an error for which no model was found, by code.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
    /// Records sent to the dead-letter topic.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dead_letters: u64,
    /// How it is.
    #[serde(default)]
    pub state: WorkerState,
}

/// How a worker is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerState {
    /// How many partitions of the requests topic are its.
    pub partitions: u32,
    /// How many records lie on them behind the committed offsets; none where that is not known.
    pub lag: Option<u64>,
    /// Requests taken and not yet answered.
    pub in_flight: u64,
    /// How many instances compute.
    pub instances: u32,
    /// Memory that the process holds, in bytes; 0 where that is not known.
    pub memory_bytes: u64,
    /// Processor time that it took in the time that this covers, in milliseconds.
    pub cpu_ms: u64,
    /// Back-pressure has partitions paused.
    pub paused: bool,
    /// It ends: this is its last snapshot.
    pub ends: bool,
}

/// What was done with one model version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFigures {
    /// The model's name.
    pub model: String,
    /// The version.
    pub version: u32,
    /// Requests that wait for an instance now.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub waiting: u64,
    /// What was counted.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What was counted of one model version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Requests answered with labels.
    #[serde(skip_serializing_if = "is_zero")]
    pub answered: u64,
    /// Requests answered with an error, by code.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
    /// Images computed.
    #[serde(skip_serializing_if = "is_zero")]
    pub images: u64,
    /// Batches that they were computed in.
    #[serde(skip_serializing_if = "is_zero")]
    pub batches: u64,
    /// How long those that were answered with labels were in the worker, until the broker had the answer.
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub latency: Histogram,
    /// Where that time went.
    #[serde(skip_serializing_if = "Rooms::is_zero")]
    pub rooms_us: Rooms,
}

/// Time in the rooms of a worker, in microseconds, summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rooms {
    /// Reading requests and turning images into the net's input.
    pub decode: u64,
    /// Waiting for an instance.
    pub queue: u64,
    /// In the net, each batch once.
    pub infer: u64,
    /// From an answer until the broker has it.
    pub respond: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde asks.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Rooms {
    fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    fn merge(&mut self, other: Self) {
        for (all, one) in [
            (&mut self.decode, other.decode),
            (&mut self.queue, other.queue),
            (&mut self.infer, other.infer),
            (&mut self.respond, other.respond),
        ] {
            *all = all.saturating_add(one);
        }
    }
}

impl Counts {
    /// Adds what another counted.
    pub fn merge(&mut self, other: &Self) {
        self.answered = self.answered.saturating_add(other.answered);
        self.images = self.images.saturating_add(other.images);
        self.batches = self.batches.saturating_add(other.batches);
        merge_errors(&mut self.errors, &other.errors);
        self.latency.merge(&other.latency);
        self.rooms_us.merge(other.rooms_us);
    }

    /// How many requests were answered with an error.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.errors.values().fold(0, |all, many| all.saturating_add(*many))
    }
}

/// Adds up errors by code.
pub fn merge_errors(all: &mut BTreeMap<String, u64>, more: &BTreeMap<String, u64>) {
    for (code, many) in more {
        let all = all.entry(code.clone()).or_default();
        *all = all.saturating_add(*many);
    }
}

impl Snapshot {
    /// After how long without another one its worker is gone: five seconds, or three of its own intervals where they are longer.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_secs(5).max(Duration::from_millis(self.interval_ms.saturating_mul(3)))
    }

    /// The record's value, JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::json::write(self)
    }

    /// Reads a record's value.
    ///
    /// # Errors
    /// [`DecodeError`] where it is no snapshot.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        codec::check_size(value, MAX_BYTES)?;
        codec::json::read(value, "snapshot")
    }
}
