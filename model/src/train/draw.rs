//! Drawn numbers that are the same on each machine and in each release: ChaCha8's stream, and of floating point only what IEEE 754
//! fixes to the last bit.

use rand::{RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// A stream of numbers, as one picture needs.
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    /// The one at a place of a seed's.
    pub(super) fn of(seed: u64, place: usize) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(place as u64);
        Self(random)
    }

    /// From 0 to less than 1.
    pub(super) fn share(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    /// From `least` to less than `most`.
    pub(super) fn between(&mut self, least: f32, most: f32) -> f32 {
        least + (most - least) * self.share()
    }

    /// One of `0..count`.
    pub(super) fn below(&mut self, count: usize) -> usize {
        ((u64::from(self.0.next_u32()) * count as u64) >> 32) as usize
    }

    /// One of `least..=most`.
    pub(super) fn count(&mut self, least: usize, most: usize) -> usize {
        least + self.below(most - least + 1)
    }

    /// Yes, with that chance.
    pub(super) fn chance(&mut self, chance: f32) -> bool {
        self.share() < chance
    }

    /// Any direction, as a vector of length 1.
    pub(super) fn direction(&mut self) -> (f32, f32) {
        turn(self.share())
    }

    /// Any bytes.
    pub(super) fn bytes(&mut self, into: &mut [u8]) {
        self.0.fill_bytes(into);
    }

    /// All of a list in another order.
    pub(super) fn shuffle<T>(&mut self, list: &mut [T]) {
        for place in (1..list.len()).rev() {
            list.swap(place, self.below(place + 1));
        }
    }
}

/// Cosine and sine of a share of the whole circle. The mathematics library of each system rounds its own way; this does not.
pub(super) fn turn(share: f32) -> (f32, f32) {
    let share = share - share.floor();
    let quarter = (share * 4.0).floor().min(3.0);
    // Less than a quarter: of what is beyond an eighth the complement, so that the series is short.
    let rest = share * 4.0 - quarter;
    let (mirrored, rest) = if rest > 0.5 { (true, 1.0 - rest) } else { (false, rest) };
    let x = rest * std::f32::consts::FRAC_PI_2;
    let square = x * x;
    let sine = x * (1.0 - square / 6.0 * (1.0 - square / 20.0 * (1.0 - square / 42.0)));
    let cosine = 1.0 - square / 2.0 * (1.0 - square / 12.0 * (1.0 - square / 30.0));
    let (cosine, sine) = if mirrored { (sine, cosine) } else { (cosine, sine) };
    match quarter as u8 {
        0 => (cosine, sine),
        1 => (-sine, cosine),
        2 => (-cosine, -sine),
        _ => (sine, -cosine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_as_sine_and_cosine_do() {
        for step in 0..1000_u16 {
            let share = f32::from(step) / 1000.0;
            let (sine, cosine) = (share * std::f32::consts::TAU).sin_cos();
            let found = turn(share);
            assert!((found.0 - cosine).abs() < 1e-5 && (found.1 - sine).abs() < 1e-5, "{share}: {found:?}");
        }
        assert_eq!(turn(1.25), turn(0.25));
    }

    #[test]
    fn each_place_has_its_own_numbers_within_their_bounds() {
        let numbers = |seed, place| {
            let mut draw = Draw::of(seed, place);
            [(); 50].map(|()| draw.count(3, 9))
        };
        assert_eq!(numbers(1, 4), numbers(1, 4));
        assert_ne!(numbers(1, 4), numbers(1, 5));
        assert_ne!(numbers(1, 4), numbers(2, 4));
        let mut all = numbers(1, 4).to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all, [3, 4, 5, 6, 7, 8, 9]);
    }
}
