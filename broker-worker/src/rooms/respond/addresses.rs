//! Where replies go, and how much of the room those may hold that go to topics which senders name. Such a topic may stand
//! still or refuse whatever it is sent; its sender would stop the service for everyone, were its replies waited for without
//! bound. What there is no place for goes to the results topic at once.

use std::collections::HashMap;
use std::time::Duration;

use kafka::Topics;
use tokio::time::Instant;
use wire::ReplyTo;

use crate::topics::Pattern;

/// An address that takes nothing for that long, while others do, stands still.
const QUIET: Duration = Duration::from_millis(500);
/// For how long an address is suspected after a fault.
const SUSPECT: Duration = Duration::from_secs(30);
/// How many replies may try a suspected address at a time.
const TRIES: usize = 4;
/// How many suspected addresses are remembered while nothing is on its way to them.
const REMEMBERED: usize = 1000;

/// Where a reply goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    /// The topic.
    pub(super) topic: String,
    /// The partition; by the key where `None`.
    pub(super) partition: Option<i32>,
    /// The topic is the sender's choice, and not one of the worker's own.
    pub(super) named: bool,
}

/// Which addresses are accepted.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) topics: Topics,
    pub(super) allow: Option<Pattern>,
}

impl Rule {
    /// The results topic, its partition chosen by the key.
    pub(super) fn results(&self) -> Destination {
        Destination { topic: self.topics.results.clone(), partition: None, named: false }
    }

    /// Where a reply goes that asks for that address. A topic that the worker itself reads or writes for another purpose
    /// gives way to the results topic, and so does one that the configuration does not allow: a reply among the requests
    /// would be read as one.
    pub(super) fn destination(&self, asked: &ReplyTo) -> Destination {
        let results = &self.topics.results;
        match &asked.topic {
            None => Destination { partition: asked.partition, ..self.results() },
            Some(topic) if topic == results => Destination { partition: asked.partition, ..self.results() },
            Some(topic) if self.allows(topic) => {
                Destination { topic: topic.clone(), partition: asked.partition, named: true }
            }
            Some(_) => self.results(),
        }
    }

    fn allows(&self, topic: &str) -> bool {
        let Topics { requests, dead_letter, models, .. } = &self.topics;
        let own = [requests, dead_letter, models].into_iter().any(|own| own == topic);
        // Those with two underscores are Kafka's own.
        !own && !topic.starts_with("__") && self.allow.as_ref().is_none_or(|allow| allow.matches(topic))
    }
}

/// What is on its way to topics that senders name.
#[derive(Debug)]
pub(super) struct Addresses {
    each: HashMap<String, Address>,
    all: Address,
    /// How many replies an address may hold, and how many all together.
    bounds: (usize, usize),
    /// When something was last delivered, to any topic.
    delivered: Option<Instant>,
}

/// What is on its way to one topic.
#[derive(Clone, Copy, Debug, Default)]
struct Address {
    held: usize,
    /// Since when something is held and nothing was delivered.
    quiet: Option<Instant>,
    /// Suspected until then.
    suspect: Option<Instant>,
}

impl Address {
    /// Whether it holds as much as it may. Whether a topic stands still shows by others that do not: where nothing at all
    /// is delivered, the broker is the cause, and nobody's reply goes elsewhere for that.
    fn is_full(&self, bound: usize, delivered: Option<Instant>, now: Instant) -> bool {
        let stands_still =
            self.quiet.is_some_and(|since| now - since >= QUIET && delivered.is_some_and(|at| at > since));
        let suspect = self.suspect.is_some_and(|until| until > now);
        (suspect && self.held >= TRIES) || (self.held >= bound && stands_still)
    }

    fn take(&mut self, now: Instant) {
        self.held += 1;
        self.quiet.get_or_insert(now);
    }

    fn give_back(&mut self, delivered: bool, now: Instant) {
        self.held = self.held.saturating_sub(1);
        if self.held == 0 {
            self.quiet = None;
        } else if delivered {
            self.quiet = Some(now);
        }
    }
}

impl Addresses {
    /// None held; all together may hold `bound` replies.
    pub(super) fn new(bound: usize) -> Self {
        let bounds = ((bound / 2).max(1), bound.max(1));
        Self { each: HashMap::new(), all: Address::default(), bounds, delivered: None }
    }

    /// Takes a place for a reply to that topic; false where there is none.
    pub(super) fn admit(&mut self, topic: &str, now: Instant) -> bool {
        let known = self.each.get(topic).copied().unwrap_or_default();
        let full = known.is_full(self.bounds.0, self.delivered, now)
            || self.all.is_full(self.bounds.1, self.delivered, now);
        if full {
            return false;
        }
        self.all.take(now);
        self.each.entry(topic.to_owned()).or_default().take(now);
        true
    }

    /// Gives a place back. `delivered`: the topic has the reply.
    pub(super) fn leave(&mut self, topic: &str, delivered: bool, now: Instant) {
        self.all.give_back(delivered, now);
        let Some(address) = self.each.get_mut(topic) else { return };
        address.give_back(delivered, now);
        if delivered {
            address.suspect = None;
        }
        if address.held == 0 && address.suspect.is_none_or(|until| until <= now) {
            self.each.remove(topic);
        }
    }

