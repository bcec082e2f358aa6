//! How much memory a worker holds.

use std::time::Duration;

use e2e::account::{Account, Expect};
use e2e::images::clothes;
use e2e::layout::Layout;
use e2e::paths::sample;
use e2e::scene::{Kind, Scene};
use e2e::traffic::Record;
use e2e::wait_until;

use crate::FASHION_ONLY;

/// Both models served, both used, nothing to do: under 400 MB in RAM.
#[test]
fn a_worker_at_rest_holds_under_400_mb() {
    const LIMIT: u64 = 400_000_000;
    let scene = Scene::on(Kind::Embedded);
    let worker = scene.worker("w1", &[]);
    for model in ["fashion-mnist", "bird"] {
        let sent = scene.client(&["send", "--wait", "--model", model, "data/samples"]);
        assert_eq!(sent.code, Some(0), "{sent:?}");
    }
    // It may give back what the last batches needed; what it holds for good is what counts.
    wait_until("less than 400 MB", Duration::from_secs(20), || {
        let held = worker.process.resident_bytes();
        if held < LIMIT { Ok(()) } else { Err(format!("{held} bytes")) }
    });
}

/// Full batches of the larger net, again and again: from the second hundred on it needs no more than it has.
#[test]
fn under_steady_load_a_worker_grows_no_further() {
    const ROUND: usize = 100;
    const SLACK: u64 = 30_000_000;
    let scene = Scene::on(Kind::Embedded);
    let worker = scene.worker("w1", &[]);
    let folder = scene.folder.join("hens");
    std::fs::create_dir_all(&folder).unwrap();
    for i in 0..ROUND {
        std::fs::copy(sample("hen.webp"), folder.join(format!("{i}.webp"))).unwrap();
    }
    let folder = folder.display().to_string();
    let held = [(); 6].map(|()| {
        let sent = scene.client(&["send", "--wait", "--model", "bird", &folder]);
        assert_eq!(sent.code, Some(0), "{}", sent.stderr);
        worker.process.resident_bytes()
    });
    assert!(held[2..].iter().all(|bytes| *bytes < held[1] + SLACK), "after each hundred: {held:?}");
}

/// What a request's key holds counts, too, and its reply's, which has the same; librdkafka, which reads ahead and counts values
/// alone, holds few of them. 400 MB of keys are not held all at once.
#[test]
fn eighty_large_keys_are_not_held_all_at_once() {
    const KEY: usize = 5_000_000;
    const REQUESTS: usize = 80;
    const MARK: u64 = 64 << 20;
    let large = &[("max.message.bytes", "16000000")];
    let layout = Layout { partitions: 1, requests: large, results: large, ..Layout::default() };
    let scene = Scene::laid_out(Kind::Kafka, &layout);
    // All that is taken is held for a while, so that it could be all that there is.
    let mark = format!("--set=queue.backpressure.high_bytes={MARK}");
    let flags = ["--set=batching.max_queue_delay_microseconds=1000000", "--max-batch-size=100", &mark];
    let worker = scene.worker("w1", &[FASHION_ONLY, &flags].concat());
    worker.process.forget_peak();
    let before = worker.process.resident_bytes();
    let sample = &clothes()[0];
    let records = (0..REQUESTS).map(|i| Record {
        key: Some(vec![b'k'; KEY]),
        ..Record::bytes(&format!("r-{i}"), sample.bytes.clone())
    });
    let records = records.collect::<Vec<_>>();
    let mut account = Account::default();
    account.sent(&records, scene.sender().send(&records), |_| Expect::Label(sample.label.clone()));
    scene.settle(&mut account);
    account.assert_whole(0);
    let grown = worker.process.peak_resident_bytes() - before;
    println!("{} MB before, at most {} MB more", before / 1_000_000, grown / 1_000_000);
    assert!(grown < 4 * MARK, "{grown} bytes more than {before}");
}
