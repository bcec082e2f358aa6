//! A client's threads end with it. In a file of its own: threads are counted over the whole process.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, unreachable_pub, missing_docs)]
mod support;

use client::{Client, ClientConfig};
use support::{broker, wait_until};

#[test]
fn dropping_the_last_clone_ends_its_threads() {
    let broker = broker(1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(Client::connect(ClientConfig::new(broker.bootstrap_servers()))).unwrap();
    let threads = || -> usize {
        let named = |entry: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(entry.unwrap().path().join("comm")).unwrap_or_default()
        };
        std::fs::read_dir("/proc/self/task")
            .unwrap()
            .map(named)
            .filter(|n| n.starts_with("client-replies"))
            .count()
    };
    // A thread takes its name after it was started.
    wait_until("its thread runs", || threads() == 1);
    let other = client.clone();
    drop(client);
    assert_eq!(threads(), 1);
    drop(other);
    wait_until("its thread is gone", || threads() == 0);
}
