//! Several workers of one group: they share, one dies, one joins, one leaves, and nothing is lost.

use std::time::Duration;

use e2e::process::Process;
use e2e::scene::{Kind, Scene, Worker};
use e2e::stream::Stream;
use nix::sys::signal::Signal;

use crate::FASHION_ONLY;

on_both_brokers!(
    two_workers_answer_2000_images_once_each,
    a_killed_worker_loses_nothing,
    a_killed_worker_that_commits_on_receipt_is_seen_to_lose,
    one_that_joins_late_takes_its_share,
    one_that_is_told_to_leave_loses_and_repeats_nothing,
);

/// Both have answered something: each has partitions.
fn both_take_part(stream: &mut Stream<'_>) {
    stream.flow_until("answers from both workers", |s| s.answered_by("w1") > 0 && s.answered_by("w2") > 0);
}

fn two_workers_answer_2000_images_once_each(kind: Kind) {
    let scene = Scene::on(kind);
    let _workers = [scene.worker("w1", FASHION_ONLY), scene.worker("w2", FASHION_ONLY)];
    let mut stream = Stream::new(&scene);
    both_take_part(&mut stream);
    let before = (stream.answered_by("w1"), stream.answered_by("w2"));
    stream.send(2000);
    stream.wait_answered(stream.account.sent_count());
    assert!(stream.answered_by("w1") > before.0 + 200 && stream.answered_by("w2") > before.1 + 200);
    stream.settle().assert_whole(0);
}

/// Half a second and more pass between the receipt of a request and its answer, and what is answered is committed at once. So
/// there is always much to lose.
const HOLDS: &[&str] = &[
    "--max-batch-size=500",
    "--set=queue.backpressure.high_requests=500",
    "--set=batching.max_queue_delay_microseconds=500000",
];

/// Two workers that hold what they took for a while.
fn two_that_hold(scene: &Scene, delivery: &str) -> (Worker, Worker) {
    let delivery = format!("--set=group.delivery={delivery}");
    let flags = [FASHION_ONLY, HOLDS, &[&delivery]].concat();
    (scene.worker("w1", &flags), scene.worker("w2", &flags))
}

/// The other gets the dead one's partitions once its session has timed out, and works on meanwhile.
fn flow_past_the_death_of_one(stream: &mut Stream<'_>) {
    let from = stream.answered_by("w2");
    stream.flow_until("500 more answers from the one that is left", |s| s.answered_by("w2") >= from + 500);
}

fn a_killed_worker_loses_nothing(kind: Kind) {
    let scene = Scene::on(kind);
    let (mut dies, _stays) = two_that_hold(&scene, "at-least-once");
    let mut stream = Stream::new(&scene);
    both_take_part(&mut stream);
    let from = stream.answered();
    stream.flow_until("300 more answers", |s| s.answered() >= from + 300);
    dies.process.kill();
    // Its partitions stay as they are until its session has timed out.
    let offsets = scene.offsets();
    let uncommitted = stream.account.uncommitted(&offsets);
    assert!(!uncommitted.is_empty(), "the worker was killed in the middle of nothing");
    flow_past_the_death_of_one(&mut stream);
    let account = stream.settle();
    // What the dead one had answered and not committed may be answered again, once, and nothing else.
    account.assert_whole_but_for(&account.answered_by("w1", &uncommitted));
}

/// The negative control: the same death, and a worker that commits on receipt. Were nothing found missing here, the test above
/// would prove nothing.
fn a_killed_worker_that_commits_on_receipt_is_seen_to_lose(kind: Kind) {
    let scene = Scene::on(kind);
    let (mut dies, _stays) = two_that_hold(&scene, "at-most-once");
    let mut stream = Stream::new(&scene);
    both_take_part(&mut stream);
    // It stands still meanwhile, so that it answers none of what is found. (While the group changes hands nothing is committed.)
    stream.flow_until("10 requests of each partition that are committed and not answered", |s| {
        let frozen = dies.process.freeze();
        let found = s.committed_unanswered().iter().all(|count| *count >= 10);
        if found {
            dies.process.kill();
        }
        frozen.thaw();
        found
    });
    flow_past_the_death_of_one(&mut stream);
    let faults = stream.settle().faults(0);
    assert!(faults.iter().any(|f| f.starts_with("1. acknowledged but never answered")), "{faults:?}");
}

fn one_that_joins_late_takes_its_share(kind: Kind) {
    let scene = Scene::on(kind);
    let flags = [FASHION_ONLY, HOLDS].concat();
    let _first = scene.worker("w1", &flags);
    let mut stream = Stream::new(&scene);
    stream.flow_until("300 answers from the first", |s| s.answered_by("w1") >= 300);
    // Nobody waits until it is ready: while it joins, the first has its hands full.
    let _second = Process::spawn("worker w2", scene.worker_command("w2", &flags));
    stream.flow_until("300 answers from the second", |s| s.answered_by("w2") >= 300);
    let first = stream.answered_by("w1");
    stream.flow_until("100 more from the first", |s| s.answered_by("w1") >= first + 100);
    stream.settle().assert_whole(0);
}

fn one_that_is_told_to_leave_loses_and_repeats_nothing(kind: Kind) {
    let scene = Scene::on(kind);
    let mut leaves = scene.worker("w1", FASHION_ONLY);
    let _stays = scene.worker("w2", FASHION_ONLY);
    let mut stream = Stream::new(&scene);
    both_take_part(&mut stream);
    leaves.process.signal(Signal::SIGTERM);
    let mut left = false;
    stream.flow_until("the end of the one that was told to leave", |_| {
        left = left || !leaves.process.is_running();
        left
    });
    assert_eq!(leaves.process.wait(Duration::from_secs(1)).code(), Some(0));
    let from = stream.answered_by("w2");
    stream.flow_until("500 more answers from the one that is left", |s| s.answered_by("w2") >= from + 500);
    stream.settle().assert_whole(0);
}

/// A worker that stands still until others have its partitions, and then goes on where it stood: it has answers to send, and
/// offsets to commit, for what is no longer its own.
#[test]
fn one_that_stands_still_and_goes_on_loses_nothing() {
    let scene = Scene::on(Kind::Kafka);
    let flags = [FASHION_ONLY, HOLDS].concat();
    let stands = scene.worker("w1", &flags);
    let _stays = scene.worker("w2", &flags);
    let mut stream = Stream::new(&scene);
    both_take_part(&mut stream);
    let frozen = stands.process.freeze();
    let offsets = scene.offsets();
    let uncommitted = stream.account.uncommitted(&offsets);
    let sent = stream.account.sent_count();
    stream.flow_until("the answers to all that was sent before", |s| s.answered_run() >= sent);
    frozen.thaw();
    let from = stream.answered_by("w1");
    stream.flow_until("300 more from the one that stood still", |s| s.answered_by("w1") >= from + 300);
    stream.settle().assert_whole_but_for(&uncommitted);
}
