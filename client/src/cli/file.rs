//! The configuration file: strict YAML, each key optional.

use std::path::Path;
use std::time::Duration;

use client::ClientConfig;
use kafka::{Settings, Topics};
use serde::Deserialize;
use wire::Encoding;

use super::exit::Failure;

/// What it can say. `configs/client.yaml` shows each key with its default.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct File {
    pub(crate) kafka: Settings,
    pub(crate) topics: Topics,
    pub(crate) model: Option<String>,
    #[serde(deserialize_with = "Format::deserialize")]
    pub(crate) format: Encoding,
    pub(crate) top_k: Option<u32>,
    #[serde(with = "humantime_serde")]
    pub(crate) timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub(crate) connect_timeout: Duration,
}

impl Default for File {
    fn default() -> Self {
        let ClientConfig { kafka, topics, timeout, connect_timeout, .. } = ClientConfig::default();
        Self { kafka, topics, model: None, format: Encoding::Bincode, top_k: None, timeout, connect_timeout }
    }
}

/// The names of [`Encoding`], for serde, which then knows the line of a wrong one.
#[derive(Deserialize)]
#[serde(remote = "Encoding", rename_all = "snake_case")]
enum Format {
    Bincode,
    Json,
    Raw,
}

impl File {
    /// Reads it; the defaults where there is none.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::default()) };
        let failed =
            |reason: String| Failure::Usage(format!("configuration file {}: {reason}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
        Self::parse(&text).map_err(failed)
    }

    fn parse(text: &str) -> Result<Self, String> {
        // A file of comments only is null, and says as little as an empty one.
        let file = serde_yaml::from_str::<Option<Self>>(text).map_err(|e| e.to_string())?.unwrap_or_default();
        if file.top_k == Some(0) {
            return Err("top_k: 0 labels can't be asked for: give 1 or more, or leave it out".to_owned());
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SHIPPED: &str = include_str!("../../../configs/client.yaml");

    #[test]
    fn the_shipped_file_says_the_defaults() {
        assert_eq!(File::parse(SHIPPED).unwrap(), File::default());
        assert_eq!(File::parse("# nothing\n").unwrap(), File::default());
    }

    /// The keys that a section knows, from the words with which it refuses another.
    fn keys_of<T: serde::de::DeserializeOwned>() -> BTreeSet<String> {
        let error = serde_yaml::from_str::<T>("{\"?\": 1}").err().unwrap().to_string();
        let listed = error.split_once("expected one of ").unwrap().1;
        listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_shipped_file_has_every_key_with_a_comment_before_it() {
        let shipped: serde_yaml::Value = serde_yaml::from_str(SHIPPED).unwrap();
        let keys = |value: &serde_yaml::Value| -> BTreeSet<String> {
            value.as_mapping().unwrap().keys().map(|k| k.as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(keys(&shipped), keys_of::<File>());
        assert_eq!(keys(&shipped["kafka"]), keys_of::<Settings>());
        assert_eq!(keys(&shipped["topics"]), keys_of::<Topics>());
        let mut previous = "";
        for line in SHIPPED.lines().filter(|l| !l.trim().is_empty()) {
            let is_comment = |l: &str| l.trim_start().starts_with('#');
            assert!(is_comment(line) || is_comment(previous) || line.contains(" #"), "no comment: {line}");
            previous = line;
        }
    }

    #[test]
    fn unknown_keys_and_bad_values_are_named_with_their_line() {
        for (text, key, line) in [
            ("model: a\nmodle: b\n", "modle", "line 2"),
            ("kafka:\n  common: {}\n  sasl_pasword: x\n", "sasl_pasword", "line 3"),
            ("\n\ntopics:\n  result: x\n", "result", "line 4"),
            ("timeout: soon\n", "timeout", "line 1"),
            ("format: xml\n", "format", "line 1"),
        ] {
            let error = File::parse(text).unwrap_err();
            assert!(error.contains(key) && error.contains(line), "{error}");
        }
    }
}
