//! The only room that knows the consumer: one OS thread that polls. It takes records while there is room, pauses the
//! partitions while there is none and goes on polling, gives partitions back with what was taken from them answered, and
//! stores the offsets that the book says may be stored. It is also the only room that watches for the end: it stops
//! taking, which closes its output, and stays in the group until all that it took is answered.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kafka::from_headers;
use kafka::headers::{HeadersError, Pair};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::statistics::Statistics;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wire::Headers;

use crate::config::{BackPressure, Config};
use crate::health::{Health, Pulse};
use crate::load::{Flow, Load, Step};
use crate::metrics::Metrics;
use crate::parcels::{Original, Record};
use crate::rooms::commit::Book;

/// The longest poll: within it the room hears of the end, of answers and of rebalances.
const POLL: Duration = Duration::from_millis(50);
/// A poll without taking, while partitions are paused.
const IDLE_POLL: Duration = Duration::from_millis(10);
/// How long a full worker may make room, unpolled, before the partitions are paused: long enough that one that is merely
/// busy never pauses, and short beside any timeout of the group.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a question to the broker about a partition may take.
const ASK: Duration = Duration::from_secs(5);

/// The consumer's own failure, after which it can't go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the consumer failed for good: {0}")]
pub struct Fatal(String);

/// What the room shares with others.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What is taken and answered.
    pub book: Arc<Book>,
    /// How much is under way.
    pub load: Arc<Load>,
    /// Who asks how it goes.
    pub health: Arc<Health>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// The room.
pub struct Consume {
    consumer: BaseConsumer<Context>,
    topic: Arc<str>,
    shared: Shared,
    pulse: Pulse,
    marks: BackPressure,
    grace: Duration,
    flow: Flow,
    /// Since when there is no room, while nothing is polled.
    full_since: Option<Instant>,
    /// Polled while there was no room for it, which happens around a rebalance.
    held: VecDeque<Held>,
}

struct Held {
    original: Original,
    unreadable: Option<String>,
    assignment: u64,
    arrived: tokio::time::Instant,
}

impl Consume {
    /// Joins the group. `client` is complete but for what this room sets itself.
    ///
    /// # Errors
    /// librdkafka's, where it refuses the configuration.
    pub fn new(client: &ClientConfig, config: &Config, shared: Shared) -> KafkaResult<Self> {
        let topic: Arc<str> = Arc::from(config.topics.requests.as_str());
        let pulse = shared.health.pulse("consume");
        let context = Context {
            shared: shared.clone(),
            pulse: pulse.clone(),
            topic: Arc::clone(&topic),
            drain: config.group.drain_timeout,
            fresh: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        };
        let consumer: BaseConsumer<Context> = client.create_with_context(context)?;
        consumer.subscribe(&[&topic])?;
        Ok(Self {
            consumer,
            topic,
            shared,
            pulse,
            marks: config.queue.backpressure,
            grace: config.shutdown.grace,
            flow: Flow::default(),
            full_since: None,
            held: VecDeque::new(),
        })
    }

    /// The room, until `end` is asked for and all that was taken is answered, or the grace time is over, or `now` is
    /// asked for. Says how many records are not answered.
    ///
    /// # Errors
    /// [`Fatal`] where the consumer can't go on.
    pub fn run(
        mut self,
        records: mpsc::Sender<Record>,
        end: &CancellationToken,
        now: &CancellationToken,
    ) -> Result<usize, Fatal> {
        while !end.is_cancelled() && !now.is_cancelled() {
            self.step(&records)?;
        }
        drop(records);
        Ok(self.finish(now))
    }

    fn step(&mut self, records: &mpsc::Sender<Record>) -> Result<(), Fatal> {
        self.store();
        self.pulse.beat();
        if self.consumer.context().fresh.swap(false, Ordering::Relaxed) {
            self.begin_partitions();
        }
        let permit = records.try_reserve().ok();
        let amount = self.shared.load.amount();
        self.shared.metrics.in_flight.set(i64::try_from(amount.requests).unwrap_or(i64::MAX));
        let permit = match (self.held.pop_front(), permit) {
            (Some(held), Some(permit)) => {
                self.hand_over(held, permit);
                return Ok(());
            }
            (Some(held), None) => {
                self.held.push_front(held);
                None
            }
            (None, permit) => permit,
        };
        let blocked = permit.is_none();
        let waited = self.full_since.is_some_and(|since| since.elapsed() >= PATIENCE);
        let (flow, step) = self.flow.step(amount, blocked, waited, &self.marks);
        self.flow = flow;
        self.full_since = (flow == Flow::Full).then(|| self.full_since.unwrap_or_else(Instant::now));
        match step {
            // Short waits do not pause: a pause throws away what was fetched ahead.
            Step::Wait if blocked => std::thread::sleep(Duration::from_millis(1)),
            Step::Wait => self.shared.load.wait_low(&self.marks, POLL),
            Step::Pause => self.pause(),
            Step::Resume => self.resume(),
            Step::Take => return self.poll(POLL, permit),
            Step::Poll => return self.poll(IDLE_POLL, None),
        }
        Ok(())
    }

