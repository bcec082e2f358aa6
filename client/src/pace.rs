//! How many requests that somebody waits for may be open at once, by what is answered: a worker is given no more than it
//! answers in good time, so that none expires that it never could have reached; and where nothing at all is answered for
//! a whole time-out, one is tried at a time until something is.
//!
//! Only rules; who waits for a place is in [`crate::window`].

use std::time::{Duration, Instant};

/// How many go first, before anything is known.
const FIRST: usize = 4;
/// Answers within this share of their time let more be open.
const QUICK: u32 = 8;
/// Answers beyond this share of their time let fewer be open.
const SLOW: u32 = 4;
/// Then as many as are answered within this share.
const AIM: u32 = 5;

#[derive(Debug)]
pub(crate) struct Pace {
    limit: usize,
    most: usize,
    /// The last answer, or the first request after a rest.
    progress: Instant,
    /// The last that was heard of a request is that its time ran out.
    late: bool,
}

impl Pace {
    pub(crate) fn new(most: usize, now: Instant) -> Self {
        let most = most.max(1);
        Self { limit: FIRST.min(most), most, progress: now, late: false }
    }

    /// How many may be open now.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// One is sent, beside so many others.
    pub(crate) fn sent(&mut self, others: usize, now: Instant) {
        if others == 0 && !self.late {
            self.progress = now;
        }
    }

    /// One is answered after `latency` of its `time`; `open` were open when it was sent, it included.
    pub(crate) fn answered(&mut self, latency: Duration, time: Duration, open: usize, now: Instant) {
        self.progress = now;
        self.late = false;
        if latency < time / QUICK {
            // Not where nobody makes use of what there is: it says nothing of what more would do.
            if open * 2 >= self.limit {
                self.limit = (self.limit + 1).min(self.most);
            }
        } else if latency > time / SLOW {
            // As many as were open took the latency.
            let share = (time / AIM).as_secs_f64() / latency.as_secs_f64();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let fitting = (open as f64 * share) as usize;
            self.limit = self.limit.min(fitting.max(1));
        }
    }

    /// The time of one ran out.
    pub(crate) fn ran_out(&mut self) {
        self.late = true;
        self.limit = (self.limit / 2).max(1);
    }

    /// Whether nothing was answered for the whole of `time`.
    pub(crate) fn is_stalled(&self, time: Duration, now: Instant) -> bool {
        self.late && now.saturating_duration_since(self.progress) >= time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(8);

    /// Sends a folder to a worker that answers one after the other, each after `each`, as many open as the pace lets: how
    /// long the slowest took, and how many were open at most.
    fn slowest(each: Duration, images: usize, time: Duration) -> (Duration, usize) {
        let start = Instant::now();
        let mut pace = Pace::new(1024, start);
        let (mut now, mut left, mut slowest, mut most) = (start, images, Duration::ZERO, 0);
        let mut open = std::collections::VecDeque::new();
        while left > 0 || !open.is_empty() {
            while left > 0 && open.len() < pace.limit() {
                pace.sent(open.len(), now);
                open.push_back((now, open.len() + 1));
                left -= 1;
            }
            most = most.max(open.len());
            now += each;
            let Some((sent, beside)) = open.pop_front() else { break };
            slowest = slowest.max(now - sent);
            pace.answered(now - sent, time, beside, now);
        }
        (slowest, most)
    }

    #[test]
    fn nobody_waits_in_vain_for_a_slow_worker_and_a_quick_one_has_enough_to_do() {
        for (each, most) in [(1000, 4), (400, 8), (50, 64), (5, 400), (1, 1024)] {
            let (slowest, open) = slowest(Duration::from_millis(each), 3000, TIME);
            assert!(slowest <= TIME / 2, "{each} ms: {slowest:?}");
            assert!(open <= most && open >= most / 4, "{each} ms: {open} open");
        }
    }

    #[test]
    fn a_worker_that_becomes_slow_is_given_less_at_once() {
        let now = Instant::now();
        let mut pace = Pace::new(1024, now);
        for _ in 0..200 {
            pace.answered(TIME / 100, TIME, pace.limit(), now);
        }
        assert_eq!(pace.limit(), 204);
        pace.answered(TIME / 2, TIME, 200, now);
        assert_eq!(pace.limit(), 80, "200 took half of the time, so 80 take a fifth");
        pace.answered(TIME / 6, TIME, 80, now);
        assert_eq!(pace.limit(), 80, "between quick and slow it stays");
    }

    #[test]
    fn a_caller_who_asks_for_one_at_a_time_does_not_open_it() {
        let now = Instant::now();
        let mut pace = Pace::new(1024, now);
        for _ in 0..1000 {
            pace.answered(TIME / 100, TIME, 1, now);
        }
        assert_eq!(pace.limit(), FIRST);
    }

    #[test]
    fn it_stalls_where_nothing_is_answered_for_the_whole_time() {
        let start = Instant::now();
        let mut pace = Pace::new(1024, start);
        pace.sent(0, start);
        pace.sent(1, start);
        assert!(!pace.is_stalled(TIME, start + TIME), "nothing ran out");
        pace.ran_out();
        assert!(pace.is_stalled(TIME, start + TIME));
        assert!(!pace.is_stalled(TIME, start + TIME / 2));
        // One that is tried then does not hide it.
        pace.sent(0, start + TIME);
        assert!(pace.is_stalled(TIME, start + TIME));
        pace.answered(TIME / 2, TIME, 1, start + TIME * 3 / 2);
        assert!(!pace.is_stalled(TIME, start + TIME * 3));
    }

    #[test]
    fn one_that_is_never_answered_among_others_that_are_is_no_stall() {
        let start = Instant::now();
        let mut pace = Pace::new(1024, start);
        pace.answered(TIME / 10, TIME, 1, start + TIME * 9 / 10);
        pace.ran_out();
        assert!(!pace.is_stalled(TIME, start + TIME));
    }
}
