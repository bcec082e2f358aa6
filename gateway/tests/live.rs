//! What workers publish, told by HTTP: added up, by model and worker, and why there is none.

use client::double;
use kafka::{EmbeddedBroker, Topics};
use wire::{Snapshot, WorkerState};

use crate::support::{Running, broker, config, config_with, echo, eventually, snapshot};

fn publish(broker: &EmbeddedBroker, snapshot: &Snapshot) {
    double::publish(&broker.broker(), &Topics::default(), snapshot).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_workers_publish_is_told_by_model_and_worker() {
    let broker = broker(1);
    let gateway = Running::of(config(&broker)).await;
    let none = gateway.get("/v1/live").await.json();
    assert_eq!((none["workers"].as_array().unwrap().len(), none["fault"].is_null()), (0, true), "{none}");
    for (worker, model, answered) in [("w1", "bird", 4), ("w2", "shoe", 6)] {
        publish(&broker, &snapshot(worker, model, answered));
    }
    eventually("both are told", async || {
        gateway.get("/v1/live?minutes=60").await.json()["total"]["answered"] == 10
    })
    .await;
    let all = gateway.get("/v1/live").await.json();
    assert_eq!(
        (&all["total"]["failed"], &all["total"]["errors"]["NOT_FOUND"]),
        (&6.into(), &4.into()),
        "{all}"
    );
    assert_eq!((&all["lag"], &all["now"]["batch"]), (&10.into(), &2.5.into()), "{all}");
    assert!(all["now"]["p99_ms"].as_f64().unwrap() > 10.0, "{all}");
    assert_eq!((&all["window_s"], all["points"].as_array().unwrap().len()), (&300.into(), 150));
    let shoe = gateway.get("/v1/live?model=shoe&version=1").await.json();
    assert_eq!(
        (&shoe["total"]["answered"], &shoe["models"][0]["model"]),
        (&6.into(), &"shoe".into()),
        "{shoe}"
    );
    let first = gateway.get("/v1/live?worker=w1").await.json();
    assert_eq!((&first["total"]["answered"], &first["lag"]), (&4.into(), &5.into()), "{first}");
    for (query, said) in [
        ("?minutes=0", "1 to 60"),
        ("?minutes=61", "1 to 60"),
        ("?version=0", "version is 0"),
        ("?version=x", "version"),
        ("?a=1", "a"),
    ] {
        let (status, detail) = gateway.get(&format!("/v1/live{query}")).await.problem();
        assert_eq!((status, detail.contains(said)), (400, true), "{detail}");
    }
    // One that ends says so, and one that falls silent is taken for dead.
    let last = snapshot("w2", "shoe", 0);
    publish(&broker, &Snapshot { state: WorkerState { ends: true, ..last.state.clone() }, ..last });
    eventually("one has ended and one is gone", async || {
        let told = gateway.get("/v1/live").await.json();
        let of = |at: usize| told["workers"][at]["presence"].clone();
        (of(0), of(1)) == ("gone".into(), "ended".into())
    })
    .await;
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn why_nothing_is_heard_is_told_and_it_is_heard_again() {
    let broker = broker(1);
    publish(&broker, &snapshot("w1", "bird", 4));
    let gateway = Running::of(config(&broker)).await;
    let told = gateway.get("/v1/live").await.json();
    assert_eq!(
        told["total"]["answered"], 4,
        "what was published before anybody looked is read first: {told}"
    );
    broker.broker_down().unwrap();
    eventually("the fault is told", async || gateway.get("/v1/live").await.json()["fault"].is_string()).await;
    broker.broker_up().unwrap();
    eventually("there is none", async || gateway.get("/v1/live").await.json()["fault"].is_null()).await;
    publish(&broker, &snapshot("w1", "bird", 3));
    eventually("more is heard", async || {
        gateway.get("/v1/live").await.json()["total"]["answered"].as_u64().unwrap() >= 7
    })
    .await;
    gateway.finish().await.unwrap();

    let gateway = Running::start(config_with(&broker, &[("kafka.bootstrap_servers", "127.0.0.1:1")])).await;
    let told = gateway.get("/v1/live").await.json();
    assert!(told["fault"].is_string() && told["workers"].as_array().unwrap().is_empty(), "{told}");
    gateway.finish().await.unwrap();
}

/// A picture from the samples.
fn coat() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/samples/coat4.png")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_picture_of_an_image_is_shown_with_its_answer() {
    let broker = broker(1);
    let _worker = echo(&broker);
    let gateway = Running::of(config(&broker)).await;
    assert_eq!(gateway.predict("", &coat()).await.status, 200);
    let mut path = String::new();
    eventually("there is a picture", async || {
        let told = gateway.get("/v1/activity").await.json();
        path = told["images"][0]["thumbnail"].as_str().unwrap_or_default().to_owned();
        !path.is_empty()
    })
    .await;
    let picture = gateway.get(&path).await;
    assert_eq!((picture.status, picture.header("content-type")), (200, Some("image/jpeg")));
    assert!(
        picture.body.starts_with(b"\xff\xd8") && picture.body.len() < 8192,
        "{} bytes",
        picture.body.len()
    );
    assert_eq!(picture.header("x-content-type-options"), Some("nosniff"));
    // Thirty images later it is gone with its own.
    for _ in 0..30 {
        assert_eq!(gateway.predict("", b"no image").await.status, 200);
    }
    assert_eq!(gateway.get(&path).await.problem().0, 404);
    for path in
        ["/v1/activity/images/0", "/v1/activity/images/x", "/v1/activity/images/99999999999999999999999"]
    {
        assert_eq!(gateway.get(path).await.problem().0, 404, "{path}");
    }
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_is_to_see_what_is_sent_there_is_no_picture() {
    let broker = broker(1);
    let _worker = echo(&broker);
    let gateway = Running::of(config_with(&broker, &[("http.thumbnails", "false")])).await;
    assert_eq!(gateway.predict("", &coat()).await.status, 200);
    let told = gateway.get("/v1/activity").await.json();
    assert_eq!(
        (told["images"].as_array().unwrap().len(), told["images"][0]["thumbnail"].is_null()),
        (1, true)
    );
    assert_eq!(gateway.get("/v1/activity/images/1").await.problem().0, 404);
    gateway.finish().await.unwrap();
}
