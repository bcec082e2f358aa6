//! Whether a broker answers, and what it is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

/// How the cluster id of librdkafka's mock cluster, the embedded broker, begins.
const EMBEDDED_CLUSTER_ID: &str = "mockCluster";

/// A cluster that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// It is the embedded broker.
    pub embedded: bool,
    /// How many brokers it has.
    pub brokers: usize,
}

/// No broker answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no Kafka broker answers at {address} within {}: {reason}", seconds(.waited))]
pub struct Unreachable {
    /// The addresses that were tried.
    pub address: String,
    /// For how long.
    pub waited: Duration,
    /// The last thing that was heard.
    pub reason: String,
}

pub(crate) fn is_embedded(cluster_id: Option<&str>) -> bool {
    cluster_id.is_some_and(|id| id.starts_with(EMBEDDED_CLUSTER_ID))
}

fn seconds(waited: &Duration) -> String {
    format!("{} s", (waited.as_secs_f64() * 10.0).round() / 10.0)
}

/// Asks the cluster for its metadata, again and again until `timeout`.
///
/// # Errors
/// [`Unreachable`], one sentence that names the address.
pub async fn probe(config: &ClientConfig, timeout: Duration) -> Result<Cluster, Unreachable> {
    let config = config.clone();
    let address = config.get("bootstrap.servers").unwrap_or_default().to_owned();
    let failed = |reason: String| Unreachable { address: address.clone(), waited: timeout, reason };
    tokio::task::spawn_blocking(move || ask(&config, timeout))
        .await
        .map_err(|e| failed(e.to_string()))?
        .map_err(failed)
}

fn ask(config: &ClientConfig, timeout: Duration) -> Result<Cluster, String> {
    let deadline = Instant::now() + timeout;
    let last_error = LastError::default();
    let producer: BaseProducer<LastError> = config
        .clone()
        .set_log_level(RDKafkaLogLevel::Error)
        .create_with_context(last_error.clone())
        .map_err(|e| e.to_string())?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match producer.client().fetch_metadata(None, left) {
            Ok(metadata) if !metadata.brokers().is_empty() => {
                let left = deadline.saturating_duration_since(Instant::now());
                let id = producer.client().fetch_cluster_id(left).unwrap_or_default();
                return Ok(Cluster { embedded: is_embedded(Some(&id)), brokers: metadata.brokers().len() });
            }
            answer => {
                // Errors wait in a queue until they are polled for.
                for _ in 0..32 {
                    producer.poll(Duration::ZERO);
                }
                if Instant::now() >= deadline {
                    return Err(last_error.take().unwrap_or_else(|| match answer {
                        Ok(_) => "it names no brokers".to_owned(),
                        Err(e) => {
                            e.rdkafka_error_code().map_or_else(|| e.to_string(), |code| code.to_string())
                        }
                    }));
                }
                std::thread::sleep(Duration::from_millis(100).min(left));
            }
        }
    }
}

/// librdkafka's words without its name for the connection before them and its own state behind them.
fn plain(reason: &str) -> &str {
    let reason = reason.split_once("/bootstrap: ").map_or(reason, |(_, said)| said);
    reason.split_once(" (after ").map_or(reason, |(said, _)| said)
}

/// Keeps the last client-wide error.
#[derive(Clone, Default)]
struct LastError(Arc<Mutex<Option<String>>>);

impl LastError {
    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for LastError {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        crate::log::line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        crate::log::error(&error, reason);
        // That all brokers are down is said last, and the reason before it.
        if error.rdkafka_error_code() != Some(rdkafka::types::RDKafkaErrorCode::AllBrokersDown) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(plain(reason).to_owned());
        }
    }
}

impl ProducerContext for LastError {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, (): Self::DeliveryOpaque) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_plain() {
        let said = "a:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)";
        assert_eq!(plain(said), "Connect to ipv4#127.0.0.1:1 failed: Connection refused");
        assert_eq!(
            plain("SASL authentication error: wrong password"),
            "SASL authentication error: wrong password"
        );
    }
}
