//! The headers that a failed record gets on the dead-letter topic: Kafka Connect's names, values as UTF-8 text. The
//! record's own key, value and headers stay as they were.

use crate::header::Headers;

/// Where a failed record came from, and why it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    /// The topic it was on.
    pub topic: &'a str,
    /// Its partition there.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// The room of the worker where it failed, as `decode`.
    pub stage: &'a str,
    /// The kind of failure, a gRPC canonical code.
    pub code: &'a str,
    /// What the error reply says.
    pub message: &'a str,
}

impl DeadLetter<'_> {
    /// Adds Connect's headers behind the record's own.
    pub fn write(&self, headers: &mut Headers) {
        headers.push("__connect.errors.topic", self.topic);
        headers.push("__connect.errors.partition", self.partition.to_string());
        headers.push("__connect.errors.offset", self.offset.to_string());
        headers.push("__connect.errors.stage", self.stage);
        headers.push("__connect.errors.class.name", "mlaas.worker");
        headers.push("__connect.errors.exception.class.name", self.code);
        headers.push("__connect.errors.exception.message", self.message);
    }
}
