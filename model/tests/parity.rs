//! The nets answer what PyTorch's own answer: logits within 1e-4 of the golden files, through the whole way of serving (weights by
//! name, normalisation folded, channels last).
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod common;

use common::{bird, golden, inception, lite1, lite2, pixels, version};
use model::{Device, Pixels, Predictor, onnx};
use registry::{EngineKind, FileEntry};

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
