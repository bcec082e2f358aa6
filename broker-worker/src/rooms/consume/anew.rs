//! A request topic that is deleted and made anew under a worker. librdkafka takes it for the same: it goes on where it stood
//! in the old one, past all that lies before that in the new one, or it is refused for the old one's leader epoch and reads
//! nothing at all, and says neither. So the broker is asked every few seconds which topic has the name. Where it is another one,
//! what was taken from the old one is answered, and a new consumer reads the new one from its beginning.

use std::time::{Duration, Instant};

use kafka::identity::{TopicId, topic_id};
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::{ASK, Consume, Fatal};
use crate::pressure::Flow;

/// Between two questions.
const EVERY: Duration = Duration::from_secs(2);
/// The longest between two that are not answered: nothing is polled while an answer is waited for.
const SELDOM: Duration = Duration::from_secs(60);

/// The topic that is read.
#[derive(Debug, Default)]
pub(super) struct Identity {
    known: Option<TopicId>,
    not_before: Option<Instant>,
    /// How many questions in a row were not answered.
    failures: u32,
}

impl Identity {
    /// Whether it is time to ask.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.not_before.is_none_or(|not_before| now >= not_before);
        if due {
            self.not_before = Some(now + EVERY);
        }
        due
    }

    /// Partitions have come: where they are another topic's, it is seen before anything of it is read.
    pub(super) fn ask_at_once(&mut self) {
        self.not_before = None;
    }

    /// The question was not answered.
    fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let pause = EVERY.saturating_mul(2_u32.saturating_pow(self.failures)).min(SELDOM);
        self.not_before = Some(now + pause);
    }

    /// Which topic has the name now; whether that is another one than before. While none has it, nothing is known anew.
    fn changes(&mut self, id: Option<TopicId>) -> bool {
        let before = self.known;
        self.failures = 0;
        self.known = id.or(before);
        if before.is_none() && id.is_some() {
            tracing::debug!("the topic of requests is known by its id");
        }
        before.is_some() && before != self.known
    }
}

impl Consume {
    /// Looks whether the topic is still the one that was read.
    ///
    /// # Errors
    /// [`Fatal::Anew`] where it is not, and it can't be read.
    pub(super) fn identify(&mut self, now: Instant) -> Result<(), Fatal> {
        if self.identity.is_due(now) && self.is_another() {
            self.begin_anew().map_err(Fatal::Anew)?;
        }
        Ok(())
    }

    /// Asks whether the topic is another one than before, and says so where it is.
    pub(super) fn is_another(&mut self) -> bool {
        if !self.shared.health.is_connected() {
            return false;
        }
        // The broker may take its time.
        self.pulse.rest();
        let is_another = match topic_id(self.consumer.client(), &self.topic, ASK) {
            Ok(id) => self.identity.changes(id),
            Err(error) => {
                tracing::debug!(%error, "the broker does not say which topic it is that is read");
                self.identity.failed(Instant::now());
                false
            }
        };
        self.pulse.beat();
        if is_another {
            tracing::warn!(
                topic = %self.topic,
                "the topic of requests was deleted and made anew: what was taken from the old one is answered, and the new \
                 one is read from its beginning; requests that nobody had read in the old one are lost with it"
            );
        }
        is_another
    }

    fn begin_anew(&mut self) -> KafkaResult<()> {
        let partitions: Vec<_> =
            self.consumer.assignment()?.elements().iter().map(|element| element.partition()).collect();
        let left =
            self.shared.book.drain(&partitions, Instant::now() + self.subscriber.config.group.drain_timeout);
        if left > 0 {
            tracing::warn!(left, "requests of the old topic were not answered");
        }
        self.commit_beginning();
        let context = self.consumer.context();
        context.closing.store(true, std::sync::atomic::Ordering::Relaxed);
        context.refusals.forget(&self.shared.health);
        self.shared.health.set_joined(false);
        self.consumer = self.subscriber.subscribe()?;
        self.held.clear();
        self.ahead.clear();
        (self.flow, self.full_since) = (Flow::default(), None);
        self.shared.metrics.paused.set(0);
        self.shared.metrics.held_back.set(0);
        Ok(())
    }

    /// A broker forgets what was committed of a topic that is deleted. What was committed since may be about the old one. (What
    /// holds partitions of the consumer's may not outlive this: a consumer waits for it at its end.)
    pub(super) fn commit_beginning(&self) {
        let commit = || {
            let committed = self.consumer.committed_offsets(self.consumer.assignment()?, ASK)?;
            let mut first = TopicPartitionList::new();
            for element in committed.elements() {
                if let Offset::Offset(1..) = element.offset() {
                    first.add_partition_offset(element.topic(), element.partition(), Offset::Offset(0))?;
                }
            }
            if first.count() == 0 { Ok(()) } else { self.consumer.commit(&first, CommitMode::Sync) }
        };
        if let Err(error) = commit() {
            tracing::warn!(%error, "where the new topic begins was not committed: requests in it may be passed over");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_id_is_another_topic_and_none_is_no_news() {
        let (first, second) = (Some(TopicId::from([1, 2])), Some(TopicId::from([1, 3])));
        let mut identity = Identity::default();
        assert!(!identity.changes(None));
        assert!(!identity.changes(first), "the first that is heard of");
        assert!(!identity.changes(first) && !identity.changes(None) && !identity.changes(first));
        assert!(!identity.changes(None) && identity.changes(second), "also where there was none between");
        assert!(!identity.changes(second));
        assert!(identity.changes(first));
    }

    #[test]
    fn it_is_asked_now_and_then() {
        let (mut identity, start) = (Identity::default(), Instant::now());
        assert!(identity.is_due(start));
        assert!(!identity.is_due(start + EVERY / 2));
        assert!(identity.is_due(start + EVERY));
        assert!(!identity.is_due(start + EVERY));
        identity.ask_at_once();
        assert!(identity.is_due(start + EVERY));
    }

    #[test]
    fn a_broker_that_does_not_answer_is_asked_less_and_less() {
        let (mut identity, start) = (Identity::default(), Instant::now());
        identity.failed(start);
        assert!(!identity.is_due(start + EVERY) && identity.is_due(start + 2 * EVERY));
        (0..40).for_each(|_| identity.failed(start));
        assert!(!identity.is_due(start + SELDOM / 2) && identity.is_due(start + SELDOM));
        identity.changes(None);
        identity.failed(start);
        assert!(identity.is_due(start + 2 * EVERY), "it has answered");
    }
}
