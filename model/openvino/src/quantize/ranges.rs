//! What calibration images make of a tensor, and the scale that follows.

/// Steps between the smallest value and the largest.
const STEPS: usize = 2048;
/// The scales that are tried: the one at which nothing is cut off, less this share of it each time.
const STEP: f64 = 0.01;
const TRIED: usize = 71;

/// What is known of a tensor's values.
#[derive(Clone, Debug)]
pub(super) struct Range {
    lowest: f32,
    highest: f32,
    /// Whether all of them are numbers.
    numbers: bool,
    /// For each channel their sum, and how many there are.
    sums: Vec<f64>,
    count: u64,
    /// How many lie in each of [`STEPS`].
    steps: Vec<u64>,
}

impl Default for Range {
    fn default() -> Self {
        let (lowest, highest) = (f32::INFINITY, f32::NEG_INFINITY);
        Self { lowest, highest, numbers: true, sums: Vec::new(), count: 0, steps: vec![0; STEPS] }
    }
}

/// How integers stand for numbers: `scale` times the integer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) scale: f32,
    /// Integers are -128 to 127, not 0 to 255.
    pub(super) signed: bool,
}

impl Range {
    /// Takes values in, whose channels are dimension `channel` of `shape`.
    pub(super) fn see(&mut self, values: &[f32], shape: &[usize], channel: usize) {
        let channels = shape.get(channel).copied().unwrap_or(1).max(1);
        let inner: usize = shape.iter().skip(channel + 1).product::<usize>().max(1);
        self.sums.resize(channels, 0.0);
        for (row, values) in values.chunks(inner).enumerate() {
            let (mut lowest, mut highest, mut sum) = (self.lowest, self.highest, 0.0);
            for &value in values {
                lowest = lowest.min(value);
                highest = highest.max(value);
                sum += f64::from(value);
            }
            (self.lowest, self.highest) = (lowest, highest);
            // What is no number is in the sum.
            self.numbers &= sum.is_finite();
            self.sums[row % channels] += sum;
        }
        self.count += (values.len() / channels) as u64;
    }

    /// Counts values in steps, once all have been [seen](Self::see).
    pub(super) fn count(&mut self, values: &[f32]) {
        let steps = STEPS as f32 / (self.highest - self.lowest).max(f32::MIN_POSITIVE);
        for &value in values {
            let step = ((value - self.lowest) * steps) as usize;
            self.steps[step.min(STEPS - 1)] += 1;
        }
    }

    /// With what others saw of the same tensor.
    pub(super) fn with(mut self, other: &Self) -> Self {
        self.lowest = self.lowest.min(other.lowest);
        self.highest = self.highest.max(other.highest);
        self.numbers &= other.numbers;
        self.sums.resize(other.sums.len().max(self.sums.len()), 0.0);
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, other)| *sum += other);
        self.count += other.count;
        self.steps.iter_mut().zip(&other.steps).for_each(|(step, other)| *step += other);
        self
    }

    /// The same bounds, and nothing counted: for [`count`](Self::count).
    pub(super) fn emptied(&self) -> Self {
        Self { lowest: self.lowest, highest: self.highest, ..Self::default() }
    }

    /// Whether there were values, all of them numbers.
    pub(super) fn is_usable(&self) -> bool {
        self.numbers && self.lowest <= self.highest && (self.highest - self.lowest).is_finite()
    }

    /// Each channel's mean.
    pub(super) fn means(&self) -> Vec<f64> {
        self.sums.iter().map(|sum| sum / self.count.max(1) as f64).collect()
    }

    /// The scale that loses least, by the squares of what is lost: values beyond the last integer become that one, and the fewer there
    /// are, the larger may the loss of each be for the sake of the others.
    pub(super) fn scale(&self) -> Scale {
        let signed = self.lowest < 0.0;
        let (least, most) = if signed { (-128.0, 127.0) } else { (0.0, 255.0) };
        let (low, high) = (f64::from(self.lowest), f64::from(self.highest));
        let whole = if signed { (-low).max(high) / 127.5 } else { high / 255.0 };
        let width = (high - low) / STEPS as f64;
        let lost = |scale: f32| -> f64 {
            let lost = |(step, &count): (usize, &u64)| {
                let value = low + (step as f64 + 0.5) * width;
                let kept = (value / f64::from(scale)).round_ties_even().clamp(least, most) * f64::from(scale);
                (value - kept).powi(2) * count as f64
            };
            self.steps.iter().enumerate().filter(|(_, count)| **count > 0).map(lost).sum()
        };
        let mut best = (f64::INFINITY, 1.0);
        for tried in 0..TRIED {
            let scale = (whole * (1.0 - tried as f64 * STEP)) as f32;
            // Of a tensor that is always 0 any scale is right.
            if scale < f32::MIN_POSITIVE {
                break;
            }
            let lost = lost(scale);
            if lost < best.0 {
                best = (lost, scale);
            }
        }
        Scale { scale: best.1, signed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(values: &[f32]) -> Range {
        let mut range = Range::default();
        range.see(values, &[1, 1, values.len()], 1);
        range.count(values);
        range
    }

    #[test]
    fn few_far_values_are_cut_off_for_the_sake_of_many_near_ones() {
        let near: Vec<f32> = (0..100_000).map(|n| n as f32 / 1e5).collect();
        let whole = range(&near).scale();
        assert!(!whole.signed && (whole.scale - 1.0 / 255.0).abs() < 1e-4, "{whole:?}");
        // Cut off at c, the far one loses (2 - c)^2, and rounding each of the others (c / 255)^2 / 12 in the mean: least at 0.886 * 2.
        let far = range(&[&near[..], &[2.0]].concat()).scale();
        assert!((far.scale / (2.0 / 255.0) - 0.886).abs() < 0.01, "{far:?}");
        let signed = range(&[-1.0, 0.5, 0.25]).scale();
        assert!(signed.signed && (signed.scale - 1.0 / 127.5).abs() < 1e-3, "{signed:?}");
    }

    #[test]
    fn means_are_of_channels_and_parts_come_to_the_whole() {
        let values: Vec<f32> = (0..24).map(|n| n as f32 - 7.0).collect();
        let (mut whole, mut parts) = (Range::default(), [Range::default(), Range::default()]);
        whole.see(&values, &[2, 3, 4], 1);
        parts[0].see(&values[..12], &[1, 3, 4], 1);
        parts[1].see(&values[12..], &[1, 3, 4], 1);
        let [first, second] = parts;
        let parts = first.with(&second);
        assert_eq!(whole.means(), [0.5, 4.5, 8.5]);
        assert_eq!((parts.means(), parts.lowest, parts.highest), (whole.means(), -7.0, 16.0));
    }

    #[test]
    fn what_is_no_number_is_seen_and_nothing_is_a_number_too() {
        assert!(!range(&[1.0, f32::NAN]).is_usable());
        assert!(!range(&[1.0, f32::INFINITY]).is_usable());
        assert!(!Range::default().is_usable());
        assert!(range(&[0.0; 4]).is_usable());
        assert_eq!(range(&[0.0; 4]).scale(), Scale { scale: 1.0, signed: false });
    }
}
