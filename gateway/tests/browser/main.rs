//! The page in a real browser: `flows.mjs` does what people do, each flow before a gateway of its own with doubles of workers.

#![allow(clippy::unwrap_used, reason = "a test that can't go on says so")]

#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use client::double::{Double, Received};
use client::{Announcement, ErrorCode, ErrorReply, ModelId, Outcome, Prediction, Success};
use kafka::EmbeddedBroker;
use support::{Running, announce, announcement, broker, config_with, snapshot};
use tokio::sync::mpsc;

macro_rules! flows {
    ($($name:ident $keys:expr;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            #[ignore = "wants a browser: make test-more"]
            async fn $name() {
                run(stringify!($name), &$keys).await;
            }
        )+
    };
}

flows! {
    files [];
    bad [("limits.max_image_bytes", "20000")];
    paste [];
    keyboard [];
    models [];
    nobody [];
    late [("requests.timeout", "5s")];
    gone [];
    key [("auth.required", "true")];
    live [];
    looks [];
    review [];
    review_not_here [];
    promotes [];
}

/// The script, ended with the test.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

async fn run(flow: &str, keys: &[(&str, &str)]) {
    let broker = broker(1);
    let mut worker = (flow != "nobody").then(|| serve(&broker));
    let mut gateway = Some(running(&broker, keys).await);
    let address = gateway.as_ref().unwrap().ready.http.clone();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let driver: PathBuf = root.join(".deps/browser");
    assert!(
        driver.join("node_modules").is_dir(),
        "{} is missing: make test-more fetches it",
        driver.display()
    );
    let child = Command::new("node")
        .arg(root.join("gateway/tests/browser/flows.mjs"))
        .arg(driver)
        .args(["/usr/bin/chromium", flow, &format!("http://{address}")])
        .arg(root.join("data/samples"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut script = Script(child);
    let mut input = script.0.stdin.take().unwrap();
    let output = BufReader::new(script.0.stdout.take().unwrap());
    let (sender, mut lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    while let Some(line) = lines.recv().await {
        match line.strip_prefix("host ") {
            Some("worker") => worker = Some(serve(&broker)),
            Some("more") => announce(&broker, &announcement("w9", "bird", 3)),
            Some("publish") => publish(&broker),
            Some("broker down") => broker.broker_down().unwrap(),
            Some("broker up") => broker.broker_up().unwrap(),
            Some("gateway down") => gateway.take().unwrap().finish().await.unwrap(),
            Some("gateway up") => {
                let there = [keys, &[("http.listen", &*address)]].concat();
                gateway = Some(Running::of(config_with(&broker, &there)).await);
            }
            _ => eprintln!("{line}"),
        }
        writeln!(input).ok();
    }
    let status = script.0.wait().unwrap();
    assert!(status.success(), "{flow}: {status}");
    drop(worker);
}

/// One that takes the key of the flow that shows one.
async fn running(broker: &EmbeddedBroker, keys: &[(&str, &str)]) -> Running {
    support::access::put(broker, &support::access::record("k1", "mlaas_page", &wire::Scope::ALL));
    let running = Running::start_app(config_with(broker, keys), gateway::App::with_embedded_keys).await;
    running.until_ready().await;
    running
}

/// A second of each of two workers.
fn publish(broker: &EmbeddedBroker) {
    for (worker, model) in [("w1", "bird"), ("<b>w2</b>", "shoe")] {
        let snapshot = snapshot(worker, model, 6);
        client::double::publish(&broker.broker(), &kafka::Topics::default(), &snapshot).unwrap();
    }
}

/// Two workers' words, and a double that answers for both.
fn serve(broker: &EmbeddedBroker) -> Double {
    let mut skips = announcement("w1", "bird", 3);
    skips.traffic_percent = Some(10);
    skips.shadow_percent = Some(25);
    skips.skipped =
        serde_json::from_str(r#"[{"model": "cat", "version": 1, "reason": "its manifest is broken"}]"#)
            .unwrap();
    let other = Announcement {
        digest: format!("sha256:{}", "1".repeat(64)),
        loading: true,
        worker: "w2".to_owned(),
        ..skips.clone()
    };
    let loading = Announcement { loading: true, ..announcement("w2", "bird", 4) };
    for word in [announcement("w1", "default", 1), skips, other, loading] {
        announce(broker, &word);
    }
    support::double(broker, |received| {
        let received = received.filter(|received| *received.request.image != *b"late");
        received
            .map(|received| (answer(&received), received))
            .map(|(outcome, received)| (received, outcome))
            .into_iter()
            .collect()
    })
}

fn answer(received: &Received) -> Outcome {
    let (image, asked) = (&received.request.image[..], &received.request);
    if image == b"no image" {
        let words = "this is no image file of a known format: send a PNG, JPEG, WebP, GIF or BMP file";
        return Outcome::Error(ErrorReply::new(ErrorCode::InvalidArgument, words));
    }
    let prediction =
        |label: &str, index, probability| Prediction { label: label.to_owned(), index, probability };
    let name = asked.model.clone().unwrap_or_else(|| "default".to_owned());
    let mut predictions = vec![
        prediction("Sandal", Some(5), 0.9),
        prediction("Sneaker", Some(7), 0.0999),
        prediction("Boot", Some(9), 0.0001),
        prediction("Bag", Some(8), 0.0),
        prediction("Coat", Some(4), 0.0),
    ];
    if image == b"markup" {
        predictions[0].label = "<img src=x onerror=alert(1)>".to_owned();
    }
    if name == "bird" {
        predictions[0] = prediction("not a bird", None, 0.9);
    }
    let digest = format!("sha256:{}", "0".repeat(64));
    let model = ModelId { name, version: asked.model_version.unwrap_or(1), digest };
    Outcome::Success(Success { model, predictions, batch_size: 1 })
}
