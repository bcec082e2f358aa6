//! "Nothing lost", as a measurement: what was acknowledged on the way in against what came out.
//!
//! S are the request ids whose sending the broker acknowledged. At rest, when the group has committed everything, R are
//! the ids that were answered and D those on the dead-letter topic. Then
//! 1. S = R ∪ D, and nothing came out that never went in;
//! 2. an id in D has an error reply in R, and no success;
//! 3. an id answered more than once has equal predictions each time, and it is one that was not committed when a worker was
//!    killed or the broker went away;
//! 4. the committed offset is the end offset on every partition;
//! 5. each reply is what was expected of its request: a label, or an error of one code (a request that expired has one
//!    reply, DEADLINE_EXCEEDED);
//! 6. a dead letter's payload is the payload sent, and its first headers are the headers sent.

use std::collections::{BTreeMap, BTreeSet};

use wire::{ErrorCode, Headers, Outcome, Response};

use crate::traffic::{Acknowledged, Received, Record};

/// What should become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A success whose first label is this.
    Label(String),
    /// A success.
    Success,
    /// An error reply of this code; where `dead`, and only there, the record is on the dead-letter topic too.
    Error {
        /// The code.
        code: ErrorCode,
        /// Whether it is dead-lettered.
        dead: bool,
    },
}

/// What went in and what came out.
#[derive(Default)]
pub struct Account {
    sent: BTreeMap<String, (Record, Expect)>,
    /// Where each acknowledged record landed.
    pub places: Vec<Acknowledged>,
    answers: BTreeMap<String, Vec<Response>>,
    dead: BTreeMap<String, Vec<Received>>,
    offsets: Vec<(i64, i64)>,
    unreadable: Vec<String>,
    /// Another version may have come into service between the first answer to a request and the second.
    pub versions_differ: bool,
}

impl Account {
    /// Notes records that the broker has acknowledged.
    ///
    /// # Panics
    /// Where a record has no id, or one that was used before.
    pub fn sent(
        &mut self,
        records: &[Record],
        acknowledged: Vec<Acknowledged>,
        expect: impl Fn(usize) -> Expect,
    ) {
        assert_eq!(records.len(), acknowledged.len());
        for (i, record) in records.iter().enumerate() {
            let id = record.id().unwrap_or_else(|| panic!("record {i} has no id to account for it by"));
            let before = self.sent.insert(id.clone(), (record.clone(), expect(i)));
            assert!(before.is_none(), "id {id} was sent twice");
        }
        self.places.extend(acknowledged);
    }

    /// How many went in.
    #[must_use]
    pub fn sent_count(&self) -> usize {
        self.sent.len()
    }

    /// Notes everything that the result topic holds.
    pub fn answered(&mut self, results: &[Received]) {
        self.answers.clear();
        self.unreadable.clear();
        for result in results {
            match Response::decode(&result.headers, result.value.as_deref().unwrap_or_default()) {
                Ok(response) => self.answers.entry(response.request_id.clone()).or_default().push(response),
                Err(e) => self.unreadable.push(format!("result {}/{}: {e}", result.partition, result.offset)),
            }
        }
    }

    /// Notes everything that the dead-letter topic holds.
    pub fn dead_lettered(&mut self, records: &[Received]) {
        self.dead.clear();
        for record in records {
            self.dead.entry(record.id().unwrap_or_default()).or_default().push(record.clone());
        }
    }

    /// Notes `(committed, end)` of each partition.
    pub fn committed(&mut self, offsets: Vec<(i64, i64)>) {
        self.offsets = offsets;
    }

    /// The answers to one request.
    #[must_use]
    pub fn answers_to(&self, id: &str) -> &[Response] {
        self.answers.get(id).map_or(&[], Vec::as_slice)
    }

    /// The dead letters of one request.
    #[must_use]
    pub fn dead_letters_of(&self, id: &str) -> &[Received] {
        self.dead.get(id).map_or(&[], Vec::as_slice)
    }

    /// How many answers each worker gave.
    #[must_use]
    pub fn shares(&self) -> BTreeMap<String, usize> {
        let mut shares = BTreeMap::new();
        for response in self.answers.values().flatten() {
            *shares.entry(response.worker.clone()).or_default() += 1;
        }
        shares
    }

    /// How many answers came beyond the first of each request.
    #[must_use]
    pub fn duplicates(&self) -> usize {
        self.answers.values().map(|answers| answers.len() - 1).sum()
    }

