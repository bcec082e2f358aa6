//! The worker's configuration: what there is to set, and the built-in defaults, which `configs/worker.yaml` repeats.
//!
//! - [`mod@load`]: the layers (defaults, file, environment, flags) and where a wrong key came from;
//! - [`check`]: what must hold between the keys.

pub mod check;
pub mod load;
mod pattern;
#[cfg(test)]
mod shipped;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use kafka::Settings;
use model_core::ImageLimits;
use registry::Select;
use serde::{Deserialize, Serialize};

use crate::engines::Device;
pub use check::Invalid;
pub use load::{LoadError, Sources, load};
pub use pattern::Pattern;

/// All of it. docs/configuration.md tells what each key does.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The worker's name in results and announcements; made of host and process where `None`.
    pub name: Option<String>,
    /// How to connect.
    pub kafka: Settings,
    /// The topics.
    pub topics: Topics,
    /// The consumer group.
    pub group: Group,
    /// What is served.
    pub models: Models,
    /// How many instances; one for each core where `None`.
    pub instances: Option<usize>,
    /// How many threads decode images; as many as instances where `None`.
    pub decode_threads: Option<usize>,
    /// How many images are computed together.
    pub batching: Batching,
    /// What waits, for how long and in which order.
    pub queue: Queue,
    /// How large a request may be.
    pub limits: Limits,
    /// How the worker ends.
    pub shutdown: Shutdown,
    /// Health and metrics.
    pub http: Http,
    /// What is logged, and how.
    pub log: Log,
    /// Where the nets compute.
    pub device: Device,
    /// How many predictions a result has where the request does not say.
    pub top_k: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: None,
            kafka: Settings::default(),
            topics: Topics::default(),
            group: Group::default(),
            models: Models::default(),
            instances: None,
            decode_threads: None,
            batching: Batching::default(),
            queue: Queue::default(),
            limits: Limits::default(),
            shutdown: Shutdown::default(),
            http: Http::default(),
            log: Log::default(),
            device: Device::default(),
            top_k: 5,
        }
    }
}

/// The topics, and how those are made that are missing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// Requests.
    pub requests: String,
    /// Results, where a request names no topic for its own.
    pub results: String,
    /// Requests that can never succeed.
    pub dead_letter: String,
    /// What workers say that they serve.
    pub models: String,
    /// Which other topics a request may name for its reply; any where `None`.
    pub reply_allow: Option<Pattern>,
    /// Into how many partitions a topic is cut that the worker makes; -1 is the broker's default.
    pub partitions: i32,
    /// On how many brokers each of its partitions is kept; -1 is the broker's default.
    pub replication_factor: i32,
}

impl Default for Topics {
    fn default() -> Self {
        let kafka::Topics { requests, results, dead_letter, models } = kafka::Topics::default();
        Self {
            requests,
            results,
            dead_letter,
            models,
            reply_allow: None,
            partitions: 8,
            replication_factor: -1,
        }
    }
}

impl Topics {
    /// Their names.
    #[must_use]
    pub fn names(&self) -> kafka::Topics {
        kafka::Topics {
            requests: self.requests.clone(),
            results: self.results.clone(),
            dead_letter: self.dead_letter.clone(),
            models: self.models.clone(),
        }
    }
}

/// The consumer group.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// `group.id`.
    pub id: String,
    /// `group.instance.id`, for rolling restarts without a rebalance.
    pub instance_id: Option<String>,
    /// `group.protocol`.
    pub protocol: Protocol,
    /// `session.timeout.ms`; with [`Protocol::Consumer`] it is the broker's.
    #[serde(with = "humantime_serde")]
    pub session_timeout: Duration,
    /// How long a partition that is given back may take to answer what was taken from it.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// When an offset is committed.
    pub delivery: Delivery,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            id: "mlaas-workers".to_owned(),
            instance_id: None,
            protocol: Protocol::Classic,
            session_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(8),
            delivery: Delivery::AtLeastOnce,
        }
    }
}

/// How a group shares its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// The members assign, cooperative-sticky.
    Classic,
    /// The broker assigns (KIP-848).
    Consumer,
}

/// When an offset is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// Behind delivered results: a worker that dies loses nothing.
    AtLeastOnce,
    /// On receipt: a worker that dies loses what it holds.
    AtMostOnce,
}

/// What is served.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Models {
    /// The folder of model versions.
    pub root: PathBuf,
    /// The model that a request without a name means.
    pub default: String,
    /// What to serve; each model of the folder where it is empty.
    pub serve: Vec<Serve>,
}

impl Default for Models {
    fn default() -> Self {
        Self { root: PathBuf::from("weights"), default: "fashion-mnist".to_owned(), serve: Vec::new() }
    }
}

/// One model version to serve.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Serve {
    /// The model.
    pub name: String,
    /// A number, an alias, or `latest`.
    #[serde(default)]
    pub version: Version,
}

/// [`Select`], as text or as a number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "NumberOrText", into = "String")]
pub struct Version(pub Select);

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u32),
    Text(String),
}

impl TryFrom<NumberOrText> for Version {
    type Error = registry::RegistryError;

    fn try_from(value: NumberOrText) -> Result<Self, Self::Error> {
        match value {
            NumberOrText::Number(number) => number.to_string().parse(),
            NumberOrText::Text(text) => text.parse(),
        }
        .map(Self)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.0.to_string()
    }
}

/// How many images are computed together; Triton's words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batching {
    /// No more than that many.
    pub max_batch_size: usize,
    /// Sizes that go without waiting for more.
    pub preferred_batch_size: Vec<usize>,
    /// How long the oldest request may wait for others; timers here count whole milliseconds.
    pub max_queue_delay_microseconds: u64,
}

