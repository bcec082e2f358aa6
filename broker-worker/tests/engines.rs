//! Both engines in one process, as a worker has them: the same version, the same answers.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;

use model::{Predictor, engines};
use model_core::{Engine, EngineError, Pixels};
use model_openvino::{LoadError, OpenVino};
use registry::{Content, EngineKind, Input, Manifest, ModelVersion, Registry};

fn version(name: &str) -> ModelVersion {
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights");
    let version = Registry::open(weights).and_then(|registry| registry.load(name, &"1".parse()?));
    version.unwrap_or_else(|error| panic!("{error}\n(`make setup` fetches the weights)"))
}

fn onnx(version: &ModelVersion) -> Content {
    let found = version.read(EngineKind::Openvino);
    found.unwrap_or_else(|error| panic!("{error}\n(`make test` gets it too)")).unwrap().1
}

fn openvino(version: &ModelVersion) -> OpenVino {
    let content = onnx(version);
    let manifest = &version.manifest;
    OpenVino::load("model.onnx", &content.bytes, &manifest.input, manifest.classes.outputs)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Images in which each pixel differs from its neighbours.
fn images(count: usize, input: &Input) -> Vec<Pixels> {
    let image = |n: usize| {
        let blank = Pixels::black(input.size, input.channels);
        let data = (0..blank.data.len()).map(|at| (at * (31 + n) / 7 % 256) as u8).collect();
        Pixels { data, ..blank }
    };
    (0..count).map(image).collect()
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn each_image_gets_the_answer_of_the_first_artifact_in_any_company() {
    // More than go at once, and not a multiple of it.
    for (name, count) in [("fashion-mnist", 71), ("bird", 6)] {
        let version = version(name);
        let tolerance = version.manifest.artifact(EngineKind::Openvino).unwrap().tolerance.unwrap();
        let images = images(count, &version.manifest.input);
        let batch: Vec<&Pixels> = images.iter().collect();
        let mut first = Predictor::load(&version, model::Device::Cpu).unwrap();
        let mut second = openvino(&version);
        let expected = Engine::logits(&mut first, &batch).unwrap();
        for (at, size) in [(0, count), (0, 1), (1, 2), (count - 3, 3)] {
            let found = second.logits(&batch[at..at + size]).unwrap();
            assert_eq!(found.len(), size);
            for (found, expected) in found.iter().zip(&expected[at..]) {
                let difference = difference(found, expected);
                assert!(difference <= tolerance, "{name}, {size} from {at}: logits differ by {difference}");
            }
        }
        assert!(
            difference(&expected[0], &expected[1]) > 100.0 * tolerance,
            "the images are told apart at all"
        );
        assert!(second.logits(&[]).unwrap().is_empty());
    }
}

#[test]
fn instances_of_both_engines_answer_at_once_and_outlive_the_first() {
    let version = version("bird");
    let image = images(1, &version.manifest.input).remove(0);
    let first = [
        Box::new(Predictor::load(&version, model::Device::Cpu).unwrap()) as Box<dyn Engine>,
        Box::new(openvino(&version)),
    ];
    let threads: Vec<_> = (0..4)
        .map(|at| {
            let (mut engine, image) = (first[at % 2].share().unwrap(), image.clone());
            std::thread::spawn(move || {
                engine.warm_up(3).unwrap();
                (0..5).map(|_| engine.logits(&[&image]).unwrap().remove(0)).collect::<Vec<_>>()
            })
        })
        .collect();
    drop(first);
    let answers: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(answers.len(), 20);
    assert!(answers.iter().all(|answer| difference(answer, &answers[0]) <= 1e-4));
}

#[test]
fn a_net_that_is_not_the_one_described_is_refused_before_it_is_computed() {
    let version = version("fashion-mnist");
    let content = onnx(&version);
    let (input, outputs) = (&version.manifest.input, version.manifest.classes.outputs);
    let load =
        |input: &Input, outputs| OpenVino::load("it.onnx", &content.bytes, input, outputs).unwrap_err();
    let colour = Input { channels: 3, mean: vec![0.0; 3], std: vec![1.0; 3], ..input.clone() };
    for (error, words) in [
        (
            load(&Input { size: 32, ..input.clone() }, outputs),
            "input has the shape [N, 1, 28, 28], not [N, 1, 32, 32]",
        ),
        (load(&colour, outputs), "not [N, 3, 28, 28]"),
        (load(input, outputs + 1), "output has the shape [N, 11], not [N, 12]"),
    ] {
        let text = error.to_string();
        assert!(matches!(error, LoadError::OtherNet { .. }) && text.contains(words), "{text}");
        assert!(text.starts_with("it.onnx is not what its manifest says: "), "{text}");
    }
    for damaged in [&b"not ONNX"[..], b"", &content.bytes[..content.bytes.len() / 2]] {
        let error = OpenVino::load("it.onnx", damaged, input, outputs).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("it.onnx can't be used: it is no ONNX file"), "{text}");
    }
}

#[test]
fn an_image_of_another_size_is_refused_by_its_place() {
    let version = version("fashion-mnist");
    let mut engine = openvino(&version);
    let good = images(1, &version.manifest.input).remove(0);
    let error = engine.logits(&[&good, &Pixels::black(27, 1)]).unwrap_err();
    assert!(matches!(error, EngineError::WrongSize { position: 1, size: 28, .. }), "{error}");
    assert!(engine.logits(&[&good]).is_ok(), "and the engine goes on");
}

#[test]
fn a_torchscript_net_that_fails_answers_the_next_batch_and_its_instances_and_other_engines_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "{schema: 1, name: m, version: 1, artifacts: [{engine: torchscript, file: model.pt, precision: f32}],
        classes: {outputs: 4, labels: [{index: 0, label: red}]}, license: MIT, origin: a test,
        input: {size: 8, channels: 3, fit: stretch, mean: [0, 0, 0], std: [255, 255, 255]},
        files: {model.pt: {size: 0, sha256: %}}}";
    let manifest = Manifest::from_yaml(&text.replace('%', &"0".repeat(64)), Path::new("manifest")).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/torchscript/faulty.pt");
    let bytes = std::fs::read(file).unwrap();
    let version = Registry::at(folder.path()).unwrap().publish(manifest, &[("model.pt", &bytes)]).unwrap();
    let mut first = engines::load(&version, EngineKind::Torchscript, model::Device::Cpu).unwrap();

    let mut colours =
        [[255, 0, 0], [0, 255, 0]].map(|colour| Pixels { data: colour.repeat(64), ..Pixels::black(8, 3) });
    let expected = |engine: &mut dyn Engine, green: &Pixels| {
        let found = engine.logits(&[green]).unwrap().remove(0);
        assert!(difference(&found, &[-3.0, 9.0, -3.0, -6.0]) < 1e-5, "{found:?}");
    };
    let mut other = openvino(&self::version("fashion-mnist"));
    let clothes = Pixels::black(28, 1);
    let before = other.logits(&[&clothes]).unwrap();
    let [red, green] = &mut colours;
    for _ in 0..3 {
        let error = first.logits(&[green, red]).unwrap_err();
        assert!(matches!(error, EngineError::Compute(_)), "{error}");
        expected(&mut *first, green);
        assert_eq!(other.logits(&[&clothes]).unwrap(), before);
    }
    // On the same weights, at once, one of them failing.
    let (red, green) = (&*red, &*green);
    std::thread::scope(|scope| {
        for n in 0..4 {
            let mut engine = first.share().unwrap();
            scope.spawn(move || {
                for _ in 0..20 {
                    if n == 0 {
                        assert!(engine.logits(&[red]).is_err());
                    } else {
                        expected(&mut *engine, green);
                    }
                }
            });
        }
    });
    // A file that is exchanged is never loaded.
    std::fs::write(folder.path().join("m/1/model.pt"), &bytes[1..]).unwrap();
    let error =
        engines::load(&version, EngineKind::Torchscript, model::Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("model.pt is truncated"), "{error}");
}
