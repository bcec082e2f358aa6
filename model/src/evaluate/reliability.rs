//! Whether answers are as often right as they say that they are: the expected calibration error (<https://arxiv.org/abs/1706.04599>) and the
//! curve that it is the mean of.

use serde::Serialize;

/// Bins of equal width between 0 and 1.
pub const BINS: usize = 15;

/// How sure an answer was, and whether it was right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sure {
    /// The probability of the likeliest class, from 0 to 1, whether or not the image is called none of them.
    pub confidence: f64,
    /// Whether that class is the image's.
    pub is_right: bool,
    /// The negative log-likelihood of the image's class, in nats; none where probabilities have no such thing.
    pub loss: Option<f64>,
}

/// How sure answers were, against how often they were right.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reliability {
    /// The expected calibration error, from 0 to 1: over [`BINS`] bins of equal width, `(low, high]` each, the mean distance between
    /// confidence and accuracy, weighted by the bins' images.
    pub error: f64,
    /// The mean negative log-likelihood of the images' classes, in nats; none for classes that do not exclude each other.
    pub loss: Option<f64>,
    /// How many images.
    pub images: usize,
    /// The curve.
    pub bins: Vec<Bin>,
}

/// The images whose confidence is above `from` and at most `to`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    /// From 0 to 1.
    pub from: f64,
    /// From 0 to 1.
    pub to: f64,
    /// How many.
    pub images: usize,
    /// Their mean confidence; none where there is no image.
    pub confidence: Option<f64>,
    /// The share whose likeliest class is theirs; none where there is no image.
    pub accuracy: Option<f64>,
}

impl Reliability {
    /// Of these answers; none where there is none.
    #[must_use]
    pub fn of(answers: &[Sure]) -> Option<Self> {
        let images = answers.len();
        let mut tally = [(0_usize, 0_usize, 0.0_f64); BINS];
        for answer in answers {
            let above = (answer.confidence * BINS as f64).ceil() as usize;
            let (count, right, confidence) = &mut tally[above.clamp(1, BINS) - 1];
            *count += 1;
            *right += usize::from(answer.is_right);
            *confidence += answer.confidence;
        }
        let bin = |(place, &(count, right, confidence)): (usize, &(usize, usize, f64))| {
            let mean = |sum: f64| (count > 0).then(|| sum / count as f64);
            Bin {
                from: place as f64 / BINS as f64,
                to: (place + 1) as f64 / BINS as f64,
                images: count,
                confidence: mean(confidence),
                accuracy: mean(right as f64),
            }
        };
        let distance =
            tally.iter().map(|&(_, right, confidence)| (right as f64 - confidence).abs()).sum::<f64>();
        let losses: Option<Vec<f64>> = answers.iter().map(|answer| answer.loss).collect();
        (images > 0).then(|| Self {
            error: distance / images as f64,
            loss: losses.map(|losses| losses.iter().sum::<f64>() / images as f64),
            images,
            bins: tally.iter().enumerate().map(bin).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sure(confidence: f64, is_right: bool) -> Sure {
        Sure { confidence, is_right, loss: Some(-confidence.ln()) }
    }

    #[test]
    fn the_error_is_the_distance_of_sureness_and_truth_bin_by_bin() {
        // By hand: in (8/15, 9/15] 0.55 and 0.59 with one right, in (14/15, 1] 0.95 and 1 with both right.
        let answers = [sure(0.55, true), sure(0.59, false), sure(0.95, true), sure(1.0, true)];
        let found = Reliability::of(&answers).unwrap();
        let expected = ((0.57_f64 - 0.5).abs() * 2.0 + (0.975_f64 - 1.0).abs() * 2.0) / 4.0;
        assert!((found.error - expected).abs() < 1e-12, "{}", found.error);
        let loss = -(0.55_f64 * 0.59 * 0.95).ln() / 4.0;
        assert!((found.loss.unwrap() - loss).abs() < 1e-12);
        let counts: Vec<usize> = found.bins.iter().map(|bin| bin.images).collect();
        assert_eq!(counts, [0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 2]);
        assert_eq!((found.bins[8].accuracy, found.bins[0].accuracy), (Some(0.5), None));
        assert!((found.bins[8].confidence.unwrap() - 0.57).abs() < 1e-12);
    }

    #[test]
    fn a_bin_holds_its_upper_end_and_nothing_falls_out() {
        let answers = [sure(0.0, false), sure(1.0 / 15.0, false), sure(0.2, true), sure(0.200_001, true)];
        let found = Reliability::of(&answers).unwrap();
        let counts: Vec<usize> = found.bins.iter().map(|bin| bin.images).collect();
        assert_eq!(counts[..5], [2, 0, 1, 1, 0]);
        assert_eq!(Reliability::of(&[]), None);
        let without = Reliability::of(&[Sure { loss: None, ..sure(0.5, true) }, sure(0.5, true)]).unwrap();
        assert_eq!(without.loss, None);
    }
}