    /// Whether each that went in came out in some way.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.sent.keys().all(|id| self.answers.contains_key(id) || self.dead.contains_key(id))
    }

    /// The ids of what lies between the committed offset and the end, where `offsets` are `(committed, end)` of each
    /// partition: what Kafka delivers again where a worker dies at that moment.
    #[must_use]
    pub fn uncommitted(&self, offsets: &[(i64, i64)]) -> BTreeSet<String> {
        let within = |place: &&Acknowledged| {
            let partition = usize::try_from(place.partition).unwrap_or(usize::MAX);
            offsets.get(partition).is_some_and(|(from, end)| (*from..*end).contains(&place.offset))
        };
        self.places.iter().filter(within).filter_map(|place| place.id.clone()).collect()
    }

    /// Of those ids, the ones that this worker has answered.
    #[must_use]
    pub fn answered_by(&self, worker: &str, ids: &BTreeSet<String>) -> BTreeSet<String> {
        let by = |id: &&String| self.answers_to(id).iter().any(|answer| answer.worker == worker);
        ids.iter().filter(by).cloned().collect()
    }

    /// # Panics
    /// Where anything is wrong, or an id was answered twice that is none of those, or one was answered three times.
    pub fn assert_whole_but_for(&self, repeated: &BTreeSet<String>) {
        let mut faults = self.faults(usize::MAX);
        let more = |(id, answers): &(&String, &Vec<Response>)| {
            answers.len() > 1 + usize::from(repeated.contains(*id))
        };
        let more = self.answers.iter().filter(more).map(|(id, _)| id.as_str()).collect::<Vec<_>>();
        if !more.is_empty() {
            let shown = more.iter().take(5).copied().collect::<Vec<_>>().join(", ");
            faults.push(format!(
                "3. answered too often: {} ({shown}); {} might be",
                more.len(),
                repeated.len()
            ));
        }
        assert!(faults.is_empty(), "{} sent; {}", self.sent.len(), faults.join("\n"));
    }

    /// Everything that is wrong, a sentence each; empty where all is well.
    #[must_use]
    pub fn faults(&self, allowed_duplicates: usize) -> Vec<String> {
        let mut faults = self.unreadable.clone();
        let ids = |set: Vec<&String>| {
            let shown = set.iter().take(5).map(|s| s.as_str()).collect::<Vec<_>>().join(", ");
            format!("{} ({shown})", set.len())
        };
        let mut note = |words: &str, set: Vec<&String>| {
            if !set.is_empty() {
                faults.push(format!("{words}: {}", ids(set)));
            }
        };

        let out: BTreeSet<&String> = self.answers.keys().chain(self.dead.keys()).collect();
        note("1. acknowledged but never answered", self.sent.keys().filter(|id| !out.contains(id)).collect());
        note(
            "1. answered but never sent",
            out.iter().filter(|id| !self.sent.contains_key(**id)).copied().collect(),
        );
        let has_error = |r: &Response| matches!(r.outcome, Outcome::Error(_));
        note(
            "2. dead-lettered without an error reply, or with a success",
            self.dead
                .keys()
                .filter(|id| !self.answers.get(*id).is_some_and(|answers| answers.iter().all(has_error)))
                .collect(),
        );
        note(
            "3. answered twice and not alike",
            self.answers
                .iter()
                .filter(|(_, answers)| {
                    answers.windows(2).any(|pair| !alike(&pair[0], &pair[1], self.versions_differ))
                })
                .map(|(id, _)| id)
                .collect(),
        );
        let expected = |id: &&String| {
            let (_, expect) = &self.sent[*id];
            self.answers.get(*id).is_none_or(|answers| answers.iter().all(|answer| meets(expect, answer)))
        };
        note("5. not the answer expected", self.sent.keys().filter(|id| !expected(id)).collect());
        let dead_as_expected = |id: &&String| {
            let (_, expect) = &self.sent[*id];
            matches!(expect, Expect::Error { dead: true, .. }) == self.dead.contains_key(*id)
        };
        note("5. on the dead-letter topic against expectation, or not on it", {
            self.sent.keys().filter(|id| !dead_as_expected(id)).collect()
        });
        let unchanged = |id: &&String| {
            let Some((sent, _)) = self.sent.get(*id) else { return true };
            self.dead[*id].iter().all(|dead| {
                dead.value == sent.value
                    && dead.key == sent.key
                    && only_added_to(&sent.headers, &dead.headers)
            })
        };
        note(
            "6. changed on the way to the dead-letter topic",
            self.dead.keys().filter(|id| !unchanged(id)).collect(),
        );

        if self.duplicates() > allowed_duplicates {
            faults.push(format!("3. {} answers too many, {allowed_duplicates} allowed", self.duplicates()));
        }
        if self.offsets.is_empty() {
            faults.push("4. nobody asked for the committed offsets".to_owned());
        }
        for (partition, (committed, end)) in self.offsets.iter().enumerate() {
            if committed != end {
                faults.push(format!("4. partition {partition}: committed {committed}, end {end}"));
            }
        }
        faults
    }

    /// # Panics
    /// Where anything is wrong.
    pub fn assert_whole(&self, allowed_duplicates: usize) {
        let faults = self.faults(allowed_duplicates);
        assert!(faults.is_empty(), "{} sent; {}", self.sent.len(), faults.join("\n"));
    }
}

/// Whether those are the headers sent, and behind them what says why it is a dead letter.
fn only_added_to(sent: &Headers, dead: &Headers) -> bool {
    let (sent, dead) = (sent.iter().collect::<Vec<_>>(), dead.iter().collect::<Vec<_>>());
    let added = dead.strip_prefix(&sent[..]);
    let of_connect =
        |(name, _): &(&[u8], _)| wire::dead_letter::HEADERS.iter().any(|own| own.as_bytes() == *name);
    added.is_some_and(|added| added.iter().all(of_connect))
}

/// The same predictions, or the same error; of one version, unless they may differ.
fn alike(a: &Response, b: &Response, versions_differ: bool) -> bool {
    match (&a.outcome, &b.outcome) {
        (Outcome::Success(a), Outcome::Success(b)) => {
            (versions_differ || a.model == b.model)
                && a.predictions.len() == b.predictions.len()
                && a.predictions.iter().zip(&b.predictions).all(|(a, b)| {
                    // Another batch size may round the last bits otherwise.
                    a.label == b.label && a.index == b.index && (a.probability - b.probability).abs() < 1e-4
                })
        }
        (Outcome::Error(a), Outcome::Error(b)) => a.code == b.code,
        _ => false,
    }
}

fn meets(expect: &Expect, answer: &Response) -> bool {
    match (expect, &answer.outcome) {
        (Expect::Success, Outcome::Success(_)) => true,
        (Expect::Label(label), Outcome::Success(success)) => {
            success.predictions.first().is_some_and(|p| p.label == *label)
        }
        (Expect::Error { code, .. }, Outcome::Error(error)) => error.code == *code,
        _ => false,
    }
}
