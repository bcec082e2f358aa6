//! From a version's folder and an image file to a label, as the command line and the worker do it.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::{bird, inception, other_clothes, pixels, project, shipped};
use model::{Device, DeviceChoice, ModelError, Predictor};
use model_core::{EngineError, ImageLimits, Pixels, Prediction, Preprocessor};
use registry::{Architecture, Content, EngineKind, Manifest};

fn ask(predictor: &Predictor, manifest: &Manifest, file: &[u8]) -> Vec<Prediction> {
    let preprocessor = Preprocessor::new(manifest).unwrap();
    let pixels = preprocessor.decode(file, &ImageLimits::default()).unwrap();
    predictor.predict(&[&pixels]).unwrap()[0].top_k(&manifest.classes, 3)
}

#[test]
fn a_macaw_is_called_a_macaw_as_surely_as_pytorch_says() {
    let golden: BTreeMap<String, Vec<(u32, f32)>> =
        serde_json::from_str(&fs::read_to_string(project("model/tests/golden/samples.json")).unwrap())
            .unwrap();
    assert!(golden.contains_key("scarlet_macaw.webp"));
    let version = bird();
    let predictor = Predictor::load(&version, Device::Cpu).unwrap();
    for (name, expected) in golden {
        let file = fs::read(project("data/samples").join(&name)).unwrap();
        let found = ask(&predictor, &version.manifest, &file);
        println!("{name}: {found:?}, PyTorch with Pillow: {expected:?}");
        assert_eq!(found[0].index, Some(expected[0].0), "{name}");
        assert!((found[0].probability - expected[0].1).abs() < 0.02, "{name}: {found:?}");
        if name == "scarlet_macaw.webp" {
            assert_eq!(found[0].label, "macaw");
        }
    }
}

#[test]
fn a_sandal_is_not_a_bird() {
    let version = bird();
    let predictor = Predictor::load(&version, Device::Cpu).unwrap();
    let file = fs::read(project("data/samples/sandal5.png")).unwrap();
    let found = ask(&predictor, &version.manifest, &file);
    assert_eq!((found[0].label.as_str(), found[0].index), ("not a bird", None));
    assert!(found[0].probability > 0.8 && found[0].probability <= 1.0);
}

