//! What the answers to labelled images come to: shares with their intervals, each class's figures, and who is taken for whom.

use registry::Classes;
use serde::Serialize;

use super::judge::{Judgement, Truth};

/// Of the standard normal distribution: 95 % lie within so many deviations on either side.
const Z: f64 = 1.959_963_984_540_054;

/// A share of images, with how far chance may have moved it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// From 0 to 1.
    pub share: f64,
    /// Its 95 % interval, see [`wilson`].
    pub interval: [f64; 2],
    /// How many images.
    pub images: usize,
    /// Of how many.
    pub of: usize,
}

impl Share {
    /// `images` of `of`; none where there is none.
    #[must_use]
    pub fn of(images: usize, of: usize) -> Option<Self> {
        (of > 0).then(|| Self { share: images as f64 / of as f64, interval: wilson(images, of), images, of })
    }
}

/// The 95 % score interval of a share: what the true one may be, if the images were drawn independently of what it is asked of. By
/// E. B. Wilson (1927), "Probable inference, the law of succession, and statistical inference",
/// <https://doi.org/10.1080/01621459.1927.10502953>: it holds near 0 and 1 and for few images, too. Of no images it is all from 0 to 1.
#[must_use]
pub fn wilson(images: usize, of: usize) -> [f64; 2] {
    if of == 0 {
        return [0.0, 1.0];
    }
    let (n, share) = (of as f64, images as f64 / of as f64);
    let square = Z * Z;
    let middle = share + square / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + square / (4.0 * n * n)).sqrt();
    // What is certain is so in spite of rounding.
    let low = if images == 0 { 0.0 } else { (middle - half) / (1.0 + square / n) };
    let high = if images == of { 1.0 } else { (middle + half) / (1.0 + square / n) };
    [low, high]
}

/// The 95 % interval of the difference between two shares of the same images, where `won` of them count for the second alone, and `lost`
/// for the first alone. By A. Agresti and Y. Min (2005), "Simple improved confidence intervals for comparing matched proportions",
/// <https://doi.org/10.1002/sim.1781>: as Wald's, with half a pair more of each kind.
#[must_use]
pub fn paired(won: usize, lost: usize, of: usize) -> [f64; 2] {
    let (won, lost, of) = (won as f64 + 0.5, lost as f64 + 0.5, of as f64 + 2.0);
    let middle = (won - lost) / of;
    let half = Z * (won + lost - (won - lost).powi(2) / of).sqrt() / of;
    [middle - half, middle + half]
}

/// How one version does beside another on the same images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Paired {
    /// How many images.
    pub images: usize,
    /// The share of them that the first names right, from 0 to 1.
    pub first: f64,
    /// The share that the second names right.
    pub second: f64,
    /// By how much the second's is higher.
    pub difference: f64,
    /// The 95 % interval of that, see [`paired`].
    pub interval: [f64; 2],
}

impl Paired {
    /// Of whether the first and the second are right about each image; none of no image.
    #[must_use]
    pub fn of(right: &[(bool, bool)]) -> Option<Self> {
        let images = right.len();
        let count = |is: fn(&(bool, bool)) -> bool| right.iter().filter(|answer| is(answer)).count();
        let (first, second) = (count(|right| right.0), count(|right| right.1));
        let (won, lost) =
            (count(|&(first, second)| !first && second), count(|&(first, second)| first && !second));
        let share = |right: usize| right as f64 / images as f64;
        (images > 0).then(|| Self {
            images,
            first: share(first),
            second: share(second),
            difference: share(second) - share(first),
            interval: paired(won, lost, images),
        })
    }
}

/// One class's part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassFigures {
    /// The class's number.
    pub index: u32,
    /// Its name.
    pub label: String,
    /// How many images are of it (the support).
    pub images: usize,
    /// How many of them are named right.
    pub correct: usize,
    /// How many images are named so, of whatever class.
    pub named: usize,
    /// Share of its images that are named right; none where there is no image of it.
    pub recall: Option<f64>,
    /// Share of the images named so that are of it; none where none is named so.
    pub precision: Option<f64>,
    /// The harmonic mean of both, `2 correct / (images + named)`; none where there is neither.
    pub f1: Option<f64>,
}

