//! Reading partitions from a known position, with no group joined and nothing committed.

use std::time::{Duration, Instant};

use kafka::{HearingContext, Role, Settings};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use crate::cluster::Cluster;
use crate::error::ClientError;

/// How long one poll waits: what a thread needs at most to see that it is to stop.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// Between two looks at something that is waited for.
const PAUSE: Duration = Duration::from_millis(200);

/// How long one question waits at most: librdkafka counts milliseconds in 32 bits.
const ONE_QUESTION: Duration = Duration::from_secs(60);

/// Reads topics of one cluster.
pub(crate) struct Reader {
    consumer: BaseConsumer<HearingContext>,
    context: HearingContext,
    cluster: Cluster,
}

/// A partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) id: i32,
    /// A broker leads it now, so that it can be read and written.
    pub(crate) led: bool,
}

impl Reader {
    /// One that has nothing assigned yet.
    pub(crate) fn open(
        settings: &Settings,
        cluster: &Cluster,
        more: &[(&str, &str)],
    ) -> Result<Self, ClientError> {
        let mut config = settings.client_config(&cluster.broker, Role::Consumer)?;
        // librdkafka asks for a name before it lets partitions be assigned by hand. No group of that name comes to be:
        // nobody joins it, and nothing is committed under it.
        config.set("group.id", "mlaas-client");
        config.remove("partition.assignment.strategy");
        config.extend(more.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
        let context = HearingContext::default();
        let consumer = config.create_with_context(context.clone()).map_err(ClientError::Kafka)?;
        Ok(Self { consumer, context, cluster: cluster.clone() })
    }

    /// The partitions of a topic; `None` where it is not there now.
    pub(crate) fn partitions_now(
        &self,
        topic: &str,
        deadline: Instant,
    ) -> Result<Option<Vec<Partition>>, ClientError> {
        let metadata = self.consumer.fetch_metadata(Some(topic), left(deadline));
        let metadata = metadata.map_err(|error| self.unassigned_fault(topic, error))?;
        let Some(found) = metadata.topics().iter().find(|t| t.name() == topic) else { return Ok(None) };
        if found.error() == Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
            let address = self.cluster.broker.bootstrap_servers.clone();
            return Err(ClientError::NotAllowed { topic: topic.to_owned(), address });
        }
        let partition =
            |p: &rdkafka::metadata::MetadataPartition| Partition { id: p.id(), led: p.leader() >= 0 };
        let mut partitions: Vec<_> = found.partitions().iter().map(partition).collect();
        partitions.sort_unstable_by_key(|p| p.id);
        Ok((!partitions.is_empty()).then_some(partitions))
    }

    /// The partitions of a topic, waited for until it is there, as a worker that makes it may be just starting, and until
    /// `enough` of them are led.
    pub(crate) fn partitions(
        &self,
        topic: &str,
        deadline: Instant,
        enough: impl Fn(&[Partition]) -> bool,
    ) -> Result<Vec<Partition>, ClientError> {
        loop {
            let found = self.partitions_now(topic, deadline)?;
            if let Some(found) = found.as_ref().filter(|found| enough(found)) {
                return Ok(found.clone());
            }
            if Instant::now() + PAUSE >= deadline {
                let topic = topic.to_owned();
                return Err(match found {
                    Some(found) => ClientError::NoLeader { topic, partitions: without_leader(&found) },
                    None => {
                        let address = self.cluster.broker.bootstrap_servers.clone();
                        ClientError::NoTopic { topic, address }
                    }
                });
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// First and next offset of a partition.
    pub(crate) fn bounds(
        &self,
        topic: &str,
        partition: i32,
        deadline: Instant,
    ) -> Result<(i64, i64), ClientError> {
        self.ask(topic, deadline, |time| self.consumer.fetch_watermarks(topic, partition, time))
    }

    /// Asks again while all that is wrong is that the partition's leader is not the one that was asked, or is none yet: so it is
    /// where a topic was just made, or a broker has gone.
    fn ask<T>(
        &self,
        topic: &str,
        deadline: Instant,
        question: impl Fn(Duration) -> KafkaResult<T>,
    ) -> Result<T, ClientError> {
        loop {
            match question(left(deadline)) {
                Err(error) if leader_moves(&error) && Instant::now() + PAUSE < deadline => {
                    tracing::debug!(%error, topic, "asking again");
                    std::thread::sleep(PAUSE);
                }
                answer => return answer.map_err(|error| self.unassigned_fault(topic, error)),
            }
        }
    }

    /// For each partition its first offset of a record as young as that, in milliseconds of Unix time; none where there
    /// is no such record.
    pub(crate) fn since(
        &self,
        topic: &str,
        partitions: &[i32],
        milliseconds: i64,
        deadline: Instant,
    ) -> Result<Vec<(i32, i64)>, ClientError> {
        // Where offsets stand in other questions, times do in this one.
        let times: Vec<_> = partitions.iter().map(|&partition| (partition, milliseconds)).collect();
        let list = kafka::positions(topic, &times).map_err(ClientError::Kafka)?;
        let found = self.ask(topic, deadline, |time| {
            let found = self.consumer.offsets_for_times(list.clone(), time)?;
            found.elements().iter().try_for_each(|element| element.error())?;
            Ok(found)
        })?;
        let mut since = Vec::new();
        for element in found.elements() {
            if let Offset::Offset(offset) = element.offset() {
                since.push((element.partition(), offset));
            }
        }
        Ok(since)
    }

    /// Reads those partitions from those offsets on.
    pub(crate) fn assign(&self, topic: &str, positions: &[(i32, i64)]) -> Result<(), ClientError> {
        let list = kafka::positions(topic, positions).map_err(ClientError::Kafka)?;
        self.consumer.assign(&list).map_err(ClientError::Kafka)
    }

    /// Reads none any more.
    pub(crate) fn unassign(&self) -> Result<(), ClientError> {
        self.consumer.unassign().map_err(ClientError::Kafka)
    }

    /// The next record, or what librdkafka has to say; nothing after [`POLL`].
    pub(crate) fn poll(&self) -> Option<Result<BorrowedMessage<'_>, KafkaError>> {
        self.consumer.poll(POLL)
    }

    /// The same, while nothing is assigned: what was heard of connections waits in a queue until it is polled for.
    fn unassigned_fault(&self, topic: &str, error: KafkaError) -> ClientError {
        for _ in 0..32 {
            if let Some(Err(error)) = self.consumer.poll(Duration::ZERO) {
                tracing::debug!(%error, "asking for a topic");
            }
        }
        self.fault(topic, error)
    }

    /// What it means that a call about a topic failed.
    pub(crate) fn fault(&self, topic: &str, error: KafkaError) -> ClientError {
        self.cluster.fault(topic, error, self.context.heard())
    }

    /// Where it reads.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}

/// The ids of those that no broker leads.
pub(crate) fn without_leader(partitions: &[Partition]) -> Vec<i32> {
    partitions.iter().filter(|p| !p.led).map(|p| p.id).collect()
}

/// Whether an error of the consumer's lasts until somebody does something, unlike one that librdkafka itself tries again.
pub(crate) fn is_final(error: &ClientError) -> bool {
    matches!(error, ClientError::NotAllowed { .. })
}

fn leader_moves(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::NotLeaderForPartition | Code::LeaderNotAvailable | Code::UnknownTopicOrPartition)
    )
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), ONE_QUESTION)
}

/// Runs blocking calls of librdkafka beside the runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ClientError::Thread(error.to_string()))?
}