    /// That topic does not take what it is sent.
    pub(super) fn suspect(&mut self, topic: &str, now: Instant) {
        if self.each.len() > REMEMBERED {
            self.each.retain(|_, address| address.held > 0);
        }
        self.each.entry(topic.to_owned()).or_default().suspect = Some(now + SUSPECT);
    }

    /// Something was delivered, to whatever topic.
    pub(super) fn progress(&mut self, now: Instant) {
        self.delivered = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: Option<&str>) -> Rule {
        Rule { topics: Topics::default(), allow: allow.map(|text| text.parse().unwrap()) }
    }

    fn asked(topic: &str) -> ReplyTo {
        ReplyTo { topic: Some(topic.to_owned()), partition: Some(1), correlation_id: None }
    }

    #[test]
    fn a_reply_goes_where_it_is_asked_for() {
        let named = Destination { topic: "answers".into(), partition: Some(1), named: true };
        assert_eq!(rule(None).destination(&asked("answers")), named);
        let own = Destination { partition: Some(1), ..rule(None).results() };
        assert_eq!(rule(None).destination(&asked("predict.results")), own);
        assert_eq!(rule(None).destination(&ReplyTo { topic: None, ..asked("") }), own);
    }

    #[test]
    fn topics_of_the_worker_s_and_of_kafka_s_own_are_no_address() {
        for topic in ["predict.requests", "predict.dead-letter", "predict.models", "__consumer_offsets"] {
            assert_eq!(rule(None).destination(&asked(topic)), rule(None).results(), "{topic}");
        }
    }

    #[test]
    fn of_the_others_those_that_the_pattern_matches_as_a_whole() {
        let rule = rule(Some(r"replies\..+|answers"));
        assert!(rule.destination(&asked("replies.a")).named);
        assert!(rule.destination(&asked("answers")).named);
        for topic in ["replies.", "my.replies.a", "answers2", "other"] {
            assert_eq!(rule.destination(&asked(topic)), rule.results(), "{topic}");
        }
    }

    /// Time passes in steps of [`QUIET`].
    fn at(start: Instant, steps: u32) -> Instant {
        start + QUIET * steps
    }

    #[test]
    fn an_address_that_stands_still_while_others_do_not_holds_half_of_what_all_may() {
        let start = Instant::now();
        let mut addresses = Addresses::new(8);
        assert!((0..4).all(|_| addresses.admit("stuck", start)));
        assert!(addresses.admit("stuck", at(start, 1)), "nothing else is delivered either: it is the broker");
        addresses.progress(at(start, 1));
        assert!(!addresses.admit("stuck", at(start, 2)));
        assert!(addresses.admit("other", at(start, 2)), "each has its own bound");
        addresses.leave("stuck", true, at(start, 2));
        assert!(addresses.admit("stuck", at(start, 2)), "it takes replies again");
    }

    #[test]
    fn many_addresses_that_stand_still_hold_no_more_than_all_may() {
        let start = Instant::now();
        let mut addresses = Addresses::new(8);
        assert!((0..8).all(|i| addresses.admit(&format!("stuck-{i}"), start)));
        addresses.progress(at(start, 1));
        assert!(!addresses.admit("stuck-8", at(start, 2)));
        addresses.leave("stuck-0", false, at(start, 2));
        assert!(addresses.admit("stuck-8", at(start, 2)));
    }

    #[test]
    fn one_that_is_busy_and_delivers_is_not_bounded() {
        let start = Instant::now();
        let mut addresses = Addresses::new(8);
        for step in 0..100 {
            assert!(addresses.admit("busy", at(start, step)));
            assert!(addresses.admit("busy", at(start, step)));
            addresses.leave("busy", true, at(start, step));
            addresses.progress(at(start, step));
        }
    }

    #[test]
    fn a_suspected_address_is_tried_by_a_few_until_it_takes_one() {
        let start = Instant::now();
        let mut addresses = Addresses::new(64);
        addresses.suspect("broken", start);
        assert!((0..TRIES).all(|_| addresses.admit("broken", start)));
        assert!(!addresses.admit("broken", start));
        addresses.leave("broken", true, start);
        assert!(addresses.admit("broken", start) && addresses.admit("broken", start), "it works again");
        addresses.suspect("broken", start);
        assert!(!addresses.admit("broken", start));
        assert!(addresses.admit("broken", start + SUSPECT), "the suspicion does not last");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let now = Instant::now();
        let mut addresses = Addresses::new(8);
        for i in 0..10 * REMEMBERED {
            let topic = format!("no-such-{i}");
            assert!(addresses.admit(&topic, now));
            addresses.suspect(&topic, now);
            addresses.leave(&topic, false, now);
        }
        assert!(addresses.each.len() <= REMEMBERED + 1);
        assert_eq!(addresses.all.held, 0);
    }
}
