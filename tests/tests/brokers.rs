//! The brokers themselves, without a worker: what the other tests take for granted of them.

use std::time::Duration;

use e2e::PATIENCE;
use e2e::apache::Apache;
use e2e::scene::{Kind, Scene};
use e2e::traffic::Record;
use nix::sys::signal::Signal;

use crate::harness::{apart, is_apart};

on_both_brokers!(what_is_sent_is_read);

fn what_is_sent_is_read(kind: Kind) {
    let scene = Scene::on(kind);
    let records = (0..20)
        .map(|i| Record::bytes(&format!("r-{i}"), vec![i]).header("n", vec![0, i]).on(i32::from(i % 4)))
        .collect::<Vec<_>>();
    let acknowledged = scene.sender().send(&records);
    assert_eq!(acknowledged.iter().map(|a| a.partition).collect::<Vec<_>>(), [0, 1, 2, 3].repeat(5));

    let mut reader = scene.reader(&scene.topics.requests);
    reader.read_to_end(PATIENCE);
    assert_eq!(reader.seen.len(), 20);
    for (sent, place) in records.iter().zip(acknowledged) {
        let read = reader
            .seen
            .iter()
            .find(|read| (read.partition, read.offset) == (place.partition, place.offset))
            .unwrap();
        assert_eq!((&read.key, &read.value, &read.headers), (&sent.key, &sent.value, &sent.headers));
    }
    assert_eq!(scene.offsets(), [(0, 5); 4], "nothing is committed and five records are on each partition");
}

#[test]
fn a_restarted_kafka_has_its_records_and_its_ports() {
    let mut cluster = Apache::start(1);
    let scene = Scene::on_cluster(&cluster);
    let sender = scene.sender();
    drop(sender.send(&[Record::bytes("before", "1")]));
    let servers = cluster.bootstrap_servers();
    cluster.stop(Signal::SIGTERM);
    cluster.resume();
    assert_eq!(cluster.bootstrap_servers(), servers);
    drop(sender.send(&[Record::bytes("between", "2")]));
    cluster.stop(Signal::SIGKILL);
    cluster.resume();
    drop(sender.send(&[Record::bytes("after", "3")]));
    let mut reader = scene.reader(&scene.topics.requests);
    reader.read_count(3, PATIENCE);
    let ids =
        reader.seen.iter().filter_map(e2e::traffic::Received::id).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(ids.into_iter().collect::<Vec<_>>(), ["after", "before", "between"]);
}

#[test]
fn a_broker_ends_with_its_test_process() {
    // The children of the test process are ended by the kernel with it. This runs the sleeper test below in a process of
    // its own, kills that process, and looks whether its child is gone.
    let mut parent = apart("brokers::sleeper");
    let child = parent.wait_for_line("its child's pid", PATIENCE, |line| {
        line.split_once("child ")?.1.trim().parse::<u32>().ok()
    });
    let process = std::path::PathBuf::from(format!("/proc/{child}/stat"));
    assert!(process.exists());
    parent.kill();
    e2e::wait_until("the end of the child", Duration::from_secs(10), || {
        // An ended process stays as a zombie until somebody asks after it.
        let stat = std::fs::read_to_string(&process).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") { Ok(()) } else { Err(stat) }
    });
}

/// Not a test: the process that the test above kills.
#[test]
#[ignore = "started by another test"]
fn sleeper() {
    assert!(is_apart(), "only another test starts this one");
    let mut command = std::process::Command::new("sleep");
    command.arg("300");
    let child = e2e::process::Process::spawn("sleep", command);
    println!("child {}", child.pid());
    std::thread::park();
}
