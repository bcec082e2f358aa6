//! Back-pressure, rebalances and a broker that is away.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_worker_pauses_and_goes_on_when_there_is_room() {
    let fixture = Fixture::new();
    let mut config = fixture.config();
    config.queue.backpressure.high_requests = 8;
    config.queue.backpressure.low_requests = 4;
    config.batching.max_batch_size = 4;
    let gate = Arc::new(Gate::default());
    let mut worker = fixture.start(config, gated(&gate)).await;
    worker.ready().await;
    (0..100).for_each(|i| fixture.send(&i.to_string(), &doubles::image(i), &[]));
    fixture.flush();
    worker.wait_for("mlaas_worker_paused", |paused| paused == 1.0).await;
    assert_eq!(worker.metric("mlaas_worker_in_flight_requests").await, 8.0);
    assert_eq!(worker.get("/readyz").await.0, 200, "full is not ill: it polls and is a member");
    gate.open();
    assert_eq!(fixture.replies(100).len(), 100);
    worker.stop().await.unwrap();
    fixture.assert_all_committed();
    assert_eq!(fixture.count("predict.results"), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_went_while_they_were_paused_come_back_unpaused() {
    let fixture = Fixture::new();
    let mut config = fixture.config();
    config.queue.backpressure.high_requests = 8;
    config.queue.backpressure.low_requests = 4;
    let gate = Arc::new(Gate::default());
    let mut first = fixture.start(config.clone(), gated(&gate)).await;
    first.ready().await;
    (0..100).for_each(|i| fixture.send(&i.to_string(), &doubles::image(i), &[]));
    fixture.flush();
    first.wait_for("mlaas_worker_paused", |paused| paused == 1.0).await;
    let mut second = fixture.start(config, models()).await;
    second.ready().await;
    // The second one has partitions that the first one had paused, and then the first one has room again.
    second.wait_for("nv_inference_request_success", |n| n > 0.0).await;
    gate.open();
    assert_eq!(fixture.replies(100).len(), 100);
    second.stop().await.unwrap();
    // All partitions are the first one's again.
    (100..200).for_each(|i| fixture.send(&i.to_string(), &doubles::image((i - 100) as u8), &[]));
    fixture.flush();
    assert_eq!(fixture.replies(200).len(), 200);
    first.stop().await.unwrap();
    fixture.assert_all_committed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_takes_its_share_and_nothing_is_lost_or_answered_twice() {
    let fixture = Fixture::new();
    let mut config = fixture.config();
    config.name = Some("first".into());
    let mut first = fixture.start(config.clone(), models()).await;
    first.ready().await;
    config.name = Some("second".into());
    let mut second = fixture.start(config, models()).await;
    let mut sent = 0;
    let mut send = |n: u32| {
        (0..n).for_each(|_| {
            fixture.send(&sent.to_string(), &doubles::image((sent % 100) as u8), &[]);
            sent += 1;
        });
        fixture.flush();
        sent as usize
    };
    // Records flow while the group moves.
    while second.metric("nv_inference_request_success").await == 0.0 {
        send(20);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    second.ready().await;
    let all = send(100);
    let replies = fixture.replies(all);
    let workers: std::collections::HashSet<_> = replies.values().map(|r| r[0].worker.clone()).collect();
    assert_eq!(workers.len(), 2);
    first.stop().await.unwrap();
    second.stop().await.unwrap();
    fixture.assert_all_committed();
    assert_eq!(fixture.count("predict.results"), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_for_a_while_costs_nothing_but_time() {
    let fixture = Fixture::new();
    let mut worker = fixture.start(fixture.config(), models()).await;
    worker.ready().await;
    (0..20).for_each(|i| fixture.send(&i.to_string(), &doubles::image(i), &[]));
    fixture.flush();
    fixture.replies(20);
    fixture.broker.broker_down().unwrap();
    let away = async {
        while worker.get("/readyz").await.0 == 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, away).await.unwrap();
    fixture.broker.broker_up().unwrap();
    (20..40).for_each(|i| fixture.send(&i.to_string(), &doubles::image(i), &[]));
    fixture.flush();
    fixture.replies(40);
    worker.stop().await.unwrap();
    fixture.assert_all_committed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_net_that_hangs_is_told_and_a_room_that_waits_for_it_is_not() {
    const STUCK: Duration = Duration::from_millis(500);
    let fixture = Fixture::new();
    let gate = Arc::new(Gate::default());
    let mut worker = fixture.start_with_patience(fixture.config(), gated(&gate), STUCK).await;
    worker.ready().await;
    assert_eq!(worker.wait_for_page("/livez", 200).await, "ok\n");
    fixture.send("hangs", &doubles::image(1), &[]);
    fixture.flush();
    let hangs = worker.wait_for_page("/livez", 503).await;
    assert!(hangs.starts_with("infer-") && hangs.lines().count() == 1, "{hangs}");
    assert!(hangs.contains(": a batch of 1 for "), "{hangs}");
    // Who asked is answered though it goes on hanging: the same request would make the next worker hang.
    let Outcome::Error(error) = &fixture.replies(1)["hangs"][0].outcome else { panic!() };
    assert_eq!(error.code, ErrorCode::Internal);
    assert!(worker.wait_for_page("/readyz", 503).await.contains("infer-"));

    // The end, which waits for what was taken however long it takes, is not taken for a room that hangs.
    worker.end.cancel();
    let asked = Instant::now();
    while asked.elapsed() < 4 * STUCK {
        let (_, hangs) = worker.get("/livez").await;
        assert!(hangs.lines().all(|line| line.starts_with("infer-")), "{hangs}");
        tokio::time::sleep(STUCK / 10).await;
    }
    gate.open();
    worker.stop().await.unwrap();
    fixture.assert_all_committed();
}
