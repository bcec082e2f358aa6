//! The whole worker on the embedded broker, with doubles for models.

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

use crate::config::{Config, Delivery};
use crate::doubles::{self, Gate};
use crate::models::Models;
use crate::{Ready, RunError, build_with, run};

const PARTITIONS: i32 = 4;
/// For what must happen: far longer than it takes, so that a busy machine fails nothing.
const PATIENCE: Duration = Duration::from_secs(90);

struct Bench {
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

impl Bench {
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
        let app = build_with(config, models, &RuntimeDir::at(self.dir.path())).await.unwrap();
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
                    headers: from_headers(message.headers()).into_iter().collect(),
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

    fn assert_all_committed(&self) {
        for (partition, (committed, end)) in self.committed() {
            assert_eq!(committed, Offset::Offset(end), "partition {partition}");
        }
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

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_among_good_ones_get_their_errors_and_the_good_ones_their_labels() {
    let bench = Bench::new();
    let mut worker = bench.start(bench.config(), models()).await;
    let mut expected: HashMap<String, Result<String, ErrorCode>> = HashMap::new();
    let mut dead = Vec::new();
    let past = [(header::DEADLINE, "2020-01-01T00:00:00Z")];
    for round in 0..10_u8 {
        let mut send =
            |name: &str, value: &[u8], headers: &[(&str, &str)], answer: Result<String, ErrorCode>| {
                let id = format!("{name}-{round}");
                bench.send(&id, value, headers);
                if answer == Err(ErrorCode::InvalidArgument) {
                    dead.push((id.clone(), value.to_vec()));
                }
                expected.insert(id, answer);
            };
        let good = || Ok(format!("value {round}"));
        let image = doubles::image(round);
        send("good", &image, &[], good());
        send("bird", &image, &[(header::MODEL, "bird"), (header::MODEL_VERSION, "2")], good());
        send("garbage", b"garbage", &[], Err(ErrorCode::InvalidArgument));
        send("empty", b"", &[], Err(ErrorCode::InvalidArgument));
        send("type", &image, &[(header::CONTENT_TYPE, "text/html")], Err(ErrorCode::InvalidArgument));
        send("decoder", &doubles::PANIC_IN_DECODER, &[], Err(ErrorCode::InvalidArgument));
        send("model", &image, &[(header::MODEL, "fish")], Err(ErrorCode::NotFound));
        send("version", &image, &[(header::MODEL_VERSION, "7")], Err(ErrorCode::NotFound));
        send("expired", &image, &past, Err(ErrorCode::DeadlineExceeded));
        send("fails", &doubles::image(doubles::FAILS), &[], Err(ErrorCode::Internal));
        send("panics", &doubles::image(doubles::PANICS), &[], Err(ErrorCode::Internal));
        send("last", &image, &[], good());
    }
    bench.flush();
    let replies = bench.replies(expected.len());
    for (id, answer) in &expected {
        let replies = &replies[id];
        assert_eq!(replies.len(), 1, "{id} is answered once");
        assert_eq!(&label(&replies[0]).map(str::to_owned), answer, "{id}");
    }
    let letters = bench.read("predict.dead-letter", |seen| seen.len() >= dead.len());
    assert_eq!(letters.len(), dead.len());
    for (id, value) in dead {
        let letter = letters.iter().find(|l| l.key.as_deref() == Some(id.as_bytes())).unwrap();
        assert_eq!(letter.value.as_deref().unwrap_or_default(), value, "{id}");
        assert_eq!(letter.headers.get("__connect.errors.topic"), Some(&b"predict.requests"[..]));
        assert_eq!(letter.headers.get(header::ID), Some(id.as_bytes()));
    }
    worker.ready().await;
    assert_eq!(worker.metric("nv_inference_request_success").await, 30.0);
    assert_eq!(worker.metric("nv_inference_request_failure").await, 90.0);
    assert_eq!(worker.metric("mlaas_worker_dead_letters_total").await, 40.0);
    worker.stop().await.unwrap();
    bench.assert_all_committed();
}

/// Ten requests are taken and none is answered; the worker dies; another one comes. Returns who was answered.
async fn die_with_ten_requests(delivery: Delivery) -> (Bench, usize) {
    let bench = Bench::new();
    let mut config = bench.config();
    config.group.delivery = delivery;
    let gate = Arc::new(Gate::default());
    let mut first = bench.start(config.clone(), gated(&gate)).await;
    first.ready().await;
    (0..10).for_each(|i| bench.send(&i.to_string(), &doubles::image(i), &[]));
    bench.flush();
    first.wait_for("mlaas_worker_in_flight_requests", |n| n >= 10.0).await;
    if delivery == Delivery::AtLeastOnce {
        let taken: Vec<_> = bench.committed().into_values().map(|(offset, _)| offset).collect();
        assert!(taken.iter().all(|o| matches!(o, Offset::Invalid | Offset::Offset(0))), "{taken:?}");
    }
    first.kill().await;

    let open = Arc::new(Gate::default());
    open.open();
    let mut second = bench.start(config, gated(&open)).await;
    second.ready().await;
    bench.send("after", &doubles::image(99), &[]);
    bench.flush();
    // Whatever the second one was given before this, it has answered by then: it answers a partition in order.
    second.wait_for("nv_inference_request_success", |n| n >= 1.0).await;
    second.stop().await.unwrap();
    let answered = bench.replies(1).len();
    gate.open();
    (bench, answered)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_loses_nothing() {
    let (bench, _) = die_with_ten_requests(Delivery::AtLeastOnce).await;
    assert_eq!(bench.replies(11).len(), 11);
    bench.assert_all_committed();
}

/// The control of the test above: where offsets are committed on receipt, it would fail.
#[tokio::test(flavor = "multi_thread")]
async fn committing_on_receipt_loses_what_a_worker_that_dies_holds() {
    let (bench, answered) = die_with_ten_requests(Delivery::AtMostOnce).await;
    assert_eq!(answered, 1, "only the request that came after");
    bench.assert_all_committed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_worker_pauses_and_goes_on_when_there_is_room() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.queue.backpressure.high_requests = 8;
    config.queue.backpressure.low_requests = 4;
    config.batching.max_batch_size = 4;
    let gate = Arc::new(Gate::default());
    let mut worker = bench.start(config, gated(&gate)).await;
    worker.ready().await;
    (0..100).for_each(|i| bench.send(&i.to_string(), &doubles::image(i), &[]));
    bench.flush();
    worker.wait_for("mlaas_worker_paused", |paused| paused == 1.0).await;
    assert_eq!(worker.metric("mlaas_worker_in_flight_requests").await, 8.0);
    assert_eq!(worker.get("/readyz").await.0, 200, "full is not ill: it polls and is a member");
    gate.open();
    assert_eq!(bench.replies(100).len(), 100);
    worker.stop().await.unwrap();
    bench.assert_all_committed();
    assert_eq!(bench.count("predict.results"), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_went_while_they_were_paused_come_back_unpaused() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.queue.backpressure.high_requests = 8;
    config.queue.backpressure.low_requests = 4;
    let gate = Arc::new(Gate::default());
    let mut first = bench.start(config.clone(), gated(&gate)).await;
    first.ready().await;
    (0..100).for_each(|i| bench.send(&i.to_string(), &doubles::image(i), &[]));
    bench.flush();
    first.wait_for("mlaas_worker_paused", |paused| paused == 1.0).await;
    let mut second = bench.start(config, models()).await;
    second.ready().await;
    // The second one has partitions that the first one had paused, and then the first one has room again.
    second.wait_for("nv_inference_request_success", |n| n > 0.0).await;
    gate.open();
    assert_eq!(bench.replies(100).len(), 100);
    second.stop().await.unwrap();
    // All partitions are the first one's again.
    (100..200).for_each(|i| bench.send(&i.to_string(), &doubles::image((i - 100) as u8), &[]));
    bench.flush();
    assert_eq!(bench.replies(200).len(), 200);
    first.stop().await.unwrap();
    bench.assert_all_committed();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_what_was_taken_and_takes_the_announcements_back() {
    let bench = Bench::new();
    let gate = Arc::new(Gate::default());
    let mut worker = bench.start(bench.config(), gated(&gate)).await;
    let ready = worker.ready().await;
    assert_eq!(ready.models, ["shoe/1"]);
    assert!(ready.embedded);
    (0..20).for_each(|i| bench.send(&i.to_string(), &doubles::image(i), &[]));
    bench.flush();
    worker.wait_for("mlaas_worker_in_flight_requests", |n| n >= 20.0).await;
    worker.end.cancel();
    let draining = async {
        while worker.get("/readyz").await.0 == 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, draining).await.unwrap();
    assert!(!worker.task.is_finished());
    gate.open();
    worker.stop().await.unwrap();
    assert_eq!(bench.replies(20).len(), 20);
    bench.assert_all_committed();
    assert_eq!(bench.count("predict.results"), 20);
    let said = bench.read("predict.models", |seen| seen.iter().any(|s| s.value.is_none()));
    let announcement = Announcement::decode(said[0].value.as_deref().unwrap()).unwrap();
    assert_eq!((announcement.model.as_str(), announcement.default), ("shoe", true));
    assert_eq!(said.last().unwrap().key, Some(announcement.key().into_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grace_time_that_is_too_short_is_said_and_loses_nothing() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.shutdown.grace = Duration::from_millis(200);
    let gate = Arc::new(Gate::default());
    let mut worker = bench.start(config, gated(&gate)).await;
    worker.ready().await;
    bench.send("held", &doubles::image(1), &[]);
    bench.flush();
    worker.wait_for("mlaas_worker_in_flight_requests", |n| n >= 1.0).await;
    assert!(matches!(worker.stop().await, Err(RunError::Unanswered(1))));
    assert!(bench.committed().values().all(|(offset, _)| *offset != Offset::Offset(1)));
    gate.open();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_takes_its_share_and_nothing_is_lost_or_answered_twice() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.name = Some("first".into());
    let mut first = bench.start(config.clone(), models()).await;
    first.ready().await;
    config.name = Some("second".into());
    let mut second = bench.start(config, models()).await;
    let mut sent = 0;
    let mut send = |n: u32| {
        (0..n).for_each(|_| {
            bench.send(&sent.to_string(), &doubles::image((sent % 100) as u8), &[]);
            sent += 1;
        });
        bench.flush();
        sent as usize
    };
    // Records flow while the group moves.
    while second.metric("nv_inference_request_success").await == 0.0 {
        send(20);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    second.ready().await;
    let all = send(100);
    let replies = bench.replies(all);
    let workers: std::collections::HashSet<_> = replies.values().map(|r| r[0].worker.clone()).collect();
    assert_eq!(workers.len(), 2);
    first.stop().await.unwrap();
    second.stop().await.unwrap();
    bench.assert_all_committed();
    assert_eq!(bench.count("predict.results"), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_for_a_while_costs_nothing_but_time() {
    let bench = Bench::new();
    let mut worker = bench.start(bench.config(), models()).await;
    worker.ready().await;
    (0..20).for_each(|i| bench.send(&i.to_string(), &doubles::image(i), &[]));
    bench.flush();
    bench.replies(20);
    bench.broker.broker_down().unwrap();
    let away = async {
        while worker.get("/readyz").await.0 == 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, away).await.unwrap();
    bench.broker.broker_up().unwrap();
    (20..40).for_each(|i| bench.send(&i.to_string(), &doubles::image(i), &[]));
    bench.flush();
    bench.replies(40);
    worker.stop().await.unwrap();
    bench.assert_all_committed();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_reply_partition_gives_way_to_the_results_topic() {
    let bench = Bench::new();
    let mut worker = bench.start(bench.config(), models()).await;
    worker.ready().await;
    let mut headers = Headers::new();
    headers.push(header::ID, "lost");
    headers.push(header::REPLY_TOPIC, "predict.results");
    headers.push(header::REPLY_PARTITION, 99_i32.to_be_bytes());
    let image = doubles::image(5);
    let record =
        BaseRecord::to("predict.requests").key("lost").payload(&image).headers(to_headers(headers.iter()));
    bench.producer.send(record).map_err(|(e, _)| e).unwrap();
    bench.flush();
    let replies = bench.replies(1);
    assert_eq!(label(&replies["lost"][0]), Ok("value 5"));
    assert_eq!(worker.metric("mlaas_worker_rerouted_replies_total").await, 1.0);
    worker.stop().await.unwrap();
    bench.assert_all_committed();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_broker_the_first_worker_starts_one_and_the_second_joins_it_and_ends_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = RuntimeDir::at(dir.path());
    let start = async |name: &str| {
        let config = Config { instances: Some(1), name: Some(name.to_owned()), ..Config::default() };
        let app = build_with(config, models(), &runtime).await.unwrap();
        let (servers, end) = (app.bootstrap_servers(), CancellationToken::new());
        (servers, end.clone(), tokio::spawn(run(app, end, |_| {})))
    };
    let (first, end, owner) = start("first").await;
    let (second, _end, guest) = start("second").await;
    assert_eq!(first, second);
    end.cancel();
    owner.await.unwrap().unwrap();
    let ended = tokio::time::timeout(PATIENCE, guest).await.unwrap().unwrap();
    assert!(matches!(ended, Err(RunError::BrokerGone(servers)) if servers == first));
}
