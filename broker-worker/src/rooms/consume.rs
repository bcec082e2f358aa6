//! The only room that knows the consumer: one OS thread that polls. It takes records while there is room, pauses the
//! partitions while there is none and goes on polling, gives partitions back with what was taken from them answered, and
//! commits the offsets that the book says may be committed. It is also the only room that watches for the end: it stops
//! taking, which closes its output, and stays in the group until all that it took is answered and committed.
//!
//! - [`read`]: from a message to a record;
//! - [`commits`]: when to commit;
//! - [`context`]: what librdkafka calls back: rebalances, figures, answers to commits;
//! - [`refusals`]: what the broker refuses, said and shown;
//! - [`pauses`]: which partitions are paused;
//! - [`anew`]: a topic that is deleted and made anew.

mod anew;
mod commits;
mod context;
mod pauses;
mod read;
mod refusals;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kafka::begin_commit;
use rdkafka::Offset;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::anew::Identity;
use self::context::Context;
use self::read::Polled;
use crate::book::Book;
use crate::config::Config;
use crate::health::{Health, Pulse};
use crate::metrics::Metrics;
use crate::parcels::Record;
use crate::pressure::{BackPressure, Flow, Pressure, Step};

/// The longest poll: within it the room hears of the end, of answers and of rebalances.
const POLL: Duration = Duration::from_millis(20);
/// A poll without taking, while partitions are paused.
const IDLE_POLL: Duration = Duration::from_millis(10);
/// How long a full worker may make room, unpolled, before the partitions are paused: long enough that one that is merely
/// busy never pauses, and short beside any timeout of the group.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks at how far partitions at rest have been read.
const LOOK: Duration = Duration::from_millis(500);
/// How long a question to the broker about the topic may take, where nothing else is to be done.
const ASK: Duration = Duration::from_secs(1);

/// Why the room can't end well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The consumer can't go on.
    #[error("the consumer failed for good: {0}")]
    Consumer(#[source] RDKafkaErrorCode),
    /// All is answered, and the broker does not have the last offsets.
    #[error(
        "the last offsets were not committed within shutdown.grace: Kafka delivers again what was answered last \
         (partition and offset: {0:?})"
    )]
    LastCommit(Vec<(i32, i64)>),
    /// The topic is another one than before, and no consumer of it could be made.
    #[error("the topic of requests was made anew and can't be read: {0}")]
    Anew(#[source] KafkaError),
}

/// What the room shares with others.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What is taken and answered.
    pub book: Arc<Book>,
    /// How much is under way.
    pub pressure: Arc<Pressure>,
    /// Who asks how it goes.
    pub health: Arc<Health>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// What it takes to join the group, the first time and again.
struct Subscriber {
    client: ClientConfig,
    config: Config,
    topic: Arc<str>,
    shared: Shared,
    pulse: Pulse,
}

impl Subscriber {
    fn subscribe(&self) -> KafkaResult<BaseConsumer<Context>> {
        let Self { client, config, topic, shared, pulse } = self;
        let context = Context::new(client, config, Arc::clone(topic), shared.clone(), pulse.clone());
        let consumer: BaseConsumer<Context> = client.create_with_context(context)?;
        consumer.subscribe(&[topic])?;
        Ok(consumer)
    }
}

/// The room.
pub struct Consume {
    consumer: BaseConsumer<Context>,
    subscriber: Subscriber,
    identity: Identity,
    topic: Arc<str>,
    shared: Shared,
    pulse: Pulse,
    marks: BackPressure,
    grace: Duration,
    flow: Flow,
    /// Since when there is no room, while nothing is polled.
    full_since: Option<Instant>,
    /// Polled while there was no room for it, which happens around a rebalance.
    held: VecDeque<Polled>,
    /// Partitions that are paused alone: they are too far ahead of their first unanswered record.
    ahead: BTreeSet<i32>,
    looked: Instant,
}

impl Consume {
    /// Joins the group. `client` is complete but for what this room sets itself.
    ///
    /// # Errors
    /// librdkafka's, where it refuses the configuration.
    pub fn new(client: &ClientConfig, config: &Config, shared: Shared) -> KafkaResult<Self> {
        let topic: Arc<str> = Arc::from(config.topics.names.requests.as_str());
        let pulse = shared.health.pulse("consume");
        let subscriber = Subscriber {
            client: client.clone(),
            config: config.clone(),
            topic: Arc::clone(&topic),
            shared: shared.clone(),
            pulse: pulse.clone(),
        };
        Ok(Self {
            consumer: subscriber.subscribe()?,
            subscriber,
            identity: Identity::default(),
            topic,
            shared,
            pulse,
            marks: config.queue.backpressure,
            grace: config.shutdown.grace,
            flow: Flow::default(),
            full_since: None,
            held: VecDeque::new(),
            ahead: BTreeSet::new(),
            looked: Instant::now(),
        })
    }

