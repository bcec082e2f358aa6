//! A compacted topic as the table that it is: the last value of each key, read to the topic's end and kept up to date by a
//! thread, and writing one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka::Broker;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use tokio::sync::watch;

use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::reading::{self, Partition, Reader};
use crate::thread::{Running, Thread};
use crate::writing;

/// For how long changes are gathered, at most, before they are told.
const GATHER: Duration = Duration::from_millis(200);

/// What is known of the topic.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// The last value of each key, as far as it was read.
    pub values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// All was read that lay on the topic when the reading began: before that a key may be missing that is there.
    pub complete: bool,
    /// Why the topic can't be read any more, where that lasts until somebody does something.
    pub fault: Option<ClientError>,
}

/// Keeps [`Rows`] up to date until it is dropped.
#[derive(Debug)]
pub struct Compacted {
    rows: watch::Receiver<Arc<Rows>>,
    broker: Broker,
    _thread: Thread,
}

impl Compacted {
    /// Connects and begins to read; the topic has to be there.
    ///
    /// # Errors
    /// [`ClientError`] where the broker can't be reached, or the topic is not there or not be read, within
    /// [`ClientConfig::connect_timeout`].
    pub async fn open(config: &ClientConfig, topic: &str) -> Result<Self, ClientError> {
        let deadline = config.connect_deadline()?;
        let cluster = config.cluster(deadline).await?;
        let (settings, topic, broker) = (config.kafka.clone(), topic.to_owned(), cluster.broker.clone());
        reading::blocking(move || {
            // The last offsets may hold nothing, where compaction left a gap: the broker tells the end.
            let reader = Reader::open(&settings, &cluster, &[("enable.partition.eof", "true")])?;
            let all_led = |partitions: &[Partition]| partitions.iter().all(|p| p.led);
            let mut ends = BTreeMap::new();
            let mut positions = Vec::new();
            for partition in reader.partitions(&topic, deadline, all_led)? {
                let (low, high) = reader.bounds(&topic, partition.id, deadline)?;
                positions.push((partition.id, low));
                if low < high {
                    ends.insert(partition.id, high);
                }
            }
            reader.assign(&topic, &positions)?;
            let (sender, rows) = watch::channel(Arc::default());
            let thread = Thread::start("client-compacted", move |running| {
                Follower { reader, topic, ends, sender, rows: Rows::default() }.follow(running);
            })?;
            Ok(Self { rows, broker, _thread: thread })
        })
        .await
    }

    /// Where it is read.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// What is known now. Cheap.
    #[must_use]
    pub fn rows(&self) -> Arc<Rows> {
        Arc::clone(&self.rows.borrow())
    }

    /// Tells whenever more is known, from when on all is that was there at the beginning; closed where nothing ever will be.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Rows>> {
        self.rows.clone()
    }
}

struct Follower {
    reader: Reader,
    topic: String,
    /// Where each partition ended that is not read to there.
    ends: BTreeMap<i32, i64>,
    sender: watch::Sender<Arc<Rows>>,
    rows: Rows,
}

impl Follower {
    fn follow(mut self, running: &Running) {
        let mut told = Instant::now();
        let mut news = false;
        while running.go_on() {
            let idle = match self.reader.poll() {
                None => true,
                Some(Ok(message)) => {
                    take(&mut self.rows, &message);
                    if self.ends.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
                        self.ends.remove(&message.partition());
                    }
                    news = true;
                    false
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.ends.remove(&partition);
                    true
                }
                Some(Err(error)) => {
                    let error = self.reader.fault(&self.topic, error);
                    if reading::is_final(&error) {
                        self.rows.fault = Some(error);
                        news = true;
                    } else {
                        tracing::debug!(%error, topic = self.topic, "reading a compacted topic");
                    }
                    true
                }
            };
            if self.ends.is_empty() && !self.rows.complete {
                self.rows.complete = true;
                news = true;
            }
            // Before that a part would be told as if it were all; what can't be read is told at once.
            let worth = self.rows.complete || self.rows.fault.is_some();
            if news && worth && (idle || told.elapsed() >= GATHER) {
                self.sender.send_replace(Arc::new(self.rows.clone()));
                (told, news) = (Instant::now(), false);
            }
        }
    }
}

fn take(rows: &mut Rows, message: &BorrowedMessage<'_>) {
    let key = message.key().unwrap_or_default().to_vec();
    // Whatever was wrong before, it can be read.
    rows.fault = None;
    match message.payload() {
        Some(value) => rows.values.insert(key, value.to_vec()),
        // A tombstone.
        None => rows.values.remove(&key),
    };
}

/// Writes a JSON value under a key, within [`ClientConfig::timeout`].
///
/// # Errors
/// [`ClientError`] where the broker can't be reached, the topic is not there, or it does not take the record in time.
pub async fn put(config: &ClientConfig, topic: &str, key: &str, value: Vec<u8>) -> Result<(), ClientError> {
    writing::write(config, topic, key.to_owned(), Some(value)).await
}
