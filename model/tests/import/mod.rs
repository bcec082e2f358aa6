//! `model import` as its users run it, on nets that the Python package onnx wrote.

mod taken;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use registry::{Registry, Select};
use serde_json::Value;
use tch::{CModule, Kind, Tensor};

use crate::tiny::{self, objects, stderr};

const COLOURS: [(&str, [u8; 3]); 4] =
    [("blue", [0, 0, 255]), ("dark", [0, 0, 0]), ("green", [0, 255, 0]), ("red", [255, 0, 0])];

/// A folder with `nets/*.onnx`, `colours/*.png` and files of labels, made once for all tests of this file.
fn material() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("model-import");
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(folder.join("nets")).unwrap();
        fs::create_dir(folder.join("colours")).unwrap();
        for (name, colour) in COLOURS {
            let image = image::RgbImage::from_pixel(20, 16, image::Rgb(colour));
            image.save(folder.join(format!("colours/{name}.png"))).unwrap();
        }
        fs::write(folder.join("four.txt"), "red\ngreen\nblue\ndark\n").unwrap();
        // By torch for Python, see the script beside them.
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torchscript")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.join("nets").join(path.file_name().unwrap())).unwrap();
        }
        fs::write(folder.join("two.txt"), "not red\nred\n").unwrap();
        let many: Vec<String> = (0..1000).map(|n| format!("class {n}")).collect();
        fs::write(folder.join("many.txt"), many.join("\n")).unwrap();

        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let python = project.join(".deps/python/bin/python3");
        assert!(
            python.is_file(),
            "{} is missing: `make test` or `cargo xtask setup` makes it",
            python.display()
        );
        let script = project.join("model/tests/onnx/write.py");
        let output = Command::new(python).arg(script).arg(folder.join("nets")).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        folder
    })
}

/// The arguments of an import of `net` into `weights`.
fn arguments<'a>(weights: &'a str, net: &'a str, labels: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let fixed = [
        "import",
        net,
        "--name",
        "m",
        "--labels",
        labels,
        "--weights",
        weights,
        "--mean",
        "0",
        "--std",
        "255",
    ];
    let mut all = fixed.to_vec();
    if !more.contains(&"--samples") {
        all.extend(["--samples", "colours"]);
    }
    all.extend(more);
    all
}

fn import(weights: &Path, net: &str, labels: &str, more: &[&str]) -> Output {
    tiny::model(material(), &arguments(weights.to_str().unwrap(), net, labels, more))
}

/// As [`import`], and the JSON that it printed.
fn imported(weights: &Path, net: &str, labels: &str, more: &[&str]) -> Value {
    let output = import(weights, net, labels, &[more, &["--json"]].concat());
    assert!(output.status.success(), "{net} {more:?}: {}", stderr(&output));
    objects(&output).remove(0)
}

/// The likeliest label of each sample.
fn answers(imported: &Value) -> Vec<&str> {
    let trial = imported["trial"].as_array().unwrap();
    trial.iter().map(|tried| tried["predictions"][0]["label"].as_str().unwrap()).collect()
}

#[test]
fn samples_go_with_an_import_that_calls_them_what_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path();
    let more = ["--sample", "colours/blue.png=blue", "--sample", "colours/red.png=red"];
    imported(weights, "nets/plain.onnx", "four.txt", &more);
    let version = Registry::open(weights).unwrap().load("m", &Select::Version(1)).unwrap();
    let samples = version.samples().unwrap();
    let samples: Vec<_> =
        samples.iter().map(|(sample, found)| (&*sample.file, &*sample.label, &found.bytes)).collect();
    let file = |name: &str| fs::read(material().join("colours").join(name)).unwrap();
    let (blue, red) = (file("blue.png"), file("red.png"));
    assert_eq!(samples, [("sample-1.png", "blue", &blue), ("sample-2.png", "red", &red)]);

    fs::write(weights.join("large.png"), vec![0; (1 << 20) + 1]).unwrap();
    let large = format!("{}=red", weights.join("large.png").display());
    for (sample, code, words) in [
        ("colours/blue.png=green", 1, "--sample colours/blue.png: the net calls it blue, and not green"),
        ("four.txt=red", 1, "--sample four.txt: its sample sample-1.txt can't be used: "),
        ("colours/blue.png=sky", 2, "\"sky\" is none of the labels"),
        ("absent.png=red", 2, "absent.png"),
        ("colours/blue.png", 2, "as sandal.png=Sandal"),
        (&large, 2, "1048576 is the most"),
    ] {
        let output = import(weights, "nets/plain.onnx", "four.txt", &["--sample", sample]);
        assert_eq!(output.status.code(), Some(code), "{sample}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{sample}: {}", stderr(&output));
    }
    assert!(!weights.join("m/2").exists());
}

