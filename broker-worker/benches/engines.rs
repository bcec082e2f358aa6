//! The engines against each other, as the worker asks them: bytes in, logits out; and for the larger net beside OpenVINO's own Python interface
//! and ONNX Runtime's, which get numbers that are ready to be computed with (`tests/peers/engines.py`). CPU time, one thread, all arms
//! taking turns in one run; the median of the rounds. Exit code 1 where a promise is missed. `make bench-models`.
#![allow(missing_docs, clippy::print_stdout, reason = "a program whose output is its result")]

#[path = "../../model/benches/cpu_time/mod.rs"]
mod cpu_time;
#[path = "../../model/benches/instruction_set/mod.rs"]
mod instruction_set;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

use cpu_time::cpu_time;
use instruction_set::instruction_set;
use model::Predictor;
use model_core::{Engine, Pixels};
use model_openvino::OpenVino;
use registry::{EngineKind, ModelVersion, Registry, Select};

const BATCHES: [usize; 3] = [1, 8, 32];
const ROUNDS: usize = 9;
/// Of CPU time, for each arm in each round.
const SLICE: Duration = Duration::from_millis(700);

/// What is promised: an arm's images a second, as a share of another's, at a batch size.
const PROMISES: [(&str, &str, usize, f64); 8] = [
    ("OpenVINO", "OpenVINO in Python", 1, 0.97),
    ("OpenVINO", "OpenVINO in Python", 8, 0.97),
    ("OpenVINO", "OpenVINO in Python", 32, 0.97),
    ("OpenVINO", "ONNX Runtime", 1, 1.0),
    ("OpenVINO", "ONNX Runtime", 8, 1.0),
    ("OpenVINO", "ONNX Runtime", 32, 1.0),
    ("libtorch", "OpenVINO in Python", 1, 0.6),
    ("libtorch", "OpenVINO in Python", 8, 0.8),
];

type Failure = Box<dyn std::error::Error>;

/// Something that computes.
enum Arm {
    Own(Box<dyn Engine>),
    Peer(Peer),
}

/// A Python program that computes the same.
struct Peer {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

fn main() -> Result<ExitCode, Failure> {
    worker::configure_process();
    println!("images a second of CPU time, one thread, {}", instruction_set());
    let mut kept = true;
    for (name, with_peers) in [("bird", true), ("fashion-mnist", false)] {
        let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights");
        let version = Registry::open(weights)?.load(name, &Select::Version(1))?;
        let libtorch = Arm::Own(Box::new(Predictor::load(&version, model::Device::Cpu)?));
        let mut arms = vec![("libtorch", libtorch), ("OpenVINO", Arm::Own(Box::new(openvino(&version)?)))];
        if with_peers {
            arms.push(("OpenVINO in Python", Arm::Peer(Peer::start("openvino", &version)?)));
            arms.push(("ONNX Runtime", Arm::Peer(Peer::start("onnxruntime", &version)?)));
        }
        for batch in BATCHES {
            kept &= compare(&version, &mut arms, batch)?;
        }
    }
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn openvino(version: &ModelVersion) -> Result<OpenVino, Failure> {
    let (_, content) = version.read(EngineKind::Openvino)?.ok_or("the version lists no ONNX file")?;
    let manifest = &version.manifest;
    Ok(OpenVino::load("model.onnx", &content.bytes, &manifest.input, manifest.classes.outputs)?)
}

impl Peer {
    fn start(engine: &str, version: &ModelVersion) -> Result<Self, Failure> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let artifact =
            version.manifest.artifact(EngineKind::Openvino).ok_or("the version lists no ONNX file")?;
        let mut child = Command::new(root.join(".deps/python/bin/python"))
            .arg(root.join("tests/peers/engines.py"))
            .arg(engine)
            .arg(version.path(artifact))
            .arg(version.manifest.input.size.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (ask, answers) = child.stdin.take().zip(child.stdout.take()).ok_or("no pipe")?;
        Ok(Self { child, ask, answers: BufReader::new(answers) })
    }

    fn rate(&mut self, batch: usize) -> Result<f64, Failure> {
        writeln!(self.ask, "{batch} {}", SLICE.as_secs_f64())?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        answer.trim().parse().map_err(|_| "the Python peer has ended: what it said stands above".into())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It has nothing to lose.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Arm {
    /// Images a second of CPU time.
    fn rate(&mut self, images: &[&Pixels]) -> Result<f64, Failure> {
        let engine = match self {
            Self::Own(engine) => engine,
            Self::Peer(peer) => return peer.rate(images.len()),
        };
        let start = cpu_time();
        let mut done = 0;
        while cpu_time() - start < SLICE {
            std::hint::black_box(engine.logits(images)?);
            done += images.len();
        }
        Ok(done as f64 / (cpu_time() - start).as_secs_f64())
    }
}

/// Whether all that is promised of that batch size is kept.
fn compare(version: &ModelVersion, arms: &mut [(&str, Arm)], batch: usize) -> Result<bool, Failure> {
    let input = &version.manifest.input;
    let mut image = Pixels::black(input.size, input.channels);
    image.data.iter_mut().enumerate().for_each(|(at, value)| *value = (at * 31 / 7 % 256) as u8);
    let images = vec![&image; batch];
    for (_, arm) in &mut *arms {
        if let Arm::Own(engine) = arm {
            engine.warm_up(batch)?;
        }
    }
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let rates: Result<Vec<f64>, Failure> = arms.iter_mut().map(|(_, arm)| arm.rate(&images)).collect();
        rounds.push(rates?);
    }
    let name = &version.manifest.name;
    let of = |arm: usize| median(rounds.iter().map(|rates| rates[arm]).collect());
    let shown: Vec<_> =
        arms.iter().enumerate().map(|(arm, (name, _))| format!("{name} {:.1}", of(arm))).collect();
    println!("{name:14} batch {batch:2}: {}", shown.join(", "));
    let place = |wanted: &str| arms.iter().position(|(name, _)| *name == wanted);
    let ratio =
        |one: usize, other: usize| median(rounds.iter().map(|rates| rates[one] / rates[other]).collect());
    println!("{:14}           OpenVINO : libtorch {:.2}", "", ratio(1, 0));
    let mut kept = true;
    for (one, other, at, least) in PROMISES {
        if let (Some(first), Some(second), true) = (place(one), place(other), at == batch) {
            let ratio = ratio(first, second);
            kept &= ratio >= least;
            let word = if ratio >= least { "kept" } else { "MISSED" };
            println!("{:14}           {one} : {other} {ratio:.2} (at least {least}: {word})", "");
        }
    }
    Ok(kept)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
