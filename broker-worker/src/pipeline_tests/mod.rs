//! The whole worker on the embedded broker, with doubles for models.

mod endings;
mod flow;
mod offsets;
mod requests;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka::{Broker, EmbeddedBroker, Role, RuntimeDir, from_headers, to_headers};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::{Announcement, ErrorCode, Headers, Outcome, Response, header};

use crate::app::build_with;
use crate::config::Config;
use crate::doubles::{self, Gate};
use crate::group::Delivery;
use crate::models::Models;
use crate::{Ready, RunError, run};

const PARTITIONS: i32 = 4;
/// For what must happen: far longer than it takes, so that a busy machine fails nothing.
const PATIENCE: Duration = Duration::from_secs(90);

struct Fixture {
    broker: EmbeddedBroker,
    dir: tempfile::TempDir,
    producer: BaseProducer,
}

struct Worker {
    address: SocketAddr,
    end: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
    ready: oneshot::Receiver<Ready>,
}

impl Fixture {
    fn new() -> Self {
        let topics = kafka::Topics::default();
        let broker = EmbeddedBroker::start(&topics.names(), PARTITIONS).unwrap();
        let producer = kafka::Settings::default()
            .client_config(&broker.broker(), Role::Producer)
            .unwrap()
            .create()
            .unwrap();
        Self { broker, dir: tempfile::tempdir().unwrap(), producer }
    }

    fn config(&self) -> Config {
        let mut config = Config { instances: Some(2), ..Config::default() };
        config.kafka.bootstrap_servers = Some(self.broker.bootstrap_servers().to_owned());
        config
    }

    async fn start(&self, config: Config, models: Models) -> Worker {
        self.start_with_patience(config, models, PATIENCE).await
    }

    /// A worker that takes a room for stuck after that long at one piece of work.
    async fn start_with_patience(&self, config: Config, models: Models, patience: Duration) -> Worker {
        let app = build_with(config, models, &RuntimeDir::at(self.dir.path())).await.unwrap();
        let app = app.with_patience(patience);
        let (said, ready) = oneshot::channel();
        let end = CancellationToken::new();
        let address = app.http_address();
        let task = tokio::spawn(run(app, end.clone(), move |r| drop(said.send(r.clone()))));
        Worker { address, end, task, ready }
    }

    fn send(&self, id: &str, value: &[u8], headers: &[(&str, &str)]) {
        let mut all = Headers::new();
        all.push(header::ID, id);
        headers.iter().for_each(|(name, text)| all.push(*name, *text));
        let record =
            BaseRecord::to("predict.requests").key(id).payload(value).headers(to_headers(all.iter()));
        self.producer.send(record).map_err(|(e, _)| e).unwrap();
    }

    fn flush(&self) {
        self.producer.flush(PATIENCE).unwrap();
    }

    fn consumer(&self, group: &str) -> BaseConsumer {
        let broker = Broker::embedded(self.broker.bootstrap_servers());
        let mut client = kafka::Settings::default().client_config(&broker, Role::Consumer).unwrap();
        client.set("group.id", group).create().unwrap()
    }

    /// Reads a topic from its beginning until `enough` says so.
    fn read(&self, topic: &str, enough: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let consumer = self.consumer("reader");
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        let mut seen = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while !enough(&seen) {
            assert!(Instant::now() < deadline, "{topic} holds {} records only", seen.len());
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
                seen.push(Seen {
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: from_headers(&message).unwrap().into_iter().collect(),
                });
            }
        }
        seen
    }

    /// Until there are that many different ids among the replies.
    fn replies(&self, ids: usize) -> HashMap<String, Vec<Response>> {
        let read = |seen: &[Seen]| {
            let mut replies: HashMap<String, Vec<Response>> = HashMap::new();
            for record in seen {
                let response = Response::decode(&record.headers, record.value.as_deref().unwrap()).unwrap();
                replies.entry(response.request_id.clone()).or_default().push(response);
            }
            replies
        };
        read(&self.read("predict.results", |seen| read(seen).len() >= ids))
    }

    /// How many records of each partition the group has committed, and how many there are.
    fn committed(&self) -> BTreeMap<i32, (Offset, i64)> {
        let consumer = self.consumer("mlaas-workers");
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition("predict.requests", partition);
        }
        let committed = consumer.committed_offsets(list, PATIENCE).unwrap();
        let end = |p| consumer.fetch_watermarks("predict.requests", p, PATIENCE).unwrap().1;
        committed.elements().iter().map(|e| (e.partition(), (e.offset(), end(e.partition())))).collect()
    }

    /// How many records a topic holds.
    fn count(&self, topic: &str) -> usize {
        let consumer = self.consumer("counter");
        let held = |p| consumer.fetch_watermarks(topic, p, PATIENCE).map(|(low, high)| high - low).unwrap();
        usize::try_from((0..PARTITIONS).map(held).sum::<i64>()).unwrap()
    }

    /// The partitions that are not committed to their ends, each with what is committed and where its end is.
    fn uncommitted(&self) -> BTreeMap<i32, (Offset, i64)> {
        let mut partitions = self.committed();
        // A worker that ends at once has committed nothing on a partition without records.
        partitions.retain(|_, (committed, end)| *committed != Offset::Offset(*end) && *end != 0);
        partitions
    }

    fn assert_all_committed(&self) {
        assert_eq!(self.uncommitted(), BTreeMap::new());
    }

    async fn wait_committed(&self) {
        let all = async {
            while !self.uncommitted().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.unwrap();
    }
}

#[derive(Debug)]
struct Seen {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Headers,
}

impl Worker {
    async fn ready(&mut self) -> Ready {
        tokio::time::timeout(PATIENCE, &mut self.ready).await.unwrap().unwrap()
    }

    async fn stop(self) -> Result<(), RunError> {
        self.end.cancel();
        self.task.await.unwrap()
    }

    /// As kill -9, but for the goodbye to the group, which spares the tests its timeout.
    async fn kill(self) {
        self.task.abort();
        drop(self.task.await);
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let lines = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Until that page answers with that code; what it says then.
    async fn wait_for_page(&self, path: &str, code: u16) -> String {
        let wait = async {
            loop {
                match self.get(path).await {
                    (status, body) if status == code => break body,
                    _ => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{path} never answered {code}"))
    }

    async fn wait_for(&self, name: &str, enough: impl Fn(f64) -> bool) {
        let wait = async {
            while !enough(self.metric(name).await) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{name} never came there"));
    }
}

fn models() -> Models {
    Models::new(vec![doubles::served("shoe", 1), doubles::served("bird", 2)], "shoe", "weights").unwrap()
}

fn gated(gate: &Arc<Gate>) -> Models {
    Models::new(vec![doubles::gated("shoe", 1, Arc::clone(gate))], "shoe", "weights").unwrap()
}

fn label(response: &Response) -> Result<&str, ErrorCode> {
    match &response.outcome {
        Outcome::Success(success) => Ok(&success.predictions[0].label),
        Outcome::Error(error) => Err(error.code),
    }
}
