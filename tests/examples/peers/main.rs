//! The worker beside what one writes in an afternoon, a Python consumer of forty lines (`tests/peers/consumer.py`), and beside MLServer,
//! which reads from Kafka by itself: `make bench-peers`. Requests wait in a topic of Apache Kafka; each arm in its turn answers them on
//! processors of its own. `peers [ROUNDS] [--json]`; exit code 1 where a promise is missed.

mod framework;
#[path = "../../../model/benches/instruction_set/mod.rs"]
mod instruction_set;
mod photographs;
mod report;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use e2e::PATIENCE;
use e2e::process::Process;
use e2e::traffic::Reader;
use instruction_set::instruction_set;
use photographs::Program::{Python, Worker};

/// The processor of an arm of one instance; the other of two is `BOTH`'s.
const ONE: &str = "0";
const BOTH: &str = "0,1";

/// An arm: its name, and what answers in it.
struct Arm {
    name: &'static str,
    answer: fn() -> Figures,
}

const ARMS: [Arm; 6] = [
    Arm { name: "python", answer: || photographs::answer(Python, 1, ONE) },
    Arm { name: "libtorch", answer: || photographs::answer(Worker("libtorch"), 1, ONE) },
    Arm { name: "openvino", answer: || photographs::answer(Worker("openvino"), 1, ONE) },
    Arm { name: "two instances", answer: || photographs::answer(Worker("openvino"), 2, BOTH) },
    Arm { name: "mlserver", answer: || framework::mlserver(ONE) },
    Arm { name: "small net", answer: || framework::small_net(ONE) },
];

/// What an arm did in one round.
#[derive(Clone, Copy)]
struct Figures {
    rate: f64,
    cpu_ms: f64,
    peak_mb: f64,
}

/// Answered before the figures begin, answered while they are taken, and waiting still when they end: an arm that reads and decodes
/// ahead is as far ahead at their end as at their beginning.
struct Counts {
    warm: usize,
    counted: usize,
    waiting: usize,
}

impl Counts {
    fn all(&self) -> usize {
        self.warm + self.counted + self.waiting
    }
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
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if processors < 2 {
        eprintln!("peers: this needs two processors, one of them for the broker");
        return ExitCode::from(2);
    }
    // Broker and bench: what is started from here on is on this processor too, unless it says otherwise.
    let of_the_others = if processors > 2 { "2" } else { "1" };
    let own = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-a", "-c", "-p", of_the_others, &own]).output();
    assert!(
        pinned.is_ok_and(|output| output.status.success()),
        "taskset, of util-linux, can't pin this process"
    );
    let shared = if processors > 2 { "has a processor of its own" } else { "shares the second processor" };
    eprintln!("{}, {}; beside two instances the broker {shared}", instruction_set(), report::profile());
    let rounds: Vec<_> = (1..=rounds)
        .map(|round| {
            ARMS.map(|Arm { name, answer }| {
                let figures = answer();
                let Figures { rate, cpu_ms, peak_mb } = figures;
                eprintln!(
                    "round {round}: {name:13} {rate:7.1} a second, {cpu_ms:6.3} CPU-ms each, {peak_mb:4.0} MB"
                );
                figures
            })
        })
        .collect();
    report::report(&rounds, processors, as_json)
}

/// What a process does while it answers those that are counted.
fn measure(results: &mut Reader, counts: &Counts, process: &Process) -> Figures {
    let (first, began, cpu) = mark(results, counts.warm, process);
    let (last, ended, cpu_at_end) = mark(results, counts.warm + counts.counted, process);
    let answered = (last - first) as f64;
    Figures {
        rate: answered / (ended - began).as_secs_f64(),
        cpu_ms: (cpu_at_end - cpu).as_secs_f64() * 1000.0 / answered,
        peak_mb: process.peak_resident_bytes() as f64 / 1e6,
    }
}

/// How many are answered, when, and the CPU time taken till then, as soon as so many are.
fn mark(results: &mut Reader, count: usize, process: &Process) -> (usize, Instant, Duration) {
    results.read_count(count, PATIENCE);
    (results.seen.len(), Instant::now(), process.cpu_time())
}

/// The same command on processors of its own.
fn on(processors: &str, command: &Command) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", processors]).arg(command.get_program()).args(command.get_args()).env_clear();
    pinned.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    pinned.current_dir(command.get_current_dir().unwrap_or_else(|| Path::new(".")));
    pinned
}
