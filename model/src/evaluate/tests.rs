//! Figures against values computed by hand, from an engine whose outputs are known.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use model_core::{Engine, EngineError, Pixels};
use registry::{
    Activation, Architecture, Artifact, Calibration, Class, Classes, Fit, Input, Interpolation, Layout,
    Manifest, Order, Polarity, Reject, Schema,
};

use super::*;

const SIDE: usize = 4;

/// Answers an image by the value of its first pixel.
#[derive(Clone)]
struct Known(&'static [[f32; 4]]);

impl Engine for Known {
    fn logits(&mut self, batch: &[&Pixels]) -> Result<Vec<Vec<f32>>, EngineError> {
        let rows: Vec<[f32; 4]> = batch.iter().map(|pixels| self.0[usize::from(pixels.data[0])]).collect();
        match rows.iter().position(|row| row.iter().any(|value| value.is_nan())) {
            Some(position) => Err(EngineError::NotANumber { position }),
            None => Ok(rows.iter().map(|row| row.to_vec()).collect()),
        }
    }

    fn warm_up(&mut self, _: usize) -> Result<(), EngineError> {
        Ok(())
    }

    fn share(&self) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(self.clone()))
    }
}

/// Answers when so many instances of it compute at once, and fails where they never do.
#[derive(Clone)]
struct Together {
    instances: usize,
    computing: Arc<(Mutex<usize>, Condvar)>,
}

impl Engine for Together {
    fn logits(&mut self, batch: &[&Pixels]) -> Result<Vec<Vec<f32>>, EngineError> {
        let (computing, one_more) = &*self.computing;
        let mut computing = computing.lock().unwrap();
        *computing += 1;
        one_more.notify_all();
        let few = |computing: &mut usize| *computing < self.instances;
        let waited = one_more.wait_timeout_while(computing, Duration::from_secs(60), few).unwrap().1;
        if waited.timed_out() {
            return Err(EngineError::Compute("it computes alone".into()));
        }
        Known(&ROWS).logits(batch)
    }

    fn warm_up(&mut self, _: usize) -> Result<(), EngineError> {
        Ok(())
    }

    fn share(&self) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(self.clone()))
    }
}

/// Three classes and a fourth output, which is none of them.
fn manifest(temperature: Option<f32>) -> Manifest {
    let class = |(index, label): (u32, &str)| Class { index, label: label.into() };
    Manifest {
        schema: Schema::default(),
        name: "known".into(),
        version: 1,
        artifacts: vec![Artifact::libtorch("model.safetensors", Architecture::FashionCnn)],
        classes: Classes {
            outputs: 4,
            activation: Activation::Softmax,
            labels: [(0, "hen"), (1, "owl"), (2, "duck")].map(class).to_vec(),
            reject: Some(Reject { label: "no bird".into(), threshold: 0.5 }),
            calibration: temperature.map(|temperature| Calibration { temperature }),
        },
        input: Input {
            size: SIDE as u32,
            channels: 1,
            order: Order::Rgb,
            layout: Layout::Nchw,
            fit: Fit::Stretch,
            crop: None,
            interpolation: Interpolation::Bilinear,
            polarity: Polarity::AsIs,
            mean: vec![0.0],
            std: vec![1.0],
        },
        metrics: vec![],
        parents: vec![],
        data: vec![],
        configuration: None,
        samples: Vec::new(),
        license: "CC0-1.0".into(),
        origin: "made up".into(),
        files: [].into(),
    }
}

/// Images of one value each: `(value, label)`.
fn data(images: &[(u8, u8)]) -> Dataset {
    Dataset {
        rows: SIDE,
        columns: SIDE,
        pixels: images.iter().flat_map(|&(value, _)| [value; SIDE * SIDE]).collect(),
        labels: images.iter().map(|&(_, label)| label).collect(),
    }
}

fn measured(
    rows: &'static [[f32; 4]],
    images: &[(u8, u8)],
    temperature: Option<f32>,
    fit: bool,
) -> Result<Evaluated, EvaluateError> {
    let (data, manifest) = (data(images), manifest(temperature));
    let images = Images::of_dataset(&data, "known", &manifest.classes).unwrap();
    measure(&Known(rows), &manifest, &images, 2, fit, &mut |_| {})
}

/// Outputs of which softmax makes 6/8 for the hen, 1/8 for owl and none of these; 6/8 for the owl; and 6/8 for none of them.
const ROWS: [[f32; 4]; 4] = [
    [1.791_759_5, 0.0, -99.0, 0.0],
    [0.0, 1.791_759_5, -99.0, 0.0],
    [0.0, 0.0, -99.0, 1.791_759_5],
    [f32::NAN; 4],
];

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
}

#[test]
fn all_instances_compute_at_once() {
    let (data, manifest) = (data(&[(0, 0); 6]), manifest(None));
    let images = Images::of_dataset(&data, "known", &manifest.classes).unwrap();
    let engine = Together { instances: 3, computing: Arc::default() };
    let evaluated = measure(&engine, &manifest, &images, 3, false, &mut |_| {}).unwrap();
    assert_eq!(evaluated.evaluation.correct, 6);
}

