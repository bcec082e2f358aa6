//! What is committed, beside what `account` asks of every test: behind transactions, and when.

use std::time::Duration;

use e2e::account::{Account, Expect};
use e2e::images::clothes;
use e2e::layout::Layout;
use e2e::scene::{Kind, PARTITIONS, Scene};
use e2e::traffic::{Acknowledged, Record};
use kafka::to_headers;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};

use crate::FASHION_ONLY;

type Transactional = ThreadedProducer<rdkafka::producer::DefaultProducerContext>;

const LIMIT: Duration = Duration::from_secs(60);

fn transactional(scene: &Scene) -> Transactional {
    let producer: Transactional = ClientConfig::new()
        .set("bootstrap.servers", &scene.bootstrap_servers)
        .set("transactional.id", format!("{}-sender", scene.group))
        .set("log_level", "0")
        .create()
        .unwrap();
    producer.init_transactions(LIMIT).unwrap();
    producer
}

fn put(producer: &Transactional, scene: &Scene, records: &[Record]) {
    producer.begin_transaction().unwrap();
    for record in records {
        let outgoing = BaseRecord::<[u8], [u8]>::to(&scene.topics.requests)
            .partition(record.partition.unwrap())
            .headers(to_headers(record.headers.iter()));
        producer
            .send(outgoing.payload(record.value.as_deref().unwrap()))
            .map_err(|(error, _)| error)
            .unwrap();
    }
    producer.flush(LIMIT).unwrap();
}

/// A transaction ends with a marker, which is no record and has an offset; an aborted one leaves its records too, which
/// nobody is given. Both stand at the end of each partition here, and before the worker comes and while it is at rest.
#[test]
fn behind_a_transactional_producer_the_end_is_committed() {
    let scene = Scene::on(Kind::Kafka);
    let producer = transactional(&scene);
    let sample = &clothes()[0];
    let mut account = Account::default();
    let mut round = |name: &str| {
        let record = |kind: &str, partition| {
            Record::bytes(&format!("{name}-{kind}-{partition}"), sample.bytes.clone()).on(partition)
        };
        let good: Vec<Record> = (0..PARTITIONS).map(|partition| record("good", partition)).collect();
        put(&producer, &scene, &good);
        producer.commit_transaction(LIMIT).unwrap();
        let acknowledged = |record: &Record| Acknowledged {
            id: record.id(),
            partition: record.partition.unwrap(),
            offset: -1,
        };
        account.sent(&good, good.iter().map(acknowledged).collect(), |_| Expect::Label(sample.label.clone()));
        let aborted: Vec<Record> = (0..PARTITIONS).map(|partition| record("aborted", partition)).collect();
        put(&producer, &scene, &aborted);
        producer.abort_transaction(LIMIT).unwrap();
        // It settles only where the committed offset is the end on each partition.
        if name == "at-rest" {
            scene.settle(&mut account);
        }
    };
    round("before");
    let _worker = scene.worker("w1", FASHION_ONLY);
    round("at-rest");
    account.assert_whole(0);
}

/// Whatever scales workers by their lag sees none where a group has never committed.
#[test]
fn a_group_that_finds_no_requests_commits_where_they_will_begin() {
    let scene = Scene::on(Kind::Kafka);
    let _worker = scene.worker("w1", FASHION_ONLY);
    let committed =
        || e2e::traffic::Offsets::committed(&scene.bootstrap_servers, &scene.group, &scene.topics.requests);
    e2e::wait_until("an offset of each partition", e2e::PATIENCE, || {
        let committed = committed();
        if committed.iter().all(|offset| *offset == Some(0)) { Ok(()) } else { Err(format!("{committed:?}")) }
    });
}

/// Requests that lie on the topic, each on the first partition, and are read or are not.
fn on_the_first(name: &str, count: usize) -> Vec<Record> {
    let sample = &clothes()[0];
    (0..count).map(|i| Record::bytes(&format!("{name}-{i}"), sample.bytes.clone()).on(0)).collect()
}

/// What the topic's retention has removed before anybody read it can't be answered: the rest is, and the log says so.
#[test]
fn requests_that_are_removed_before_they_are_read_are_said() {
    let scene = Scene::laid_out(Kind::Kafka, &Layout { partitions: 1, ..Layout::default() });
    let label = clothes().remove(0).label;
    let mut account = Account::default();
    let sender = scene.sender();
    {
        let _worker = scene.worker("w1", FASHION_ONLY);
        let read = on_the_first("read", 10);
        account.sent(&read, sender.send(&read), |_| Expect::Label(label.clone()));
        scene.settle(&mut account);
    }
    drop(sender.send(&on_the_first("removed", 30)));
    let left = on_the_first("left", 10);
    account.sent(&left, sender.send(&left), |_| Expect::Label(label.clone()));
    scene.remove_before(&scene.topics.requests, 0, 40);
    let worker = scene.worker("w2", FASHION_ONLY);
    scene.settle(&mut account);
    account.assert_whole(0);
    let log = worker.process.stderr.text();
    assert!(log.contains("requests may be lost") && log.contains("[0]: offset reset (at offset 10"), "{log}");
}
