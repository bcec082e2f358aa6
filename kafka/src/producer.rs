//! The producer that client and worker share: records go in, each with a parcel of the sender's, and the parcel comes back
//! with what became of the record. The parcel travels through librdkafka itself, so that nobody keeps a table of what is
//! under way.

use std::fmt;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

use crate::log::{HearingContext, words};

/// How long a full queue is given to make room.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// A record to send.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// To this topic.
    pub topic: &'a str,
    /// And partition; by the key where `None`.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, as [`crate::to_headers`] makes them.
    pub headers: OwnedHeaders,
}

/// Why the broker does not have a record: what follows from it, and librdkafka's error behind it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct Fault {
    /// What follows from it.
    pub kind: FaultKind,
    /// What librdkafka said.
    #[source]
    pub cause: KafkaError,
}

/// What follows from a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The producer's queue is full: in a moment it is not.
    Full,
    /// The topic takes no batch of that size, or this client sends no record of it. A batch may be too large though each of
    /// its records is not: what was sent among others is to be sent alone before anything is concluded about it.
    TooLarge,
    /// The topic refuses something in the record, or in another of its batch: the same record alone is refused for ever,
    /// or taken.
    Refused,
    /// The topic or partition does not exist or may not be written to.
    NoSuchPlace,
    /// Another time it may go.
    Passing,
    /// The producer was closed before.
    Closed,
    /// The producer can't be used any more.
    Fatal,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the producer's queue is full",
            Self::TooLarge => "larger than the topic takes",
            Self::Refused => "the topic refuses it",
            Self::NoSuchPlace => "the topic or partition does not exist or may not be written to",
            Self::Passing => "not delivered this time",
            Self::Closed => "the producer was closed before",
            Self::Fatal => "the producer can't go on",
        })
    }
}

impl Fault {
    /// librdkafka's words, without the crate's own around them.
    #[must_use]
    pub fn words(&self) -> String {
        words(&self.cause)
    }
}

impl From<KafkaError> for Fault {
    fn from(cause: KafkaError) -> Self {
        // Without a code: a topic with a NUL byte in its name.
        let kind = cause.rdkafka_error_code().map_or(FaultKind::NoSuchPlace, FaultKind::of);
        Self { kind, cause }
    }
}

impl FaultKind {
    fn of(code: RDKafkaErrorCode) -> Self {
        use RDKafkaErrorCode as Code;
        match code {
            Code::QueueFull => Self::Full,
            Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => {
                Self::TooLarge
            }
            Code::InvalidTimestamp
            | Code::InvalidRecord
            | Code::InvalidDifferentRecord
            | Code::PolicyViolation
            | Code::UnsupportedForMessageFormat
            | Code::UnsupportedCompressionType
            | Code::InvalidArgument => Self::Refused,
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic
            | Code::TopicAuthorizationFailed => Self::NoSuchPlace,
            Code::PurgeQueue | Code::PurgeInflight => Self::Closed,
            Code::Fatal => Self::Fatal,
            _ => Self::Passing,
        }
    }
}

/// A record that the producer did not take, with all that was given to it.
#[derive(Debug)]
pub struct NotTaken<'a, P> {
    /// Why.
    pub fault: Fault,
    /// The record.
    pub record: Outgoing<'a>,
    /// The parcel that was to travel with it.
    pub parcel: Box<P>,
}

/// A producer whose records carry a parcel of type `P` each. A thread of its own hands what became of them to the function
/// that it was made with.
pub struct Producer<P: Send + Sync + 'static> {
    inner: ThreadedProducer<Context<P>>,
}

impl<P: Send + Sync + 'static> Producer<P> {
    /// Connects in the background. `delivered` is called once for each record that was taken, when the broker has
    /// acknowledged it or will not: on the producer's thread, which it must not hold up.
    ///
    /// # Errors
    /// librdkafka's, where it refuses the configuration.
    pub fn new(
        config: &ClientConfig,
        delivered: impl Fn(Box<P>, Result<(), Fault>) + Send + Sync + 'static,
    ) -> KafkaResult<Self> {
        Self::hearing(config, HearingContext::default(), delivered)
    }

    /// The same, and what is heard of connections is kept in `heard`: where a record comes back with
    /// [`FaultKind::Closed`] though nobody closed the producer, the reason is there.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn hearing(
        config: &ClientConfig,
        heard: HearingContext,
        delivered: impl Fn(Box<P>, Result<(), Fault>) + Send + Sync + 'static,
    ) -> KafkaResult<Self> {
        let inner = config.create_with_context(Context { delivered: Box::new(delivered), heard })?;
        Ok(Self { inner })
    }

    /// Puts a record into the producer's queue, without waiting. The broker's word comes later.
    ///
    /// # Errors
    /// [`NotTaken`], with record and parcel, where the queue is full or the record can't be sent at all.
    // What is large in it is what was given: it goes back.
    #[allow(clippy::result_large_err)]
    pub fn send<'a>(&self, record: Outgoing<'a>, parcel: Box<P>) -> Result<(), NotTaken<'a, P>> {
        let Outgoing { topic, partition, key, value, headers } = record;
        let record: BaseRecord<'_, [u8], [u8], Box<P>> = BaseRecord {
            topic,
            partition,
            payload: value,
            key,
            timestamp: None,
            headers: Some(headers),
            delivery_opaque: parcel,
        };
        self.inner.send(record).map_err(|(error, back)| NotTaken {
            fault: Fault::from(error),
            record: Outgoing {
                topic,
                partition,
                key,
                value,
                headers: back.headers.unwrap_or_else(OwnedHeaders::new),
            },
            parcel: back.delivery_opaque,
        })
    }

    /// As [`Self::send`], but a full queue is waited for.
    ///
    /// # Errors
    /// [`NotTaken`] where the record can't be sent at all.
    pub async fn send_when_there_is_room<'a>(
        &self,
        mut record: Outgoing<'a>,
        mut parcel: Box<P>,
    ) -> Result<(), NotTaken<'a, P>> {
        loop {
            match self.send(record, parcel) {
                Err(back) if back.fault.kind == FaultKind::Full => {
                    (record, parcel) = (back.record, back.parcel)
                }
                sent => return sent,
            }
            tokio::time::sleep(FULL_PAUSE).await;
        }
    }

    /// Waits until all that was sent is delivered or given up, for that long at most; whether it is. It blocks.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> bool {
        self.inner.flush(timeout).is_ok()
    }
}

