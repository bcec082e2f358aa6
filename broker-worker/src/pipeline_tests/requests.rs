//! Requests of each kind, and what they are answered.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_among_good_ones_get_their_errors_and_the_good_ones_their_labels() {
    let fixture = Fixture::new();
    let mut worker = fixture.start(fixture.config(), models()).await;
    let mut expected: HashMap<String, Result<String, ErrorCode>> = HashMap::new();
    let mut dead = Vec::new();
    let past = [(header::DEADLINE, "2020-01-01T00:00:00Z")];
    for round in 0..10_u8 {
        let mut send =
            |name: &str, value: &[u8], headers: &[(&str, &str)], answer: Result<String, ErrorCode>| {
                let id = format!("{name}-{round}");
                fixture.send(&id, value, headers);
                if answer == Err(ErrorCode::InvalidArgument) {
                    dead.push((id.clone(), value.to_vec()));
                }
                expected.insert(id, answer);
            };
        let good = || Ok(format!("value {round}"));
        let image = doubles::image(round);
        send("good", &image, &[], good());
        send("bird", &image, &[(header::MODEL, "bird"), (header::MODEL_VERSION, "2")], good());
        send("garbage", b"garbage", &[], Err(ErrorCode::InvalidArgument));
        send("empty", b"", &[], Err(ErrorCode::InvalidArgument));
        send("type", &image, &[(header::CONTENT_TYPE, "text/html")], Err(ErrorCode::InvalidArgument));
        send("decoder", &doubles::PANIC_IN_DECODER, &[], Err(ErrorCode::InvalidArgument));
        send("model", &image, &[(header::MODEL, "fish")], Err(ErrorCode::NotFound));
        send("version", &image, &[(header::MODEL_VERSION, "7")], Err(ErrorCode::NotFound));
        send("expired", &image, &past, Err(ErrorCode::DeadlineExceeded));
        send("fails", &doubles::image(doubles::FAILS), &[], Err(ErrorCode::Internal));
        send("panics", &doubles::image(doubles::PANICS), &[], Err(ErrorCode::Internal));
        send("last", &image, &[], good());
    }
    fixture.flush();
    let replies = fixture.replies(expected.len());
    for (id, answer) in &expected {
        let replies = &replies[id];
        assert_eq!(replies.len(), 1, "{id} is answered once");
        assert_eq!(&label(&replies[0]).map(str::to_owned), answer, "{id}");
    }
    let letters = fixture.read("predict.dead-letter", |seen| seen.len() >= dead.len());
    assert_eq!(letters.len(), dead.len());
    for (id, value) in dead {
        let letter = letters.iter().find(|l| l.key.as_deref() == Some(id.as_bytes())).unwrap();
        assert_eq!(letter.value.as_deref().unwrap_or_default(), value, "{id}");
        assert_eq!(letter.headers.get("__connect.errors.topic"), Some(&b"predict.requests"[..]));
        assert_eq!(letter.headers.get(header::ID), Some(id.as_bytes()));
    }
    worker.ready().await;
    assert_eq!(worker.metric("nv_inference_request_success").await, 30.0);
    assert_eq!(worker.metric("nv_inference_request_failure").await, 90.0);
    assert_eq!(worker.metric("mlaas_worker_dead_letters_total").await, 40.0);
    worker.stop().await.unwrap();
    fixture.assert_all_committed();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_reply_partition_gives_way_to_the_results_topic() {
    let fixture = Fixture::new();
    let mut worker = fixture.start(fixture.config(), models()).await;
    worker.ready().await;
    let mut headers = Headers::new();
    headers.push(header::ID, "lost");
    headers.push(header::REPLY_TOPIC, "predict.results");
    headers.push(header::REPLY_PARTITION, 99_i32.to_be_bytes());
    let image = doubles::image(5);
    let record =
        BaseRecord::to("predict.requests").key("lost").payload(&image).headers(to_headers(headers.iter()));
    fixture.producer.send(record).map_err(|(e, _)| e).unwrap();
    fixture.flush();
    let replies = fixture.replies(1);
    assert_eq!(label(&replies["lost"][0]), Ok("value 5"));
    assert_eq!(worker.metric("mlaas_worker_rerouted_replies_total").await, 1.0);
    worker.stop().await.unwrap();
    fixture.assert_all_committed();
}
