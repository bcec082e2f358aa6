//! Where the embedded broker is found: the address file's life, and who becomes the broker.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;

use kafka::embedded::Joined;
use kafka::{EmbeddedBroker, EmbeddedError, LocateError, RuntimeDir, locate};

fn runtime_dir() -> (tempfile::TempDir, RuntimeDir) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = RuntimeDir::at(dir.path().join("mlaas"));
    (dir, runtime)
}

fn start() -> EmbeddedBroker {
    EmbeddedBroker::start(&["t"], 1).unwrap()
}

#[test]
fn published_while_it_lives_and_gone_with_it() {
    let (_guard, dir) = runtime_dir();
    assert_eq!(dir.embedded_broker().unwrap(), None, "no folder is no error");
    let mut broker = start();
    broker.publish_in(&dir).unwrap();
    assert_eq!(dir.embedded_broker().unwrap(), Some(broker.broker()));
    let mode = fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700, "{mode:o}");
    drop(broker);
    assert!(!dir.address_file().exists());
    assert_eq!(dir.embedded_broker().unwrap(), None);
}

#[test]
fn the_file_of_a_dead_broker_is_ignored_and_replaced() {
    let (_guard, dir) = runtime_dir();
    let mut first = start();
    first.publish_in(&dir).unwrap();
    let left_behind = fs::read(dir.address_file()).unwrap();
    drop(first);
    fs::write(dir.address_file(), left_behind).unwrap();
    assert_eq!(dir.embedded_broker().unwrap(), None, "whoever wrote it is gone");

    let mut second = start();
    // A port that answers is no sign of life: by now it may be another program's.
    let stale = format!("{{\"bootstrap_servers\":\"{}\",\"pid\":1}}", second.bootstrap_servers());
    fs::write(dir.address_file(), stale).unwrap();
    assert_eq!(dir.embedded_broker().unwrap(), None, "nobody holds the file");

    fs::write(dir.address_file(), "{").unwrap();
    assert_eq!(dir.embedded_broker().unwrap(), None, "half a file is no address");
    second.publish_in(&dir).unwrap();
    assert_eq!(dir.embedded_broker().unwrap(), Some(second.broker()));
}

#[test]
fn a_second_one_is_not_published_over_a_live_one() {
    let (_guard, dir) = runtime_dir();
    let (mut first, mut second) = (start(), start());
    first.publish_in(&dir).unwrap();
    match second.publish_in(&dir) {
        Err(EmbeddedError::Taken(other)) => assert_eq!(other, first.broker()),
        other => panic!("{other:?}"),
    }
    drop(second);
    assert_eq!(dir.embedded_broker().unwrap(), Some(first.broker()), "only its own file is taken away");
}

#[test]
fn of_many_that_start_at_once_one_becomes_the_broker() {
    let (_guard, dir) = runtime_dir();
    let barrier = Barrier::new(8);
    let joined: Vec<Joined> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    EmbeddedBroker::join_or_start(&dir, &["t"], 1).unwrap()
                })
            })
            .collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let started: Vec<_> = joined
        .iter()
        .filter_map(|j| match j {
            Joined::Started(broker) => Some(broker.broker()),
            Joined::Found(_) => None,
        })
        .collect();
    assert_eq!(started.len(), 1);
    for j in &joined {
        if let Joined::Found(broker) = j {
            assert_eq!(*broker, started[0]);
        }
    }
}

#[test]
fn a_folder_that_others_may_write_to_is_refused() {
    let (_guard, dir) = runtime_dir();
    fs::create_dir(dir.path()).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = dir.embedded_broker().unwrap_err();
    assert!(matches!(error, LocateError::NotPrivate { .. }), "{error}");
    assert!(error.to_string().contains("MLAAS_RUNTIME_DIR"), "{error}");
}

#[test]
fn a_named_broker_goes_before_any_file() {
    let broker = locate(Some(" host:1 ")).unwrap().unwrap();
    assert_eq!((broker.bootstrap_servers.as_str(), broker.embedded), ("host:1", false));
}
