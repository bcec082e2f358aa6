//! The worker's configuration: what there is to set, and the built-in defaults, which `configs/worker.yaml` repeats.
//!
//! - [`mod@load`]: the layers (defaults, file, environment, flags) and where a wrong key came from;
//! - [`check`]: what must hold between the keys.
//!
//! A section lies with the room, or the file beside the rooms, that it is for. What is here puts them together.

pub mod check;
pub mod load;
#[cfg(test)]
mod shipped;

use std::time::Duration;

pub use cli::log::{Log, LogFormat};
use kafka::Settings;
use serde::{Deserialize, Serialize};

use crate::engines::Device;
use crate::group::Group;
pub use crate::http::Http;
pub use crate::invalid::Invalid;
pub use crate::lane::Queue;
use crate::models::config::Models;
pub use crate::review::Review;
pub use crate::rooms::batch::Batching;
use crate::rooms::decode::Limits;
pub use crate::snapshots::Measuring;
pub use crate::topics::{Pattern, Topics};
pub use load::{LoadError, Sources, load};

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
    /// Which images people are to look at.
    pub review: Review,
    /// How the worker ends.
    pub shutdown: Shutdown,
    /// Health and metrics.
    pub http: Http,
    /// What it measures of itself.
    pub metrics: Measuring,
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
            review: Review::default(),
            shutdown: Shutdown::default(),
            http: Http::default(),
            metrics: Measuring::default(),
            log: Log::default(),
            device: Device::default(),
            top_k: 5,
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
        self.name.clone().unwrap_or_else(|| cli::process_name("worker"))
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
    fn secrets_do_not_show() {
        let text = "kafka: {sasl_password: hunter2, common: {ssl.key.password: hunter3, client.id: me}}";
        let config: Config = serde_yaml::from_str(text).unwrap();
        for shown in [config.to_yaml(), format!("{config:?}")] {
            assert!(!shown.contains("hunter"), "{shown}");
            assert!(shown.contains("client.id"), "{shown}");
        }
    }
}
