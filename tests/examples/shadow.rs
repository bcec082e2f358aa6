//! What a shadow costs those who ask: `make bench-shadow ROUNDS=3`. A worker on Apache Kafka answers requests, first alone and then with a
//! version that computes all of them as well; in each round once a steady flow of half of what it could, and once as many as it can. It
//! fails where a request fails or is lost, or where with the shadow (in the median of the rounds) answers take a quarter longer at the 99th
//! percentile, or a worker with all that it can do gives a twentieth fewer.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use e2e::scene::{Kind, Scene, Worker};
use e2e::stream::{Paced, Stream};
use e2e::timing::{Latencies, Span, full_load, now};
use e2e::versions::{MODEL, Versions};
use registry::TryOut;

/// So long the steady flow lasts.
const STEADY: Duration = Duration::from_secs(15);
/// And so long a worker may take to see what is tried out.
const SEEN: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let rounds = match std::env::args().nth(1).map_or(Ok(3), |text| text.parse::<usize>()) {
        Ok(rounds) if rounds > 0 => rounds,
        _ => {
            eprintln!("shadow: say how many rounds, as in `make bench-shadow ROUNDS=3`");
            return ExitCode::from(2);
        }
    };
    let scene = Scene::on(Kind::Kafka);
    let versions = Versions::new(&scene);
    versions.publish(MODEL, 2);
    let topic = format!("topics.shadow={}", scene.topics.shadow);
    let worker = versions.worker(&scene, "w1", &["--set", "models.poll_interval=100ms", "--set", &topic]);
    let mut stream = Stream::new(&scene);
    let full = full_load(&mut stream);
    println!(
        "{full:.0} requests a second are all that the worker does; half of them are sent in the steady flow"
    );
    let mut load = Paced::new(stream, full / 2.0);
    let (mut spans, mut ratios) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let mut both = [None; 2];
        // Each goes first in turn.
        for shadow in if round % 2 == 0 { [false, true] } else { [true, false] } {
            if shadow {
                versions.try_out(2, TryOut::Shadow(100));
            }
            steady(&mut load, SEEN);
            let span = steady(&mut load, STEADY);
            both[usize::from(shadow)] = Some((span, full_load(&mut load.stream)));
            if shadow {
                versions.roll_back();
                steady(&mut load, SEEN);
            }
        }
        let [Some((alone, alone_full)), Some((with, with_full))] = both else { continue };
        spans.push((alone, with));
        ratios.push(with_full / alone_full);
    }
    let faults = load.stream.settle().faults(0);
    let latencies = Latencies::of(&scene);
    println!(
        "round  p50, p99 alone (ms)  p50, p99 with a shadow (ms)  ratio of p99  of answers a second at full load"
    );
    let mut slower = Vec::new();
    for (round, ((alone, with), full)) in spans.iter().zip(&ratios).enumerate() {
        let ([alone_50, alone_99], [with_50, with_99]) = (latencies.within(*alone), latencies.within(*with));
        let ratio = with_99 / alone_99;
        println!(
            "{:5}  {alone_50:8.0} {alone_99:8.0}    {with_50:8.0} {with_99:8.0}             {ratio:.2}          {full:.2}",
            round + 1
        );
        slower.push(ratio);
    }
    verdict(&worker, faults, slower, ratios)
}

fn steady(load: &mut Paced<'_>, time: Duration) -> Span {
    load.resume();
    let (from, end) = (now(), Instant::now() + time);
    load.until("the end of the steady flow", |_| Instant::now() >= end);
    (from, now())
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn verdict(worker: &Worker, mut faults: Vec<String>, slower: Vec<f64>, full: Vec<f64>) -> ExitCode {
    let (slower, full) = (median(slower), median(full));
    println!(
        "p99 {slower:.2} times that without a shadow (1.25 allowed), at full load {full:.2} times as many answers (0.95 demanded); the \
         worker holds {} MB",
        worker.process.resident_bytes() / 1_000_000
    );
    if slower.is_nan() || slower > 1.25 {
        faults.push("answers take too long beside a shadow".to_owned());
    }
    if full.is_nan() || full < 0.95 {
        faults.push("a shadow takes too much from those who ask".to_owned());
    }
    if faults.is_empty() {
        println!("none lost, none failed");
        ExitCode::SUCCESS
    } else {
        eprintln!("shadow: {}", faults.join("\n"));
        ExitCode::FAILURE
    }
}
