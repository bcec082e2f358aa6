//! The `topics` section: their names, how those are made that are missing, and where replies may go besides.

mod pattern;

use std::collections::HashSet;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

pub use pattern::Pattern;

use crate::invalid::Invalid;

/// The section's keys besides those of the names.
const OWN_KEYS: [&str; 3] = ["reply_allow", "partitions", "replication_factor"];

/// The topics, and how those are made that are missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

    /// How each of them is made.
    #[must_use]
    pub fn specs(&self) -> [kafka::TopicSpec; 10] {
        self.names.specs(self.partitions, self.replication_factor)
    }
}

/// Not by serde's `flatten`, which would let unknown keys pass and forget the lines of wrong values.
impl<'de> Deserialize<'de> for Topics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Section)
    }
}

/// The section as it is read.
struct Section;

impl<'de> Visitor<'de> for Section {
    type Value = Topics;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the section topics")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Topics, A::Error> {
        let mut topics = Topics::default();
        let mut seen = HashSet::new();
        while let Some(Key(key)) = map.next_key()? {
            if seen.contains(&key) {
                return Err(A::Error::custom(format!("duplicate field `{key}`")));
            }
            match key.as_str() {
                "reply_allow" => topics.reply_allow = map.next_value()?,
                "partitions" => topics.partitions = map.next_value()?,
                "replication_factor" => topics.replication_factor = map.next_value()?,
                name => *topics.names.name_mut(name).ok_or_else(|| unknown(name))? = map.next_value()?,
            }
            seen.insert(key);
        }
        Ok(topics)
    }
}

/// A key of the section. What is none is refused by its visitor, so that its own line is named.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key of the section topics")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
        let is_known = kafka::Topics::KEYS.iter().chain(&OWN_KEYS).any(|known| *known == key);
        if is_known { Ok(Key(key.to_owned())) } else { Err(unknown(key)) }
    }
}

/// In serde's words, which know no keys but those of one type.
fn unknown<E: Error>(key: &str) -> E {
    let known = kafka::Topics::KEYS.iter().chain(&OWN_KEYS).map(|key| format!("`{key}`"));
    let known = known.collect::<Vec<_>>().join(", ");
    E::custom(format!("unknown field `{key}`, expected one of {known}"))
}

#[cfg(test)]
mod tests;
