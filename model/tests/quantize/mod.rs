//! `model quantize` as its users run it, and the nets that it takes.

mod nets;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use model_openvino::integers_are_exact;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use registry::{FileEntry, ModelVersion, Precision, Registry, Select};
use serde_json::Value;

use crate::tiny::{self, objects, stderr};
use crate::trained;

/// A copy of the trained model's weights, to make versions in.
fn weights() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("tiny/1")).unwrap();
    for file in ["1/manifest.yaml", "1/model.safetensors", "production"] {
        let file = Path::new("tiny").join(file);
        fs::copy(trained().join("weights").join(&file), folder.path().join(&file)).unwrap();
    }
    folder
}

fn quantize(weights: &Path, arguments: &[&str]) -> Output {
    let weights = ["--weights", weights.to_str().unwrap()];
    tiny::model(trained(), &[&["quantize"], arguments, &weights].concat())
}

/// As [`quantize`], and the JSON that it printed.
fn quantized(weights: &Path, arguments: &[&str]) -> Value {
    let output = quantize(weights, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    objects(&output).remove(0)
}

fn version(weights: &Path, model: &str, number: u32) -> ModelVersion {
    Registry::open(weights).unwrap().load(model, &Select::Version(number)).unwrap()
}

/// Whether this processor can compute what is tested here, which is found out by computing; where not, that it says so.
fn exact(weights: &Path) -> bool {
    let exact = integers_are_exact().unwrap();
    let vnni = is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni");
    assert_eq!(exact, vnni);
    if !exact {
        let output = quantize(weights, &["tiny", "--data", "data"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("it has no VNNI"), "{}", stderr(&output));
    }
    exact
}

#[test]
fn a_version_of_integers_answers_as_the_one_that_it_was_made_from() {
    let folder = weights();
    let weights = folder.path();
    if !exact(weights) {
        return;
    }
    // Images of idx files: 60 calibrate, and others, of which there are 50, measure.
    let arguments = ["tiny", "--data", "data", "--images", "60", "--max-drop", "2"];
    let said = quantized(weights, &arguments);
    assert_eq!((&said["model"]["version"], &said["production"]), (&2.into(), &false.into()));
    assert_eq!((&said["calibration_images"], &said["images"]), (&60.into(), &50.into()));
    assert_eq!((&said["layers"], &said["other_layers"]), (&6.into(), &0.into()));
    assert!(said["agreement"].as_f64().unwrap() >= 0.96, "{said}");
    let accuracy = &said["accuracy"];
    assert!(accuracy["f32"].as_f64().unwrap() > 0.9 && accuracy["drop"].as_f64().unwrap() <= 0.02, "{said}");

    let (parent, made) = (version(weights, "tiny", 1), version(weights, "tiny", 2));
    assert_eq!(
        (&said["model"]["digest"], &said["parent"]["digest"]),
        (&made.digest.as_str().into(), &parent.digest.as_str().into())
    );
    let manifest = &made.manifest;
    let [artifact] = &manifest.artifacts[..] else { panic!("{manifest:?}") };
    assert_eq!((artifact.precision, artifact.file.as_str()), (Precision::Int8, "model-int8.onnx"));
    assert_eq!(format!("sha256:{}", manifest.parents[0].sha256), parent.digest);
    assert_eq!((&manifest.classes, &manifest.input), (&parent.manifest.classes, &parent.manifest.input));
    assert_eq!(manifest.metrics[0].value, accuracy["int8"].as_f64().unwrap());
    assert!(manifest.files["model-int8.onnx"].size * 3 < parent.manifest.files["model.safetensors"].size);

    // It is what it says to whom it did not measure, too.
    let root = weights.to_str().unwrap();
    for number in ["1", "2"] {
        let arguments =
            ["predict", "images", "--model", "tiny", "--model-version", number, "--json", "--weights", root];
        let answers = tiny::lines(trained(), &arguments);
        let classes: Vec<_> =
            answers.iter().map(|answer| answer["predictions"][0]["index"].as_u64().unwrap()).collect();
        assert_eq!(classes, [2, 4, 7], "{answers:?}");
        assert_eq!(answers[0]["model"]["engine"], if number == "1" { "libtorch" } else { "openvino" });
    }

    // The same images give the same bytes, others do not.
    let again = quantized(weights, &arguments);
    assert_eq!(again["model"]["version"], 3);
    let file = |number| version(weights, "tiny", number).manifest.files["model-int8.onnx"].clone();
    assert_eq!(file(2), file(3));
    quantized(weights, &[&arguments[..], &["--seed", "2"]].concat());
    assert_ne!(file(2), file(4));
    assert_ne!(version(weights, "tiny", 2).manifest.data, version(weights, "tiny", 4).manifest.data);

    // What computes in integers is not made so again, and takes turns with its parent.
    let output = quantize(weights, &["tiny", "2", "--data", "data", "--max-drop", "2"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("8-bit integers already"), "{}", stderr(&output));
    let arguments =
        ["benchmark", "tiny", "--model-version", "1,2", "--batch", "1", "--seconds", "0.001", "--json"];
    let rows = tiny::lines(trained(), &[&arguments[..], &["--weights", root]].concat());
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (row["version"].as_u64().unwrap(), row["precision"].as_str().unwrap()))
        .collect();
    assert_eq!(rows, [(1, "f32"), (2, "int8")]);
}

#[test]
fn samples_are_carried_over_that_integers_call_the_same_and_of_the_others_it_is_said() {
    let folder = weights();
    let weights = folder.path();
    if !exact(weights) {
        return;
    }
    let registry = Registry::open(weights).unwrap();
    let first = registry.load("tiny", &Select::Version(1)).unwrap().manifest;
    let label = |class: usize| first.classes.labels[class].label.clone();
    let sample = |file: &str, class| registry::Sample { file: file.into(), label: label(class) };
    let samples = vec![sample("sample-1.png", 7), sample("sample-2.png", 4)];
    let manifest = registry::Manifest { version: 2, samples, ..first.clone() };
    let bytes = |file: &str| fs::read(trained().join("weights/tiny/1").join(file)).unwrap();
    let mut files: Vec<_> = first.files.keys().map(|file| (file.as_str(), bytes(file))).collect();
    let image = fs::read(trained().join("images/class7.png")).unwrap();
    files.extend([("sample-1.png", image.clone()), ("sample-2.png", image.clone())]);
    let files: Vec<_> = files.iter().map(|(file, bytes)| (*file, bytes.as_slice())).collect();
    registry.publish(manifest, &files).unwrap();

    let output = quantize(weights, &["tiny", "2", "--data", "data", "--images", "60", "--max-drop", "2"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = format!(
        "sample-2.png is called {} in 8-bit integers, and not {}: it is left out",
        label(7),
        label(4)
    );
    assert!(stderr(&output).contains(&said), "{}", stderr(&output));
    let made = version(weights, "tiny", 3);
    assert_eq!(made.manifest.samples, [sample("sample-1.png", 7)]);
    assert_eq!(made.samples().unwrap()[0].1.bytes, image);
}

#[test]
fn a_processor_that_sums_in_16_bits_is_refused_what_it_would_answer_wrongly() {
    let folder = weights();
    if !exact(folder.path()) {
        return;
    }
    quantized(folder.path(), &["tiny", "--data", "data", "--images", "20", "--max-drop", "2"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_model"));
    command
        .args(["predict", "images", "--model", "tiny", "--model-version", "2", "--weights"])
        .arg(folder.path());
    // As an older processor would compute.
    let output =
        command.env_clear().env("ONEDNN_MAX_CPU_ISA", "AVX2").current_dir(trained()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("sums overflow on this processor"), "{}", stderr(&output));
}

/// Four folders of images in so many colours each, a few of which lie beside them, without a label.
fn colours(folder: &Path, each: usize, unlabelled: usize) {
    for (place, (label, colour)) in
        [("red", [255, 0, 0]), ("Green", [0, 255, 0]), ("blue", [0, 0, 255]), ("dark", [0, 0, 0])]
            .into_iter()
            .enumerate()
    {
        fs::create_dir_all(folder.join(label)).unwrap();
        for number in 0..each {
            let pixel = |at: usize| {
                let noise = ((number * 37 + at * 11 + place * 5) % 20) as u8;
                if colour[at] > 0 { 255 - noise } else { noise }
            };
            let image = image::RgbImage::from_pixel(8, 8, image::Rgb([pixel(0), pixel(1), pixel(2)]));
            let name = format!("{number}.png");
            image
                .save(if number < unlabelled {
                    folder.join(format!("{label}{name}"))
                } else {
                    folder.join(label).join(name)
                })
                .unwrap();
        }
    }
}

/// A folder with images and a version of a net that tells colours.
fn imported(onnx: &[u8], each: usize, unlabelled: usize) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let [weights, data, net] = ["weights", "data", "net.onnx"].map(|name| folder.path().join(name));
    colours(&data, each, unlabelled);
    fs::write(&net, onnx).unwrap();
    fs::write(folder.path().join("labels.txt"), "red\ngreen\nblue\ndark\n").unwrap();
    let arguments = ["import", "net.onnx", "--name", "m", "--labels", "labels.txt", "--weights", "weights"];
    let more = ["--mean", "0", "--std", "255", "--samples", "data/red", "--json"];
    tiny::lines(folder.path(), &[&arguments[..], &more].concat());
    (folder, weights, data)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_net_that_integers_make_worse_is_refused_and_leaves_nothing() {
    let folder = weights();
    if !exact(folder.path()) {
        return;
    }
    // One of its features is 10,000 times the others, which no integer is left for.
    let (_folder, weights, data) = imported(&nets::colours(1e4), 61, 1);
    let data = data.to_str().unwrap();
    let output = quantize(&weights, &["m", "--data", data, "--images", "40", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let words = "m version 1 is not quantised: its accuracy would drop by ";
    assert!(
        stderr(&output).contains(words) && stderr(&output).contains("Nothing was written"),
        "{}",
        stderr(&output)
    );
    assert!(output.stdout.is_empty());
    // Where nobody says what is right, it is the share of answers that stay.
    let some = ["m", "--data", data, "--images", "40", "--max-drop", "100", "--min-agreement", "90"];
    let output = quantize(&weights, &some);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("of its answers would stay"), "{}", stderr(&output));
    assert_eq!(names(&weights.join("m")), ["1", "history", "production"]);

    // A net like it whose features are alike is taken. Names of folders are read as people write them; images without a label calibrate first.
    let (_folder, weights, data) = imported(&nets::colours(1.0), 61, 1);
    let said = quantized(&weights, &["m", "--data", data.to_str().unwrap(), "--images", "40"]);
    let accuracy = &said["accuracy"];
    assert_eq!(
        (&said["images"], &accuracy["images"], &accuracy["f32"]),
        (&204.into(), &204.into(), &1.0.into())
    );
    assert_eq!(accuracy["drop"], 0.0, "{said}");
    // The digest is of the list that sha256sum writes.
    let listed = version(&weights, "m", 2).manifest.data.remove(0);
    assert_eq!((listed.name.as_str(), listed.sha256.len()), ("list of 40 calibration images (seed 1)", 64));
    let said = quantized(&weights, &["m", "--data", data.to_str().unwrap(), "--images", "4"]);
    assert_eq!((&said["calibration_images"], &said["images"]), (&4.into(), &240.into()));
    let mut lines: Vec<_> = ["Green0.png", "blue0.png", "dark0.png", "red0.png"]
        .map(|name| format!("{}  {name}\n", FileEntry::of(&data.join(name)).unwrap().sha256))
        .to_vec();
    lines.sort_by(|a, b| a[64..].cmp(&b[64..]));
    let digest = FileEntry::of_bytes(lines.concat().as_bytes()).sha256;
    assert_eq!(version(&weights, "m", 3).manifest.data[0].sha256, digest);
}

#[test]
fn images_that_can_not_tell_are_said_before_anything_is_computed() {
    let folder = weights();
    if !exact(folder.path()) {
        return;
    }
    let (material, weights, data) = imported(&nets::colours(1.0), 3, 1);
    let data = data.to_str().unwrap();
    let beside = |name: &str| material.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(material.path().join("empty")).unwrap();
    let (empty, absent) = (beside("empty"), beside("absent"));
    for (arguments, code, words) in [
        (&["m", "--data", data][..], 2, "has 0 images beside the 12 that calibrate"),
        (
            &["m", "--data", data, "--images", "4"],
            2,
            "8 of them in folders named as labels of the model, and telling whether accuracy drops by 0.5 points takes 200",
        ),
        (
            &["m", "--data", data, "--images", "4", "--min-agreement", "95"],
            2,
            "telling whether answers stay takes 200",
        ),
        (&["m", "--data", &empty], 2, "holds no images"),
        (&["m", "--data", &absent], 1, "cannot list"),
        (&["m", "--data", data, "--max-drop", "0"], 2, "give a number from 0.01 to 100"),
        (&["m", "--data", data, "--images", "0"], 2, "--images"),
        (&["m", "2", "--data", data], 2, "has no version 2"),
        // Clothes are not what the model tells.
        (&["m", "--data", "data"], 2, "this data is not the model's"),
    ] {
        let output = quantize(&weights, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{arguments:?}: {}", stderr(&output));
    }
    // Some that can't be read are passed over and said.
    fs::write(material.path().join("data/red/1.png"), "no image").unwrap();
    let said = quantize(&weights, &["m", "--data", data, "--images", "4", "--max-drop", "20"]);
    assert!(said.status.success() && stderr(&said).contains("red/1.png is passed over"), "{}", stderr(&said));
    assert!(String::from_utf8_lossy(&said.stdout).contains("of 7 answers stay"), "{said:?}");
}

#[test]
fn a_signal_in_the_middle_leaves_nothing_of_a_version() {
    let folder = weights();
    if !exact(folder.path()) {
        return;
    }
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("t10k-images-idx3-ubyte"), "").unwrap();
    mkfifo(&data.join("train-images-idx3-ubyte"), Mode::S_IRWXU).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_model"));
    command.args(["quantize", "tiny", "--data"]).arg(&data).arg("--weights").arg(folder.path());
    let child = command.env_clear().current_dir(trained()).stderr(Stdio::piped()).spawn().unwrap();
    // Opens as soon as the program reads, and does not end that before this is closed.
    let mut images = fs::File::options().write(true).open(data.join("train-images-idx3-ubyte")).unwrap();
    images.write_all(b"ha").unwrap();
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
    assert_eq!(names(&folder.path().join("tiny")), ["1", "production"]);
}
