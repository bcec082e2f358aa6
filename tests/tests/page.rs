//! `docs/protocol.md`, done: its kcat commands, its Python and its Java, as they stand there, against a running worker. Only the
//! topic names and the places of files are changed to the test's own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::page::example;
use e2e::paths::{self, sample};
use e2e::process::Finished;
use e2e::scene::{Kind, Scene};
use e2e::traffic::{Record, Sender};
use serde_json::Value;

use crate::FASHION_ONLY;

on_both_brokers!(kcat_sends_on_a_used_topic, python_sends_and_reads, a_record_as_spring_sends_it_is_answered,);

mod kafka_only {
    #[test]
    fn java_sends_and_reads() {
        super::java_sends_and_reads();
    }

    #[test]
    fn python_gives_up_in_time_on_a_busy_topic() {
        super::python_gives_up_in_time_on_a_busy_topic();
    }
}

const LIMIT: Duration = Duration::from_secs(90);

fn run(scene: &Scene, script: &str) -> Finished {
    let done = scene.shell(&scene.with_topics(script), LIMIT);
    assert_eq!(done.code, Some(0), "{done:?}");
    done
}

/// The page from its top, in one shell, on topics that have answers of others' on them.
fn kcat_sends_on_a_used_topic(kind: Kind) {
    let scene = Scene::on(kind);
    let _worker = scene.worker("w1", &[]);
    let image = std::fs::read(sample("sandal5.png")).unwrap();
    let others = (0..20).map(|i| Record::bytes(&format!("other-{i}"), image.clone())).collect::<Vec<_>>();
    drop(scene.sender().send(&others));
    scene.results().read_count(others.len(), LIMIT);

    let page = ["kcat-image", "kcat-answer", "kcat-headers", "kcat-json"].map(example).concat();
    let done = run(&scene, &page);
    let answers = done
        .stdout
        .lines()
        .map(|line| {
            let (front, value) = line.split_once(" {").unwrap_or_else(|| panic!("{done:?}"));
            let (key, headers) = front.split_once(' ').unwrap();
            let answer: Value = serde_json::from_str(&format!("{{{value}")).unwrap();
            (key.to_owned(), headers.to_owned(), answer)
        })
        .collect::<Vec<_>>();
    let [sandal, macaw, json] = &answers[..] else { panic!("not three answers: {done:?}") };

    assert!(sandal.0.starts_with("sandal-"), "{sandal:?}");
    assert_eq!(sandal.2["request_id"], sandal.0.as_str());
    assert_eq!(sandal.2["predictions"][0]["label"], "Sandal");
    assert_eq!(sandal.2["predictions"][0]["index"], 5);

    let id = format!("ce_id={}", macaw.0);
    for header in
        [&id, "kafka_correlationId=my-own-words", "content-type=application/json", "ce_specversion=1.0"]
    {
        assert!(macaw.1.contains(header), "{macaw:?}");
    }
    assert_eq!(macaw.2["predictions"][0]["label"], "macaw");
    assert_eq!(macaw.2["predictions"].as_array().unwrap().len(), 3);

    assert!(json.0.ends_with("-json"), "{json:?}");
    assert_eq!(json.2["predictions"][0]["label"], "macaw");
    assert_eq!(json.2["predictions"].as_array().unwrap().len(), 1);
}

/// Both programs are compiled from the page and run with a stock client.
fn java_sends_and_reads() {
    let scene = Scene::on(Kind::Kafka);
    let _worker = scene.worker("w1", FASHION_ONLY);
    for (command, source, jars) in [
        ("java", "Predict.java", paths::kafka_jars()),
        ("java-spring", "SpringPredict.java", paths::spring_jars()),
    ] {
        let file = scene.folder.join(source);
        std::fs::write(&file, scene.with_topics(&example(source))).unwrap();
        let command = example(command)
            .replace("libs/*", &format!("{}/*", jars.display()))
            .replace(source, &file.display().to_string());
        // A program that runs once is not worth the second compiler.
        let script = format!("export JDK_JAVA_OPTIONS='-XX:TieredStopAtLevel=1 -XX:+UseSerialGC'\n{command}");
        let done = run(&scene, &script);
        let answer: Value =
            serde_json::from_str(done.stdout.trim()).unwrap_or_else(|e| panic!("{e}: {done:?}"));
        assert_eq!(answer["predictions"][0]["label"], "Sandal", "{source}: {answer}");
    }
}

/// Others' answers that keep coming do not keep it waiting.
fn python_gives_up_in_time_on_a_busy_topic() {
    let scene = Scene::on(Kind::Kafka);
    let script = scene.folder.join("predict.py");
    let page = scene.with_topics(&example("predict.py"));
    let short = page.replace("time.monotonic() + 30", "time.monotonic() + 3");
    assert_ne!(short, page, "the page has another limit now");
    std::fs::write(&script, short).unwrap();
    // The broker may not lead yet what it was just told to make.
    scene.results().read_to_end(LIMIT);
    let over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let others = Sender::new(&scene.bootstrap_servers, &scene.topics.results);
            let end = Instant::now() + LIMIT;
            while !over.load(Ordering::Relaxed) && Instant::now() < end {
                drop(others.send(&[Record::bytes("other", "{}")]));
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let done = scene.shell(&format!("python3 {} data/samples/sandal5.png bird", script.display()), LIMIT);
        over.store(true, Ordering::Relaxed);
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.stderr.contains("no answer within 30 s"), "{done:?}");
    });
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
    // The worker made the id of where the record lies, so that it is the same when the record is read again.
    let id = body["request_id"].as_str().unwrap();
    assert!(id.starts_with(&format!("{}-", scene.topics.requests)) && id.ends_with("@0"), "{body}");
}
