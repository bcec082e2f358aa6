//! What a message costs where the net costs nothing: MLServer, the Python server that reads from Kafka by itself, with a model that
//! does no work, and `worker` with a net of one layer, which decodes an image and computes.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use e2e::images::plain_bmp;
use e2e::process::Process;
use e2e::scene::{Kind, Scene};
use e2e::traffic::{Reader, Record};
use e2e::{PATIENCE, mlserver, paths, wait_until};
use serde_json::{Value, json};

use crate::{Counts, Figures, measure, on};

/// Messages take less time than photographs, and the system counts CPU time in steps of 10 ms.
const COUNTS: Counts = Counts { warm: 1000, counted: 4000, waiting: 1000 };
/// What each of them answers.
const LABEL: &str = "red";

/// MLServer has to be there when messages come: what is sent before is not answered.
pub(crate) fn mlserver(processors: &str) -> Figures {
    let scene = Scene::on(Kind::Kafka);
    let environment = [
        ("KAFKA_ENABLED", "true"),
        ("KAFKA_SERVERS", scene.bootstrap_servers.as_str()),
        ("KAFKA_TOPIC_INPUT", &scene.topics.requests),
        ("KAFKA_TOPIC_OUTPUT", &scene.topics.results),
    ];
    let (command, _) = mlserver::command(&scene, &environment);
    let process = Process::spawn("mlserver", on(processors, &command));

    let image = BASE64_STANDARD.encode(plain_bmp([255, 0, 0]));
    let value = json!({"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [image]}]})
        .to_string();
    let record = |id: String| Record {
        key: Some(id.into_bytes()),
        ..Record { value: Some(value.clone().into_bytes()), ..Record::default() }
            .header("mlserver-model", "echo")
    };
    let sender = scene.sender();
    let mut results = scene.results();
    wait_until("an answer of MLServer's", PATIENCE, || {
        drop(sender.send(&[record("there?".to_owned())]));
        results.poll();
        if results.seen.is_empty() { Err(process.stderr.text()) } else { Ok(()) }
    });
    let records: Vec<_> = (0..COUNTS.all()).map(|place| record(format!("message-{place}"))).collect();
    drop(sender.send(&records));
    let figures = measure(&mut results, &COUNTS, &process);
    assert_all(&results, |answer| answer["outputs"][0]["data"][0] == LABEL);
    figures
}

/// `worker` on OpenVINO, with a net that takes the mean of each channel and makes four numbers of them.
pub(crate) fn small_net(processors: &str) -> Figures {
    static WEIGHTS: OnceLock<PathBuf> = OnceLock::new();
    let weights = WEIGHTS.get_or_init(import);
    let scene = Scene::on(Kind::Kafka);
    let image = plain_bmp([255, 0, 0]);
    let records: Vec<_> =
        (0..COUNTS.all()).map(|place| Record::bytes(&format!("message-{place}"), image.clone())).collect();
    drop(scene.sender().send(&records));
    let root = format!("models.root={}", weights.display());
    let command = scene.worker_command("small", &["--set", &root, "--set", "models.default=small"]);
    let process = Process::spawn("small net", on(processors, &command));
    let mut results = scene.results();
    let figures = measure(&mut results, &COUNTS, &process);
    assert_all(&results, |answer| answer["predictions"][0]["label"] == LABEL);
    figures
}

/// The net, as a version of a model; the folder of model versions.
fn import() -> PathBuf {
    let folder = paths::scratch().join("small");
    let nets = folder.join("nets");
    std::fs::create_dir_all(&nets).unwrap_or_else(|e| panic!("{}: {e}", nets.display()));
    let labels = folder.join("labels.txt");
    std::fs::write(&labels, "red\ngreen\nblue\ndark\n")
        .unwrap_or_else(|e| panic!("{}: {e}", labels.display()));
    let mut python = Command::new(paths::python());
    python.arg(paths::root().join("model/tests/onnx/write.py")).arg(&nets);
    let mut import = Command::new(paths::executable("model"));
    import.current_dir(paths::root()).arg("import").arg(nets.join("plain.onnx")).arg("--labels").arg(labels);
    import
        .args(["--name", "small", "--mean", "0", "--std", "255", "--yes", "--weights"])
        .arg(folder.join("weights"));
    for (name, command) in [("python", python), ("model", import)] {
        let done = Process::run(name, command, PATIENCE);
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    folder.join("weights")
}

fn assert_all(results: &Reader, is_right: impl Fn(&Value) -> bool) {
    let right = |value: &Option<Vec<u8>>| {
        serde_json::from_slice(value.as_deref().unwrap_or_default()).is_ok_and(|answer| is_right(&answer))
    };
    let wrong = results.seen.iter().find(|answer| !right(&answer.value));
    assert!(
        wrong.is_none(),
        "not the answer expected: {:?}",
        wrong.and_then(|wrong| wrong.value.clone()).map(String::from_utf8)
    );
}
