//! The worker beside what one writes in an afternoon, a Python consumer of forty lines (`tests/peers/consumer.py`): `make bench-peers`.
//! Photographs wait in a topic of Apache Kafka; each arm in its turn answers them on one core, broker and bench are on another.
//! `peers [ROUNDS] [--json]`; exit code 1 where a promise is missed.

#[path = "../../model/benches/instruction_set/mod.rs"]
mod instruction_set;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use e2e::process::Process;
use e2e::scene::{Kind, Scene};
use e2e::traffic::{Reader, Received, Record};
use e2e::{PATIENCE, paths};
use instruction_set::instruction_set;
use serde_json::{Value, json};

/// A hen of 500 x 375 pixels, 65 kB.
const PHOTOGRAPH: &[u8] = include_bytes!("../../model/benches/hen.jpg");
const HEN: u64 = 8;
const ONNX: &str = "bird/1/model.onnx";

/// Answered before the figures begin, answered while they are taken, and waiting still when they end: an arm that reads and decodes
/// ahead is as far ahead at their end as at their beginning.
const WARM: usize = 96;
const COUNTED: usize = 384;
const WAITING: usize = 192;

/// Processors: of the arm, and of broker and bench.
const OF_THE_ARM: &str = "0";
const OF_THE_OTHERS: &str = "1";

const ARMS: [&str; 3] = ["python", "libtorch", "openvino"];

/// Against `python`: an arm's place, the figure, the promise, and whether it is a least or a most.
const PROMISES: [(usize, &str, f64, bool); 3] = [
    (2, "images a second", 1.25, true),
    (2, "CPU-ms an image", 0.85, false),
    (1, "images a second", 1.0, true),
];

/// What an arm did in one round.
#[derive(Clone, Copy)]
struct Figures {
    rate: f64,
    cpu_ms: f64,
    peak_mb: f64,
}

fn main() -> ExitCode {
    let (mut rounds, mut as_json) = (3, false);
    for argument in std::env::args().skip(1) {
        match (argument.as_str(), argument.parse()) {
            ("--json", _) => as_json = true,
            (_, Ok(number @ 1..)) => rounds = number,
            _ => {
                eprintln!("peers: '{argument}' is neither a number of rounds nor --json");
                return ExitCode::from(2);
            }
        }
    }
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("peers: this needs two processors, one of them for the broker");
        return ExitCode::from(2);
    }
    // What is started from here on is on this processor too, unless it says otherwise.
    let own = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-a", "-c", "-p", OF_THE_OTHERS, &own]).output();
    assert!(
        pinned.is_ok_and(|output| output.status.success()),
        "taskset, of util-linux, can't pin this process"
    );
    eprintln!("{COUNTED} photographs an arm and round, one core, {}, {}", instruction_set(), profile());
    let all: Vec<_> = (1..=rounds)
        .map(|round| {
            ARMS.map(|arm| {
                let figures = answer(arm);
                let Figures { rate, cpu_ms, peak_mb } = figures;
                eprintln!("round {round}: {arm:8} {rate:6.1} images/s, {cpu_ms:5.2} CPU-ms an image, {peak_mb:4.0} MB");
                figures
            })
        })
        .collect();
    report(&all, as_json)
}

/// One arm, on topics of its own.
fn answer(arm: &str) -> Figures {
    let scene = Scene::on(Kind::Kafka);
    let total = WARM + COUNTED + WAITING;
    let records: Vec<_> =
        (0..total).map(|place| Record::bytes(&format!("hen-{place}"), PHOTOGRAPH)).collect();
    assert_eq!(scene.sender().send(&records).len(), total);
    let process = Process::spawn(arm, on_its_processor(&command(&scene, arm)));
    let mut results = scene.results();
    let (first, began, cpu) = mark(&mut results, WARM, &process);
    let (last, ended, cpu_at_end) = mark(&mut results, WARM + COUNTED, &process);
    assert!(results.seen.iter().all(is_hen), "{arm} takes a hen for something else");
    let images = (last - first) as f64;
    Figures {
        rate: images / (ended - began).as_secs_f64(),
        cpu_ms: (cpu_at_end - cpu).as_secs_f64() * 1000.0 / images,
        peak_mb: process.peak_resident_bytes() as f64 / 1e6,
    }
}

