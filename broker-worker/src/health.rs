//! Whether the worker lives and whether it is ready, and why not.
//!
//! - **Ready** is a worker whose models are warm, whose broker answers, whose group has given it a share, and that has no
//!   [`Problem`]. Whoever sees one raises it under a key and clears it when it is over; `/readyz` lists them all.
//! - **Live** is a worker none of whose rooms is at the same piece of work for longer than a minute. Each thread of a room
//!   has a [`Pulse`]: it beats when it begins a piece of work, and rests while it waits, for its input, for a place
//!   further on or for a broker, however long that takes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// At one piece of work for that long, a room hangs: no batch and no decoding takes a tenth of it.
const STUCK: Duration = Duration::from_secs(60);

/// Something that keeps this worker from serving as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is about, as `results-topic`: raised again under the same key, the newer sentence stands.
    pub key: Cow<'static, str>,
    /// What is wrong and what to do about it.
    pub sentence: String,
}

impl Problem {
    /// One of that key.
    #[must_use]
    pub fn new(key: impl Into<Cow<'static, str>>, sentence: impl Into<String>) -> Self {
        Self { key: key.into(), sentence: sentence.into() }
    }
}

type Sentences = BTreeMap<Cow<'static, str>, String>;

/// What the rooms say about themselves.
#[derive(Debug)]
pub struct Health {
    warm: AtomicBool,
    connected: AtomicBool,
    joined: AtomicBool,
    draining: AtomicBool,
    problems: Mutex<Sentences>,
    notes: Mutex<Sentences>,
    pulses: Mutex<Vec<Weak<Beat>>>,
    stuck: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self::with_patience(STUCK)
    }
}

impl Health {
    /// With a bound of one's own on how long a piece of work may take.
    #[must_use]
    pub fn with_patience(stuck: Duration) -> Self {
        Self {
            warm: AtomicBool::default(),
            connected: AtomicBool::default(),
            joined: AtomicBool::default(),
            draining: AtomicBool::default(),
            problems: Mutex::default(),
            notes: Mutex::default(),
            pulses: Mutex::default(),
            stuck,
        }
    }

    /// How long a piece of work may take.
    pub(crate) fn patience(&self) -> Duration {
        self.stuck
    }

    /// The models are loaded and warm.
    pub fn set_warm(&self) {
        self.warm.store(true, Ordering::Relaxed);
    }

    /// A broker answers.
    pub fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// Whether a broker answers.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// The group has given this worker its share, be it none.
    pub fn set_joined(&self, joined: bool) {
        self.joined.store(joined, Ordering::Relaxed);
    }

    /// The worker ends.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The worker is not ready while this stands. Logged when it is new or says something new.
    pub fn raise(&self, problem: Problem) {
        let Problem { key, sentence } = problem;
        let mut problems = lock(&self.problems);
        if problems.get(&key) != Some(&sentence) {
            tracing::warn!(problem = %key, "{sentence}");
            problems.insert(key, sentence);
        }
    }

    /// It is over, if it ever was.
    pub fn clear(&self, key: &str) {
        if lock(&self.problems).remove(key).is_some() {
            tracing::info!(problem = key, "that is over");
        }
    }

    /// Something that `/readyz` shows beside its answer, and that keeps nobody from being served. Whether it is new, or says
    /// something new.
    pub fn note(&self, note: Problem) -> bool {
        let Problem { key, sentence } = note;
        let before = lock(&self.notes).insert(key, sentence.clone());
        before != Some(sentence)
    }

    /// There is nothing to note any more; whether there was.
    pub fn withdraw(&self, key: &str) -> bool {
        lock(&self.notes).remove(key).is_some()
    }

    /// The sign of life of one thread of a room, until it is dropped.
    #[must_use]
    pub fn pulse(&self, room: impl Into<String>) -> Pulse {
        let (room, origin) = (room.into(), Instant::now());
        let beat = Arc::new(Beat { room, origin, since: AtomicU64::new(RESTS), work: Mutex::default() });
        let mut pulses = lock(&self.pulses);
        pulses.retain(|other| other.strong_count() > 0);
        pulses.push(Arc::downgrade(&beat));
        Pulse(beat)
    }

    /// # Errors
    /// Why the process had better be started anew: which rooms hang.
    pub fn live(&self) -> Result<(), String> {
        let pulses: Vec<_> = lock(&self.pulses).iter().filter_map(Weak::upgrade).collect();
        let stuck = pulses.iter().filter_map(|beat| Some((beat, beat.at_work()?)));
        let stuck: Vec<_> = stuck
            .filter(|(_, time)| *time > self.stuck)
            .map(|(beat, time)| {
                let (room, work) = (&beat.room, lock(&beat.work));
                let seconds = time.as_secs();
                if work.is_empty() {
                    format!("{room} has been at the same piece of work for {seconds} s")
                } else {
                    format!("{room} has been at the same piece of work for {seconds} s: {work}")
                }
            })
            .collect();
        if stuck.is_empty() { Ok(()) } else { Err(stuck.join("\n")) }
    }

