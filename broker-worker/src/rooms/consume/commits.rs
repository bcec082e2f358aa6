//! When to commit: soon after an answer, never two commits at once, and not at once again after one that failed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use crate::book::Book;

/// From the beginning of one commit to that of the next, at least. What is answered meanwhile is answered again where the
/// worker is killed; at full load it is twenty small requests a second.
const EVERY: Duration = Duration::from_millis(50);
/// After one that failed, as those do that meet a rebalance.
const AGAIN: Duration = Duration::from_millis(250);
/// librdkafka answers each commit, at the latest when it gives up on the broker. Were one forgotten, the next ones must not
/// wait for it.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// The commits of one consumer.
#[derive(Debug)]
pub(super) struct Commits(Mutex<State>);

#[derive(Debug)]
struct State {
    begun: Option<Instant>,
    not_before: Instant,
}

impl Default for Commits {
    fn default() -> Self {
        Self(Mutex::new(State { begun: None, not_before: Instant::now() }))
    }
}

impl Commits {
    /// Whether one may begin now.
    pub(super) fn may_begin(&self, now: Instant) -> bool {
        let state = self.lock();
        now >= state.not_before && state.begun.is_none_or(|begun| now >= begun + FORGOTTEN)
    }

    /// One has begun.
    pub(super) fn begun(&self, now: Instant) {
        *self.lock() = State { begun: Some(now), not_before: now + EVERY };
    }

    /// The broker's answer to one, which goes into the book.
    ///
    /// # Errors
    /// Why some of it is not committed; it stays due.
    pub(super) fn answered(
        &self,
        book: &Book,
        result: KafkaResult<()>,
        offsets: &TopicPartitionList,
    ) -> Result<(), RDKafkaErrorCode> {
        let mut failed = result.err().and_then(|error| error.rdkafka_error_code());
        if failed.is_none() {
            for element in offsets.elements() {
                match (element.error(), element.offset()) {
                    (Ok(()), Offset::Offset(offset)) => book.committed(element.partition(), offset),
                    (Ok(()), _) => {}
                    (Err(error), _) => failed = error.rdkafka_error_code(),
                }
            }
        }
        let mut state = self.lock();
        state.begun = None;
        match failed {
            None | Some(RDKafkaErrorCode::NoError) => Ok(()),
            Some(code) => {
                state.not_before = Instant::now() + AGAIN;
                Err(code)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Delivery;
    use rdkafka::error::KafkaError;

    fn answer(commits: &Commits, book: &Book, result: KafkaResult<()>) -> Result<(), RDKafkaErrorCode> {
        commits.answered(book, result, &kafka::positions("t", &book.due()).unwrap())
    }

    /// A worker that is killed has answered little that is answered again.
    #[test]
    fn what_is_answered_is_committed_within_a_tenth_of_a_second() {
        let book = Book::new(Delivery::AtLeastOnce);
        let commits = Commits::default();
        let start = Instant::now();
        commits.begun(start);
        assert_eq!(answer(&commits, &book, Ok(())), Ok(()));
        // The answer comes just after a commit has begun, and the room looks when its poll is over.
        assert!(commits.may_begin(start + Duration::from_millis(100) - super::super::POLL));
    }

    #[test]
    fn one_at_a_time_and_again_where_it_failed() {
        let book = Book::new(Delivery::AtLeastOnce);
        book.assign([0]);
        book.passed(0, 7);
        let commits = Commits::default();
        let start = Instant::now();
        assert!(commits.may_begin(start));
        commits.begun(start);
        assert!(!commits.may_begin(start + EVERY), "one is under way");
        assert!(commits.may_begin(start + FORGOTTEN));

        let refused = KafkaError::ConsumerCommit(RDKafkaErrorCode::RebalanceInProgress);
        assert_eq!(answer(&commits, &book, Err(refused)), Err(RDKafkaErrorCode::RebalanceInProgress));
        assert_eq!(book.due(), [(0, 7)], "still due");
        assert!(!commits.may_begin(Instant::now()), "not at once");
        assert!(commits.may_begin(Instant::now() + AGAIN));

        assert_eq!(answer(&commits, &book, Ok(())), Ok(()));
        assert_eq!(book.due(), []);
    }
}
