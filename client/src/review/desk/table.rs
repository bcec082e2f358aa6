//! What is kept: the last images, what people said last of each, and in which order they are shown.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use wire::Label;

use super::Place;
use crate::review::Item;

/// So many labels are kept at most, the last ones.
const LABELS: usize = 100_000;
/// So many names of labels are known of a model at most.
const NAMES: usize = 10_000;

/// What is known.
#[derive(Debug)]
pub(super) struct Table {
    keep: usize,
    /// The oldest first.
    items: VecDeque<Item>,
    labels: HashMap<String, (u64, Label)>,
    /// In the order in which they were said; those that were said again since have another number.
    said: VecDeque<(u64, String)>,
    number: u64,
    names: HashMap<String, BTreeSet<String>>,
}

/// In which order images are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The youngest first.
    #[default]
    Newest,
    /// Those first whose two likeliest labels are nearest to each other.
    Unsure,
}

/// Which images are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Of that model alone.
    pub model: Option<String>,
    /// Those that have a label, in place of those that have none.
    pub labelled: bool,
    /// In which order.
    pub order: Order,
    /// So many at most.
    pub limit: usize,
    /// Behind that one ([`Page::next`]).
    pub after: Option<Cursor>,
}

/// Where a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// What is smaller comes before.
    pub rank: u64,
    /// Which image it was.
    pub place: Place,
}

/// An image, and what people said of it last.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// The image.
    pub item: Item,
    /// What people said, if anybody did.
    pub label: Option<Label>,
}

/// Some of the images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// In the order that was asked for; an image that is there several times for one model is shown once.
    pub items: Vec<Shown>,
    /// What to ask with for those behind; none where there are none.
    pub next: Option<Cursor>,
    /// How many there are in all.
    pub total: usize,
}

impl Table {
    pub(super) fn new(keep: usize) -> Self {
        Self {
            keep: keep.max(1),
            items: VecDeque::new(),
            labels: HashMap::new(),
            said: VecDeque::new(),
            number: 0,
            names: HashMap::new(),
        }
    }

    /// An image is on the topic.
    pub(super) fn seen(&mut self, item: Item) {
        for prediction in &item.review.predictions {
            self.name(&item.review.model.name, &prediction.label);
        }
        if self.items.len() == self.keep {
            self.items.pop_front();
        }
        self.items.push_back(item);
    }

    /// A person says something, or takes it back.
    pub(super) fn said(&mut self, key: String, label: Option<Label>) {
        let Some(label) = label else {
            self.labels.remove(&key);
            return;
        };
        if let Some(text) = &label.label {
            self.name(&label.model, text);
        }
        self.number += 1;
        self.said.push_back((self.number, key.clone()));
        self.labels.insert(key, (self.number, label));
        // What was said again, or taken back, stands in the order and not in the table.
        while self.said.len() > LABELS {
            let Some((number, key)) = self.said.pop_front() else { break };
            if self.labels.get(&key).is_some_and(|(last, _)| *last == number) {
                self.labels.remove(&key);
            }
        }
    }

    fn name(&mut self, model: &str, label: &str) {
        if !self.names.contains_key(model) {
            self.names.insert(model.to_owned(), BTreeSet::new());
        }
        if let Some(names) = self.names.get_mut(model)
            && names.len() < NAMES
            && !names.contains(label)
        {
            names.insert(label.to_owned());
        }
    }

    pub(super) fn labels(&self, model: &str) -> BTreeSet<String> {
        self.names.get(model).cloned().unwrap_or_default()
    }

    pub(super) fn find(&self, place: Place) -> Option<Shown> {
        self.items.iter().find(|item| item.place == place).map(|item| self.shown(item))
    }

    fn shown(&self, item: &Item) -> Shown {
        let label = self.labels.get(&item.review.label_key()).map(|(_, label)| label.clone());
        Shown { item: item.clone(), label }
    }

    pub(super) fn page(&self, query: &Query) -> Page {
        let mut known = HashSet::new();
        let mut all: Vec<(Cursor, &Item)> = Vec::new();
        for item in self.items.iter().rev() {
            let key = item.review.label_key();
            let wanted = query.model.as_ref().is_none_or(|model| *model == item.review.model.name)
                && self.labels.contains_key(&key) == query.labelled;
            // Of several of one image the youngest is shown.
            if wanted && known.insert(key) {
                all.push((Cursor { rank: rank(item, query.order), place: item.place }, item));
            }
        }
        all.sort_by_key(|(cursor, _)| (cursor.rank, std::cmp::Reverse(cursor.place)));
        let total = all.len();
        let behind = |cursor: &Cursor| {
            query.after.is_none_or(|after| {
                (cursor.rank, std::cmp::Reverse(cursor.place)) > (after.rank, std::cmp::Reverse(after.place))
            })
        };
        let mut rest = all.into_iter().filter(|(cursor, _)| behind(cursor));
        let taken: Vec<_> = rest.by_ref().take(query.limit).collect();
        let next = rest.next().and(taken.last()).map(|(cursor, _)| *cursor);
        Page { items: taken.iter().map(|(_, item)| self.shown(item)).collect(), next, total }
    }
}

/// What is smaller is shown before.
fn rank(item: &Item, order: Order) -> u64 {
    match order {
        Order::Newest => {
            let written = item.written.map_or(0, |written| written.as_millisecond());
            u64::MAX - u64::try_from(written).unwrap_or_default()
        }
        Order::Unsure => {
            let probability = |at: usize| item.review.predictions.get(at).map_or(0.0, |p| p.probability);
            let apart = (probability(0) - probability(1)).clamp(0.0, 1.0);
            // A whole number, so that it is the same written down and read.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1")]
            let rank = (f64::from(apart) * 1e9) as u64;
            rank
        }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.rank, self.place)
    }
}

impl std::str::FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once('-')
            .and_then(|(rank, place)| Some(Self { rank: rank.parse().ok()?, place: place.parse().ok()? }));
        parsed.ok_or_else(|| "it is not what a page before gave".to_owned())
    }
}

#[cfg(test)]
mod tests;