/// How many are answered, when, and the CPU time taken till then, as soon as so many are.
fn mark(results: &mut Reader, count: usize, process: &Process) -> (usize, Instant, Duration) {
    results.read_count(count, PATIENCE);
    (results.seen.len(), Instant::now(), process.cpu_time())
}

fn is_hen(answer: &Received) -> bool {
    let value = answer.value.as_deref().unwrap_or_default();
    serde_json::from_slice::<Value>(value).is_ok_and(|answer| answer["predictions"][0]["index"] == HEN)
}

fn command(scene: &Scene, arm: &str) -> Command {
    if arm == "python" {
        let mut python = Command::new(paths::python());
        python
            .arg(paths::root().join("tests/peers/consumer.py"))
            .args([&scene.bootstrap_servers, &scene.group, &scene.topics.requests, &scene.topics.results])
            .arg(onnx())
            .envs(std::env::vars_os())
            .env("OMP_NUM_THREADS", "1");
        return python;
    }
    let serve = format!("models.serve=[{{name: bird, version: 1, engine: {arm}}}]");
    scene.worker_command(arm, &["--set", &serve, "--set", "models.default=bird"])
}

/// The file that Python and OpenVINO compute.
fn onnx() -> std::path::PathBuf {
    let file = paths::weights().join(ONNX);
    assert!(file.is_file(), "{} is missing: `make openvino` makes it", file.display());
    file
}

/// The same command on a processor of its own.
fn on_its_processor(command: &Command) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", OF_THE_ARM]).arg(command.get_program()).args(command.get_args()).env_clear();
    pinned.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    pinned.current_dir(command.get_current_dir().unwrap_or_else(|| Path::new(".")));
    pinned
}

fn report(rounds: &[[Figures; 3]], as_json: bool) -> ExitCode {
    type Figure = fn(&Figures) -> f64;
    const FIGURES: [(&str, Figure); 2] =
        [("images a second", |of| of.rate), ("CPU-ms an image", |of| of.cpu_ms)];
    let of = |arm: usize, figure: Figure| median(rounds.iter().map(|round| figure(&round[arm])));
    // Of each round, and of those the median: what slows a whole round down slows both.
    let ratio = |arm: usize, figure: Figure| {
        median(rounds.iter().map(|round| figure(&round[arm]) / figure(&round[0])))
    };
    let mut kept = true;
    let mut verdicts = Vec::new();
    for (arm, what, promise, at_least) in PROMISES {
        let Some((_, figure)) = FIGURES.into_iter().find(|(name, _)| *name == what) else { continue };
        let found = ratio(arm, figure);
        let holds = if at_least { found >= promise } else { found <= promise };
        kept &= holds;
        let (side, word) =
            (if at_least { "at least" } else { "at most" }, if holds { "kept" } else { "MISSED" });
        verdicts.push(format!("{} : python, {what}: {found:.2} ({side} {promise}: {word})", ARMS[arm]));
    }
    if as_json {
        let arms: serde_json::Map<_, _> = ARMS
            .iter()
            .enumerate()
            .map(|(arm, name)| {
                let rounds: Vec<_> = rounds.iter().map(|round| round[arm]).collect();
                let each = |figure: Figure| rounds.iter().map(figure).collect::<Vec<_>>();
                let value = json!({
                    "images_a_second": each(|of| of.rate),
                    "cpu_ms_an_image": each(|of| of.cpu_ms),
                    "peak_mb": each(|of| of.peak_mb),
                    "ratio_images_a_second": ratio(arm, |of| of.rate),
                    "ratio_cpu_ms": ratio(arm, |of| of.cpu_ms),
                });
                ((*name).to_owned(), value)
            })
            .collect();
        println!(
            "{}",
            json!({"instruction_set": instruction_set(), "profile": profile(), "arms": arms, "kept": kept})
        );
    } else {
        println!("median of {} rounds; ratio to python in brackets", rounds.len());
        for (arm, name) in ARMS.iter().enumerate() {
            let [rate, cpu] = FIGURES
                .map(|(what, figure)| format!("{:6.2} {what} ({:.2})", of(arm, figure), ratio(arm, figure)));
            println!("{name:8} {rate}, {cpu}, {:.0} MB", of(arm, |of| of.peak_mb));
        }
        println!("{}", verdicts.join("\n"));
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What `worker` was built as.
fn profile() -> String {
    let folder = paths::profile_dir();
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
