//! A broker inside the process, for a first try and for tests: librdkafka's mock cluster, real TCP on 127.0.0.1.
//! **Development only**: nothing is on disk, and each partition silently forgets its oldest records past 5 MiB.
//!
//! This is the only module that knows the mock cluster, whose API is marked experimental. It can't leave the thread that
//! made it, so one thread owns it and is told what to do.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, Producer};

use crate::locate::{Address, Broker, LocateError, RuntimeDir};
use crate::log::LogContext;

#[cfg(feature = "faults")]
mod faults;

#[cfg(feature = "faults")]
pub use faults::{ApiKey, RespErr};

/// Partitions a topic, where nothing else is asked for.
pub const DEFAULT_PARTITIONS: i32 = 4;
/// The most partitions a topic: each may come to hold 5 MiB of memory.
pub const MAX_PARTITIONS: i32 = 16;
/// How many bytes of unanswered requests one sender keeps on it at most. All of them may hash to one partition, which
/// holds 5 MiB, and a second sender must fit beside.
pub const WINDOW_BYTES: usize = 2 << 20;
/// The largest record that may be sent to it, in bytes. Where a record pushes out *all* the others of its partition, the
/// mock cluster of librdkafka 2.12 sets the partition's start behind it, so that nobody can read it. Two neighbours that
/// fit into 5 MiB together never do that: half of it, less the frame and the headers that a dead letter adds.
pub const MAX_RECORD_BYTES: usize = 2_500_000;
/// What producers are held to: [`MAX_RECORD_BYTES`] and the headers of a dead letter, under half of 5 MiB.
pub(crate) const MESSAGE_MAX_BYTES: usize = 2_600_000;

/// How long a first member of a group waits for others; 3 s by the mock cluster's default.
const GROUP_INITIAL_REBALANCE_DELAY_MS: i32 = 200;

/// A running embedded broker. Dropping it ends it and takes its address file away.
#[derive(Debug)]
pub struct EmbeddedBroker {
    bootstrap_servers: String,
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    published: Option<Published>,
}

/// Where its address is published. The file stays locked as long as this lives, which says that the broker does.
#[derive(Debug)]
struct Published {
    dir: RuntimeDir,
    _locked: File,
}

type Cluster<'a> = MockCluster<'a, LogContext>;
type Order = Box<dyn FnOnce(&Cluster<'_>) + Send>;

/// Why the embedded broker does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Out of range.
    #[error("{0} partitions: the embedded broker takes 1 to {MAX_PARTITIONS}")]
    Partitions(i32),
    /// librdkafka refused.
    #[error("the embedded broker can't do that: {0}")]
    Kafka(#[from] KafkaError),
    /// Its thread can't be started.
    #[error("the embedded broker's thread can't be started: {0}")]
    Spawn(#[source] io::Error),
    /// Its thread is gone.
    #[error("the embedded broker's thread ended: stop this program, and start it again")]
    Gone,
    /// Another one is running and published.
    #[error("an embedded broker is running at {} already: use that one", .0.bootstrap_servers)]
    Taken(Broker),
    /// The runtime folder can't be used.
    #[error(transparent)]
    Locate(#[from] LocateError),
}

/// What [`EmbeddedBroker::join_or_start`] did.
#[derive(Debug)]
pub enum Joined {
    /// Another process runs one.
    Found(Broker),
    /// This process runs it now, and its address is published.
    Started(EmbeddedBroker),
}

impl EmbeddedBroker {
    /// Starts one with those topics.
    ///
    /// # Errors
    /// [`EmbeddedError`] where `partitions` is not from 1 to [`MAX_PARTITIONS`] or no port can be had.
    pub fn start(topics: &[&str], partitions: i32) -> Result<Self, EmbeddedError> {
        if !(1..=MAX_PARTITIONS).contains(&partitions) {
            return Err(EmbeddedError::Partitions(partitions));
        }
        let topics: Vec<String> = topics.iter().map(|&t| t.to_owned()).collect();
        let (orders, inbox) = mpsc::channel();
        let (started, start) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("embedded-broker".to_owned())
            .spawn(move || run(&topics, partitions, &started, &inbox))
            .map_err(EmbeddedError::Spawn)?;
        let bootstrap_servers = start.recv().map_err(|_| EmbeddedError::Gone)??;
        Ok(Self { bootstrap_servers, orders: Some(orders), thread: Some(thread), published: None })
    }

    /// Finds the one that another process of this user runs, else starts and publishes one. Of two processes that do
    /// this at once, one starts and the other finds it: both hold the runtime folder's lock while they look.
    ///
    /// # Errors
    /// As [`Self::start`] and [`Self::publish_in`].
    pub fn join_or_start(
        dir: &RuntimeDir,
        topics: &[&str],
        partitions: i32,
    ) -> Result<Joined, EmbeddedError> {
        let _lock = lock(dir)?;
        if let Some(broker) = dir.embedded_broker()? {
            return Ok(Joined::Found(broker));
        }
        let mut broker = Self::start(topics, partitions)?;
        broker.write_address(dir)?;
        Ok(Joined::Started(broker))
    }

    /// Where it listens, `127.0.0.1:port`.
    #[must_use]
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// It, as a broker to connect to.
    #[must_use]
    pub fn broker(&self) -> Broker {
        Broker::embedded(&self.bootstrap_servers)
    }

    /// Writes its address into that folder, atomically.
    ///
    /// # Errors
    /// [`EmbeddedError::Taken`] where another one that lives is published there; [`EmbeddedError::Locate`] where the
    /// folder can't be used.
    pub fn publish_in(&mut self, dir: &RuntimeDir) -> Result<(), EmbeddedError> {
        let _lock = lock(dir)?;
        match dir.embedded_broker()? {
            Some(other) if other.bootstrap_servers != self.bootstrap_servers => {
                Err(EmbeddedError::Taken(other))
            }
            _ => self.write_address(dir),
        }
    }

    fn write_address(&mut self, dir: &RuntimeDir) -> Result<(), EmbeddedError> {
        let text = serde_json::to_vec(&self.address()).map_err(|e| dir.error(e.into()))?;
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(dir.path())?;
            file.write_all(&text)?;
            // Before it has the name under which others look.
            file.as_file().lock()?;
            file.persist(dir.address_file()).map_err(|e| e.error)
        };
        let locked = write().map_err(|e| dir.error(e))?;
        self.published = Some(Published { dir: dir.clone(), _locked: locked });
        Ok(())
    }

    fn address(&self) -> Address {
        Address { bootstrap_servers: self.bootstrap_servers.clone(), pid: std::process::id().cast_signed() }
    }

    /// Adds a topic.
    ///
    /// # Errors
    /// [`EmbeddedError`] where `partitions` is out of range or the topic exists.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), EmbeddedError> {
        if !(1..=MAX_PARTITIONS).contains(&partitions) {
            return Err(EmbeddedError::Partitions(partitions));
        }
        let name = name.to_owned();
        self.order(move |cluster| cluster.create_topic(&name, partitions, 1))
    }

    fn order(
        &self,
        order: impl FnOnce(&Cluster<'_>) -> Result<(), KafkaError> + Send + 'static,
    ) -> Result<(), EmbeddedError> {
        let (answer, answered) = mpsc::channel();
        let order: Order = Box::new(move |cluster| {
            // Whoever asked waits below.
            answer.send(order(cluster)).ok();
        });
        self.orders.as_ref().ok_or(EmbeddedError::Gone)?.send(order).map_err(|_| EmbeddedError::Gone)?;
        answered.recv().map_err(|_| EmbeddedError::Gone)?.map_err(EmbeddedError::Kafka)
    }

    fn unpublish(&mut self) {
        let Some(published) = self.published.take() else { return };
        let Ok(_lock) = lock(&published.dir) else { return };
        let path = published.dir.address_file();
        // Only its own: another may have been published since.
        let own = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Address>(&text).ok());
        if own == Some(self.address())
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::debug!(file = %path.display(), %error, "the address file stays");
        }
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.unpublish();
        drop(self.orders.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::debug!("the embedded broker's thread panicked");
        }
    }
}

