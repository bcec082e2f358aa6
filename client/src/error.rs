//! Why a request has no answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

/// Why a request has no answer. An error that a worker answered with is none of these: it is a [`wire::Response`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No broker is named anywhere and no embedded one runs.
    #[error("no broker is named, and no worker with an embedded one has left its address in {}", .folder.display())]
    NoBroker {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The embedded broker's address can't be looked up.
    #[error(transparent)]
    Locate(Arc<kafka::LocateError>),
    /// The settings can't be used.
    #[error(transparent)]
    Settings(#[from] kafka::SettingsError),
    /// A time that may not be zero is.
    #[error("{what} is 0: nothing can be done in no time")]
    NoTime {
        /// Which.
        what: &'static str,
    },
    /// The broker does not answer.
    #[error(transparent)]
    Unreachable(#[from] kafka::Unreachable),
    /// The broker answers, and the brokers that it names do not.
    #[error(
        "topic {topic} can't be asked for: the broker at {address} says that its cluster is at {advertised}, and from there comes no answer: {reason}; see whether this machine can reach the addresses in advertised.listeners"
    )]
    Silent {
        /// What was asked for.
        topic: String,
        /// The broker that answered.
        address: String,
        /// Where it says that its brokers are.
        advertised: String,
        /// The last that was heard.
        reason: String,
    },
    /// The broker answers, and a topic is not there.
    #[error("topic {topic} is not on the broker at {address}: start a worker, which makes it")]
    NoTopic {
        /// Which.
        topic: String,
        /// Where.
        address: String,
    },
    /// The broker does not let this user read or write a topic.
    #[error("the broker at {address} does not let this user use topic {topic}: ask for the permission (ACL)")]
    NotAllowed {
        /// Which.
        topic: String,
        /// Where.
        address: String,
    },
    /// No broker leads a partition now.
    #[error("topic {topic} has no leader for {}: a broker of the cluster is down", listed(.partitions))]
    NoLeader {
        /// Which.
        topic: String,
        /// Which of it; none where all.
        partitions: Vec<i32>,
    },
    /// A topic could not be read to its end in the time that was given.
    #[error("topic {topic} could not be read to its end in time")]
    NotRead {
        /// Which.
        topic: String,
    },
    /// librdkafka refused.
    #[error("Kafka: {}", kafka::log::words(.0))]
    Kafka(#[source] KafkaError),
    /// A thread could not be started, or ended by itself.
    #[error("a thread of the client failed: {0}")]
    Thread(String),
    /// The record is larger than the broker takes.
    #[error("a request of {bytes} bytes is over the {limit} that {} takes: {}", broker(.embedded), advice(.embedded))]
    TooLarge {
        /// The record's size.
        bytes: u64,
        /// What fits.
        limit: usize,
        /// It is the embedded broker's limit.
        embedded: bool,
    },
    /// The time-out passed.
    #[error("request {id} has no answer after {}: {}", humantime::format_duration(*.waited), silence(.acknowledged))]
    Timeout {
        /// The request's id.
        id: String,
        /// Its time-out.
        waited: Duration,
        /// The broker has the request.
        acknowledged: bool,
    },
    /// It was not sent.
    #[error("not sent: none of those before it was answered within {}", humantime::format_duration(*.waited))]
    Stalled {
        /// For how long nothing was answered.
        waited: Duration,
    },
    /// The broker did not take the request.
    #[error("request {id} could not be delivered to the broker: {}", .source.words())]
    NotDelivered {
        /// The request's id.
        id: String,
        /// Why.
        source: kafka::Fault,
    },
    /// The broker has not taken all that was sent before the connection was closed.
    #[error("not all that was sent to topic {topic} was taken within {}", humantime::format_duration(*.waited))]
    NotFlushed {
        /// Which.
        topic: String,
        /// For how long it was waited for.
        waited: Duration,
    },
    /// An answer came that can't be read.
    #[error("the answer to request {id} can't be read: {source}")]
    BadReply {
        /// The request's id.
        id: String,
        /// Why.
        source: wire::DecodeError,
    },
    /// The connection was closed.
    #[error("the client is closed")]
    Closed,
}

impl ClientError {
    /// Whether the time ran out, so that it is not known, or not settled, what becomes of the request.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Stalled { .. } | Self::NotRead { .. } | Self::NotFlushed { .. } => {
                true
            }
            Self::NotDelivered { source, .. } => {
                source.cause.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut)
            }
            _ => false,
        }
    }
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

fn listed(partitions: &[i32]) -> String {
    match partitions {
        [] => "any partition".to_owned(),
        [one] => format!("partition {one}"),
        several => {
            let several: Vec<_> = several.iter().map(i32::to_string).collect();
            format!("partitions {}", several.join(", "))
        }
    }
}

impl From<kafka::LocateError> for ClientError {
    fn from(error: kafka::LocateError) -> Self {
        Self::Locate(Arc::new(error))
    }
}

impl From<kafka::ProbeError> for ClientError {
    fn from(error: kafka::ProbeError) -> Self {
        match error {
            kafka::ProbeError::Unreachable(error) => Self::Unreachable(error),
            kafka::ProbeError::Settings(error) => Self::Settings(error),
        }
    }
}
