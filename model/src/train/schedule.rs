//! The learning rate at each step: a linear warm-up, then half a cosine down to zero (<https://arxiv.org/abs/1608.03983>).

use std::f64::consts::PI;

/// The rate for `step` of `total`, counted from 0: reaches `peak` at the end of the first `warm_up` (0 to 1) of the steps.
#[must_use]
pub fn learning_rate(step: usize, total: usize, peak: f64, warm_up: f64) -> f64 {
    let rising = (total as f64 * warm_up).round();
    let at = step as f64;
    if at < rising {
        return peak * (at + 1.0) / rising;
    }
    let done = (at - rising) / (total as f64 - rising).max(1.0);
    peak * 0.5 * (1.0 + (PI * done.min(1.0)).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_in_a_line_peaks_and_falls_to_nearly_nothing() {
        let rates: Vec<f64> = (0..100).map(|step| learning_rate(step, 100, 0.1, 0.2)).collect();
        assert!((rates[0] - 0.005).abs() < 1e-12);
        assert!((rates[19] - 0.1).abs() < 1e-12);
        assert!((rates[20] - 0.1).abs() < 1e-12);
        assert!((rates[60] - 0.05).abs() < 1e-12, "half-way down the cosine");
        assert!(rates[..20].is_sorted());
        assert!(rates[20..].iter().rev().is_sorted());
        assert!(rates[99] < 1e-4);
    }

    #[test]
    fn no_warm_up_and_a_single_step_are_finite() {
        assert_eq!(learning_rate(0, 1, 0.1, 0.0), 0.1);
        assert!(learning_rate(0, 1, 0.1, 0.9).is_finite());
    }
}
