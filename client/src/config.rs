//! How to connect.

use std::time::{Duration, Instant};

use kafka::{Role, Settings, Topics};

use crate::cluster::Cluster;
use crate::error::ClientError;

/// Which partition of the results topic a client's answers come on. Several may share one: an answer is told by its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReplyPartition {
    /// Any, so that clients spread over them.
    #[default]
    Any,
    /// One that goes with that name: the same at each start, as long as a broker leads it.
    OfName(String),
}

/// How to connect. Begin with [`ClientConfig::new`] or the default and change what is to differ.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The broker and how to talk to it. Where it names none, the embedded one of this user is looked for.
    pub kafka: Settings,
    /// The topics.
    pub topics: Topics,
    /// The `ce_source` of requests, a URI reference.
    pub source: String,
    /// Which partition of the results topic its answers come on.
    pub reply_partition: ReplyPartition,
    /// For how long to try to reach the broker and to find the topics there. Not zero; a very large one is no limit.
    pub connect_timeout: Duration,
    /// The time-out of a request whose options have none. Not zero; a very large one is no limit.
    pub timeout: Duration,
    /// How many requests are open at most; further ones wait.
    pub max_in_flight: usize,
    /// How many bytes of open requests there are at most; a larger one goes alone. The embedded broker's own bound of
    /// [`kafka::embedded::WINDOW_BYTES`] holds beside it.
    pub max_in_flight_bytes: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            kafka: Settings::default(),
            topics: Topics::default(),
            source: "/mlaas/client".to_owned(),
            reply_partition: ReplyPartition::Any,
            connect_timeout: Duration::from_secs(6),
            timeout: Duration::from_secs(30),
            max_in_flight: 1024,
            max_in_flight_bytes: 64 << 20,
        }
    }
}

impl ClientConfig {
    /// The defaults with that broker, `host:port`, several with commas.
    #[must_use]
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        let mut config = Self::default();
        config.kafka.bootstrap_servers = Some(bootstrap_servers.into());
        config
    }

    /// With those settings of the connection.
    #[must_use]
    pub fn kafka(self, kafka: Settings) -> Self {
        Self { kafka, ..self }
    }

    /// With those topics.
    #[must_use]
    pub fn topics(self, topics: Topics) -> Self {
        Self { topics, ..self }
    }

    /// With that `ce_source`.
    #[must_use]
    pub fn source(self, source: impl Into<String>) -> Self {
        Self { source: source.into(), ..self }
    }

    /// With its answers on that partition.
    #[must_use]
    pub fn reply_partition(self, reply_partition: ReplyPartition) -> Self {
        Self { reply_partition, ..self }
    }

    /// With that limit on connecting.
    #[must_use]
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// With that time-out for requests.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// With at most that many requests open, and that many bytes of them.
    #[must_use]
    pub fn max_in_flight(self, requests: usize, bytes: usize) -> Self {
        Self { max_in_flight: requests, max_in_flight_bytes: bytes, ..self }
    }

    /// Sees that librdkafka takes the settings and Kafka the topics' names, with no connection made.
    ///
    /// # Errors
    /// One sentence, the first that is wrong.
    pub fn check(&self) -> Result<(), String> {
        self.topics.check().map_err(|error| error.to_string())?;
        for role in [Role::Consumer, Role::Producer, Role::Admin] {
            // The address is of no matter here.
            let settings = self.kafka.client_config(&kafka::Broker::kafka("localhost:9092"), role);
            settings.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// When connecting has taken too long.
    pub(crate) fn connect_deadline(&self) -> Result<Instant, ClientError> {
        not_zero("connect_timeout", self.connect_timeout)?;
        // A clock's end is near enough that an absurd time would run past it; nobody waits for a year.
        Ok(Instant::now() + self.connect_timeout.min(Duration::from_secs(365 * 24 * 3600)))
    }

    /// Finds the broker, and what kind it is, until `deadline`.
    pub(crate) async fn cluster(&self, deadline: Instant) -> Result<Cluster, ClientError> {
        let named = self.kafka.bootstrap_servers.as_deref();
        let mut broker = match kafka::locate(named)? {
            Some(broker) => broker,
            None => {
                return Err(ClientError::NoBroker { folder: kafka::RuntimeDir::from_env().path().into() });
            }
        };
        let config = self.kafka.client_config(&broker, Role::Admin)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let found = kafka::probe(&config, left).await?;
        // A named broker may be the embedded one too.
        broker.embedded = found.embedded;
        Ok(Cluster { broker, advertised: found.advertised })
    }
}

/// The time itself, where it is one.
pub(crate) fn not_zero(what: &'static str, time: Duration) -> Result<Duration, ClientError> {
    if time.is_zero() { Err(ClientError::NoTime { what }) } else { Ok(time) }
}