    /// What there is to know beside, where it is ready.
    ///
    /// # Errors
    /// What it waits for and what is wrong, a sentence each.
    pub fn ready(&self) -> Result<Vec<String>, Vec<String>> {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let waits_for = if is(&self.draining) {
            Some("the worker is shutting down")
        } else if !is(&self.warm) {
            Some("the models are being loaded")
        } else if !is(&self.connected) {
            Some("no broker answers")
        } else if !is(&self.joined) {
            Some("the consumer group has not given partitions yet")
        } else {
            None
        };
        let mut reasons: Vec<_> = self.live().err().into_iter().collect();
        reasons.extend(waits_for.map(str::to_owned));
        reasons.extend(lock(&self.problems).values().cloned());
        let notes: Vec<_> = lock(&self.notes).values().cloned().collect();
        if reasons.is_empty() {
            Ok(notes)
        } else {
            reasons.extend(notes);
            Err(reasons)
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sign of life of one thread of a room. It rests at first.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Beat>);

/// In [`Beat::since`]: the room waits.
const RESTS: u64 = u64::MAX;

#[derive(Debug)]
struct Beat {
    room: String,
    origin: Instant,
    /// Milliseconds after `origin` at which the present piece of work was begun.
    since: AtomicU64,
    /// What it is, where that helps somebody.
    work: Mutex<String>,
}

impl Beat {
    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(RESTS - 1)
    }

    /// For how long it has been at its piece of work; `None` where it rests.
    fn at_work(&self) -> Option<Duration> {
        let since = self.since.load(Ordering::Relaxed);
        (since != RESTS).then(|| Duration::from_millis(self.now().saturating_sub(since)))
    }
}

impl Pulse {
    /// A piece of work begins, or the next step of a long one.
    pub fn beat(&self) {
        self.0.since.store(self.0.now(), Ordering::Relaxed);
    }

    /// As [`Pulse::beat`], by a name for whoever has to find out why it does not end.
    pub fn beat_at(&self, work: impl Into<String>) {
        *lock(&self.0.work) = work.into();
        self.beat();
    }

    /// The room waits: for its input, for a place further on, for a broker.
    pub fn rest(&self) {
        self.0.since.store(RESTS, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Health {
        let health = Health::default();
        health.set_warm();
        health.set_connected(true);
        health.set_joined(true);
        health
    }

    #[test]
    fn ready_is_said_when_all_is_and_taken_back_at_the_end() {
        let health = Health::default();
        let reason = |health: &Health| health.ready().unwrap_err().join("; ");
        assert_eq!(reason(&health), "the models are being loaded");
        health.set_warm();
        assert_eq!(reason(&health), "no broker answers");
        health.set_connected(true);
        assert!(reason(&health).contains("consumer group"));
        health.set_joined(true);
        assert_eq!(health.ready(), Ok(vec![]));
        health.set_draining();
        assert_eq!(reason(&health), "the worker is shutting down");
        assert_eq!(health.live(), Ok(()));
    }

    #[test]
    fn each_problem_stands_until_it_is_cleared_and_its_newest_sentence_shows() {
        let health = ready();
        health.raise(Problem::new("results-topic", "too small"));
        health.raise(Problem::new("results-topic", "still too small"));
        health.raise(Problem::new("authorization", "may not read"));
        health.note(Problem::new("bird", "bird is not served"));
        let reasons = health.ready().unwrap_err();
        assert_eq!(reasons, ["may not read", "still too small", "bird is not served"]);
        assert_eq!(health.live(), Ok(()), "to start it anew would not help");
        health.clear("results-topic");
        health.clear("authorization");
        health.clear("never raised");
        assert_eq!(health.ready(), Ok(vec!["bird is not served".to_owned()]), "a note holds nobody up");
    }

    #[test]
    fn a_room_that_is_too_long_at_one_piece_of_work_is_named() {
        let health = Health::with_patience(Duration::ZERO);
        let (net, respond) = (health.pulse("infer-0"), health.pulse("respond"));
        net.beat_at("a batch of 3 for bird 1");
        let waited = Instant::now();
        while waited.elapsed() < Duration::from_millis(2) {
            std::thread::yield_now();
        }
        respond.rest();
        let hangs = health.live().unwrap_err();
        assert!(hangs.starts_with("infer-0 ") && hangs.ends_with(": a batch of 3 for bird 1"), "{hangs}");
        assert!(!hangs.contains("respond"), "{hangs}");
        assert!(health.ready().unwrap_err().contains(&hangs));
        net.rest();
        assert_eq!(health.live(), Ok(()), "whoever waits does not hang");
        net.beat();
        drop(net);
        assert_eq!(health.live(), Ok(()), "nor does a room that has ended");
    }
}
