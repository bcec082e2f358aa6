//! Reading partitions from a known position, with no group joined and nothing committed.

use std::time::{Duration, Instant};

use kafka::{Broker, LogContext, Role, Settings};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::error::ClientError;

pub(crate) type Reader = BaseConsumer<LogContext>;

/// How long one poll waits: what a thread needs at most to see that it is to stop.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// A consumer that has nothing assigned yet.
pub(crate) fn reader(
    settings: &Settings,
    broker: &Broker,
    more: &[(&str, &str)],
) -> Result<Reader, ClientError> {
    let mut config = settings.client_config(broker, Role::Consumer)?;
    // librdkafka asks for a name before it lets partitions be assigned by hand. No group of that name comes to be: nobody
    // joins it, and nothing is committed under it.
    config.set("group.id", "mlaas-client");
    config.remove("partition.assignment.strategy");
    config.extend(more.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
    config.create_with_context(LogContext).map_err(ClientError::kafka)
}

/// The partitions of a topic; `None` where it is not there now.
pub(crate) fn partitions_now(
    reader: &Reader,
    topic: &str,
    deadline: Instant,
) -> Result<Option<Vec<i32>>, ClientError> {
    let metadata = reader.fetch_metadata(Some(topic), left(deadline)).map_err(ClientError::kafka)?;
    let found = metadata.topics().iter().find(|t| t.name() == topic && !t.partitions().is_empty());
    Ok(found.map(|found| {
        let mut ids: Vec<i32> = found.partitions().iter().map(|p| p.id()).collect();
        ids.sort_unstable();
        ids
    }))
}

/// The partitions of a topic, waited for: a worker that makes it may be just starting.
pub(crate) fn partitions(
    reader: &Reader,
    topic: &str,
    broker: &Broker,
    deadline: Instant,
) -> Result<Vec<i32>, ClientError> {
    const PAUSE: Duration = Duration::from_millis(200);
    loop {
        if let Some(found) = partitions_now(reader, topic, deadline)? {
            return Ok(found);
        }
        if Instant::now() + PAUSE >= deadline {
            let address = broker.bootstrap_servers.clone();
            return Err(ClientError::NoTopic { topic: topic.to_owned(), address });
        }
        std::thread::sleep(PAUSE);
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// First and next offset of a partition.
pub(crate) fn bounds(
    reader: &Reader,
    topic: &str,
    partition: i32,
    deadline: Instant,
) -> Result<(i64, i64), ClientError> {
    reader.fetch_watermarks(topic, partition, left(deadline)).map_err(ClientError::kafka)
}

/// Reads those partitions from those offsets on.
pub(crate) fn assign(reader: &Reader, topic: &str, positions: &[(i32, i64)]) -> Result<(), ClientError> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for &(partition, offset) in positions {
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).map_err(ClientError::kafka)?;
    }
    reader.assign(&list).map_err(ClientError::kafka)
}

/// Runs blocking calls of librdkafka beside the runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    tokio::task::spawn_blocking(work).await.map_err(ClientError::kafka)?
}
