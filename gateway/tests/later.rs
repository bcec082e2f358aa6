//! `?async=true`, and the result of any gateway.

use serde_json::Value;

use crate::support::http::Connection;
use crate::support::{
    self, PATIENCE, Running, announce, announcement, broker, config, config_with, echo, eventually,
};

/// Leaves an image and returns the result's id.
async fn leave(gateway: &Running, image: &str, query: &str) -> String {
    let answer = gateway.predict(&format!("?async=true{query}"), image.as_bytes()).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let json = answer.json();
    let id = json["id"].as_str().unwrap().to_owned();
    assert_eq!(json["status"], "pending");
    assert_eq!(answer.header("location").unwrap(), format!("/v1/results/{id}"));
    assert_eq!(json["events"], format!("/v1/results/{id}/events"));
    id
}

/// The one event of a stream: its name and data.
async fn event(address: &str, id: &str) -> (String, Value) {
    let mut connection = Connection::open(address).await;
    let head = format!("GET /v1/results/{id}/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    connection.send(head.as_bytes()).await;
    let answer = connection.answer().await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream"), "{answer:?}");
    let text = answer.text();
    let line = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{text}"))
    };
    (line("event: ").to_owned(), serde_json::from_str(line("data: ")).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_pending_and_then_there_through_any_gateway_though_the_first_is_gone() {
    let broker = broker(3);
    let first = Running::of(config_with(&broker, &[("name", "first")])).await;
    let second = Running::of(config_with(&broker, &[("name", "second")])).await;
    let id = leave(&first, "an image", "&model=bird").await;
    let other = leave(&first, "another", "").await;
    first.finish().await.unwrap();
    let path = format!("/v1/results/{id}");
    let answer = second.get(&path).await;
    assert_eq!((answer.status, answer.header("retry-after")), (202, Some("1")), "{answer:?}");
    assert_eq!(answer.json()["id"], id);
    // Somebody waits for the event before it is answered.
    let address = second.ready.http.clone();
    let waiting = tokio::spawn(async move { event(&address, &other).await });
    eventually("the stream is open", async || second.metric("mlaas_gateway_event_streams", "").await == 1.0)
        .await;
    let _worker = echo(&broker);
    let (name, answer) = support::limited("the event", waiting).await.unwrap();
    assert_eq!((name.as_str(), &answer["predictions"][0]["label"]), ("result", &"another".into()));
    eventually("it is there", async || second.get(&path).await.status == 200).await;
    let answer = second.get(&path).await.json();
    assert_eq!(answer["predictions"][0]["label"], "an image");
    assert_eq!(answer["model"]["name"], "bird");
    assert_eq!(event(&second.ready.http, &id).await.1["model"]["name"], "bird");
    second.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_a_worker_is_the_result_and_what_never_comes_is_not_there() {
    let broker = broker(1);
    let _worker = support::double(&broker, |received| {
        let wanted = received.filter(|received| &received.request.image[..] == b"bad");
        let error = || {
            client::Outcome::Error(client::ErrorReply::new(client::ErrorCode::InvalidArgument, "no image"))
        };
        wanted.map(|received| (received, error())).into_iter().collect()
    });
    let gateway = Running::of(config(&broker)).await;
    let id = leave(&gateway, "bad", "").await;
    let path = format!("/v1/results/{id}");
    eventually("it is answered", async || gateway.get(&path).await.status != 202).await;
    assert_eq!(gateway.get(&path).await.problem(), (422, "no image".to_owned()));
    let (name, details) = event(&gateway.ready.http, &id).await;
    assert_eq!((name.as_str(), &details["status"]), ("problem", &422.into()));

    let parts: Vec<_> = id.split('.').collect();
    let long_ago = format!("019b7c9e-2d5a-7c31-8a57-5f0c1c6b2a10.{}.0.30", parts[1]);
    for id in [
        long_ago.as_str(),
        "x",
        &id.replace(".0.0.", ".0.-1."),
        &format!("{id}0000"),
        "..%2f..%2fetc%2fpasswd",
        "%00",
    ] {
        let (status, detail) = gateway.get(&format!("/v1/results/{id}")).await.problem();
        assert_eq!(status, 404, "{id}: {detail}");
    }
    let answer = support::http::ask(
        &gateway.ready.http,
        "GET",
        &format!("/v1/results/{id}/events"),
        &[("last-event-id", "1")],
        b"",
    )
    .await;
    assert_eq!(answer.status, 204, "a browser that comes back is told to stop");
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_bounded_and_end_with_the_gateway() {
    let broker = broker(1);
    let _worker = support::silent(&broker);
    let gateway = Running::of(config_with(&broker, &[("results.max_streams", "1")])).await;
    let id = leave(&gateway, "an image", "").await;
    let (address, other) = (gateway.ready.http.clone(), id.clone());
    let waiting = tokio::spawn(async move { event(&address, &other).await });
    eventually("the stream is open", async || gateway.metric("mlaas_gateway_event_streams", "").await == 1.0)
        .await;
    assert_eq!(gateway.get(&format!("/v1/results/{id}/events")).await.problem().0, 429);
    let begun = std::time::Instant::now();
    gateway.finish().await.unwrap();
    let (name, details) = support::limited("the event", waiting).await.unwrap();
    assert_eq!((name.as_str(), &details["status"]), ("problem", &503.into()));
    assert!(begun.elapsed() < PATIENCE / 2, "the end did not wait for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_of_one_name_share_a_partition_and_each_gets_its_own_answers() {
    let broker = broker(4);
    let _worker = echo(&broker);
    announce(&broker, &announcement("w", "default", 1));
    let one = Running::of(config_with(&broker, &[("name", "same")])).await;
    let two = Running::of(config_with(&broker, &[("name", "same")])).await;
    let ask = async |gateway: &Running, label: String| {
        let answer = gateway.predict("", label.as_bytes()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["predictions"][0]["label"], label);
    };
    let all = (0..20).map(async |n| {
        tokio::join!(ask(&one, format!("one {n}")), ask(&two, format!("two {n}")));
    });
    futures_util::future::join_all(all).await;
    let partition = |id: String| id.split('.').nth(1).unwrap().to_owned();
    assert_eq!(partition(leave(&one, "x", "").await), partition(leave(&two, "y", "").await));
    one.finish().await.unwrap();
    two.finish().await.unwrap();
}