#[test]
fn each_setting_reaches_the_net_and_the_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path();
    let right = COLOURS.map(|(name, _)| name);
    for (net, more, batch) in [
        ("plain", &[][..], Value::Null),
        ("open", &["--input", "3x8x8"], Value::Null),
        ("bgr", &["--channels", "bgr"], Value::Null),
        ("nhwc", &["--layout", "nhwc"], Value::Null),
        ("shares", &["--activation", "none"], Value::Null),
        ("fixed", &["--fit", "stretch", "--interpolation", "lanczos"], 4.into()),
    ] {
        let said = imported(weights, &format!("nets/{net}.onnx"), "four.txt", more);
        assert_eq!(answers(&said), right, "{net} {more:?}");
        assert_eq!(said["batch"], batch, "{net}");
        assert_eq!(said["trial"][0]["predictions"].as_array().unwrap().len(), 4);
    }
    // In another order the colours are others.
    let said = imported(weights, "nets/bgr.onnx", "four.txt", &[]);
    assert_eq!(answers(&said), ["red", "dark", "green", "blue"]);

    // One output is two classes; the second label is the one that it is the probability of.
    let said = imported(weights, "nets/single.onnx", "two.txt", &["--activation", "sigmoid"]);
    assert_eq!(answers(&said)[2..], ["not red", "red"]);
    let probability = said["trial"][3]["predictions"][0]["probability"].as_f64().unwrap();
    assert!((probability - 1.0 / (1.0 + (-9_f64).exp())).abs() < 1e-6, "{probability}");

    let registry = Registry::open(weights).unwrap();
    let manifest = |version| registry.load("m", &Select::Version(version)).unwrap().manifest;
    let (fixed, single) = (manifest(6), manifest(8));
    assert_eq!(serde_json::to_value(&fixed.input).unwrap()["interpolation"], "lanczos");
    assert_eq!((fixed.input.crop, fixed.input.mean), (None, vec![0.0; 3]));
    assert_eq!(serde_json::to_value(&single.classes).unwrap()["activation"], "sigmoid");
    assert_eq!((single.classes.outputs, single.license.as_str()), (1, "NOASSERTION"));
}

#[test]
fn nets_that_the_onnx_project_tests_itself_with_are_taken() {
    // Written in 2017, with fixed batches, weights among the inputs, and outputs with sides of 1.
    let folder = tempfile::tempdir().unwrap();
    for (net, more) in [("squeezenet", &["--activation", "none"][..]), ("densenet121", &[])] {
        let said = imported(folder.path(), &format!("nets/{net}.onnx"), "many.txt", more);
        assert_eq!((&said["batch"], &said["engine"]), (&1.into(), &"openvino".into()), "{net}");
        // Their weights are all alike.
        let probability = said["trial"][0]["predictions"][0]["probability"].as_f64().unwrap();
        assert!((probability - 0.001).abs() < 1e-6, "{net}: {probability}");
    }
}

