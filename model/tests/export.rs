//! Exported files are what they were exported from: the ONNX checker takes them, and ONNX Runtime and OpenVINO answer as libtorch does.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod common;
mod tiny;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use common::{bird, inception, lite1, lite2, pixels, project, shipped};
use model::torchscript::TorchScript;
use model::{Device, Engine as _, Pixels, Predictor, onnx};
use registry::{EngineKind, FileEntry, ModelVersion};
use serde_json::json;

/// Writes a version's net as ONNX, and what libtorch makes of some images.
fn write_case(folder: &Path, version: &ModelVersion, images: usize) {
    let (name, input) = (&version.manifest.name, &version.manifest.input);
    fs::write(folder.join(format!("{name}.onnx")), onnx::export(version).unwrap()).unwrap();
    let pixels = pixels(images, input.size, input.channels);
    let batch: Vec<&Pixels> = pixels.iter().collect();
    let logits = Predictor::load(version, Device::Cpu).unwrap().logits(&batch).unwrap();
    let bytes: Vec<u8> = pixels.iter().flat_map(|image| image.data.clone()).collect();
    let case = json!({
        "shape": [images, input.size, input.size, input.channels],
        "mean": input.mean, "std": input.std, "pixels": bytes, "logits": logits,
    });
    fs::write(folder.join(format!("{name}.json")), case.to_string()).unwrap();
}

#[test]
fn other_runtimes_answer_as_libtorch_does_for_every_architecture_and_any_batch() {
    let folder = tempfile::tempdir().unwrap();
    write_case(folder.path(), &shipped("fashion-mnist"), 5);
    write_case(folder.path(), &bird(), 3);
    let made_up = tempfile::tempdir().unwrap();
    write_case(folder.path(), &inception(made_up.path()), 2);
    write_case(folder.path(), &lite1(made_up.path()), 2);
    write_case(folder.path(), &lite2(made_up.path()), 2);

    let python = project(".deps/python/bin/python3");
    assert!(python.is_file(), "{} is missing: `make test` or `cargo xtask setup` makes it", python.display());
    let check = project("model/tests/onnx/check.py");
    let output = Command::new(python).arg(check).arg(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    // Five files, two runtimes, two ways.
    assert_eq!(said.lines().count(), 20);
}

#[test]
fn the_file_is_the_one_that_the_manifest_names_to_the_last_byte() {
    for version in [shipped("fashion-mnist"), bird()] {
        let artifact = version.manifest.artifact(EngineKind::Openvino).unwrap();
        let entry = FileEntry::of_bytes(&onnx::export(&version).unwrap());
        assert_eq!(entry, version.manifest.files[&artifact.file], "{}", version.manifest.name);
    }
}

#[test]
fn it_goes_where_it_is_asked_for_or_where_the_manifest_lists_it() {
    let folder = tempfile::tempdir().unwrap();
    let version = inception(folder.path());
    let root = folder.path().to_str().unwrap();
    let export = |more: &[&str]| {
        let arguments = ["export", "inception", "1", "--format", "onnx", "--weights", root];
        tiny::model(folder.path(), &[&arguments[..], more].concat())
    };
    let refused = export(&[]);
    assert_eq!(refused.status.code(), Some(2), "{}", tiny::stderr(&refused));
    assert!(
        tiny::stderr(&refused).contains("inception version 1 lists no ONNX file"),
        "{}",
        tiny::stderr(&refused)
    );

    let written = export(&["--output", "here.onnx", "--json"]);
    assert!(written.status.success(), "{}", tiny::stderr(&written));
    let said = &tiny::objects(&written)[0];
    let entry = FileEntry::of(&folder.path().join("here.onnx")).unwrap();
    assert_eq!((&said["size"], &said["sha256"]), (&entry.size.into(), &entry.sha256.as_str().into()));

    // What a name leads to is written, and the name stays: /dev/null is one.
    symlink("here.onnx", folder.path().join("link.onnx")).unwrap();
    fs::write(folder.path().join("here.onnx"), "another").unwrap();
    assert!(export(&["--output", "link.onnx"]).status.success());
    assert_eq!(FileEntry::of(&folder.path().join("here.onnx")).unwrap(), entry);
    assert!(folder.path().join("link.onnx").is_symlink());

    // Listed, with that digest; then with another.
    let path = folder.path().join("inception/1/manifest.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let second = "- {engine: openvino, file: model.onnx, precision: f32, tolerance: 1e-4}\nclasses:\n";
    let listed = |sha256: &str| {
        let file = format!("files:\n  model.onnx: {{size: {}, sha256: {sha256}}}\n", entry.size);
        fs::write(&path, text.replace("classes:\n", second).replace("files:\n", &file)).unwrap();
    };
    assert_eq!(version.artifacts().count(), 1);
    let place = folder.path().join("inception/1/model.onnx");
    listed(&"0".repeat(64));
    let refused = export(&[]);
    assert_eq!(refused.status.code(), Some(1), "{}", tiny::stderr(&refused));
    assert!(tiny::stderr(&refused).contains("nothing was written"), "{}", tiny::stderr(&refused));
    assert!(!place.exists());
    listed(&entry.sha256);
    assert!(export(&[]).status.success());
    assert_eq!(FileEntry::of(&place).unwrap(), entry);
}

#[test]
fn torchscript_answers_as_the_net_that_it_was_traced_from() {
    let folder = tempfile::tempdir().unwrap();
    for version in [shipped("fashion-mnist"), bird()] {
        let manifest = &version.manifest;
        let (name, input) = (manifest.name.as_str(), &manifest.input);
        let root = project("weights");
        let arguments = ["export", name, "1", "--format", "torchscript", "--output", "net.pt", "--weights"];
        let written = tiny::model(folder.path(), &[&arguments[..], &[root.to_str().unwrap()]].concat());
        assert!(written.status.success(), "{}", tiny::stderr(&written));
        let file = fs::read(folder.path().join("net.pt")).unwrap();

        let pixels = pixels(3, input.size, input.channels);
        let batch: Vec<&Pixels> = pixels.iter().collect();
        let expected = Predictor::load(&version, Device::Cpu).unwrap().logits(&batch).unwrap();
        let mut traced =
            TorchScript::load("net.pt", &file, input, manifest.classes.outputs, Device::Cpu).unwrap();
        for at in [0..3, 0..1, 1..3] {
            let found = traced.logits(&batch[at.clone()]).unwrap();
            for (found, expected) in found.iter().flatten().zip(expected[at].iter().flatten()) {
                assert!((found - expected).abs() <= 1e-4, "{name}: {found}, not {expected}");
            }
        }
    }
}
