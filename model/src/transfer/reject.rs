//! When an image is none of the classes. The score is the free energy of <https://arxiv.org/abs/2010.03759>, the logarithm of the sum of the
//! logits' exponentials: low where no class's logit is high. One more output of the net that always gives the threshold says so
//! to every engine: it has more than half of the softmax where the score is below.

use statrs::distribution::{ContinuousCDF as _, StudentsT};
use tch::{Kind, TchError, Tensor};

/// The threshold, and what it does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Threshold {
    /// Of the score.
    pub(crate) score: f64,
    /// Share of images of the classes that are lost to it.
    pub(crate) own_rejected: f64,
    /// Share of other images that are rejected, if there were any.
    pub(crate) others_rejected: Option<f64>,
}

/// The score of each row of logits, at that temperature.
pub(super) fn scores(logits: &Tensor, temperature: f64) -> Result<Vec<f64>, TchError> {
    let scores = logits.f_mul_scalar(1.0 / temperature)?.f_logsumexp(&[1_i64][..], false)?;
    Vec::try_from(scores.f_to_kind(Kind::Double)?)
}

/// The threshold that rejects the most of `others` and is expected to lose at most the share `most` of images like `own`, the scores of
/// images that the layer has not learned from; where all others are rejected, the lowest such. None where there is no image to choose by.
pub(crate) fn choose(own: &[f64], others: &[f64], most: f64) -> Option<Threshold> {
    let mut own = own.to_vec();
    own.sort_by(f64::total_cmp);
    let allowed = lowest(&own, most)?;
    let highest = others.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Where all others can be told, half way from them to the nearest of one's own above them.
    let nearest = own.iter().copied().find(|&score| score > highest).unwrap_or(allowed);
    let score =
        if others.is_empty() || highest >= allowed { allowed } else { f64::midpoint(highest, nearest) };
    let below = |scores: &[f64]| {
        scores.iter().filter(|&&other| other < score).count() as f64 / scores.len().max(1) as f64
    };
    Some(Threshold {
        score,
        own_rejected: below(&own),
        others_rejected: (!others.is_empty()).then(|| below(others)),
    })
}

/// The score below which the next image is expected to lie with at most that probability, of scores in ascending order.
///
/// Of `n` images like it each place between two of them is as likely as any other, so that is the one of rank `most * (n + 1)`. Where there
/// are too few for that, it lies below all of them, by as much as their spread says: the prediction interval of the next one of a normal
/// distribution, `mean - t * s * sqrt(1 + 1 / n)`.
fn lowest(scores: &[f64], most: f64) -> Option<f64> {
    let count = scores.len() as f64;
    let rank = (most * (count + 1.0)) as usize;
    let least = *scores.first()?;
    if most == 0.0 || rank > 0 {
        return scores.get(rank.saturating_sub(1)).or(scores.last()).copied();
    }
    if scores.len() < 2 {
        return Some(f64::NEG_INFINITY);
    }
    let mean = scores.iter().sum::<f64>() / count;
    let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let quantile = StudentsT::new(0.0, 1.0, count - 1.0).ok()?.inverse_cdf(1.0 - most);
    let below = quantile * (variance * (1.0 + 1.0 / count)).sqrt();
    Some(least.min(mean - below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_loses_no_more_than_it_may() {
        let own: Vec<f64> = (0..100).map(f64::from).collect();
        let threshold = choose(&own, &[0.0, 3.0, 50.0], 0.02).unwrap();
        // The next of a hundred lies below the second in two of 101 cases.
        assert_eq!((threshold.score, threshold.own_rejected), (1.0, 0.01));
        assert!((threshold.others_rejected.unwrap() - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(choose(&[], &[1.0], 0.02), None);
    }

    #[test]
    fn of_few_images_it_lies_below_all_of_them_the_fewer_the_further() {
        let at = |own: &[f64]| choose(own, &[], 0.02).unwrap().score;
        let spread = [10.0, 11.0, 12.0, 13.0];
        let (four, twenty) = (at(&spread), at(&spread.repeat(5)));
        // t of three degrees of freedom is 3.482 at 98 %: 11.5 - 3.482 * 1.291 * sqrt(1.25).
        assert!((four - 6.474).abs() < 0.001, "{four}");
        assert!(four < twenty && twenty < 10.0, "{twenty}");
        assert_eq!(at(&[10.0]), f64::NEG_INFINITY, "of one nothing is known");
        // As many as tell it themselves.
        assert_eq!(at(&(0..49).map(f64::from).collect::<Vec<_>>()), 0.0);
    }

    #[test]
    fn the_next_image_is_lost_no_more_often_than_it_may() {
        use rand::{Rng as _, SeedableRng as _};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        // Normal enough: the sum of twelve.
        let mut draw = || (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
        for count in [4, 10, 40, 60, 200] {
            let lost = (0..20_000).filter(|_| {
                let own: Vec<f64> = (0..count).map(|_| draw()).collect();
                let threshold = choose(&own, &[], 0.02).unwrap().score;
                draw() < threshold
            });
            let share = lost.count() as f64 / 20_000.0;
            assert!(share < 0.025, "{count} images: {share}");
        }
    }

    #[test]
    fn no_image_is_lost_where_all_others_lie_below_anyway() {
        for most in [0.0, 0.5] {
            let threshold = choose(&[5.0, 6.0, 7.0, 8.0], &[1.0, 2.0, 3.0], most).unwrap();
            assert_eq!((threshold.score, threshold.own_rejected), (4.0, 0.0));
            assert_eq!(threshold.others_rejected, Some(1.0));
        }
    }
}