#[test]
fn a_sandal_is_a_sandal_in_all_its_clothes_and_so_are_the_others() {
    let version = shipped("fashion-mnist");
    let predictor = Predictor::load(&version, Device::Cpu).unwrap();
    let mut wrong = Vec::new();
    for sample in fs::read_dir(project("data/samples")).unwrap() {
        let path = sample.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let Some(class) = name.chars().last().and_then(|last| last.to_digit(10)) else { continue };
        let image = image::open(&path).unwrap().into_luma8();
        for (clothes, file) in other_clothes(&image) {
            let top = &ask(&predictor, &version.manifest, &file)[0];
            if top.index != Some(class) {
                wrong.push(format!("{name} as {clothes}: {top:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn instances_on_the_same_weights_answer_alike_at_once() {
    let first = Predictor::load(&bird(), Device::Cpu).unwrap();
    let image = pixels(1, 224, 3).remove(0);
    let expected = first.logits(&[&image]).unwrap();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (instance, image) = (first.share(), image.clone());
            std::thread::spawn(move || {
                (0..5).map(|_| instance.logits(&[&image]).unwrap()).collect::<Vec<_>>()
            })
        })
        .collect();
    // They outlive the one that they were made from.
    drop(first);
    for thread in threads {
        assert!(thread.join().unwrap().iter().all(|logits| *logits == expected));
    }
}

#[test]
fn an_image_gets_the_same_answer_in_any_company() {
    let predictor = Predictor::load(&bird(), Device::Cpu).unwrap();
    // More than one pass takes, and not a multiple of it.
    let images = pixels(11, 224, 3);
    let batch: Vec<&Pixels> = images.iter().collect();
    let together = predictor.logits(&batch).unwrap();
    assert_eq!(together.len(), images.len());
    for (image, row) in images.iter().zip(&together) {
        let alone = &predictor.logits(&[image]).unwrap()[0];
        let difference = alone.iter().zip(row).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 1e-4, "logits differ by {difference}");
    }
    // The rows are told apart at all.
    assert_ne!(together[0], together[10]);
    assert!(predictor.predict(&[]).unwrap().is_empty());
}

#[test]
fn probabilities_sum_to_one() {
    let predictor = Predictor::load(&bird(), Device::Cpu).unwrap();
    predictor.warm_up(2).unwrap();
    let images = pixels(1, 224, 3);
    let sum: f32 = predictor.predict(&[&images[0]]).unwrap()[0].probabilities().iter().sum();
    assert!((sum - 1.0).abs() < 1e-4, "{sum}");
}

#[test]
fn an_image_of_another_size_is_named_and_refused() {
    let predictor = Predictor::load(&bird(), Device::Cpu).unwrap();
    let good = &pixels(1, 224, 3)[0];
    for bad in [&pixels(1, 223, 3)[0], &pixels(1, 224, 1)[0]] {
        let error = predictor.predict(&[good, bad]).unwrap_err();
        assert!(matches!(error, EngineError::WrongSize { position: 1, size: 224, .. }), "{error}");
    }
    // Sizes that are right and too little data.
    let hollow = Pixels { data: vec![], ..good.clone() };
    assert!(predictor.predict(&[&hollow]).is_err());
}

#[test]
fn weights_of_another_net_are_refused_by_name() {
    let version = bird();
    let content = version.read(EngineKind::Libtorch).unwrap().unwrap().1;
    let refusal = |architecture, content: &Content| {
        Predictor::from_weights(&version.manifest, architecture, content, Device::Cpu).unwrap_err()
    };
    let error = refusal(Architecture::InceptionV3, &content);
    assert!(matches!(error, ModelError::MissingTensor { .. }), "{error}");

    // Found before a net of so many outputs is made.
    for outputs in [10, u32::MAX] {
        let mut version = version.clone();
        version.manifest.classes.outputs = outputs;
        let error = Predictor::load(&version, Device::Cpu).unwrap_err().to_string();
        assert!(
            error.contains(&format!("\"_fc.bias\" has shape [1000], the net's is [{outputs}]")),
            "{error}"
        );
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    let rewritten = |change: &dyn Fn(&tch::Tensor) -> tch::Tensor| {
        let mut tensors =
            tch::Tensor::read_safetensors(version.path(&version.manifest.artifacts[0])).unwrap();
        let last = tensors.iter_mut().find(|(name, _)| name == "_blocks.3._bn0.bias").unwrap();
        last.1 = change(&last.1);
        tch::Tensor::write_safetensors(&tensors, &path).unwrap();
        refusal(Architecture::EfficientnetLite0, &Content::unchecked(&path).unwrap()).to_string()
    };
    let error = rewritten(&|tensor| tensor.to_kind(tch::Kind::Int64));
    assert!(error.contains("\"_blocks.3._bn0.bias\" holds I64"), "{error}");
    let error = rewritten(&|tensor| tensor.narrow(0, 0, 3).copy());
    assert!(error.contains("\"_blocks.3._bn0.bias\" has shape [3]"), "{error}");

    let damaged = Content { bytes: b"not a safetensors file".to_vec(), ..content };
    let error = refusal(Architecture::EfficientnetLite0, &damaged);
    assert!(matches!(error, ModelError::Weights { .. }), "{error}");
}

#[test]
fn a_file_that_changes_after_its_version_was_opened_is_refused_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let version = inception(folder.path());
    let path = version.path(&version.manifest.artifacts[0]);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = Predictor::load(&version, Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("model.safetensors was tampered with"), "{error}");
}

#[test]
fn cuda_is_resolved_to_itself_or_refused() {
    match DeviceChoice::Cuda.resolve() {
        Ok(device) => assert!(tch::Cuda::is_available() && device == Device::Cuda),
        Err(error) => assert!(!tch::Cuda::is_available() && matches!(error, ModelError::NoCuda), "{error}"),
    }
}
