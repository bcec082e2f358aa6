//! Each reader of a file that others wrote, given any bytes: what it takes has to make sense, and what it refuses it refuses by an
//! error. Fuzzing calls these (`fuzz_targets/`), and a test of the crate model gives them every file in `seeds/`.

use std::path::Path;

use model_core::presets::{Colours, Preset, config as net_config, hugging_face, torchvision};
use model_core::{Preprocessor, Scorer};
use registry::Manifest;

/// A version's manifest. One that is taken can be used, and comes back from what is written of it.
pub(crate) fn manifest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path = Path::new("manifest.yaml");
    let Ok(manifest) = Manifest::from_yaml(text, path) else { return };
    let written = manifest.to_yaml(path).expect("what was read can be written");
    let again = Manifest::from_yaml(&written, path).expect("what was written can be read");
    assert_eq!(again, manifest, "{written}");
    drop(Preprocessor::new(&manifest).expect("a manifest is held to what can be prepared"));
    drop(Scorer::new(&manifest));
}

/// An ONNX file.
pub(crate) fn onnx(bytes: &[u8]) {
    let Ok(summary) = model_openvino::onnx::read(bytes) else { return };
    assert!(!summary.outputs.is_empty());
    for side in summary.inputs.iter().chain(&summary.outputs) {
        assert!(side.name.len() <= 3 * bytes.len(), "a name longer than its file");
        assert!(side.shape.iter().flatten().flatten().all(|&length| length > 0));
    }
}

/// A `preprocessor_config.json`, by itself and beside a `config.json` that says the kind of net.
pub(crate) fn preprocessor(bytes: &[u8]) {
    for model_type in [None, Some("vit"), Some("convnext"), Some("efficientnet")] {
        let read = hugging_face::read(bytes, model_type);
        read.map_or_else(|error| sentence(&error), |preset| sensible(&preset));
    }
}

/// A `config.json`.
pub(crate) fn config(bytes: &[u8]) {
    match net_config::read(bytes) {
        Ok(config) => {
            config
                .labels
                .map_or_else(|error| sentence(&error), |labels| assert!(labels.len() <= bytes.len()));
            config.activation.err().iter().for_each(|error| sentence(error));
            config.preset.iter().for_each(sensible);
        }
        Err(error) => sentence(&error),
    }
}

/// A name of a set of weights.
pub(crate) fn preset(bytes: &[u8]) {
    let Ok(name) = std::str::from_utf8(bytes) else { return };
    torchvision::find(name).map_or_else(|error| sentence(&error), |preset| sensible(&preset));
}

/// What was taken can be, whatever else is said of the image.
fn sensible(preset: &Preset) {
    if let Ok(size) = &preset.size {
        assert!(*size > 0);
    }
    if let Ok((_, share)) = &preset.fit {
        assert!(share.is_none_or(|share| share > 0.0 && share <= 1.0), "{share:?}");
    }
    if let Ok(Colours { mean, std }) = &preset.colours {
        assert!([1, 3].contains(&mean.len()) && mean.len() == std.len());
        assert!(
            mean.iter().all(|mean| mean.is_finite()) && std.iter().all(|std| std.is_finite() && *std > 0.0)
        );
    }
    let errors = [preset.size.as_ref().err(), preset.fit.as_ref().err(), preset.interpolation.as_ref().err()];
    errors.into_iter().flatten().chain(preset.colours.as_ref().err()).for_each(|error| sentence(error));
}

/// An error is for people: no book, and nothing that steers their terminal.
fn sentence(error: &str) {
    assert!(!error.is_empty() && error.len() < 2000, "{} bytes", error.len());
    assert!(!error.chars().any(char::is_control), "{error:?}");
}
