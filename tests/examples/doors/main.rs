//! What asking by HTTP costs: `make bench-gateway ROUNDS=3`. A worker's double answers at once, so that what is measured is the way there
//! and back: through the Kafka client alone, through a gateway, and, beside them, MLServer's REST with a model that does no work. In each
//! round each is asked by a few at once, for what a request takes, and by many, for how many it answers. `doors [ROUNDS]`; exit code 1
//! where a request fails or a promise is missed.

mod alone;
mod wrk;

use std::process::{Command, ExitCode};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use client::double::Double;
use e2e::gateway::Gateway;
use e2e::images::{clothes, plain_bmp};
use e2e::process::Process;
use e2e::scene::{Kind, Scene};
use e2e::{PATIENCE, mlserver, wait_until};
use kafka::Broker;

/// How many ask at once, for what a request takes.
const FEW: usize = 8;
/// And for how many are answered.
const MANY: usize = 64;
/// Before figures are taken, and while they are.
const WARM: Duration = Duration::from_secs(3);
const COUNTED: Duration = Duration::from_secs(8);

/// At the 50th percentile, milliseconds more than the client alone takes.
const MOST_MS: f64 = 1.0;
/// Milliseconds of processor time more.
const MOST_CPU_MS: f64 = 0.1;
/// Answers a second.
const FEWEST: f64 = 5000.0;

/// What came of asking.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Answers a second.
    pub(crate) rate: f64,
    /// Latency at the 50th and the 99th percentile, milliseconds.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Processor time of what is measured for each request, milliseconds.
    pub(crate) cpu_ms: f64,
}

/// The same asked by few and by many.
#[derive(Clone, Copy)]
struct Both {
    few: Figures,
    many: Figures,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let rounds = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => 3,
        ["alone", servers, topics, count] => return alone::ask(servers, topics, count),
        [rounds] => match rounds.parse() {
            Ok(rounds @ 1..) => rounds,
            _ => return usage(),
        },
        _ => return usage(),
    };
    let scene = Scene::on(Kind::Kafka);
    let broker = Broker::kafka(scene.bootstrap_servers.clone());
    let _double = match Double::echo(&broker, &scene.topics) {
        Ok(double) => double,
        Err(error) => {
            eprintln!("doors: the double can't start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut all = Vec::new();
    for round in 1..=rounds {
        let arms =
            [("client alone", client(&scene)), ("gateway", gateway(&scene)), ("MLServer", others(&scene))];
        for (name, Both { few, many }) in &arms {
            println!(
                "round {round}: {name:12}  {FEW} at once: p50 {:6.2} ms, p99 {:6.2} ms, {:.3} CPU-ms each;  {MANY} at once: {:6.0} a second, p50 {:6.2} ms, {:.3} CPU-ms each",
                few.p50_ms, few.p99_ms, few.cpu_ms, many.rate, many.p50_ms, many.cpu_ms
            );
        }
        all.push(arms.map(|(_, figures)| figures));
    }
    verdict(&all)
}

fn usage() -> ExitCode {
    eprintln!("doors: say how many rounds, as in `make bench-gateway ROUNDS=3`");
    ExitCode::from(2)
}

fn client(scene: &Scene) -> Both {
    Both { few: alone::measure(scene, FEW), many: alone::measure(scene, MANY) }
}

fn gateway(scene: &Scene) -> Both {
    let gateway = Gateway::start(scene, "bench", &["--set", "log.level=warn"]);
    let image = clothes().remove(0).bytes;
    let ask = |count| {
        wrk::measure(
            scene,
            &gateway.process,
            count,
            &format!("http://{}/predict", gateway.http),
            "image/png",
            &image,
        )
    };
    wait_ready(&format!("http://{}/readyz", gateway.http));
    Both { few: ask(FEW), many: ask(MANY) }
}

fn others(scene: &Scene) -> Both {
    let (command, http) = mlserver::command(scene, &[]);
    let process = Process::spawn("mlserver", command);
    let image = BASE64_STANDARD.encode(plain_bmp([255, 0, 0]));
    let body = format!(
        r#"{{"inputs": [{{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["{image}"]}}]}}"#
    );
    wait_ready(&format!("http://{http}/v2/models/echo/ready"));
    let ask = |count| {
        let url = format!("http://{http}/v2/models/echo/infer");
        wrk::measure(scene, &process, count, &url, "application/json", body.as_bytes())
    };
    Both { few: ask(FEW), many: ask(MANY) }
}

fn wait_ready(url: &str) {
    wait_until(url, PATIENCE, || {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--output", "/dev/null", url]);
        let done = Process::run("curl", curl, PATIENCE);
        if done.code == Some(0) { Ok(()) } else { Err(format!("curl ends with {:?}", done.code)) }
    });
}

fn median(all: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<_> = all.collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// By the medians of the rounds.
fn verdict(rounds: &[[Both; 3]]) -> ExitCode {
    let later = median(rounds.iter().map(|[alone, gateway, _]| gateway.few.p50_ms - alone.few.p50_ms));
    let more = median(rounds.iter().map(|[alone, gateway, _]| gateway.few.cpu_ms - alone.few.cpu_ms));
    let more_at_load =
        median(rounds.iter().map(|[alone, gateway, _]| gateway.many.cpu_ms - alone.many.cpu_ms));
    let rate = median(rounds.iter().map(|[_, gateway, _]| gateway.many.rate));
    let beside = median(rounds.iter().map(|[_, gateway, others]| gateway.many.rate / others.many.rate));
    println!(
        "beside the client alone: p50 {later:+.2} ms ({MOST_MS} allowed), {more:+.3} CPU-ms each ({MOST_CPU_MS} allowed), {more_at_load:+.3} asked by many; {rate:.0} answers a second ({FEWEST:.0} demanded), {beside:.2} times MLServer's, which sends nothing through a broker"
    );
    let mut missed = Vec::new();
    if later.is_nan() || later > MOST_MS {
        missed.push("a request takes too long");
    }
    if more.is_nan() || more > MOST_CPU_MS {
        missed.push("a request takes too much of the processor");
    }
    if rate.is_nan() || rate < FEWEST {
        missed.push("too few are answered a second");
    }
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("doors: {}", missed.join("; "));
    ExitCode::FAILURE
}
