//! `model train` on a tiny data set: it learns, the same seed gives the same bytes, and an interrupted run ends as if it had not been.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod tiny;

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use tiny::{lines, model, stderr};

fn workplace(epochs: usize, seed: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    tiny::write_data(&folder.path().join("data"), 240, 50);
    fs::write(folder.path().join("train.yaml"), tiny::config(epochs, seed)).unwrap();
    folder
}

const TRAIN: [&str; 7] = ["train", "train.yaml", "--data", "data", "--threads", "1", "--json"];

fn train(folder: &Path, more: &[&str]) -> Vec<Value> {
    lines(folder, &[&TRAIN, more].concat())
}

fn refused(folder: &Path, more: &[&str]) -> (Option<i32>, String) {
    let output = model(folder, &[&TRAIN, more].concat());
    (output.status.code(), stderr(&output))
}

fn weights(folder: &Path, version: u32) -> Vec<u8> {
    fs::read(folder.join(format!("weights/tiny/{version}/model.safetensors"))).unwrap()
}

#[test]
fn learns_and_publishes_what_it_measured() {
    let folder = workplace(6, 1);
    let folder = folder.path();
    let said = train(folder, &[]);
    let losses: Vec<f64> = said[..6].iter().map(|epoch| epoch["loss"].as_f64().unwrap()).collect();
    assert!(losses[5] < losses[0] * 0.7, "{losses:?}");
    let published = &said[6];
    assert_eq!(published["event"], "published");
    assert!(published["accuracy"].as_f64().unwrap() > 0.8, "{published}");

    let manifest = fs::read_to_string(folder.join("weights/tiny/1/manifest.yaml")).unwrap();
    let command = "model evaluate --model tiny --model-version 1";
    assert!(manifest.contains(command), "{manifest}");
    let mut arguments: Vec<&str> = command.split(' ').skip(1).collect();
    arguments.extend(["--data", "data", "--json"]);
    let evaluated = &lines(folder, &arguments)[0];
    assert_eq!(evaluated["accuracy"], published["accuracy"]);
    assert_eq!(evaluated["digest"], published["digest"]);
    // The first version is the one that is served.
    assert_eq!(fs::read_to_string(folder.join("weights/tiny/production")).unwrap().trim(), "1");
}

#[test]
fn a_resumed_run_ends_as_the_uninterrupted_one_and_another_seed_does_not() {
    let whole = workplace(3, 5);
    train(whole.path(), &[]);

    let halves = workplace(3, 5);
    let first = train(halves.path(), &["--stop-after", "1"]);
    assert_eq!(first.last().unwrap()["event"], "stopped");
    assert!(!halves.path().join("weights/tiny").exists());
    let rest = train(halves.path(), &["--resume"]);
    assert_eq!(rest[0]["epoch"], 2);
    assert!(weights(halves.path(), 1) == weights(whole.path(), 1), "resumed, the run took another way");

    let other = workplace(3, 6);
    train(other.path(), &[]);
    assert!(weights(other.path(), 1) != weights(whole.path(), 1), "the seed changes nothing");
}

#[test]
fn a_run_goes_on_with_the_images_it_began_with_and_no_others() {
    let folder = workplace(2, 1);
    let folder = folder.path();
    train(folder, &["--stop-after", "1"]);
    let labels = folder.join("data/train-labels-idx1-ubyte");
    let before = fs::read(&labels).unwrap();
    let mut changed = before.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&labels, changed).unwrap();
    let (code, said) = refused(folder, &["--resume"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("other images") && said.contains("--data"), "{said}");
    fs::write(&labels, before).unwrap();
    train(folder, &["--resume"]);
    let manifest = fs::read_to_string(folder.join("weights/tiny/1/manifest.yaml")).unwrap();
    for file in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"] {
        let digest = registry::FileEntry::of_bytes(&fs::read(folder.join("data").join(file)).unwrap()).sha256;
        assert!(manifest.contains(file) && manifest.contains(&digest), "{manifest}");
    }
}

