//! Topics that do not take what they are sent: whole batches too large, no reply at all, nothing that a sender asks for.

use std::time::Duration;

use e2e::account::{Account, Expect};
use e2e::apache::Apache;
use e2e::images::clothes;
use e2e::layout::{Layout, TopicSettings};
use e2e::scene::{Kind, Scene};
use e2e::stream::Stream;
use e2e::traffic::Record;
use e2e::{PATIENCE, wait_until};
use kafka::Topics;

use crate::FASHION_ONLY;
use crate::http::{get, metric};

/// Room for a dozen replies.
const A_DOZEN: TopicSettings = &[("max.message.bytes", "20000")];

fn requests(count: usize, name: &str, reply_topic: Option<&str>) -> (Vec<Record>, Vec<Expect>) {
    let samples = clothes();
    let request = |i: usize| {
        let sample = &samples[i % samples.len()];
        let record = Record::bytes(&format!("{name}-{i}"), sample.bytes.clone());
        let record =
            reply_topic.into_iter().fold(record, |record, topic| record.header("kafka_replyTopic", topic));
        (record, Expect::Label(sample.label.clone()))
    };
    (0..count).map(request).unzip()
}

fn send(scene: &Scene, account: &mut Account, (records, expected): &(Vec<Record>, Vec<Expect>)) {
    let acknowledged = scene.sender().send(records);
    account.sent(records, acknowledged, |i| expected[i].clone());
}

fn wait_for_metric(http: &str, name: &str, least: f64) {
    wait_until(&format!("{name} of {least}"), PATIENCE, || match metric(http, name) {
        value if value >= least => Ok(()),
        value => Err(format!("{value}")),
    });
}

/// While the broker stands still, replies pile up to a batch that the topic does not take, though it takes each of them.
#[test]
fn replies_that_pile_up_to_a_batch_too_large_are_delivered_all_the_same() {
    let cluster = Apache::start(1);
    let layout = Layout { partitions: 1, results: A_DOZEN, ..Layout::default() };
    let scene = Scene::laid_out(&cluster, &layout);
    let mut account = Account::default();
    let flags = ["--max-batch-size=110", "--set=queue.backpressure.low_requests=120"];
    let worker = scene.worker("w1", &[FASHION_ONLY, &flags].concat());
    // All are taken before the first is computed, and computed while the broker stands still.
    let halted = worker.process.halt_thread("infer-0");
    send(&scene, &mut account, &requests(110, "piled", None));
    wait_for_metric(worker.http(), "mlaas_worker_in_flight_requests", 110.0);
    let frozen = cluster.freeze(0);
    drop(halted);
    wait_for_metric(worker.http(), "nv_inference_count", 110.0);
    // Nothing to wait for shows that replies stand in the producer's queue: this is the length of the outage.
    std::thread::sleep(Duration::from_secs(3));
    frozen.thaw();
    scene.settle(&mut account);
    account.assert_whole(0);
    assert_eq!(metric(worker.http(), "nv_inference_request_success"), 110.0);
}

/// The same without any outage, where replies are gathered on purpose; on the results topic, and on one of a sender's.
#[test]
fn replies_that_are_gathered_to_batches_too_large_are_delivered_all_the_same() {
    let layout = Layout { partitions: 1, results: A_DOZEN, ..Layout::default() };
    let scene = Scene::laid_out(Kind::Kafka, &layout);
    let own = scene.topic("own", 1, &[("max.message.bytes", "60000")]);
    let gathers = ["--max-batch-size=64", "--set=kafka.producer={linger.ms: '100'}"];
    let worker = scene.worker("w1", &[FASHION_ONLY, &gathers].concat());
    let mut account = Account::default();
    send(&scene, &mut account, &requests(100, "results", None));
    let (records, expected) = requests(120, "own", Some(&own));
    send(&scene, &mut account, &(records, expected));
    let mut replies = scene.reader(&own);
    replies.read_count(120, PATIENCE);
    scene.settle(&mut account);
    let mut results = scene.results();
    results.read_to_end(PATIENCE);
    account.answered(&[results.seen, replies.seen].concat());
    account.assert_whole(0);
    assert_eq!(metric(worker.http(), "mlaas_worker_rerouted_replies_total"), 0.0);
}