#[test]
fn what_can_not_be_used_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("not/yet");
    let plain = fs::read(material().join("nets/plain.onnx")).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(name), bytes).unwrap();
        folder.path().join(name).to_str().unwrap().to_owned()
    };
    let cut = file("cut.onnx", &plain[..plain.len() - 9]);
    let renamed = file("picture.onnx", &fs::read(material().join("colours/red.png")).unwrap());
    let outside = fs::read(material().join("nets/outside.onnx")).unwrap();
    let outside = file("outside.onnx", &outside);
    let sparse = file("large.onnx", b"");
    fs::File::options().write(true).open(&sparse).unwrap().set_len(3 << 30).unwrap();
    let (none, gap) = (file("none.txt", b"\n"), file("gap.txt", b"red\n\nblue\ndark\n"));
    for (net, labels, more, code, words) in [
        (cut.as_str(), "four.txt", &[][..], 1, "no ONNX file, or a damaged one"),
        (&renamed, "four.txt", &[], 1, "no ONNX file, or a damaged one"),
        (&outside, "four.txt", &[], 1, "its tensor \"w\" lies in another file (external data)"),
        (&sparse, "four.txt", &[], 1, "is larger than the 2147483647 bytes"),
        ("four.txt", "four.txt", &[], 2, "ONNX files end in .onnx, and TorchScript files in .pt"),
        ("absent.onnx", "four.txt", &[], 1, "cannot read absent.onnx"),
        ("nets/plain.onnx", "absent.txt", &[], 1, "cannot read the labels absent.txt"),
        ("nets/plain.onnx", &none, &[], 1, "it holds none"),
        ("nets/plain.onnx", &gap, &[], 1, "line 2 is empty"),
        ("nets/plain.onnx", "two.txt", &[], 1, "has 4 outputs, and there are 2 labels"),
        (
            "nets/plain.onnx",
            "four.txt",
            &["--input", "3x9x9"],
            2,
            "takes images of 3 x 8 x 8, not squares as 3 x 9 x 9",
        ),
        ("nets/nhwc.onnx", "four.txt", &[], 2, "takes images of 8 x 8 x 3"),
        ("nets/wide.onnx", "four.txt", &[], 2, "takes images of 3 x 8 x 16"),
        ("nets/open.onnx", "four.txt", &[], 2, "say it with --input"),
        ("nets/double.onnx", "four.txt", &[], 1, "its input \"x\" is not of 32-bit floats"),
        ("nets/pair.onnx", "four.txt", &[], 1, "1 inputs and 2 outputs, not one of each"),
        ("nets/rows.onnx", "four.txt", &[], 1, "its input \"x\" has 3 dimensions, and images have four"),
        (
            "nets/open.onnx",
            "four.txt",
            &["--input", "1x8x8", "--fit", "stretch"],
            1,
            "[N, 3, N, N], not [N, 1, 8, 8]",
        ),
        ("nets/shares.onnx", "four.txt", &[], 2, "say --activation none"),
        ("nets/plain.onnx", "four.txt", &["--activation", "none"], 2, "its outputs are no probabilities"),
        ("nets/single.onnx", "two.txt", &[], 2, "--activation sigmoid makes two classes of it"),
        ("nets/plain.onnx", "four.txt", &["--crop", "2"], 2, "crop must be above 0"),
        ("nets/plain.onnx", "four.txt", &["--fit", "middle"], 2, "centre-crop"),
        ("nets/plain.onnx", "four.txt", &["--samples", "nowhere"], 2, "--samples"),
        ("nets/plain.onnx", "four.txt", &["--samples", "four.txt"], 2, "four.txt: "),
    ] {
        let output = import(&weights, net, labels, more);
        assert_eq!(output.status.code(), Some(code), "{net} {labels} {more:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{net} {labels} {more:?}: {}", stderr(&output));
    }
    let twice = file("twice.txt", b"red\ngreen\nblue\nred\n");
    let output = import(&weights, "nets/plain.onnx", &twice, &["--name", "../m"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(!folder.path().join("not").exists());

    // Two labels alike are said, and taken: those of ImageNet have some.
    let output = import(&weights, "nets/plain.onnx", &twice, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("\"red\" stands on line 1 and line 4"), "{}", stderr(&output));
}

#[test]
fn versions_follow_each_other_and_the_first_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("weights");
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_model"));
        let all = arguments(weights.to_str().unwrap(), "nets/plain.onnx", "four.txt", &["--json"]);
        command.env_clear().current_dir(material()).args(all);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // All at once.
    let children: Vec<Child> = (0..3).map(|_| start()).collect();
    let outputs = children.into_iter().map(|child| child.wait_with_output().unwrap());
    let mut said: Vec<(u64, bool)> = outputs
        .map(|output| {
            assert!(output.status.success(), "{}", stderr(&output));
            let said = &objects(&output)[0];
            (said["model"]["version"].as_u64().unwrap(), said["production"].as_bool().unwrap())
        })
        .collect();
    said.sort_unstable();
    assert_eq!(said.iter().map(|&(version, _)| version).collect::<Vec<_>>(), [1, 2, 3]);
    let served: Vec<_> = said.iter().filter(|&&(_, production)| production).collect();
    let [(served, _)] = served[..] else { panic!("{said:?}") };
    let registry = Registry::open(&weights).unwrap();
    assert_eq!(u64::from(registry.resolve("m", &Select::default()).unwrap()), *served);

    let next = imported(&weights, "nets/bgr.onnx", "four.txt", &[]);
    assert_eq!((&next["model"]["version"], &next["production"]), (&4.into(), &false.into()));
    assert_eq!(
        fs::read_dir(weights.join("m")).unwrap().count(),
        6,
        "four versions, an alias, its history and nothing else"
    );
    let version = registry.load("m", &Select::Version(4)).unwrap();
    assert_eq!(next["model"]["digest"], version.digest.as_str());
}

