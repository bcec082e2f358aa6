//! What became of the images, counted while they go, so that the summary can be told also when it ends early.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use client::ClientError;

use super::exit::Exit;

/// Counts. Each image is in one of them at last.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How many there are to send.
    total: AtomicU64,
    /// Of them, those that were begun with.
    begun: AtomicU64,
    /// The broker has them, and no answer is waited for.
    taken: AtomicU64,
    /// Answered with success.
    answered: AtomicU64,
    /// Answered with an error.
    errors: AtomicU64,
    /// No answer in time, or no acknowledgement.
    timeouts: AtomicU64,
    /// Not sent: unreadable, too large, refused.
    unsent: AtomicU64,
}

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Taken,
    Answered,
    Error,
    Timeout,
    Unsent,
}

impl From<&ClientError> for Fate {
    fn from(error: &ClientError) -> Self {
        if error.is_timeout() { Self::Timeout } else { Self::Unsent }
    }
}

impl Tally {
    pub(crate) fn expect(&self, total: usize) {
        self.total.store(total as u64, Relaxed);
    }

    /// One more is begun with.
    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Relaxed);
    }

    pub(crate) fn count(&self, fate: Fate) {
        let counter = match fate {
            Fate::Taken => &self.taken,
            Fate::Answered => &self.answered,
            Fate::Error => &self.errors,
            Fate::Timeout => &self.timeouts,
            Fate::Unsent => &self.unsent,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Begun with, and nothing known of it yet.
    pub(crate) fn open(&self) -> u64 {
        let done = [&self.taken, &self.answered, &self.errors, &self.timeouts, &self.unsent];
        self.begun.load(Relaxed).saturating_sub(done.into_iter().map(|n| n.load(Relaxed)).sum())
    }

    /// The code for all of them together: what is least certain goes first.
    pub(crate) fn exit(&self) -> Exit {
        let any = |counter: &AtomicU64| counter.load(Relaxed) > 0;
        match () {
            () if any(&self.timeouts) => Exit::Timeout,
            () if any(&self.errors) => Exit::ErrorReplies,
            () if any(&self.unsent) => Exit::Failure,
            () => Exit::Success,
        }
    }

    /// For people; nothing where nothing was begun.
    pub(crate) fn summary(&self, wait: bool) -> Option<String> {
        let [total, begun, taken, answered, errors, timeouts, unsent] = [
            &self.total,
            &self.begun,
            &self.taken,
            &self.answered,
            &self.errors,
            &self.timeouts,
            &self.unsent,
        ]
        .map(|counter| counter.load(Relaxed));
        if begun == 0 {
            return None;
        }
        let open = timeouts + self.open();
        let mut text = if wait {
            format!("{answered} answered, {errors} errors, {open} unanswered")
        } else {
            format!("{taken} sent, {open} unanswered")
        };
        let unsent = unsent + total.saturating_sub(begun);
        if unsent > 0 {
            text.push_str(&format!(", {unsent} not sent"));
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_tells_what_is_open_and_what_was_not_begun_with() {
        let tally = Tally::default();
        assert_eq!(tally.summary(true), None);
        tally.expect(9);
        for fate in [Fate::Answered, Fate::Answered, Fate::Error, Fate::Timeout, Fate::Unsent] {
            tally.begin();
            tally.count(fate);
        }
        tally.begin();
        assert_eq!(tally.open(), 1);
        let said = tally.summary(true).unwrap();
        assert_eq!(said, "2 answered, 1 errors, 2 unanswered, 4 not sent");
        assert_eq!(tally.exit(), Exit::Timeout);
    }

    #[test]
    fn without_waiting_what_the_broker_has_counts() {
        let tally = Tally::default();
        tally.expect(1);
        tally.begin();
        tally.count(Fate::Taken);
        assert_eq!(tally.summary(false).unwrap(), "1 sent, 0 unanswered");
        assert_eq!(tally.exit(), Exit::Success);
    }
}
