//! What the broker refuses a worker that reads: said in its log, shown by `/readyz`, and over when it is allowed.

use e2e::account::{Account, Expect};
use e2e::apache::{Change, Mechanism, Setup};
use e2e::images::clothes;
use e2e::process::Process;
use e2e::scene::{Kind, PARTITIONS, Scene, Worker};
use e2e::traffic::Record;
use e2e::{PATIENCE, wait_until};

use crate::FASHION_ONLY;
use crate::http::get;

/// Where a worker that is not ready yet serves its pages.
fn address(process: &Process) -> String {
    wait_until("the address of /readyz", PATIENCE, || {
        let address = process.stderr.find(|line| {
            let line = serde_json::from_str::<serde_json::Value>(line).ok()?;
            line["http"].as_str().map(str::to_owned)
        });
        address.ok_or_else(|| process.stderr.text())
    })
}

fn wait_for_page(address: &str, wanted: u16, words: &str) {
    wait_until(&format!("{wanted} '{words}' from /readyz"), PATIENCE, || match get(address, "/readyz") {
        (code, body) if code == wanted && body.contains(words) => Ok(()),
        (code, body) => Err(format!("{code} {body}")),
    });
}

fn one_a_partition(scene: &Scene, account: &mut Account, name: &str) {
    let sample = &clothes()[0];
    let records: Vec<Record> = (0..PARTITIONS)
        .map(|partition| Record::bytes(&format!("{name}-{partition}"), sample.bytes.clone()).on(partition))
        .collect();
    let acknowledged = scene.sender().send(&records);
    account.sent(&records, acknowledged, |_| Expect::Label(sample.label.clone()));
}

#[test]
fn a_worker_that_may_not_read_says_so_and_goes_on_when_it_may() {
    let cluster = Setup::of(1).user("worker", "secret").acls().start();
    let mut scene = Scene::on_cluster(&cluster);
    scene.access = cluster.access_as("worker", Mechanism::Plain);
    let topics = scene.topics.clone();
    let read = ("worker", "READ", "TOPIC", topics.requests.as_str());
    let grant = |(user, operation, kind, name)| (Change::Grant, user, operation, kind, name);
    cluster.change(
        &[
            ("worker", "DESCRIBE", "TOPIC", topics.requests.as_str()),
            ("worker", "WRITE", "TOPIC", &topics.results),
            ("worker", "WRITE", "TOPIC", &topics.dead_letter),
            ("worker", "WRITE", "TOPIC", &topics.models),
            ("worker", "READ", "GROUP", &scene.group),
        ]
        .map(grant),
    );
    let mut account = Account::default();
    one_a_partition(&scene, &mut account, "first");

    let process = Process::spawn("worker w1", scene.worker_command("w1", FASHION_ONLY));
    let address = address(&process);
    let refused = format!("topic {} may not be read by this user", topics.requests);
    wait_for_page(&address, 503, &refused);
    assert_eq!(get(&address, "/livez").0, 200, "to start it anew would not help");
    let said = |process: &Process| process.stderr.text().matches(&refused).count();
    assert!((1..10).contains(&said(&process)), "{}", process.stderr.text());

    cluster.change(&[grant(read)]);
    wait_for_page(&address, 200, "");
    let worker = Worker::ready(process);
    scene.settle(&mut account);

    cluster.revoke(read.0, read.1, read.2, read.3);
    wait_for_page(&address, 503, &refused);
    one_a_partition(&scene, &mut account, "second");
    cluster.change(&[grant(read)]);
    scene.settle(&mut account);
    account.assert_whole(0);
    wait_for_page(&address, 200, "");
    drop(worker);
}

#[test]
fn a_topic_that_is_deleted_is_said_and_read_again_when_it_is_back() {
    let scene = Scene::on(Kind::Kafka);
    let worker = scene.worker(
        "w1",
        &[FASHION_ONLY, &["--set=kafka.consumer={topic.metadata.refresh.interval.ms: '1000'}"]].concat(),
    );
    let address = worker.http().to_owned();
    let mut before = Account::default();
    one_a_partition(&scene, &mut before, "before");
    scene.settle(&mut before);
    before.assert_whole(0);

    scene.delete_topic(&scene.topics.requests);
    wait_for_page(&address, 503, &format!("topic {} is not there", scene.topics.requests));

    scene.make_requests_anew(PARTITIONS);
    wait_for_page(&address, 200, "");
    one_a_partition(&scene, &mut before, "after");
    wait_until("committed offset = end offset on each partition", PATIENCE, || {
        let offsets = scene.offsets();
        if offsets.iter().all(|(committed, end)| committed == end && *end == 1) {
            Ok(())
        } else {
            Err(format!("{offsets:?}"))
        }
    });
    scene.settle(&mut before);
    before.assert_whole(0);
}
