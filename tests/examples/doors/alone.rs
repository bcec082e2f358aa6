//! The Kafka client alone, in a process of its own, whose processor time is taken.

use std::io::Write as _;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use client::{Client, ClientConfig, Options};
use e2e::PATIENCE;
use e2e::images::clothes;
use e2e::process::Process;
use e2e::scene::Scene;
use serde_json::{Value, json};

use crate::{COUNTED, Figures, WARM};

/// Has another process of this program ask, as many at once as that.
pub(crate) fn measure(scene: &Scene, count: usize) -> Figures {
    let own = std::env::current_exe().unwrap_or_else(|e| panic!("this program has no path: {e}"));
    let topics = serde_json::to_string(&scene.topics).unwrap_or_else(|e| panic!("{e}"));
    let mut command = Command::new(own);
    command.args(["alone", &scene.bootstrap_servers, &topics, &count.to_string()]);
    let mut process = Process::spawn("client alone", command);
    let mut next = |what: &str| {
        let line = process.wait_for_line(what, PATIENCE, |line| {
            let line = serde_json::from_str::<Value>(line).ok()?;
            (line["event"] == what).then_some(line)
        });
        (line, process.cpu_time())
    };
    let (_, before) = next("warm");
    let (said, after) = next("done");
    let number = |key: &str| said[key].as_f64().unwrap_or(f64::NAN);
    let asked = number("requests");
    Figures {
        rate: asked / COUNTED.as_secs_f64(),
        p50_ms: number("p50_ms"),
        p99_ms: number("p99_ms"),
        cpu_ms: (after - before).as_secs_f64() * 1000.0 / asked,
    }
}

/// What that process does. It does not end by itself: its processor time is to be looked at.
pub(crate) fn ask(servers: &str, topics: &str, count: &str) -> ExitCode {
    let (Ok(topics), Ok(count)) = (serde_json::from_str(topics), count.parse::<usize>()) else {
        return crate::usage();
    };
    let config = ClientConfig::new(servers).topics(topics);
    let work = async {
        let client = Client::connect(config).await?;
        let image = clothes().remove(0).bytes;
        asked_for(&client, &image, count, WARM).await?;
        say(&json!({"event": "warm"}));
        let mut took = asked_for(&client, &image, count, COUNTED).await?;
        took.sort_unstable();
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
        say(&json!({"event": "done", "requests": took.len(), "p50_ms": at(0.5), "p99_ms": at(0.99)}));
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    let done = tokio::runtime::Runtime::new().map_err(Into::into).and_then(|runtime| runtime.block_on(work));
    if let Err(error) = done {
        eprintln!("doors: {error}");
        return ExitCode::FAILURE;
    }
    loop {
        std::thread::park();
    }
}

fn say(line: &Value) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// What each request took; each of `count` sends the next when it has its answer.
async fn asked_for(
    client: &Client,
    image: &[u8],
    count: usize,
    time: Duration,
) -> Result<Vec<Duration>, Box<dyn std::error::Error>> {
    let end = Instant::now() + time;
    let one = || {
        let (client, image) = (client.clone(), image.to_vec());
        tokio::spawn(async move {
            let mut took = Vec::new();
            while Instant::now() < end {
                let began = Instant::now();
                client.predict(image.clone(), Options::default()).await?;
                took.push(began.elapsed());
            }
            Ok::<_, client::ClientError>(took)
        })
    };
    let all: Vec<_> = (0..count).map(|_| one()).collect();
    let mut took = Vec::new();
    for asking in all {
        took.extend(asking.await??);
    }
    Ok(took)
}
