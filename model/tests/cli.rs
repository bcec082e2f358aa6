//! The program as its users run it: predict and evaluate against a version that it trained itself on a tiny data set.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod classes;
mod common;
mod evaluate;
mod import;
mod quantize;
mod tiny;
mod versions;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tiny::{SIDE, lines, model, objects, stderr};

/// For what a program does in a moment.
const LIMIT: Duration = Duration::from_secs(60);

/// A folder with `data/`, a trained `weights/tiny/1` and `images/`, made once for all tests of this file.
fn trained() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("model-cli");
        drop(fs::remove_dir_all(&folder));
        tiny::write_data(&folder.join("data"), 240, 50);
        fs::write(folder.join("train.yaml"), tiny::config(6, 1)).unwrap();
        lines(&folder, &["train", "train.yaml", "--data", "data", "--threads", "1", "--json"]);
        let mut rng = StdRng::seed_from_u64(3);
        fs::create_dir_all(folder.join("images")).unwrap();
        for class in [2, 7, 4] {
            let pixels = tiny::image(class, &mut rng);
            let file = folder.join(format!("images/class{class}.png"));
            image::save_buffer(file, &pixels, SIDE as u32, SIDE as u32, image::ColorType::L8).unwrap();
        }
        folder
    })
}

#[test]
fn predict_answers_each_image_in_order() {
    let folder = trained();
    let files = ["images/class7.png", "images/class2.png", "images/class4.png"];
    let arguments = [&["predict", "--model", "tiny", "--json", "--top-k", "3"], &files[..]].concat();
    let answers = lines(folder, &arguments);
    for ((answer, file), class) in answers.iter().zip(files).zip([7, 2, 4]) {
        assert_eq!(answer["file"], file);
        assert_eq!(answer["model"]["name"], "tiny");
        assert_eq!(answer["model"]["version"], 1);
        let predictions = answer["predictions"].as_array().unwrap();
        assert_eq!(predictions.len(), 3);
        assert_eq!(predictions[0]["index"], class, "{answer}");
        let probabilities: Vec<f64> =
            predictions.iter().map(|p| p["probability"].as_f64().unwrap()).collect();
        assert!(probabilities.is_sorted_by(|a, b| a >= b) && probabilities[0] <= 1.0, "{answer}");
    }
    assert_eq!(answers.len(), 3);
}

