//! Logs of programs that run for long: for people or as JSON, on stderr.

use std::io::IsTerminal as _;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
pub use tracing_subscriber::filter::ParseError;

use crate::Color;

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

impl Log {
    /// The filter for its level, or for directives of one's own. Of `library`, a target that says again and again what the program says once,
    /// errors alone come through, unless the level names it.
    ///
    /// # Errors
    /// [`ParseError`] where they are not understood.
    pub fn filter(&self, library: &str) -> Result<EnvFilter, ParseError> {
        let base = EnvFilter::builder().parse(&self.level)?;
        if self.level.contains(library) {
            return Ok(base);
        }
        Ok(base.add_directive(format!("{library}=error").parse()?))
    }

    /// Sets the process's logger. Only a program's `main` calls this; in a process that has one, that one stays.
    ///
    /// # Errors
    /// [`ParseError`] where the level is not understood.
    pub fn init(&self, library: &str) -> Result<(), ParseError> {
        let builder = tracing_subscriber::fmt()
            .with_env_filter(self.filter(library)?)
            .with_ansi(Color::Auto.applies(std::io::stderr().is_terminal()))
            .with_writer(std::io::stderr);
        let set = match self.format {
            LogFormat::Human => builder.with_target(false).try_init(),
            LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).try_init(),
        };
        drop(set);
        Ok(())
    }
}
