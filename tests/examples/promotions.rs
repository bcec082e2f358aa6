//! What promotions cost those who ask meanwhile: `make bench-promotions PROMOTIONS=500`. A worker on Apache Kafka answers a
//! steady flow of half of what it could; in each of three rounds it does so first in peace and then while one version after the
//! other is promoted. It fails where a request fails or is lost, where answers take half as long again at the 99th percentile
//! (in the median of the rounds), or where the worker holds a tenth more memory at the end than after the first ten promotions.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use e2e::account::Account;
use e2e::scene::{Kind, Scene, Worker};
use e2e::stream::{Paced, Stream};
use e2e::timing::{Latencies, Span, full_load, now};
use e2e::versions::{MODEL, Versions};

const ROUNDS: usize = 3;
/// So long a round is at peace.
const PEACE: Duration = Duration::from_secs(20);
/// The memory at the end is held against that after so many promotions.
const SETTLED: usize = 10;
/// How many answers of a version are waited for before the next one is promoted.
const SOME: usize = 5;

fn main() -> ExitCode {
    let promotions = match std::env::args().nth(1).map_or(Ok(500), |text| text.parse::<usize>()) {
        Ok(promotions) if promotions > SETTLED => promotions,
        _ => {
            eprintln!(
                "promotions: say how many, more than {SETTLED}, as in `make bench-promotions PROMOTIONS=500`"
            );
            return ExitCode::from(2);
        }
    };
    let scene = Scene::on(Kind::Kafka);
    let versions = Versions::new(&scene);
    versions.publish(MODEL, 2);
    let worker = versions.worker(&scene, "w1", &["--set", "models.poll_interval=100ms"]);
    let mut stream = Stream::new(&scene);
    let full = full_load(&mut stream);
    println!("{full:.0} requests a second are all that the worker does; half of them are sent");
    let mut run = Run { versions, load: Paced::new(stream, full / 2.0), promoted: 0, held: Vec::new() };
    let mut spans = Vec::new();
    for round in 1..=ROUNDS {
        let peace = run.peace();
        let until = promotions * round / ROUNDS;
        spans.push((peace, run.promote(until, &worker)));
        println!(
            "round {round}: {} promotions so far, the worker holds {} MB",
            run.promoted,
            megabytes(&run.held)
        );
    }
    let Run { load, held, .. } = run;
    let account = load.stream.settle();
    let latencies = Latencies::of(&scene);
    println!("round  p50, p99 in peace (ms)  p50, p99 with promotions (ms)  ratio of p99");
    let mut ratios = Vec::new();
    for (round, (peace, promoting)) in spans.iter().enumerate() {
        let ([quiet_50, quiet_99], [busy_50, busy_99]) =
            (latencies.within(*peace), latencies.within(*promoting));
        let ratio = busy_99 / quiet_99;
        println!(
            "{:5}  {quiet_50:8.0} {quiet_99:8.0}       {busy_50:8.0} {busy_99:8.0}               {ratio:.2}",
            round + 1
        );
        ratios.push(ratio);
    }
    verdict(&account, ratios, &held, promotions)
}

/// A worker under load, and what it holds after each promotion.
struct Run<'a> {
    versions: Versions,
    load: Paced<'a>,
    promoted: usize,
    held: Vec<u64>,
}

impl Run<'_> {
    fn peace(&mut self) -> Span {
        let (from, end) = (now(), Instant::now() + PEACE);
        self.load.until("the end of peace", |_| Instant::now() >= end);
        (from, now())
    }

    fn promote(&mut self, until: usize, worker: &Worker) -> Span {
        let from = now();
        while self.promoted < until {
            let version = if self.promoted.is_multiple_of(2) { 2 } else { 1 };
            let before = self.load.stream.answered_by_version(version);
            self.versions.promote(version);
            self.promoted += 1;
            self.load.until("answers of the version that was promoted", |stream| {
                stream.answered_by_version(version) > before + SOME
            });
            self.held.push(worker.process.resident_bytes());
        }
        (from, now())
    }
}

fn megabytes(held: &[u64]) -> u64 {
    held.last().copied().unwrap_or_default() / 1_000_000
}

fn verdict(account: &Account, mut ratios: Vec<f64>, held: &[u64], promotions: usize) -> ExitCode {
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[ratios.len() / 2];
    let (settled, end) = (held[SETTLED - 1] as f64, *held.last().unwrap_or(&0) as f64);
    let mut faults = account.faults(0);
    println!(
        "{promotions} promotions, {} requests: p99 {ratio:.2} times that in peace (1.50 allowed), memory {:.3} times that after \
         {SETTLED} promotions (1.10 allowed)",
        account.sent_count(),
        end / settled
    );
    if ratio.is_nan() || ratio > 1.5 {
        faults.push("answers took too long while versions were promoted".to_owned());
    }
    if end > settled * 1.1 {
        faults.push("versions that were replaced leave memory behind".to_owned());
    }
    if faults.is_empty() {
        println!("none lost, none failed");
        ExitCode::SUCCESS
    } else {
        eprintln!("promotions: {}", faults.join("\n"));
        ExitCode::FAILURE
    }
}