/// Nobody is told that all is well: the request stays uncommitted, and readiness names the topic and the size.
#[test]
fn a_results_topic_too_small_for_any_reply_is_waited_for_and_said() {
    let layout = Layout { results: &[("max.message.bytes", "150")], ..Layout::default() };
    let scene = Scene::laid_out(Kind::Kafka, &layout);
    let worker = scene.worker("w1", FASHION_ONLY);
    let http = worker.http().to_owned();
    let mut account = Account::default();
    send(&scene, &mut account, &requests(1, "held", None));
    let said = wait_until("a worker that is not ready", PATIENCE, || match get(&http, "/readyz") {
        (503, body) => Ok(body),
        (code, body) => Err(format!("{code} {body}")),
    });
    assert!(said.contains(&format!("topic {} takes no record of ", scene.topics.results)), "{said}");
    assert!(said.contains("max.message.bytes"), "{said}");
    assert_eq!(get(&http, "/livez").0, 200, "to start it anew would not help");
    assert!(scene.offsets().iter().all(|(committed, _)| *committed == 0), "{:?}", scene.offsets());
    scene.set_topic(&scene.topics.results, &[("max.message.bytes", "1000000")]);
    scene.settle(&mut account);
    account.assert_whole(0);
    wait_until("a worker that is ready", PATIENCE, || match get(&http, "/readyz") {
        (200, _) => Ok(()),
        (code, body) => Err(format!("{code} {body}")),
    });
}

/// A reply topic that refuses records, addresses that are none, and others that want their answers.
#[test]
fn a_sender_whose_topic_takes_nothing_stops_nobody() {
    let scene = Scene::on(Kind::Kafka);
    // Older than now is nearly every record by the time that it comes.
    let stale = scene.topic("stale", 1, &[("message.timestamp.before.max.ms", "0")]);
    let closed = scene.topic("closed", 1, &[]);
    let allow = format!("--set=topics.reply_allow=.*[.]stale|{}", scene.topics.requests);
    let worker = scene.worker("w1", &[FASHION_ONLY, &[&allow]].concat());
    let mut account = Account::default();
    send(&scene, &mut account, &requests(130, "stale", Some(&stale)));
    send(&scene, &mut account, &requests(20, "others", None));
    let Topics { requests: own, dead_letter, models, .. } = &scene.topics;
    for (name, topic) in [("own", own), ("dead", dead_letter), ("models", models), ("closed", &closed)] {
        send(&scene, &mut account, &requests(2, name, Some(topic)));
    }
    scene.settle(&mut account);
    let [mut results, mut stale] = [scene.results(), scene.reader(&stale)];
    results.read_to_end(PATIENCE);
    stale.read_to_end(PATIENCE);
    // One that came within the millisecond was taken.
    let taken = stale.seen.len();
    account.answered(&[results.seen, stale.seen].concat());
    account.assert_whole(0);
    assert_eq!(get(worker.http(), "/readyz").0, 200);
    let mut closed = scene.reader(&closed);
    closed.read_to_end(PATIENCE);
    assert_eq!(closed.seen.len(), 0, "the pattern does not allow it");
    let rerouted = metric(worker.http(), "mlaas_worker_rerouted_replies_total");
    assert_eq!(rerouted, f64::from(130 - i32::try_from(taken).unwrap() + 8));
}

/// A reply topic whose only node is gone, and others that want their answers: theirs come at once, and those that can't go where
/// they were asked for go to the results topic after some ten seconds. Meanwhile their partition is held back, and a second
/// worker joins.
#[test]
#[ignore = "replies wait for ten seconds: make test-more"]
fn a_reply_topic_that_nobody_leads_holds_up_nobody_and_gives_way_in_time() {
    const STUCK: usize = 20;
    let mut cluster = Apache::start(3);
    let scene = Scene::laid_out(&cluster, &Layout { partitions: 1, ..Layout::default() });
    let orphan = scene.topic_on_one_node("orphan");
    let worker = scene.worker("w1", FASHION_ONLY);
    cluster.kill_node(scene.leader(&orphan).unwrap());
    wait_until("a topic without a leader", PATIENCE, || {
        scene.leader(&orphan).map_or(Ok(()), |l| Err(l.to_string()))
    });
    let mut account = Account::default();
    send(&scene, &mut account, &requests(STUCK, "stuck", Some(&orphan)));
    send(&scene, &mut account, &requests(80, "others", None));
    scene.settle(&mut account);
    account.assert_whole(0);
    let mut results = scene.results();
    results.read_to_end(PATIENCE);
    let last = results.seen.iter().rev().take(STUCK).filter_map(e2e::traffic::Received::id);
    assert!(last.into_iter().all(|id| id.starts_with("stuck-")), "the others' came first");
    assert_eq!(metric(worker.http(), "mlaas_worker_rerouted_replies_total"), 20.0);
    assert_eq!(get(worker.http(), "/readyz").0, 200);
}

