//! The configuration: what there is to set, and the defaults, which `configs/client.yaml` repeats.

use std::time::Duration;

use cli::Sources;
use client::{ClientConfig, Encoding, Settings, Topics};
use kafka::{Broker, Role};
use serde::{Deserialize, Serialize};

use super::exit::Failure;

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) kafka: Settings,
    pub(crate) topics: Topics,
    pub(crate) model: Option<String>,
    #[serde(with = "Format")]
    pub(crate) format: Encoding,
    pub(crate) top_k: Option<u32>,
    #[serde(with = "humantime_serde")]
    pub(crate) timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub(crate) deadline: Option<Duration>,
    #[serde(with = "humantime_serde")]
    pub(crate) connect_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let ClientConfig { kafka, topics, timeout, connect_timeout, .. } = ClientConfig::default();
        let (format, deadline) = (Encoding::Bincode, None);
        Self { kafka, topics, model: None, format, top_k: None, timeout, deadline, connect_timeout }
    }
}

/// The names of [`Encoding`], for serde, which then knows the line of a wrong one.
#[derive(Deserialize, Serialize)]
#[serde(remote = "Encoding", rename_all = "snake_case")]
enum Format {
    Bincode,
    Json,
    Raw,
}

impl Config {
    /// Puts the layers together and checks what comes of it.
    pub(crate) fn load(sources: &Sources) -> Result<Self, Failure> {
        let config: Self = cli::load(sources).map_err(|e| Failure::Usage(e.to_string()))?;
        config.check().map_err(Failure::Usage)?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if self.top_k == Some(0) {
            return Err("top_k: 0 labels can't be asked for: give 1 or more, or leave it out".to_owned());
        }
        for (key, time) in [
            ("timeout", Some(self.timeout)),
            ("deadline", self.deadline),
            ("connect_timeout", Some(self.connect_timeout)),
        ] {
            if time == Some(Duration::ZERO) {
                return Err(format!("{key} is 0: nothing can be done in no time"));
            }
        }
        self.topics.check().map_err(|e| e.to_string())?;
        // librdkafka's own view; the address is of no matter here.
        for role in [Role::Consumer, Role::Producer, Role::Admin] {
            let settings = self.kafka.client_config(&Broker::kafka("localhost:9092"), role);
            settings.map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// How to connect.
    pub(crate) fn connection(&self) -> ClientConfig {
        ClientConfig::default()
            .kafka(self.kafka.clone())
            .topics(self.topics.clone())
            .timeout(self.timeout)
            .connect_timeout(self.connect_timeout)
    }

    /// It as YAML, with secrets left out.
    pub(crate) fn to_yaml(&self) -> String {
        serde_yaml::to_string(self).unwrap_or_else(|e| format!("# {e}\n"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let config: Config = cli::parse(text, Path::new("c.yaml")).map_err(|e| e.to_string())?;
        config.check()?;
        Ok(config)
    }

    const SHIPPED: &str = include_str!("../../../configs/client.yaml");

    #[test]
    fn the_shipped_file_says_the_defaults() {
        assert_eq!(parse(SHIPPED).unwrap(), Config::default());
        assert_eq!(parse("# nothing\n").unwrap(), Config::default());
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
        assert_eq!(keys(&shipped), keys_of::<Config>());
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
            ("deadline: soon\n", "deadline", "line 1"),
            ("format: xml\n", "format", "line 1"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(key) && error.contains(line), "{error}");
        }
    }

    #[test]
    fn times_are_more_than_nothing() {
        for key in ["timeout", "deadline", "connect_timeout"] {
            let error = parse(&format!("{key}: 0s\n")).unwrap_err();
            assert!(error.starts_with(&format!("{key} is 0")), "{error}");
        }
        assert!(parse("top_k: 0\n").unwrap_err().starts_with("top_k"));
    }

    #[test]
    fn topics_have_names_that_kafka_knows() {
        for text in ["requests: ''", "results: a b", "models: ..", "requests: predict.results"] {
            let error = parse(&format!("topics: {{{text}}}\n")).unwrap_err();
            assert!(error.starts_with("topics"), "{text}: {error}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        let config = parse("kafka: {sasl_password: hunter2, common: {ssl.key.password: hunter3}}").unwrap();
        assert!(!config.to_yaml().contains("hunter"), "{}", config.to_yaml());
        assert!(config.to_yaml().contains("[redacted]"));
    }
}
