//! Logs: for people or as JSON, on stderr, as the worker's. librdkafka's own talk comes through here too, errors alone.

use std::io::IsTerminal as _;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// For whom.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives of tracing-subscriber's `EnvFilter`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Human, level: "info".to_owned() }
    }
}

/// For whom the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// People.
    Human,
    /// Programs: one JSON object a line.
    Json,
}

/// The filter for a level or for directives of one's own.
///
/// # Errors
/// [`ParseError`] where they are not understood.
pub fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    let base = EnvFilter::builder().parse(level)?;
    if level.contains(client::KAFKA_LOG) {
        return Ok(base);
    }
    // A broker that is away is said by the gateway itself; librdkafka says it at each attempt.
    Ok(base.add_directive(format!("{}=error", client::KAFKA_LOG).parse()?))
}

/// Sets the process's logger. Only a program's `main` calls this; in a process that has one, that one stays.
///
/// # Errors
/// [`ParseError`] where the level is not understood.
pub fn init(log: &Log) -> Result<(), ParseError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&log.level)?)
        .with_ansi(cli::Color::Auto.applies(std::io::stderr().is_terminal()))
        .with_writer(std::io::stderr);
    let set = match log.format {
        LogFormat::Human => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).try_init(),
    };
    drop(set);
    Ok(())
}
