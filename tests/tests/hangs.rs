//! A room that hangs, in a real worker: one thread stands still, as if a lock or a driver did not come back.

use e2e::account::{Account, Expect};
use e2e::images::clothes;
use e2e::scene::{Kind, Scene};
use e2e::traffic::Record;
use e2e::{PATIENCE, wait_until};

use crate::FASHION_ONLY;
use crate::http::get;

const REQUESTS: usize = 300;

/// `/livez` says no and names the room that hangs, and only that; when it goes on, all is answered once.
#[test]
#[ignore = "a room hangs after a minute: make test-more"]
fn a_room_that_hangs_fails_livez_and_is_named() {
    let scene = Scene::on(Kind::Kafka);
    let worker = scene.worker("w1", &[FASHION_ONLY, &["--set=group.session_timeout=45s"]].concat());
    let http = worker.http();
    let sample = &clothes()[0];
    let records =
        (0..REQUESTS).map(|i| Record::bytes(&format!("r-{i}"), sample.bytes.clone())).collect::<Vec<_>>();
    let mut account = Account::default();
    account.sent(&records, scene.sender().send(&records), |_| Expect::Label(sample.label.clone()));
    let mut results = scene.results();
    results.read_count(1, PATIENCE);
    assert_eq!(get(http, "/livez").0, 200);
    // It is never without work: it polls. The others wait for it before long, or for nothing.
    let halted = worker.process.halt_thread("consume-0");
    let said = wait_until("a /livez that says no", PATIENCE, || match get(http, "/livez") {
        (503, body) => Ok(body),
        (code, body) => Err(format!("{code} {body}")),
    });
    assert!(said.starts_with("consume has been at the same piece of work for "), "{said}");
    assert_eq!(said.lines().count(), 1, "those that wait for it do not hang: {said}");
    assert!(get(http, "/readyz").1.contains("consume has been"), "not ready either");
    drop(halted);
    scene.settle(&mut account);
    account.assert_whole(0);
    assert_eq!(get(http, "/livez"), (200, "ok\n".to_owned()));
}
