//! What workers say that they serve: the announcements topic, read once to its end.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use wire::Announcement;

use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::reading::{self, POLL, Reader};

/// What is served now: the last word of each worker on each model version, without what was taken back and without what
/// is past its time. Nothing where no worker has ever announced anything.
///
/// # Errors
/// [`ClientError`] where the broker can't be reached or the topic not be read within
/// [`ClientConfig::connect_timeout`] each.
pub async fn served_models(config: &ClientConfig) -> Result<Vec<Announcement>, ClientError> {
    let broker = config.broker(Instant::now() + config.connect_timeout).await?;
    let deadline = Instant::now() + config.connect_timeout;
    let config = config.clone();
    reading::blocking(move || {
        // The last offsets may hold nothing, where compaction or a transaction left a gap: the broker tells the end.
        let reader = reading::reader(&config.kafka, &broker, &[("enable.partition.eof", "true")])?;
        let topic = &config.topics.models;
        // Not waited for: a topic that is not there says that nothing is announced.
        let Some(partitions) = reading::partitions_now(&reader, topic, deadline)? else {
            return Ok(Vec::new());
        };
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
    for &partition in partitions {
        let (low, high) = reading::bounds(reader, topic, partition, deadline)?;
        if low < high {
            ends.insert(partition, high);
            positions.push((partition, low));
        }
    }
    reading::assign(reader, topic, &positions)?;
    let mut last = BTreeMap::new();
    while !ends.is_empty() {
        if Instant::now() >= deadline {
            return Err(ClientError::Kafka(format!("topic {topic} could not be read to its end in time")));
        }
        match reader.poll(POLL) {
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
            Some(Err(error)) => tracing::debug!(%error, "reading announcements"),
            None => {}
        }
    }
    reader.unassign().map_err(ClientError::kafka)?;
    Ok(last)
}
