//! Times, counted so that quantiles can be told of any number of them.

use std::time::Duration;

/// Times are counted in slots, four to each doubling, the first up to 256 µs, the last from 470 s on.
const SLOTS: usize = 85;

/// How many times fell into each slot.
#[derive(Debug)]
pub struct Slots([u32; SLOTS]);

impl Default for Slots {
    fn default() -> Self {
        Self([0; SLOTS])
    }
}

impl Slots {
    /// One more.
    pub fn add(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let slot = match micros {
            0..256 => 0,
            _ => {
                let octave = micros.ilog2();
                (octave as usize - 8) * 4 + ((micros >> (octave - 2)) & 3) as usize + 1
            }
        };
        self.0[slot.min(SLOTS - 1)] += 1;
    }

    /// Those of another, too.
    pub fn merge(&mut self, other: &Self) {
        for (all, one) in self.0.iter_mut().zip(other.0) {
            *all += one;
        }
    }

    /// How many there are.
    #[must_use]
    pub fn all(&self) -> u32 {
        self.0.iter().sum()
    }

    /// Where a slot begins, in microseconds.
    fn begins(slot: usize) -> f64 {
        match slot.checked_sub(1) {
            None => 0.0,
            Some(slot) => ((4 + slot as u64 % 4) << (slot / 4 + 6)) as f64,
        }
    }

    /// In milliseconds, as if the times within a slot lay evenly.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let all = f64::from(self.all());
        let (rank, mut before) = ((all * part).max(1.0), 0.0);
        for (slot, many) in self.0.iter().enumerate().filter(|(_, many)| **many > 0) {
            let many = f64::from(*many);
            if before + many >= rank {
                let (from, to) = (Self::begins(slot), Self::begins(slot + 1));
                return Some((from + (to - from) * (rank - before) / many) / 1e3);
            }
            before += many;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_near_what_they_are_of() {
        let mut slots = Slots::default();
        assert_eq!(slots.quantile(0.5), None);
        for millis in 1..=1000 {
            slots.add(Duration::from_millis(millis));
        }
        for (part, exact) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0), (0.001, 1.0)] {
            let told = slots.quantile(part).unwrap();
            assert!((told / exact - 1.0).abs() < 0.13, "{part}: {told}");
        }
        for far in [Duration::ZERO, Duration::from_micros(256), Duration::from_secs(470), Duration::MAX] {
            slots.add(far);
        }
        assert_eq!((slots.0[0], slots.0[SLOTS - 1]), (1, 2));
        assert_eq!(
            [Slots::begins(1), Slots::begins(2), Slots::begins(SLOTS - 1)],
            [256.0, 320.0, 469_762_048.0]
        );
    }
}
