//! Photographs of a bird, decoded, resampled and named.

use std::path::PathBuf;
use std::process::Command;

use e2e::paths;
use e2e::process::Process;
use e2e::scene::{Kind, Scene};
use e2e::traffic::{Received, Record};
use serde_json::Value;

use crate::{Counts, Figures, measure, on};

/// A hen of 500 x 375 pixels, 65 kB.
const PHOTOGRAPH: &[u8] = include_bytes!("../../../model/benches/hen.jpg");
const HEN: u64 = 8;
const ONNX: &str = "bird/1/model.onnx";
const COUNTS: Counts = Counts { warm: 96, counted: 384, waiting: 192 };

/// Who answers.
#[derive(Clone, Copy)]
pub(crate) enum Program {
    /// The forty lines.
    Python,
    /// `worker`, on that engine.
    Worker(&'static str),
}

/// One arm, on topics of its own.
pub(crate) fn answer(program: Program, instances: usize, processors: &str) -> Figures {
    let scene = Scene::on(Kind::Kafka);
    // The more it answers at once, the longer it is measured.
    let counts = Counts { counted: COUNTS.counted * instances, ..COUNTS };
    let records: Vec<_> =
        (0..counts.all()).map(|place| Record::bytes(&format!("hen-{place}"), PHOTOGRAPH)).collect();
    assert_eq!(scene.sender().send(&records).len(), counts.all());
    let command = command(&scene, program, instances);
    let process = Process::spawn("the arm", on(processors, &command));
    let mut results = scene.results();
    let figures = measure(&mut results, &counts, &process);
    assert!(results.seen.iter().all(is_hen), "{command:?} takes a hen for something else");
    figures
}

fn is_hen(answer: &Received) -> bool {
    let value = answer.value.as_deref().unwrap_or_default();
    serde_json::from_slice::<Value>(value).is_ok_and(|answer| answer["predictions"][0]["index"] == HEN)
}

fn command(scene: &Scene, program: Program, instances: usize) -> Command {
    match program {
        Program::Python => {
            let mut python = Command::new(paths::python());
            python
                .arg(paths::root().join("tests/peers/consumer.py"))
                .args([&scene.bootstrap_servers, &scene.group, &scene.topics.requests, &scene.topics.results])
                .arg(onnx())
                .envs(std::env::vars_os())
                .env("OMP_NUM_THREADS", "1");
            python
        }
        Program::Worker(engine) => {
            let serve = format!("models.serve=[{{name: bird, version: 1, engine: {engine}}}]");
            let instances = format!("instances={instances}");
            let flags = ["--set", &serve, "--set", "models.default=bird", "--set", &instances];
            scene.worker_command("worker", &flags)
        }
    }
}

/// The file that Python and OpenVINO compute.
fn onnx() -> PathBuf {
    let file = paths::weights().join(ONNX);
    assert!(file.is_file(), "{} is missing: `make openvino` makes it", file.display());
    file
}
