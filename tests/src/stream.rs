//! A steady flow of requests, for things to go wrong in the middle of: there are always some hundred under way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use wire::{Encoding, Outcome, Request, Response};

use crate::PATIENCE;
use crate::account::{Account, Expect};
use crate::images::{Sample, clothes};
use crate::scene::Scene;
use crate::traffic::{Acknowledged, Reader, Record, Sender};

/// How many requests are kept under way.
pub const UNDER_WAY: usize = 400;
const CHUNK: usize = 50;

/// Requests for the ten samples of Fashion-MNIST, in all three formats in turn, and what came of them.
pub struct Stream<'a> {
    scene: &'a Scene,
    sender: Sender,
    results: Reader,
    samples: Vec<Sample>,
    looked_at: usize,
    answered: BTreeSet<String>,
    run: usize,
    shares: BTreeMap<String, usize>,
    versions: BTreeMap<u32, usize>,
    /// What went in.
    pub account: Account,
    /// Whichever label an image gets is right.
    pub any_label: bool,
}

impl<'a> Stream<'a> {
    /// On that scene; nothing is sent yet.
    #[must_use]
    pub fn new(scene: &'a Scene) -> Self {
        Self {
            scene,
            sender: scene.sender(),
            results: scene.results(),
            samples: clothes(),
            looked_at: 0,
            answered: BTreeSet::new(),
            run: 0,
            shares: BTreeMap::new(),
            versions: BTreeMap::new(),
            account: Account::default(),
            any_label: false,
        }
    }

    /// How many requests are answered.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.answered.len()
    }

    /// How many are answered of those that were sent first, up to the first that is not.
    #[must_use]
    pub fn answered_run(&self) -> usize {
        self.run
    }

    /// How many answers have come beyond the first of each request.
    #[must_use]
    pub fn duplicates(&self) -> usize {
        self.shares.values().sum::<usize>() - self.answered.len()
    }

    /// How many answers that worker has given.
    #[must_use]
    pub fn answered_by(&self, worker: &str) -> usize {
        self.shares.get(worker).copied().unwrap_or_default()
    }

    /// How many answers that version has given.
    #[must_use]
    pub fn answered_by_version(&self, version: u32) -> usize {
        self.versions.get(&version).copied().unwrap_or_default()
    }

    /// Sends that many at once.
    pub fn send(&mut self, count: usize) {
        let first = self.account.sent_count();
        let sample = |i: usize| &self.samples[i % self.samples.len()];
        let records = (first..first + count)
            .map(|i| {
                let request = Request {
                    model: Some("fashion-mnist".to_owned()),
                    ..Request::new(sample(i).bytes.clone())
                };
                Record::of(&request, Encoding::ALL[i / self.samples.len() % 3])
            })
            .collect::<Vec<_>>();
        let acknowledged = self.sender.send(&records);
        let any = self.any_label;
        let label = |i: usize| Expect::Label(sample(first + i).label.clone());
        self.account.sent(&records, acknowledged, |i| if any { Expect::Success } else { label(i) });
    }

    /// Keeps the flow up until `done`.
    ///
    /// # Panics
    /// Where it is not done in time.
    pub fn flow_until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}: {}", self.state());
            while self.account.sent_count() < self.answered() + UNDER_WAY {
                self.send(CHUNK);
            }
            self.look();
        }
    }

    /// Sends nothing more and waits until that many are answered.
    ///
    /// # Panics
    /// Where they are not in time.
    pub fn wait_answered(&mut self, count: usize) {
        let end = Instant::now() + PATIENCE;
        while self.answered() < count {
            assert!(Instant::now() < end, "waited {PATIENCE:?} for {count} answers: {}", self.state());
            self.look();
        }
    }

    fn state(&self) -> String {
        format!(
            "{} sent, {} answered, by {:?}; (committed, end) of each partition: {:?}",
            self.account.sent_count(),
            self.answered(),
            self.shares,
            self.scene.offsets()
        )
    }

    /// How many requests are committed and yet unanswered, of each partition: what is lost if their worker dies.
    pub fn committed_unanswered(&mut self) -> Vec<usize> {
        let offsets = self.scene.offsets();
        self.results.read_to_end(PATIENCE);
        self.look();
        let mut counts = vec![0; offsets.len()];
        for sent in self.account.places.iter().filter(|sent| !self.is_answered(sent)) {
            let partition = usize::try_from(sent.partition).unwrap_or(usize::MAX);
            if offsets.get(partition).is_some_and(|(committed, _)| sent.offset < *committed) {
                counts[partition] += 1;
            }
        }
        counts
    }

    /// Reads the answers that have come.
    pub fn look(&mut self) {
        self.results.poll();
        for result in &self.results.seen[self.looked_at..] {
            let value = result.value.as_deref().unwrap_or_default();
            // What can't be read is found by the account at the end.
            let Ok(response) = Response::decode(&result.headers, value) else { continue };
            *self.shares.entry(response.worker).or_default() += 1;
            if let Outcome::Success(success) = response.outcome {
                *self.versions.entry(success.model.version).or_default() += 1;
            }
            self.answered.insert(response.request_id);
        }
        self.looked_at = self.results.seen.len();
        self.run += self.account.places[self.run..].iter().take_while(|sent| self.is_answered(sent)).count();
    }

    fn is_answered(&self, sent: &Acknowledged) -> bool {
        sent.id.as_ref().is_some_and(|id| self.answered.contains(id))
    }

    /// Waits until everything is at rest, and reads the account.
    #[must_use]
    pub fn settle(mut self) -> Account {
        self.scene.settle(&mut self.account);
        self.account
    }
}

/// A stream of so many requests a second, however fast they are answered.
pub struct Paced<'a> {
    /// What is sent and answered.
    pub stream: Stream<'a>,
    per_second: f64,
    sent: Instant,
    owed: f64,
}

/// How often requests are sent.
const TICK: Duration = Duration::from_millis(50);

impl<'a> Paced<'a> {
    /// From now on.
    #[must_use]
    pub fn new(stream: Stream<'a>, per_second: f64) -> Self {
        Self { stream, per_second, sent: Instant::now(), owed: 0.0 }
    }

    /// Goes on from now: what was not sent while something else was done is not sent all at once.
    pub fn resume(&mut self) {
        (self.sent, self.owed) = (Instant::now(), 0.0);
    }

    /// Goes on until `done`.
    ///
    /// # Panics
    /// Where it is not done in time.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&Stream<'_>) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(&self.stream) {
            assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}: {}", self.stream.state());
            let elapsed = self.sent.elapsed();
            if elapsed >= TICK {
                self.sent = Instant::now();
                self.owed += elapsed.as_secs_f64() * self.per_second;
                self.stream.send(self.owed as usize);
                self.owed -= self.owed.floor();
            }
            self.stream.look();
        }
    }
}