    /// The room, until `end` is asked for and all that was taken is answered, or the grace time is over, or `now` is
    /// asked for. Says how many records are not answered.
    ///
    /// # Errors
    /// [`Fatal`] where the consumer can't go on, or the last offsets can't be committed.
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
        self.finish(now)
    }

    fn step(&mut self, records: &mpsc::Sender<Record>) -> Result<(), Fatal> {
        let now = Instant::now();
        self.look(now);
        self.commit(now);
        self.let_on();
        self.pulse.beat();
        if self.consumer.context().fresh.swap(false, Ordering::Relaxed) {
            self.begin_partitions();
            self.identity.ask_at_once();
        }
        self.identify(now)?;
        if self.consumer.context().refusals.wants_look(&self.shared.health, now) {
            self.ask_again(now);
        }
        let permit = records.try_reserve().ok();
        let amount = self.shared.pressure.amount();
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
            Step::Wait => self.shared.pressure.wait_low(&self.marks, POLL),
            Step::Pause => self.pause(),
            Step::Resume => self.resume(),
            Step::Take => return self.poll(POLL, permit),
            Step::Poll => return self.poll(IDLE_POLL, None),
        }
        Ok(())
    }

    fn poll(&mut self, timeout: Duration, permit: Option<mpsc::Permit<'_, Record>>) -> Result<(), Fatal> {
        let polled = match self.consumer.poll(timeout) {
            None => return Ok(()),
            Some(Ok(message)) => read::read(&self.topic, &self.shared.book, &message),
            Some(Err(error)) => return self.error(&error),
        };
        match permit {
            Some(permit) => self.hand_over(polled, permit),
            None => self.held.push_back(polled),
        }
        Ok(())
    }

    fn hand_over(&mut self, polled: Polled, permit: mpsc::Permit<'_, Record>) {
        let Polled { original, unreadable, assignment, arrived } = polled;
        let Shared { book, pressure, .. } = &self.shared;
        let partition = original.partition;
        let begun = book.begin(partition, original.offset, assignment, pressure, original.bytes());
        // No ticket: the partition was given back meanwhile, and its next owner reads the record.
        if let Some((ticket, ahead)) = begun {
            permit.send(Record { original, unreadable, ticket, arrived });
            if ahead >= self.marks.high_requests * 2 {
                self.hold_back(partition);
            }
        }
    }

    fn error(&self, error: &KafkaError) -> Result<(), Fatal> {
        match error {
            KafkaError::MessageConsumptionFatal(code) => Err(Fatal::Consumer(*code)),
            // The topic is made in a moment, or the broker comes back: librdkafka goes on by itself.
            other => {
                if let Some(code) = other.rdkafka_error_code() {
                    self.consumer.context().refusals.heard(code, &self.shared.health, Instant::now());
                }
                Ok(())
            }
        }
    }

    /// Whether a refused topic is refused still: the broker is asked, and reading begins anew, so that librdkafka says it
    /// again.
    fn ask_again(&self, now: Instant) {
        let refusals = &self.consumer.context().refusals;
        // The broker may take its time.
        self.pulse.rest();
        match self.consumer.fetch_metadata(Some(&self.topic), ASK) {
            Ok(metadata) => {
                let error = metadata.topics().iter().find_map(rdkafka::metadata::MetadataTopic::error);
                if let Some(code) = error.map(RDKafkaErrorCode::from) {
                    refusals.heard(code, &self.shared.health, now);
                }
            }
            Err(error) => tracing::debug!(%error, "the broker can't be asked about the topic"),
        }
        self.with_assignment("paused", |assignment| self.consumer.pause(assignment));
        if self.flow != Flow::Paused {
            self.resume();
        }
    }

    /// Partitions at rest are committed to where they were read, so that the committed offset becomes the end of the log
    /// though markers of transactions stand there.
    fn look(&mut self, now: Instant) {
        // What is held has no ticket yet, and counts as read.
        if now.duration_since(self.looked) < LOOK || !self.held.is_empty() {
            return;
        }
        self.looked = now;
        match self.consumer.position() {
            Ok(positions) => {
                for element in positions.elements() {
                    if let Offset::Offset(position) = element.offset() {
                        self.shared.book.passed(element.partition(), position);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "the consumer does not say how far it has read"),
        }
    }

    /// Begins to commit what is due, where the commit before is through.
    fn commit(&self, now: Instant) {
        let commits = &self.consumer.context().commits;
        if !commits.may_begin(now) {
            return;
        }
        let due = self.shared.book.due();
        if due.is_empty() {
            return;
        }
        match kafka::positions(&self.topic, &due).and_then(|list| begin_commit(&self.consumer, &list)) {
            Ok(()) => commits.begun(now),
            Err(error) => tracing::debug!(%error, "no commit could begin"),
        }
    }

    /// Stays in the group until all is answered and committed, so that nobody else is given what this worker still
    /// answers. Says how many records were not.
    fn finish(mut self, now: &CancellationToken) -> Result<usize, Fatal> {
        self.shared.health.set_draining();
        let taken = self.shared.book.outstanding();
        tracing::info!(requests = taken, "no more is taken; what was taken is being answered");
        self.held.clear();
        self.pause();
        let deadline = Instant::now() + self.grace;
        // What is answered is not in the new one then, and nothing of it is committed there.
        let anew = self.is_another();
        let (left, due) = loop {
            self.pulse.beat();
            let due = if anew { Vec::new() } else { self.shared.book.due() };
            if !anew {
                self.commit(Instant::now());
            }
            let left = self.shared.book.outstanding();
            let over = Instant::now() >= deadline || now.is_cancelled();
            if over || left == 0 && due.is_empty() {
                break (left, due);
            }
            // What is polled now has no ticket: its offset is committed by nobody.
            if let Some(Err(error)) = self.consumer.poll(IDLE_POLL) {
                tracing::debug!(%error, "the consumer goes on");
            }
        };
        self.pulse.rest();
        if anew {
            self.commit_beginning();
        }
        self.consumer.context().closing.store(true, Ordering::Relaxed);
        // Closing it leaves the group.
        drop(self.consumer);
        if left == 0 && !due.is_empty() && !now.is_cancelled() {
            return Err(Fatal::LastCommit(due));
        }
        Ok(left)
    }
}