#[test]
fn predict_takes_a_folder_in_the_order_of_its_names_and_passes_other_files_over() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.png", "a.PNG", "c.png"] {
        fs::copy(trained().join("images/class7.png"), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("notes.txt"), "no image").unwrap();
    let path = folder.path().to_str().unwrap();
    let answers = lines(trained(), &["predict", "--model", "tiny", "--json", path]);
    let files: Vec<_> = answers.iter().map(|answer| answer["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["a.PNG", "b.png", "c.png"].map(|name| format!("{path}/{name}")));
}

#[test]
fn one_bad_image_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (bad, empty) = (folder.path().join("bad.png"), folder.path().join("empty"));
    fs::write(&bad, b"not an image").unwrap();
    fs::create_dir(&empty).unwrap();
    let (bad, empty) = (bad.to_str().unwrap(), empty.to_str().unwrap());
    let good = "images/class7.png";
    let output =
        model(trained(), &["predict", "--model", "tiny", "--json", good, bad, "absent.png", empty, good]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    let answers = objects(&output);
    assert_eq!(answers.len(), 5);
    assert_eq!(answers[0]["predictions"], answers[4]["predictions"]);
    assert_eq!(answers[0]["predictions"][0]["index"], 7);
    for (answer, file, code) in [
        (&answers[1], bad, "INVALID_ARGUMENT"),
        (&answers[2], "absent.png", "NOT_FOUND"),
        (&answers[3], empty, "NOT_FOUND"),
    ] {
        assert_eq!(answer["file"], file);
        assert_eq!(answer["error"]["code"], code, "{answer}");
        assert!(answer["error"]["message"].as_str().is_some_and(|m| !m.is_empty()));
        assert!(answer.get("predictions").is_none());
    }

    // For people the errors go to stderr.
    let output = model(trained(), &["predict", "--model", "tiny", good, bad]);
    assert_eq!(output.status.code(), Some(5));
    assert!(stderr(&output).contains(bad), "{}", stderr(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
}

#[test]
fn what_is_not_there_is_a_usage_error_that_says_what_is() {
    let image = "images/class7.png";
    for (arguments, expected) in [
        (&["predict", "--model", "absent", image][..], "tiny"),
        (&["predict", "--model", "tiny", "--model-version", "9", image], "version 9"),
        (&["predict", "--model", "tiny", "--model-version", "canary", image], "canary"),
        (&["predict", "--weights", "nowhere", image], "nowhere"),
        (&["evaluate", "--model", "absent"], "absent"),
        (&["predict"], "Usage"),
        (&["predict", "--top-k", "0", image], "top-k"),
        (&["predict", "--device", "gpu", image], "gpu"),
    ] {
        let output = model(trained(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn cuda_is_used_where_there_is_a_device_and_refused_where_there_is_none() {
    let output = model(trained(), &["predict", "--model", "tiny", "--device", "cuda", "images/class7.png"]);
    if tch::Cuda::is_available() {
        assert!(output.status.success(), "{}", stderr(&output));
    } else {
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("CUDA"), "{}", stderr(&output));
    }
    lines(trained(), &["predict", "--model", "tiny", "--device", "auto", "--json", "images/class7.png"]);
}

#[test]
fn more_files_than_a_batch_are_answered_in_order_and_an_endless_one_is_refused() {
    let mut arguments = vec!["predict", "--model", "tiny", "--json", "--top-k", "1"];
    let files: Vec<String> = (0..70).map(|at| format!("images/class{}.png", [7, 2, 4][at % 3])).collect();
    arguments.extend(files.iter().map(String::as_str));
    let answers = lines(trained(), &arguments);
    let named: Vec<&str> = answers.iter().map(|answer| answer["file"].as_str().unwrap()).collect();
    assert_eq!(named, files);

    let output = model(trained(), &["predict", "--model", "tiny", "/dev/zero", "images/class7.png"]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(stderr(&output).contains("/dev/zero: it is longer than"), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("class7.png"));
}

/// Two files in two batches, of which the first is written when the second one is read: only a program that reads both at once ends.
#[test]
fn predict_works_on_several_batches_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut files: Vec<PathBuf> = vec![trained().join("images/class7.png"); 17];
    for (place, name) in [(0, "first.png"), (16, "second.png")] {
        files[place] = folder.path().join(name);
        mkfifo(&files[place], Mode::S_IRWXU).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_model"));
    command.env_clear().current_dir(trained()).args(["predict", "--model", "tiny", "--json"]).args(&files);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let since = Instant::now();
    // One core is one batch at a time.
    let waits = std::thread::available_parallelism().unwrap().get() > 1;
    for place in if waits { [16, 0] } else { [0, 16] } {
        let mut file = loop {
            // There is nobody to write to before it is read.
            match fs::File::options().write(true).custom_flags(libc::O_NONBLOCK).open(&files[place]) {
                Ok(file) => break file,
                Err(error) if error.raw_os_error() == Some(libc::ENXIO) && since.elapsed() < LIMIT => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => {
                    child.kill().unwrap();
                    panic!("{} is not read: {error}", files[place].display());
                }
            }
        };
        file.write_all(&fs::read(trained().join("images/class2.png")).unwrap()).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let answers = objects(&output);
    let classes: Vec<_> = answers.iter().map(|answer| answer["predictions"][0]["index"].as_u64()).collect();
    assert_eq!(classes, [&[Some(2)], &[Some(7); 15][..], &[Some(2)]].concat());
}

#[test]
fn tampered_weights_are_refused_by_name() {
    let root = tempfile::tempdir().unwrap();
    let copy = root.path().join("tiny/1");
    fs::create_dir_all(&copy).unwrap();
    for file in ["manifest.yaml", "model.safetensors"] {
        fs::copy(trained().join("weights/tiny/1").join(file), copy.join(file)).unwrap();
    }
    let weights = copy.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&weights, &bytes).unwrap();
    let arguments =
        ["predict", "--weights", root.path().to_str().unwrap(), "--model", "tiny", "--model-version", "1"];
    let output = model(trained(), &[&arguments[..], &["images/class7.png"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("model.safetensors") && stderr(&output).contains("tampered"),
        "{}",
        stderr(&output)
    );

    fs::write(&weights, &bytes[..last]).unwrap();
    let output = model(trained(), &[&arguments[..], &["images/class7.png"]].concat());
    assert!(stderr(&output).contains("truncated"), "{}", stderr(&output));
}

#[test]
fn evaluate_counts_by_class() {
    let report = &lines(trained(), &["evaluate", "--model", "tiny", "--data", "data", "--json"])[0];
    let accuracy = report["accuracy"].as_f64().unwrap();
    assert!((0.8..=1.0).contains(&accuracy), "{report}");
    assert_eq!(report["images"], 50);
    let classes = report["classes"].as_array().unwrap();
    assert_eq!(classes.len(), 10);
    let sum = |key: &str| classes.iter().map(|class| class[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("images"), sum("correct")), (50, report["correct"].as_u64().unwrap()));
    assert_eq!(accuracy, sum("correct") as f64 / 50.0);

    // Labels moved by one: nothing is right any more.
    let folder = tempfile::tempdir().unwrap();
    for name in ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"] {
        fs::copy(trained().join("data").join(name), folder.path().join(name)).unwrap();
    }
    let path = folder.path().join("t10k-labels-idx1-ubyte");
    let mut labels = fs::read(&path).unwrap();
    labels[8..].iter_mut().for_each(|label| *label = (*label + 1) % 10);
    fs::write(&path, labels).unwrap();
    let data = folder.path().to_str().unwrap();
    let report = &lines(trained(), &["evaluate", "--model", "tiny", "--data", data, "--json"])[0];
    assert!(report["accuracy"].as_f64().unwrap() < 0.2, "{report}");

    let output = model(trained(), &["evaluate", "--model", "tiny", "--data", "nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("dataset-fashion-mnist"), "{}", stderr(&output));
}

/// The folder of the shipped versions.
const WEIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../weights");

/// The arguments for version 1 of a shipped model, computed by that engine.
fn shipped<'a>(command: &'a str, model: &'a str, weights: &'a str, engine: &'a str) -> [&'a str; 10] {
    [command, "--model", model, "--model-version", "1", "--weights", weights, "--json", "--engine", engine]
}

#[test]
fn both_engines_name_the_samples_alike() {
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/samples");
    // What is not there can't be what computes.
    let onnx_only = tempfile::tempdir().unwrap();
    for name in ["bird", "fashion-mnist"] {
        fs::create_dir_all(onnx_only.path().join(name).join("1")).unwrap();
        for file in ["manifest.yaml", "model.onnx"] {
            let file = Path::new(name).join("1").join(file);
            fs::copy(Path::new(WEIGHTS).join(&file), onnx_only.path().join(&file))
                .unwrap_or_else(|error| panic!("{}: {error}\n(`make test` gets it too)", file.display()));
        }
    }
    let onnx_only = onnx_only.path().to_str().unwrap();
    for name in ["bird", "fashion-mnist"] {
        let ask = |weights, engine| {
            lines(trained(), &[&shipped("predict", name, weights, engine)[..], &[samples]].concat())
        };
        let (first, second) = (ask(WEIGHTS, "libtorch"), ask(onnx_only, "openvino"));
        assert!(first.len() > 10 && first.len() == second.len());
        for (first, second) in first.iter().zip(&second) {
            assert_eq!(
                (&first["model"]["engine"], &second["model"]["engine"]),
                (&"libtorch".into(), &"openvino".into())
            );
            assert_eq!(
                (&first["file"], &first["model"]["digest"]),
                (&second["file"], &second["model"]["digest"])
            );
            let top = |answer: &serde_json::Value| {
                let top = &answer["predictions"][0];
                (top["label"].clone(), top["probability"].as_f64().unwrap())
            };
            let ((first, sure), (second, as_sure)) = (top(first), top(second));
            assert_eq!(first, second);
            assert!((sure - as_sure).abs() < 1e-4, "{first}: {sure} and {as_sure}");
        }
    }

    // The images are not of these classes: what counts is that each is taken for the same thing.
    let evaluate = |weights, engine| {
        let arguments = [&shipped("evaluate", "fashion-mnist", weights, engine)[..], &["--data", "data"]];
        lines(trained(), &arguments.concat()).remove(0)
    };
    let (first, second) = (evaluate(WEIGHTS, "libtorch"), evaluate(onnx_only, "auto"));
    assert_eq!((&first["engine"], &second["engine"]), (&"libtorch".into(), &"openvino".into()));
    assert_eq!((&first["images"], &first["classes"]), (&50.into(), &second["classes"]));
}

#[test]
fn an_engine_that_can_not_compute_a_version_says_why() {
    let image = "images/class7.png";
    for command in ["predict", "evaluate"] {
        let tail: &[&str] = if command == "predict" { &[image] } else { &["--data", "data"] };
        let arguments = [&[command, "--model", "tiny", "--engine", "openvino"], tail].concat();
        let output = model(trained(), &arguments);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let words = "tiny version 1 can't be computed by openvino: the version has no artifact for it";
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
    let output = model(trained(), &["predict", "--model", "tiny", "--engine", "tensorrt", image]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("use auto, libtorch, openvino or torchscript"), "{}", stderr(&output));
}

#[test]
fn each_engine_of_a_version_is_measured_and_what_is_not_there_is_said() {
    let short = ["--seconds", "0.001", "--batch", "1,3", "--json"];
    let run = |model: &str, folder: &str, library: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_model"));
        command.env_clear().envs(library.map(|folder| ("MLAAS_OPENVINO", folder)));
        command.args(["benchmark", model, "--model-version", "1", "--weights", folder]).args(short);
        let output = command.current_dir(trained()).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        objects(&output)
    };
    let rows = run("fashion-mnist", WEIGHTS, None);
    let cases: Vec<_> =
        rows.iter().map(|row| (row["engine"].as_str().unwrap(), row["batch"].as_u64().unwrap())).collect();
    assert_eq!(cases, [("libtorch", 1), ("openvino", 1), ("libtorch", 3), ("openvino", 3)]);
    for row in &rows {
        assert!(row["images_per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{row}");
        assert!(row["p50_ms"].as_f64().is_some_and(|p50| p50 > 0.0), "{row}");
        assert!(row["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{row}");
        assert!(row["instruction_set"].is_string() && row["precision"] == "f32", "{row}");
    }

    let rows = run("fashion-mnist", WEIGHTS, Some("/nowhere"));
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0]["engine"], "openvino");
    assert!(rows[0]["missing"].as_str().is_some_and(|why| why.contains("`make openvino`")), "{}", rows[0]);
    assert!(rows[1..].iter().all(|row| row["engine"] == "libtorch" && row["p50_ms"].is_number()));

    let output = model(trained(), &["benchmark", "absent"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));

    // What fails only where it is computed is a failure, and why is heard.
    let damaged = tempfile::tempdir().unwrap();
    fs::create_dir_all(damaged.path().join("tiny/1")).unwrap();
    for file in ["manifest.yaml", "model.safetensors"] {
        let file = Path::new("tiny/1").join(file);
        fs::copy(trained().join("weights").join(&file), damaged.path().join(&file)).unwrap();
    }
    fs::create_dir_all(damaged.path().join("half/1")).unwrap();
    let folder = damaged.path().to_str().unwrap();
    let all = ["benchmark", "--model-version", "1", "--weights", folder];
    let output = model(trained(), &[&all[..], &short].concat());
    // Of all models those are measured that are whole.
    assert!(output.status.success() && stderr(&output).contains("half"), "{}", stderr(&output));
    assert!(objects(&output).len() == 2 && objects(&output)[0]["model"] == "tiny");

    let file = damaged.path().join("tiny/1/model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    bytes.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1);
    fs::write(&file, bytes).unwrap();
    let output = model(trained(), &["benchmark", "tiny", "--model-version", "1", "--weights", folder]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("tampered") && said.contains("libtorch can't be measured"), "{said}");
}

#[test]
fn settings_come_from_the_environment_and_flags_go_over_them() {
    let run = |model: &str, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_model"));
        command.env_clear().env("MLAAS_MODEL", model).env("MLAAS_JSON", "1").env("MLAAS_TOP_K", "2");
        command.current_dir(trained()).args(arguments).output().unwrap()
    };
    let answers = objects(&run("tiny", &["predict", "images/class7.png"]));
    assert_eq!(answers[0]["predictions"].as_array().unwrap().len(), 2);
    let output = run("absent", &["predict", "images/class7.png"]);
    assert_eq!(output.status.code(), Some(2));
    let output = run("absent", &["predict", "--model", "tiny", "images/class7.png"]);
    assert!(output.status.success());
}

#[test]
fn completions_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let output = model(trained(), &["completions", shell]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("evaluate"), "{shell}");
    }
}
