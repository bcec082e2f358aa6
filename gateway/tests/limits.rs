//! How much is taken, for how long, and what becomes of those who are too slow, too many, too large, or gone.

use client::double::{Received, Replies};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

use crate::support::http::Connection;
use crate::support::{self, Running, broker, config, config_with, echo, eventually};

/// A worker that takes requests and answers all of them when it is let.
struct Held {
    _double: client::double::Double,
    /// How many it has.
    has: watch::Receiver<usize>,
    go: watch::Sender<bool>,
}

fn held(broker: &kafka::EmbeddedBroker) -> Held {
    let (told, has) = watch::channel(0);
    let (go, may) = watch::channel(false);
    let mut waiting: Vec<Received> = Vec::new();
    let double = support::double(broker, move |received| -> Replies {
        waiting.extend(received);
        told.send_replace(waiting.len());
        if !*may.borrow() {
            return Vec::new();
        }
        std::mem::take(&mut waiting).into_iter().map(|r| (r.echo(), r)).map(|(o, r)| (r, o)).collect()
    });
    Held { _double: double, has, go }
}

impl Held {
    async fn has(&mut self, requests: usize) {
        support::limited("requests at the worker", self.has.wait_for(|has| *has == requests)).await.unwrap();
    }
}

fn head(path: &str, headers: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\n{headers}\r\n").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_be_on_their_way_are_refused_at_once_and_places_come_back() {
    let broker = broker(1);
    let mut worker = held(&broker);
    let keys = [("limits.max_in_flight", "2"), ("limits.max_batch_images", "2")];
    let gateway = Running::of(config_with(&broker, &keys)).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::open(&gateway.ready.http).await;
        connection.send(&head("/predict", "content-length: 3\r\n")).await;
        connection.send(b"raw").await;
        open.push(connection);
    }
    worker.has(2).await;
    assert_eq!(gateway.metric("mlaas_gateway_in_flight", "").await, 2.0);
    let answer = gateway.predict("", b"raw").await;
    assert_eq!((answer.problem().0, answer.header("retry-after")), (429, Some("1")));
    // A caller that hangs up frees its place.
    drop(open.pop());
    eventually("the place is free", async || gateway.metric("mlaas_gateway_in_flight", "").await == 1.0)
        .await;
    eventually("that is counted", async || {
        gateway.metric("mlaas_gateway_requests_total", "hung up").await == 1.0
    })
    .await;
    worker.go.send_replace(true);
    assert_eq!(open.pop().unwrap().answer().await.status, 200);
    assert_eq!(gateway.predict("", b"raw").await.status, 200);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_as_soon_as_that_is_known_and_its_rest_is_taken() {
    let broker = broker(1);
    let _worker = echo(&broker);
    let gateway = Running::of(config_with(&broker, &[("limits.max_image_bytes", "1000")])).await;
    // By its length, before anything came.
    let mut connection = Connection::open(&gateway.ready.http).await;
    connection.send(&head("/predict", "content-length: 3000000\r\n")).await;
    assert_eq!(connection.answer().await.problem().0, 413);
    // Nor is a client told to go on that asks first.
    let mut connection = Connection::open(&gateway.ready.http).await;
    connection.send(&head("/predict", "content-length: 3000000\r\nexpect: 100-continue\r\n")).await;
    assert_eq!(connection.answer().await.problem().0, 413);
    // A plain client sends all before it reads.
    let mut plain = Connection::open(&gateway.ready.http).await;
    plain.send(&head("/predict", "content-length: 20000000\r\n")).await;
    let body = vec![0; 20_000_000];
    let sent = plain.stream.write_all(&body);
    support::limited("the rest to be taken", sent).await.unwrap();
    assert_eq!(plain.answer().await.problem().0, 413);
    // With no length it is known while it comes.
    let mut connection = Connection::open(&gateway.ready.http).await;
    connection.send(&head("/predict", "transfer-encoding: chunked\r\n")).await;
    for _ in 0..20 {
        connection.send(b"64\r\n").await;
        connection.send(&[b'x'; 100]).await;
        connection.send(b"\r\n").await;
    }
    assert_eq!(connection.answer().await.problem().0, 413);
    // As base64 it is larger, and counted as the image.
    let json = |bytes: usize| format!(r#"{{"image": "{}"}}"#, "AAAA".repeat(bytes / 3)).into_bytes();
    let post = async |body: Vec<u8>| {
        gateway.post("/predict", &[("content-type", "application/json")], &body).await.status
    };
    assert_eq!(post(json(1002)).await, 413);
    assert_eq!(post(json(999)).await, 200);
    assert_eq!(support::requests(&broker), 1);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_together_take_no_more_memory_than_there_is_room_for() {
    let broker = broker(1);
    let _worker = echo(&broker);
    let keys = [
        ("limits.max_image_bytes", "100000"),
        ("limits.max_batch_bytes", "200000"),
        ("limits.max_in_flight_bytes", "204800"),
    ];
    let gateway = Running::of(config_with(&broker, &keys)).await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::open(&gateway.ready.http).await;
        connection.send(&head("/predict", "content-length: 100000\r\n")).await;
        connection.send(&vec![b'x'; 99_000]).await;
        slow.push(connection);
    }
    eventually("both are there", async || gateway.metric("mlaas_gateway_body_bytes", "").await >= 198_000.0)
        .await;
    assert_eq!(gateway.predict("", &[b'x'; 20_000]).await.problem().0, 429);
    slow.pop();
    eventually("there is room", async || gateway.predict("", &[b'x'; 20_000]).await.status == 200).await;
    drop(slow);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_too_slow_is_not_waited_for() {
    let broker = broker(1);
    let keys = [("http.header_timeout", "300ms"), ("http.body_timeout", "300ms")];
    let gateway = Running::of(config_with(&broker, &keys)).await;
    let mut silent = Connection::open(&gateway.ready.http).await;
    let mut slow = Connection::open(&gateway.ready.http).await;
    slow.send(b"GET /livez HTTP/1.1\r\nhost:").await;
    let mut body = Connection::open(&gateway.ready.http).await;
    body.send(&head("/predict", "content-length: 10\r\n")).await;
    body.send(b"half").await;
    assert_eq!(body.answer().await.problem().0, 408);
    // What is said to the other two, if anything, is said before the end.
    for connection in [&mut silent, &mut slow] {
        while !connection.closed().await {}
    }
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_requests_are_refused_and_harm_nobody() {
    let broker = broker(1);
    let _worker = echo(&broker);
    let gateway = Running::of(config(&broker)).await;
    for broken in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\nabc",
        b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: -3\r\n\r\nabc",
        b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\nabc",
        b"GET /livez HTTP/1.1\r\nhost: x\r\nbad header: \x00\r\n\r\n",
    ] {
        let mut connection = Connection::open(&gateway.ready.http).await;
        connection.send(broken).await;
        let answer = connection.head().await;
        assert!(answer.as_ref().is_none_or(|answer| answer.status == 400), "{answer:?}");
    }
    let long = format!("GET /livez HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(300_000));
    let mut connection = Connection::open(&gateway.ready.http).await;
    connection.send(long.as_bytes()).await;
    assert!(connection.head().await.is_none_or(|answer| answer.status == 431));
    // Two requests one behind the other, and a body that breaks off.
    let mut connection = Connection::open(&gateway.ready.http).await;
    connection.send(&[head("/predict", "content-length: 3\r\n"), b"one".to_vec()].concat().repeat(2)).await;
    assert_eq!(connection.answer().await.status, 200);
    assert_eq!(connection.answer().await.status, 200);
    connection.send(&head("/predict", "content-length: 30\r\n")).await;
    drop(connection);
    assert_eq!(gateway.predict("", b"raw").await.status, 200);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_more_than_there_may_be_is_closed() {
    let broker = broker(1);
    let gateway = Running::of(config_with(&broker, &[("http.max_connections", "2")])).await;
    eventually("none is open", async || {
        let text = gateway.get("/metrics").await;
        text.status == 200
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::open(&gateway.ready.http).await;
        connection.send(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
        if let Some(head) = connection.head().await {
            assert_eq!(head.status, 200);
            open.push(connection);
        }
    }
    let mut more = Connection::open(&gateway.ready.http).await;
    assert!(more.closed().await);
    open.pop();
    eventually("there is a place", async || {
        let mut connection = Connection::open(&gateway.ready.http).await;
        connection.send(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
        connection.head().await.is_some_and(|head| head.status == 200)
    })
    .await;
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_what_was_taken_is_answered_first() {
    let broker = broker(1);
    let mut worker = held(&broker);
    let gateway = Running::of(config_with(&broker, &[("shutdown.delay", "1s")])).await;
    let mut connection = Connection::open(&gateway.ready.http).await;
    connection.send(&head("/predict", "content-length: 3\r\n")).await;
    connection.send(b"raw").await;
    let mut idle = Connection::open(&gateway.ready.http).await;
    idle.send(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(idle.answer().await.status, 200);
    worker.has(1).await;
    gateway.end.cancel();
    eventually("it says that it is not ready", async || {
        let answer = gateway.get("/readyz").await;
        answer.status == 503 && answer.text() == "the gateway is shutting down\n"
    })
    .await;
    let mut other = Connection::open(&gateway.ready.http).await;
    other.send(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(other.answer().await.header("connection"), Some("close"), "the next goes elsewhere");
    // It takes requests until those who send them have heard of it; then one that is kept open and idle is closed.
    assert!(idle.closed().await);
    worker.go.send_replace(true);
    assert_eq!(connection.answer().await.status, 200);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_nobody_is_waited_for_longer_than_was_said() {
    let broker = broker(1);
    let mut worker = held(&broker);
    let gateway = Running::of(config_with(&broker, &[("shutdown.grace", "300ms")])).await;
    let mut connection = Connection::open(&gateway.ready.http).await;
    connection.send(&head("/predict", "content-length: 3\r\n")).await;
    connection.send(b"raw").await;
    worker.has(1).await;
    let error = gateway.finish().await.unwrap_err().to_string();
    assert!(error.starts_with("1 images were not answered"), "{error}");
}