#[test]
fn a_signal_in_the_middle_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (weights, fifo) = (folder.path().join("weights"), folder.path().join("sample.png"));
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_model"));
    let more = ["--samples", fifo.to_str().unwrap()];
    command.args(arguments(weights.to_str().unwrap(), "nets/plain.onnx", "four.txt", &more));
    command.env_clear().current_dir(material()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    // Opens as soon as the program reads, and does not end that before this is closed.
    let mut sample = fs::File::options().write(true).open(&fifo).unwrap();
    sample.write_all(b"half an image").unwrap();
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("SIGINT"), "{}", stderr(&output));
    assert!(!weights.exists());
}

const TORCHSCRIPT: [&str; 3] = ["--allow-torchscript", "--input", "3x8x8"];

#[test]
fn torchscript_is_taken_from_who_says_that_it_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let right = COLOURS.map(|(name, _)| name);
    // In training mode, half of the first one's outputs would be missing.
    for net in ["scripted", "traced"] {
        let said = imported(folder.path(), &format!("nets/{net}.pt"), "four.txt", &TORCHSCRIPT);
        assert_eq!(
            (answers(&said).as_slice(), &said["engine"]),
            (&right[..], &"torchscript".into()),
            "{net}"
        );
        let dark = said["trial"][1]["predictions"][0]["probability"].as_f64().unwrap();
        assert!((dark - 0.870_048_5).abs() < 1e-6, "{net}: {dark}");
    }
    let manifest = Registry::open(folder.path()).unwrap().load("m", &Select::Latest).unwrap().manifest;
    assert_eq!((manifest.version, manifest.artifacts[0].file.as_str()), (2, "model.pt"));
}

/// TorchScript that tells colours, of so many images at once and no other number.
fn fixed(images: i64, file: &Path) {
    let weight =
        Tensor::from_slice(&[9_f32, -3., -3., -3., 9., -3., -3., -3., 9., -9., -9., -9.]).view([4, 3]);
    let bias = Tensor::from_slice(&[0_f32, 0., 0., 3.]);
    let mut forward = |xs: &[Tensor]| {
        // The way in which exported nets flatten what they have: the number becomes a constant.
        let means = xs[0].mean_dim([2_i64, 3].as_slice(), false, Kind::Float).view([images, 3]);
        vec![means.linear(&weight, Some(&bias))]
    };
    let example = Tensor::zeros([images, 3, 8, 8], tch::kind::FLOAT_CPU);
    let net = CModule::create_by_tracing("Net", "forward", &[example], &mut forward).unwrap();
    net.save(file).unwrap();
}

