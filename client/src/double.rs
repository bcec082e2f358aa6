//! A double in place of a worker, for the tests of what is built on this library (feature `double`): a thread that reads
//! requests and answers them as it is told.

use std::time::Duration;

use jiff::Timestamp;
use kafka::{Broker, Role, Settings, Topics};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use wire::{
    Announcement, Envelope, Headers, ModelId, Outcome, Prediction, Request, Response, Snapshot, Success,
    Timings,
};

use crate::error::ClientError;
use crate::thread::Thread;

/// How long broker and topics are waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks for requests.
const POLL: Duration = Duration::from_millis(10);

/// A request, as it came.
#[derive(Debug)]
pub struct Received {
    /// What stood beside the value.
    pub envelope: Envelope,
    /// All headers.
    pub headers: Headers,
    /// What is asked.
    pub request: Request<'static>,
}

impl Received {
    /// The model that is asked for, `default` where none is, with the label that the image's own bytes are as text, and as many
    /// others as are asked for.
    #[must_use]
    pub fn echo(&self) -> Outcome {
        let text =
            String::from_utf8_lossy(&self.request.image[..self.request.image.len().min(64)]).into_owned();
        let name = self.request.model.clone().unwrap_or_else(|| "default".to_owned());
        let model = ModelId {
            name,
            version: self.request.model_version.unwrap_or(1),
            digest: format!("sha256:{}", "0".repeat(64)),
        };
        let prediction = |k: u32| Prediction {
            label: if k == 0 { text.clone() } else { format!("other {k}") },
            index: Some(k),
            probability: 0.5_f32.powi(i32::try_from(k).unwrap_or(i32::MAX).saturating_add(1)),
        };
        let predictions = (0..self.request.top_k.unwrap_or(1).min(3)).map(prediction).collect();
        Outcome::Success(Success { model, predictions, batch_size: 1 })
    }
}

/// What is to be answered now.
pub type Replies = Vec<(Received, Outcome)>;

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Double(#[expect(dead_code, reason = "held, not read")] Thread);

impl Double {
    /// `behaviour` is called with each request that lies on the topic or comes, and with none whenever there is none for a
    /// moment.
    ///
    /// # Errors
    /// [`ClientError`] where the broker does not answer.
    pub fn start(
        broker: &Broker,
        topics: &Topics,
        mut behaviour: impl FnMut(Option<Received>) -> Replies + Send + 'static,
    ) -> Result<Self, ClientError> {
        let settings = Settings::default();
        let mut config = settings.client_config(broker, Role::Consumer)?;
        let consumer: BaseConsumer = config.set("group.id", "double").create().map_err(ClientError::Kafka)?;
        let producer: BaseProducer =
            settings.client_config(broker, Role::Producer)?.create().map_err(ClientError::Kafka)?;
        let metadata =
            consumer.fetch_metadata(Some(&topics.requests), PATIENCE).map_err(ClientError::Kafka)?;
        let ids = metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|p| p.id());
        let mut positions = Vec::new();
        for id in ids {
            let (start, _) =
                consumer.fetch_watermarks(&topics.requests, id, PATIENCE).map_err(ClientError::Kafka)?;
            positions.push((id, start));
        }
        let list = kafka::positions(&topics.requests, &positions).map_err(ClientError::Kafka)?;
        consumer.assign(&list).map_err(ClientError::Kafka)?;
        let results = topics.results.clone();
        Thread::start("client-double", move |running| {
            while running.go_on() {
                let received = match consumer.poll(POLL) {
                    Some(Ok(message)) => {
                        let headers: Headers =
                            kafka::from_headers(&message).unwrap_or_default().into_iter().collect();
                        let envelope = Envelope::read(message.key(), &headers);
                        let value = message.payload().unwrap_or_default();
                        match Request::decode(&envelope, value, wire::MAX_VALUE_BYTES) {
                            Ok(request) => {
                                Some(Received { request: request.into_owned(), envelope, headers })
                            }
                            Err(_) => continue,
                        }
                    }
                    Some(Err(_)) => continue,
                    None => None,
                };
                for (received, outcome) in behaviour(received) {
                    reply(&producer, &results, received, outcome);
                }
                producer.poll(Duration::ZERO);
            }
            producer.flush(Duration::from_secs(1)).ok();
        })
        .map(Self)
    }

    /// Answers each request with [`Received::echo`].
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn echo(broker: &Broker, topics: &Topics) -> Result<Self, ClientError> {
        Self::start(broker, topics, |received| {
            let answered = |received: Received| {
                let outcome = received.echo();
                (received, outcome)
            };
            received.map(answered).into_iter().collect()
        })
    }
}

fn reply(producer: &BaseProducer, results: &str, received: Received, outcome: Outcome) {
    let Received { envelope, request, .. } = received;
    let response = Response {
        request_id: request.id,
        outcome,
        timings: Timings::default(),
        worker: "double".to_owned(),
    };
    let encoding = envelope.answer_encoding(b"");
    let headers = response.headers(encoding, Timestamp::now(), &envelope.reply_to, &envelope.trace);
    let value = response.encode(encoding);
    let mut record = BaseRecord::to(envelope.reply_to.topic.as_deref().unwrap_or(results))
        .key(response.request_id.as_bytes())
        .payload(&value[..])
        .headers(kafka::to_headers(headers.iter()));
    record.partition = envelope.reply_to.partition;
    // A test that waits for it in vain says so.
    producer.send(record).ok();
}

/// Says that a model is served, as a worker does; `None` in its place takes it back.
///
/// # Errors
/// [`ClientError`] where the broker does not take it.
pub fn announce(
    broker: &Broker,
    topics: &Topics,
    key: &str,
    announcement: Option<&Announcement>,
) -> Result<(), ClientError> {
    write(broker, &topics.models, key, announcement.map(Announcement::encode).as_deref())
}

/// Publishes what a worker has done, as one does each second.
///
/// # Errors
/// [`ClientError`] where the broker does not take it.
pub fn publish(broker: &Broker, topics: &Topics, snapshot: &Snapshot) -> Result<(), ClientError> {
    write(broker, &topics.snapshots, &snapshot.worker, Some(&snapshot.encode()))
}

/// How many records lie on a topic.
///
/// # Errors
/// [`ClientError`] where the broker does not answer.
pub fn records(broker: &Broker, topic: &str) -> Result<i64, ClientError> {
    let config = Settings::default().client_config(broker, Role::Consumer)?;
    let consumer: BaseConsumer =
        config.clone().set("group.id", "double").create().map_err(ClientError::Kafka)?;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).map_err(ClientError::Kafka)?;
    let mut records = 0;
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (low, high) =
            consumer.fetch_watermarks(topic, partition.id(), PATIENCE).map_err(ClientError::Kafka)?;
        records += high - low;
    }
    Ok(records)
}

/// Writes a value under a key, as whoever keeps a compacted topic does; `None` in its place takes it back.
///
/// # Errors
/// [`ClientError`] where the broker does not take it.
pub fn write(broker: &Broker, topic: &str, key: &str, value: Option<&[u8]>) -> Result<(), ClientError> {
    let config = Settings::default().client_config(broker, Role::Producer)?;
    let producer: BaseProducer = config.create().map_err(ClientError::Kafka)?;
    let mut record = BaseRecord::<str, [u8]>::to(topic).key(key);
    record.payload = value;
    producer.send(record).map_err(|(error, _)| ClientError::Kafka(error))?;
    producer.flush(PATIENCE).map_err(ClientError::Kafka)
}
