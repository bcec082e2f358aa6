//! Whether a broker answers, and what it is.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::producer::{BaseProducer, Producer};

use crate::log::{HearingContext, words};
use crate::settings::SettingsError;

/// How the cluster id of librdkafka's mock cluster, the embedded broker, begins.
const EMBEDDED_CLUSTER_ID: &str = "mockCluster";

/// How long one question waits at most: librdkafka counts milliseconds in 32 bits.
const ONE_QUESTION: Duration = Duration::from_secs(60);
/// Longer than anybody waits: a clock can't be set past its end.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A cluster that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// It is the embedded broker.
    pub embedded: bool,
    /// Where it says that its brokers are, `host:port` each. They need not be reachable from here.
    pub advertised: Vec<String>,
}

/// Why there is no cluster.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProbeError {
    /// No broker answered.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// It was not even tried: the settings can't be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
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
/// [`ProbeError`], one sentence that names the address or the setting.
pub async fn probe(config: &ClientConfig, timeout: Duration) -> Result<Cluster, ProbeError> {
    let config = config.clone();
    let address = config.get("bootstrap.servers").unwrap_or_default().to_owned();
    let failed = |reason: String| Unreachable { address: address.clone(), waited: timeout, reason };
    let answer = tokio::task::spawn_blocking(move || ask(&config, timeout.min(LONGEST)))
        .await
        .map_err(|e| failed(e.to_string()))??;
    Ok(answer.map_err(failed)?)
}

/// The cluster, or the reason why none answered.
fn ask(config: &ClientConfig, timeout: Duration) -> Result<Result<Cluster, String>, SettingsError> {
    let deadline = Instant::now() + timeout;
    let left = || deadline.saturating_duration_since(Instant::now()).min(ONE_QUESTION);
    let context = HearingContext::default();
    // A file of certificates that can't be read shows here.
    let producer: BaseProducer<HearingContext> = config
        .clone()
        .set_log_level(RDKafkaLogLevel::Error)
        .create_with_context(context.clone())
        .map_err(|e| SettingsError::Rejected { reason: e.to_string() })?;
    loop {
        match producer.client().fetch_metadata(None, left()) {
            Ok(metadata) if !metadata.brokers().is_empty() => {
                let id = producer.client().fetch_cluster_id(left()).unwrap_or_default();
                let brokers = metadata.brokers().iter();
                let advertised = brokers.map(|b| format!("{}:{}", b.host(), b.port())).collect();
                return Ok(Ok(Cluster { embedded: is_embedded(Some(&id)), advertised }));
            }
            answer => {
                // Errors wait in a queue until they are polled for.
                for _ in 0..32 {
                    producer.poll(Duration::ZERO);
                }
                if Instant::now() >= deadline {
                    return Ok(Err(context.heard().unwrap_or_else(|| match answer {
                        Ok(_) => "it names no brokers".to_owned(),
                        Err(error) => words(&error),
                    })));
                }
                std::thread::sleep(Duration::from_millis(100).min(left()));
            }
        }
    }
}
