//! The producer: puts records into librdkafka's queue, waits where that is full, and tells the table what became of them.

use std::sync::Arc;
use std::time::Duration;

use kafka::{Broker, Role, Settings};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use wire::Headers;

use crate::error::ClientError;
use crate::pending::Table;

/// How long to wait before a full queue is tried again.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

pub(crate) struct Sending {
    producer: ThreadedProducer<Delivered>,
}

/// A record on its way.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) headers: Headers,
    pub(crate) value: Vec<u8>,
}

impl Outgoing {
    /// What it takes on the broker, less the frame.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(k, v)| k.len() + v.map_or(0, <[u8]>::len) + 4).sum();
        self.key.len() + self.value.len() + headers + 16
    }
}

impl Sending {
    pub(crate) fn start(
        settings: &Settings,
        broker: &Broker,
        table: Arc<Table>,
    ) -> Result<Self, ClientError> {
        let config = settings.client_config(broker, Role::Producer)?;
        let producer = config.create_with_context(Delivered(table)).map_err(ClientError::kafka)?;
        Ok(Self { producer })
    }

    /// Queues a record; where the queue is full, keeps it and tries again until it is taken.
    pub(crate) async fn send(&self, topic: &str, outgoing: Outgoing) -> Result<(), ClientError> {
        let mut id = Box::new(outgoing.id);
        loop {
            let record = BaseRecord::with_opaque_to(topic, id)
                .key(&outgoing.key)
                .payload(&outgoing.value)
                .headers(kafka::to_headers(outgoing.headers.iter()));
            let (error, back) = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                // What comes back holds pointers of librdkafka's: only the id may be held across the pause.
                Err((error, record)) => (error, record.delivery_opaque),
            };
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(ClientError::NotDelivered { id: *back, reason: words(&error) });
            }
            id = back;
            tokio::time::sleep(QUEUE_FULL_PAUSE).await;
        }
    }
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sending")
    }
}

/// librdkafka's words for an error, without the crate's own around them.
fn words(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}

/// Called for each record that was acknowledged or given up.
struct Delivered(Arc<Table>);

impl ClientContext for Delivered {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        kafka::log::line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        kafka::log::error(&error, reason);
    }
}

impl ProducerContext for Delivered {
    type DeliveryOpaque = Box<String>;

    fn delivery(&self, result: &DeliveryResult<'_>, id: Self::DeliveryOpaque) {
        match result {
            Ok(_) => self.0.acknowledge(&id),
            Err((error, _)) => {
                let error = ClientError::NotDelivered { id: (*id).clone(), reason: words(error) };
                self.0.answer(&id, Err(error));
            }
        }
    }
}
