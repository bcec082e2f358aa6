//! What workers say that they serve: the announcements topic, read once to its end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use wire::Announcement;

use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::reading::{self, Partition, Reader};

/// Announcements older than that are not read: several times as old as any that still holds, and clocks may differ by
/// minutes.
const OLDEST: Duration = Duration::from_secs(600);

/// What is served now: the last word of each worker on each model version, without what was taken back and without what
/// is past its time. Nothing where no worker has ever announced anything.
///
/// # Errors
/// [`ClientError`] where the broker can't be reached or the topic not be read within
/// [`ClientConfig::connect_timeout`] each.
pub async fn served_models(config: &ClientConfig) -> Result<Vec<Announcement>, ClientError> {
    let cluster = config.cluster(config.connect_deadline()?).await?;
    let deadline = config.connect_deadline()?;
    let config = config.clone();
    reading::blocking(move || {
        // The last offsets may hold nothing, where compaction or a transaction left a gap: the broker tells the end.
        let reader = Reader::open(&config.kafka, &cluster, &[("enable.partition.eof", "true")])?;
        let topic = &config.topics.models;
        // Not waited for: a topic that is not there says that nothing is announced.
        if reader.partitions_now(topic, deadline)?.is_none() {
            return Ok(Vec::new());
        }
        let all_led = |partitions: &[Partition]| partitions.iter().all(|p| p.led);
        let partitions: Vec<_> = reader.partitions(topic, deadline, all_led)?.iter().map(|p| p.id).collect();
        let now = Timestamp::now();
        let mut live = last_words(&reader, topic, &partitions, deadline)?;
        live.retain(|_, announcement| announcement.is_live(now));
        let mut live: Vec<_> = live.into_values().collect();
        live.sort_by(|a, b| (&a.model, a.version, &a.worker).cmp(&(&b.model, b.version, &b.worker)));
        Ok(live)
    })
    .await
}

/// The last value of each key, as compaction would leave them.
fn last_words(
    reader: &Reader,
    topic: &str,
    partitions: &[i32],
    deadline: Instant,
) -> Result<BTreeMap<Vec<u8>, Announcement>, ClientError> {
    let mut ends = BTreeMap::new();
    let mut positions = Vec::new();
    for (partition, from) in young(reader, topic, partitions, deadline)? {
        let (low, high) = reader.bounds(topic, partition, deadline)?;
        if from.max(low) < high {
            ends.insert(partition, high);
            positions.push((partition, from.max(low)));
        }
    }
    reader.assign(topic, &positions)?;
    let mut last = BTreeMap::new();
    while !ends.is_empty() {
        if Instant::now() >= deadline {
            return Err(ClientError::NotRead { topic: topic.to_owned() });
        }
        match reader.poll() {
            Some(Ok(message)) => {
                let key = message.key().unwrap_or_default().to_vec();
                match message.payload().map(Announcement::decode) {
                    Some(Ok(announcement)) => {
                        last.insert(key, announcement);
                    }
                    // A tombstone.
                    None => {
                        last.remove(&key);
                    }
                    Some(Err(error)) => {
                        tracing::debug!(%error, offset = message.offset(), "not an announcement")
                    }
                }
                if ends.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
                    ends.remove(&message.partition());
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ends.remove(&partition);
            }
            Some(Err(error)) => {
                let error = reader.fault(topic, error);
                if reading::is_final(&error) {
                    return Err(error);
                }
                tracing::debug!(%error, "reading announcements");
            }
            None => {}
        }
    }
    reader.unassign()?;
    Ok(last)
}

/// Where the young announcements begin. The embedded broker knows no times, and holds little.
pub(crate) fn young(
    reader: &Reader,
    topic: &str,
    partitions: &[i32],
    deadline: Instant,
) -> Result<Vec<(i32, i64)>, ClientError> {
    if reader.cluster().broker.embedded {
        return Ok(partitions.iter().map(|&partition| (partition, 0)).collect());
    }
    let oldest = Timestamp::now().as_millisecond() - i64::try_from(OLDEST.as_millis()).unwrap_or(i64::MAX);
    reader.since(topic, partitions, oldest, deadline)
}
