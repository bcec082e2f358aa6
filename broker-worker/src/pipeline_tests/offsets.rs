//! What is committed and when, and how far a partition runs ahead of it.

use super::*;

use kafka::embedded::{ApiKey, RespErr};

impl Fixture {
    fn send_to(&self, partition: i32, id: &str, model: &str) {
        let mut headers = Headers::new();
        headers.push(header::ID, id);
        headers.push(header::MODEL, model);
        let image = doubles::image(7);
        let record = BaseRecord::<(), [u8]>::to("predict.requests").partition(partition);
        let record = record.payload(&image).headers(to_headers(headers.iter()));
        self.producer.send(record).map_err(|(e, _)| e).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_record_without_an_answer_its_partition_alone_stands_still() {
    let fixture = Fixture::new();
    let mut config = fixture.config();
    config.queue.backpressure.high_requests = 8;
    config.queue.backpressure.low_requests = 4;
    let gate = Arc::new(Gate::default());
    let served = vec![doubles::gated("shoe", 1, Arc::clone(&gate)), doubles::served("bird", 2)];
    let models = Models::new(served, "shoe", "weights").unwrap();
    let mut worker = fixture.start(config, models).await;
    worker.ready().await;
    fixture.send_to(0, "stuck", "shoe");
    (0..100).for_each(|i| fixture.send_to(0, &format!("behind-{i}"), "bird"));
    (0..20).for_each(|i| fixture.send_to(1, &format!("beside-{i}"), "bird"));
    fixture.flush();
    worker.wait_for("mlaas_worker_held_back_partitions", |n| n == 1.0).await;
    // Of its partition 16 are taken, twice what may be under way in all, and of the other one everything.
    worker.wait_for("nv_inference_request_success", |n| n >= 35.0).await;
    worker.wait_for("mlaas_worker_oldest_unanswered_seconds{partition=\"0\"", |age| age > 0.0).await;
    worker.wait_for("mlaas_worker_oldest_unanswered_seconds{partition=\"1\"", |age| age == 0.0).await;
    assert_eq!(worker.metric("nv_inference_request_success").await, 35.0);
    assert!(fixture.committed()[&0].0 != Offset::Offset(1));
    gate.open();
    assert_eq!(fixture.replies(121).len(), 121);
    worker.wait_for("mlaas_worker_held_back_partitions", |n| n == 0.0).await;
    worker.stop().await.unwrap();
    fixture.assert_all_committed();
    assert_eq!(fixture.count("predict.results"), 121, "none twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_to_the_end_is_said_and_shown() {
    let fixture = Fixture::new();
    let mut config = fixture.config();
    config.shutdown.grace = Duration::from_secs(1);
    let mut worker = fixture.start(config, models()).await;
    worker.ready().await;
    let refused = vec![RespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 10_000];
    fixture.broker.request_errors(ApiKey::OffsetCommit, &refused).unwrap();
    fixture.send_to(0, "answered", "bird");
    fixture.flush();
    fixture.replies(1);
    let page = worker.wait_for_page("/readyz", 503).await;
    assert!(page.contains("group mlaas-workers may not be used"), "{page}");
    // As the program says it, with its cause.
    let error = format!("{:#}", anyhow::Error::from(worker.stop().await.unwrap_err()));
    assert!(error.contains("the last offsets were not committed"), "{error}");
    assert!(fixture.committed()[&0].0 != Offset::Offset(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_follows_the_answer_while_the_worker_runs() {
    let fixture = Fixture::new();
    let mut worker = fixture.start(fixture.config(), models()).await;
    worker.ready().await;
    fixture.send_to(2, "answered", "bird");
    fixture.flush();
    let committed = async {
        while fixture.committed()[&2].0 != Offset::Offset(1) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, committed).await.unwrap();
    worker.stop().await.unwrap();
}
