//! An embedded broker with a thread that answers requests as a test tells it.

pub mod program;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kafka::{EmbeddedBroker, Role, Settings, Topics};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use wire::{
    Envelope, ErrorCode, ErrorReply, Headers, ModelId, Outcome, Prediction, Request, Response, Success,
    Timings,
};

/// Longer than anything takes that works.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A broker with the four topics.
pub fn broker(partitions: i32) -> EmbeddedBroker {
    EmbeddedBroker::start(&Topics::default().names(), partitions).unwrap()
}

/// A request, as it came.
pub struct Received {
    pub envelope: Envelope,
    pub request: Request<'static>,
    /// Key, headers and value together.
    pub bytes: usize,
    pub key: Vec<u8>,
}

impl Received {
    /// The label is the image read as text, so that each answer can be told from all others.
    pub fn success(&self) -> Response {
        let model = ModelId {
            name: self.request.model.clone().unwrap_or_else(|| "default".to_owned()),
            version: self.request.model_version.unwrap_or(1),
            digest: format!("sha256:{}", "0".repeat(64)),
        };
        let label =
            String::from_utf8_lossy(&self.request.image[..self.request.image.len().min(64)]).into_owned();
        let predictions = (0..self.request.top_k.unwrap_or(1))
            .map(|k| Prediction { label: label.clone(), index: Some(k), probability: 0.5 })
            .collect();
        self.response(Outcome::Success(Success { model, predictions, batch_size: 1 }))
    }

    pub fn error(&self, code: ErrorCode, message: &str) -> Response {
        self.response(Outcome::Error(ErrorReply::new(code, message)))
    }

    fn response(&self, outcome: Outcome) -> Response {
        Response {
            request_id: self.request.id.clone(),
            outcome,
            timings: Timings::default(),
            worker: "test".to_owned(),
        }
    }
}

/// Answers, each with the request that it is for.
pub type Replies = Vec<(Received, Vec<Response>)>;

/// The thread; ends when dropped.
pub struct Responder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// `behaviour` is called with each request, and with `None` whenever there is none for a moment.
    pub fn start(
        broker: &EmbeddedBroker,
        mut behaviour: impl FnMut(Option<Received>) -> Replies + Send + 'static,
    ) -> Self {
        let settings = Settings::default();
        let mut config = settings.client_config(&broker.broker(), Role::Consumer).unwrap();
        let consumer: BaseConsumer = config.set("group.id", "responder").create().unwrap();
        let producer: BaseProducer =
            settings.client_config(&broker.broker(), Role::Producer).unwrap().create().unwrap();
        let topics = Topics::default();
        let metadata = consumer.fetch_metadata(Some(&topics.requests), PATIENCE).unwrap();
        let mut partitions = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            partitions.add_partition_offset(&topics.requests, partition.id(), Offset::Offset(0)).unwrap();
        }
        consumer.assign(&partitions).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let replies = match consumer.poll(Duration::from_millis(20)) {
                    Some(Ok(message)) => {
                        let headers: Headers = kafka::from_headers(&message).unwrap().into_iter().collect();
                        let key = message.key().unwrap_or_default().to_vec();
                        let value = message.payload().unwrap_or_default();
                        let envelope = Envelope::read(Some(&key), &headers);
                        let request = Request::decode(&envelope, value, usize::MAX).unwrap().into_owned();
                        let headers: usize =
                            headers.iter().map(|(k, v)| k.len() + v.map_or(0, <[u8]>::len)).sum();
                        let bytes = key.len() + value.len() + headers;
                        behaviour(Some(Received { envelope, request, bytes, key }))
                    }
                    Some(Err(_)) => Vec::new(),
                    None => behaviour(None),
                };
                for (received, responses) in replies {
                    for response in responses {
                        reply(&producer, &received.envelope, &response);
                    }
                }
                producer.poll(Duration::ZERO);
            }
            producer.flush(Duration::from_secs(5)).ok();
        });
        Self { stop, thread: Some(thread) }
    }

    /// Answers each request with its image as label.
    pub fn echo(broker: &EmbeddedBroker) -> Self {
        Self::start(broker, |received| {
            received
                .map(|r| {
                    let response = r.success();
                    (r, vec![response])
                })
                .into_iter()
                .collect()
        })
    }

    /// Takes requests and answers none.
    pub fn silent(broker: &EmbeddedBroker) -> Self {
        Self::start(broker, |_| Vec::new())
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

fn reply(producer: &BaseProducer, envelope: &Envelope, response: &Response) {
    let encoding = envelope.answer_encoding(b"");
    let headers = response.headers(encoding, Timestamp::now(), &envelope.reply_to, &envelope.trace);
    let value = response.encode(encoding);
    let topic = envelope.reply_to.topic.as_deref().unwrap();
    let mut record = BaseRecord::to(topic)
        .key(response.request_id.as_bytes())
        .payload(&value[..])
        .headers(kafka::to_headers(headers.iter()));
    if let Some(partition) = envelope.reply_to.partition {
        record = record.partition(partition);
    }
    producer.send(record).map_err(|(error, _)| error).unwrap();
}

/// Puts one record on a topic, as it is.
pub fn put(broker: &EmbeddedBroker, topic: &str, partition: i32, key: &str, value: Option<&[u8]>) {
    let config = Settings::default().client_config(&broker.broker(), Role::Producer).unwrap();
    let producer: BaseProducer = config.create().unwrap();
    let mut record = BaseRecord::<str, [u8]>::to(topic).partition(partition).key(key);
    record.payload = value;
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
}

/// Waits until `condition` holds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The same for asynchronous tests.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What comes within the limit.
pub async fn limited<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// An address where nobody listens: bound and closed again, nobody else has it at once.
pub fn closed_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}