/// TorchScript that tells colours of images `[n, size, size, channels]`, blue first.
fn tensorflow_s_way(file: &Path) {
    let weight =
        Tensor::from_slice(&[-3_f32, -3., 9., -3., 9., -3., 9., -3., -3., -9., -9., -9.]).view([4, 3]);
    let bias = Tensor::from_slice(&[0_f32, 0., 0., 3.]);
    let mut forward = |xs: &[Tensor]| {
        vec![xs[0].mean_dim([1_i64, 2].as_slice(), false, Kind::Float).linear(&weight, Some(&bias))]
    };
    let example = Tensor::zeros([1, 8, 8, 3], tch::kind::FLOAT_CPU);
    CModule::create_by_tracing("Net", "forward", &[example], &mut forward).unwrap().save(file).unwrap();
}

#[test]
fn torchscript_is_given_its_dimensions_and_colours_in_its_own_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("net.pt");
    tensorflow_s_way(&file);
    let more = [&TORCHSCRIPT[..], &["--layout", "nhwc", "--channels", "bgr"]].concat();
    let said = imported(folder.path(), file.to_str().unwrap(), "four.txt", &more);
    assert_eq!(answers(&said), COLOURS.map(|(name, _)| name));
}

#[test]
fn torchscript_of_a_fixed_batch_is_served_so() {
    let folder = tempfile::tempdir().unwrap();
    for images in [1_i64, 2, 4, 16] {
        let file = folder.path().join(format!("fixed{images}.pt"));
        fixed(images, &file);
        let said = imported(folder.path(), file.to_str().unwrap(), "four.txt", &TORCHSCRIPT);
        assert_eq!(
            (answers(&said), &said["batch"]),
            (COLOURS.map(|(name, _)| name).to_vec(), &images.into())
        );
    }
    // As many as there are.
    let said = imported(folder.path(), "nets/traced.pt", "four.txt", &TORCHSCRIPT);
    assert_eq!(said["batch"], Value::Null);
}

#[test]
fn torchscript_that_can_not_be_used_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("weights");
    let whole = fs::read(material().join("nets/scripted.pt")).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(name), bytes).unwrap();
        folder.path().join(name).to_str().unwrap().to_owned()
    };
    let cut = file("cut.pt", &whole[..whole.len() / 2]);
    let renamed = file("renamed.pt", &fs::read(material().join("nets/plain.onnx")).unwrap());
    let other = file("other.onnx", &whole);
    for (net, more, code, words) in [
        ("nets/scripted.pt", &["--input", "3x8x8"][..], 2, "--allow-torchscript lets it"),
        ("nets/scripted.pt", &["--allow-torchscript"], 2, "say it with --input"),
        (&cut, &TORCHSCRIPT, 1, "cut.pt can't be loaded as TorchScript"),
        (&renamed, &TORCHSCRIPT, 1, "renamed.pt is no TorchScript file"),
        (&other, &TORCHSCRIPT, 1, "no ONNX file, or a damaged one"),
        ("nets/checkpoint.pt", &TORCHSCRIPT, 1, "checkpoint.pt can't be loaded as TorchScript"),
        ("nets/company.pt", &TORCHSCRIPT, 1, "is answered otherwise in company than alone"),
        ("nets/faulty.pt", &TORCHSCRIPT, 1, "the TorchScript interpreter"),
        ("nets/pair.pt", &TORCHSCRIPT, 1, "the net could not be computed"),
        (
            "nets/scripted.pt",
            &["--allow-torchscript", "--input", "1x8x8", "--fit", "stretch"],
            1,
            "could not be computed",
        ),
    ] {
        let output = import(&weights, net, "four.txt", more);
        assert_eq!(output.status.code(), Some(code), "{net} {more:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{net} {more:?}: {}", stderr(&output));
    }
    // Its labels say how many outputs there are to be.
    let output = import(&weights, "nets/scripted.pt", "two.txt", &TORCHSCRIPT);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("gave [1, 4] for 1 images, not [1, 2]"), "{}", stderr(&output));
    assert!(!weights.exists());
}
