//! What goes wrong with a broker, on demand: for tests, who alone turn the feature `faults` on.

/// A protocol request, for [`EmbeddedBroker::request_errors`].
pub use rdkafka::types::RDKafkaApiKey as ApiKey;
/// A broker's answer to one, for [`EmbeddedBroker::request_errors`].
pub use rdkafka::types::RDKafkaRespErr as RespErr;

use super::{EmbeddedBroker, EmbeddedError};

impl EmbeddedBroker {
    /// Drops all connections and accepts no new one, as a broker that stops.
    ///
    /// # Errors
    /// [`EmbeddedError`] where librdkafka refuses.
    pub fn broker_down(&self) -> Result<(), EmbeddedError> {
        self.order(|cluster| cluster.broker_down(-1))
    }

    /// Accepts connections again; what it held, it still holds.
    ///
    /// # Errors
    /// [`EmbeddedError`] where librdkafka refuses.
    pub fn broker_up(&self) -> Result<(), EmbeddedError> {
        self.order(|cluster| cluster.broker_up(-1))
    }

    /// Takes the leader of a partition away, or gives it back. Nobody may be reading or writing that partition: the mock
    /// cluster would fall over.
    ///
    /// # Errors
    /// [`EmbeddedError`] where librdkafka refuses.
    pub fn leader(&self, topic: &str, partition: i32, led: bool) -> Result<(), EmbeddedError> {
        let topic = topic.to_owned();
        self.order(move |cluster| cluster.partition_leader(&topic, partition, led.then_some(1)))
    }

    /// Answers the next requests of that kind with those errors, one each.
    ///
    /// # Errors
    /// [`EmbeddedError`] where its thread is gone.
    pub fn request_errors(&self, api: ApiKey, errors: &[RespErr]) -> Result<(), EmbeddedError> {
        let errors = errors.to_vec();
        self.order(move |cluster| {
            cluster.request_errors(api, &errors);
            Ok(())
        })
    }
}
