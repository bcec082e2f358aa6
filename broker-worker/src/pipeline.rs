//! Wires the rooms: the only file that knows more than one of them. Each room that ends, ends because its input did,
//! from the source forward; a room that fails ends the worker.

use std::sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc};
use std::thread;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::capacity;
use crate::config::Config;
use crate::lane::{Lanes, Shape, WeakLanes};
use crate::models::{Demand, Models};
use crate::outbox::{Announcements, Delivered, Outbox};
use crate::parcels::{Answer, Record};
use crate::review::{self, Reviews};
use crate::rooms::consume::{Consume, Shared};
use crate::rooms::infer::hang::{self, Waiting};
use crate::rooms::respond::{Parcel, Respond, Setup};
use crate::rooms::{batch, decode, infer, queue, respond, shadow};
use crate::served::NotLoaded;
use crate::shadow::{Inbox, Shadows};
use crate::supervise::{RoomError, RoomFailed, Rooms};

/// Why a pipeline does not start or goes no further.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// A model can't be loaded.
    #[error(transparent)]
    NotLoaded(#[from] NotLoaded),
    /// An instance ended while it loaded.
    #[error("an instance ended while it loaded")]
    Instance,
    /// librdkafka refuses the consumer.
    #[error("the consumer can't be made: {0}")]
    Consumer(#[source] KafkaError),
    /// A thread can't be started.
    #[error("a thread can't be started: {0}")]
    Thread(#[from] std::io::Error),
    /// A room failed.
    #[error(transparent)]
    Room(#[from] RoomFailed),
}

/// The rooms from decode to infer, warm; nothing flows yet.
pub struct Warm {
    config: Config,
    shared: Shared,
    rooms: Rooms,
    records: mpsc::Sender<Record>,
    answers: mpsc::Receiver<Answer>,
    lanes: WeakLanes,
    compared: Inbox,
    unsure: Option<review::Inbox>,
}

/// All rooms, at work.
pub struct Running {
    rooms: Rooms,
    end: CancellationToken,
    /// Dropped with this, so that the consume room's thread does not outlive it.
    _now: DropGuard,
}

/// Starts decode, queue, batch and infer, and comes back when each instance is warm. Other versions come on `demand`.
///
/// # Errors
/// [`PipelineError`] where a model can't be loaded.
pub async fn warm(
    config: &Config,
    models: &Models,
    shared: Shared,
    demand: Option<Arc<Demand>>,
) -> Result<Warm, PipelineError> {
    let mut rooms = Rooms::default();
    let (records, to_decode) = mpsc::channel(capacity::RECORDS);
    let (admissions, to_queue) = mpsc::channel(capacity::ADMISSIONS);
    let (batches, to_infer) = mpsc::channel(capacity::BATCHES);
    let (answers, to_respond) = mpsc::channel(capacity::ANSWERS);
    let instances = config.instance_count();
    let max_batch_size = config.batching.max_batch_size;
    let shape = Shape { queue: config.queue.clone(), instances, max_batch_size };
    let (lanes, opened) = Lanes::new(models, shape, Arc::clone(&shared.metrics), demand);

    let (shadows, compared) = Shadows::new(Arc::clone(&shared.metrics));
    let (reviews, unsure) = Reviews::new(&config.review, Arc::clone(&shared.metrics));
    let to_infer = Arc::new(Mutex::new(to_infer));
    let (ready, warmed) = std_mpsc::channel();
    // One after the other: what one needed to warm up, the next one uses again, and so the worker at rest stays small.
    let turn = Arc::new(Mutex::new(()));
    for i in 0..instances {
        let (lanes, beside) = (lanes.clone(), (shadows.clone(), reviews.clone()));
        let (ready, to_infer, answers) = (ready.clone(), Arc::clone(&to_infer), answers.clone());
        let turn = Arc::clone(&turn);
        let pulse = shared.health.pulse(format!("infer-{i}"));
        let (waiting, ended) = (Arc::<Waiting>::default(), CancellationToken::new());
        let watch =
            hang::watch(Arc::clone(&waiting), shared.health.patience(), answers.clone(), ended.clone());
        rooms.task("infer", answered(watch));
        rooms.thread("infer", i, move || {
            let _ended = ended.drop_guard();
            // Which keeps the lanes open no longer than that.
            let load = move || {
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                infer::Instance::load(&lanes, i, waiting, beside)
            };
            infer::run(load, &ready, &to_infer, &answers, &pulse);
            Ok(0)
        })?;
    }
    drop((ready, to_infer));

    let open = lanes.downgrade();
    let beside = (shadows, reviews);
    let decode = decode::Decode::new(lanes, &config.queue, &config.limits, config.top_k, beside);
    let decode = Arc::new(decode);
    let to_decode = Arc::new(Mutex::new(to_decode));
    for i in 0..config.decode_thread_count() {
        let (decode, to_decode) = (Arc::clone(&decode), Arc::clone(&to_decode));
        let (admissions, answers) = (admissions.clone(), answers.clone());
        let pulse = shared.health.pulse(format!("decode-{i}"));
        rooms.thread("decode", i, move || {
            decode::run(&decode, &to_decode, &admissions, &answers, &pulse);
            Ok(0)
        })?;
    }
    // The lanes are decode's from here on: they end behind it.
    drop((decode, admissions, to_decode));

    let policy = batch::Policy::new(&config.batching);
    rooms.task("batch", answered(batch::run(opened, policy, batches, answers.clone())));
    rooms.task("queue", answered(queue::run(to_queue, answers)));

    // Loading takes seconds and is waited for where it holds nobody up.
    let warm = tokio::task::spawn_blocking(move || {
        (0..instances).try_for_each(|_| {
            warmed.recv().map_err(|_| PipelineError::Instance)?.map_err(PipelineError::from)
        })
    });
    warm.await.map_err(|_| PipelineError::Instance)??;
    if let Some(lanes) = open.upgrade() {
        // What they take is known now.
        lanes.update(Models::clone, None);
    }
    shared.health.set_warm();
    let (config, answers, lanes) = (config.clone(), to_respond, open);
    Ok(Warm { config, shared, rooms, records, answers, lanes, compared, unsure })
}

impl Warm {
    /// Where another version comes into service.
    #[must_use]
    pub fn lanes(&self) -> WeakLanes {
        self.lanes.clone()
    }

    /// Where images come from that a person should look at; none where none are to be, or somebody has it already.
    pub fn unsure(&mut self) -> Option<review::Inbox> {
        self.unsure.take()
    }

    /// Starts respond and consume: records flow from here on, until `end`.
    ///
    /// # Errors
    /// [`PipelineError`] where librdkafka refuses the consumer.
    pub fn open(
        self,
        client: &ClientConfig,
        worker: String,
        (outbox, announcements): (Arc<dyn Outbox<Parcel>>, Arc<dyn Announcements>),
        delivered: mpsc::UnboundedReceiver<Delivered<Parcel>>,
        end: CancellationToken,
    ) -> Result<Running, PipelineError> {
        let Self { config, shared, mut rooms, records, answers, compared, .. } = self;
        let metrics = Arc::clone(&shared.metrics);
        let topic = config.topics.names.shadow.clone();
        let room = shadow::Shadow::new(announcements, topic, worker.clone(), Arc::clone(&metrics));
        let over = end.clone();
        // Nobody waits for what it does, and so not for its end.
        thread::Builder::new()
            .name("shadow".to_owned())
            .spawn(move || shadow::run(&room, &compared, &over))?;
        let setup = Setup {
            topics: config.topics.names.clone(),
            reply_allow: config.topics.reply_allow.clone(),
            worker,
            max_named: config.queue.backpressure.low_requests,
        };
        let pulse = shared.health.pulse("respond");
        let room = Respond::new(outbox, setup, metrics, Arc::clone(&shared.health));
        rooms.task("respond", async move {
            respond::run(room, answers, delivered, pulse).await.map(|()| 0).map_err(RoomError::failed)
        });
        let consume = Consume::new(client, &config, shared).map_err(PipelineError::Consumer)?;
        let (stop, now) = (end.clone(), CancellationToken::new());
        let at_once = now.clone();
        rooms
            .thread("consume", 0, move || consume.run(records, &stop, &at_once).map_err(RoomError::failed))?;
        Ok(Running { rooms, end, _now: now.drop_guard() })
    }
}

impl Running {
    /// Waits until all rooms have ended. Says how many requests were left unanswered.
    ///
    /// # Errors
    /// [`PipelineError::Room`] where one failed, or ended while none was asked to.
    pub async fn wait(&mut self) -> Result<usize, PipelineError> {
        Ok(self.rooms.wait(&self.end).await?)
    }
}

/// A room that answers all that it takes.
async fn answered(work: impl Future<Output = ()>) -> Result<usize, RoomError> {
    work.await;
    Ok(0)
}
