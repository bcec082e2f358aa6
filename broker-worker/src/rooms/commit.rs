//! Which offsets may be committed: for each partition the last one of the contiguous run of answered records. Batches end
//! out of order, so an answered record waits here for those before it.
//!
//! This room has no thread: a ticket writes into the book when its record is answered, and the consume room, the only
//! one that knows the consumer, reads from it what to store.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Delivery;
use crate::load::Load;
use crate::parcels::Ticket;

/// The ledger of all partitions, shared by consume (which opens and reads it) and the tickets (which write into it).
#[derive(Debug)]
pub struct Book {
    ledger: Mutex<Ledger>,
    finished: Condvar,
}

impl Book {
    /// An empty one.
    #[must_use]
    pub fn new(delivery: Delivery) -> Arc<Self> {
        Arc::new(Self { ledger: Mutex::new(Ledger::new(delivery)), finished: Condvar::new() })
    }

    /// This worker owns these partitions now.
    pub fn assign(&self, partitions: impl IntoIterator<Item = i32>) {
        let mut ledger = self.lock();
        partitions.into_iter().for_each(|p| ledger.assign(p));
    }

    /// This worker owns these partitions no longer: what their tickets say from now on counts for nothing.
    pub fn forget(&self, partitions: impl IntoIterator<Item = i32>) {
        let mut ledger = self.lock();
        partitions.into_iter().for_each(|p| ledger.forget(p));
    }

    /// A record is taken: its ticket, or none where the partition was given back or assigned anew since `assignment`
    /// was asked for.
    #[must_use]
    pub fn begin(
        self: &Arc<Self>,
        partition: i32,
        offset: i64,
        assignment: u64,
        load: &Arc<Load>,
        bytes: usize,
    ) -> Option<Ticket> {
        let assignment = self.lock().begin(partition, offset, assignment)?;
        Some(Ticket::new(Arc::clone(self), partition, offset, assignment, load.hold(bytes)))
    }

    /// The number of the partition's present assignment. A record that comes without one opens it.
    #[must_use]
    pub fn assignment(&self, partition: i32) -> u64 {
        self.lock().assignment(partition)
    }

    /// Whether this worker owns the partition.
    #[must_use]
    pub fn owns(&self, partition: i32) -> bool {
        self.lock().lines.contains_key(&partition)
    }

    /// What is to be stored: partition, and offset of the last record answered in a row; each once.
    #[must_use]
    pub fn storable(&self) -> Vec<(i32, i64)> {
        self.lock().storable()
    }

