//! Writes each second what was done since the second before, and how this worker is, to a topic of its own. Nobody waits for any of it: where
//! the broker does not take one, the next covers more; where there is no such topic all goes on without.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use wire::{Headers, Snapshot, WorkerState, header};

use crate::invalid::Invalid;
use crate::memory;
use crate::models::Models;
use crate::outbox::{Announcements, Message, Receipt};
use crate::rooms::consume::Shared;
use crate::tally::Counted;

/// Below it the snapshots would be much of what a small worker does, above it nobody would call it live.
const BOUNDS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(60)];

/// What a worker measures of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Measuring {
    /// How often it publishes what it has done; never where it is zero.
    #[serde(with = "humantime_serde")]
    pub snapshot_interval: Duration,
}

impl Default for Measuring {
    fn default() -> Self {
        Self { snapshot_interval: Duration::from_secs(1) }
    }
}

impl Measuring {
    /// Its own rules.
    ///
    /// # Errors
    /// [`Invalid`], which says what to change.
    pub fn check(&self) -> Result<(), Invalid> {
        let [shortest, longest] = BOUNDS;
        if self.snapshot_interval.is_zero() || (shortest..=longest).contains(&self.snapshot_interval) {
            return Ok(());
        }
        Err(Invalid::rule(format!(
            "metrics.snapshot_interval is {}: it must be 100ms to 1min, or 0s, which publishes none",
            humantime::format_duration(self.snapshot_interval)
        )))
    }
}

/// Who writes them, and what of it does not change.
pub struct Publisher {
    /// Where they go.
    pub outbox: Arc<dyn Announcements>,
    /// What is served.
    pub models: watch::Receiver<Models>,
    /// Where it is counted.
    pub shared: Shared,
    /// The worker's name.
    pub worker: String,
    /// The topic.
    pub topic: String,
    /// How often.
    pub interval: Duration,
    /// How many instances compute.
    pub instances: usize,
    /// When the worker began.
    pub began: Instant,
}

/// What was sent last, and what was counted since then.
struct Since {
    counted: Counted,
    dead_letters: u64,
    at: Instant,
    cpu: Duration,
    /// A copy of it is on its way with the one that was sent last.
    receipt: Receipt,
    /// It was said that they are not taken.
    said: bool,
}

