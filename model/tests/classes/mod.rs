//! `model train` for classes of one's own, as its users run it: folders of made-up pictures, the bird net as backbone.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{inception, lite1, lite2};
use crate::tiny::{objects, stderr};

const LIMIT: Duration = Duration::from_secs(120);
const CONFIG: &str = "recipe: transfer\naugmentation: {views: 1, rotation: 10}\nhead: {epochs: 20}\n";

/// A picture of a class: stripes across, stripes down, or discs, in colours of its own.
fn picture(class: &str, seed: u64) -> RgbImage {
    let mut random = StdRng::seed_from_u64(seed);
    let mut colour = || Rgb([(); 3].map(|()| random.random_range(0..=255_u8)));
    let (one, other) = (colour(), colour());
    let (width, phase) = (random.random_range(10..20), random.random_range(0..20));
    RgbImage::from_fn(96, 80, |x, y| {
        let (x, y) = (x + phase, y + phase);
        let inside = match class {
            "across" => (y / width) % 2 == 0,
            "down" => (x / width) % 2 == 0,
            _ => (x % 32).abs_diff(16).pow(2) + (y % 32).abs_diff(16).pow(2) < 120,
        };
        if inside { one } else { other }
    })
}

/// A folder with `data/<class>/*.png` and `birds.yaml`.
fn folder(classes: &[&str], images: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for class in classes {
        let path = folder.path().join("data").join(class);
        fs::create_dir_all(&path).unwrap();
        for seed in 0..images {
            picture(class, seed).save(path.join(format!("{seed}.png"))).unwrap();
        }
    }
    fs::write(folder.path().join("birds.yaml"), CONFIG).unwrap();
    folder
}

