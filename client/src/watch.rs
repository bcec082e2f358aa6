//! What workers say that they serve, and whether the broker answers, kept up to date by a thread for whoever asks often.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::message::Message;
use tokio::sync::watch;
use wire::Announcement;

use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::models::young;
use crate::reading::{self, Partition, Reader};
use crate::thread::{Running, Thread};

/// Between two questions whether the broker answers.
const ASK: Duration = Duration::from_secs(1);
/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// What is known of workers and broker.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The last word of each worker on each model version, those included that are past their time.
    announced: BTreeMap<Vec<u8>, Announcement>,
    /// Why the broker, or the topic, can't be used now.
    pub fault: Option<ClientError>,
}

impl World {
    /// What is served now, by model, version and worker.
    #[must_use]
    pub fn served(&self) -> Vec<&Announcement> {
        let now = Timestamp::now();
        let mut live: Vec<_> = self.announced.values().filter(|word| word.is_live(now)).collect();
        live.sort_by(|a, b| (&a.model, a.version, &a.worker).cmp(&(&b.model, b.version, &b.worker)));
        live
    }
}

/// Keeps a [`World`] up to date until it is dropped.
#[derive(Debug)]
pub struct Watch {
    world: watch::Receiver<Arc<World>>,
    _thread: Thread,
}

impl Watch {
    /// Connects and reads what is announced.
    ///
    /// # Errors
    /// [`ClientError`] as [`crate::served_models`].
    pub async fn open(config: &ClientConfig) -> Result<Self, ClientError> {
        let deadline = config.connect_deadline()?;
        let cluster = config.cluster(deadline).await?;
        let config = config.clone();
        reading::blocking(move || {
            let reader = Reader::open(&config.kafka, &cluster, &[])?;
            // A connection of its own to ask with: what is heard of that one while it fails is polled for and dropped.
            let asker = Reader::open(&config.kafka, &cluster, &[])?;
            let topic = config.topics.models.clone();
            let all_led = |partitions: &[Partition]| partitions.iter().all(|p| p.led);
            let partitions: Vec<_> =
                reader.partitions(&topic, deadline, all_led)?.iter().map(|p| p.id).collect();
            let mut unread = Vec::new();
            let since: BTreeMap<_, _> = young(&reader, &topic, &partitions, deadline)?.into_iter().collect();
            for partition in partitions {
                let (low, high) = reader.bounds(&topic, partition, deadline)?;
                unread.push((partition, since.get(&partition).map_or(high, |from| (*from).max(low))));
            }
            reader.assign(&topic, &unread)?;
            let (sender, world) = watch::channel(Arc::default());
            let thread = Thread::start("client-watch", move |running| {
                Follower { reader, asker, topic, requests: config.topics.requests.clone(), sender }
                    .follow(running);
            })?;
            Ok(Self { world, _thread: thread })
        })
        .await
    }

    /// What is known now. Cheap.
    #[must_use]
    pub fn world(&self) -> Arc<World> {
        Arc::clone(&self.world.borrow())
    }

    /// Tells whenever more is known; closed where nothing ever will be.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<World>> {
        self.world.clone()
    }
}

struct Follower {
    reader: Reader,
    asker: Reader,
    topic: String,
    requests: String,
    sender: watch::Sender<Arc<World>>,
}

impl Follower {
    fn follow(self, running: &Running) {
        let mut asked: Option<Instant> = None;
        while running.go_on() {
            match self.reader.poll() {
                Some(Ok(message)) => {
                    let key = message.key().unwrap_or_default().to_vec();
                    match message.payload().map(Announcement::decode) {
                        Some(Ok(word)) => self.change(|world| {
                            world.announced.insert(key, word);
                        }),
                        // A tombstone.
                        None => self.change(|world| {
                            world.announced.remove(&key);
                        }),
                        Some(Err(error)) => {
                            tracing::debug!(%error, offset = message.offset(), "not an announcement");
                        }
                    }
                }
                None => {}
                Some(Err(error)) => {
                    let error = self.reader.fault(&self.topic, error);
                    if reading::is_final(&error) {
                        self.change(|world| world.fault = Some(error));
                    } else {
                        tracing::debug!(%error, "watching announcements");
                    }
                }
            }
            if asked.is_none_or(|at| at.elapsed() >= ASK) {
                let fault = self.ask();
                asked = Some(Instant::now());
                let known = self.sender.borrow().fault.is_some();
                if fault.is_some() || known {
                    self.change(|world| world.fault = fault);
                }
            }
        }
    }

    /// Whether requests could be sent.
    fn ask(&self) -> Option<ClientError> {
        match self.asker.partitions_now(&self.requests, Instant::now() + ANSWER) {
            Ok(Some(partitions)) if partitions.iter().any(|partition| partition.led) => None,
            Ok(Some(_)) => {
                Some(ClientError::NoLeader { topic: self.requests.clone(), partitions: Vec::new() })
            }
            Ok(None) => Some(ClientError::NoTopic {
                topic: self.requests.clone(),
                address: self.reader.cluster().broker.bootstrap_servers.clone(),
            }),
            Err(error) => Some(error),
        }
    }

    fn change(&self, change: impl FnOnce(&mut World)) {
        self.sender.send_modify(|world| {
            let world = Arc::make_mut(world);
            change(world);
            // Those of workers that died: no tombstone comes for them.
            let now = Timestamp::now();
            world.announced.retain(|_, word| word.is_live(now));
        });
    }
}
