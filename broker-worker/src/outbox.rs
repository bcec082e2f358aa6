//! The producers, as the worker sees them: records go in, each with a parcel, and the parcel comes back with whether the
//! broker has its record.
//!
//! There are three, so that what one record meets with does not happen to others. Records to the worker's own topics travel
//! together and are waited for. So do those to topics that senders name, but apart from the former: a topic that stands
//! still or refuses what it is sent holds up nobody else. And a record that was refused in a batch travels alone, since a
//! batch is refused whole for the size or the fault of any one in it.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kafka::{Fault, Outgoing, Producer, to_headers};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaResult;
use tokio::sync::mpsc;
use wire::Headers;

/// For how long a record that is sent to a topic of a sender's, or alone, is the producer's to deliver.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A record to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// To this topic.
    pub topic: String,
    /// And partition; by the key where `None`.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<Cow<'a, [u8]>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Cow<'a, [u8]>>,
    /// Its headers.
    pub headers: Headers,
}

/// A batch's own frame and a record's, in bytes.
const FRAME_BYTES: usize = 61 + 24;
/// What a header takes beside its name and value, in bytes.
const HEADER_BYTES: usize = 6;

impl Message<'_> {
    /// The same, with all its bytes its own.
    #[cfg(test)]
    #[must_use]
    pub fn into_owned(self) -> Message<'static> {
        let owned = |bytes: Cow<'_, [u8]>| Cow::Owned(bytes.into_owned());
        let Self { topic, partition, key, value, headers } = self;
        Message { topic, partition, key: key.map(owned), value: value.map(owned), headers }
    }

    /// How many bytes it takes on a topic, alone in its batch and not compressed: what `max.message.bytes` has to allow.
    #[must_use]
    pub fn batch_bytes(&self) -> usize {
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers = self.headers.iter().map(|(name, value)| name.len() + length(value) + HEADER_BYTES);
        FRAME_BYTES + length(self.key.as_deref()) + length(self.value.as_deref()) + headers.sum::<usize>()
    }
}

/// With whom a record travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// With others to the worker's own topics.
    Own,
    /// With others to topics that senders name.
    Named,
    /// In a batch of its own.
    Alone,
}

/// A parcel that comes back, and whether the broker has its record.
#[derive(Debug)]
pub struct Delivered<P> {
    /// The parcel.
    pub parcel: Box<P>,
    /// What became of its record.
    pub result: Result<(), Fault>,
}

/// Where records with parcels go.
pub trait Outbox<P>: Send + Sync {
    /// Takes a record over. Its parcel comes back as [`Delivered`].
    ///
    /// # Errors
    /// Parcel and fault, at once, where the record is not taken.
    fn send(&self, way: Way, message: Message<'_>, parcel: Box<P>) -> Result<(), (Box<P>, Fault)>;
}

/// Where announcements go.
pub trait Announcements: Send + Sync {
    /// Takes one over. The receipt is dropped when the broker has it, or will not have it.
    ///
    /// # Errors
    /// [`Fault`] where it is not taken.
    fn announce(&self, message: Message<'_>, receipt: Receipt) -> Result<(), Fault>;
}

/// What an announcement leaves behind when it is over: nothing. Whoever waits for several waits until all receipts are dropped.
#[derive(Clone, Debug)]
pub struct Receipt {
    over: Option<mpsc::Sender<Infallible>>,
    /// Why the broker will not have it.
    refused: Arc<OnceLock<String>>,
}

impl Receipt {
    /// One, and what closes when it and its copies are dropped.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Infallible>) {
        let (receipt, over) = mpsc::channel(1);
        (Self { over: Some(receipt), refused: Arc::default() }, over)
    }

    /// How many of it there are, this one included.
    #[must_use]
    pub fn copies(&self) -> usize {
        self.over.as_ref().map_or(0, mpsc::Sender::strong_count)
    }

    /// One that nobody waits for.
    #[must_use]
    pub fn none() -> Self {
        Self { over: None, refused: Arc::default() }
    }

    /// The broker will not have it.
    fn refuse(&self, fault: &Fault) {
        self.refused.get_or_init(|| fault.words());
    }

    /// Why the broker will not have it, or one that goes with a copy; none where it is not known to.
    #[must_use]
    pub fn refused(&self) -> Option<&str> {
        self.refused.get().map(String::as_str)
    }
}

/// What travels with a record.
enum Cargo<P> {
    Parcel(Box<P>),
    Announcement { receipt: Receipt },
}

/// The Kafka producers.
pub struct KafkaOutbox<P: Send + Sync + 'static> {
    own: Producer<Cargo<P>>,
    named: Producer<Cargo<P>>,
    alone: Producer<Cargo<P>>,
}

