//! How much memory a worker holds.

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