impl<P: Send + Sync + 'static> fmt::Debug for Producer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Producer")
    }
}

type Delivered<P> = dyn Fn(Box<P>, Result<(), Fault>) + Send + Sync;

struct Context<P> {
    delivered: Box<Delivered<P>>,
    heard: HearingContext,
}

impl<P: Send + Sync + 'static> ClientContext for Context<P> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        crate::log::line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.heard.error(error, reason);
    }
}

impl<P: Send + Sync + 'static> ProducerContext for Context<P> {
    type DeliveryOpaque = Box<P>;

    fn delivery(&self, result: &DeliveryResult<'_>, parcel: Box<P>) {
        let result = result.as_ref().map(drop).map_err(|(error, _)| Fault::from(error.clone()));
        (self.delivered)(parcel, result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn kind(code: RDKafkaErrorCode) -> FaultKind {
        Fault::from(KafkaError::MessageProduction(code)).kind
    }

    #[test]
    fn what_follows_from_an_error_of_librdkafkas() {
        use RDKafkaErrorCode as Code;
        assert_eq!(kind(Code::MessageSizeTooLarge), FaultKind::TooLarge);
        assert_eq!(kind(Code::InvalidTimestamp), FaultKind::Refused);
        assert_eq!(kind(Code::InvalidDifferentRecord), FaultKind::Refused, "another of its batch was");
        assert_eq!(kind(Code::UnknownTopicOrPartition), FaultKind::NoSuchPlace);
        assert_eq!(kind(Code::TopicAuthorizationFailed), FaultKind::NoSuchPlace);
        assert_eq!(kind(Code::MessageTimedOut), FaultKind::Passing);
        assert_eq!(kind(Code::NotEnoughReplicas), FaultKind::Passing);
    }

    #[test]
    fn a_fault_keeps_its_cause() {
        use std::error::Error as _;
        let fault = Fault::from(KafkaError::MessageProduction(RDKafkaErrorCode::InvalidTimestamp));
        assert_eq!(fault.to_string(), "the topic refuses it");
        assert!(fault.source().unwrap().to_string().contains("InvalidTimestamp"));
        assert_eq!(fault.words(), "InvalidTimestamp (Broker: Invalid timestamp)");
    }

    /// Parcels that came back, and with what.
    type Back = Arc<Mutex<Vec<(String, FaultKind)>>>;

    /// A producer without a broker: it gives up whatever it takes.
    fn producer(limit: &str) -> (Producer<String>, Back) {
        let back = Back::default();
        let mut config = ClientConfig::new();
        // Nobody listens there.
        config.set("bootstrap.servers", "127.0.0.1:1").set("queue.buffering.max.messages", limit);
        let producer = Producer::new(&config, {
            let back = Arc::clone(&back);
            move |parcel: Box<String>, result| {
                back.lock().unwrap().push((*parcel, result.unwrap_err().kind));
            }
        });
        (producer.unwrap(), back)
    }

    fn record(topic: &str) -> Outgoing<'_> {
        Outgoing { topic, partition: None, key: None, value: Some(b"v"), headers: OwnedHeaders::new() }
    }

    #[test]
    fn each_parcel_comes_back_whatever_becomes_of_its_record() {
        let (producer, back) = producer("1");
        producer.send(record("t"), Box::new("first".to_owned())).unwrap();
        let full = producer.send(record("t"), Box::new("second".to_owned())).unwrap_err();
        assert_eq!((full.fault.kind, full.parcel.as_str()), (FaultKind::Full, "second"));
        assert_eq!(full.record.value, Some(&b"v"[..]));
        let nul = producer.send(record("t\0"), Box::new("third".to_owned())).unwrap_err();
        assert_eq!((nul.fault.kind, nul.parcel.as_str()), (FaultKind::NoSuchPlace, "third"));
        assert!(!producer.flush(Duration::ZERO));
        drop(producer);
        assert_eq!(*back.lock().unwrap(), [("first".to_owned(), FaultKind::Closed)]);
    }
}
