//! The nets answer what PyTorch's own answer: logits within 1e-4 of the golden files, through the whole way of serving (weights by
//! name, normalisation folded, channels last).
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod common;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{bird, golden, inception, lite1, lite2, pixels, project, version};
use model::{Device, ImageLimits, Pixels, Predictor, Preprocessor, onnx};
use registry::{EngineKind, FileEntry, ModelVersion};

const TOLERANCE: f32 = 1e-4;

fn assert_close(found: &[Vec<f32>], expected: &[Vec<f32>]) {
    assert_eq!(found.len(), expected.len());
    for (image, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len());
        let difference = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference <= TOLERANCE, "image {image}: logits differ by up to {difference}");
    }
}

fn references(pixels: &[Pixels]) -> Vec<&Pixels> {
    pixels.iter().collect()
}

#[test]
fn efficientnet_lite0_equals_pytorch() {
    let predictor = Predictor::load(&bird(), Device::Cpu).unwrap();
    let images = pixels(2, 224, 3);
    assert_close(&predictor.logits(&references(&images)).unwrap(), &golden("lite0.json"));
}

/// Sides of 15 and of 65, 33, 17 and 9 pixels among their layers': `SAME` extends those otherwise than even ones.
#[test]
fn efficientnet_lite1_and_lite2_equal_pytorch() {
    let folder = tempfile::tempdir().unwrap();
    for (version, size, file) in
        [(lite1(folder.path()), 240, "lite1.json"), (lite2(folder.path()), 260, "lite2.json")]
    {
        let predictor = Predictor::load(&version, Device::Cpu).unwrap();
        let images = pixels(2, size, 3);
        assert_close(&predictor.logits(&references(&images)).unwrap(), &golden(file));
    }
}

#[test]
#[ignore = "its weights are fetched on demand: make test-more"]
fn bird_version_2_equals_pytorch_and_its_onnx_file_is_the_one_that_the_manifest_names() {
    let version = version("bird", 2);
    let images = pixels(2, 260, 3);
    let logits = Predictor::load(&version, Device::Cpu).unwrap().logits(&references(&images)).unwrap();
    // What PyTorch answers with the weights as they were published, every tenth number of it.
    let tenth = |row: &Vec<f32>| row.iter().step_by(10).copied().collect();
    assert_close(&logits.iter().map(tenth).collect::<Vec<_>>(), &golden("bird2.json"));

    let artifact = version.manifest.artifact(EngineKind::Openvino).unwrap();
    let entry = FileEntry::of_bytes(&onnx::export(&version).unwrap());
    assert_eq!(entry, version.manifest.files[&artifact.file]);
}

#[test]
fn inception_v3_equals_torchvision() {
    let folder = tempfile::tempdir().unwrap();
    let predictor = Predictor::load(&inception(folder.path()), Device::Cpu).unwrap();
    let images = pixels(2, 299, 3);
    assert_close(&predictor.logits(&references(&images)).unwrap(), &golden("inception_v3.json"));
}

/// Photographs for those who have some: `MLAAS_BIRDS/<any>/*`.
///
/// # Panics
/// Without any: a test that was not run has not passed. `make test-more` leaves it out then, and says so.
fn photographs() -> Vec<PathBuf> {
    let folder = std::env::var_os("MLAAS_BIRDS").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| panic!("MLAAS_BIRDS has to name a folder of photographs"));
    let list = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    };
    let mut files: Vec<PathBuf> = list(&folder).iter().flat_map(|species| list(species)).collect();
    files.sort();
    assert!(!files.is_empty(), "there is no photograph in the folders of {}", folder.display());
    files
}

/// From the file to the label, decoding and resizing included. Birds of no class of the net's have several likeliest ones: what both are sure
/// of to 30 % tells whether they do the same.
#[test]
#[ignore = "takes minutes, and photographs that are not the project's: make test-more"]
fn photographs_get_the_first_label_that_python_gives_them() {
    let files = photographs();
    let mut wrong = Vec::new();
    for (version, resized) in [(bird(), 256), (version("bird", 2), 292)] {
        let expected = python(&version, resized, &files);
        let found = ours(&version, &files);
        assert_eq!((expected.len(), found.len()), (files.len(), files.len()));
        // Of all, and of those that Python is sure of: how many, and how many get another label.
        let (mut all, mut sure) = ((0, 0), (0, 0));
        let mut apart = 0.0_f32;
        for ((file, found), (first, share, next)) in files.iter().zip(found).zip(expected) {
            let other = usize::from(found != first);
            all = (all.0 + 1, all.1 + other);
            if share >= 0.3 {
                sure = (sure.0 + 1, sure.1 + other);
            }
            if found != first {
                apart = apart.max(share - next);
                println!("{}: {found}, not {first} ({share:.4}; its next {next:.4})", file.display());
            }
        }
        let same = |(count, others): (usize, usize)| 1.0 - others as f64 / count.max(1) as f64;
        let said = format!(
            "bird {}: the same first label in {:.4} of {} photographs, and in {:.4} of the {} that Python is sure of to 30 %; elsewhere its \
             first two are within {apart:.4}",
            version.manifest.version,
            same(all),
            all.0,
            same(sure),
            sure.0
        );
        println!("{said}");
        if same(sure) < 0.995 || same(all) < 0.98 {
            wrong.push(said);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn ours(version: &ModelVersion, files: &[PathBuf]) -> Vec<usize> {
    let preprocessor = Preprocessor::new(&version.manifest).unwrap();
    let predictor = Predictor::load(version, Device::Cpu).unwrap();
    let first = |file: &PathBuf| {
        let pixels = preprocessor.decode(&fs::read(file).unwrap(), &ImageLimits::default()).unwrap();
        let logits = predictor.logits(&[&pixels]).unwrap().remove(0);
        (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()
    };
    files.iter().map(first).collect()
}

fn python(version: &ModelVersion, resized: u32, files: &[PathBuf]) -> Vec<(usize, f32, f32)> {
    let folder = tempfile::tempdir().unwrap();
    let net = folder.path().join("net.onnx");
    fs::write(&net, onnx::export(version).unwrap()).unwrap();
    let input = &version.manifest.input;
    let python = project(".deps/python/bin/python3");
    assert!(python.is_file(), "{} is missing: `make test` or `cargo xtask setup` makes it", python.display());
    let mut script = Command::new(python)
        .arg(project("model/tests/peer/classify.py"))
        .arg(net)
        .args([input.size, resized].map(|side| side.to_string()))
        .args([input.mean[0], input.std[0]].map(|value| value.to_string()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It reads all before it writes anything.
    let mut names = script.stdin.take().unwrap();
    for file in files {
        writeln!(names, "{}", file.display()).unwrap();
    }
    drop(names);
    let output = script.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
