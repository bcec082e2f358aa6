//! What the broker refuses the consumer: said at warn once an interval each, and where no record can come before somebody
//! mends it, the worker is not ready and says why. librdkafka says each only once, so whether it still stands is asked.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::health::{Health, Problem};

/// Between two warnings about the same thing.
const SAID_EVERY: Duration = Duration::from_secs(30);
/// Between two questions whether a refusal still stands.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// What was not refused again for that long, after two questions, is allowed.
const STANDS_FOR: Duration = Duration::from_secs(8);

/// What a refusal is about, and so what ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// Ends when the group gives this worker its share, or takes a commit.
    Group,
    /// Ends when it is not refused again.
    Topic,
    /// Ends with the next commit.
    Commit,
}

impl About {
    /// What readiness calls it.
    fn key(self) -> &'static str {
        match self {
            Self::Group => "consumer-group",
            Self::Topic => "requests-topic",
            Self::Commit => "commit",
        }
    }
}

/// The refusals that one consumer has heard.
#[derive(Debug)]
pub(super) struct Refusals {
    topic: String,
    group: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    said: Vec<(Code, Instant)>,
    standing: Vec<Standing>,
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Standing {
    about: About,
    heard: Instant,
}

impl Refusals {
    /// None yet.
    pub(super) fn new(topic: &str, group: &str) -> Self {
        Self { topic: topic.to_owned(), group: group.to_owned(), state: Mutex::default() }
    }

    /// An error of the consumer's that it goes on after.
    pub(super) fn heard(&self, code: Code, health: &Health, now: Instant) {
        self.note(code, None, health, now);
    }

    /// A commit failed, for a reason that a rebalance does not explain.
    pub(super) fn commit_failed(&self, code: Code, health: &Health, now: Instant) {
        match code {
            Code::RebalanceInProgress
            | Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::StaleMemberEpoch
            | Code::NotCoordinator
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::AssignmentLost => tracing::debug!(error = %code, "not committed yet; it is tried again"),
            _ => self.note(code, Some(About::Commit), health, now),
        }
    }

    /// The group has given this worker its share; `some` of it is partitions.
    pub(super) fn joined(&self, some: bool, health: &Health) {
        self.over(health, |standing| {
            standing.about == About::Group || some && standing.about == About::Topic
        });
    }

    /// A commit went through.
    pub(super) fn committed(&self, health: &Health) {
        self.over(health, |standing| standing.about != About::Topic);
    }

    /// Whoever heard them reads no more.
    pub(super) fn forget(&self, health: &Health) {
        self.over(health, |_| true);
    }

    /// Whether it is time to ask anew whether the topic may be read.
    pub(super) fn wants_look(&self, health: &Health, now: Instant) -> bool {
        self.over(health, |standing| {
            standing.about == About::Topic && now.duration_since(standing.heard) >= STANDS_FOR
        });
        let mut state = self.lock();
        if !state.standing.iter().any(|standing| standing.about == About::Topic) {
            return false;
        }
        let due = state.looked.is_none_or(|looked| now.duration_since(looked) >= LOOK_EVERY);
        if due {
            state.looked = Some(now);
        }
        due
    }

    fn note(&self, code: Code, about: Option<About>, health: &Health, now: Instant) {
        let (refused, words) = self.words(code);
        let about = refused.or(about);
        let mut state = self.lock();
        let last = state.said.iter_mut().find(|(said, _)| *said == code);
        match last {
            Some((_, at)) if now.duration_since(*at) < SAID_EVERY => {
                tracing::debug!(error = %code, "the consumer goes on");
            }
            _ => {
                tracing::warn!(error = %code, "{words}");
                state.said.retain(|(said, _)| *said != code);
                state.said.push((code, now));
            }
        }
        let Some(about) = about else { return };
        state.standing.retain(|standing| standing.about != about);
        state.standing.push(Standing { about, heard: now });
        drop(state);
        health.raise(Problem::new(about.key(), words));
    }

    /// What a code says, and what it is about where nothing comes before somebody mends it.
    fn words(&self, code: Code) -> (Option<About>, String) {
        let Self { topic, group, .. } = self;
        match code {
            Code::TopicAuthorizationFailed => (
                Some(About::Topic),
                format!("topic {topic} may not be read by this user: allow it READ on the topic"),
            ),
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
                (Some(About::Topic), format!("topic {topic} is not there: make it"))
            }
            Code::GroupAuthorizationFailed => (
                Some(About::Group),
                format!("group {group} may not be used by this user: allow it READ on the group"),
            ),
            other => (None, format!("the consumer goes on after an error: {other}")),
        }
    }

    fn over(&self, health: &Health, over: impl Fn(&Standing) -> bool) {
        let mut state = self.lock();
        let ended: Vec<About> =
            state.standing.extract_if(.., |standing| over(standing)).map(|standing| standing.about).collect();
        if !ended.is_empty() {
            state.said.clear();
        }
        drop(state);
        ended.into_iter().for_each(|about| health.clear(about.key()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What readiness says beside what a worker that has only begun waits for.
    fn refused(health: &Health) -> Option<String> {
        let reasons = health.ready().unwrap_err().split_off(1);
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    #[test]
    fn a_topic_that_may_not_be_read_is_not_ready_until_it_is_not_refused_any_more() {
        let (refusals, health) = (Refusals::new("requests", "workers"), Health::default());
        let start = Instant::now();
        assert!(!refusals.wants_look(&health, start));
        refusals.heard(Code::TopicAuthorizationFailed, &health, start);
        assert!(refused(&health).unwrap().contains("topic requests may not be read"));
        assert!(refusals.wants_look(&health, start));
        assert!(!refusals.wants_look(&health, start + LOOK_EVERY / 2), "not all the time");
        let again = start + LOOK_EVERY;
        refusals.heard(Code::TopicAuthorizationFailed, &health, again);
        assert!(refusals.wants_look(&health, start + STANDS_FOR), "heard again meanwhile");
        assert!(!refusals.wants_look(&health, again + STANDS_FOR));
        assert_eq!(refused(&health), None);
    }

    #[test]
    fn the_group_s_refusal_ends_with_its_share_and_the_commit_s_with_a_commit() {
        let (refusals, health) = (Refusals::new("requests", "workers"), Health::default());
        let now = Instant::now();
        refusals.heard(Code::GroupAuthorizationFailed, &health, now);
        refusals.commit_failed(Code::InvalidCommitOffsetSize, &health, now);
        refusals.commit_failed(Code::RebalanceInProgress, &health, now);
        assert!(refused(&health).unwrap().contains("group workers"));
        refusals.joined(false, &health);
        assert!(refused(&health).is_some(), "the commit's");
        refusals.committed(&health);
        assert_eq!(refused(&health), None);
    }

    #[test]
    fn an_error_that_mends_itself_is_none_of_readiness() {
        let (refusals, health) = (Refusals::new("requests", "workers"), Health::default());
        refusals.heard(Code::BrokerTransportFailure, &health, Instant::now());
        assert_eq!(refused(&health), None);
    }
}
