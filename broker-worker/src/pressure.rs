//! How much is under way in the worker, in requests and in bytes, and what that means for taking more: the pure rule
//! behind back-pressure, and its section `queue.backpressure`.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::invalid::{Invalid, at_least_one};

/// The marks of back-pressure: at a high one no more is taken from Kafka, at both low ones it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackPressure {
    /// Requests under way.
    pub high_requests: usize,
    /// Requests under way.
    pub low_requests: usize,
    /// Bytes that they hold.
    pub high_bytes: usize,
    /// Bytes that they hold.
    pub low_bytes: usize,
}

impl Default for BackPressure {
    fn default() -> Self {
        Self { high_requests: 128, low_requests: 64, high_bytes: 64 << 20, low_bytes: 32 << 20 }
    }
}

impl BackPressure {
    /// # Errors
    /// [`Invalid`], the first of its rules that does not hold.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        let Self { high_requests, low_requests, high_bytes, low_bytes } = *self;
        let at = "queue.backpressure";
        at_least_one("queue.backpressure.high_requests", high_requests)?;
        at_least_one("queue.backpressure.high_bytes", high_bytes)?;
        if low_requests >= high_requests {
            return Err(Invalid::rule(format!(
                "{at}.low_requests, {low_requests}, must be below {at}.high_requests, {high_requests}"
            )));
        }
        if low_bytes >= high_bytes {
            return Err(Invalid::rule(format!(
                "{at}.low_bytes, {low_bytes}, must be below {at}.high_bytes, {high_bytes}"
            )));
        }
        Ok(())
    }
}

/// Requests and bytes between consume and commit.
#[derive(Debug, Default)]
pub struct Pressure {
    now: Mutex<Amount>,
    less: Condvar,
}

/// How much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Requests.
    pub requests: usize,
    /// Bytes that they hold.
    pub bytes: usize,
}

impl Amount {
    /// At or above the mark where no more are taken.
    #[must_use]
    pub fn is_high(self, marks: &BackPressure) -> bool {
        self.requests >= marks.high_requests || self.bytes >= marks.high_bytes
    }

    /// At or below the mark where taking begins again.
    #[must_use]
    pub fn is_low(self, marks: &BackPressure) -> bool {
        self.requests <= marks.low_requests && self.bytes <= marks.low_bytes
    }
}

impl Pressure {
    /// Takes one request of that many bytes into account until the guard is dropped.
    #[must_use]
    pub fn hold(self: &Arc<Self>, bytes: usize) -> Hold {
        let mut now = self.lock();
        now.requests += 1;
        now.bytes += bytes;
        Hold { pressure: Arc::clone(self), bytes }
    }

    /// How much is under way.
    #[must_use]
    pub fn amount(&self) -> Amount {
        *self.lock()
    }

    /// Waits until it is low, for that long at most.
    pub fn wait_low(&self, marks: &BackPressure, timeout: Duration) {
        let now = self.lock();
        // Whoever waits looks at the amount again, so that neither a timeout nor a poisoned lock needs telling.
        drop(self.less.wait_timeout_while(now, timeout, |now| !now.is_low(marks)));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Amount> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's part in the pressure.
#[derive(Debug)]
pub struct Hold {
    pressure: Arc<Pressure>,
    bytes: usize,
}

impl Hold {
    /// It holds that many bytes now.
    pub fn weigh(&mut self, bytes: usize) {
        let mut now = self.pressure.lock();
        now.bytes = now.bytes - self.bytes + bytes;
        self.bytes = bytes;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut now = self.pressure.lock();
        now.requests -= 1;
        now.bytes -= self.bytes;
        drop(now);
        self.pressure.less.notify_one();
    }
}

/// Whether to take records. Between the two marks what was decided last stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// Records are taken.
    #[default]
    Open,
    /// No records are taken, and for a moment nothing is polled either: a pause makes the client drop what it has
    /// fetched ahead, which is dear where the next moment has room again.
    Full,
    /// The partitions are paused and polling goes on.
    Paused,
}

/// What the consume room does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Poll for a record.
    Take,
    /// Wait for room, for a moment.
    Wait,
    /// Pause the partitions, then poll.
    Pause,
    /// Poll, without taking.
    Poll,
    /// Resume the partitions, then poll for a record.
    Resume,
}

