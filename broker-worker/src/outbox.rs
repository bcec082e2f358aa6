//! The producer, as the respond room sees it: records go in, and for each an event comes back that says whether the
//! broker has it.

use std::time::Duration;

use kafka::to_headers;
use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::mpsc;
use wire::Headers;

/// The id of records whose delivery nobody waits for.
pub const UNATTENDED: usize = 0;

/// A record to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// To this topic.
    pub topic: String,
    /// And partition; by the key where `None`.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Headers,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The id that it was sent with.
    pub id: usize,
    /// Whether the broker has it.
    pub result: Result<(), Fault>,
}

/// Why the broker does not have a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The producer's queue is full: in a moment it is not.
    #[error("the producer's queue is full")]
    Full,
    /// The topic or the client takes no record of that size.
    #[error("the record is too large")]
    TooLarge,
    /// The topic or partition does not exist or may not be written to.
    #[error("no such place: {0}")]
    NoSuchPlace(String),
    /// Another time it may go.
    #[error("{0}")]
    Passing(String),
    /// The producer was closed before.
    #[error("the producer was closed")]
    Purged,
    /// The producer can't be used any more.
    #[error("{0}")]
    Fatal(String),
}

impl From<&KafkaError> for Fault {
    fn from(error: &KafkaError) -> Self {
        use RDKafkaErrorCode as Code;
        let words = |code: Code| code.to_string();
        match error.rdkafka_error_code() {
            Some(Code::QueueFull) => Self::Full,
            Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge) => {
                Self::TooLarge
            }
            Some(
                code @ (Code::UnknownTopic
                | Code::UnknownTopicOrPartition
                | Code::UnknownPartition
                | Code::InvalidTopic
                | Code::TopicAuthorizationFailed),
            ) => Self::NoSuchPlace(words(code)),
            Some(Code::PurgeQueue | Code::PurgeInflight) => Self::Purged,
            Some(code @ Code::Fatal) => Self::Fatal(words(code)),
            Some(code) => Self::Passing(words(code)),
            // A topic with a NUL byte in its name, say.
            None => Self::NoSuchPlace(error.to_string()),
        }
    }
}

/// Where records go.
pub trait Outbox: Send + Sync {
    /// Takes a record over. An [`Event`] with this id follows, unless this returns an error.
    ///
    /// # Errors
    /// [`Fault`] where it is not taken.
    fn send(&self, message: &Message, id: usize) -> Result<(), Fault>;

    /// Waits until all that was sent is delivered, for that long at most.
    fn flush(&self, timeout: Duration);
}

/// A Kafka producer.
pub struct KafkaOutbox {
    producer: ThreadedProducer<Context>,
}

impl KafkaOutbox {
    /// Connects. Events go to `events`, whose length is bounded by what is under way, which back-pressure bounds.
    ///
    /// # Errors
    /// librdkafka's, where it refuses the configuration.
    pub fn new(config: &ClientConfig, events: mpsc::UnboundedSender<Event>) -> KafkaResult<Self> {
        Ok(Self { producer: config.create_with_context(Context { events })? })
    }
}

impl Outbox for KafkaOutbox {
    fn send(&self, message: &Message, id: usize) -> Result<(), Fault> {
        let mut record: BaseRecord<'_, [u8], [u8], usize> = BaseRecord::with_opaque_to(&message.topic, id);
        record.partition = message.partition;
        record.key = message.key.as_deref();
        record.payload = message.value.as_deref();
        record.headers = Some(to_headers(message.headers.iter()));
        self.producer.send(record).map_err(|(error, _)| Fault::from(&error))
    }

    fn flush(&self, timeout: Duration) {
        if let Err(error) = self.producer.flush(timeout) {
            tracing::debug!(%error, "not all was delivered before the end");
        }
    }
}

struct Context {
    events: mpsc::UnboundedSender<Event>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        kafka::log::line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        kafka::log::error(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, id: usize) {
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(Fault::from(error)),
        };
        if id == UNATTENDED {
            if let Err(fault) = result {
                tracing::debug!(%fault, "an announcement was not delivered; the next one may be");
            }
            return;
        }
        // Whoever would read it has ended: the ticket was dropped with it.
        drop(self.events.send(Event { id, result }));
    }
}
