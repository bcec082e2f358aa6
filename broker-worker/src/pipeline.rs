//! Wires the rooms: the only file that knows more than one of them. Each room that ends, ends because its input did,
//! from the source forward; a room that fails ends the worker.

use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::backend::BackendError;
use crate::capacity;
use crate::config::Config;
use crate::lane::Lanes;
use crate::models::Models;
use crate::outbox::{Delivered, Outbox};
use crate::parcels::{Answer, Record};
use crate::rooms::consume::{Consume, Shared};
use crate::rooms::respond::{Parcel, Respond, Setup};
use crate::rooms::{batch, decode, infer, queue, respond};

/// Why a pipeline does not start or goes no further.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// A model can't be loaded.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// librdkafka refuses the consumer.
    #[error("the consumer can't be made: {0}")]
    Consumer(#[source] KafkaError),
    /// A thread can't be started.
    #[error("a thread can't be started: {0}")]
    Thread(#[from] std::io::Error),
    /// A room failed.
    #[error("the {room} room failed: {reason}")]
    Room {
        /// Which.
        room: &'static str,
        /// How.
        reason: String,
    },
}

/// The rooms from decode to infer, warm; nothing flows yet.
pub struct Warm {
    config: Config,
    shared: Shared,
    rooms: Rooms,
    records: mpsc::Sender<Record>,
    answers: mpsc::Receiver<Answer>,
}

/// All rooms, at work.
pub struct Running {
    rooms: Rooms,
    end: CancellationToken,
    /// Dropped with this, so that the consume room's thread does not outlive it.
    _now: DropGuard,
}

/// Rooms that end on their own: each with its name, and how many requests it left unanswered.
type Rooms = JoinSet<(&'static str, Result<usize, Fault>)>;

/// How a room failed. The later ones are nearer to the cause: a room that panics takes its neighbours with it, whose
/// channels close.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Early,
    Failed(String),
    Panicked,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Early => f.write_str("it ended before its time"),
            Self::Failed(reason) => f.write_str(reason),
            Self::Panicked => f.write_str("it panicked"),
        }
    }
}

/// How long a room that ended early waits to be told from the one that is the cause.
const CAUSE: Duration = Duration::from_secs(5);

/// Starts decode, queue, batch and infer, and comes back when each instance is warm.
///
/// # Errors
/// [`PipelineError`] where a model can't be loaded.
pub async fn warm(config: &Config, models: &Models, shared: Shared) -> Result<Warm, PipelineError> {
    let mut rooms = Rooms::new();
    let (records, to_decode) = mpsc::channel(capacity::RECORDS);
    let (jobs, to_queue) = mpsc::channel(capacity::JOBS);
    let (batches, to_infer) = mpsc::channel(capacity::BATCHES);
    let (answers, to_respond) = mpsc::channel(capacity::ANSWERS);
    let lanes = Lanes::new(models, &config.queue, &shared.metrics);

    let instances = config.instance_count();
    let max_batch = config.batching.max_batch_size;
    let to_infer = Arc::new(Mutex::new(to_infer));
    let (ready, warmed) = std_mpsc::channel();
    // One after the other: what one needed to warm up, the next one uses again, and so the worker at rest stays small.
    let turn = Arc::new(Mutex::new(()));
    for i in 0..instances {
        let lanes = lanes.clone();
        let (ready, to_infer, answers) = (ready.clone(), Arc::clone(&to_infer), answers.clone());
        let turn = Arc::clone(&turn);
        let pulse = shared.health.pulse(format!("infer-{i}"));
        thread_room(&mut rooms, "infer", i, move || {
            let load = || {
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                infer::Instance::load(&lanes, max_batch)
            };
            infer::run(load, &ready, &to_infer, &answers, &pulse);
            Ok(0)
        })?;
    }
    drop((ready, to_infer));

    let decode = Arc::new(decode::Decode::new(lanes.clone(), config));
    let to_decode = Arc::new(Mutex::new(to_decode));
    for i in 0..config.decode_thread_count() {
        let (decode, to_decode) = (Arc::clone(&decode), Arc::clone(&to_decode));
        let (jobs, answers) = (jobs.clone(), answers.clone());
        let pulse = shared.health.pulse(format!("decode-{i}"));
        thread_room(&mut rooms, "decode", i, move || {
            decode::run(&decode, &to_decode, &jobs, &answers, &pulse);
            Ok(0)
        })?;
    }
    drop((jobs, to_decode));

    let policy = batch::Policy::new(&config.batching);
    for lane in lanes.iter() {
        let room = batch::run(Arc::clone(lane), policy.clone(), batches.clone(), answers.clone());
        rooms.spawn(named("batch", async {
            room.await;
            Ok(0)
        }));
    }
    let room = queue::run(to_queue, lanes, answers);
    rooms.spawn(named("queue", async {
        room.await;
        Ok(0)
    }));
    drop(batches);

    // Loading takes seconds and is waited for where it holds nobody up.
    let warm = tokio::task::spawn_blocking(move || {
        (0..instances).try_for_each(|_| {
            warmed.recv().unwrap_or_else(|_| Err(BackendError("an instance ended while it loaded".into())))
        })
    });
    warm.await.map_err(|e| BackendError(e.to_string()))??;
    shared.health.set_warm();
    Ok(Warm { config: config.clone(), shared, rooms, records, answers: to_respond })
}

