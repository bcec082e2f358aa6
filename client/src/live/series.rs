//! What was counted in each second, or in each ten, of the time that is kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use wire::Counts;

/// So many pairs of a worker and a version are told apart in one slot; what is over goes to one that has no name.
const PAIRS: usize = 128;

/// What was counted is told apart by it. Requests for which no model was found have an empty name and version 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) worker: Arc<str>,
    pub(super) model: Arc<str>,
    pub(super) version: u32,
}

/// Slots of the same width, those in which something was heard.
#[derive(Debug)]
pub(super) struct Series {
    /// In seconds.
    pub(super) wide: i64,
    kept: i64,
    slots: VecDeque<Slot>,
}

/// What was heard in one.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Seconds of Unix time, divided by how wide it is.
    pub(super) number: i64,
    pub(super) counts: BTreeMap<Key, Counts>,
    /// The last word of each worker in it on how far it is behind.
    pub(super) lags: BTreeMap<Arc<str>, u64>,
}

impl Series {
    /// Slots that are so many seconds wide; as many are kept as that time needs.
    pub(super) fn new(wide: i64, seconds: i64) -> Self {
        Self { wide, kept: seconds / wide, slots: VecDeque::new() }
    }

    /// The slot of that second; none where it is no longer kept.
    pub(super) fn at(&mut self, second: i64, now: i64) -> Option<&mut Slot> {
        let (number, last) = (second.div_euclid(self.wide), now.div_euclid(self.wide));
        // The clock may have been set back: what lies ahead is of another time.
        while self.slots.back().is_some_and(|slot| slot.number > last) {
            self.slots.pop_back();
        }
        while self.slots.front().is_some_and(|slot| slot.number <= last - self.kept) {
            self.slots.pop_front();
        }
        if number > last || number <= last - self.kept {
            return None;
        }
        let at = match self.slots.binary_search_by_key(&number, |slot| slot.number) {
            Ok(at) => at,
            Err(at) => {
                self.slots.insert(at, Slot { number, ..Slot::default() });
                at
            }
        };
        self.slots.get_mut(at)
    }

    /// Those from that number on.
    pub(super) fn since(&self, number: i64) -> impl Iterator<Item = &Slot> {
        let from = self.slots.partition_point(|slot| slot.number < number);
        self.slots.range(from..)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

impl Slot {
    /// Adds what was counted.
    pub(super) fn add(&mut self, key: &Key, counts: &Counts) {
        if let Some(all) = self.counts.get_mut(key) {
            all.merge(counts);
        } else if self.counts.len() < PAIRS {
            self.counts.insert(key.clone(), counts.clone());
        } else {
            let nameless = Key { worker: "".into(), model: "".into(), version: 0 };
            self.counts.entry(nameless).or_default().merge(counts);
        }
    }
}
