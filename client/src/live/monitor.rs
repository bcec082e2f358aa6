//! A thread that hears what workers publish, for whoever looks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use wire::Snapshot;

use super::view::{Asked, View};
use super::{KEPT, Live};
use crate::cluster::Cluster;
use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::reading::{self, Reader};
use crate::thread::{Running, Thread};

/// Where nothing came for that long, it is asked whether the broker and the topic are there.
const QUIET: Duration = Duration::from_secs(3);
/// Between two such questions.
const ASK: Duration = Duration::from_secs(1);
/// How long the broker may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// Hears workers' snapshots until it is dropped, those of the last hour first. It joins no group and commits nothing.
#[derive(Debug)]
pub struct Monitor {
    heard: Arc<Mutex<Heard>>,
    cluster: Cluster,
    config: ClientConfig,
    _thread: Thread,
}

#[derive(Debug, Default)]
struct Heard {
    live: Live,
    fault: Option<ClientError>,
    /// What was on the topic when reading began is read.
    read: bool,
}

impl Monitor {
    /// Connects. The topic is waited for where it is not there yet, and [`View::fault`] says so.
    ///
    /// # Errors
    /// [`ClientError`] where the broker can't be reached within [`ClientConfig::connect_timeout`].
    pub async fn open(config: &ClientConfig) -> Result<Self, ClientError> {
        let cluster = config.cluster(config.connect_deadline()?).await?;
        // The last offsets may hold nothing, where a transaction left a gap: the broker tells the end.
        let reader = Reader::open(&config.kafka, &cluster, &[("enable.partition.eof", "true")])?;
        // A connection of its own to ask with: what is heard of that one while it fails is polled for and dropped.
        let asker = Reader::open(&config.kafka, &cluster, &[])?;
        let heard = Arc::<Mutex<Heard>>::default();
        let follower =
            Follower { reader, asker, topic: config.topics.snapshots.clone(), heard: Arc::clone(&heard) };
        let thread = Thread::start("client-live", move |running| follower.run(running))?;
        Ok(Self { heard, cluster, config: config.clone(), _thread: thread })
    }

    /// What is told of what was heard by now.
    #[must_use]
    pub fn view(&self, asked: &Asked) -> View {
        let heard = lock(&self.heard);
        let view = heard.live.view(asked, Timestamp::now());
        View { fault: heard.fault.as_ref().map(ToString::to_string), ..view }
    }

    /// What is wrong with the broker or the topic; none where nothing is known to be.
    #[must_use]
    pub fn fault(&self) -> Option<ClientError> {
        lock(&self.heard).fault.clone()
    }

    /// Whether what was on the topic when reading began is read.
    #[must_use]
    pub fn has_read(&self) -> bool {
        lock(&self.heard).read
    }

    /// Whether it reads from the broker that would be found now: where a worker runs an embedded one, another may run by now.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let named = self.config.kafka.bootstrap_servers.as_deref();
        match kafka::locate(named) {
            Ok(Some(found)) => found.bootstrap_servers == self.cluster.broker.bootstrap_servers,
            Ok(None) | Err(_) => true,
        }
    }

    /// Where it reads.
    #[must_use]
    pub fn broker(&self) -> &kafka::Broker {
        &self.cluster.broker
    }
}

struct Follower {
    reader: Reader,
    asker: Reader,
    topic: String,
    heard: Arc<Mutex<Heard>>,
}

impl Follower {
    fn run(self, running: &Running) {
        while running.go_on() {
            match self.begin() {
                Ok(ends) => {
                    self.fault(None);
                    self.follow(&ends, running);
                }
                Err(error) => {
                    self.fault(Some(error));
                    let until = Instant::now() + ASK;
                    while running.go_on() && Instant::now() < until {
                        std::thread::sleep(reading::POLL);
                    }
                }
            }
        }
    }

    /// Begins with what is an hour old; says where each partition ends now.
    fn begin(&self) -> Result<BTreeMap<i32, i64>, ClientError> {
        let (reader, topic) = (&self.reader, &self.topic);
        let deadline = Instant::now() + ANSWER;
        let address = || reader.cluster().broker.bootstrap_servers.clone();
        let found = self.asker.partitions_now(topic, deadline)?;
        let found = found.ok_or_else(|| ClientError::NoTopic { topic: topic.clone(), address: address() })?;
        if found.iter().any(|partition| !partition.led) {
            let partitions = reading::without_leader(&found);
            return Err(ClientError::NoLeader { topic: topic.clone(), partitions });
        }
        let partitions: Vec<_> = found.iter().map(|partition| partition.id).collect();
        let since: BTreeMap<_, _> = if reader.cluster().broker.embedded {
            // It knows no times, and holds little.
            partitions.iter().map(|&partition| (partition, 0)).collect()
        } else {
            let kept = i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX);
            let oldest = Timestamp::now().as_millisecond() - kept;
            self.asker.since(topic, &partitions, oldest, deadline)?.into_iter().collect()
        };
        let (mut ends, mut positions) = (BTreeMap::new(), Vec::new());
        for partition in partitions {
            let (low, high) = self.asker.bounds(topic, partition, deadline)?;
            ends.insert(partition, high);
            positions.push((partition, since.get(&partition).map_or(high, |from| (*from).max(low))));
        }
        reader.assign(topic, &positions)?;
        Ok(ends)
    }

    /// Reads on until the end, or until there are other partitions.
    fn follow(&self, ends: &BTreeMap<i32, i64>, running: &Running) {
        let (mut came, mut asked) = (Instant::now(), Instant::now());
        let mut faulty = false;
        let mut unread: BTreeSet<i32> = ends.keys().copied().collect();
        while running.go_on() {
            match self.reader.poll() {
                Some(Ok(message)) => {
                    came = Instant::now();
                    if std::mem::take(&mut faulty) {
                        self.fault(None);
                    }
                    let fresh = ends.get(&message.partition()).is_none_or(|end| message.offset() >= *end);
                    match message.payload().map(Snapshot::decode) {
                        Some(Ok(snapshot)) => {
                            let now = Timestamp::now();
                            let millis = message.timestamp().to_millis();
                            let written = millis.and_then(|at| Timestamp::from_millisecond(at).ok());
                            lock(&self.heard).live.take(snapshot, written.unwrap_or(now), now, fresh);
                        }
                        Some(Err(error)) => tracing::debug!(%error, offset = message.offset(), "no snapshot"),
                        None => {}
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    unread.remove(&partition);
                    lock(&self.heard).read |= unread.is_empty();
                }
                Some(Err(error)) => tracing::debug!(%error, "hearing snapshots"),
                None => {}
            }
            if came.elapsed() >= QUIET && asked.elapsed() >= ASK {
                let found = self.asker.partitions_now(&self.topic, Instant::now() + ANSWER);
                asked = Instant::now();
                let fault = match found {
                    Ok(Some(found)) if found.iter().all(|p| ends.contains_key(&p.id)) => None,
                    // It is gone, or another one.
                    Ok(_) => return,
                    Err(error) => Some(error),
                };
                faulty = fault.is_some();
                self.fault(fault);
            }
        }
    }

    fn fault(&self, fault: Option<ClientError>) {
        lock(&self.heard).fault = fault;
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
