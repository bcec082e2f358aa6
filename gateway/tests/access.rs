//! Keys: who comes in with one, for what, how fast, and until when.

use std::time::{Duration, Instant};

use gateway::grpc::pb::grpc_inference_service_client::GrpcInferenceServiceClient;
use gateway::grpc::pb::{ModelInferRequest, ModelReadyRequest, RepositoryIndexRequest, ServerLiveRequest};
use tokio::io::AsyncWriteExt as _;
use tonic::transport::Endpoint;
use tonic::{Code, Request};
use wire::{KeyRecord, Scope};

use crate::support::access::{bearer, guarded, put, record};
use crate::support::http::{self, Connection};
use crate::support::{Running, broker, config_with, echo, eventually, limited, requests};

const KEY: &str = "mlaas_the-key-of-somebody-who-may-ask";

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_key_comes_in_and_nobody_else() {
    let broker = broker(1);
    let _worker = echo(&broker);
    put(&broker, &record("k1", KEY, &[Scope::Predict]));
    let gateway = guarded(&broker, &[]).await;
    assert_eq!(gateway.predict_as(KEY, "").await.status, 200);
    let answer = gateway.post("/predict", &[("content-type", "image/png"), ("X-API-Key", KEY)], b"raw").await;
    assert_eq!(answer.status, 200, "{answer:?}");

    let answer = gateway.predict("", b"raw").await;
    assert_eq!(answer.problem().0, 401);
    assert_eq!(answer.json()["code"], "UNAUTHENTICATED");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"mlaas\""));
    let wrong = format!("{KEY}x");
    for shown in [
        &*bearer(&wrong),
        &bearer(&KEY[..20]),
        &bearer(""),
        "Bearer mlaas_",
        "Basic bWxhYXM6bWxhYXM=",
        KEY,
        "Bearer null",
        &bearer(&"x".repeat(60_000)),
        &format!("{}, {}", bearer(KEY), bearer(KEY)),
        &bearer(&format!("{KEY}%0d%0aX-API-Key: {KEY}")),
    ] {
        let answer = gateway.ask_as(shown, "POST", "/predict").await;
        assert_eq!(answer.problem().0, 401, "{shown}");
        assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"), "{answer:?}");
        assert!(!answer.text().contains(KEY), "{answer:?}");
    }
    // Each key in its own header, and two that differ.
    let two = [("authorization", &*bearer(KEY)), ("x-api-key", &*wrong)];
    assert_eq!(gateway.post("/predict", &two, b"raw").await.status, 401);
    assert_eq!(requests(&broker), 2, "nobody else's image came to a worker");
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_is_not_waited_for_where_nobody_may_send_it() {
    let broker = broker(1);
    let gateway = guarded(&broker, &[]).await;
    let mut connection = Connection::open(&gateway.ready.http).await;
    connection
        .send(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 9000000\r\n\r\n")
        .await;
    assert_eq!(connection.answer().await.problem().0, 401);
    assert_eq!(gateway.metric("mlaas_gateway_body_bytes", "").await, 0.0);
    // A client that sends all before it reads can, and sees the answer.
    let mut plain = Connection::open(&gateway.ready.http).await;
    plain
        .send(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 20000000\r\n\r\n")
        .await;
    let body = vec![0; 20_000_000];
    limited("the rest to be taken", plain.stream.write_all(&body)).await.unwrap();
    assert_eq!(plain.answer().await.problem().0, 401);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_for_its_scopes_and_models_alone() {
    let broker = broker(1);
    let _worker = echo(&broker);
    let only_bird =
        |scopes: &[Scope]| KeyRecord { models: Some(vec!["bird".into()]), ..record("k1", KEY, scopes) };
    put(&broker, &only_bird(&[Scope::Predict, Scope::Promote]));
    let gateway = guarded(&broker, &[]).await;
    assert_eq!(gateway.predict_as(KEY, "?model=bird").await.status, 200);
    for (query, said) in
        [("", "name the one"), ("?model=cat", "may not ask model 'cat'"), ("?model=bird2", "bird")]
    {
        let (status, detail) = gateway.predict_as(KEY, query).await.problem();
        assert_eq!(status, 403, "{query}");
        assert!(detail.contains(said) && detail.contains("bird"), "{detail}");
    }
    assert_eq!(gateway.predict_as(KEY, "?model=cat&async=true").await.status, 403);
    // Wherever a model can be named: in JSON, where the query says nothing else, in forms, in paths, also escaped.
    let json = [("authorization", &*bearer(KEY)), ("content-type", "application/json")];
    let form = [("authorization", &*bearer(KEY)), ("content-type", "multipart/form-data; boundary=b")];
    let part = |model: &str| {
        format!(
            "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--b\r\ncontent-disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\nraw\r\n--b--\r\n"
        )
    };
    let infer = r#"{"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["cmF3"]}]}"#;
    for (path, headers, body, status) in [
        ("/predict", json, r#"{"image": "cmF3", "model": "bird"}"#.to_owned(), 200),
        ("/predict", json, r#"{"image": "cmF3", "model": "cat"}"#.to_owned(), 403),
        ("/predict?model=bird", json, r#"{"image": "cmF3", "model": "cat"}"#.to_owned(), 200),
        ("/predict?model=cat", json, r#"{"image": "cmF3", "model": "bird"}"#.to_owned(), 403),
        ("/v1/batch", json, r#"{"images": ["cmF3"], "model": "cat"}"#.to_owned(), 403),
        ("/v1/batch", json, r#"{"images": ["cmF3"]}"#.to_owned(), 403),
        ("/v1/batch", json, r#"{"images": ["cmF3"], "model": "bird"}"#.to_owned(), 200),
        ("/predict", form, part("bird"), 200),
        ("/predict", form, part("cat"), 403),
        ("/v2/models/cat/infer", json, infer.to_owned(), 403),
        ("/v2/models/%63at/infer", json, infer.to_owned(), 403),
        ("/v2/models/cat/versions/1/infer", json, infer.to_owned(), 403),
        ("/v2/repository/models/cat/load", json, String::new(), 403),
        // That one may be loaded, and no worker serves it.
        ("/v2/repository/models/bird/load", json, String::new(), 404),
    ] {
        let answer = gateway.post(path, &headers, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{path} {body}: {answer:?}");
    }
    // What its scopes do not hold.
    let answer = gateway.ask_as(&bearer(KEY), "GET", "/v1/workers").await;
    assert_eq!(answer.problem().0, 403);
    assert_eq!(answer.json()["code"], "PERMISSION_DENIED");
    assert!(
        answer.header("www-authenticate").unwrap().ends_with("error=\"insufficient_scope\", scope=\"read\"")
    );
    put(&broker, &only_bird(&[Scope::Read]));
    gateway.until(KEY, 200).await;
    assert_eq!(gateway.predict_as(KEY, "?model=bird").await.status, 403);
    assert_eq!(gateway.ask_as(&bearer(KEY), "GET", "/v2/models/cat").await.status, 403);
    assert_eq!(gateway.ask_as(&bearer(KEY), "GET", "/v2/models/bird").await.status, 404);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_or_expires_while_it_is_used_stops_at_every_gateway() {
    let broker = broker(1);
    let first = guarded(&broker, &[]).await;
    let second = guarded(&broker, &[]).await;
    let mut key = record("k1", KEY, &[Scope::Read]);
    assert_eq!(first.ask_as(&bearer(KEY), "GET", "/v1/workers").await.status, 401);
    put(&broker, &key);
    first.until(KEY, 200).await;
    second.until(KEY, 200).await;
    // One connection that stays open, as a client's that goes on asking.
    let mut open = Connection::open(&first.ready.http).await;
    let ask = format!("GET /v1/workers HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n\r\n", bearer(KEY));
    open.send(ask.as_bytes()).await;
    assert_eq!(open.answer().await.status, 200);
    key.revoked_at = Some(jiff::Timestamp::now());
    let revoked = Instant::now();
    put(&broker, &key);
    first.until(KEY, 401).await;
    second.until(KEY, 401).await;
    assert!(revoked.elapsed() < Duration::from_secs(5), "{:?}", revoked.elapsed());
    open.send(ask.as_bytes()).await;
    assert!(open.answer().await.problem().1.contains("was revoked"));
    // And one whose time is over with nothing written.
    let ends = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(1);
    put(&broker, &KeyRecord { expires_at: Some(ends), revoked_at: None, ..key });
    first.until(KEY, 200).await;
    first.until(KEY, 401).await;
    assert!(jiff::Timestamp::now() >= ends);
    for gateway in [first, second] {
        gateway.finish().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_not_ready_before_the_keys_are_read_and_takes_none_of_an_embedded_broker() {
    let broker = broker(1);
    let _worker = echo(&broker);
    put(&broker, &record("k1", KEY, &[Scope::Predict]));
    let gateway = Running::start(config_with(&broker, &[("auth.required", "true")])).await;
    eventually("it says why", async || {
        let ready = gateway.get("/readyz").await;
        ready.status == 503 && ready.text() == "keys need a real Kafka: a worker's embedded broker forgets them when that worker ends; name one in kafka.bootstrap_servers, or turn auth.keys off\n"
    })
    .await;
    let answer = gateway.predict_as(KEY, "").await;
    assert_eq!(answer.problem().0, 503);
    assert_eq!(gateway.get("/livez").await.status, 200);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_fast_is_told_for_how_long_to_wait_and_that_is_true() {
    let broker = broker(1);
    let _worker = echo(&broker);
    put(&broker, &record("k1", KEY, &[Scope::Predict]));
    let slow = "mlaas_a-slow-one";
    put(&broker, &KeyRecord { rate: Some(1), burst: Some(2), ..record("k2", slow, &[Scope::Predict]) });
    let gateway = guarded(&broker, &[("limits.rate_per_key", "1000")]).await;
    let answer = gateway.predict_as(slow, "").await;
    assert_eq!(answer.header("ratelimit-policy"), Some("\"caller\";q=2;w=2"));
    assert_eq!(answer.header("ratelimit"), Some("\"caller\";r=1;t=1"));
    assert_eq!(gateway.predict_as(slow, "").await.status, 200);
    let refused = Instant::now();
    let answer = gateway.predict_as(slow, "").await;
    assert_eq!(answer.problem().0, 429, "{answer:?}");
    assert_eq!(answer.json()["retryable"], true);
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    // Another is not held up by it, and it alone by what it is told.
    assert_eq!(gateway.predict_as(KEY, "").await.status, 200);
    tokio::time::sleep_until((refused + Duration::from_secs(wait)).into()).await;
    assert_eq!(gateway.predict_as(slow, "").await.status, 200);
    // Each image of several counts.
    let headers = [("authorization", &*bearer(slow)), ("content-type", "application/json")];
    let several = format!(r#"{{"images": [{}]}}"#, ["\"cmF3\""; 20].join(","));
    eventually("there is one left", async || {
        gateway.post("/v1/batch", &headers, several.as_bytes()).await.status == 200
    })
    .await;
    let wait: u64 = gateway.predict_as(slow, "").await.header("retry-after").unwrap().parse().unwrap();
    assert!((15..=20).contains(&wait), "{wait}");
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn by_grpc_a_key_is_metadata() {
    let broker = broker(1);
    put(&broker, &KeyRecord { models: Some(vec!["bird".into()]), ..record("k1", KEY, &[Scope::Predict]) });
    put(&broker, &record("k2", "mlaas_reader", &[Scope::Read]));
    let gateway = guarded(&broker, &[]).await;
    let address = format!("http://{}", gateway.ready.grpc.as_ref().unwrap());
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let mut client = GrpcInferenceServiceClient::new(channel);
    fn with<T>(message: T, name: &'static str, value: &str) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(name, value.parse().unwrap());
        request
    }
    let model = |name: &str| ModelInferRequest { model_name: name.into(), ..ModelInferRequest::default() };
    assert!(client.server_live(ServerLiveRequest {}).await.is_ok());
    let code = |answer: Result<_, tonic::Status>| answer.map(|_| ()).unwrap_err().code();
    assert_eq!(code(client.model_infer(model("bird")).await.map(drop)), Code::Unauthenticated);
    for (name, value, message, expected) in [
        ("authorization", bearer(KEY), model("bird"), Code::InvalidArgument),
        ("x-api-key", KEY.to_owned(), model("bird"), Code::InvalidArgument),
        ("authorization", bearer("mlaas_other"), model("bird"), Code::Unauthenticated),
        ("authorization", bearer("mlaas_reader"), model("bird"), Code::PermissionDenied),
    ] {
        let answer = client.model_infer(with(message, name, &value)).await;
        assert_eq!(code(answer.map(drop)), expected, "{name}: {value}");
    }
    let index = RepositoryIndexRequest::default();
    let answer = client.repository_index(with(index.clone(), "authorization", &bearer(KEY))).await;
    assert_eq!(code(answer.map(drop)), Code::PermissionDenied);
    assert!(client.repository_index(with(index, "x-api-key", "mlaas_reader")).await.is_ok());
    // A model that a message names is looked at.
    put(
        &broker,
        &KeyRecord { models: Some(vec!["bird".into()]), ..record("k2", "mlaas_reader", &[Scope::Read]) },
    );
    eventually("the limit is known", async || {
        let ready = ModelReadyRequest { name: "cat".into(), ..ModelReadyRequest::default() };
        let answer = client.model_ready(with(ready, "x-api-key", "mlaas_reader")).await;
        answer.is_err_and(|status| status.code() == Code::PermissionDenied)
    })
    .await;
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_not_asked_for_where_that_is_not_said() {
    let broker = broker(1);
    let _worker = echo(&broker);
    let gateway = Running::of(config_with(&broker, &[])).await;
    assert_eq!(gateway.predict("", b"raw").await.status, 200);
    let answer =
        http::ask(&gateway.ready.http, "GET", "/v1/workers", &[("authorization", "Bearer x")], b"").await;
    assert_eq!(answer.status, 200);
    gateway.finish().await.unwrap();
}
