//! The engines against each other, as the worker asks them: bytes in, logits out. CPU time, one thread, all arms taking turns in one
//! run; the median of the rounds. `make bench-models`.
#![allow(missing_docs, clippy::print_stdout, reason = "a program whose output is its result")]

#[path = "../../model/benches/cpu_time/mod.rs"]
mod cpu_time;
#[path = "../../model/benches/instruction_set/mod.rs"]
mod instruction_set;

use std::path::Path;
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

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    worker::configure_process();
    println!("images a second of CPU time, one thread, {}; ratio: OpenVINO to libtorch", instruction_set());
    for name in ["bird", "fashion-mnist"] {
        let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights");
        let version = Registry::open(weights)?.load(name, &Select::Version(1))?;
        let mut arms: [Box<dyn Engine>; 2] =
            [Box::new(Predictor::load(&version, model::Device::Cpu)?), Box::new(openvino(&version)?)];
        for batch in BATCHES {
            compare(&version, &mut arms, batch)?;
        }
    }
    Ok(())
}

fn openvino(version: &ModelVersion) -> Result<OpenVino, Failure> {
    let (_, content) = version.read(EngineKind::Openvino)?.ok_or("the version lists no ONNX file")?;
    let manifest = &version.manifest;
    Ok(OpenVino::load("model.onnx", &content.bytes, &manifest.input, manifest.classes.outputs)?)
}

fn compare(version: &ModelVersion, arms: &mut [Box<dyn Engine>; 2], batch: usize) -> Result<(), Failure> {
    let input = &version.manifest.input;
    let mut image = Pixels::black(input.size, input.channels);
    image.data.iter_mut().enumerate().for_each(|(at, value)| *value = (at * 31 / 7 % 256) as u8);
    let images = vec![&image; batch];
    for arm in &mut *arms {
        arm.warm_up(batch)?;
    }
    let mut rates = [Vec::new(), Vec::new()];
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        for (arm, rates) in arms.iter_mut().zip(&mut rates) {
            let start = cpu_time();
            let mut done = 0;
            while cpu_time() - start < SLICE {
                std::hint::black_box(arm.logits(&images)?);
                done += batch;
            }
            rates.push(done as f64 / (cpu_time() - start).as_secs_f64());
        }
        ratios.push(rates[1][rates[1].len() - 1] / rates[0][rates[0].len() - 1]);
    }
    let [libtorch, openvino] = rates.map(median);
    let (name, ratio) = (&version.manifest.name, median(ratios));
    println!("{name:14} batch {batch:2}: libtorch {libtorch:8.1}, OpenVINO {openvino:8.1}, ratio {ratio:.2}");
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
