//! How fast each caller may ask: a bucket of tokens for each, kept as the one time at which it is full again (the generic cell
//! rate algorithm). Each gateway counts by itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::identity::{Identity, Rate};

/// How many callers are remembered before those at rest are forgotten.
const REMEMBERED: usize = 4096;

/// The buckets. One that is full is the same as none.
#[derive(Debug, Default)]
pub struct Limiter(Mutex<HashMap<String, Instant>>);

/// What is left in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Tokens.
    pub tokens: u32,
    /// Until it is full.
    pub full_in: Duration,
}

impl Limiter {
    /// Takes one token.
    ///
    /// # Errors
    /// How long to wait until there is one.
    pub fn take(&self, caller: &Identity, now: Instant) -> Result<Option<Left>, Duration> {
        let Some(rate) = caller.rate else { return Ok(None) };
        let mut full_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.len() >= REMEMBERED {
            full_at.retain(|_, at| *at > now);
        }
        let (interval, capacity) = (interval(rate), interval(rate) * rate.burst);
        let begins = full_at.get(&caller.id).map_or(now, |at| (*at).max(now));
        let full_in = (begins + interval).saturating_duration_since(now);
        if full_in > capacity {
            return Err(full_in - capacity);
        }
        full_at.insert(caller.id.clone(), now + full_in);
        let tokens = (capacity - full_in).as_nanos() / interval.as_nanos().max(1);
        Ok(Some(Left { tokens: u32::try_from(tokens).unwrap_or(u32::MAX), full_in }))
    }

    /// Takes that many more for a request that brings several images, whether they are there or not: the next ones wait for it.
    pub fn owe(&self, caller: &Identity, tokens: usize, now: Instant) {
        let Some(rate) = caller.rate.filter(|_| tokens > 0) else { return };
        let mut full_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let more = interval(rate).saturating_mul(u32::try_from(tokens).unwrap_or(u32::MAX));
        let at = full_at.entry(caller.id.clone()).or_insert(now);
        *at = (*at).max(now) + more;
    }
}

/// From one token to the next.
fn interval(rate: Rate) -> Duration {
    Duration::from_secs(1) / rate.per_second.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(id: &str, rate: Option<Rate>) -> Identity {
        Identity { id: id.into(), scopes: Vec::new(), models: None, rate }
    }

    fn at(began: Instant, millis: u64) -> Instant {
        began + Duration::from_millis(millis)
    }

    #[test]
    fn so_many_at_once_then_so_many_a_second_and_the_time_to_wait_is_true() {
        let (limiter, began) = (Limiter::default(), Instant::now());
        let one = caller("a", Rate::of(Some(2), Some(3)));
        for tokens in [2, 1, 0] {
            assert_eq!(limiter.take(&one, began).unwrap().unwrap().tokens, tokens);
        }
        let wait = limiter.take(&one, began).unwrap_err();
        assert_eq!(wait, Duration::from_millis(500));
        assert!(limiter.take(&one, began + wait - Duration::from_millis(1)).is_err());
        assert!(limiter.take(&one, began + wait).is_ok());
        assert!(limiter.take(&one, began + wait).is_err());
        // Another has a bucket of its own, and one without a limit none.
        assert!(limiter.take(&caller("b", one.rate), began).is_ok());
        assert_eq!(limiter.take(&caller("c", None), began), Ok(None));
        // However long the rest, no more than the burst.
        let after = at(began, 3_600_000);
        let taken = (0..10).filter(|_| limiter.take(&one, after).is_ok()).count();
        assert_eq!(taken, 3);
    }

    #[test]
    fn a_batch_is_owed_for() {
        let (limiter, began) = (Limiter::default(), Instant::now());
        let one = caller("a", Rate::of(Some(10), None));
        assert!(limiter.take(&one, began).is_ok());
        limiter.owe(&one, 63, began);
        assert_eq!(limiter.take(&one, began).unwrap_err(), Duration::from_millis(5500));
        assert!(limiter.take(&one, at(began, 5499)).is_err());
        assert!(limiter.take(&one, at(began, 5500)).is_ok());
    }

    #[test]
    fn those_at_rest_are_forgotten() {
        let (limiter, began) = (Limiter::default(), Instant::now());
        let rate = Rate::of(Some(1000), None);
        for n in 0..REMEMBERED * 2 {
            let later = began + Duration::from_millis(2 * n as u64);
            assert!(limiter.take(&caller(&n.to_string(), rate), later).is_ok());
        }
        assert!(limiter.0.lock().unwrap().len() <= REMEMBERED);
    }
}
