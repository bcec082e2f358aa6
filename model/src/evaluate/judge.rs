//! One image's answer beside what it shows.

use std::borrow::Cow;
use std::collections::HashMap;

use model_core::{Pixels, Prediction, Scorer, Scores};
use registry::{Activation, Class, Classes, Manifest};

use super::reliability::Sure;
use crate::calibration::log_loss;

/// So many answers are kept of each image: what "top-5" looks at.
const KEPT: usize = 5;
/// The least probability that a loss is taken of where a net gives probabilities itself: its logarithm would be without bounds.
const LEAST: f64 = 1e-7;

/// What an image shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// A class, by its place among the manifest's labels.
    Class(usize),
    /// None of the classes.
    Other,
}

/// What is known of an image's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The image's place among those that were shown.
    pub image: usize,
    /// What it shows.
    pub truth: Truth,
    /// The first answer, as it is served: a class's place, or none for "none of these".
    pub answer: Option<usize>,
    /// The first answers as they are served, five at most.
    pub predictions: Vec<Prediction>,
    /// Whether its class is the likeliest, and among the five likeliest, whether or not it is called none of them.
    pub top: [bool; 2],
    /// How sure the net is without a temperature; none where it knows nothing of the image, or that shows none of the classes.
    pub before: Option<Sure>,
    /// The same with the manifest's temperature.
    pub after: Option<Sure>,
}

impl Judgement {
    /// Whether the answer is what the image shows.
    #[must_use]
    pub fn is_right(&self) -> bool {
        match self.truth {
            Truth::Class(place) => self.answer == Some(place),
            Truth::Other => self.answer.is_none(),
        }
    }

    /// The probability of the first answer.
    #[must_use]
    pub fn probability(&self) -> f32 {
        self.predictions.first().map_or(0.0, |prediction| prediction.probability)
    }
}

/// Makes judgements of a net's outputs.
#[derive(Debug)]
pub(super) struct Judge {
    scorer: Scorer,
    /// The label's place of each output that is one.
    places: HashMap<u32, usize>,
    /// Without the manifest's temperature, where it has one.
    plain: Option<Classes>,
}

impl Judge {
    pub(super) fn new(manifest: &Manifest) -> Self {
        let classes = &manifest.classes;
        let places = classes.labels.iter().enumerate().map(|(place, class)| (class.index, place)).collect();
        let plain = classes.calibration.map(|_| Classes { calibration: None, ..classes.clone() });
        Self { scorer: Scorer::new(manifest), places, plain }
    }

    pub(super) fn classes(&self) -> &Classes {
        self.scorer.classes()
    }

    /// Of an image's outputs, `[outputs]`.
    pub(super) fn judge(&self, image: usize, truth: Truth, pixels: &Pixels, logits: &[f32]) -> Judgement {
        let classes = self.classes();
        let scores = self.scorer.scores(pixels, logits.to_vec());
        // One more, since "none of these" is none of the classes.
        let mut predictions = scores.top_k(classes, KEPT + 1);
        let place =
            |prediction: &Prediction| prediction.index.and_then(|index| self.places.get(&index).copied());
        let ranked: Vec<usize> = predictions.iter().filter_map(place).collect();
        let is_among = |count: usize| ranked.iter().take(count).any(|&place| truth == Truth::Class(place));
        let top = [is_among(1), is_among(KEPT)];
        let answer = predictions.first().and_then(place);
        predictions.truncate(KEPT);
        let knows_nothing = scores.probabilities().iter().all(|&probability| probability == 0.0);
        let (before, after) = match truth {
            Truth::Class(truth) if !knows_nothing => {
                let after = sure(logits, truth, classes);
                (self.plain.as_ref().map_or(after, |plain| sure(logits, truth, plain)), after)
            }
            _ => (None, None),
        };
        Judgement { image, truth, answer, predictions, top, before, after }
    }
}

/// How sure outputs are, `[outputs]`, of an image of the class at the place `truth` among the labels.
pub(super) fn sure(logits: &[f32], truth: usize, classes: &Classes) -> Option<Sure> {
    let scores = Scores::calibrated(logits.to_vec(), classes);
    let probability = |index: u32| scores.probabilities().get(index as usize).copied().unwrap_or(0.0);
    let order = |a: &&Class, b: &&Class| {
        probability(a.index).total_cmp(&probability(b.index)).then(b.index.cmp(&a.index))
    };
    let (label, likeliest) = (classes.labels.get(truth)?.index, classes.labels.iter().max_by(order)?.index);
    let loss = match classes.activation {
        Activation::None => Some(-f64::from(probability(label)).max(LEAST).ln()),
        activation => exclusive(logits, activation).and_then(|logits| {
            let temperature =
                classes.calibration.map_or(1.0, |calibration| f64::from(calibration.temperature));
            ((label as usize) < logits.len()).then(|| log_loss(&logits, label as usize, temperature))
        }),
    };
    Some(Sure { confidence: f64::from(probability(likeliest)), is_right: likeliest == label, loss })
}