impl Publisher {
    /// Writes until the token is cancelled, and a last one then.
    pub async fn run(self, end: CancellationToken) {
        let mut since = Since {
            counted: Counted::default(),
            dead_letters: 0,
            at: self.began,
            cpu: memory::processor_time(),
            receipt: Receipt::none(),
            said: false,
        };
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.step(&mut since, false),
                () = end.cancelled() => break,
            }
        }
        self.step(&mut since, true);
    }

    /// Writes one, unless the one before is on its way still.
    fn step(&self, since: &mut Since, ends: bool) {
        if let Some(why) = since.receipt.refused()
            && !std::mem::replace(&mut since.said, true)
        {
            let topic = &self.topic;
            tracing::warn!(topic, "what this worker measures can't be published, and is not needed: {why}");
        }
        since.counted.merge(&self.shared.metrics.tally.take());
        if since.receipt.copies() > 1 && !ends {
            return;
        }
        let (now, cpu) = (Instant::now(), memory::processor_time());
        let dead_letters = self.shared.metrics.dead_letters.get();
        let snapshot = Snapshot {
            worker: self.worker.clone(),
            at: Timestamp::now(),
            covers_ms: millis(now - since.at),
            interval_ms: millis(self.interval),
            uptime_s: self.began.elapsed().as_secs(),
            models: self.models(since.counted.clone()),
            errors: since.counted.errors.clone(),
            dead_letters: dead_letters - since.dead_letters,
            state: WorkerState { cpu_ms: millis(cpu.saturating_sub(since.cpu)), ends, ..self.state() },
        };
        let receipt = Receipt::new().0;
        if self.send(&snapshot, receipt.clone()) {
            let said = since.said;
            *since = Since { counted: Counted::default(), dead_letters, at: now, cpu, receipt, said };
        }
    }

    /// What was counted, and those that are served without having counted anything.
    fn models(&self, mut counted: Counted) -> Vec<wire::ModelFigures> {
        for served in self.models.borrow().iter() {
            let waiting = self.shared.metrics.waiting(&served.id);
            counted.of(&served.id.name, served.id.version).waiting = waiting;
        }
        counted.models.sort_by(|a, b| (&a.model, a.version).cmp(&(&b.model, b.version)));
        counted.models
    }

    fn state(&self) -> WorkerState {
        let Shared { book, pressure, metrics, .. } = &self.shared;
        let partitions = book.oldest().len();
        let lag = metrics.tally.lag();
        WorkerState {
            partitions: u32::try_from(partitions).unwrap_or(u32::MAX),
            lag: if partitions == 0 { Some(0) } else { lag },
            in_flight: pressure.amount().requests as u64,
            instances: u32::try_from(self.instances).unwrap_or(u32::MAX),
            memory_bytes: memory::resident(),
            paused: metrics.paused.get() > 0,
            ..WorkerState::default()
        }
    }

    /// Whether it is on its way.
    fn send(&self, snapshot: &Snapshot, receipt: Receipt) -> bool {
        let mut headers = Headers::new();
        headers.push(header::CONTENT_TYPE, wire::encoding::JSON);
        let message = Message {
            topic: self.topic.clone(),
            partition: None,
            key: Some(Cow::Borrowed(self.worker.as_bytes())),
            value: Some(Cow::Owned(snapshot.encode())),
            headers,
        };
        let sent = self.outbox.announce(message, receipt);
        if let Err(fault) = &sent {
            tracing::debug!(%fault, cause = fault.words(), "a snapshot was not sent; the next one covers more");
        }
        sent.is_ok()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::Book;
    use crate::doubles;
    use crate::group::Delivery;
    use kafka::Fault;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    use wire::{ErrorCode, ModelId, Timings};

    /// Holds on to the receipts for as long as it is slow.
    #[derive(Default)]
    struct Sent {
        slow: AtomicBool,
        held: Mutex<Vec<Receipt>>,
        sent: Mutex<Vec<Snapshot>>,
    }

    impl Announcements for Sent {
        fn announce(&self, message: Message<'_>, receipt: Receipt) -> Result<(), Fault> {
            assert_eq!(
                (message.topic.as_str(), message.key.as_deref()),
                ("predict.snapshots", Some(&b"w1"[..]))
            );
            self.sent.lock().unwrap().push(Snapshot::decode(message.value.as_deref().unwrap()).unwrap());
            if self.slow.load(Ordering::Relaxed) {
                self.held.lock().unwrap().push(receipt);
            }
            Ok(())
        }
    }

    struct Room {
        sent: Arc<Sent>,
        shared: Shared,
        bird: ModelId,
        end: CancellationToken,
        room: tokio::task::JoinHandle<()>,
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn room() -> Room {
        let (bird, shoe) = (doubles::served("bird", 2), doubles::served("shoe", 1));
        let id = bird.id.clone();
        let models = Models::with_skipped(vec![bird, shoe], Vec::new(), "shoe", "weights").unwrap();
        let shared = Shared {
            book: Book::new(Delivery::AtLeastOnce),
            pressure: Arc::default(),
            health: Arc::default(),
            metrics: Arc::default(),
        };
        let (sent, end) = (Arc::new(Sent::default()), CancellationToken::new());
        let publisher = Publisher {
            outbox: Arc::clone(&sent) as Arc<dyn Announcements>,
            models: watch::Sender::new(models).subscribe(),
            shared: shared.clone(),
            worker: "w1".into(),
            topic: "predict.snapshots".into(),
            interval: SECOND,
            instances: 2,
            began: Instant::now(),
        };
        let room = tokio::spawn(publisher.run(end.clone()));
        Room { sent, shared, bird: id, end, room }
    }

    impl Room {
        /// Into the middle between two of them.
        async fn settle(&self) {
            tokio::time::sleep(SECOND / 2).await;
            self.sent.sent.lock().unwrap().clear();
        }

        async fn seconds(&self, many: u32) -> Vec<Snapshot> {
            tokio::time::sleep(SECOND * many).await;
            std::mem::take(&mut *self.sent.sent.lock().unwrap())
        }

        fn answer(&self, outcome: Result<(), ErrorCode>, model: bool) {
            let timings = Timings { decode: 100, queue: 200, inference: 300, total: 1_000 };
            let took = Duration::from_micros(1_500);
            self.shared.metrics.answered(model.then_some(&self.bird), outcome, &timings, took);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_counted_is_told_once_and_what_is_served_each_time() {
        let room = room();
        room.settle().await;
        room.shared.metrics.of(&room.bird).pending.set(4);
        room.shared.metrics.of(&room.bird).computed(3, Duration::from_micros(700));
        (0..3).for_each(|_| room.answer(Ok(()), true));
        room.answer(Err(ErrorCode::InvalidArgument), true);
        room.answer(Err(ErrorCode::NotFound), false);
        room.shared.metrics.dead_letters.inc();
        room.shared.metrics.set_lag("predict.requests", 1, 5);
        room.shared.metrics.set_lag("predict.requests", 2, 7);
        room.shared.book.assign([1, 2]);
        room.shared.metrics.paused.set(1);
        let said = room.seconds(2).await;
        let [first, second] = &said[..] else { panic!("{said:?}") };
        let names: Vec<_> = first.models.iter().map(|m| (m.model.as_str(), m.version)).collect();
        assert_eq!(names, [("bird", 2), ("shoe", 1)]);
        let bird = &first.models[0];
        assert_eq!((bird.waiting, bird.counts.answered, bird.counts.failed()), (4, 3, 1));
        assert_eq!((bird.counts.images, bird.counts.batches), (3, 1));
        assert!((bird.counts.latency.quantile(0.5).unwrap() / 1_500.0 - 1.0).abs() < 0.13);
        let rooms = bird.counts.rooms_us;
        assert_eq!((rooms.decode, rooms.queue, rooms.infer, rooms.respond), (300, 600, 700, 1_500));
        assert_eq!((first.errors["NOT_FOUND"], first.dead_letters, first.state.lag), (1, 1, Some(12)));
        assert_eq!((first.state.partitions, first.state.instances, first.state.paused), (2, 2, true));
        assert!(first.state.memory_bytes > 1 << 20 && !first.state.ends);
        assert_eq!((second.models[0].counts.answered, second.dead_letters, second.errors.len()), (0, 0, 0));
        room.shared.metrics.forget_partition("predict.requests", 2);
        room.answer(Ok(()), true);
        room.end.cancel();
        room.room.await.unwrap();
        let last = room.sent.sent.lock().unwrap().pop().unwrap();
        assert_eq!((last.state.ends, last.models[0].counts.answered, last.state.lag), (true, 1, Some(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn while_one_is_on_its_way_none_is_written_and_nothing_is_lost() {
        let room = room();
        room.sent.slow.store(true, Ordering::Relaxed);
        room.settle().await;
        room.answer(Ok(()), true);
        assert_eq!(room.seconds(3).await.len(), 0, "the broker has not taken the first one");
        room.answer(Ok(()), true);
        room.sent.slow.store(false, Ordering::Relaxed);
        room.sent.held.lock().unwrap().clear();
        let said = room.seconds(1).await;
        assert_eq!(said[0].models[0].counts.answered, 2);
    }

    #[test]
    fn an_interval_is_one_that_can_be_kept() {
        let check = |text: &str| serde_yaml::from_str::<Measuring>(text).unwrap().check();
        for good in ["{}", "snapshot_interval: 0s", "snapshot_interval: 100ms", "snapshot_interval: 1min"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["snapshot_interval: 10ms", "snapshot_interval: 2min"] {
            assert!(check(bad).unwrap_err().to_string().starts_with("metrics.snapshot_interval"), "{bad}");
        }
    }
}
