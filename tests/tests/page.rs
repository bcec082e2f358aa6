//! `docs/protocol.md`, done: its kcat commands and its Python, as they stand there, against a running worker. Only the topic
//! names are changed to the test's own.

use std::time::Duration;

use e2e::page::example;
use e2e::paths::sample;
use e2e::process::Finished;
use e2e::scene::{Kind, Scene};
use e2e::traffic::Record;
use serde_json::Value;

use crate::FASHION_ONLY;

on_both_brokers!(
    kcat_sends_an_image,
    kcat_sends_headers_and_json,
    python_sends_and_reads,
    a_record_as_spring_sends_it_is_answered,
);

const LIMIT: Duration = Duration::from_secs(60);

fn run(scene: &Scene, script: &str) -> Finished {
    let done = scene.shell(&scene.with_topics(script), LIMIT);
    assert_eq!(done.code, Some(0), "{done:?}");
    done
}

fn kcat_sends_an_image(kind: Kind) {
    let scene = Scene::on(kind);
    let _worker = scene.worker("w1", FASHION_ONLY);
    let done = run(&scene, &example("kcat-image"));
    let (key, value) = done.stdout.split_once(' ').unwrap();
    let answer: Value = serde_json::from_str(value).unwrap();
    assert_eq!(key, "sandal-1");
    assert_eq!(answer["request_id"], "sandal-1");
    assert_eq!(answer["predictions"][0]["label"], "Sandal");
    assert_eq!(answer["predictions"][0]["index"], 5);
}

fn kcat_sends_headers_and_json(kind: Kind) {
    let scene = Scene::on(kind);
    let _worker = scene.worker("w1", &[]);
    let done = run(&scene, &example("kcat-headers"));
    let (front, value) = done.stdout.split_once(" {").unwrap();
    let answer: Value = serde_json::from_str(&format!("{{{value}")).unwrap();
    for header in [
        "ce_id=macaw-1",
        "kafka_correlationId=my-own-words",
        "content-type=application/json",
        "ce_specversion=1.0",
    ] {
        assert!(front.contains(header), "{front}");
    }
    assert_eq!(answer["predictions"][0]["label"], "macaw");
    assert_eq!(answer["predictions"].as_array().unwrap().len(), 3);

    // The results topic now holds one answer; the next example reads the first of a fresh one.
    let scene = Scene::on(kind);
    let _worker = scene.worker("w1", &[]);
    let done = run(&scene, &example("kcat-json"));
    let answer: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(answer["request_id"], "macaw-2");
    assert_eq!(answer["predictions"][0]["label"], "macaw");
    assert_eq!(answer["predictions"].as_array().unwrap().len(), 1);
}

fn python_sends_and_reads(kind: Kind) {
    let scene = Scene::on(kind);
    let _worker = scene.worker("w1", &[]);
    let script = scene.folder.join("predict.py");
    std::fs::write(&script, scene.with_topics(&example("predict.py"))).unwrap();
    let predict = format!("python3 {} data/samples/scarlet_macaw.webp bird", script.display());
    let done = run(&scene, &predict);
    let first = done.stdout.lines().next().unwrap_or_default();
    assert!(first.starts_with("macaw\t0.") || first.starts_with("macaw\t1."), "{done:?}");
    assert_eq!(done.stdout.lines().count(), 2);

    // A worker's error is told as one.
    let done = scene.shell(&predict.replace("webp bird", "webp cat"), LIMIT);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("NOT_FOUND: "), "{done:?}");

    // The page's own bincode: written here and read by a worker, written by a worker and read here.
    let codec = scene.folder.join("codec.py");
    std::fs::write(&codec, example("codec.py")).unwrap();
    let script = format!(
        "import sys; sys.path.insert(0, {folder:?})
from codec import write_request, read_result
from confluent_kafka import Consumer, Producer, TopicPartition
import json
servers = {servers:?}
producer = Producer({{'bootstrap.servers': servers}})
image = open('data/samples/sandal5.png', 'rb').read()
requests = [write_request(image, id='py-0'), write_request(image, id='py-1', model='fashion-mnist', version=1, top_k=2,
            deadline='2099-01-01T00:00:00Z', priority=300), write_request(image, id='py-2', model='cat')]
consumer = Consumer({{'bootstrap.servers': servers, 'group.id': 'unused'}})
topic = {results:?}
partitions = consumer.list_topics(topic).topics[topic].partitions
consumer.assign([TopicPartition(topic, p, consumer.get_watermark_offsets(TopicPartition(topic, p))[1]) for p in partitions])
for request in requests:
    producer.produce({requests:?}, value=request)
producer.flush()
answers = {{}}
while len(answers) < len(requests):
    message = consumer.poll(30)
    assert message is not None, 'no answer'
    assert message.error() is None, message.error()
    assert ('content-type', b'application/x-bincode') in message.headers(), message.headers()
    answer = read_result(message.value())
    answers[answer['request_id']] = answer
print(json.dumps([answers[f'py-{{i}}'] for i in range(len(requests))]))
",
        folder = scene.folder.display().to_string(),
        servers = scene.bootstrap_servers,
        requests = scene.topics.requests,
        results = scene.topics.results,
    );
    let path = scene.folder.join("bincode.py");
    std::fs::write(&path, script).unwrap();
    let done = run(&scene, &format!("python3 {}", path.display()));
    let answers: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(answers[0]["predictions"][0]["label"], "Sandal", "{answers}");
    assert_eq!(answers[1]["predictions"].as_array().unwrap().len(), 2, "{answers}");
    assert_eq!(answers[2]["error"]["code"], "NOT_FOUND", "{answers}");
    assert_eq!(answers[2]["model"], Value::Null, "{answers}");
}

/// What a stock `ReplyingKafkaTemplate` puts on the wire: no key, a reply topic, the number of a partition in four bytes, and
/// 16 raw bytes to tell the answer by.
fn a_record_as_spring_sends_it_is_answered(kind: Kind) {
    let scene = Scene::on(kind);
    let _worker = scene.worker("w1", FASHION_ONLY);
    let correlation_id = (0xf0..=0xff).collect::<Vec<u8>>();
    let image = std::fs::read(sample("sandal5.png")).unwrap();
    let topic = scene.reply_topic();
    let spring = Record { value: Some(image), ..Record::default() }
        .header("kafka_replyTopic", topic.as_str())
        .header("kafka_replyPartition", 2i32.to_be_bytes())
        .header("kafka_correlationId", correlation_id.clone());
    drop(scene.sender().send(&[spring]));

    let mut replies = scene.reader(&topic);
    replies.read_count(1, LIMIT);
    let answer = &replies.seen[0];
    assert_eq!(answer.partition, 2);
    assert_eq!(answer.headers.get("kafka_correlationId"), Some(&correlation_id[..]));
    assert_eq!(answer.header("content-type").as_deref(), Some("application/json"));
    let body: Value = serde_json::from_slice(answer.value.as_deref().unwrap()).unwrap();
    assert_eq!(body["predictions"][0]["label"], "Sandal");
    assert!(
        uuid::Uuid::parse_str(body["request_id"].as_str().unwrap()).is_ok(),
        "the worker made an id: {body}"
    );
}
