//! How sure a net's answers are to be taken: the temperature that its outputs are divided by (<https://arxiv.org/abs/1706.04599>), fitted on
//! images that it has not learned from. A version's manifest keeps it (`classes.calibration`), and serving applies it.

/// Temperatures are looked for from 1 / 20 to 20.
const MOST: f64 = 20.0;
/// So often the range is cut, each time to 0.62 of it: to eight digits.
const CUTS: usize = 40;

/// Why no temperature was fitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalibrationError {
    /// There is nothing to fit on.
    #[error("there is no image to fit a temperature on")]
    Empty,
    /// The numbers of outputs and labels do not go together.
    #[error("{logits} numbers are no {outputs} outputs for each of {images} images")]
    Shape {
        /// How many numbers there are.
        logits: usize,
        /// Outputs of an image.
        outputs: usize,
        /// Images.
        images: usize,
    },
    /// An image's label is none of the outputs.
    #[error("image {image} has label {label}, and there are {outputs} outputs")]
    Label {
        /// Its place, from 0.
        image: usize,
        /// Its label.
        label: usize,
        /// Outputs of an image.
        outputs: usize,
    },
    /// An output is no finite number.
    #[error("the outputs for image {image} are no numbers")]
    NotANumber {
        /// Its place, from 0.
        image: usize,
    },
}

/// The temperature of the least negative log-likelihood, by golden section. `logits` are `[images, outputs]`, row by row, before any softmax;
/// `labels` are `[images]`, the number of the output that is right. It is from 0.05, where every image is named right, to 20.
///
/// # Errors
/// If there is no image, counts or labels do not go together, or an output is not finite.
pub fn fit_temperature(logits: &[f32], outputs: usize, labels: &[usize]) -> Result<f64, CalibrationError> {
    fit(logits, outputs, labels, 0.0)
}

/// As [`fit_temperature`], where there may be few images: each label is taken to be wrong with the probability that one would expect
/// had the next two images been one right and one wrong ([Platt](https://www.researchgate.net/publication/2594015) does so for two
/// classes). Of a thousand images it is the same; of four that are all named right it is no certainty.
///
/// # Errors
/// As `fit_temperature`.
pub fn fit_temperature_of_few(
    logits: &[f32],
    outputs: usize,
    labels: &[usize],
) -> Result<f64, CalibrationError> {
    fit(logits, outputs, labels, 1.0 / (labels.len() as f64 + 2.0))
}

/// The share `wrong` of each image is spread over all other labels.
fn fit(logits: &[f32], outputs: usize, labels: &[usize], wrong: f64) -> Result<f64, CalibrationError> {
    let images = labels.len();
    if images == 0 {
        return Err(CalibrationError::Empty);
    }
    if outputs == 0 || logits.len() != images * outputs {
        return Err(CalibrationError::Shape { logits: logits.len(), outputs, images });
    }
    let rows = || logits.chunks_exact(outputs).zip(labels.iter().copied());
    for (image, (row, label)) in rows().enumerate() {
        if label >= outputs {
            return Err(CalibrationError::Label { image, label, outputs });
        }
        if !row.iter().all(|value| value.is_finite()) {
            return Err(CalibrationError::NotANumber { image });
        }
    }
    // The loss is flat where it is least, hence in double precision.
    let others = |row: &[f32], label: usize| {
        let sum: f64 = row.iter().map(|&value| f64::from(row[label]) - f64::from(value)).sum();
        sum / (outputs.max(2) - 1) as f64
    };
    let loss = |power: f64| -> f64 {
        let temperature = power.exp();
        let of = |(row, label)| log_loss(row, label, temperature) + wrong * others(row, label) / temperature;
        rows().map(of).sum()
    };
    let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (-MOST.ln(), MOST.ln());
    let (mut left, mut right) = (high - golden * (high - low), low + golden * (high - low));
    let (mut at_left, mut at_right) = (loss(left), loss(right));
    for _ in 0..CUTS {
        if at_left <= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - golden * (high - low);
            at_left = loss(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + golden * (high - low);
            at_right = loss(right);
        }
    }
    Ok(f64::midpoint(low, high).exp())
}

/// The negative log-likelihood (in nats) of a label, of an image's outputs before any softmax, divided by a temperature. None of them may be
/// NaN, and `label` is below their number.
#[must_use]
pub fn log_loss(logits: &[f32], label: usize, temperature: f64) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&value| ((f64::from(value) - largest) / temperature).exp()).sum();
    sum.ln() - (f64::from(logits[label]) - largest) / temperature
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temperature_undoes_what_a_net_exaggerates() {
        // Sure to 95 % of the first class of two, and right in 3 of 4 cases: ln 3 is what it should say.
        let found = fit_temperature(&[4.0, 0.0].repeat(4), 2, &[0, 0, 0, 1]).unwrap();
        assert!((found - 4.0 / 3.0_f64.ln()).abs() < 1e-3, "{found}");
        // And what it plays down.
        let found = fit_temperature(&[0.1, 0.0].repeat(4), 2, &[0, 0, 0, 1]).unwrap();
        assert!((found - 0.1 / 3.0_f64.ln()).abs() < 1e-4, "{found}");
    }

    #[test]
    fn without_a_mistake_or_with_nothing_else_it_stays_within_its_range() {
        let found = fit_temperature(&[4.0, 0.0].repeat(4), 2, &[0; 4]).unwrap();
        assert!((found - 0.05).abs() < 1e-6, "{found}");
        let found = fit_temperature(&[4.0, 0.0].repeat(4), 2, &[1; 4]).unwrap();
        assert!((found - 20.0).abs() < 1e-4, "{found}");
    }

    #[test]
    fn a_loss_is_the_logarithm_of_the_share_whatever_the_outputs_sizes() {
        assert!((log_loss(&[0.0, 0.0], 1, 1.0) - 2.0_f64.ln()).abs() < 1e-12);
        assert!((log_loss(&[3.0_f32.ln(), 0.0], 1, 1.0) - 4.0_f64.ln()).abs() < 1e-6);
        assert!((log_loss(&[2000.0, 0.0], 1, 2.0) - 1000.0).abs() < 1e-9);
        assert_eq!(log_loss(&[2000.0, f32::NEG_INFINITY], 0, 1.0), 0.0);
    }

    #[test]
    fn what_nothing_can_be_fitted_on_is_refused() {
        let refused =
            |logits: &[f32], outputs, labels: &[usize]| fit_temperature(logits, outputs, labels).unwrap_err();
        assert_eq!(refused(&[], 2, &[]), CalibrationError::Empty);
        assert_eq!(refused(&[1.0; 3], 2, &[0]), CalibrationError::Shape { logits: 3, outputs: 2, images: 1 });
        assert_eq!(refused(&[], 0, &[0]), CalibrationError::Shape { logits: 0, outputs: 0, images: 1 });
        assert_eq!(
            refused(&[1.0; 4], 2, &[0, 2]),
            CalibrationError::Label { image: 1, label: 2, outputs: 2 }
        );
        assert_eq!(
            refused(&[1.0, 1.0, f32::NAN, 1.0], 2, &[0, 1]),
            CalibrationError::NotANumber { image: 1 }
        );
    }
}
