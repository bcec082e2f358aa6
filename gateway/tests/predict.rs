//! `POST /predict`, in all the ways in which an image comes, and what is said where it can't be answered.

use client::{ErrorCode, ErrorReply, Outcome};

use crate::support::{self, PATIENCE, Running, broker, config, config_with, echo, eventually};

const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=b");
const JSON: (&str, &str) = ("content-type", "application/json");

/// A form with those parts: name, file name where it is a file, value.
fn form(parts: &[(&str, Option<&str>, &str)]) -> Vec<u8> {
    let part = |(name, file, value): &(&str, Option<&str>, &str)| {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n")
    };
    (parts.iter().map(part).collect::<String>() + "--b--\r\n").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_comes_raw_as_json_or_as_a_form() {
    let broker = broker(2);
    let _worker = echo(&broker);
    let gateway = Running::of(config(&broker)).await;
    let json = br#"{"image": "cmF3", "model": "bird", "version": 7, "top_k": 2, "timeout": "20s"}"#;
    let parts = [
        ("model", None, "bird"),
        ("version", None, "7"),
        ("top_k", None, "2"),
        ("timeout", None, "20s"),
        ("picture", Some("a.png"), "raw"),
    ];
    let query = "?model=bird&version=7&top_k=2&timeout=20s";
    for answer in [
        gateway.predict(query, b"raw").await,
        gateway
            .post(&format!("/predict{query}"), &[("content-type", "application/octet-stream")], b"raw")
            .await,
        gateway.post("/predict", &[JSON], json).await,
        gateway.post("/predict", &[FORM], &form(&parts)).await,
    ] {
        assert_eq!(answer.status, 200, "{answer:?}");
        let json = answer.json();
        assert_eq!(json["status"], "success", "{json}");
        assert_eq!(json["model"]["name"], "bird", "{json}");
        assert_eq!(json["model"]["version"], 7, "{json}");
        assert_eq!(json["predictions"].as_array().unwrap().len(), 2, "{json}");
        assert_eq!(json["predictions"][0]["label"], "raw", "{json}");
        assert_eq!(json["worker"], "double", "{json}");
    }
    // What the query says goes before what the body says.
    let answer = gateway.post("/predict?model=cat", &[JSON], json).await.json();
    assert_eq!(answer["model"]["name"], "cat");
    assert_eq!(gateway.metric("mlaas_gateway_images_total", "OK").await, 5.0);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_is_said_and_no_worker_hears_of_it() {
    let broker = broker(1);
    let gateway = Running::of(config(&broker)).await;
    let image = [("content-type", "image/png")];
    let many = form(&[("model", None, "bird"); 17]);
    let truncated = &form(&[("image", Some("a.png"), "raw")])[..70];
    for (path, headers, body, status, said) in [
        ("/predict", &[][..], &b"raw"[..], 415, "none is given"),
        ("/predict", &[("content-type", "text/html")], b"raw", 415, "it is 'text/html'"),
        ("/predict", &[("content-type", "application/x-www-form-urlencoded")], b"raw", 415, "it is"),
        ("/predict", &[image[0], ("content-encoding", "gzip")], b"raw", 415, "compressed"),
        ("/predict", &image, b"", 400, "empty"),
        ("/predict?top_k=0", &image, b"raw", 400, "top_k is 0"),
        ("/predict?reply_topic=x", &image, b"raw", 400, "reply_topic"),
        ("/predict?timeout=1day", &image, b"raw", 400, "requests.max_timeout"),
        ("/predict?model=..%2Fetc", &image, b"raw", 404, "'../etc'"),
        ("/predict", &[JSON], b"{", 400, "EOF"),
        ("/predict", &[JSON], b"[]", 400, "JSON"),
        ("/predict", &[JSON], b"{}", 400, "image"),
        ("/predict", &[JSON], br#"{"image": "cmF3", "reply_topic": "x"}"#, 400, "reply_topic"),
        ("/predict", &[JSON], br#"{"image": "cm F3"}"#, 400, "base64"),
        ("/predict", &[JSON], br#"{"image": ""}"#, 400, "empty"),
        ("/predict", &[FORM], b"", 400, "form"),
        ("/predict", &[FORM], truncated, 400, "form"),
        ("/predict", &[FORM], &many, 400, "more than 16 fields"),
        ("/predict", &[("content-type", "multipart/form-data")], b"raw", 400, "form"),
        ("/predict", &[FORM], &form(&[("model", None, "bird")]), 400, "no image"),
        ("/predict", &[FORM], &form(&[("image", None, "a"), ("image", None, "b")]), 400, "more images"),
        (
            "/predict",
            &[FORM],
            &form(&[("image", None, "a"), ("kafka_replyTopic", None, "b")]),
            400,
            "kafka_replyTopic",
        ),
        ("/predikt", &image, b"raw", 404, "nothing at this path"),
        ("/livez", &image, b"raw", 405, "Allow"),
    ] {
        let answer = gateway.post(path, headers, body).await;
        let (found, detail) = answer.problem();
        assert_eq!(found, status, "{path} {headers:?}: {detail}");
        assert!(detail.contains(said), "{path} {headers:?}: {detail}");
    }
    let answer = gateway.get("/predict").await;
    assert_eq!((answer.problem().0, answer.header("allow")), (405, Some("POST")));
    assert_eq!(support::requests(&broker), 0);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_error_of_a_worker_has_its_status() {
    let broker = broker(1);
    let _worker = support::double(&broker, |received| {
        let answered = |received: client::double::Received| {
            let code = String::from_utf8_lossy(&received.request.image).into_owned();
            let code = ErrorCode::ALL.into_iter().find(|known| known.name() == code).unwrap();
            (received, Outcome::Error(ErrorReply::new(code, "as you like")))
        };
        received.map(answered).into_iter().collect()
    });
    let gateway = Running::of(config(&broker)).await;
    for (code, status) in [
        ("INVALID_ARGUMENT", 422),
        ("NOT_FOUND", 404),
        ("DEADLINE_EXCEEDED", 504),
        ("RESOURCE_EXHAUSTED", 429),
        ("UNAVAILABLE", 503),
        ("INTERNAL", 500),
        ("OUT_OF_RANGE", 413),
    ] {
        let answer = gateway.predict("", code.as_bytes()).await;
        assert_eq!(answer.problem(), (status, "as you like".to_owned()));
        assert_eq!(answer.json()["code"], code);
        let again = matches!(status, 429 | 503);
        assert_eq!(answer.header("retry-after"), again.then_some("1"), "{code}");
    }
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_come_is_not_waited_for_longer_than_was_said() {
    let broker = broker(1);
    let _worker = support::silent(&broker);
    let gateway = Running::of(config(&broker)).await;
    let begun = std::time::Instant::now();
    let (status, detail) = gateway.predict("?timeout=300ms", b"raw").await.problem();
    assert_eq!(status, 504, "{detail}");
    assert!(detail.contains("300ms"), "{detail}");
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(gateway.metric("mlaas_gateway_images_total", "DEADLINE_EXCEEDED").await, 1.0);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_and_traces_go_in_and_come_out_and_nothing_else_becomes_a_header() {
    let broker = broker(1);
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let _worker = support::double(&broker, move |received| {
        let mut replies = Vec::new();
        if let Some(received) = received {
            let outcome = received.echo();
            sender.send((received.headers.clone(), received.envelope.clone())).unwrap();
            replies.push((received, outcome));
        }
        replies
    });
    let gateway = Running::of(config_with(&broker, &[("name", "g1")])).await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let headers = [
        ("content-type", "image/png"),
        ("x-request-id", "mine"),
        ("traceparent", &format!("00-{trace}-b7ad6b7169203331-01")),
        ("tracestate", "a=b"),
        ("baggage", "k=v"),
        ("kafka_replyTopic", "elsewhere"),
        ("ce_model", "other"),
        ("ce_deadline", "2001-01-01T00:00:00Z"),
        ("accept", "application/json"),
    ];
    let answer = gateway.post("/predict", &headers, b"raw").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-request-id"), Some("mine"));
    let parent = answer.header("traceparent").unwrap().to_owned();
    assert!(parent.starts_with(&format!("00-{trace}-")) && !parent.contains("b7ad6b7169203331"), "{parent}");
    let (headers, envelope) = seen.recv().await.unwrap();
    assert_eq!(envelope.trace.parent.as_ref(), Some(&parent));
    assert_eq!(envelope.trace.state.as_deref(), Some("a=b"));
    assert_eq!(envelope.trace.baggage.as_deref(), Some("k=v"));
    assert_eq!(envelope.model, None);
    assert_eq!(envelope.reply_to.topic.as_deref(), Some("predict.results"));
    assert_eq!(headers.get("ce_source"), Some(&b"/mlaas/gateway/g1"[..]));
    for (name, _) in headers.iter() {
        let name = String::from_utf8_lossy(name);
        assert!(wire::header::ALL.contains(&&*name), "{name}");
    }
    // Those that make no sense are as if they were not there.
    let headers = [("content-type", "image/png"), ("x-request-id", "two words"), ("traceparent", "00-x")];
    let answer = gateway.post("/predict", &headers, b"raw").await;
    assert_ne!(answer.header("x-request-id"), Some("two words"));
    assert!(answer.header("traceparent").unwrap().len() == 55);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_waited_for_and_readyz_says_so() {
    let broker = broker(1);
    let _worker = echo(&broker);
    let absent = config_with(&broker, &[("kafka.bootstrap_servers", "127.0.0.1:1")]);
    let gateway = Running::start(absent).await;
    assert_eq!(gateway.get("/livez").await.text(), "ok\n");
    eventually("it says which broker does not answer", async || {
        let answer = gateway.get("/readyz").await;
        answer.status == 503 && answer.text().contains("127.0.0.1:1")
    })
    .await;
    let answer = gateway.predict("", b"raw").await;
    assert_eq!((answer.problem().0, answer.header("retry-after")), (503, Some("1")));
    gateway.finish().await.unwrap();

    let gateway = Running::of(config(&broker)).await;
    broker.broker_down().unwrap();
    eventually("it says that the broker is away", async || gateway.get("/readyz").await.status == 503).await;
    broker.broker_up().unwrap();
    gateway.until_ready().await;
    let answer = gateway.predict("", b"raw").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_and_shown_to_other_origins_where_that_is_configured() {
    let broker = broker(1);
    let _worker = echo(&broker);
    let asked = [("content-type", "image/png"), ("accept-encoding", "gzip"), ("origin", "https://a.example")];
    let gateway = Running::of(config(&broker)).await;
    let answer = gateway.post("/predict", &asked, b"raw").await;
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(answer.header("access-control-allow-origin"), None);
    gateway.finish().await.unwrap();
    let keys = [("http.compression", "false"), ("http.cors_origins", "['https://a.example']")];
    let gateway = Running::of(config_with(&broker, &keys)).await;
    let answer = gateway.post("/predict", &asked, b"raw").await;
    assert_eq!(answer.header("content-encoding"), None);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://a.example"));
    let other = [("content-type", "image/png"), ("origin", "https://b.example")];
    let answer = gateway.post("/predict", &other, b"raw").await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let preflight = [("origin", "https://a.example"), ("access-control-request-method", "POST")];
    let answer = support::http::ask(&gateway.ready.http, "OPTIONS", "/predict", &preflight, b"").await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-methods")),
        (200, Some("GET,POST,DELETE"))
    );
    gateway.finish().await.unwrap();
}
