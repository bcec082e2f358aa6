//! How much memory a worker holds.

use e2e::paths::sample;
use e2e::scene::{Kind, Scene};
use e2e::wait_until;
use std::time::Duration;

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
