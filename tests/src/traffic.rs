//! Sends records and reads answers with a plain Kafka client, so that nothing of `client` stands between a test and the
//! wire.

use std::time::{Duration, Instant};

use kafka::{from_headers, to_headers};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use wire::{Encoding, Envelope, Headers, ReplyTo, Request, TraceContext};

const ASK: Duration = Duration::from_secs(10);

/// A record to send.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Headers,
    /// Its value; `None` is Kafka's null.
    pub value: Option<Vec<u8>>,
    /// The partition; by the key where `None`.
    pub partition: Option<i32>,
    /// The sender's clock, in milliseconds since 1970; the real one where `None`.
    pub timestamp: Option<i64>,
}

/// A record whose arrival the broker has acknowledged.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// The request id that a worker will read in it.
    pub id: Option<String>,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

/// A record that was read.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When it was written, in milliseconds since 1970, where that is known.
    pub timestamp: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Headers,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

impl Record {
    /// A request as the client sends it: the id as key and header.
    #[must_use]
    pub fn of(request: &Request, encoding: Encoding) -> Self {
        Self::of_with_reply(request, encoding, &ReplyTo::default())
    }

    /// The same with a reply address.
    #[must_use]
    pub fn of_with_reply(request: &Request, encoding: Encoding, reply_to: &ReplyTo) -> Self {
        let now = jiff::Timestamp::now();
        Self {
            key: Some(request.id.clone().into_bytes()),
            headers: request.headers(encoding, "/mlaas/e2e", now, reply_to, &TraceContext::default()),
            value: Some(request.encode(encoding)),
            partition: None,
            timestamp: None,
        }
    }

    /// Any bytes under an id.
    #[must_use]
    pub fn bytes(id: &str, value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }.header("ce_id", id)
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push(name, value);
        self
    }

    /// On that partition.
    #[must_use]
    pub fn on(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// By a sender whose clock says that, in milliseconds since 1970.
    #[must_use]
    pub fn written(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// The request id that a worker reads in key and headers.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        Envelope::read(self.key.as_deref(), &self.headers).id
    }
}

impl From<&BorrowedMessage<'_>> for Received {
    fn from(message: &BorrowedMessage<'_>) -> Self {
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            headers: from_headers(message).unwrap_or_else(|e| panic!("{e}")).into_iter().collect(),
            value: message.payload().map(<[u8]>::to_vec),
        }
    }
}

impl Received {
    /// The request id in key and headers.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        Envelope::read(self.key.as_deref(), &self.headers).id
    }

    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|v| String::from_utf8_lossy(v).into_owned())
    }
}

/// Sends records and waits for their acknowledgement.
pub struct Sender {
    producer: FutureProducer,
    topic: String,
    runtime: tokio::runtime::Runtime,
}

impl Sender {
    /// To that topic.
    ///
    /// # Panics
    /// Where librdkafka does not like its settings.
    #[must_use]
    pub fn new(bootstrap_servers: &str, topic: &str) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap_servers)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("message.max.bytes", "16000000")
            .set("linger.ms", "1")
            // A broker that restarts is waited for.
            .set("message.timeout.ms", "120000")
            .set("log_level", "0")
            .create()
            .unwrap_or_else(|e| panic!("no producer: {e}"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap_or_else(|e| panic!("no runtime: {e}"));
        Self { producer, topic: topic.to_owned(), runtime }
    }

    /// Sends them in order and waits until the broker has acknowledged each.
    ///
    /// # Panics
    /// Where it refuses one.
    #[must_use = "what was acknowledged is what may not be lost"]
    pub fn send(&self, records: &[Record]) -> Vec<Acknowledged> {
        let queued = records.iter().map(|record| self.queue(record)).collect::<Vec<_>>();
        self.runtime.block_on(async {
            let mut acknowledged = Vec::new();
            for (record, delivery) in records.iter().zip(queued) {
                let delivered = match delivery.await {
                    Ok(Ok(delivered)) => delivered,
                    Ok(Err((e, _))) => panic!("record {:?} was not taken: {e}", record.id()),
                    Err(_) => panic!("the producer went away"),
                };
                acknowledged.push(Acknowledged {
                    id: record.id(),
                    partition: delivered.partition,
                    offset: delivered.offset,
                });
            }
            acknowledged
        })
    }

    fn queue(&self, record: &Record) -> rdkafka::producer::DeliveryFuture {
        let end = Instant::now() + crate::PATIENCE;
        loop {
            let headers = to_headers(record.headers.iter());
            let outgoing = FutureRecord {
                topic: &self.topic,
                partition: record.partition,
                payload: record.value.as_deref(),
                key: record.key.as_deref(),
                timestamp: record.timestamp,
                headers: Some(headers),
            };
            match self.producer.send_result(outgoing) {
                Ok(delivery) => return delivery,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _))
                    if Instant::now() < end =>
                {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err((e, _)) => panic!("record {:?} can't be sent: {e}", record.id()),
            }
        }
    }
}

/// Reads a topic from its beginning: all partitions, no group, nothing committed, aborted transactions left out.
pub struct Reader {
    consumer: BaseConsumer,
    topic: String,
    /// What was read so far.
    pub seen: Vec<Received>,
}

impl Reader {
    /// Of that topic.
    ///
    /// # Panics
    /// Where the topic is not there.
    #[must_use]
    pub fn new(bootstrap_servers: &str, topic: &str) -> Self {
        let consumer = consumer(bootstrap_servers, "mlaas-e2e-reader");
        let mut all = TopicPartitionList::new();
        for partition in 0..partitions(&consumer, topic) {
            all.add_partition_offset(topic, partition, Offset::Beginning)
                .unwrap_or_else(|e| panic!("{topic}/{partition}: {e}"));
        }
        consumer.assign(&all).unwrap_or_else(|e| panic!("cannot read {topic}: {e}"));
        Self { consumer, topic: topic.to_owned(), seen: Vec::new() }
    }