fn train(folder: &Path, more: &[&str]) -> Command {
    train_on(folder, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights"), more)
}

/// A training on a backbone of that folder.
fn train_on(folder: &Path, backbones: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_model"));
    command.env_clear().current_dir(folder);
    command.args(["train", "birds.yaml", "--data", "data", "--name", "own", "--threads", "1"]);
    command.args(["--json", "--backbone-weights"]).arg(backbones).args(more);
    command
}

fn published(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    let last = objects(output).pop().unwrap();
    assert_eq!(last["event"], "published", "{last}");
    last
}

fn manifest(folder: &Path, version: u32) -> registry::Manifest {
    let select = registry::Select::Version(version);
    registry::Registry::open(folder.join("weights")).unwrap().load("own", &select).unwrap().manifest
}

/// What of a version is the same whenever the same was learned from the same.
fn identity(folder: &Path) -> (String, String) {
    let manifest = manifest(folder, 1);
    (manifest.files["model.safetensors"].sha256.clone(), manifest.data[0].sha256.clone())
}

#[test]
fn a_folder_of_pictures_becomes_a_version_that_names_others_of_their_kind() {
    let folder = folder(&["across", "discs", "down"], 8);
    let folder = folder.path();
    let result = published(&train(folder, &["--folds", "2"]).output().unwrap());
    assert_eq!((&result["version"], &result["production"]), (&1.into(), &true.into()));
    assert!(result["accuracy"].as_f64().unwrap() >= 0.8, "{result}");
    assert_eq!(result["folds"].as_array().unwrap().len(), 2, "{result}");
    assert!(result["own_rejected"].as_f64().unwrap() <= 0.02, "{result}");
    assert_eq!(result["others"], "classes-left-out", "{result}");

    let manifest = manifest(folder, 1);
    // Whoever types it measures the same.
    for metric in &manifest.metrics {
        assert!(metric.command.contains(" --folds 2"), "{metric:?}");
    }
    let labels: Vec<&str> = manifest.classes.labels.iter().map(|class| class.label.as_str()).collect();
    assert_eq!(labels, ["across", "discs", "down"]);
    assert_eq!(manifest.parents[0].name, "bird");
    let files: Vec<&str> = manifest.files.keys().map(String::as_str).collect();
    let samples = ["sample-1.png", "sample-2.png", "sample-3.png", "sample-4.png"];
    assert_eq!(files, [&["model.onnx", "model.safetensors"], &samples[..], &["train.yaml"]].concat());
    assert_samples_are_of_the_folder(folder, &manifest);
    let written = fs::read_to_string(folder.join("weights/own/1/train.yaml")).unwrap();
    assert!(written.contains("rotation: 10"), "{written}");

    // Others of their kind, by both artifacts.
    for class in labels {
        picture(class, 1000).save(folder.join(format!("{class}.png"))).unwrap();
    }
    let ask = |engine: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_model"));
        command.env_clear().current_dir(folder);
        command.args(["predict", "--model", "own", "--json", "--engine", engine]);
        let output = command.args(["across.png", "discs.png", "down.png"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let first = |answer: &Value| answer["predictions"][0].clone();
        objects(&output).iter().map(first).collect::<Vec<_>>()
    };
    let by_libtorch = ask("libtorch");
    let named: Vec<_> = by_libtorch.iter().map(|prediction| prediction["label"].as_str().unwrap()).collect();
    assert_eq!(named, ["across", "discs", "down"], "{by_libtorch:?}");
    for (one, other) in by_libtorch.iter().zip(ask("openvino")) {
        assert_eq!(one["label"], other["label"]);
        let probability = |of: &Value| of["probability"].as_f64().unwrap();
        assert!((probability(one) - probability(&other)).abs() < 1e-4, "{one} {other}");
    }
}

/// Each sample is one of its label's photographs, and each class has one before any has two.
fn assert_samples_are_of_the_folder(folder: &Path, manifest: &registry::Manifest) {
    let named = |sample: &registry::Sample| {
        let bytes = fs::read(folder.join("weights/own/1").join(&sample.file)).unwrap();
        let class = fs::read_dir(folder.join("data").join(&sample.label)).unwrap();
        let of_class = class.map(|entry| fs::read(entry.unwrap().path()).unwrap());
        assert!(of_class.into_iter().any(|photograph| photograph == bytes), "{sample:?}");
        sample.label.clone()
    };
    let labels: Vec<String> = manifest.samples.iter().map(named).collect();
    assert_eq!(labels[..3], ["across", "discs", "down"]);
}

#[test]
fn two_classes_are_enough_and_what_is_none_of_them_is_told_from_others_that_are_given() {
    let folder = folder(&["across", "down"], 8);
    let folder = folder.path();
    fs::create_dir_all(folder.join("other/any")).unwrap();
    for seed in 0..6 {
        picture("discs", seed).save(folder.join(format!("other/any/{seed}.png"))).unwrap();
    }
    let result = published(&train(folder, &[]).output().unwrap());
    assert_eq!((&result["others"], &result["others_rejected"]), (&"none".into(), &Value::Null));
    let result = published(&train(folder, &["--other", "other", "--sample-images", "0"]).output().unwrap());
    assert_eq!((&result["others"], &result["version"]), (&"given".into(), &2.into()));
    assert_eq!(manifest(folder, 2).samples, [], "whoever keeps their photographs to themselves");
    let rejected = result["others_rejected"].as_f64().unwrap();
    // Learned from images that it was not chosen by, the threshold says what the result does.
    let mut command = Command::new(env!("CARGO_BIN_EXE_model"));
    command.env_clear().current_dir(folder).args(["predict", "--model", "own", "--model-version", "2"]);
    let output = command.args(["--engine", "libtorch", "--json", "other/any"]).output().unwrap();
    let none = |answer: &&Value| answer["predictions"][0]["label"] == "none of these";
    let found = objects(&output).iter().filter(none).count() as f64 / 6.0;
    assert!((found - rejected).abs() < 1e-9, "{found} of the others, not {rejected}");
}

#[test]
fn what_cannot_be_learned_from_is_said_file_by_file_and_left_out_on_request() {
    let folder = folder(&["across", "down", "empty"], 4);
    let data = folder.path().join("data");
    fs::remove_dir_all(data.join("empty")).unwrap();
    fs::create_dir(data.join("empty")).unwrap();
    fs::write(data.join("across/notes.txt"), "no picture").unwrap();
    let whole = fs::read(data.join("across/0.png")).unwrap();
    fs::write(data.join("across/cut.png"), &whole[..whole.len() / 2]).unwrap();
    // The same picture in another file: BMP.
    picture("down", 1).save(data.join("down/again.bmp")).unwrap();
    fs::copy(data.join("across/2.png"), data.join("down/wrong.png")).unwrap();
    fs::create_dir(data.join("down/deeper")).unwrap();
    fs::write(data.join("across/.DS_Store"), "hidden").unwrap();

    let output = train(folder.path(), &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("--fix FILE"), "{}", stderr(&output));
    let lines: Vec<Value> =
        String::from_utf8_lossy(&output.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let found: BTreeSet<(String, String)> = lines
        .iter()
        .map(|line| (line["path"].as_str().unwrap().into(), line["problem"].as_str().unwrap().into()))
        .collect();
    let expected = [
        ("data/across/2.png", "two-classes"),
        ("data/across/cut.png", "unreadable"),
        ("data/across/notes.txt", "unreadable"),
        ("data/down/again.bmp", "duplicate"),
        ("data/down/deeper", "unreadable"),
        ("data/down/wrong.png", "two-classes"),
        ("data/empty", "empty-class"),
    ];
    assert_eq!(found, expected.map(|(path, problem)| (path.into(), problem.into())).into());
    assert!(!folder.path().join("weights").exists() && !folder.path().join("runs").exists());

    let output = train(folder.path(), &["--fix", "left-out.txt"]).output().unwrap();
    published(&output);
    let list = fs::read_to_string(folder.path().join("left-out.txt")).unwrap();
    assert_eq!(list.lines().count(), expected.len(), "{list}");
    assert!(
        list.contains("data/down/wrong.png: the same picture as data/across/2.png, of another class"),
        "{list}"
    );
    let labels = manifest(folder.path(), 1).classes.labels.into_iter().map(|class| class.label);
    assert_eq!(labels.collect::<Vec<_>>(), ["across", "down"]);
    // A class is not named as what is none of them.
    fs::rename(data.join("down"), data.join("none of these")).unwrap();
    let output = train(folder.path(), &["--fix", "left-out.txt"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("--other"), "{}", stderr(&output));
    fs::rename(data.join("none of these"), data.join("down")).unwrap();
    // Nothing is learned where there is one class.
    fs::remove_dir_all(data.join("down")).unwrap();
    let output = train(folder.path(), &["--fix", "left-out.txt"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
}

#[test]
fn names_that_are_no_text_and_folders_that_cannot_be_looked_into_are_said_like_all_else() {
    let folder = folder(&["across", "down"], 4);
    let data = folder.path().join("data");
    let named = |bytes: &[u8]| data.join(OsStr::from_bytes(bytes));
    for class in [&b"caf\xe9"[..], b" ", b"two\nlines"] {
        fs::create_dir(named(class)).unwrap();
        fs::copy(data.join("down/0.png"), named(class).join("0.png")).unwrap();
    }
    fs::write(named(b"across/cut\xff\nin two.png"), "no picture").unwrap();
    // Of a good picture no name is too strange.
    fs::rename(data.join("down/3.png"), named(b"down/\xff\n3.PNG")).unwrap();
    let locked = data.join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, Permissions::from_mode(0o000)).unwrap();
    // Root may look into it, and finds nothing.
    let of_locked = if geteuid().is_root() { "empty-class" } else { "unreadable" };

    let output = train(folder.path(), &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("5 of what is in data can't be learned from"), "{}", stderr(&output));
    let found: BTreeMap<String, String> = objects(&output)
        .iter()
        .map(|line| (line["path"].as_str().unwrap().into(), line["problem"].as_str().unwrap().into()))
        .collect();
    let expected = [
        ("data/ ", "unreadable"),
        ("data/across/cut\u{fffd}\nin two.png", "unreadable"),
        ("data/caf\u{fffd}", "unreadable"),
        ("data/locked", of_locked),
        ("data/two\nlines", "unreadable"),
    ];
    assert_eq!(found, expected.map(|(path, problem)| (path.into(), problem.into())).into());

    // What a name leads to is written, as with /dev/stdout, and the name stays.
    symlink("elsewhere.txt", folder.path().join("left-out.txt")).unwrap();
    fs::write(folder.path().join("elsewhere.txt"), "").unwrap();
    published(&train(folder.path(), &["--fix", "left-out.txt"]).output().unwrap());
    fs::set_permissions(&locked, Permissions::from_mode(0o755)).unwrap();
    let list = fs::read_to_string(folder.path().join("elsewhere.txt")).unwrap();
    assert_eq!(list.lines().count(), expected.len(), "{list}");
    assert!(list.contains("data/two\\nlines: can't be read: it names a class"), "{list}");
    let manifest = manifest(folder.path(), 1);
    let labels: Vec<&str> = manifest.classes.labels.iter().map(|class| class.label.as_str()).collect();
    assert_eq!(labels, ["across", "down"]);
}

#[test]
fn a_killed_training_is_begun_again_and_comes_to_the_same() {
    let folder = folder(&["across", "down"], 6);
    let whole = self::folder(&["across", "down"], 6);
    published(&train(whole.path(), &[]).output().unwrap());

    let started = Instant::now();
    for (kept, signal, code) in
        [(1, Signal::SIGKILL, None), (4, Signal::SIGINT, Some(130)), (8, Signal::SIGTERM, Some(143))]
    {
        let mut child = train(folder.path(), &[]).stdout(Stdio::null()).spawn().unwrap();
        while features(folder.path()).len() < kept {
            assert!(started.elapsed() < LIMIT, "nothing is kept");
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
            std::thread::yield_now();
        }
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        // Not by a crash, whatever else is computed meanwhile.
        assert_eq!(child.wait().unwrap().code(), code);
        assert!(!folder.path().join("weights").exists(), "half of it is there");
    }
    // What is kept is used, and what is no such thing is not.
    let kept = features(folder.path());
    let times: Vec<_> = kept.iter().map(|path| fs::metadata(path).unwrap().modified().unwrap()).collect();
    fs::write(&kept[0], b"something else").unwrap();
    published(&train(folder.path(), &[]).output().unwrap());
    assert_eq!(identity(folder.path()), identity(whole.path()));
    let now = |path: &PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    let is_whole = |path: &&PathBuf| path.extension().is_none();
    for (path, time) in kept.iter().zip(times).skip(1).filter(|(path, _)| is_whole(path)) {
        assert_eq!(now(path), time, "{} was computed again", path.display());
    }
}

/// Its last layer hardly learns before, so that fine-tuning has something to do.
const TUNED: &str = "recipe: transfer\naugmentation: {views: 1}\nhead: {epochs: 1}\n\
                     fine_tuning: {blocks: 1, epochs: 3, batch_size: 8, learning_rate: 0.003}\n";

#[test]
fn a_killed_fine_tuning_goes_on_and_comes_to_the_same_by_both_engines() {
    let folders = [(), ()].map(|()| self::folder(&["across", "down"], 6));
    let [whole, killed] = folders.each_ref().map(TempDir::path);
    for folder in [whole, killed] {
        fs::write(folder.join("birds.yaml"), TUNED).unwrap();
    }
    let result = published(&train(whole, &[]).output().unwrap());
    let tuning = &result["fine_tuning"];
    assert_eq!((&tuning["blocks"], tuning["epochs"].as_u64() > Some(0)), (&1.into(), true), "{result}");
    let checkpoint = killed.join("runs/own/fine-tuning.safetensors");
    assert!(!whole.join("runs/own/fine-tuning.safetensors").exists(), "it is needed no more");

    // After the first epoch that is kept, and after the next.
    let started = Instant::now();
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut child = train(killed, &[]).stdout(Stdio::null()).spawn().unwrap();
        while fs::read(&checkpoint).ok().is_none_or(|now| now == kept) {
            assert!(started.elapsed() < LIMIT, "nothing is kept");
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
            std::thread::yield_now();
        }
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).unwrap();
        child.wait().unwrap();
        kept = fs::read(&checkpoint).unwrap();
        assert!(!killed.join("weights").exists(), "half of it is there");
    }
    // Not with other images.
    let image = killed.join("data/down/5.png");
    let bytes = fs::read(&image).unwrap();
    fs::remove_file(&image).unwrap();
    let output = train(killed, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("other images; --force begins anew"), "{}", stderr(&output));
    assert_eq!(fs::read(&checkpoint).unwrap(), kept, "it was touched");
    fs::write(&image, bytes).unwrap();

    let output = train(killed, &[]).output().unwrap();
    published(&output);
    let first = objects(&output).into_iter().find(|line| line["event"] == "tuned").unwrap();
    assert!(first["epoch"].as_u64() > Some(1) || first["stage"].as_u64() > Some(1), "it began anew: {first}");
    assert_eq!(identity(killed), identity(whole));

    // The blocks are others than the backbone's, in both artifacts.
    let ask = |engine: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_model"));
        command.env_clear().current_dir(whole);
        command.args(["predict", "--model", "own", "--json", "--engine", engine, "data/across", "data/down"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        objects(&output)
    };
    for (one, other) in ask("libtorch").iter().zip(ask("openvino")) {
        let first = |answer: &Value| answer["predictions"][0].clone();
        assert_eq!(first(one)["label"], first(&other)["label"]);
        let probability = |of: &Value| first(of)["probability"].as_f64().unwrap();
        assert!((probability(one) - probability(&other)).abs() < 1e-4, "{one} {other}");
    }
    let backbone = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights/bird/1/model.safetensors");
    let tensors =
        [backbone, whole.join("weights/own/1/model.safetensors")].map(|path| fs::read(path).unwrap());
    let [before, after] = tensors.each_ref().map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    let differ: BTreeSet<String> = before
        .names()
        .into_iter()
        .filter(|name| before.tensor(name).unwrap().data() != after.tensor(name).unwrap().data())
        .map(|name| name.split('.').take(2).collect::<Vec<_>>().join("."))
        .collect();
    let expected = ["_blocks.15", "_bn1.bias", "_bn1.weight", "_conv_head.weight", "_fc.bias", "_fc.weight"];
    assert_eq!(differ, expected.map(String::from).into(), "batch normalisation's statistics stay");
}

#[test]
fn more_blocks_than_there_are_and_two_trainings_of_one_name_are_refused() {
    let folder = folder(&["across", "down"], 4);
    let folder = folder.path();
    fs::write(folder.join("birds.yaml"), TUNED.replace("blocks: 1", "blocks: 17")).unwrap();
    let output = train(folder, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("bird version 1 has 16"), "{}", stderr(&output));

    fs::write(folder.join("birds.yaml"), TUNED).unwrap();
    fs::create_dir_all(folder.join("runs/own")).unwrap();
    let held = fs::File::create(folder.join("runs/own/lock")).unwrap();
    held.try_lock().unwrap();
    let output = train(folder, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("another training goes on in runs/own"), "{}", stderr(&output));
    drop(held);
    published(&train(folder, &[]).output().unwrap());
}

/// The files in which features of images are kept.
fn features(folder: &Path) -> Vec<PathBuf> {
    let below = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    below(folder.join("runs/features")).flat_map(below).collect()
}

/// Runs a training, and does something to its folder once the features of so many images are kept.
fn disturbed(folder: &Path, kept: usize, meanwhile: impl FnOnce(&Path)) -> Output {
    let started = Instant::now();
    let mut child = train(folder, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while features(folder).iter().filter(|path| path.extension().is_none()).count() < kept {
        assert!(started.elapsed() < LIMIT, "nothing is kept");
        assert!(child.try_wait().unwrap().is_none(), "it ended before its folder was changed");
        std::thread::yield_now();
    }
    meanwhile(&folder.join("data"));
    child.wait_with_output().unwrap()
}

#[test]
fn what_changes_while_it_is_learned_from_is_said_and_nothing_is_half_made() {
    let folder = folder(&["across", "down"], 6);
    let folder = folder.path();
    // Before it is looked into, as the last one is after the first: nothing comes of it.
    let output = disturbed(folder, 1, |data| fs::remove_file(data.join("down/5.png")).unwrap());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("data/down/5.png changed while it was learned from"),
        "{}",
        stderr(&output)
    );
    assert!(!folder.join("weights").exists(), "something was made");

    // Behind that: what was learned is of the folder as it was, and that is said. Layers that take long, to be in time.
    picture("down", 5).save(folder.join("data/down/5.png")).unwrap();
    fs::write(folder.join("birds.yaml"), CONFIG.replace("epochs: 20", "epochs: 3000, patience: 3000"))
        .unwrap();
    let digest = {
        let quick = self::folder(&["across", "down"], 6);
        published(&train(quick.path(), &[]).output().unwrap());
        manifest(quick.path(), 1).data[0].sha256.clone()
    };
    let output = disturbed(folder, 12, |data| {
        fs::remove_file(data.join("across/0.png")).unwrap();
        picture("down", 70).save(data.join("down/1.png")).unwrap();
        picture("discs", 71).save(data.join("down/new.png")).unwrap();
    });
    published(&output);
    let changed: Vec<Value> =
        objects(&output).into_iter().filter(|line| line["event"] == "changed").collect();
    let told: Vec<_> = changed.iter().map(|line| (&line["path"], &line["change"])).collect();
    let expected =
        [("data/across/0.png", "removed"), ("data/down/1.png", "exchanged"), ("data/down/new.png", "added")]
            .map(|(path, change)| (Value::from(path), Value::from(change)));
    assert!(told.iter().copied().eq(expected.iter().map(|(path, change)| (path, change))), "{changed:?}");
    assert_eq!(manifest(folder, 1).data[0].sha256, digest, "it was of other images");
}

/// Each kind of net that knows photographs can be the one that is taken. Its weights are made up, so that what is learned is of no use.
#[test]
fn other_backbones_go_the_same_way() {
    let folder = folder(&["across", "down"], 3);
    let folder = folder.path();
    fs::write(folder.join("birds.yaml"), "recipe: transfer\naugmentation: {views: 0}\nhead: {epochs: 3}\n")
        .unwrap();
    let backbones = tempfile::tempdir().unwrap();
    let versions = [inception(backbones.path()), lite1(backbones.path()), lite2(backbones.path())];
    for (number, backbone) in (1..).zip(&versions) {
        let from = format!("{}/1", backbone.manifest.name);
        let result = train_on(folder, backbones.path(), &["--backbone", &from]).output().unwrap();
        assert_eq!(published(&result)["version"], number);
        let manifest = manifest(folder, number);
        assert_eq!(manifest.artifacts[0].architecture, backbone.manifest.artifacts[0].architecture);
        assert_eq!(manifest.input, backbone.manifest.input);
        let ask = |engine: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_model"));
            command
                .env_clear()
                .current_dir(folder)
                .args(["predict", "--model", "own", "--json", "--engine", engine]);
            let output = command
                .args(["--model-version", &number.to_string(), "data/across", "data/down"])
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(0), "{from}: {}", stderr(&output));
            objects(&output)
        };
        let probabilities = |answer: &Value| -> BTreeMap<String, f64> {
            let all = answer["predictions"].as_array().unwrap().iter();
            all.map(|one| (one["label"].as_str().unwrap().to_owned(), one["probability"].as_f64().unwrap()))
                .collect()
        };
        for (one, other) in ask("libtorch").iter().zip(ask("openvino")) {
            let (one, other) = (probabilities(one), probabilities(&other));
            assert!(one.contains_key("across") && one.contains_key("down"), "{from}: {one:?}");
            for (label, probability) in &one {
                assert!((probability - other[label]).abs() < 1e-3, "{from}: {one:?}, {other:?}");
            }
        }
    }
}

#[test]
fn what_does_not_go_with_the_recipe_or_is_missing_is_said_before_any_work() {
    let folder = folder(&["across", "down"], 2);
    let bare = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_model"));
        command.env_clear().current_dir(folder.path()).arg("train").args(arguments).output().unwrap()
    };
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/fashion-mnist.yaml");
    let shipped = shipped.to_str().unwrap();
    for (arguments, words) in [
        (&["birds.yaml"][..], "--data FOLDER"),
        (&["birds.yaml", "--data", "data"], "--name NAME"),
        (&["birds.yaml", "--data", "data", "--name", "../up"], "../up"),
        (
            &["birds.yaml", "--data", "data", "--name", "own", "--resume"],
            "--resume does not go with birds.yaml",
        ),
        (&["birds.yaml", "--data", "data", "--name", "own", "--backbone-weights", "."], "no backbone bird"),
        (&["birds.yaml", "--data", "data", "--name", "own", "--fix", "no/list"], "there is no folder no"),
        (&[shipped, "--name", "own"], "--name does not go with"),
    ] {
        let output = bare(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{arguments:?}: {}", stderr(&output));
    }
    assert!(!folder.path().join("weights").exists());
}