impl<P: Send + Sync + 'static> KafkaOutbox<P> {
    /// Connects. Parcels come back through `delivered`, whose length is bounded by what is under way, which back-pressure
    /// bounds.
    ///
    /// # Errors
    /// librdkafka's, where it refuses the configuration.
    pub fn new(config: &ClientConfig, delivered: &mpsc::UnboundedSender<Delivered<P>>) -> KafkaResult<Self> {
        let producer = |config: &ClientConfig| {
            let delivered = delivered.clone();
            Producer::new(config, move |cargo, result| back(*cargo, result, &delivered))
        };
        let mut named = config.clone();
        let set = config.get("message.timeout.ms").and_then(|text| text.parse().ok());
        let patience = set.map_or(PATIENCE, |millis| PATIENCE.min(Duration::from_millis(millis)));
        named.set("message.timeout.ms", patience.as_millis().to_string());
        let mut alone = named.clone();
        alone.set("batch.num.messages", "1");
        Ok(Self { own: producer(config)?, named: producer(&named)?, alone: producer(&alone)? })
    }

    /// Waits until all that was sent is delivered, for that long at most. It blocks.
    pub fn flush(&self, timeout: Duration) {
        let end = std::time::Instant::now() + timeout;
        for producer in [&self.own, &self.named, &self.alone] {
            if !producer.flush(end.saturating_duration_since(std::time::Instant::now())) {
                tracing::debug!("not all was delivered before the end");
            }
        }
    }
}

/// A parcel goes back to whoever sent it.
fn back<P>(cargo: Cargo<P>, result: Result<(), Fault>, delivered: &mpsc::UnboundedSender<Delivered<P>>) {
    match cargo {
        // Where whoever would read it has ended, the ticket in it is dropped with it.
        Cargo::Parcel(parcel) => drop(delivered.send(Delivered { parcel, result })),
        Cargo::Announcement { receipt } => {
            if let Err(fault) = result {
                receipt.refuse(&fault);
                tracing::debug!(%fault, cause = fault.words(), "an announcement was not delivered; the next one may be");
            }
        }
    }
}

fn send<P: Send + Sync>(
    producer: &Producer<Cargo<P>>,
    message: &Message<'_>,
    cargo: Cargo<P>,
) -> Result<(), (Fault, Cargo<P>)> {
    let record = Outgoing {
        topic: &message.topic,
        partition: message.partition,
        key: message.key.as_deref(),
        value: message.value.as_deref(),
        headers: to_headers(message.headers.iter()),
    };
    producer.send(record, Box::new(cargo)).map_err(|back| (back.fault, *back.parcel))
}

impl<P: Send + Sync + 'static> Outbox<P> for KafkaOutbox<P> {
    fn send(&self, way: Way, message: Message<'_>, parcel: Box<P>) -> Result<(), (Box<P>, Fault)> {
        let producer = match way {
            Way::Own => &self.own,
            Way::Named => &self.named,
            Way::Alone => &self.alone,
        };
        match send(producer, &message, Cargo::Parcel(parcel)) {
            Err((fault, Cargo::Parcel(parcel))) => Err((parcel, fault)),
            Ok(()) | Err((_, Cargo::Announcement { .. })) => Ok(()),
        }
    }
}

impl<P: Send + Sync + 'static> Announcements for KafkaOutbox<P> {
    fn announce(&self, message: Message<'_>, receipt: Receipt) -> Result<(), Fault> {
        send(&self.own, &message, Cargo::Announcement { receipt }).map_err(|(fault, _)| fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of those bytes as Kafka lays it out: `DefaultRecordBatch` and `DefaultRecord`, small numbers in one byte.
    #[test]
    fn the_size_counted_is_not_less_than_what_kafka_counts() {
        let mut headers = Headers::new();
        headers.push("name", "value");
        let message = Message {
            topic: "t".into(),
            partition: None,
            key: Some(Cow::Borrowed(b"key")),
            value: Some(Cow::Borrowed(b"value")),
            headers,
        };
        let batch_header = 61;
        let record = 1 + 1 + 1 + 1 + (1 + 3) + (1 + 5) + 1 + (1 + 4) + (1 + 5);
        assert!(message.batch_bytes() >= batch_header + record);
        assert!(message.batch_bytes() <= batch_header + record + 32);
    }
}