    /// Takes what is there within a short time; whether anything was.
    pub fn poll(&mut self) -> bool {
        match self.consumer.poll(Duration::from_millis(100)) {
            None => false,
            // A broker that restarts says so; the reader goes on when it is back.
            Some(Err(_)) => false,
            Some(Ok(message)) => {
                self.seen.push(Received::from(&message));
                true
            }
        }
    }

    /// Reads until `done` says so.
    ///
    /// # Panics
    /// After `limit`, with what is still missing in `done`'s words.
    pub fn read_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut done: impl FnMut(&[Received]) -> Result<(), String>,
    ) {
        let end = Instant::now() + limit;
        loop {
            match done(&self.seen) {
                Ok(()) => return,
                Err(missing) => {
                    assert!(Instant::now() < end, "waited {limit:?} for {what} on {}: {missing}", self.topic);
                }
            }
            // Many come at once; the question is asked once for all of them.
            if self.poll() {
                while let Some(Ok(message)) = self.consumer.poll(Duration::ZERO) {
                    self.seen.push(Received::from(&message));
                }
            }
        }
    }

    /// Reads until that many have come.
    pub fn read_count(&mut self, count: usize, limit: Duration) {
        self.read_until(&format!("{count} records"), limit, |seen| {
            if seen.len() >= count { Ok(()) } else { Err(format!("{} came", seen.len())) }
        });
    }

    /// Reads to the end offsets that the topic has now.
    pub fn read_to_end(&mut self, limit: Duration) {
        let ends = Offsets::end(&self.consumer, &self.topic);
        let begins = Offsets::begin(&self.consumer, &self.topic);
        self.read_until("the end of the topic", limit, |seen| {
            let mut read = begins.clone();
            for record in seen {
                if let Some(next) = read.get_mut(usize::try_from(record.partition).unwrap_or(usize::MAX)) {
                    *next = (*next).max(record.offset + 1);
                }
            }
            if read.iter().zip(&ends).all(|(read, end)| read >= end) {
                Ok(())
            } else {
                Err(format!("read to {read:?} of {ends:?}"))
            }
        });
    }
}

/// Offsets of a topic's partitions, partition 0 first.
pub struct Offsets;

impl Offsets {
    fn end(consumer: &BaseConsumer, topic: &str) -> Vec<i64> {
        Self::watermarks(consumer, topic).into_iter().map(|(_, high)| high).collect()
    }

    fn begin(consumer: &BaseConsumer, topic: &str) -> Vec<i64> {
        Self::watermarks(consumer, topic).into_iter().map(|(low, _)| low).collect()
    }

    fn watermarks(consumer: &BaseConsumer, topic: &str) -> Vec<(i64, i64)> {
        (0..partitions(consumer, topic))
            .map(|partition| {
                crate::wait_until(&format!("the end of {topic}/{partition}"), crate::PATIENCE, || {
                    consumer.fetch_watermarks(topic, partition, ASK).map_err(|e| e.to_string())
                })
            })
            .collect()
    }

    /// Where a group stands and where the topic ends: `(committed, end)` of each partition; 0 where nothing was ever
    /// committed.
    #[must_use]
    pub fn of_group(bootstrap_servers: &str, group: &str, topic: &str) -> Vec<(i64, i64)> {
        let committed = Self::committed(bootstrap_servers, group, topic);
        let ends = Self::end(&consumer(bootstrap_servers, group), topic);
        committed.into_iter().zip(ends).map(|(committed, end)| (committed.unwrap_or(0), end)).collect()
    }

    /// Where a group stands on each partition; `None` where nothing was ever committed.
    #[must_use]
    pub fn committed(bootstrap_servers: &str, group: &str, topic: &str) -> Vec<Option<i64>> {
        let consumer = consumer(bootstrap_servers, group);
        let mut asked = TopicPartitionList::new();
        for partition in 0..partitions(&consumer, topic) {
            asked.add_partition(topic, partition);
        }
        let answer = crate::wait_until("committed offsets", crate::PATIENCE, || {
            consumer.committed_offsets(asked.clone(), ASK).map_err(|e| e.to_string())
        });
        let committed = |partition| match answer.find_partition(topic, partition).map(|found| found.offset())
        {
            Some(Offset::Offset(offset)) => Some(offset),
            _ => None,
        };
        (0..asked.count()).map(|partition| committed(i32::try_from(partition).unwrap_or(-1))).collect()
    }
}

pub(crate) fn consumer(bootstrap_servers: &str, group: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "false")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "earliest")
        // The embedded broker does not wake a waiting fetch.
        .set("fetch.wait.max.ms", "10")
        .set("fetch.error.backoff.ms", "50")
        .set("log_level", "0")
        .create()
        .unwrap_or_else(|e| panic!("no consumer: {e}"))
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> i32 {
    crate::wait_until(&format!("topic {topic}"), crate::PATIENCE, || {
        let metadata = consumer.fetch_metadata(Some(topic), ASK).map_err(|e| e.to_string())?;
        let found = metadata.topics().iter().find(|t| t.name() == topic && t.error().is_none());
        let count = found.map_or(0, |t| t.partitions().len());
        if count == 0 {
            Err("it has no partitions".to_owned())
        } else {
            i32::try_from(count).map_err(|e| e.to_string())
        }
    })
}