    fn poll(&mut self, timeout: Duration, permit: Option<mpsc::Permit<'_, Record>>) -> Result<(), Fatal> {
        let held = match self.consumer.poll(timeout) {
            None => return Ok(()),
            Some(Ok(message)) => self.read(&message),
            Some(Err(error)) => return self.error(&error),
        };
        match permit {
            Some(permit) => self.hand_over(held, permit),
            None => self.held.push_back(held),
        }
        Ok(())
    }

    fn read(&self, message: &BorrowedMessage<'_>) -> Held {
        let (headers, unreadable) = guarded(|| from_headers(message));
        let original = Original {
            topic: Arc::clone(&self.topic),
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
            timestamp: message.timestamp().to_millis().and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        };
        let assignment = self.shared.book.assignment(original.partition);
        Held { original, unreadable, assignment, arrived: tokio::time::Instant::now() }
    }

    fn hand_over(&self, held: Held, permit: mpsc::Permit<'_, Record>) {
        let Held { original, unreadable, assignment, arrived } = held;
        let Shared { book, load, .. } = &self.shared;
        let ticket = book.begin(original.partition, original.offset, assignment, load, original.bytes());
        // No ticket: the partition was given back meanwhile, and its next owner reads the record.
        if let Some(ticket) = ticket {
            permit.send(Record { original, unreadable, ticket, arrived });
        }
    }

    fn error(&self, error: &KafkaError) -> Result<(), Fatal> {
        match error {
            KafkaError::MessageConsumptionFatal(code) => Err(Fatal(code.to_string())),
            // The topic is made in a moment, or the broker comes back: librdkafka goes on by itself.
            other => {
                tracing::debug!(error = %other, "the consumer goes on");
                Ok(())
            }
        }
    }

    fn pause(&self) {
        self.shared.metrics.paused.set(1);
        tracing::debug!(load = ?self.shared.load.amount(), "the worker is full: partitions are paused");
        self.with_assignment("paused", |assignment| self.consumer.pause(assignment));
    }

    fn resume(&self) {
        self.shared.metrics.paused.set(0);
        tracing::debug!("there is room again: partitions are resumed");
        self.with_assignment("resumed", |assignment| self.consumer.resume(assignment));
    }

    fn with_assignment(&self, what: &str, act: impl Fn(&TopicPartitionList) -> KafkaResult<()>) {
        match self
            .consumer
            .assignment()
            .and_then(|assignment| if assignment.count() == 0 { Ok(()) } else { act(&assignment) })
        {
            Ok(()) => {}
            // A partition that has just gone: the rebalance that took it is seen in the next poll.
            Err(error) => tracing::debug!(%error, "not all partitions could be {what}"),
        }
    }

    /// After partitions were added. They come as they were left when this consumer last had them, paused or not. And a
    /// group that never committed gets its first offsets, so that whatever scales workers by lag sees one.
    fn begin_partitions(&self) {
        if self.flow == Flow::Paused {
            self.pause();
        } else {
            self.resume();
        }
        // The broker may take its time.
        self.pulse.rest();
        if let Err(error) = self.commit_first_positions() {
            tracing::debug!(%error, "the first positions were not committed");
        }
    }

    fn commit_first_positions(&self) -> KafkaResult<()> {
        let assignment = self.consumer.assignment()?;
        if assignment.count() == 0 {
            return Ok(());
        }
        let committed = self.consumer.committed_offsets(assignment, ASK)?;
        let mut first = TopicPartitionList::new();
        for element in committed.elements() {
            if element.offset() == Offset::Invalid {
                let (low, _) = self.consumer.fetch_watermarks(element.topic(), element.partition(), ASK)?;
                first.add_partition_offset(element.topic(), element.partition(), Offset::Offset(low))?;
            }
        }
        if first.count() == 0 { Ok(()) } else { self.consumer.commit(&first, CommitMode::Async) }
    }

    fn store(&self) {
        store(&self.consumer, &self.topic, &self.shared.book);
    }

    /// Stays in the group until all is answered, so that nobody else is given what this worker still answers. Says how
    /// many records were not.
    fn finish(mut self, now: &CancellationToken) -> usize {
        self.shared.health.set_draining();
        let taken = self.shared.book.outstanding();
        tracing::info!(requests = taken, "no more is taken; what was taken is being answered");
        self.held.clear();
        self.pause();
        let deadline = Instant::now() + self.grace;
        let left = loop {
            self.pulse.beat();
            self.store();
            let left = self.shared.book.outstanding();
            if left == 0 || Instant::now() >= deadline || now.is_cancelled() {
                break left;
            }
            // What is polled now has no ticket: its offset is stored by nobody.
            if let Some(Err(error)) = self.consumer.poll(IDLE_POLL) {
                tracing::debug!(%error, "the consumer goes on");
            }
        };
        self.pulse.rest();
        self.consumer.context().closing.store(true, Ordering::Relaxed);
        if !now.is_cancelled() {
            commit(&self.consumer);
        }
        // Closing it leaves the group.
        drop(self.consumer);
        left
    }
}

