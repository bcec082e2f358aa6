//! Images that people look at: what workers are not sure of lies on the review topic, and what people say of it on the labels topic.
//!
//! - [`items`] and [`labels`]: both topics, read once to their end; [`say`] and [`take_back`]: a label.
//! - [`desk`]: the last images and all that is said of them, kept up to date for whoever asks often.
//! - [`export()`]: a folder of labelled images, as `model train` takes it; [`mod@name`]: what its folders are called.

pub mod desk;
pub mod export;
pub mod name;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use wire::{Headers, Label, Review};

use crate::cluster::Cluster;
use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::reading::{self, Partition, Reader};
use crate::writing;

pub use desk::{Cursor, Desk, Order, Page, Place, Query, Shown};
pub use export::{ExportError, Exported, export};
pub use name::folder_name;

/// An image on the review topic, without its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Where its record lies.
    pub place: Place,
    /// When it was written, by the broker's clock or the worker's.
    pub written: Option<Timestamp>,
    /// The size of its file.
    pub bytes: usize,
    /// What was said of it.
    pub review: Review,
}

/// The images on the topic, the oldest first, of those written since a time where one is given.
///
/// # Errors
/// [`ClientError`] where the broker can't be reached, or nothing more comes of the topic for [`ClientConfig::connect_timeout`].
pub async fn items(config: &ClientConfig, since: Option<Timestamp>) -> Result<Vec<Item>, ClientError> {
    let cluster = config.cluster(config.connect_deadline()?).await?;
    let config = config.clone();
    reading::blocking(move || {
        let mut all = Vec::new();
        each_item(&config, &cluster, since, |item, _| {
            all.push(item);
            Ok::<_, ClientError>(true)
        })?;
        Ok(all)
    })
    .await
}

/// What people say, by key ([`Label::key`]); nothing where nobody has said anything.
///
/// # Errors
/// As [`items`].
pub async fn labels(config: &ClientConfig) -> Result<BTreeMap<String, Label>, ClientError> {
    let cluster = config.cluster(config.connect_deadline()?).await?;
    let config = config.clone();
    reading::blocking(move || all_labels(&config, &cluster)).await
}

/// Writes what a person says of an image, within [`ClientConfig::timeout`].
///
/// # Errors
/// [`ClientError`] where the broker can't be reached, the topic is not there, or it does not take the record in time.
pub async fn say(config: &ClientConfig, label: &Label) -> Result<(), ClientError> {
    writing::write(config, &config.topics.labels, label.key(), Some(label.encode())).await
}

/// Takes back what was said of an image, if anything was.
///
/// # Errors
/// As [`say`].
pub async fn take_back(config: &ClientConfig, model: &str, image: &str) -> Result<(), ClientError> {
    writing::write(config, &config.topics.labels, wire::label::key(model, image), None).await
}

pub(crate) fn all_labels(
    config: &ClientConfig,
    cluster: &Cluster,
) -> Result<BTreeMap<String, Label>, ClientError> {
    let mut labels = BTreeMap::new();
    read(config, cluster, &config.topics.labels, None, |message| {
        match label(message) {
            Some((key, Some(label))) => drop(labels.insert(key, label)),
            Some((key, None)) => drop(labels.remove(&key)),
            None => {}
        }
        Ok::<_, ClientError>(true)
    })?;
    Ok(labels)
}

/// Calls `visit` with each image and its bytes, until it says that it needs no more.
pub(crate) fn each_item<E: From<ClientError>>(
    config: &ClientConfig,
    cluster: &Cluster,
    since: Option<Timestamp>,
    mut visit: impl FnMut(Item, &[u8]) -> Result<bool, E>,
) -> Result<(), E> {
    read(config, cluster, &config.topics.review, since, |message| match item(message) {
        Some(item) => visit(item, message.payload().unwrap_or_default()),
        None => Ok(true),
    })
}

/// The image that a record holds, if it holds one.
pub(crate) fn item(message: &BorrowedMessage<'_>) -> Option<Item> {
    let headers: Headers = kafka::from_headers(message).unwrap_or_default().into_iter().collect();
    let place = Place { partition: message.partition(), offset: message.offset() };
    let bytes = message.payload().map_or(0, <[u8]>::len);
    match Review::decode(&headers) {
        Ok(review) if bytes > 0 => {
            let written = message.timestamp().to_millis().and_then(|ms| Timestamp::from_millisecond(ms).ok());
            Some(Item { place, written, bytes, review })
        }
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(%error, offset = place.offset, "no image for review");
            None
        }
    }
}

/// A label's key, and the label; no label where it was taken back. What can't be read, or lies under another's key, is none.
pub(crate) fn label(message: &BorrowedMessage<'_>) -> Option<(String, Option<Label>)> {
    let key = std::str::from_utf8(message.key()?).ok()?.to_owned();
    match message.payload().map(Label::decode) {
        None => Some((key, None)),
        Some(Ok(label)) if label.key() == key => Some((key, Some(label))),
        Some(Ok(_)) => {
            tracing::debug!(key, "a label under the key of another image");
            None
        }
        Some(Err(error)) => {
            tracing::debug!(%error, key, "no label");
            None
        }
    }
}

/// Reads a topic to the end that it has now. One that is not there has nothing.
fn read<E: From<ClientError>>(
    config: &ClientConfig,
    cluster: &Cluster,
    topic: &str,
    since: Option<Timestamp>,
    mut visit: impl FnMut(&BorrowedMessage<'_>) -> Result<bool, E>,
) -> Result<(), E> {
    let deadline = config.connect_deadline()?;
    // The last offsets may hold nothing, where compaction left a gap: the broker tells the end.
    let reader = Reader::open(&config.kafka, cluster, &[("enable.partition.eof", "true")])?;
    if reader.partitions_now(topic, deadline)?.is_none() {
        return Ok(());
    }
    let all_led = |partitions: &[Partition]| partitions.iter().all(|p| p.led);
    let ids: Vec<_> = reader.partitions(topic, deadline, all_led)?.iter().map(|p| p.id).collect();
    let from: HashMap<i32, i64> = match since {
        Some(since) => reader.since(topic, &ids, since.as_millisecond(), deadline)?.into_iter().collect(),
        None => HashMap::new(),
    };
    let (mut ends, mut positions) = (HashMap::new(), Vec::new());
    for id in ids {
        let (low, high) = reader.bounds(topic, id, deadline)?;
        let start = match since {
            // Where there is none as young as that, there is none.
            Some(_) => from.get(&id).map_or(high, |from| (*from).max(low)),
            None => low,
        };
        if start < high {
            ends.insert(id, high);
            positions.push((id, start));
        }
    }
    reader.assign(topic, &positions)?;
    let mut last = Instant::now();
    while !ends.is_empty() {
        match reader.poll() {
            Some(Ok(message)) => {
                last = Instant::now();
                let (partition, next) = (message.partition(), message.offset() + 1);
                if ends.get(&partition).is_some_and(|end| message.offset() < *end) && !visit(&message)? {
                    break;
                }
                if ends.get(&partition).is_some_and(|end| next >= *end) {
                    ends.remove(&partition);
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ends.remove(&partition)),
            Some(Err(error)) => {
                let error = reader.fault(topic, error);
                if reading::is_final(&error) {
                    return Err(error.into());
                }
                tracing::debug!(%error, topic, "reading");
            }
            None => {}
        }
        if last.elapsed() >= config.connect_timeout.max(Duration::from_secs(1)) {
            return Err(ClientError::NotRead { topic: topic.to_owned() }.into());
        }
    }
    reader.unassign()?;
    Ok(())
}
