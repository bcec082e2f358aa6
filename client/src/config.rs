//! How to connect, and what is asked about an image.

use std::time::{Duration, Instant};

use kafka::{Broker, Role, Settings, Topics};
use wire::{Encoding, TraceContext};

use crate::error::ClientError;

/// How to connect.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The broker and how to talk to it. Where it names none, the embedded one of this user is looked for.
    pub kafka: Settings,
    /// The topics.
    pub topics: Topics,
    /// The `ce_source` of requests, a URI reference.
    pub source: String,
    /// For how long to try to reach the broker and to find the topics there.
    pub connect_timeout: Duration,
    /// The time-out of a request whose [`Ask`] has none.
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
            connect_timeout: Duration::from_secs(6),
            timeout: Duration::from_secs(30),
            max_in_flight: 1024,
            max_in_flight_bytes: 64 << 20,
        }
    }
}

impl ClientConfig {
    /// The defaults with that broker.
    #[must_use]
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        let kafka = Settings { bootstrap_servers: Some(bootstrap_servers.into()), ..Settings::default() };
        Self { kafka, ..Self::default() }
    }

    /// Finds the broker, and what kind it is, until `deadline`.
    pub(crate) async fn broker(&self, deadline: Instant) -> Result<Broker, ClientError> {
        let named = self.kafka.bootstrap_servers.as_deref();
        let located = kafka::locate(named).map_err(|e| ClientError::Locate(e.to_string()))?;
        let mut broker = located.ok_or(ClientError::NoBroker)?;
        let config = self.kafka.client_config(&broker, Role::Admin)?;
        let left = deadline.saturating_duration_since(Instant::now());
        // A named broker may be the embedded one too.
        broker.embedded = kafka::probe(&config, left).await?.embedded;
        Ok(broker)
    }
}

/// What is asked about an image. What is `None` the worker's configuration decides.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The name of the model.
    pub model: Option<String>,
    /// The version of that model.
    pub version: Option<u32>,
    /// How many predictions, most probable first.
    pub top_k: Option<u32>,
    /// Lower goes first.
    pub priority: Option<u32>,
    /// How the request is encoded, and with it the answer.
    pub format: Encoding,
    /// The record's key, where requests of the same key are to be taken in order; the request id where `None`.
    pub key: Option<String>,
    /// How long to wait; [`ClientConfig::timeout`] where `None`. Workers drop a request whose time is over.
    pub timeout: Option<Duration>,
    /// Carried through.
    pub trace: TraceContext,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            model: None,
            version: None,
            top_k: None,
            priority: None,
            format: Encoding::Bincode,
            key: None,
            timeout: None,
            trace: TraceContext::default(),
        }
    }
}

impl Ask {
    /// Everything left to the worker but the model.
    #[must_use]
    pub fn of_model(name: impl Into<String>) -> Self {
        Self { model: Some(name.into()), ..Self::default() }
    }
}