/// While a partition is held back behind its first unanswered record, another worker joins and is given it or its neighbour.
#[test]
#[ignore = "replies wait for ten seconds: make test-more"]
fn a_group_that_moves_while_a_partition_is_held_back_loses_nothing() {
    let mut cluster = Apache::start(3);
    let scene = Scene::laid_out(&cluster, &Layout { partitions: 2, ..Layout::default() });
    let orphan = scene.topic_on_one_node("orphan");
    let small = ["--set=queue.backpressure.high_requests=16", "--set=queue.backpressure.low_requests=8"];
    let flags = [FASHION_ONLY, &small].concat();
    let first = scene.worker("w1", &flags);
    cluster.kill_node(scene.leader(&orphan).unwrap());
    let mut account = Account::default();
    // One that waits at the head of each partition, and far more behind it than a partition may run ahead.
    let (mut records, mut expected) = requests(2, "stuck", Some(&orphan));
    let (others, theirs) = requests(200, "others", None);
    records.extend(others);
    expected.extend(theirs);
    let records =
        records.into_iter().zip([0, 1].into_iter().cycle()).map(|(record, partition)| record.on(partition));
    send(&scene, &mut account, &(records.collect(), expected));
    wait_for_metric(first.http(), "mlaas_worker_held_back_partitions", 2.0);
    let before = scene.offsets();
    let second = scene.worker("w2", &flags);
    scene.settle(&mut account);
    // What was answered behind the record that waited may be answered again by whoever was given its partition.
    account.assert_whole_but_for(&account.uncommitted(&before));
    for worker in [&first, &second] {
        assert_eq!(metric(worker.http(), "mlaas_worker_held_back_partitions"), 0.0);
    }
}

/// Two faults at once: batches of replies that their topic refuses for their size, and a worker that is killed in the middle of
/// sending them one by one.
#[test]
fn a_kill_amid_batches_too_large_loses_nothing() {
    let layout = Layout { partitions: 2, results: A_DOZEN, ..Layout::default() };
    let scene = Scene::laid_out(Kind::Kafka, &layout);
    let gathers = ["--max-batch-size=64", "--set=kafka.producer={linger.ms: '100'}"];
    let flags = [FASHION_ONLY, &gathers].concat();
    let mut dies = scene.worker("w1", &flags);
    let _stays = scene.worker("w2", &flags);
    let mut stream = Stream::new(&scene);
    stream.flow_until("300 answers from both", |s| s.answered_by("w1") > 300 && s.answered_by("w2") > 300);
    dies.process.kill();
    let uncommitted = stream.account.uncommitted(&scene.offsets());
    let from = stream.answered();
    stream.flow_until("1000 more answers", |s| s.answered() >= from + 1000);
    stream.settle().assert_whole_but_for(&uncommitted);
}

/// Whatever the results topic refuses replies for, as for a clock that is wrong: nobody is told that all is well, and nothing is
/// lost.
#[test]
fn a_results_topic_that_refuses_replies_is_waited_for_and_said() {
    // Older than now is nearly every record by the time that it comes.
    let refuses = &[("message.timestamp.before.max.ms", "0"), ("message.timestamp.type", "CreateTime")];
    let scene = Scene::laid_out(Kind::Kafka, &Layout { results: refuses, ..Layout::default() });
    let worker = scene.worker("w1", FASHION_ONLY);
    let http = worker.http().to_owned();
    let mut account = Account::default();
    send(&scene, &mut account, &requests(30, "held", None));
    let said = wait_until("a worker that is not ready", PATIENCE, || match get(&http, "/readyz") {
        (503, body) => Ok(body),
        (code, body) => Err(format!("{code} {body}")),
    });
    assert!(said.contains(&format!("topic {} takes no replies", scene.topics.results)), "{said}");
    assert_eq!(get(&http, "/livez").0, 200, "to start it anew would not help");
    scene.set_topic(&scene.topics.results, &[("message.timestamp.type", "CreateTime")]);
    scene.settle(&mut account);
    account.assert_whole(0);
}