/// Holds the runtime folder until the file is dropped. The lock file stays: to remove it would let two hold the lock.
fn lock(dir: &RuntimeDir) -> Result<File, LocateError> {
    dir.create()?;
    let open = || {
        let file = File::options().create(true).truncate(false).write(true).open(dir.lock_file())?;
        file.lock()?;
        Ok(file)
    };
    open().map_err(|e| dir.error(e))
}

type Started = mpsc::Sender<Result<String, KafkaError>>;

/// The thread that owns the mock cluster, until nobody can send orders any more.
fn run(topics: &[String], partitions: i32, started: &Started, inbox: &mpsc::Receiver<Order>) {
    let producer = match producer() {
        Ok(producer) => producer,
        Err(error) => {
            started.send(Err(error)).ok();
            return;
        }
    };
    let Some(cluster) = producer.client().mock_cluster() else {
        let reason = "librdkafka made no mock cluster".to_owned();
        started.send(Err(KafkaError::ClientCreation(reason))).ok();
        return;
    };
    shorten_first_join(&producer);
    let made = topics.iter().try_for_each(|topic| cluster.create_topic(topic, partitions, 1));
    let failed = made.is_err();
    if started.send(made.map(|()| cluster.bootstrap_servers())).is_err() || failed {
        return;
    }
    loop {
        match inbox.recv_timeout(Duration::from_secs(1)) {
            Ok(order) => order(&cluster),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // Its log lines wait in a queue until they are polled for.
        producer.poll(Duration::ZERO);
    }
}

/// A producer whose broker is a mock cluster that lives as long as it does.
fn producer() -> Result<BaseProducer<LogContext>, KafkaError> {
    ClientConfig::new().set("test.mock.num.brokers", "1").create_with_context(LogContext)
}

/// Lets the first member of a group start after 0.2 s.
#[allow(unsafe_code)]
fn shorten_first_join(producer: &BaseProducer<LogContext>) {
    use rdkafka::bindings;
    // SAFETY: the handle is valid while `producer` is borrowed, the mock cluster that it owns is valid as long, and a
    // null pointer is not passed on. The call stores one number, before any member can have joined.
    unsafe {
        let cluster = bindings::rd_kafka_handle_mock_cluster(producer.client().native_ptr());
        if !cluster.is_null() {
            bindings::rd_kafka_mock_group_initial_rebalance_delay_ms(
                cluster,
                GROUP_INITIAL_REBALANCE_DELAY_MS,
            );
        }
    }
}
