//! Which broker the worker uses, waiting for it, noticing when an embedded one that another worker runs goes away, and what
//! goes with one that ends.

use std::time::Duration;

use kafka::embedded::{DEFAULT_PARTITIONS, Joined};
use kafka::{Broker, EmbeddedBroker, EmbeddedError, Role, RuntimeDir, SettingsError, TopicError};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{ClientConfig, TopicPartitionList};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// How long one attempt to reach a broker takes before it is said that there is none.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long a question about a topic may take.
const ASK: Duration = Duration::from_secs(2);
/// Between two looks at a joined broker.
const LOOK: Duration = Duration::from_secs(1);
/// After that many looks in a row that found nothing, it is gone.
const LOOKS: u32 = 3;

/// A broker, and whose it is.
#[derive(Debug)]
pub enum BrokerSource {
    /// Configured.
    Configured(Broker),
    /// The embedded one of another worker of this user.
    Joined(Broker),
    /// An embedded one of this worker's.
    Own(EmbeddedBroker),
}

impl BrokerSource {
    /// The configured broker, else the embedded one that another worker runs, else a new one.
    ///
    /// # Errors
    /// [`EmbeddedError`] where there is none and none can be started.
    pub fn find(config: &Config, dir: &RuntimeDir) -> Result<Self, EmbeddedError> {
        if let Some(broker) = Broker::named(config.kafka.bootstrap_servers.as_deref()) {
            return Ok(Self::Configured(broker));
        }
        match EmbeddedBroker::join_or_start(dir, &config.topics.names.names(), DEFAULT_PARTITIONS)? {
            Joined::Found(broker) => {
                tracing::info!(broker = %broker.bootstrap_servers, "joining the embedded broker of another worker");
                Ok(Self::Joined(broker))
            }
            Joined::Started(broker) => {
                tracing::warn!(
                    broker = broker.bootstrap_servers(),
                    "no broker is configured: an embedded one was started, for development only, since it keeps \
                     nothing on disk and forgets past 5 MiB a partition; set --bootstrap-servers for a Kafka"
                );
                Ok(Self::Own(broker))
            }
        }
    }

    /// What to connect to.
    #[must_use]
    pub fn broker(&self) -> Broker {
        match self {
            Self::Configured(broker) | Self::Joined(broker) => broker.clone(),
            Self::Own(broker) => broker.broker(),
        }
    }

    /// Comes back when a joined broker has gone away; never for another one.
    pub async fn gone(&self) {
        let Self::Joined(broker) = self else { return std::future::pending().await };
        let mut missed = 0;
        while missed < LOOKS {
            tokio::time::sleep(LOOK).await;
            let answer = tokio::time::timeout(LOOK, TcpStream::connect(&broker.bootstrap_servers)).await;
            missed = if matches!(answer, Ok(Ok(_))) { 0 } else { missed + 1 };
        }
    }
}

/// How many requests of a topic the group of that consumer configuration has not answered. Blocks.
///
/// # Errors
/// librdkafka's, where the broker does not answer.
pub fn unanswered(consumer: &ClientConfig, topic: &str) -> KafkaResult<i64> {
    let consumer: BaseConsumer = consumer.create()?;
    let metadata = consumer.fetch_metadata(Some(topic), ASK)?;
    let mut asked = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        asked.add_partition(topic, partition.id());
    }
    let mut unanswered = 0;
    for element in consumer.committed_offsets(asked, ASK)?.elements() {
        let (low, high) = consumer.fetch_watermarks(topic, element.partition(), ASK)?;
        unanswered += high - element.offset().to_raw().unwrap_or_default().max(low);
    }
    Ok(unanswered)
}

/// Waits until a broker answers and the topics are there: services start in any order. Says what it waits for every few
/// seconds. None where the end was asked for before.
///
/// # Errors
/// [`SettingsError`] where the `kafka` section can't be used.
pub async fn reach(
    config: &Config,
    broker: Broker,
    end: &CancellationToken,
) -> Result<Option<Broker>, SettingsError> {
    let admin = config.kafka.client_config(&broker, Role::Admin)?;
    let mut told = false;
    loop {
        let cluster = tokio::select! {
            cluster = kafka::probe(&admin, ATTEMPT) => cluster,
            () = end.cancelled() => return Ok(None),
        };
        let cluster = match cluster {
            Ok(cluster) => cluster,
            Err(error) => {
                told = true;
                tracing::warn!("{error}; trying again");
                continue;
            }
        };
        let broker = Broker { embedded: cluster.embedded, ..broker.clone() };
        let specs = config.topics.specs();
        let (needed, others) = specs.split_at(kafka::Topics::NEEDED);
        let made: Result<(), TopicError> = tokio::select! {
            made = kafka::ensure(&admin, needed) => made,
            () = end.cancelled() => return Ok(None),
        };
        match made {
            Ok(()) => {
                if told {
                    tracing::info!(broker = %broker.bootstrap_servers, "the broker answers");
                }
                let made = tokio::select! {
                    made = kafka::ensure(&admin, others) => made,
                    () = end.cancelled() => return Ok(None),
                };
                if let Err(error) = made {
                    tracing::warn!(
                        "what shadow versions say is not published, nor what workers are asked to do heard, until it can be: {error}"
                    );
                }
                return Ok(Some(broker));
            }
            Err(error) => tracing::warn!("{error}; trying again"),
        }
        tokio::select! {
            () = tokio::time::sleep(ATTEMPT) => {}
            () = end.cancelled() => return Ok(None),
        }
    }
}
