//! The answer to a request that somebody sent earlier, perhaps another process: looked up on the results topic, within
//! bounds, since whoever asks may ask for what never was.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use tokio::sync::Semaphore;
use wire::{Headers, Response, header};

use crate::claim::Claim;
use crate::cluster::Cluster;
use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::reading::{self, Reader};

/// What a look found.
#[derive(Clone, Debug, PartialEq)]
pub enum Looked {
    /// The answer.
    Found(Box<Response>),
    /// It is not there yet, or not any more. Nothing before `next` need be looked at again.
    NotThere {
        /// The offset behind what was read.
        next: i64,
    },
    /// The time that a look may take was over before the end of the partition: nothing before `next` need be looked at again.
    NotReadToItsEnd {
        /// The offset behind what was read.
        next: i64,
    },
}

/// How long the broker may take to say where the partition begins and ends.
const ASK: Duration = Duration::from_secs(5);

/// Looks answers up. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Results(Arc<Inner>);

struct Inner {
    config: ClientConfig,
    cluster: Cluster,
    idle: Mutex<Vec<Reader>>,
    places: Arc<Semaphore>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Results on {}", self.cluster.broker.bootstrap_servers)
    }
}

impl Results {
    /// Finds the broker; at most that many looks go on at once, and further ones wait.
    ///
    /// # Errors
    /// [`ClientError`] where no broker is found or none answers within [`ClientConfig::connect_timeout`].
    pub async fn connect(config: &ClientConfig, at_once: usize) -> Result<Self, ClientError> {
        let cluster = config.cluster(config.connect_deadline()?).await?;
        let places = Arc::new(Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS)));
        Ok(Self(Arc::new(Inner { config: config.clone(), cluster, idle: Mutex::default(), places })))
    }

    /// Reads the claim's partition from its offset on until the answer is found, to the partition's end, or for `limit`.
    /// It does not wait for an answer that is not there yet.
    ///
    /// # Errors
    /// [`ClientError`] where the partition can't be read, or the answer not be understood.
    pub async fn look(&self, claim: &Claim, limit: Duration) -> Result<Looked, ClientError> {
        // It goes with the work: whoever gives up waiting does not make room for more threads than there may be.
        let place = Arc::clone(&self.0.places).acquire_owned().await.map_err(|_| ClientError::Closed)?;
        let (inner, claim) = (Arc::clone(&self.0), claim.clone());
        reading::blocking(move || {
            let _place = place;
            let idle = inner.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let reader = match idle {
                Some(reader) => reader,
                None => Reader::open(
                    &inner.config.kafka,
                    &inner.cluster,
                    &[("enable.partition.eof", "true"), ("fetch.wait.max.ms", "10")],
                )?,
            };
            let looked = look(&reader, &inner.config.topics.results, &claim, limit);
            // One that failed is not used again.
            if looked.is_ok() {
                reader.unassign()?;
                inner.idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
            }
            looked
        })
        .await
    }
}

fn look(reader: &Reader, topic: &str, claim: &Claim, limit: Duration) -> Result<Looked, ClientError> {
    let deadline = Instant::now() + ASK;
    let partitions = reader.partitions_now(topic, deadline)?.unwrap_or_default();
    if partitions.iter().all(|partition| partition.id != claim.partition) {
        return Ok(Looked::NotThere { next: claim.offset });
    }
    let (low, high) = reader.bounds(topic, claim.partition, deadline)?;
    // Behind the end: a topic that was made anew, or an offset that somebody made up.
    let mut next = claim.offset.max(low);
    if next >= high {
        return Ok(Looked::NotThere { next: claim.offset });
    }
    reader.assign(topic, &[(claim.partition, next)])?;
    let ends = Instant::now() + limit;
    while next < high {
        if Instant::now() >= ends {
            return Ok(Looked::NotReadToItsEnd { next });
        }
        match reader.poll() {
            Some(Ok(message)) => {
                next = message.offset() + 1;
                if let Some(found) = answer(&message, &claim.request_id) {
                    return found.map(|response| Looked::Found(Box::new(response)));
                }
            }
            // Behind the last record there may be offsets that hold none.
            Some(Err(KafkaError::PartitionEOF(_))) => next = high,
            Some(Err(error)) => {
                let error = reader.fault(topic, error);
                if reading::is_final(&error) {
                    return Err(error);
                }
                tracing::debug!(%error, "looking for an answer");
            }
            None => {}
        }
    }
    Ok(Looked::NotThere { next })
}

/// The answer, if that is what the record is.
fn answer(message: &BorrowedMessage<'_>, id: &str) -> Option<Result<Response, ClientError>> {
    let headers: Headers = kafka::from_headers(message).unwrap_or_default().into_iter().collect();
    let named =
        [header::ID, header::CORRELATION_ID].into_iter().any(|name| headers.get(name) == Some(id.as_bytes()));
    if !named {
        return None;
    }
    let decoded = Response::decode(&headers, message.payload().unwrap_or_default());
    Some(decoded.map_err(|source| ClientError::BadReply { id: id.to_owned(), source }))
}