/// A record's headers, and what is wrong where they can't be read. This thread may not end at a record: whoever takes its
/// partitions over would end at the same one.
fn guarded(read: impl FnOnce() -> Result<Vec<Pair>, HeadersError>) -> (Headers, Option<String>) {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(pairs)) => (pairs.into_iter().collect(), None),
        Ok(Err(error)) => (Headers::new(), Some(error.to_string())),
        Err(_) => (Headers::new(), Some("the record's headers can't be read: the reader gave up".to_owned())),
    }
}

/// Hands what the book says may be stored to librdkafka, which commits it every second.
fn store(consumer: &BaseConsumer<Context>, topic: &str, book: &Book) {
    for (partition, offset) in book.storable() {
        if let Err(error) = consumer.store_offset(topic, partition, offset) {
            tracing::debug!(partition, offset, %error, "not stored: the partition is another worker's now");
        }
    }
}

fn commit(consumer: &BaseConsumer<Context>) {
    match consumer.commit_consumer_state(CommitMode::Sync) {
        Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
        Err(error) => tracing::warn!(%error, "not committed: Kafka delivers some records again"),
    }
}

/// What librdkafka calls back, all of it on this room's thread, from within poll.
pub struct Context {
    shared: Shared,
    pulse: Pulse,
    topic: Arc<str>,
    drain: Duration,
    /// Partitions were added.
    fresh: AtomicBool,
    /// The room has drained already.
    closing: AtomicBool,
}

impl Context {
    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: &[i32]) {
        let Shared { book, health, metrics, .. } = &self.shared;
        if consumer.assignment_lost() {
            tracing::warn!(
                ?partitions,
                "partitions were lost: other workers answer what was taken from them"
            );
            health.set_joined(false);
        } else if !self.closing.load(Ordering::Relaxed) {
            // Polling stands still meanwhile, so that nothing more is taken; librdkafka's own thread keeps the session.
            self.pulse.rest();
            let left = book.drain(partitions, Instant::now() + self.drain);
            store(consumer, &self.topic, book);
            commit(consumer);
            if left > 0 {
                tracing::warn!(
                    ?partitions,
                    left,
                    "given back before all was answered: others answer these again"
                );
            }
        }
        book.forget(partitions.iter().copied());
        for partition in partitions {
            metrics.forget_lag(&self.topic, *partition);
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        kafka::log::line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        kafka::log::error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let Shared { health, metrics, book, .. } = &self.shared;
        let up = |broker: &rdkafka::statistics::Broker| broker.state == "UP" && broker.nodeid >= 0;
        health.set_connected(statistics.brokers.values().any(up));
        if let Some(group) = &statistics.cgrp {
            health.set_joined(group.state == "up" && group.join_state == "steady");
        }
        let Some(topic) = statistics.topics.get(&*self.topic) else { return };
        for (partition, figures) in &topic.partitions {
            // -1 is not known: nothing was committed yet.
            let lag = [figures.consumer_lag, figures.consumer_lag_stored].into_iter().find(|lag| *lag >= 0);
            if let Some(lag) = lag.filter(|_| book.owns(*partition)) {
                metrics.set_lag(&self.topic, *partition, lag);
            }
        }
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.shared.metrics.rebalances.inc();
        match rebalance {
            Rebalance::Revoke(list) => {
                let partitions = numbers(list);
                tracing::info!(?partitions, "partitions are given back");
                self.revoke(consumer, &partitions);
            }
            Rebalance::Assign(list) => {
                let partitions = numbers(list);
                if partitions.is_empty() {
                    tracing::debug!("the group has moved, and adds no partitions here");
                } else {
                    tracing::info!(?partitions, "partitions were assigned");
                }
                self.shared.book.assign(partitions);
            }
            Rebalance::Error(error) => tracing::warn!(%error, "a rebalance failed; librdkafka tries again"),
        }
    }

    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(_) = rebalance {
            self.fresh.store(true, Ordering::Relaxed);
            self.shared.health.set_connected(true);
            self.shared.health.set_joined(true);
        }
    }
}

fn numbers(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(|element| element.partition()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_can_t_be_read_are_said_and_end_nothing() {
        let pair = (b"caf\xe9".to_vec(), Some(b"1".to_vec()));
        let (headers, unreadable) = guarded(|| Ok(vec![pair]));
        assert_eq!((headers.iter().count(), unreadable), (1, None));
        let (headers, unreadable) = guarded(|| panic!("the double's reader panics, as it should"));
        assert!(headers.is_empty());
        assert!(unreadable.unwrap().contains("headers"));
    }
}
