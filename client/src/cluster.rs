//! The cluster that a client is connected to, and what a failed call to it means.

use kafka::Broker;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::error::ClientError;

/// A cluster that has answered once.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    /// Where it was found.
    pub(crate) broker: Broker,
    /// Where it says that its brokers are.
    pub(crate) advertised: Vec<String>,
}

impl Cluster {
    /// What it means that a call about a topic failed; `heard` is the last that was heard of a connection.
    pub(crate) fn fault(&self, topic: &str, error: KafkaError, heard: Option<String>) -> ClientError {
        let topic = topic.to_owned();
        match error.rdkafka_error_code() {
            // That of groups is none: librdkafka asks for the one that is named, and nobody joins it.
            Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
                ClientError::NotAllowed { topic, address: self.broker.bootstrap_servers.clone() }
            }
            Some(Code::LeaderNotAvailable) => ClientError::NoLeader { topic, partitions: Vec::new() },
            Some(
                Code::OperationTimedOut
                | Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::Resolve
                | Code::BrokerNotAvailable,
            ) => ClientError::Silent {
                topic,
                address: self.broker.bootstrap_servers.clone(),
                advertised: self.advertised.join(", "),
                reason: heard.unwrap_or_else(|| kafka::log::words(&error)),
            },
            _ => ClientError::Kafka(error),
        }
    }
}
