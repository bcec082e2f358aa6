//! The `queue` section: what waits, for how long, in which order, and how much of it.

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;
use crate::pressure::BackPressure;

/// What waits; Triton's words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// More than that many for one model are refused; 0 refuses none and lets them wait in Kafka.
    pub max_queue_size: usize,
    /// A request that has not been computed by then, counted from its arrival, is answered with an error; 0 is never.
    pub default_timeout_microseconds: u64,
    /// A request may set an earlier deadline of its own.
    pub allow_timeout_override: bool,
    /// How many priorities there are, 1 going first; 0 makes all equal.
    pub priority_levels: usize,
    /// The priority of a request that names none, or one that there is not.
    pub default_priority_level: usize,
    /// When partitions are paused.
    pub backpressure: BackPressure,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            max_queue_size: 0,
            default_timeout_microseconds: 0,
            allow_timeout_override: true,
            priority_levels: 9,
            default_priority_level: 5,
            backpressure: BackPressure::default(),
        }
    }
}

impl Queue {
    /// # Errors
    /// [`Invalid`], the first of its rules that does not hold.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        self.backpressure.check()?;
        let high = self.backpressure.high_requests;
        if self.max_queue_size >= high {
            return Err(Invalid::rule(format!(
                "queue.max_queue_size, {}, must be below queue.backpressure.high_requests, {high}: consuming pauses there, so that no request would ever be refused",
                self.max_queue_size
            )));
        }
        let (levels, default) = (self.priority_levels, self.default_priority_level);
        if levels > 0 && !(1..=levels).contains(&default) {
            return Err(Invalid::rule(format!(
                "queue.default_priority_level, {default}, must be from 1 to queue.priority_levels, {levels}"
            )));
        }
        if levels > 1000 {
            return Err(Invalid::rule(format!("queue.priority_levels, {levels}, must be 1000 or fewer")));
        }
        Ok(())
    }

    /// How many lines the queue has.
    #[must_use]
    pub fn levels(&self) -> usize {
        self.priority_levels.max(1)
    }

    /// The line of a request, from 0.
    #[must_use]
    pub fn level(&self, priority: Option<u32>) -> usize {
        let asked = priority.and_then(|p| usize::try_from(p).ok());
        let known = asked.filter(|p| (1..=self.priority_levels).contains(p));
        known.unwrap_or(self.default_priority_level).saturating_sub(1).min(self.levels() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_triton_s() {
        let queue = |priority_levels, default_priority_level| Queue {
            priority_levels,
            default_priority_level,
            ..Queue::default()
        };
        let nine = queue(9, 5);
        assert_eq!(nine.level(Some(1)), 0, "1 goes first");
        assert_eq!(nine.level(Some(9)), 8);
        assert_eq!(nine.level(None), 4);
        assert_eq!(nine.level(Some(0)), 4, "0 is the default one");
        assert_eq!(nine.level(Some(10)), 4, "and so is one that there is not");
        let none = queue(0, 0);
        assert_eq!((none.levels(), none.level(Some(1)), none.level(None)), (1, 0, 0));
    }
}