/// The outputs between which a label is one, where softmax or sigmoid makes probabilities of them that exclude each other.
pub(super) fn exclusive(logits: &[f32], activation: Activation) -> Option<Cow<'_, [f32]>> {
    match (activation, logits) {
        (Activation::Softmax, _) => Some(Cow::Borrowed(logits)),
        // Softmax over 0 and it is the sigmoid.
        (Activation::Sigmoid, &[second]) => Some(Cow::Owned(vec![0.0, second])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use registry::{Calibration, Fit, Reject};

    use super::*;

    /// Three outputs of which two are classes, the second label first.
    fn classes(activation: Activation, temperature: Option<f32>) -> Classes {
        let class = |index, label: &str| Class { index, label: label.into() };
        Classes {
            outputs: 3,
            activation,
            labels: vec![class(2, "owl"), class(0, "hen")],
            reject: Some(Reject { label: "no bird".into(), threshold: 0.5 }),
            calibration: temperature.map(|temperature| Calibration { temperature }),
        }
    }

    fn judge(classes: &Classes, truth: Truth, logits: &[f32]) -> Judgement {
        let places = classes.labels.iter().enumerate().map(|(place, class)| (class.index, place)).collect();
        let plain = classes.calibration.map(|_| Classes { calibration: None, ..classes.clone() });
        let judge = Judge { scorer: Scorer::of(classes.clone(), Fit::Stretch), places, plain };
        let pixels = Pixels { width: 1, height: 1, channels: 1, data: vec![9] };
        judge.judge(7, truth, &pixels, logits)
    }

    #[test]
    fn an_answer_is_judged_as_it_is_served() {
        let classes = classes(Activation::Softmax, Some(2.0));
        // Of e^1, e^0 and e^0.5 at temperature 2 the hen has a half, and both birds 0.79.
        let hen = judge(&classes, Truth::Class(1), &[2.0, 0.0, 1.0]);
        assert!(hen.is_right() && hen.top == [true; 2] && hen.answer == Some(1));
        let (before, after) = (hen.before.unwrap(), hen.after.unwrap());
        assert!((before.confidence - 0.665_241).abs() < 1e-5, "{before:?}");
        assert!((after.confidence - 0.506_480).abs() < 1e-5, "{after:?}");
        assert!((after.loss.unwrap() + 0.506_480_4_f64.ln()).abs() < 1e-5 && after.is_right);
        assert_eq!(hen.predictions.len(), 2);
        let owl = judge(&classes, Truth::Class(0), &[2.0, 0.0, 1.0]);
        assert!(!owl.is_right() && owl.top == [false, true] && owl.answer == Some(1));
        assert!((owl.before.unwrap().loss.unwrap() + 0.244_728_5_f64.ln()).abs() < 1e-5);
    }

    #[test]
    fn none_of_these_is_wrong_for_a_class_and_right_for_others() {
        let classes = classes(Activation::Softmax, None);
        let own = judge(&classes, Truth::Class(1), &[1.0, 5.0, 0.0]);
        // The likeliest bird is right all the same.
        assert!(!own.is_right() && own.answer.is_none() && own.top == [true; 2]);
        assert!(own.probability() > 0.9 && own.after.unwrap().confidence < 0.1);
        assert_eq!(own.before, own.after);
        let other = judge(&classes, Truth::Other, &[1.0, 5.0, 0.0]);
        assert!(other.is_right() && other.after.is_none() && other.top == [false; 2]);
        assert!(!judge(&classes, Truth::Other, &[5.0, 1.0, 0.0]).is_right());
    }

    #[test]
    fn losses_are_of_what_excludes_each_other() {
        let loss = |activation, logits: &[f32]| sure(logits, 1, &classes(activation, None)).unwrap().loss;
        assert_eq!(loss(Activation::Sigmoid, &[1.0, 0.0, 2.0]), None);
        assert!((loss(Activation::None, &[0.25, 0.5, 0.25]).unwrap() - 4.0_f64.ln()).abs() < 1e-9);
        // Never without bounds.
        assert!(loss(Activation::None, &[0.0, 0.5, 0.5]).unwrap() < 17.0);
        let labels = vec![Class { index: 0, label: "no".into() }, Class { index: 1, label: "yes".into() }];
        let two = Classes { outputs: 1, labels, ..classes(Activation::Sigmoid, None) };
        let yes = sure(&[3.0_f32.ln()], 1, &two).unwrap();
        assert!((yes.confidence - 0.75).abs() < 1e-6 && (yes.loss.unwrap() + 0.75_f64.ln()).abs() < 1e-6);
    }
}
