//! What a message costs where the net costs nothing: MLServer, the Python server that reads from Kafka by itself, with a model that
//! does no work, and `worker` with a net of one layer, which decodes an image and computes.

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use e2e::images::plain_bmp;
use e2e::process::Process;
use e2e::scene::{Kind, Scene};
use e2e::traffic::{Reader, Record};
use e2e::{PATIENCE, paths, wait_until};
use serde_json::{Value, json};

use crate::{Counts, Figures, measure, on};

/// Messages take less time than photographs, and the system counts CPU time in steps of 10 ms.
const COUNTS: Counts = Counts { warm: 1000, counted: 4000, waiting: 1000 };
/// What each of them answers.
const LABEL: &str = "red";

/// MLServer has to be there when messages come: what is sent before is not answered.
pub(crate) fn mlserver(processors: &str) -> Figures {
    let scene = Scene::on(Kind::Kafka);
    let folder = scene.folder.join("mlserver");
    copy(&paths::root().join("tests/peers/mlserver"), &folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let environment = paths::root().join(".deps/mlserver/bin");
    let program = environment.join("mlserver");
    assert!(program.is_file(), "{} is missing: `make bench-peers` makes it", program.display());
    let mut command = Command::new(program);
    command.arg("start").arg(&folder).current_dir(&folder).envs(std::env::vars_os());
    let [http, grpc, metrics] = free_ports();
    for (key, value) in [
        ("HOST", "127.0.0.1"),
        ("HTTP_PORT", &http),
        ("GRPC_PORT", &grpc),
        ("METRICS_PORT", &metrics),
        ("DEBUG", "false"),
        // All in the one process whose time is taken.
        ("PARALLEL_WORKERS", "0"),
        ("KAFKA_ENABLED", "true"),
        ("KAFKA_SERVERS", &scene.bootstrap_servers),
        ("KAFKA_TOPIC_INPUT", &scene.topics.requests),
        ("KAFKA_TOPIC_OUTPUT", &scene.topics.results),
    ] {
        command.env(format!("MLSERVER_{key}"), value);
    }
    let process = Process::spawn("mlserver", on(processors, &command));

    let image = base64(&plain_bmp([255, 0, 0]));
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

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}

fn free_ports() -> [String; 3] {
    let held =
        [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("no free port: {e}")));
    held.map(|port| port.local_addr().map(|address| address.port().to_string()).unwrap_or_default())
}

/// RFC 4648, for which one message needs no library.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | usize::from(three.get(at).copied().unwrap_or(0)));
        let digit = |place: usize| {
            if place > three.len() { '=' } else { char::from(DIGITS[bits >> (18 - 6 * place) & 63]) }
        };
        text.extend((0..4).map(digit));
    }
    text
}
