//! A request topic that is deleted and made anew under a worker that reads it, more quickly than it looks.

use std::collections::BTreeSet;

use e2e::account::{Account, Expect};
use e2e::apache::Apache;
use e2e::images::clothes;
use e2e::layout::Layout;
use e2e::scene::{Kind, Scene, Worker};
use e2e::traffic::{Received, Record};
use e2e::{PATIENCE, wait_until};
use nix::sys::signal::Signal;

use crate::FASHION_ONLY;
use crate::http::{get, metric};

const PARTITIONS: i32 = 2;

/// It says when it knows which topic it reads.
const SAYS: &str = "--set=log.level=info,worker::rooms::consume::anew=debug";

/// A worker that knows which topic it reads.
fn worker(scene: &Scene, name: &str, flags: &[&str]) -> Worker {
    let worker = scene.worker(name, &[FASHION_ONLY, &[SAYS], flags].concat());
    wait_until("a worker that knows its topic", PATIENCE, || {
        let known = worker.process.stderr.find(|line| line.contains("known by its id").then_some(()));
        known.ok_or_else(|| "not yet".to_owned())
    });
    worker
}

/// So many requests on each partition.
fn send(scene: &Scene, account: &mut Account, name: &str, count: usize) -> Vec<String> {
    let sample = &clothes()[0];
    let record = |i: usize, partition: i32| {
        Record::bytes(&format!("{name}-{i}-{partition}"), sample.bytes.clone()).on(partition)
    };
    let records: Vec<_> = (0..count).flat_map(|i| (0..PARTITIONS).map(move |p| record(i, p))).collect();
    account.sent(&records, scene.sender().send(&records), |_| Expect::Label(sample.label.clone()));
    records.iter().filter_map(Record::id).collect()
}

/// A worker has answered `before` requests on each partition when the topic goes, and `after` lie on each of the new one when
/// it looks again.
fn made_anew(scene: &Scene, before: usize, after: usize) {
    let worker = worker(scene, "w1", &[]);
    let mut account = Account::default();
    send(scene, &mut account, "old", before);
    scene.settle(&mut account);
    account.assert_whole(0);
    let frozen = worker.process.freeze();
    scene.delete_topic(&scene.topics.requests);
    scene.make_requests_anew(PARTITIONS);
    let new = send(scene, &mut account, "new", after);
    frozen.thaw();
    scene.settle(&mut account);
    // Until it is seen that the topic is another one, reading goes on where it stood.
    let passed = new.into_iter().skip(before * 2).collect::<BTreeSet<_>>();
    account.assert_whole_but_for(&passed);
    assert_eq!(get(worker.http(), "/readyz").0, 200);
    let log = worker.process.stderr.text();
    assert!(log.contains("was deleted and made anew"), "{log}");
}

/// Where it stood in the old one, it stands in the middle of the new one.
#[test]
fn a_topic_with_more_in_it_than_was_read_of_the_old_one_is_read_from_its_beginning() {
    let cluster = Apache::start(1);
    made_anew(&Scene::laid_out(&cluster, &Layout { partitions: PARTITIONS, ..Layout::default() }), 10, 30);
}

/// A leader's epoch begins anew with the topic, and librdkafka takes the new one's for out of date.
#[test]
fn a_topic_whose_old_one_had_other_leaders_is_read() {
    let mut cluster = Apache::start(1);
    let scene = Scene::laid_out(&cluster, &Layout { partitions: PARTITIONS, ..Layout::default() });
    for _ in 0..2 {
        cluster.stop(Signal::SIGTERM);
        cluster.resume();
    }
    made_anew(&scene, 10, 5);
}

/// Two workers have much under way when the topic goes, and answer and commit it when there is another one already.
#[test]
fn what_is_under_way_when_a_topic_goes_hides_nothing_of_the_new_one() {
    let layout = Layout { partitions: PARTITIONS, ..Layout::default() };
    let scene = Scene::laid_out(Kind::Kafka, &layout);
    let holds = ["--max-batch-size=128", "--set=batching.max_queue_delay_microseconds=3000000"];
    let workers = ["w1", "w2"].map(|name| worker(&scene, name, &holds));
    let mut account = Account::default();
    // Committed, so that what is committed late is not where the new one begins.
    send(&scene, &mut account, "old", 20);
    scene.settle(&mut account);
    send(&scene, &mut account, "under-way", 50);
    for worker in &workers {
        wait_until("50 requests in each", PATIENCE, || {
            let held = metric(worker.http(), "mlaas_worker_in_flight_requests");
            if held >= 50.0 { Ok(()) } else { Err(format!("{held}")) }
        });
    }
    scene.delete_topic(&scene.topics.requests);
    scene.make_requests_anew(PARTITIONS);
    let new = send(&scene, &mut account, "new", 200);
    scene.results().read_until("an answer to each of the new one", PATIENCE, |seen| {
        let answered = seen.iter().filter_map(Received::id).collect::<BTreeSet<_>>();
        let missing = new.iter().filter(|id| !answered.contains(*id)).collect::<Vec<_>>();
        if missing.is_empty() { Ok(()) } else { Err(format!("{} are missing: {missing:?}", missing.len())) }
    });
    scene.settle(&mut account);
    assert!(scene.offsets().iter().all(|(committed, end)| committed == end && *end == 200));
    account.assert_whole_but_for(&new.into_iter().collect());
}
