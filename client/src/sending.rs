//! How requests go out: the shared producer, whose parcels here are request ids, and what the table is told of each.

use std::sync::Arc;
use std::time::Duration;

use kafka::{Broker, Fault, HearingContext, Producer, Role, Settings};
use rdkafka::types::RDKafkaErrorCode as Code;
use wire::Headers;

use crate::error::ClientError;
use crate::pending::Table;

/// Sends to one topic.
#[derive(Debug)]
pub(crate) struct Sending {
    producer: Producer<String>,
    place: Place,
}

/// The topic, for what is said of it.
#[derive(Clone, Debug)]
struct Place {
    topic: String,
    address: String,
    heard: HearingContext,
}

/// A record on its way.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) headers: Headers,
    /// None is a tombstone.
    pub(crate) value: Option<Vec<u8>>,
}

impl Outgoing {
    /// What it takes on the broker, less the frame.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(k, v)| k.len() + v.map_or(0, <[u8]>::len) + 4).sum();
        self.key.len() + self.value.as_ref().map_or(0, Vec::len) + headers + 16
    }
}

impl Sending {
    pub(crate) fn start(
        settings: &Settings,
        broker: &Broker,
        topic: &str,
        table: Arc<Table>,
    ) -> Result<Self, ClientError> {
        let config = settings.client_config(broker, Role::Producer)?;
        let address = broker.bootstrap_servers.clone();
        let place = Place { topic: topic.to_owned(), address, heard: HearingContext::default() };
        let said = place.clone();
        let producer =
            Producer::hearing(
                &config,
                place.heard.clone(),
                move |id: Box<String>, delivered| match delivered {
                    Ok(()) => table.acknowledge(&id),
                    Err(fault) => {
                        table.answer(&id, Err(said.refusal(&id, fault)));
                    }
                },
            );
        Ok(Self { producer: producer.map_err(ClientError::Kafka)?, place })
    }

    /// Queues a record; where the queue is full, waits until it is taken.
    pub(crate) async fn send(&self, outgoing: Outgoing) -> Result<(), ClientError> {
        let record = kafka::Outgoing {
            topic: &self.place.topic,
            partition: None,
            key: Some(outgoing.key.as_bytes()),
            value: outgoing.value.as_deref(),
            headers: kafka::to_headers(outgoing.headers.iter()),
        };
        let sent = self.producer.send_when_there_is_room(record, Box::new(outgoing.id)).await;
        sent.map_err(|back| self.place.refusal(&back.parcel, back.fault))
    }

    /// Waits until the broker has all that was queued, or refused it.
    pub(crate) fn flush(&self, timeout: Duration) -> Result<(), ClientError> {
        // librdkafka counts milliseconds in 32 bits.
        if self.producer.flush(timeout.min(Duration::from_secs(24 * 3600))) {
            Ok(())
        } else {
            Err(ClientError::NotFlushed { topic: self.place.topic.clone(), waited: timeout })
        }
    }
}

impl Place {
    /// What it means that a request was not delivered.
    fn refusal(&self, id: &str, fault: Fault) -> ClientError {
        let refused = match fault.cause.rdkafka_error_code() {
            Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => true,
            // An idempotent producer that may write to no topic gets no number, and gives up all that it has.
            Some(Code::PurgeQueue | Code::PurgeInflight | Code::Fatal) => {
                self.heard.heard().is_some_and(|heard| heard.contains("authorization failed"))
            }
            _ => false,
        };
        match refused {
            true => ClientError::NotAllowed { topic: self.topic.clone(), address: self.address.clone() },
            false => ClientError::NotDelivered { id: id.to_owned(), source: fault },
        }
    }
}
