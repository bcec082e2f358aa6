//! A room that hangs, in a real worker: one thread stands still, as if a lock or a driver did not come back.

use e2e::account::{Account, Expect};
use e2e::images::birds;
use e2e::scene::{Kind, Scene};
use e2e::traffic::Record;
use e2e::{PATIENCE, wait_until};

use crate::BIRD_ONLY;
use crate::http::get;

/// More than a full batch of them, so that the net has always something to do.
const REQUESTS: usize = 300;

/// `/livez` says no and names the rooms that hang, and only those; when they go on, all is answered once.
#[test]
#[ignore = "a room hangs after a minute: make test-more"]
fn rooms_that_hang_fail_livez_and_are_named() {
    let scene = Scene::on(Kind::Kafka);
    let worker = scene.worker("w1", &[BIRD_ONLY, &["--set=group.session_timeout=45s"]].concat());
    let http = worker.ready["http"].as_str().unwrap();
    let sample = &birds()[1];
    let records =
        (0..REQUESTS).map(|i| Record::bytes(&format!("r-{i}"), sample.bytes.clone())).collect::<Vec<_>>();
    let mut account = Account::default();
    account.sent(&records, scene.sender().send(&records), |_| Expect::Label(sample.label.clone()));
    let mut results = scene.results();
    results.read_count(1, PATIENCE);
    assert_eq!(get(http, "/livez").0, 200);
    let halted = ["infer-0", "consume-0"].map(|thread| worker.process.halt_thread(thread));
    let said = wait_until("a /livez that says no twice", PATIENCE, || match get(http, "/livez") {
        (503, body) if body.lines().count() >= 2 => Ok(body),
        (code, body) => Err(format!("{code} {body}")),
    });
    for room in ["infer-0 has been at the same piece of work", "consume has been at the same piece of work"] {
        assert!(said.contains(room), "{said}");
    }
    assert_eq!(said.lines().count(), 2, "those that wait for them do not hang: {said}");
    drop(halted);
    scene.settle(&mut account);
    account.assert_whole(0);
    assert_eq!(get(http, "/livez"), (200, "ok\n".to_owned()));
}
