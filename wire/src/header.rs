//! Record headers: their names, and a small ordered multimap that holds them apart from any Kafka library.

/// `1.0`: the CloudEvents version that every record of ours declares.
pub const SPEC_VERSION: &str = "ce_specversion";
/// The request id.
pub const ID: &str = "ce_id";
/// Who wrote the record, a URI reference.
pub const SOURCE: &str = "ce_source";
/// What the record is: [`TYPE_REQUEST`] or [`TYPE_RESULT`].
pub const TYPE: &str = "ce_type";
/// When the record was written, RFC 3339.
pub const TIME: &str = "ce_time";
/// Extension attribute: the name of the model that should answer.
pub const MODEL: &str = "ce_model";
/// Extension attribute: the version of that model, a decimal number.
pub const MODEL_VERSION: &str = "ce_modelversion";
/// Extension attribute: how many predictions to return, a decimal number.
pub const TOP_K: &str = "ce_topk";
/// Extension attribute: the time after which nobody waits for the answer, RFC 3339.
pub const DEADLINE: &str = "ce_deadline";
/// Extension attribute: for how long somebody waits, in milliseconds from the record's own timestamp on, a decimal number.
pub const TIMEOUT_MS: &str = "ce_timeoutms";
/// Extension attribute: a decimal number; lower goes first, as in Triton.
pub const PRIORITY: &str = "ce_priority";
/// How the value is encoded, a media type.
pub const CONTENT_TYPE: &str = "content-type";
/// How the answer should be encoded, a media type.
pub const ACCEPT: &str = "accept";
/// The topic to answer on (Spring's `KafkaHeaders.REPLY_TOPIC`).
pub const REPLY_TOPIC: &str = "kafka_replyTopic";
/// The partition to answer on, a big-endian `i32` (Spring's `KafkaHeaders.REPLY_PARTITION`).
pub const REPLY_PARTITION: &str = "kafka_replyPartition";
/// Opaque bytes echoed on the answer (Spring's `KafkaHeaders.CORRELATION_ID`).
pub const CORRELATION_ID: &str = "kafka_correlationId";
/// W3C Trace Context.
pub const TRACEPARENT: &str = "traceparent";
/// W3C Trace Context.
pub const TRACESTATE: &str = "tracestate";
/// W3C Baggage.
pub const BAGGAGE: &str = "baggage";

/// Each of them.
pub const ALL: [&str; 19] = [
    SPEC_VERSION,
    ID,
    SOURCE,
    TYPE,
    TIME,
    MODEL,
    MODEL_VERSION,
    TOP_K,
    DEADLINE,
    TIMEOUT_MS,
    PRIORITY,
    CONTENT_TYPE,
    ACCEPT,
    REPLY_TOPIC,
    REPLY_PARTITION,
    CORRELATION_ID,
    TRACEPARENT,
    TRACESTATE,
    BAGGAGE,
];

/// The CloudEvents type of a request.
pub const TYPE_REQUEST: &str = "mlaas.predict.request.v1";
/// The CloudEvents type of a result.
pub const TYPE_RESULT: &str = "mlaas.predict.result.v1";

/// The headers of one record, in order. Kafka allows a name twice; reading takes the last, as Kafka's `lastHeader` does.
/// A name is bytes: those of the contract are ASCII, and what else a sender writes is kept as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Headers {
    /// No headers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one at the end, beside any of the same name.
    pub fn push(&mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.push((name.into(), Some(value.into())));
    }

    /// The last value under that name; a null value counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().rev().find(|(n, _)| n == name.as_bytes()).and_then(|(_, v)| v.as_deref())
    }

    /// Name and value of each, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.0.iter().map(|(name, value)| (name.as_slice(), value.as_deref()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Vec<u8>, Option<Vec<u8>>)> for Headers {
    fn from_iter<I: IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>>(headers: I) -> Self {
        Self(headers.into_iter().collect())
    }
}

impl IntoIterator for Headers {
    type Item = (Vec<u8>, Option<Vec<u8>>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
