//! The `topics` section: their names, how those are made that are missing, and where replies may go besides.

mod pattern;

use serde::{Deserialize, Serialize};

pub use pattern::Pattern;

use crate::invalid::Invalid;

/// The topics, and how those are made that are missing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "Keys")]
pub struct Topics {
    /// Their names.
    #[serde(flatten)]
    pub names: kafka::Topics,
    /// Which other topics a request may name for its reply; any where `None`.
    pub reply_allow: Option<Pattern>,
    /// Into how many partitions a topic is cut that the worker makes; -1 is the broker's default.
    pub partitions: i32,
    /// On how many brokers each of its partitions is kept; -1 is the broker's default.
    pub replication_factor: i32,
}

impl Default for Topics {
    fn default() -> Self {
        Self { names: kafka::Topics::default(), reply_allow: None, partitions: 8, replication_factor: -1 }
    }
}

impl Topics {
    /// # Errors
    /// [`Invalid`], the first of its rules that does not hold.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        for (key, value) in [("partitions", self.partitions), ("replication_factor", self.replication_factor)]
        {
            if value < 1 && value != -1 {
                return Err(Invalid::rule(format!(
                    "topics.{key}, {value}, must be at least 1, or -1 for the broker's default"
                )));
            }
        }
        Ok(self.names.check()?)
    }

    /// How each of the four is made.
    #[must_use]
    pub fn specs(&self) -> [kafka::TopicSpec; 4] {
        self.names.specs(self.partitions, self.replication_factor)
    }
}

/// The section as it is read. Not by serde's `flatten`, which would let unknown keys pass and forget the lines of wrong
/// values.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    requests: String,
    results: String,
    dead_letter: String,
    models: String,
    reply_allow: Option<Pattern>,
    partitions: i32,
    replication_factor: i32,
}

impl Default for Keys {
    fn default() -> Self {
        let Topics { names, reply_allow, partitions, replication_factor } = Topics::default();
        let kafka::Topics { requests, results, dead_letter, models } = names;
        Self { requests, results, dead_letter, models, reply_allow, partitions, replication_factor }
    }
}

impl From<Keys> for Topics {
    fn from(keys: Keys) -> Self {
        let Keys { requests, results, dead_letter, models, reply_allow, partitions, replication_factor } =
            keys;
        let names = kafka::Topics { requests, results, dead_letter, models };
        Self { names, reply_allow, partitions, replication_factor }
    }
}
