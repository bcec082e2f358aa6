//! Times, counted so that those of several workers and minutes can be added up and quantiles be told of the sum.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Buckets of microseconds, eight to each doubling, so that each is an eighth of its beginning wide at most: bucket `b` below 8 is `b`
/// microseconds, and one above begins at `(8 + b % 8) << (b / 8 - 1)` and ends where the next begins. The last, 255, has no end.
/// On the wire it is a list of pairs, bucket and how many, without those that are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u8, u64)>", into = "Vec<(u8, u64)>")]
pub struct Histogram(BTreeMap<u8, u64>);

impl Histogram {
    /// One more.
    pub fn add(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.count(bucket(micros), 1);
    }

    fn count(&mut self, bucket: u8, many: u64) {
        if many > 0 {
            let all = self.0.entry(bucket).or_default();
            *all = all.saturating_add(many);
        }
    }

    /// Those of another, too.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(bucket, many)| self.count(*bucket, *many));
    }

    /// How many there are.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.0.values().fold(0, |all, many| all.saturating_add(*many))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many microseconds that part of them, as 0.99, took at most, as if the times within a bucket lay evenly; none where there
    /// are none.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let (rank, mut before) = ((self.all() as f64 * part).max(1.0), 0.0);
        for (bucket, many) in &self.0 {
            let many = *many as f64;
            if before + many >= rank {
                let (from, to) = (begins(*bucket), begins(bucket.saturating_add(1)));
                return Some(from + (to - from) * (rank - before) / many);
            }
            before += many;
        }
        None
    }
}

/// In which bucket so many microseconds are.
fn bucket(micros: u64) -> u8 {
    let index = match micros {
        0..8 => micros,
        _ => {
            let octave = u64::from(micros.ilog2());
            (octave - 2) * 8 + ((micros >> (octave - 3)) & 7)
        }
    };
    u8::try_from(index).unwrap_or(u8::MAX)
}

/// Where a bucket begins, in microseconds.
fn begins(bucket: u8) -> f64 {
    let bucket = u64::from(bucket);
    match bucket {
        0..8 => bucket as f64,
        _ => ((8 + bucket % 8) << (bucket / 8 - 1)) as f64,
    }
}

impl From<Vec<(u8, u64)>> for Histogram {
    fn from(pairs: Vec<(u8, u64)>) -> Self {
        let mut histogram = Self::default();
        pairs.into_iter().for_each(|(bucket, many)| histogram.count(bucket, many));
        histogram
    }
}

impl From<Histogram> for Vec<(u8, u64)> {
    fn from(histogram: Histogram) -> Self {
        histogram.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_near_what_they_are_of_also_of_a_sum() {
        let (mut odd, mut even) = (Histogram::default(), Histogram::default());
        assert_eq!(odd.quantile(0.5), None);
        for millis in 1..=1000 {
            let to = if millis % 2 == 0 { &mut even } else { &mut odd };
            to.add(Duration::from_millis(millis));
        }
        odd.merge(&even);
        assert_eq!(odd.all(), 1000);
        for (part, exact) in [(0.5, 5e5), (0.9, 9e5), (0.99, 9.9e5), (0.001, 1e3)] {
            let told = odd.quantile(part).unwrap();
            assert!((told / exact - 1.0).abs() < 0.125, "{part}: {told}");
        }
    }

    #[test]
    fn a_time_lies_in_its_bucket_and_buckets_meet() {
        for micros in (0..5000).chain([1 << 20, 123_456_789, (1 << 34) - 1]) {
            let at = bucket(micros);
            assert!(begins(at) <= micros as f64, "{micros}");
            assert!(at == u8::MAX || micros as f64 <= begins(at + 1) - 1.0, "{micros}");
        }
        for bucket in 9..u8::MAX {
            let wide = begins(bucket + 1) - begins(bucket);
            assert!(wide > 0.0 && wide <= begins(bucket) / 8.0, "{bucket}");
        }
        for far in [1 << 34, u64::MAX] {
            assert_eq!(bucket(far), u8::MAX);
        }
        let mut last = Histogram::default();
        last.add(Duration::MAX);
        assert_eq!(last.quantile(1.0), Some(begins(u8::MAX)));
    }

    #[test]
    fn what_others_write_in_any_order_twice_or_as_nothing_is_one_sum() {
        let read: Histogram =
            serde_json::from_str("[[9,1],[3,2],[9,4],[7,0],[3,18446744073709551615]]").unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), "[[3,18446744073709551615],[9,5]]");
        assert_eq!(read.all(), u64::MAX);
        assert!(serde_json::from_str::<Histogram>("[[256,1]]").is_err());
    }
}
