//! Which offsets may be committed: for each partition the end of the contiguous run of answered records. Batches end out
//! of order, so an answered record waits here for those before it.
//!
//! It is shared by the consume room, the only one that knows the consumer, which opens it and commits what it says, and by
//! the tickets, which write into it when their records are answered. What it holds is bounded: the consume room lets no
//! partition run far ahead of its first unanswered record.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::group::Delivery;
use crate::parcels::Ticket;
use crate::pressure::Pressure;

#[cfg(test)]
mod tests;

/// The ledger of all partitions.
#[derive(Debug)]
pub struct Book {
    ledger: Mutex<Ledger>,
    finished: Condvar,
}

impl Book {
    /// A book without partitions.
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

    /// A record is taken: its ticket, and [how far](Self::ahead) its partition is ahead with it. None where the partition
    /// was given back or assigned anew since `assignment` was asked for.
    #[must_use]
    pub fn begin(
        self: &Arc<Self>,
        partition: i32,
        offset: i64,
        assignment: u64,
        pressure: &Arc<Pressure>,
        bytes: usize,
    ) -> Option<(Ticket, usize)> {
        let (assignment, ahead) = self.lock().begin(partition, offset, assignment)?;
        Some((Ticket::new(Arc::clone(self), partition, offset, assignment, pressure.hold(bytes)), ahead))
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

    /// What is to be committed: partition, and offset of the next record to read. It is so until it is
    /// [`committed`](Self::committed).
    #[must_use]
    pub fn due(&self) -> Vec<(i32, i64)> {
        self.lock().due().collect()
    }

    /// The broker has that offset.
    pub fn committed(&self, partition: i32, offset: i64) {
        if let Some(line) = self.lock().lines.get_mut(&partition) {
            line.committed = Some(offset);
        }
    }

    /// No offset of the partition was ever committed, and its log begins there: that is committed until there is more to
    /// say, since whatever scales workers by their lag sees none where nothing is committed.
    pub fn never_committed(&self, partition: i32, log_start: i64) {
        if let Some(line) = self.lock().lines.get_mut(&partition)
            && line.next.is_none()
        {
            line.next = Some(line.taken.front().map_or(log_start, |first| first.offset.min(log_start)));
        }
    }

    /// The consumer has read the partition up to there, markers of transactions included, which are no records. They may
    /// be committed where no record before them waits.
    pub fn passed(&self, partition: i32, position: i64) {
        if let Some(line) = self.lock().lines.get_mut(&partition)
            && line.taken.is_empty()
        {
            line.next = line.next.max(Some(position));
        }
    }

    /// How many records of the partition were taken since the first that is not answered, that one included.
    #[must_use]
    pub fn ahead(&self, partition: i32) -> usize {
        self.lock().lines.get(&partition).map_or(0, |line| line.taken.len())
    }

    /// For each partition the first record that is not answered, and since when it is waited for.
    #[must_use]
    pub fn oldest(&self) -> Vec<(i32, Option<Oldest>)> {
        self.lock().lines.iter().map(|(partition, line)| (*partition, line.oldest())).collect()
    }

    /// How many records are taken and not answered.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.lock().lines.values().map(Line::outstanding).sum()
    }

    /// Waits until all records of these partitions are answered, until `deadline` at most. Says how many are not.
    #[must_use]
    pub fn drain(&self, partitions: &[i32], deadline: Instant) -> usize {
        let mut ledger = self.lock();
        loop {
            let left = partitions.iter().filter_map(|p| ledger.lines.get(p)).map(Line::outstanding).sum();
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
        self.lock().lines.get(&partition).is_some_and(|line| line.has_given(assignment))
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first record of a partition that is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oldest {
    /// Its offset.
    pub offset: i64,
    /// When it was taken.
    pub since: Instant,
}

/// The rule itself, without threads.
#[derive(Debug)]
struct Ledger {
    delivery: Delivery,
    lines: HashMap<i32, Line>,
    assignments: u64,
}

/// One partition's records, in order, from the first that is not answered on.
#[derive(Debug)]
struct Line {
    assignment: u64,
    /// The first assignment since this worker owns the partition: others follow where it is read from an earlier place again.
    owned_since: u64,
    taken: VecDeque<Entry>,
    unanswered: usize,
    /// Records without an answer that were taken before it was read from an earlier place. Nobody else answers them, and
    /// their offsets are about other records now.
    outlived: usize,
    /// The offset that may be committed: that of the next record to read.
    next: Option<i64>,
    committed: Option<i64>,
}

#[derive(Debug)]
struct Entry {
    offset: i64,
    since: Instant,
    answered: bool,
}

impl Line {
    fn new(assignment: u64) -> Self {
        Self {
            assignment,
            owned_since: assignment,
            taken: VecDeque::new(),
            unanswered: 0,
            outlived: 0,
            next: None,
            committed: None,
        }
    }

    fn has_given(&self, assignment: u64) -> bool {
        (self.owned_since..=self.assignment).contains(&assignment)
    }

    fn outstanding(&self) -> usize {
        self.unanswered + self.outlived
    }

    fn oldest(&self) -> Option<Oldest> {
        self.taken.front().map(|entry| Oldest { offset: entry.offset, since: entry.since })
    }
}

impl Ledger {
    fn new(delivery: Delivery) -> Self {
        Self { delivery, lines: HashMap::new(), assignments: 0 }
    }

    fn assign(&mut self, partition: i32) {
        self.assignments += 1;
        self.lines.insert(partition, Line::new(self.assignments));
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

    fn begin(&mut self, partition: i32, offset: i64, assignment: u64) -> Option<(u64, usize)> {
        let line = self.lines.get(&partition).filter(|line| line.assignment == assignment)?;
        let next = line.taken.back().map(|last| last.offset + 1).max(line.next);
        if next.is_some_and(|next| offset < next) {
            // The partition was read from an earlier place again, as after its log was cut: what was known about it
            // is about other records.
            let (owned_since, outlived) = (line.owned_since, line.outstanding());
            self.assign(partition);
            if let Some(line) = self.lines.get_mut(&partition) {
                (line.owned_since, line.outlived) = (owned_since, outlived);
            }
        }
        let line = self.lines.get_mut(&partition)?;
        line.taken.push_back(Entry { offset, since: Instant::now(), answered: false });
        line.unanswered += 1;
        if self.delivery == Delivery::AtMostOnce {
            line.next = Some(offset + 1);
        }
        Some((line.assignment, line.taken.len()))
    }

    fn finish(&mut self, partition: i32, assignment: u64, offset: i64) {
        let Some(line) = self.lines.get_mut(&partition).filter(|line| line.has_given(assignment)) else {
            return;
        };
        if assignment != line.assignment {
            line.outlived = line.outlived.saturating_sub(1);
            return;
        }
        if let Ok(at) = line.taken.binary_search_by_key(&offset, |entry| entry.offset)
            && !line.taken[at].answered
        {
            line.taken[at].answered = true;
            line.unanswered -= 1;
        }
        while let Some(entry) = line.taken.pop_front_if(|entry| entry.answered) {
            line.next = line.next.max(Some(entry.offset + 1));
        }
    }

    fn due(&self) -> impl Iterator<Item = (i32, i64)> {
        let moved = self.lines.iter().filter(|(_, line)| line.next != line.committed);
        moved.filter_map(|(partition, line)| line.next.map(|next| (*partition, next)))
    }
}
