//! What is wrong with a configuration whose keys can all be read. A rule about one section lies with it, rules between
//! sections in [`crate::config`].

use std::num::ParseIntError;

use cli::log::ParseError;
use kafka::{SettingsError, TopicNameError};

/// What is wrong, and what to change. One sentence.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// A rule does not hold; the sentence names the keys and says what to change.
    #[error("{0}")]
    Rule(String),
    /// The `kafka` section can't be used.
    #[error(transparent)]
    Kafka(#[from] SettingsError),
    /// A topic can't have its name.
    #[error(transparent)]
    Topics(#[from] TopicNameError),
    /// One of librdkafka's own settings is no number.
    #[error("kafka: {key} is not a number: {text}")]
    NotANumber {
        /// Its name.
        key: &'static str,
        /// What it is.
        text: String,
        /// Why that is none.
        source: ParseIntError,
    },
    /// `log.level` can't be read.
    #[error("log.level '{level}' is not understood: {source}")]
    LogLevel {
        /// What it is.
        level: String,
        /// Why that is none.
        source: ParseError,
    },
}

impl Invalid {
    /// A rule that does not hold.
    pub(crate) fn rule(sentence: impl Into<String>) -> Self {
        Self::Rule(sentence.into())
    }
}

/// Refuses 0.
pub(crate) fn at_least_one<N: Default + PartialEq>(key: &str, value: N) -> Result<(), Invalid> {
    if value == N::default() {
        Err(Invalid::rule(format!("{key} is 0: it must be at least 1")))
    } else {
        Ok(())
    }
}