impl Flow {
    /// The next step. `blocked`: the next room takes nothing. `waited`: [`Step::Wait`] has been taken for long enough.
    #[must_use]
    pub fn step(self, amount: Amount, blocked: bool, waited: bool, marks: &BackPressure) -> (Self, Step) {
        let full = blocked || amount.is_high(marks);
        let room = !blocked && amount.is_low(marks);
        match self {
            Self::Open if full => (Self::Full, Step::Wait),
            Self::Open => (Self::Open, Step::Take),
            Self::Full | Self::Paused if room => {
                (Self::Open, if self == Self::Paused { Step::Resume } else { Step::Take })
            }
            Self::Full if waited => (Self::Paused, Step::Pause),
            Self::Full => (Self::Full, Step::Wait),
            Self::Paused => (Self::Paused, Step::Poll),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Instant;

    const MARKS: BackPressure =
        BackPressure { high_requests: 10, low_requests: 4, high_bytes: 1000, low_bytes: 400 };

    fn amount(requests: usize, bytes: usize) -> Amount {
        Amount { requests, bytes }
    }

    #[test]
    fn pauses_above_the_high_mark_and_resumes_below_the_low_one() {
        let mut flow = Flow::Open;
        let mut next = |requests, waited| {
            let (after, step) = flow.step(amount(requests, 0), false, waited, &MARKS);
            flow = after;
            step
        };
        assert_eq!(next(9, false), Step::Take);
        assert_eq!(next(10, false), Step::Wait, "a moment's patience first");
        assert_eq!(next(9, true), Step::Pause, "below the high mark is not low yet");
        assert_eq!(next(5, false), Step::Poll);
        assert_eq!(next(4, false), Step::Resume);
        assert_eq!(next(9, false), Step::Take, "between the marks what was decided last stands");
    }

    #[test]
    fn a_moment_of_fullness_does_not_pause() {
        let (flow, step) = Flow::Open.step(amount(10, 0), false, false, &MARKS);
        assert_eq!((flow, step), (Flow::Full, Step::Wait));
        assert_eq!(flow.step(amount(3, 0), false, true, &MARKS), (Flow::Open, Step::Take));
    }

    #[test]
    fn bytes_count_like_requests_and_a_full_channel_too() {
        assert_eq!(Flow::Open.step(amount(1, 1000), false, false, &MARKS).1, Step::Wait);
        assert_eq!(Flow::Paused.step(amount(1, 401), false, false, &MARKS).1, Step::Poll);
        assert_eq!(Flow::Open.step(amount(0, 0), true, false, &MARKS).1, Step::Wait);
        assert_eq!(Flow::Paused.step(amount(0, 0), true, false, &MARKS).1, Step::Poll);
    }

    #[test]
    fn a_hold_counts_until_it_is_dropped() {
        let pressure = Arc::new(Pressure::default());
        let mut hold = pressure.hold(100);
        let other = pressure.hold(1);
        assert_eq!(pressure.amount(), amount(2, 101));
        hold.weigh(30);
        assert_eq!(pressure.amount(), amount(2, 31));
        drop(hold);
        drop(other);
        assert_eq!(pressure.amount(), amount(0, 0));
    }

    #[test]
    fn whoever_waits_is_woken_when_it_is_low() {
        let limit = Duration::from_secs(60);
        let pressure = Arc::new(Pressure::default());
        let hold = pressure.hold(1000);
        let (to_test, from_waiter) = mpsc::channel();
        let (to_test_too, woken) = mpsc::channel();
        std::thread::spawn({
            let pressure = Arc::clone(&pressure);
            move || {
                to_test.send(nix::unistd::gettid()).unwrap();
                pressure.wait_low(&MARKS, Duration::MAX);
                to_test_too.send(pressure.amount()).unwrap();
            }
        });
        // Nobody else holds the lock, so that where its thread sleeps it waits to be woken.
        let stat = format!("/proc/self/task/{}/stat", from_waiter.recv_timeout(limit).unwrap());
        let end = Instant::now() + limit;
        while !std::fs::read_to_string(&stat).unwrap().contains(") S ") {
            assert!(Instant::now() < end, "it does not wait");
            std::thread::yield_now();
        }
        drop(hold);
        assert_eq!(woken.recv_timeout(limit), Ok(amount(0, 0)));
    }
}
