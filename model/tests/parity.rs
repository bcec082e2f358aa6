//! The nets answer what PyTorch's own answer: logits within 1e-4 of the golden files, through the whole way of serving (weights by
//! name, normalisation folded, channels last).
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod common;

use common::{bird, golden, inception, pixels};
use model::{Device, Pixels, Predictor};

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

#[test]
fn inception_v3_equals_torchvision() {
    let folder = tempfile::tempdir().unwrap();
    let predictor = Predictor::load(&inception(folder.path()), Device::Cpu).unwrap();
    let images = pixels(2, 299, 3);
    assert_close(&predictor.logits(&references(&images)).unwrap(), &golden("inception_v3.json"));
}