/// Means over the classes that have an image; each counts the same. A class that is never named has a precision of 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Averages {
    /// Of the recalls, which is also called balanced accuracy.
    pub recall: f64,
    /// Of the precisions.
    pub precision: f64,
    /// Of the F1.
    pub f1: f64,
}

/// How often an image of one class is answered by another, or by "none of these".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// The image's class, a place in [`Confusion::images`].
    pub truth: usize,
    /// The answer: a class's place, or none for "none of these".
    pub answer: Option<usize>,
    /// How many images.
    pub images: usize,
}

/// Who is taken for whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Confusion {
    /// `[classes, classes + 1]`: a row for each class, a column for each answer, the last one for "none of these". In the order of the
    /// manifest's labels.
    pub images: Vec<Vec<usize>>,
}

impl Confusion {
    /// Counts the images of the classes.
    #[must_use]
    pub fn of(judgements: &[Judgement], classes: usize) -> Self {
        let mut images = vec![vec![0; classes + 1]; classes];
        for judgement in judgements {
            if let Truth::Class(truth) = judgement.truth {
                images[truth][judgement.answer.unwrap_or(classes)] += 1;
            }
        }
        Self { images }
    }

    /// What is answered wrong, the most frequent first.
    #[must_use]
    pub fn pairs(&self) -> Vec<Pair> {
        let classes = self.images.len();
        let mut pairs: Vec<Pair> = Vec::new();
        for (truth, row) in self.images.iter().enumerate() {
            let wrong = row.iter().enumerate().filter(|&(answer, &images)| answer != truth && images > 0);
            pairs.extend(wrong.map(|(answer, &images)| Pair {
                truth,
                answer: (answer < classes).then_some(answer),
                images,
            }));
        }
        pairs.sort_by_key(|pair| (std::cmp::Reverse(pair.images), pair.truth, pair.answer));
        pairs
    }

    /// Each class's figures.
    #[must_use]
    pub fn classes(&self, classes: &Classes) -> Vec<ClassFigures> {
        let figures = |(place, class): (usize, &registry::Class)| {
            let (images, correct) = (self.images[place].iter().sum(), self.images[place][place]);
            let named = self.images.iter().map(|row| row[place]).sum();
            let share = |of: usize, by: usize| (by > 0).then(|| of as f64 / by as f64);
            ClassFigures {
                index: class.index,
                label: class.label.clone(),
                images,
                correct,
                named,
                recall: share(correct, images),
                precision: share(correct, named),
                f1: share(2 * correct, images + named),
            }
        };
        classes.labels.iter().enumerate().map(figures).collect()
    }
}

impl Averages {
    /// Of those classes.
    #[must_use]
    pub fn of(classes: &[ClassFigures]) -> Self {
        let there: Vec<&ClassFigures> = classes.iter().filter(|class| class.images > 0).collect();
        let mean = |figure: fn(&ClassFigures) -> Option<f64>| {
            there.iter().filter_map(|class| figure(class)).sum::<f64>() / there.len().max(1) as f64
        };
        Self {
            recall: mean(|class| class.recall),
            precision: mean(|class| class.precision),
            f1: mean(|class| class.f1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_wilson_s() {
        // R: prop.test(8, 10, correct = FALSE), and 9381 of 10000.
        for (images, of, expected) in [
            (8, 10, [0.490_162, 0.943_318]),
            (9381, 10_000, [0.933_206, 0.942_658]),
            (1, 2, [0.094_531, 0.905_469]),
        ] {
            for (found, expected) in wilson(images, of).into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{images} of {of}: {:?}", wilson(images, of));
            }
        }
        let [low, high] = wilson(0, 10);
        assert!(low == 0.0 && (high - 0.277_533).abs() < 1e-5, "{high}");
        let [low, high] = wilson(1, 1);
        assert!(high == 1.0 && (low - 0.206_549).abs() < 1e-5, "{low}");
        assert_eq!(wilson(0, 0), [0.0, 1.0]);
        assert_eq!(Share::of(0, 0), None);
    }
}
