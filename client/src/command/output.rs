//! What is printed: one line a result on stdout, for people or as JSON.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use client::{ClientError, ErrorCode, ErrorReply, Outcome, Response};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde_json::{Map, Value, json};

/// Writes whole lines, around the progress bar where there is one.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    labels: usize,
    bar: ProgressBar,
}

impl Output {
    /// With a progress bar where more than one is expected, stderr is a terminal and nobody asks for quiet. JSON shows all
    /// labels of an answer, lines for people that many.
    pub(crate) fn new(json: bool, labels: Option<u32>, expected: usize, quiet: bool) -> Self {
        let bar = if expected > 1 && !quiet && io::stderr().is_terminal() {
            ProgressBar::with_draw_target(Some(expected as u64), ProgressDrawTarget::stderr())
        } else {
            ProgressBar::hidden()
        };
        let template = "{wide_bar} {pos}/{len} images, {rate}/s, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            // indicatif's own shows four decimals.
            let rate = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
                write!(text, "{:.0}", state.per_sec()).ok();
            };
            bar.set_style(style.with_key("rate", rate));
        }
        Self { json, labels: labels.map_or(1, |k| k as usize), bar }
    }

    /// One image is done.
    pub(crate) fn advance(&self) {
        self.bar.inc(1);
    }

    /// A request that the broker has.
    pub(crate) fn sent(&self, file: &str, id: &str) -> io::Result<()> {
        if self.json {
            self.line(&json!({"file": file, "request_id": id}).to_string())
        } else {
            self.line(&format!("{id}  {}", printable(file)))
        }
    }

    /// An answer, of a file that was sent or of somebody's request.
    pub(crate) fn answer(
        &self,
        file: Option<&str>,
        response: &Response,
        latency: Option<Duration>,
    ) -> io::Result<()> {
        if self.json {
            self.line(&answer_json(file, response, latency).to_string())
        } else {
            self.line(&answer_text(file, response, latency, self.labels))
        }
    }

    /// A request without an answer, in the form of an answer with an error.
    pub(crate) fn failure(&self, file: &str, id: Option<&str>, error: &ClientError) -> io::Result<()> {
        let code = match error {
            ClientError::Timeout { .. } => ErrorCode::DeadlineExceeded,
            ClientError::TooLarge { .. } => ErrorCode::OutOfRange,
            _ => ErrorCode::Unavailable,
        };
        self.error(file, id, code, error.to_string())
    }

    /// A file that could not be read.
    pub(crate) fn unreadable(&self, file: &str, error: &io::Error) -> io::Result<()> {
        self.error(file, None, ErrorCode::InvalidArgument, format!("can't be read: {error}"))
    }

    fn error(&self, file: &str, id: Option<&str>, code: ErrorCode, message: String) -> io::Result<()> {
        if self.json {
            let error = json!(ErrorReply::new(code, message));
            self.line(&json!({"file": file, "request_id": id, "status": "error", "error": error}).to_string())
        } else {
            self.line(&format!("{}  error: {}", printable(file), printable(&message)))
        }
    }

    /// One object.
    pub(crate) fn object(&self, value: &impl serde::Serialize) -> io::Result<()> {
        self.line(&serde_json::to_string(value).map_err(io::Error::from)?)
    }

    /// One line, or several.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        self.bar.suspend(|| {
            let mut out = io::stdout().lock();
            writeln!(out, "{text}")?;
            out.flush()
        })
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn milliseconds(latency: Duration) -> f64 {
    (latency.as_secs_f64() * 1e6).round() / 1e3
}

/// The result as the wire has it, with the file, the first label and the latency beside it.
fn answer_json(file: Option<&str>, response: &Response, latency: Option<Duration>) -> Value {
    let mut object = Map::new();
    if let Some(file) = file {
        object.insert("file".to_owned(), json!(file));
    }
    if let Ok(Value::Object(result)) = serde_json::to_value(response) {
        object.extend(result);
    }
    if let Outcome::Success(success) = &response.outcome
        && let Some(first) = success.predictions.first()
    {
        object.insert("label".to_owned(), json!(first.label));
        object.insert("probability".to_owned(), json!(first.probability));
    }
    if let Some(latency) = latency {
        object.insert("latency_ms".to_owned(), json!(milliseconds(latency)));
    }
    Value::Object(object)
}

fn answer_text(file: Option<&str>, response: &Response, latency: Option<Duration>, most: usize) -> String {
    let mut parts: Vec<String> = file.map(printable).into_iter().collect();
    match &response.outcome {
        Outcome::Success(success) => {
            let labels: Vec<String> = success
                .predictions
                .iter()
                .take(most)
                .map(|p| format!("{} {:.1} %", printable(&p.label), p.probability * 100.0))
                .collect();
            parts.push(if labels.is_empty() { "no label".to_owned() } else { labels.join(", ") });
            parts.push(format!("{} v{}", printable(&success.model.name), success.model.version));
        }
        Outcome::Error(error) => {
            parts.push(format!("error: {}: {}", error.code, printable(&error.message)));
        }
    }
    parts.extend(latency.map(|latency| format!("{:.1} ms", milliseconds(latency))));
    parts.push(printable(&response.request_id));
    parts.join("  ")
}

/// Text with its control characters written out, as `\n` and `\u{1b}`: what comes from others must not steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(printable("caf\u{e9} \u{1b}[31mred\n\u{9b}"), "caf\u{e9} \\u{1b}[31mred\\n\\u{9b}");
    }
}
