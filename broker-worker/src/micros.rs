//! Durations as the wire and Triton's counters have them.

use std::time::Duration;

/// Whole microseconds.
#[must_use]
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
