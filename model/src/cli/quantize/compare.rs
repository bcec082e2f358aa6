//! How two nets' answers to the same images differ, and how sure that is.

use model::evaluate::{Paired, wilson};
use serde::Serialize;

/// What one image came to.
#[derive(Clone, Copy)]
pub(super) struct Answered {
    /// Whether both gave the same answer.
    pub(super) same: bool,
    /// Whether the first and the second were right; none where nobody says what is.
    pub(super) right: Option<(bool, bool)>,
}

/// What all came to. Shares are from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Compared {
    /// How many images were asked of both.
    pub(super) images: usize,
    /// The share of them that both answer alike, and the interval that it lies in.
    pub(super) agreement: f64,
    pub(super) agreement_interval: [f64; 2],
    /// What follows of images with labels; none where there are none.
    pub(super) accuracy: Option<Accuracy>,
}

/// Of images with labels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Accuracy {
    pub(super) images: usize,
    pub(super) f32: f64,
    pub(super) int8: f64,
    /// By how much the second is lower, and the interval that this lies in.
    pub(super) drop: f64,
    pub(super) drop_interval: [f64; 2],
}

impl Compared {
    pub(super) fn of(answers: &[Answered]) -> Self {
        let same = answers.iter().filter(|answer| answer.same).count();
        let images = answers.len();
        let right: Vec<(bool, bool)> = answers.iter().filter_map(|answer| answer.right).collect();
        Self {
            images,
            agreement: same as f64 / images.max(1) as f64,
            agreement_interval: wilson(same, images),
            accuracy: Paired::of(&right).map(Accuracy::of),
        }
    }
}

impl Accuracy {
    fn of(paired: Paired) -> Self {
        let Paired { images, first, second, difference, interval: [low, high] } = paired;
        Self { images, f32: first, int8: second, drop: -difference, drop_interval: [-high, -low] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_is_what_was_right_and_no_longer_is_less_what_now_is() {
        let answer = |first, second| Answered { same: first == second, right: Some((first, second)) };
        let unlabelled = Answered { same: true, right: None };
        let mut answers = vec![answer(true, true); 90];
        answers.extend([answer(true, false); 4]);
        answers.extend([answer(false, true); 1]);
        answers.extend([answer(false, false); 5]);
        answers.extend([unlabelled; 100]);
        let compared = Compared::of(&answers);
        assert_eq!((compared.images, compared.agreement), (200, 0.975));
        let accuracy = compared.accuracy.unwrap();
        assert_eq!((accuracy.images, accuracy.f32, accuracy.int8), (100, 0.94, 0.91));
        assert!((accuracy.drop - 0.03).abs() < 1e-12);
        // (4.5 - 1.5) / 102, and 1.96 * sqrt(6 - 9 / 102) / 102.
        let [low, high] = accuracy.drop_interval;
        assert!((low + 0.01731).abs() < 1e-4 && (high - 0.07613).abs() < 1e-4, "{low} {high}");
        // Wilson, 195 of 200.
        let [low, high] = compared.agreement_interval;
        assert!((low - 0.9428).abs() < 1e-4 && (high - 0.9893).abs() < 1e-4, "{low} {high}");
        assert_eq!(Compared::of(&[unlabelled]).accuracy, None);
    }
}
