//! Topics that do not take what they are sent: whole batches too large, no reply at all, nothing that a sender asks for.

use std::time::Duration;

use e2e::account::{Account, Expect};
use e2e::apache::Apache;
use e2e::images::clothes;
use e2e::layout::{Layout, TopicSettings};
use e2e::scene::{Kind, Scene, Worker};
use e2e::traffic::Record;
use e2e::{PATIENCE, wait_until};
use kafka::Topics;

use crate::FASHION_ONLY;
use crate::http::get;

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

/// The sum over all series of a metric.
fn metric(http: &str, name: &str) -> f64 {
    let (_, text) = get(http, "/metrics");
    let values = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn wait_for_metric(http: &str, name: &str, least: f64) {
    wait_until(&format!("{name} of {least}"), PATIENCE, || match metric(http, name) {
        value if value >= least => Ok(()),
        value => Err(format!("{value}")),
    });
}

fn http(worker: &Worker) -> String {
    worker.ready["http"].as_str().unwrap().to_owned()
}

/// While the broker stands still, replies pile up to a batch that the topic does not take, though it takes each of them.
#[test]
fn replies_that_pile_up_to_a_batch_too_large_are_delivered_all_the_same() {
    let cluster = Apache::start(1);
    let layout = Layout { partitions: 1, results: A_DOZEN, ..Layout::default() };
    let scene = Scene::laid_out(&cluster, &layout);
    let mut account = Account::default();
    send(&scene, &mut account, &requests(110, "piled", None));
    // All are taken before the first is computed.
    let gathers = [
        "--max-batch-size=128",
        "--set=batching.max_queue_delay_microseconds=5000000",
        "--set=queue.backpressure.low_requests=120",
    ];
    let worker = scene.worker("w1", &[FASHION_ONLY, &gathers].concat());
    wait_for_metric(&http(&worker), "mlaas_worker_in_flight_requests", 110.0);
    let frozen = cluster.freeze(0);
    wait_for_metric(&http(&worker), "nv_inference_count", 110.0);
    // Nothing to wait for shows that replies stand in the producer's queue: this is the length of the outage.
    std::thread::sleep(Duration::from_secs(3));
    frozen.thaw();
    scene.settle(&mut account);
    account.assert_whole(0);
    assert_eq!(metric(&http(&worker), "nv_inference_request_success"), 110.0);
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
    assert_eq!(metric(&http(&worker), "mlaas_worker_rerouted_replies_total"), 0.0);
}

/// Nobody is told that all is well: the request stays uncommitted, and readiness names the topic and the size.
#[test]
fn a_results_topic_too_small_for_any_reply_is_waited_for_and_said() {
    let layout = Layout { results: &[("max.message.bytes", "150")], ..Layout::default() };
    let scene = Scene::laid_out(Kind::Kafka, &layout);
    let worker = scene.worker("w1", FASHION_ONLY);
    let http = http(&worker);
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
    assert_eq!(get(&http(&worker), "/readyz").0, 200);
    let mut closed = scene.reader(&closed);
    closed.read_to_end(PATIENCE);
    assert_eq!(closed.seen.len(), 0, "the pattern does not allow it");
    let rerouted = metric(&http(&worker), "mlaas_worker_rerouted_replies_total");
    assert_eq!(rerouted, f64::from(130 - i32::try_from(taken).unwrap() + 8));
}