#[test]
fn what_is_none_of_the_classes_is_learned_from_drawn_pictures() {
    let folder = workplace(6, 1);
    let folder = folder.path();
    let more = "outliers: {images: 300, per_batch: 10, label: no bar, most: 0.05}\naugmentation: {shift: 1, erase: 0.1}\n";
    fs::write(folder.join("train.yaml"), tiny::config(6, 1) + more).unwrap();
    let said = train(folder, &[]);
    assert!(said.last().unwrap()["accuracy"].as_f64().unwrap() > 0.8, "{said:?}");
    let version = folder.join("weights/tiny/1");
    let manifest: serde_yaml::Value =
        serde_yaml::from_str(&fs::read_to_string(version.join("manifest.yaml")).unwrap()).unwrap();
    let classes = &manifest["classes"];
    assert_eq!((classes["outputs"].as_u64(), classes["labels"].as_sequence().unwrap().len()), (Some(11), 10));
    let lost = manifest["metrics"][1]["value"].as_f64().unwrap();
    let rejected = manifest["metrics"][2]["value"].as_f64().unwrap();
    assert!(lost <= 0.05 && rejected > 0.8, "{lost} {rejected}");
    let temperature = classes["calibration"]["temperature"].as_f64().unwrap();
    assert!((0.05..20.0).contains(&temperature), "{temperature}");
    // The configuration that made it is beside it, and reads as one.
    let settings = fs::read_to_string(version.join(manifest["configuration"].as_str().unwrap())).unwrap();
    fs::write(folder.join("again.yaml"), settings).unwrap();
    let again = model(folder, &["train", "again.yaml", "--data", "data", "--output", "weights/tiny/1"]);
    assert!(stderr(&again).contains("--force"), "{}", stderr(&again));

    // A ring on a grey sheet.
    let ring = image::GrayImage::from_fn(90, 90, |x, y| {
        let (x, y) = (f64::from(x) - 45.0, f64::from(y) - 45.0);
        image::Luma([if (20.0..26.0).contains(&x.hypot(y)) { 20 } else { 180 }])
    });
    ring.save(folder.join("ring.png")).unwrap();
    let answer = &lines(folder, &["predict", "--model", "tiny", "--json", "ring.png"])[0];
    let first = &answer["predictions"][0];
    assert_eq!((&first["label"], &first["index"]), (&"no bar".into(), &Value::Null), "{answer}");
}

#[test]
fn nothing_is_overwritten_unasked() {
    let folder = workplace(2, 1);
    let folder = folder.path();
    train(folder, &["--stop-after", "1"]);
    let (code, said) = refused(folder, &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--resume") && said.contains("epoch 1 of 2"), "{said}");

    fs::write(folder.join("train.yaml"), tiny::config(2, 9)).unwrap();
    let (code, said) = refused(folder, &["--resume"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("another configuration"), "{said}");

    train(folder, &["--force"]);
    let (code, said) = refused(folder, &["--output", "weights/tiny/1"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("weights/tiny/1") && said.contains("--force"), "{said}");
    let before = weights(folder, 1);

    // The next free number, and production stays until it is told otherwise.
    fs::write(folder.join("train.yaml"), tiny::config(1, 3)).unwrap();
    train(folder, &[]);
    assert!(weights(folder, 2) != before && weights(folder, 1) == before);
    assert_eq!(fs::read_to_string(folder.join("weights/tiny/production")).unwrap().trim(), "1");
    train(folder, &["--output", "weights/tiny/1", "--force", "--promote"]);
    assert!(weights(folder, 1) == weights(folder, 2), "the same seed, the same weights");
}

#[test]
fn what_cannot_be_trained_on_is_said_before_the_work() {
    let folder = workplace(1, 1);
    let folder = folder.path();
    fs::create_dir_all(folder.join("runs/tiny")).unwrap();
    fs::write(folder.join("runs/tiny/checkpoint.safetensors"), b"no checkpoint").unwrap();
    let (code, said) = refused(folder, &["--resume"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("checkpoint.safetensors cannot be used"), "{said}");

    let (code, said) = refused(folder, &["--output", "elsewhere/7"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("<weights>/tiny/<number>"), "{said}");

    fs::write(folder.join("train.yaml"), format!("{}epoch: 3\n", tiny::config(1, 1))).unwrap();
    let (code, said) = refused(folder, &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("train.yaml") && said.contains("`epoch`") && said.contains("line"), "{said}");

    fs::write(folder.join("train.yaml"), tiny::config(1, 1).replace("batch_size: 20", "batch_size: 1000"))
        .unwrap();
    let (code, said) = refused(folder, &["--force"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("too few"), "{said}");
}
