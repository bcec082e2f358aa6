//! When an image is none of the classes. The score is the free energy of <https://arxiv.org/abs/2010.03759>, the logarithm of the sum of the
//! logits' exponentials: low where no class's logit is high. One more output of the net that always gives the threshold says so
//! to every engine: it has more than half of the softmax where the score is below.

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

/// The threshold that rejects the most of `others` and loses at most the share `most` of `own`, the scores of images that the layer has
/// not learned from; where all others are rejected, the lowest such. None where there is no image to choose by.
pub(crate) fn choose(own: &[f64], others: &[f64], most: f64) -> Option<Threshold> {
    let mut own = own.to_vec();
    own.sort_by(f64::total_cmp);
    // Whoever lies below it is lost.
    let lost = ((own.len() as f64 * most) as usize).min(own.len().saturating_sub(1));
    let allowed = *own.get(lost)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_loses_no_more_than_it_may() {
        let own: Vec<f64> = (0..100).map(f64::from).collect();
        let threshold = choose(&own, &[1.0, 3.0, 50.0], 0.02).unwrap();
        assert_eq!((threshold.score, threshold.own_rejected), (2.0, 0.02));
        assert!((threshold.others_rejected.unwrap() - 1.0 / 3.0).abs() < 1e-12);
        // Of few images none may be lost.
        assert_eq!(choose(&own[..20], &[], 0.02).unwrap().own_rejected, 0.0);
        assert_eq!(choose(&[], &[1.0], 0.02), None);
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
