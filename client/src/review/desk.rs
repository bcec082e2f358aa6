//! The last images on the review topic and what people say of them, kept up to date by a thread, for whoever asks often. Only what is said of
//! an image is kept; its bytes are read when somebody asks for them.

mod follow;
mod table;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use tokio::sync::{Semaphore, watch};
use wire::Label;

use self::follow::Follower;
use self::table::Table;
use super::Item;
use crate::cluster::Cluster;
use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::pending;
use crate::reading::{self, Reader};
use crate::sending::Sending;
use crate::thread::Thread;
use crate::writing;

pub use self::table::{Cursor, Order, Page, Query, Shown};

/// How many images are read at once.
const AT_ONCE: usize = 4;
/// How long one may take to be read.
const READ: Duration = Duration::from_secs(10);

/// Where a record lies on the review topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Its partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.partition, self.offset)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        text.split_once('-')
            .filter(|(partition, offset)| number(partition) && number(offset))
            .and_then(|(p, o)| Some(Self { partition: p.parse().ok()?, offset: o.parse().ok()? }))
            .ok_or_else(|| "an image's id is two numbers, as 0-17".to_owned())
    }
}

/// What is known, and the way to say more.
#[derive(Debug)]
pub struct Desk {
    shared: Arc<Shared>,
    read: watch::Receiver<bool>,
    _thread: Thread,
}

pub(super) struct Shared {
    config: ClientConfig,
    cluster: Cluster,
    table: RwLock<Table>,
    fault: Mutex<Option<ClientError>>,
    sending: Sending,
    waiting: Arc<pending::Table>,
    idle: Mutex<Vec<Reader>>,
    places: Semaphore,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

impl Shared {
    fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        change(&mut self.table.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_fault(&self, fault: Option<ClientError>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}

impl Desk {
    /// Connects, and begins to read the last `keep` images and all labels.
    ///
    /// # Errors
    /// [`ClientError`] where the broker can't be reached or a topic is not there.
    pub async fn open(config: &ClientConfig, keep: usize) -> Result<Self, ClientError> {
        let deadline = config.connect_deadline()?;
        let cluster = config.cluster(deadline).await?;
        let waiting = Arc::<pending::Table>::default();
        let topic = &config.topics.labels;
        let sending = Sending::start(&config.kafka, &cluster.broker, topic, Arc::clone(&waiting))?;
        let shared = Arc::new(Shared {
            config: config.clone(),
            cluster,
            table: RwLock::new(Table::new(keep)),
            fault: Mutex::default(),
            sending,
            waiting,
            idle: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
        });
        reading::blocking(move || {
            let (read_to_its_end, read) = watch::channel(false);
            let follower = Follower::open(&shared.config, &shared.cluster, keep, deadline)?;
            let followed = Arc::clone(&shared);
            let thread = Thread::start("client-desk", move |running| {
                follower.follow(&followed, &read_to_its_end, running);
            })?;
            Ok(Self { shared, read, _thread: thread })
        })
        .await
    }

    /// Waits until all is read that there was in the beginning, for that long at most; whether it is.
    pub async fn is_read(&self, limit: Duration) -> bool {
        let mut read = self.read.clone();
        matches!(tokio::time::timeout(limit, read.wait_for(|read| *read)).await, Ok(Ok(_)))
    }

    /// Why what is said now can't be heard, where it can't.
    #[must_use]
    pub fn fault(&self) -> Option<ClientError> {
        self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Some of the images.
    #[must_use]
    pub fn page(&self, query: &Query) -> Page {
        self.table(|table| table.page(query))
    }

    /// One of them, and what is said of it.
    #[must_use]
    pub fn find(&self, place: Place) -> Option<Shown> {
        self.table(|table| table.find(place))
    }

    /// All labels that are known of a model: those that it gave images and that people did.
    #[must_use]
    pub fn labels(&self, model: &str) -> BTreeSet<String> {
        self.table(|table| table.labels(model))
    }

    fn table<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(&self.shared.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes what a person says of an image; known here when the broker has it.
    ///
    /// # Errors
    /// [`ClientError`] where it is not taken in time.
    pub async fn say(&self, label: Label) -> Result<(), ClientError> {
        self.write(label.key(), Some(label)).await
    }

    /// Takes back what was said of an image.
    ///
    /// # Errors
    /// [`ClientError`] where it is not taken in time.
    pub async fn take_back(&self, item: &Item) -> Result<(), ClientError> {
        self.write(item.review.label_key(), None).await
    }

    async fn write(&self, key: String, label: Option<Label>) -> Result<(), ClientError> {
        let Shared { sending, waiting, config, .. } = &*self.shared;
        let value = label.as_ref().map(Label::encode);
        writing::send(sending, waiting, config, key.clone(), value).await?;
        self.shared.change(|table| table.said(key, label));
        Ok(())
    }

    /// The bytes of an image; none where its record is not on the topic any more.
    ///
    /// # Errors
    /// [`ClientError`] where the topic can't be read in time.
    pub async fn image(&self, item: &Item) -> Result<Option<Vec<u8>>, ClientError> {
        let _place = self.shared.places.acquire().await.map_err(|_| ClientError::Closed)?;
        let (shared, place) = (Arc::clone(&self.shared), item.place);
        reading::blocking(move || {
            let idle = shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let reader = match idle {
                Some(reader) => reader,
                // One record is wanted, and nothing of what lies behind it.
                None => Reader::open(
                    &shared.config.kafka,
                    &shared.cluster,
                    &[
                        ("enable.partition.eof", "true"),
                        ("queued.min.messages", "1"),
                        ("queued.max.messages.kbytes", "1"),
                        ("fetch.message.max.bytes", "1024"),
                        ("fetch.wait.max.ms", "10"),
                    ],
                )?,
            };
            let image = image(&reader, &shared.config.topics.review, place);
            // One that failed is not used again.
            if image.is_ok() {
                reader.unassign()?;
                shared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
            }
            image
        })
        .await
    }
}

fn image(reader: &Reader, topic: &str, place: Place) -> Result<Option<Vec<u8>>, ClientError> {
    let deadline = Instant::now() + READ;
    let (low, high) = reader.bounds(topic, place.partition, deadline)?;
    if !(low..high).contains(&place.offset) {
        return Ok(None);
    }
    reader.assign(topic, &[(place.partition, place.offset)])?;
    while Instant::now() < deadline {
        match reader.poll() {
            Some(Ok(message)) => {
                // Where the record has gone, the next one is there.
                let it = (message.partition(), message.offset()) == (place.partition, place.offset);
                return Ok(message.payload().filter(|_| it).map(<[u8]>::to_vec));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(error)) => {
                let error = reader.fault(topic, error);
                if reading::is_final(&error) {
                    return Err(error);
                }
                tracing::debug!(%error, "reading an image");
            }
            None => {}
        }
    }
    Err(ClientError::NotRead { topic: topic.to_owned() })
}