impl Warm {
    /// Starts respond and consume: records flow from here on, until `end`.
    ///
    /// # Errors
    /// [`PipelineError`] where librdkafka refuses the consumer.
    pub fn open(
        self,
        client: &ClientConfig,
        worker: String,
        outbox: Arc<dyn Outbox<Parcel>>,
        delivered: mpsc::UnboundedReceiver<Delivered<Parcel>>,
        end: CancellationToken,
    ) -> Result<Running, PipelineError> {
        let Self { config, shared, mut rooms, records, answers } = self;
        let metrics = Arc::clone(&shared.metrics);
        let setup = Setup {
            topics: config.topics.names(),
            reply_allow: config.topics.reply_allow.clone(),
            worker,
            max_named: config.queue.backpressure.low_requests,
        };
        let pulse = shared.health.pulse("respond");
        let room = Respond::new(outbox, setup, metrics, Arc::clone(&shared.health));
        let room = respond::run(room, answers, delivered, pulse);
        rooms.spawn(named("respond", async {
            room.await.map(|()| 0).map_err(|e| Fault::Failed(format!("{e}: {}", e.0.words())))
        }));
        let consume = Consume::new(client, &config, shared).map_err(PipelineError::Consumer)?;
        let (stop, now) = (end.clone(), CancellationToken::new());
        let at_once = now.clone();
        thread_room(&mut rooms, "consume", 0, move || {
            consume.run(records, &stop, &at_once).map_err(|e| Fault::Failed(e.to_string()))
        })?;
        Ok(Running { rooms, end, _now: now.drop_guard() })
    }
}

impl Running {
    /// Waits until all rooms have ended. Says how many requests were left unanswered.
    ///
    /// # Errors
    /// [`PipelineError::Room`] where one failed, or ended while none was asked to.
    pub async fn wait(&mut self) -> Result<usize, PipelineError> {
        let mut left = 0;
        while let Some(ended) = self.rooms.join_next().await {
            let asked = self.end.is_cancelled();
            match judged(ended, asked) {
                Ok(unanswered) => left += unanswered,
                Err(fault) => {
                    self.end.cancel();
                    let (room, fault) = self.cause(fault).await;
                    return Err(PipelineError::Room { room, reason: fault.to_string() });
                }
            }
            // What a room left unanswered, those behind it may wait for in vain.
            if left > 0 {
                self.rooms.abort_all();
                break;
            }
        }
        Ok(left)
    }

    /// The fault behind that one: a room that ended early did so because another failed, which is heard of in a moment.
    async fn cause(&mut self, mut found: (&'static str, Fault)) -> (&'static str, Fault) {
        let look = async {
            while found.1 == Fault::Early
                && let Some(ended) = self.rooms.join_next().await
            {
                if let Err(other) = judged(ended, true)
                    && other.1 > found.1
                {
                    found = other;
                }
            }
        };
        // Where no other is heard of, it is the cause itself.
        drop(tokio::time::timeout(CAUSE, look).await);
        found
    }
}

type Ended = Result<(&'static str, Result<usize, Fault>), tokio::task::JoinError>;

/// How many requests a room that has ended left unanswered, or how it failed.
fn judged(ended: Ended, asked: bool) -> Result<usize, (&'static str, Fault)> {
    match ended {
        Ok((room, Ok(_))) if !asked => Err((room, Fault::Early)),
        Ok((room, result)) => result.map_err(|fault| (room, fault)),
        Err(_) => Err(("unnamed", Fault::Panicked)),
    }
}

/// A room on the runtime. Its panic is its end, under its name.
async fn named(
    room: &'static str,
    work: impl Future<Output = Result<usize, Fault>>,
) -> (&'static str, Result<usize, Fault>) {
    let mut work = pin!(work);
    let guarded = poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)))
            .unwrap_or(Poll::Ready(Err(Fault::Panicked)))
    });
    (room, guarded.await)
}

/// A room on an OS thread of its own.
fn thread_room(
    rooms: &mut Rooms,
    room: &'static str,
    number: usize,
    work: impl FnOnce() -> Result<usize, Fault> + Send + 'static,
) -> std::io::Result<()> {
    let (ended, end) = oneshot::channel();
    thread::Builder::new().name(format!("{room}-{number}")).spawn(move || {
        // Nobody listens any more where the worker ends at once.
        drop(ended.send(work()));
    })?;
    rooms.spawn(async move { (room, end.await.unwrap_or(Err(Fault::Panicked))) });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fault(rooms: Rooms) -> String {
        let (end, now) = (CancellationToken::new(), CancellationToken::new());
        let mut running = Running { rooms, end, _now: now.drop_guard() };
        running.wait().await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn the_room_that_panicked_is_named_and_not_those_that_ended_because_of_it() {
        let mut rooms = Rooms::new();
        let (closes, closed) = oneshot::channel::<()>();
        rooms.spawn(named("decode", async { Ok(0) }));
        rooms.spawn(named("queue", async {
            drop(closed.await);
            Ok(0)
        }));
        thread_room(&mut rooms, "consume", 0, || {
            drop(closes);
            panic!("the room panics, as it should");
        })
        .unwrap();
        assert_eq!(fault(rooms).await, "the consume room failed: it panicked");

        let mut rooms = Rooms::new();
        rooms.spawn(named("batch", async { panic!("the room panics, as it should") }));
        assert_eq!(fault(rooms).await, "the batch room failed: it panicked");
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_that_ends_for_no_reason_is_named_itself() {
        let mut rooms = Rooms::new();
        rooms.spawn(named("decode", async { Ok(0) }));
        rooms.spawn(named("infer", std::future::pending()));
        assert_eq!(fault(rooms).await, "the decode room failed: it ended before its time");
    }
}
