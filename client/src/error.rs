//! Why a request has no answer.

use std::time::Duration;

/// Why a request has no answer. An error that a worker answered with is none of these: it is a [`wire::Response`].
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// No broker is named anywhere and no embedded one runs.
    #[error(
        "no broker is given and no worker with an embedded one runs: start `worker`, or give --bootstrap-servers or KAFKA_BOOTSTRAP_SERVERS"
    )]
    NoBroker,
    /// The embedded broker's address can't be looked up.
    #[error("{0}")]
    Locate(String),
    /// The settings can't be used.
    #[error(transparent)]
    Settings(#[from] kafka::SettingsError),
    /// The broker does not answer.
    #[error(transparent)]
    Unreachable(#[from] kafka::Unreachable),
    /// The broker answers, and a topic is not there.
    #[error("topic {topic} is not on the broker at {address}: start a worker, which makes it")]
    NoTopic {
        /// Which.
        topic: String,
        /// Where.
        address: String,
    },
    /// librdkafka refused.
    #[error("Kafka: {0}")]
    Kafka(String),
    /// The record is larger than the broker takes.
    #[error("a request of {bytes} bytes is over the {limit} that {} takes: {}", broker(.embedded), advice(.embedded))]
    TooLarge {
        /// The record's size.
        bytes: usize,
        /// What fits.
        limit: usize,
        /// It is the embedded broker's limit.
        embedded: bool,
    },
    /// The deadline passed.
    #[error("request {id} has no answer after {}: {}", humantime::format_duration(*.waited), silence(.acknowledged))]
    Timeout {
        /// The request's id.
        id: String,
        /// Its time-out.
        waited: Duration,
        /// The broker has the request.
        acknowledged: bool,
    },
    /// The broker did not take the request.
    #[error("request {id} could not be delivered to the broker: {reason}")]
    NotDelivered {
        /// The request's id.
        id: String,
        /// librdkafka's words.
        reason: String,
    },
    /// An answer came that can't be read.
    #[error("the answer to request {id} can't be read: {source}")]
    BadReply {
        /// The request's id.
        id: String,
        /// Why.
        source: wire::DecodeError,
    },
    /// The connection is being taken down.
    #[error("the client is closed")]
    Closed,
}

fn broker(embedded: &bool) -> &'static str {
    if *embedded { "the embedded broker" } else { "the request topic" }
}

fn advice(embedded: &bool) -> &'static str {
    if *embedded { "send a smaller image, or use a real Kafka" } else { "send a smaller image" }
}

fn silence(acknowledged: &bool) -> &'static str {
    if *acknowledged {
        "the broker has it, see whether a worker serves its topic"
    } else {
        "the broker did not acknowledge it"
    }
}

impl ClientError {
    pub(crate) fn kafka(error: impl std::fmt::Display) -> Self {
        Self::Kafka(error.to_string())
    }
}
