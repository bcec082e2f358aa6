//! The gateway's configuration: what there is to set, and the built-in defaults, which `configs/gateway.yaml` repeats.
//!
//! - `access`: who may come in, and by which way; `check`: what must hold of the keys and between them.

pub(crate) mod access;
mod check;
#[cfg(test)]
mod shipped;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

pub use cli::log::{Log, LogFormat};
use cli::{LayerError, Sources};
use client::{ClientConfig, ReplyPartition, Settings, Topics};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use access::{Auth, ClientCertificates, Jwt, Tls};
pub use check::Invalid;

pub use crate::review::Review;
pub use crate::versions::Models;

/// All of it. docs/http.md tells what each key does.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The gateway's name; made of host and process where `None`, and answers come on any partition then.
    pub name: Option<String>,
    /// How to connect.
    pub kafka: Settings,
    /// The topics.
    pub topics: Topics,
    /// The HTTP server.
    pub http: Http,
    /// The gRPC server.
    pub grpc: Grpc,
    /// Who may come in.
    pub auth: Auth,
    /// TLS on both servers.
    pub tls: Tls,
    /// How much is taken at once.
    pub limits: Limits,
    /// How long requests may take.
    pub requests: Requests,
    /// Answers that are asked for later.
    pub results: Results,
    /// Images that people look at.
    pub review: Review,
    /// Where the model versions lie.
    pub models: Models,
    /// How the gateway ends.
    pub shutdown: Shutdown,
    /// What is logged, and how.
    pub log: Log,
}

/// The HTTP server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether anybody may come in from other machines where nobody is asked who they are. Of gRPC too.
    pub allow_unauthenticated: bool,
    /// How long the head of a request may take, and how long a connection may lie idle before it.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// How long the body of a request may take.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// How many connections are open at most, those of gRPC counted apart.
    pub max_connections: usize,
    /// Whether answers are compressed for those who take that.
    pub compression: bool,
    /// From which origins pages in browsers may ask; `*` is any.
    pub cors_origins: Vec<String>,
    /// Whether there is a page at `/`, and what it shows of the last hour.
    pub page: bool,
    /// Whether it shows small pictures of the last images.
    pub thumbnails: bool,
}

/// The gRPC server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grpc {
    /// Where.
    pub listen: Listen,
}

/// An address, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// There is no server.
    Off,
    /// There; port 0 takes a free one.
    At(SocketAddr),
}

/// How much is taken at once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest image file, in bytes.
    pub max_image_bytes: usize,
    /// The most images in one request.
    pub max_batch_images: usize,
    /// The largest body of a request with several images, in bytes.
    pub max_batch_bytes: usize,
    /// How many images are on their way at most.
    pub max_in_flight: usize,
    /// How many bytes of requests there are in memory at most.
    pub max_in_flight_bytes: usize,
    /// How many times a second each caller may ask, images of one request counted one by one; none where as often as they like.
    pub rate_per_key: Option<u32>,
    /// How many times at once, after a rest; as many as a second's where none.
    pub burst_per_key: Option<u32>,
}

/// How long requests may take.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Requests {
    /// Those that do not say.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// The longest that one may ask for.
    #[serde(with = "humantime_serde")]
    pub max_timeout: Duration,
}

/// Answers that are asked for later.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Results {
    /// For how long an asynchronous request may wait for a worker, where it does not say.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// For how long one look may read the results topic.
    #[serde(with = "humantime_serde")]
    pub look: Duration,
    /// How many looks go on at once.
    pub max_looks: usize,
    /// How many streams of events are open at most.
    pub max_streams: usize,
}

/// How the gateway ends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    /// For how long it says that it is not ready and still takes requests, so that whoever sends them here hears of it.
    #[serde(with = "humantime_serde")]
    pub delay: Duration,
    /// How long what was taken may take to be answered after that.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            allow_unauthenticated: false,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            max_connections: 1024,
            compression: true,
            cors_origins: Vec::new(),
            page: true,
            thumbnails: true,
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self::At(SocketAddr::from(([127, 0, 0, 1], 8001)))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_image_bytes: 12_000_000,
            max_batch_images: 64,
            max_batch_bytes: 64 << 20,
            max_in_flight: 256,
            max_in_flight_bytes: 256 << 20,
            rate_per_key: None,
            burst_per_key: None,
        }
    }
}

impl Default for Requests {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), max_timeout: Duration::from_secs(300) }
    }
}

impl Default for Results {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(600),
            look: Duration::from_secs(5),
            max_looks: 8,
            max_streams: 256,
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { delay: Duration::from_secs(1), grace: Duration::from_secs(30) }
    }
}

impl Listen {
    /// The address, if there is to be a server.
    #[must_use]
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(address) => Some(address),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|error| {
            serde::de::Error::custom(format_args!("'{text}' is neither ADDRESS:PORT nor off: {error}"))
        })
    }
}

/// Why a configuration can't be used. One sentence.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A layer is not what it should be.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The keys do not go together.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl Config {
    /// Reads, puts together and checks.
    ///
    /// # Errors
    /// [`LoadError`], the first thing that is wrong.
    pub fn load(sources: &Sources) -> Result<Self, LoadError> {
        let config: Self = cli::load(sources)?;
        config.check()?;
        Ok(config)
    }

    /// The gateway's name.
    #[must_use]
    pub fn gateway_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| cli::process_name("gateway"))
    }

    /// How to connect.
    #[must_use]
    pub fn connection(&self) -> ClientConfig {
        let partition = match &self.name {
            Some(name) => ReplyPartition::OfName(name.clone()),
            None => ReplyPartition::Any,
        };
        // What is taken is bounded here already: the client need not make anybody wait.
        ClientConfig::default()
            .kafka(self.kafka.clone())
            .topics(self.topics.clone())
            .source(format!("/mlaas/gateway/{}", self.gateway_name()))
            .reply_partition(partition)
            .timeout(self.requests.timeout)
            .max_in_flight(self.limits.max_in_flight.saturating_mul(2), self.limits.max_in_flight_bytes)
    }

    /// It as YAML, with secrets left out.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        serde_yaml::to_string(self).unwrap_or_else(|e| format!("# {e}\n"))
    }
}
