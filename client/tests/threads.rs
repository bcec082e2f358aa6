//! A client's threads end with it. In a file of its own: threads are counted over the whole process.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, unreachable_pub, missing_docs)]
mod support;

use client::{Client, ClientConfig, Listener, Start};
use support::{broker, wait_until};

/// How many threads of this process have a name that begins so.
fn threads(name: &str) -> usize {
    let named = |entry: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(entry.unwrap().path().join("comm")).unwrap_or_default()
    };
    std::fs::read_dir("/proc/self/task").unwrap().map(named).filter(|n| n.starts_with(name)).count()
}

#[test]
fn dropping_the_last_clone_ends_its_threads_and_waits_for_none() {
    let broker = broker(1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ClientConfig::new(broker.bootstrap_servers());
    let client = runtime.block_on(Client::connect(config.clone())).unwrap();
    // A thread takes its name after it was started.
    wait_until("its thread runs", || threads("client-replies") == 1);
    let other = client.clone();
    drop(client);
    assert_eq!(threads("client-replies"), 1);
    drop(other);
    wait_until("its thread is gone", || threads("client-replies") == 0);

    // To end its threads takes as long as a poll, and librdkafka's own as long again: a runtime must not be held up by that. Where
    // nobody waits for them they still run behind the drop; they may be quicker than whoever looks, but not every time.
    let of_librdkafka = || threads("rdk:main");
    wait_until("librdkafka's are gone", || of_librdkafka() == 1);
    let waits = |connect: &dyn Fn() -> Box<dyn std::any::Any>| {
        !(0..10).any(|_| {
            let connected = connect();
            let before = of_librdkafka();
            assert!(before > 1);
            drop(connected);
            let behind = of_librdkafka();
            wait_until("librdkafka's are gone", || of_librdkafka() == 1);
            behind == before
        })
    };
    let client = || runtime.block_on(Client::connect(config.clone())).unwrap();
    assert!(!waits(&|| Box::new(client())), "dropping a client waits");
    let listener = || runtime.block_on(Listener::open(&config, Start::End)).unwrap();
    assert!(!waits(&|| Box::new(listener())), "dropping a listener waits");
}
