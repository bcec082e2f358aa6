//! A net's answer to one image, and the most likely classes in it.

use registry::{Activation, Classes};

/// The probability of each class that the net's outputs mean. By softmax they sum to 1, or are all 0 where there is nothing to name in
/// the image.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores(Vec<f32>);

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The class's name for people.
    pub label: String,
    /// The output's number; none where the answer is that the image is none of the classes.
    pub index: Option<u32>,
    /// From 0 to 1.
    pub probability: f32,
}

impl Scores {
    /// Wraps probabilities, one for each output of the net.
    #[must_use]
    pub fn new(probabilities: Vec<f32>) -> Self {
        Self(probabilities)
    }

    /// The probabilities that the net's outputs mean: e to the output, as a share of the sum of all.
    #[must_use]
    pub fn softmax(mut logits: Vec<f32>) -> Self {
        // Less the largest, so that no power is beyond a float.
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0_f64;
        for value in &mut logits {
            *value = (*value - largest).exp();
            sum += f64::from(*value);
        }
        logits.iter_mut().for_each(|value| *value = (f64::from(*value) / sum) as f32);
        Self(logits)
    }

    /// The probabilities of classes that do not exclude each other: `1 / (1 + exp(-output))` each. One output is two classes that do.
    #[must_use]
    pub fn sigmoid(logits: Vec<f32>) -> Self {
        Self::each(logits.into_iter().map(|value| 1.0 / (1.0 + (-value).exp())).collect())
    }

    /// Probabilities by themselves; a single one is that of the second of two classes.
    fn each(probabilities: Vec<f32>) -> Self {
        match probabilities[..] {
            [second] => Self(vec![1.0 - second, second]),
            _ => Self(probabilities),
        }
    }

    /// What the net's outputs mean for these classes, by `classes.activation`, after they are divided by the temperature of
    /// `classes.calibration`.
    #[must_use]
    pub fn calibrated(mut logits: Vec<f32>, classes: &Classes) -> Self {
        if let Some(calibration) = classes.calibration {
            logits.iter_mut().for_each(|value| *value /= calibration.temperature);
        }
        match classes.activation {
            Activation::Softmax => Self::softmax(logits),
            Activation::Sigmoid => Self::sigmoid(logits),
            // What is rounded may be a little beyond.
            Activation::None => Self::each(logits.into_iter().map(|value| value.clamp(0.0, 1.0)).collect()),
        }
    }

    /// The probability of each class.
    #[must_use]
    pub fn probabilities(&self) -> &[f32] {
        &self.0
    }

    /// The `k` most likely classes, the likeliest first. Where their probabilities sum to less than the threshold of
    /// `classes.reject`, that answer comes first, with the rest of the probability.
    #[must_use]
    pub fn top_k(&self, classes: &Classes, k: usize) -> Vec<Prediction> {
        let probability = |index: u32| self.0.get(index as usize).copied().unwrap_or(0.0);
        let mut ranked: Vec<_> =
            classes.labels.iter().map(|class| (class, probability(class.index))).collect();
        let mass: f32 = ranked.iter().map(|(_, probability)| probability).sum();
        ranked.sort_by(|(a, p), (b, q)| q.total_cmp(p).then(a.index.cmp(&b.index)));

        let reject = classes.reject.as_ref().filter(|reject| mass < reject.threshold);
        let reject = reject.map(|reject| Prediction {
            label: reject.label.clone(),
            index: None,
            probability: (1.0 - mass).clamp(0.0, 1.0),
        });
        let named = ranked.into_iter().map(|(class, probability)| Prediction {
            label: class.label.clone(),
            index: Some(class.index),
            probability,
        });
        reject.into_iter().chain(named).take(k).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::{Calibration, Class, Reject};

    fn birds() -> Classes {
        Classes {
            outputs: 4,
            activation: Activation::Softmax,
            labels: vec![Class { index: 1, label: "hen".into() }, Class { index: 3, label: "macaw".into() }],
            reject: Some(Reject { label: "not a bird".into(), threshold: 0.2 }),
            calibration: None,
        }
    }

    fn named(predictions: &[Prediction]) -> Vec<(&str, Option<u32>)> {
        predictions.iter().map(|p| (p.label.as_str(), p.index)).collect()
    }

    #[test]
    fn the_likeliest_named_class_comes_first_with_its_own_index() {
        let scores = Scores::new(vec![0.5, 0.1, 0.0, 0.4]);
        let top = scores.top_k(&birds(), 5);
        assert_eq!(named(&top), [("macaw", Some(3)), ("hen", Some(1))]);
        assert_eq!(top[0].probability, 0.4);
    }

    #[test]
    fn little_mass_on_the_classes_means_none_of_them() {
        let scores = Scores::new(vec![0.9, 0.02, 0.0, 0.08]);
        let top = scores.top_k(&birds(), 2);
        assert_eq!(named(&top), [("not a bird", None), ("macaw", Some(3))]);
        assert!((top[0].probability - 0.9).abs() < 1e-6);
    }

    #[test]
    fn outputs_become_shares_of_one() {
        let shares = Scores::softmax(vec![1.0, 2.0, 3.0]);
        for (found, expected) in shares.probabilities().iter().zip([0.090_030_57, 0.244_728_47, 0.665_240_94])
        {
            assert!((found - expected).abs() < 1e-6, "{shares:?}");
        }
        // Far beyond what e to the power of it would hold.
        assert_eq!(Scores::softmax(vec![0.0, 1e4]).probabilities(), [0.0, 1.0]);
        assert!(Scores::softmax(vec![]).probabilities().is_empty());
    }

    #[test]
    fn a_temperature_makes_answers_less_sure_and_changes_no_order() {
        let logits = vec![1.0, 2.0, 3.0];
        assert_eq!(Scores::calibrated(logits.clone(), &birds()), Scores::softmax(logits.clone()));
        let classes = Classes { calibration: Some(Calibration { temperature: 2.0 }), ..birds() };
        assert_eq!(Scores::calibrated(logits, &classes), Scores::softmax(vec![0.5, 1.0, 1.5]));
    }

    #[test]
    fn sigmoid_gives_each_class_its_own_and_one_output_two() {
        let classes = |activation| Classes { activation, ..birds() };
        let found = Scores::calibrated(vec![0.0, 2.0, -2.0], &classes(Activation::Sigmoid));
        for (found, expected) in found.probabilities().iter().zip([0.5, 0.880_797_1, 0.119_202_92]) {
            assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
        }
        let [no, yes] = Scores::sigmoid(vec![2.0]).probabilities()[..] else {
            panic!("one output is two classes")
        };
        assert!((no - 0.119_202_92).abs() < 1e-6 && (no + yes - 1.0).abs() < 1e-6, "{no}, {yes}");
        assert_eq!(Scores::sigmoid(vec![-1e4, 1e4, 0.0]).probabilities(), [0.0, 1.0, 0.5]);
        let as_they_are = Scores::calibrated(vec![0.25, 1.000_001], &classes(Activation::None));
        assert_eq!(as_they_are.probabilities(), [0.25, 1.0]);
    }

    #[test]
    fn equal_probabilities_rank_by_index_and_k_cuts() {
        let scores = Scores::new(vec![0.0, 0.5, 0.0, 0.5]);
        assert_eq!(named(&scores.top_k(&birds(), 1)), [("hen", Some(1))]);
        assert!(scores.top_k(&birds(), 0).is_empty());
    }
}