    /// How many records are taken and not answered.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        let ledger = self.lock();
        ledger.lines.keys().map(|p| ledger.outstanding(*p)).sum()
    }

    /// Waits until all records of these partitions are answered, until `deadline` at most. Says how many are not.
    #[must_use]
    pub fn drain(&self, partitions: &[i32], deadline: Instant) -> usize {
        let mut ledger = self.lock();
        loop {
            let left: usize = partitions.iter().map(|p| ledger.outstanding(*p)).sum();
            let time = deadline.saturating_duration_since(Instant::now());
            if left == 0 || time.is_zero() {
                return left;
            }
            ledger = self
                .finished
                .wait_timeout(ledger, time.min(Duration::from_secs(1)))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    pub(crate) fn finish(&self, partition: i32, assignment: u64, offset: i64) {
        self.lock().finish(partition, assignment, offset);
        self.finished.notify_all();
    }

    pub(crate) fn is_live(&self, partition: i32, assignment: u64) -> bool {
        self.lock().lines.get(&partition).is_some_and(|line| line.assignment == assignment)
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rule itself, without threads.
#[derive(Debug)]
struct Ledger {
    delivery: Delivery,
    lines: HashMap<i32, Line>,
    assignments: u64,
}

/// One partition's records, in order.
#[derive(Debug)]
struct Line {
    assignment: u64,
    taken: VecDeque<Entry>,
    answered: Option<i64>,
    stored: Option<i64>,
}

#[derive(Debug)]
struct Entry {
    offset: i64,
    answered: bool,
}

impl Ledger {
    fn new(delivery: Delivery) -> Self {
        Self { delivery, lines: HashMap::new(), assignments: 0 }
    }

    fn assign(&mut self, partition: i32) {
        self.assignments += 1;
        let line =
            Line { assignment: self.assignments, taken: VecDeque::new(), answered: None, stored: None };
        self.lines.insert(partition, line);
    }

    fn forget(&mut self, partition: i32) {
        self.lines.remove(&partition);
    }

    fn assignment(&mut self, partition: i32) -> u64 {
        if !self.lines.contains_key(&partition) {
            self.assign(partition);
        }
        self.lines[&partition].assignment
    }

    fn begin(&mut self, partition: i32, offset: i64, assignment: u64) -> Option<u64> {
        let line = self.lines.get(&partition).filter(|line| line.assignment == assignment)?;
        let last = line.taken.back().map(|e| e.offset).max(line.answered);
        if last.is_some_and(|last| offset <= last) {
            // The partition was read from an earlier place again, as after its log was cut: what was known about it
            // is about other records.
            self.assign(partition);
        }
        let line = self.lines.get_mut(&partition)?;
        line.taken.push_back(Entry { offset, answered: false });
        if self.delivery == Delivery::AtMostOnce {
            line.answered = Some(offset);
        }
        Some(line.assignment)
    }

    fn finish(&mut self, partition: i32, assignment: u64, offset: i64) {
        let Some(line) = self.lines.get_mut(&partition).filter(|l| l.assignment == assignment) else {
            return;
        };
        if let Ok(at) = line.taken.binary_search_by_key(&offset, |entry| entry.offset) {
            line.taken[at].answered = true;
        }
        while line.taken.front().is_some_and(|entry| entry.answered) {
            let entry = line.taken.pop_front();
            line.answered = line.answered.max(entry.map(|e| e.offset));
        }
    }

    fn outstanding(&self, partition: i32) -> usize {
        self.lines.get(&partition).map_or(0, |line| line.taken.iter().filter(|e| !e.answered).count())
    }

    fn storable(&mut self) -> Vec<(i32, i64)> {
        let moved = self.lines.iter_mut().filter(|(_, line)| line.answered != line.stored);
        moved
            .filter_map(|(partition, line)| {
                line.stored = line.answered;
                line.answered.map(|offset| (*partition, offset))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        book: Arc<Book>,
        load: Arc<Load>,
    }

    impl Bench {
        fn new() -> Self {
            Self { book: Book::new(Delivery::AtLeastOnce), load: Arc::default() }
        }

        fn take(&self, partition: i32, offset: i64) -> Ticket {
            let assignment = self.book.assignment(partition);
            self.book.begin(partition, offset, assignment, &self.load, 1).unwrap()
        }
    }

    #[test]
    fn stores_the_end_of_the_contiguous_run_and_nothing_beyond() {
        let bench = Bench::new();
        let mut tickets: Vec<_> = (10..15).map(|offset| Some(bench.take(0, offset))).collect();
        let mut finish = |i: usize| tickets[i].take().unwrap().finish();
        finish(2);
        finish(1);
        assert_eq!(bench.book.storable(), [], "10 is not answered");
        finish(0);
        assert_eq!(bench.book.storable(), [(0, 12)]);
        assert_eq!(bench.book.storable(), [], "each once");
        finish(4);
        assert_eq!(bench.book.storable(), []);
        finish(3);
        assert_eq!(bench.book.storable(), [(0, 14)]);
        assert_eq!(bench.book.outstanding(), 0);
    }

    #[test]
    fn gaps_in_the_offsets_are_no_missing_answers() {
        let bench = Bench::new();
        let (a, b) = (bench.take(0, 3), bench.take(0, 9));
        a.finish();
        b.finish();
        assert_eq!(bench.book.storable(), [(0, 9)]);
    }

    #[test]
    fn a_dropped_ticket_holds_its_offset_back() {
        let bench = Bench::new();
        let (a, b) = (bench.take(0, 0), bench.take(0, 1));
        drop(a);
        b.finish();
        assert_eq!(bench.book.storable(), []);
        assert_eq!(bench.book.outstanding(), 1);
        assert_eq!(bench.load.amount().requests, 0, "but takes up no room");
    }

    #[test]
    fn partitions_do_not_wait_for_each_other() {
        let bench = Bench::new();
        let (_held, free) = (bench.take(0, 0), bench.take(1, 0));
        free.finish();
        assert_eq!(bench.book.storable(), [(1, 0)]);
    }

    #[test]
    fn tickets_of_a_lost_assignment_store_nothing() {
        let bench = Bench::new();
        let old = bench.take(0, 5);
        assert!(old.is_live());
        bench.book.forget([0]);
        assert!(!old.is_live());
        bench.book.assign([0]);
        assert!(!old.is_live(), "the same partition, assigned anew");
        let again = bench.take(0, 5);
        old.finish();
        assert_eq!(bench.book.storable(), []);
        again.finish();
        assert_eq!(bench.book.storable(), [(0, 5)]);
    }

    #[test]
    fn a_record_polled_before_a_rebalance_gets_no_ticket_after_it() {
        let bench = Bench::new();
        let assignment = bench.book.assignment(0);
        bench.book.forget([0]);
        assert!(bench.book.begin(0, 7, assignment, &bench.load, 1).is_none());
        bench.book.assign([0]);
        assert!(bench.book.begin(0, 7, assignment, &bench.load, 1).is_none());
        assert_eq!(bench.load.amount().requests, 0);
    }

    #[test]
    fn a_partition_read_from_an_earlier_place_starts_anew() {
        let bench = Bench::new();
        let late = bench.take(0, 100);
        let early = bench.take(0, 0);
        late.finish();
        assert_eq!(bench.book.storable(), []);
        early.finish();
        assert_eq!(bench.book.storable(), [(0, 0)]);
    }

    #[test]
    fn at_most_once_stores_on_receipt() {
        let bench = Bench { book: Book::new(Delivery::AtMostOnce), load: Arc::default() };
        let _held = bench.take(0, 4);
        assert_eq!(bench.book.storable(), [(0, 4)]);
    }

    #[test]
    fn draining_waits_for_the_partitions_that_go_and_for_no_others() {
        let bench = Bench::new();
        let (goes, _stays) = (bench.take(0, 0), bench.take(1, 0));
        let far = Instant::now() + Duration::from_secs(600);
        let book = Arc::clone(&bench.book);
        let drain = std::thread::spawn(move || book.drain(&[0], far));
        goes.finish();
        assert_eq!(drain.join().unwrap(), 0);
        assert_eq!(
            bench.book.drain(&[1], Instant::now()),
            1,
            "what is not answered by the deadline is counted"
        );
    }
}
