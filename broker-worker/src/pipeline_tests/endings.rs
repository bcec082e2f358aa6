//! How a worker ends, and what is answered then.

use super::*;

/// Ten requests are taken and none is answered; the worker dies; another one comes. Returns who was answered.
async fn die_with_ten_requests(delivery: Delivery) -> (Fixture, usize) {
    let fixture = Fixture::new();
    let mut config = fixture.config();
    config.group.delivery = delivery;
    let gate = Arc::new(Gate::default());
    let mut first = fixture.start(config.clone(), gated(&gate)).await;
    first.ready().await;
    (0..10).for_each(|i| fixture.send(&i.to_string(), &doubles::image(i), &[]));
    fixture.flush();
    first.wait_for("mlaas_worker_in_flight_requests", |n| n >= 10.0).await;
    match delivery {
        Delivery::AtLeastOnce => {
            let taken: Vec<_> = fixture.committed().into_values().map(|(offset, _)| offset).collect();
            assert!(taken.iter().all(|o| matches!(o, Offset::Invalid | Offset::Offset(0))), "{taken:?}");
        }
        // Soon after the receipt, and not with it.
        Delivery::AtMostOnce => fixture.wait_committed().await,
    }
    first.kill().await;

    let open = Arc::new(Gate::default());
    open.open();
    let mut second = fixture.start(config, gated(&open)).await;
    second.ready().await;
    fixture.send("after", &doubles::image(99), &[]);
    fixture.flush();
    // Whatever the second one was given before this, it has answered by then: it answers a partition in order.
    second.wait_for("nv_inference_request_success", |n| n >= 1.0).await;
    second.stop().await.unwrap();
    let answered = fixture.replies(1).len();
    gate.open();
    (fixture, answered)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_loses_nothing() {
    let (fixture, _) = die_with_ten_requests(Delivery::AtLeastOnce).await;
    assert_eq!(fixture.replies(11).len(), 11);
    fixture.assert_all_committed();
}

/// The control of the test above: where offsets are committed on receipt, it would fail.
#[tokio::test(flavor = "multi_thread")]
async fn committing_on_receipt_loses_what_a_worker_that_dies_holds() {
    let (fixture, answered) = die_with_ten_requests(Delivery::AtMostOnce).await;
    assert_eq!(answered, 1, "only the request that came after");
    fixture.assert_all_committed();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_what_was_taken_and_takes_the_announcements_back() {
    let fixture = Fixture::new();
    let gate = Arc::new(Gate::default());
    let mut worker = fixture.start(fixture.config(), gated(&gate)).await;
    let ready = worker.ready().await;
    assert_eq!(ready.models, ["shoe/1"]);
    assert!(ready.embedded);
    (0..20).for_each(|i| fixture.send(&i.to_string(), &doubles::image(i), &[]));
    fixture.flush();
    worker.wait_for("mlaas_worker_in_flight_requests", |n| n >= 20.0).await;
    worker.end.cancel();
    let draining = async {
        while worker.get("/readyz").await.0 == 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, draining).await.unwrap();
    assert!(!worker.task.is_finished());
    gate.open();
    worker.stop().await.unwrap();
    assert_eq!(fixture.replies(20).len(), 20);
    fixture.assert_all_committed();
    assert_eq!(fixture.count("predict.results"), 20);
    let said = fixture.read("predict.models", |seen| seen.iter().any(|s| s.value.is_none()));
    let announcement = Announcement::decode(said[0].value.as_deref().unwrap()).unwrap();
    assert_eq!((announcement.model.as_str(), announcement.default), ("shoe", true));
    assert_eq!(said.last().unwrap().key, Some(announcement.key().into_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grace_time_that_is_too_short_is_said_and_loses_nothing() {
    let fixture = Fixture::new();
    let mut config = fixture.config();
    config.shutdown.grace = Duration::from_millis(200);
    let gate = Arc::new(Gate::default());
    let mut worker = fixture.start(config, gated(&gate)).await;
    worker.ready().await;
    fixture.send("held", &doubles::image(1), &[]);
    fixture.flush();
    worker.wait_for("mlaas_worker_in_flight_requests", |n| n >= 1.0).await;
    assert!(matches!(worker.stop().await, Err(RunError::Unanswered(1))));
    assert!(fixture.committed().values().all(|(offset, _)| *offset != Offset::Offset(1)));
    gate.open();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_broker_the_first_worker_starts_one_and_the_second_joins_it_and_ends_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = RuntimeDir::at(dir.path());
    let start = async |name: &str| {
        let config = Config { instances: Some(1), name: Some(name.to_owned()), ..Config::default() };
        let app = build_with(config, models(), &runtime).await.unwrap();
        let (servers, end) = (app.bootstrap_servers(), CancellationToken::new());
        (servers, end.clone(), tokio::spawn(run(app, end, |_| {})))
    };
    let (first, end, owner) = start("first").await;
    let (second, _end, guest) = start("second").await;
    assert_eq!(first, second);
    end.cancel();
    owner.await.unwrap().unwrap();
    let ended = tokio::time::timeout(PATIENCE, guest).await.unwrap().unwrap();
    assert!(matches!(ended, Err(RunError::BrokerGone(servers)) if servers == first));
}