#[test]
fn figures_are_those_computed_by_hand() {
    // Four hens, of which one is taken for an owl and one for no bird; two owls named so; no duck.
    let images = [(0, 0), (0, 0), (1, 0), (2, 0), (1, 1), (1, 1)];
    let Evaluated { evaluation, judgements } = measured(&ROWS, &images, None, false).unwrap();
    assert_eq!((evaluation.images, evaluation.correct, judgements.len()), (6, 4, 6));
    close(evaluation.accuracy, 4.0 / 6.0);
    assert_eq!(evaluation.accuracy_interval, wilson(4, 6));
    // The hen that is called no bird is as likely an owl: the first of the two counts.
    close(evaluation.top1, 5.0 / 6.0);
    close(evaluation.top5, 1.0);
    let rejected = evaluation.rejected.unwrap();
    assert_eq!((rejected.images, rejected.of, evaluation.others), (1, 6, None));
    close(evaluation.selective_accuracy.unwrap(), 4.0 / 5.0);
    assert_eq!(evaluation.confusion.images, [[2, 1, 0, 1], [0, 2, 0, 0], [0, 0, 0, 0]]);
    let pair = Pair { truth: 0, answer: Some(1), images: 1 };
    assert_eq!(evaluation.confusion.pairs(), [Pair { answer: None, ..pair }, pair]);
    let figures: Vec<_> =
        evaluation.classes.iter().map(|c| (c.images, c.named, c.recall, c.precision, c.f1)).collect();
    assert_eq!(figures[0], (4, 2, Some(0.5), Some(1.0), Some(4.0 / 6.0)));
    assert_eq!(figures[1], (2, 3, Some(1.0), Some(2.0 / 3.0), Some(4.0 / 5.0)));
    assert_eq!(figures[2], (0, 0, None, None, None));
    close(evaluation.macro_average.recall, 0.75);
    close(evaluation.macro_average.precision, 5.0 / 6.0);
    close(evaluation.macro_average.f1, (4.0 / 6.0 + 4.0 / 5.0) / 2.0);
    // Four times 6/8, twice 1/8.
    close(evaluation.loss.unwrap(), -(4.0 * 0.75_f64.ln() + 2.0 * 0.125_f64.ln()) / 6.0);
    let curve = evaluation.calibration.before.unwrap();
    // Five say 0.75 and four are right; one says 1/8 and is.
    close(curve.error, ((5.0 * 0.75 - 4.0_f64).abs() + (0.125 - 1.0_f64).abs()) / 6.0);
    assert_eq!((evaluation.calibration.after, evaluation.calibration.temperature), (None, None));
}

#[test]
fn a_temperature_is_told_before_and_after_and_fitted_on_request() {
    const SURE: [[f32; 4]; 2] = [[8.0, 0.0, -99.0, -99.0], [0.0, 8.0, -99.0, -99.0]];
    // Right in three of four: ln 3 is what it should say, not 8.
    let images = [(0, 0), (0, 0), (0, 0), (1, 0)];
    let Evaluated { evaluation, .. } = measured(&SURE, &images, Some(2.0), true).unwrap();
    let Calibrated { before, temperature, after, fitted } = evaluation.calibration;
    let say = |power: f64| 1.0 / (1.0 + (-power).exp());
    let loss = |power: f64| -(3.0 * say(power).ln() + (1.0 - say(power)).ln()) / 4.0;
    assert_eq!(temperature, Some(2.0));
    for (curve, power) in [(before.unwrap(), 8.0), (after.unwrap(), 4.0)] {
        assert!((curve.error - (say(power) - 0.75)).abs() < 1e-6, "{curve:?}");
        assert!((curve.loss.unwrap() - loss(power)).abs() < 1e-6, "{curve:?}");
    }
    close(evaluation.loss.unwrap(), loss(4.0));
    let Fitted { temperature, reliability } = fitted.unwrap();
    assert!((temperature - 8.0 / 3.0_f64.ln()).abs() < 1e-3, "{temperature}");
    assert!(reliability.error < 1e-4 && reliability.loss.unwrap() < loss(4.0), "{reliability:?}");
}

#[test]
fn an_image_without_numbers_is_told_and_spoils_no_other() {
    let images = [(0, 0), (3, 0), (1, 1), (3, 1), (0, 0)];
    let Evaluated { evaluation, judgements } = measured(&ROWS, &images, None, false).unwrap();
    assert_eq!((evaluation.images, evaluation.correct), (3, 3));
    let failed: Vec<_> = evaluation.failed.iter().map(|f| (f.image, f.file.as_str())).collect();
    assert_eq!(failed, [(1, "known/1"), (3, "known/3")]);
    assert!(evaluation.failed[0].reason.contains("no number"), "{:?}", evaluation.failed);
    assert_eq!(judgements.iter().map(|judgement| judgement.image).collect::<Vec<_>>(), [0, 2, 4]);
    let error = measured(&ROWS, &[(3, 0), (3, 2)], None, false).unwrap_err().to_string();
    assert!(error.contains("none of the 2 images") && error.contains("known/0"), "{error}");
}

#[test]
fn one_image_is_enough() {
    let Evaluated { evaluation, .. } = measured(&ROWS, &[(1, 1)], None, true).unwrap();
    assert_eq!((evaluation.accuracy, evaluation.images), (1.0, 1));
    assert!(evaluation.accuracy_interval[0] < 0.21 && evaluation.accuracy_interval[1] == 1.0);
}
