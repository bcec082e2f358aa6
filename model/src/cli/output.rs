//! Lines on stdout: an object each, or words for people.

use std::io::{self, Write};

use serde::Serialize;

/// Writes one JSON object as a line.
pub(super) fn json(object: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string(object)?)
}

/// Writes one line, at once.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// A share of 0 to 1 as people write it.
pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}
