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

/// The names, in the order in which they are written.
pub const HEADERS: [&str; 7] = [
    "__connect.errors.topic",
    "__connect.errors.partition",
    "__connect.errors.offset",
    "__connect.errors.stage",
    "__connect.errors.class.name",
    "__connect.errors.exception.class.name",
    "__connect.errors.exception.message",
];

impl DeadLetter<'_> {
    /// Adds Connect's headers behind the record's own.
    pub fn write(&self, headers: &mut Headers) {
        let (partition, offset) = (self.partition.to_string(), self.offset.to_string());
        let values = [self.topic, &partition, &offset, self.stage, "mlaas.worker", self.code, self.message];
        for (name, value) in HEADERS.into_iter().zip(values) {
            headers.push(name, value);
        }
    }
}
