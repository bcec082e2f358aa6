//! A gateway inside the test, with an embedded broker and a worker's double behind it.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod access;
pub(crate) mod http;

use std::time::{Duration, Instant};

use axum::Router;
use client::Announcement;
use client::double::{self, Double, Received, Replies};
use gateway::routes::Shared;
use gateway::{App, Config, Ready, RunError};
use jiff::Timestamp;
use kafka::{EmbeddedBroker, Topics};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::{Counts, Histogram, ModelFigures, Snapshot, WorkerState};

/// Longer than anything takes that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A broker with the four topics.
pub(crate) fn broker(partitions: i32) -> EmbeddedBroker {
    EmbeddedBroker::start(&Topics::default().names(), partitions).unwrap()
}

/// The configuration of a gateway of that broker, on free ports, that ends without a delay.
pub(crate) fn config(broker: &EmbeddedBroker) -> Config {
    let text = format!(
        "{{kafka: {{bootstrap_servers: '{}'}}, http: {{listen: 127.0.0.1:0}}, grpc: {{listen: 127.0.0.1:0}}, shutdown: {{delay: 0s}}}}",
        broker.bootstrap_servers()
    );
    serde_yaml::from_str(&text).unwrap()
}

/// The same with those keys.
pub(crate) fn config_with(broker: &EmbeddedBroker, keys: &[(&str, &str)]) -> Config {
    let setting = |(key, value): &(&str, &str)| cli::Setting {
        origin: (*key).to_owned(),
        key: (*key).to_owned(),
        value: (*value).to_owned(),
    };
    let base = [
        ("kafka.bootstrap_servers", broker.bootstrap_servers()),
        ("http.listen", "127.0.0.1:0"),
        ("grpc.listen", "127.0.0.1:0"),
        ("shutdown.delay", "0s"),
    ];
    let flags = base.iter().chain(keys).map(setting).collect();
    Config::load(&cli::Sources { flags, ..cli::Sources::default() }).unwrap()
}

/// A running gateway.
pub(crate) struct Running {
    pub(crate) ready: Ready,
    pub(crate) end: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
}

impl Running {
    pub(crate) async fn start(config: Config) -> Self {
        Self::start_app(config, |app| app).await
    }

    /// The same, the gateway changed before it runs.
    pub(crate) async fn start_app(config: Config, change: impl FnOnce(App) -> App) -> Self {
        Self::start_with(config, Router::new(), change).await
    }

    /// The same, with more routes.
    pub(crate) async fn start_with(
        config: Config,
        more: Router<Shared>,
        change: impl FnOnce(App) -> App,
    ) -> Self {
        let app = change(gateway::build(config).await.unwrap());
        let (sender, ready) = oneshot::channel();
        let end = CancellationToken::new();
        let task = tokio::spawn(gateway::run_with(app, more, end.clone(), move |ready| {
            sender.send(ready.clone()).unwrap();
        }));
        Self { ready: ready.await.unwrap(), end, task }
    }

    /// Waits until it is ready.
    pub(crate) async fn of(config: Config) -> Self {
        let running = Self::start(config).await;
        running.until_ready().await;
        running
    }

    pub(crate) async fn until_ready(&self) {
        eventually("it is ready", async || self.get("/readyz").await.status == 200).await;
    }

    pub(crate) async fn get(&self, path: &str) -> http::Answer {
        http::ask(&self.ready.http, "GET", path, &[], b"").await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> http::Answer {
        http::ask(&self.ready.http, "POST", path, headers, body).await
    }

    /// One raw image.
    pub(crate) async fn predict(&self, query: &str, image: &[u8]) -> http::Answer {
        self.post(&format!("/predict{query}"), &[("content-type", "image/png")], image).await
    }

    /// The sum over all series of a metric whose line holds that text.
    pub(crate) async fn metric(&self, name: &str, holds: &str) -> f64 {
        let text = self.get("/metrics").await.text();
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(holds));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Asks for its end and waits for that.
    pub(crate) async fn finish(self) -> Result<(), RunError> {
        self.end.cancel();
        limited("the gateway's end", self.task).await.unwrap()
    }
}

/// Answers each request with its image as label.
pub(crate) fn echo(broker: &EmbeddedBroker) -> Double {
    Double::echo(&broker.broker(), &Topics::default()).unwrap()
}

/// Takes requests and answers none.
pub(crate) fn silent(broker: &EmbeddedBroker) -> Double {
    double(broker, |_| Vec::new())
}

pub(crate) fn double(
    broker: &EmbeddedBroker,
    behaviour: impl FnMut(Option<Received>) -> Replies + Send + 'static,
) -> Double {
    Double::start(&broker.broker(), &Topics::default(), behaviour).unwrap()
}

/// A worker's word that it serves a version of a model.
pub(crate) fn announcement(worker: &str, model: &str, version: u32) -> Announcement {
    Announcement {
        worker: worker.to_owned(),
        requests_topic: Topics::default().requests,
        model: model.to_owned(),
        version,
        digest: format!("sha256:{}", "0".repeat(64)),
        architecture: "double".to_owned(),
        labels: 3,
        default: model == "default",
        loading: false,
        memory_bytes: None,
        traffic_percent: None,
        shadow_percent: None,
        announced_at: Timestamp::now(),
        ttl_s: 3600,
        skipped: Vec::new(),
    }
}

/// A second of a worker that answered so many requests.
pub(crate) fn snapshot(worker: &str, model: &str, answered: u64) -> Snapshot {
    let counts = Counts {
        answered,
        images: answered,
        batches: 2,
        latency: Histogram::from(vec![(104, answered)]),
        errors: [("INVALID_ARGUMENT".to_owned(), 1)].into(),
        ..Counts::default()
    };
    Snapshot {
        worker: worker.to_owned(),
        at: Timestamp::now(),
        covers_ms: 1_000,
        interval_ms: 1_000,
        uptime_s: 60,
        models: vec![ModelFigures { model: model.to_owned(), version: 1, waiting: 1, counts }],
        errors: [("NOT_FOUND".to_owned(), 2)].into(),
        dead_letters: 0,
        state: WorkerState { partitions: 1, lag: Some(5), instances: 1, ..WorkerState::default() },
    }
}

pub(crate) fn announce(broker: &EmbeddedBroker, announcement: &Announcement) {
    double::announce(&broker.broker(), &Topics::default(), &announcement.key(), Some(announcement)).unwrap();
}

/// How many requests lie on the topic.
pub(crate) fn requests(broker: &EmbeddedBroker) -> i64 {
    double::records(&broker.broker(), &Topics::default().requests).unwrap()
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < end, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What comes within the limit.
pub(crate) async fn limited<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