impl Default for Batching {
    fn default() -> Self {
        Self { max_batch_size: 8, preferred_batch_size: Vec::new(), max_queue_delay_microseconds: 0 }
    }
}

/// What waits; Triton's words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// More than that many for one model are refused; 0 refuses none and lets them wait in Kafka.
    pub max_queue_size: usize,
    /// A request that has not been computed by then, counted from its arrival, is answered with an error; 0 is never.
    pub default_timeout_microseconds: u64,
    /// A request may set an earlier deadline of its own.
    pub allow_timeout_override: bool,
    /// How many priorities there are, 1 going first; 0 makes all equal.
    pub priority_levels: usize,
    /// The priority of a request that names none, or one that there is not.
    pub default_priority_level: usize,
    /// When partitions are paused.
    pub backpressure: BackPressure,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            max_queue_size: 0,
            default_timeout_microseconds: 0,
            allow_timeout_override: true,
            priority_levels: 9,
            default_priority_level: 5,
            backpressure: BackPressure::default(),
        }
    }
}

impl Queue {
    /// How many lines the queue has.
    #[must_use]
    pub fn levels(&self) -> usize {
        self.priority_levels.max(1)
    }

    /// The line of a request, from 0.
    #[must_use]
    pub fn level(&self, priority: Option<u32>) -> usize {
        let asked = priority.and_then(|p| usize::try_from(p).ok());
        let known = asked.filter(|p| (1..=self.priority_levels).contains(p));
        known.unwrap_or(self.default_priority_level).saturating_sub(1).min(self.levels() - 1)
    }
}

/// The marks of back-pressure: at a high one no more is taken from Kafka, at both low ones it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackPressure {
    /// Requests under way.
    pub high_requests: usize,
    /// Requests under way.
    pub low_requests: usize,
    /// Bytes that they hold.
    pub high_bytes: usize,
    /// Bytes that they hold.
    pub low_bytes: usize,
}

impl Default for BackPressure {
    fn default() -> Self {
        Self { high_requests: 128, low_requests: 64, high_bytes: 64 << 20, low_bytes: 32 << 20 }
    }
}

/// How large a request may be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The record's value.
    pub max_request_bytes: usize,
    /// The image's width in pixels.
    pub max_image_width: u32,
    /// The image's height in pixels.
    pub max_image_height: u32,
    /// The memory that decoding it may take.
    pub max_image_alloc_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let image = ImageLimits::default();
        Self {
            max_request_bytes: kafka::MAX_RECORD_BYTES,
            max_image_width: image.max_width,
            max_image_height: image.max_height,
            max_image_alloc_bytes: image.max_alloc_bytes,
        }
    }
}

impl Limits {
    /// Those of the image.
    #[must_use]
    pub fn image(&self) -> ImageLimits {
        ImageLimits {
            max_width: self.max_image_width,
            max_height: self.max_image_height,
            max_alloc_bytes: self.max_image_alloc_bytes,
        }
    }
}

/// How the worker ends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    /// How long what was taken may take to be answered after the first signal.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace: Duration::from_secs(20) }
    }
}

/// Health and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where; port 0 takes a free one.
    pub listen: SocketAddr,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)) }
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// For whom.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives of tracing-subscriber's `EnvFilter`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Human, level: "info".to_owned() }
    }
}

/// For whom the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// People.
    Human,
    /// Programs: one JSON object a line.
    Json,
}

impl Config {
    /// How many instances that is on this machine.
    #[must_use]
    pub fn instance_count(&self) -> usize {
        self.instances.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// How many decoding threads.
    #[must_use]
    pub fn decode_thread_count(&self) -> usize {
        self.decode_threads.unwrap_or_else(|| self.instance_count())
    }

    /// The worker's name.
    #[must_use]
    pub fn worker_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            let host = host.trim();
            let host = if host.is_empty() { "worker" } else { host };
            format!("{host}-{}", std::process::id())
        })
    }

    /// It as YAML, with secrets left out.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        serde_yaml::to_string(self).unwrap_or_else(|e| format!("# {e}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_triton_s() {
        let queue = |priority_levels, default_priority_level| Queue {
            priority_levels,
            default_priority_level,
            ..Queue::default()
        };
        let nine = queue(9, 5);
        assert_eq!(nine.level(Some(1)), 0, "1 goes first");
        assert_eq!(nine.level(Some(9)), 8);
        assert_eq!(nine.level(None), 4);
        assert_eq!(nine.level(Some(0)), 4, "0 is the default one");
        assert_eq!(nine.level(Some(10)), 4, "and so is one that there is not");
        let none = queue(0, 0);
        assert_eq!((none.levels(), none.level(Some(1)), none.level(None)), (1, 0, 0));
    }

    #[test]
    fn a_version_is_a_number_or_a_word() {
        let read = |text: &str| serde_yaml::from_str::<Serve>(text).map(|s| s.version.0);
        assert_eq!(read("{name: bird}").unwrap(), Select::Alias("production".into()));
        assert_eq!(read("{name: bird, version: 3}").unwrap(), Select::Version(3));
        assert_eq!(read("{name: bird, version: latest}").unwrap(), Select::Latest);
        assert!(read("{name: bird, version: ../x}").is_err());
    }

    #[test]
    fn secrets_do_not_show() {
        let text = "kafka: {sasl_password: hunter2, common: {ssl.key.password: hunter3, client.id: me}}";
        let config: Config = serde_yaml::from_str(text).unwrap();
        for shown in [config.to_yaml(), format!("{config:?}")] {
            assert!(!shown.contains("hunter"), "{shown}");
            assert!(shown.contains("client.id"), "{shown}");
        }
    }
}
