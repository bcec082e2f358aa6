//! What workers do, live: their snapshots of the last hour, added up by model and worker in memory that does not grow with them.
//!
//! - [`Live`]: what was heard; [`view`](mod@view): what is told of it.
//! - [`monitor`]: a thread that hears it.

pub mod monitor;
mod series;
#[cfg(test)]
mod tests;
pub mod view;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use wire::{Counts, Snapshot, WorkerState};

use series::{Key, Series};

/// How far back seconds are told apart.
pub const RECENT: Duration = Duration::from_secs(300);
/// How far back anything is told.
pub const KEPT: Duration = Duration::from_secs(3600);
/// What a worker does now is what it did for about so many milliseconds.
const NOW_MS: u64 = 10_000;
/// So long a worker that is gone is told of.
const REMEMBERED: SignedDuration = SignedDuration::from_secs(600);
/// A record that comes as it is written, and says to be older than that, is of a worker whose clock is wrong.
const ASTRAY: SignedDuration = SignedDuration::from_secs(60);
/// So many workers are told of, and so many versions of each.
const MOST: usize = 256;
/// How long a name may be, in characters, and how many kinds of errors are told apart.
const NAME: usize = 200;
const KINDS: usize = 32;

/// What was heard.
#[derive(Debug)]
pub struct Live {
    workers: BTreeMap<Arc<str>, Worker>,
    seconds: Series,
    tens: Series,
}

#[derive(Debug)]
struct Worker {
    /// When it was heard last, by the reader's clock.
    heard: Timestamp,
    /// When it wrote that, by its own.
    wrote: Timestamp,
    patience: Duration,
    uptime_s: u64,
    covered_ms: u64,
    state: WorkerState,
    /// Of each version that it serves, how many requests wait.
    waiting: BTreeMap<(Arc<str>, u32), u64>,
    /// What it did lately, the newest last.
    recent: VecDeque<Recent>,
}

#[derive(Debug)]
struct Recent {
    covers_ms: u64,
    counts: Vec<(Key, Counts)>,
}

impl Default for Live {
    fn default() -> Self {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        // The second that is not over is not shown.
        Self {
            workers: BTreeMap::new(),
            seconds: Series::new(1, seconds(RECENT) + 5),
            tens: Series::new(10, seconds(KEPT) + 20),
        }
    }
}

impl Live {
    /// Adds a snapshot. `written` is its record's time and `now` the reader's; `fresh` is one that came as it was written and was not
    /// found when reading began.
    pub fn take(&mut self, snapshot: Snapshot, written: Timestamp, now: Timestamp, fresh: bool) {
        let snapshot = bounded(snapshot);
        let written = if fresh && now.duration_since(written) > ASTRAY { now } else { written.min(now) };
        self.workers.retain(|_, worker| now.duration_since(worker.heard) <= REMEMBERED);
        let name: Arc<str> = snapshot.worker.as_str().into();
        if self.workers.len() >= MOST && !self.workers.contains_key(&name) {
            return;
        }
        let counts = counted(&name, &snapshot);
        for series in [&mut self.seconds, &mut self.tens] {
            if let Some(slot) = series.at(written.as_second(), now.as_second()) {
                counts.iter().for_each(|(key, counts)| slot.add(key, counts));
                if let Some(lag) = snapshot.state.lag {
                    slot.lags.insert(Arc::clone(&name), lag);
                }
            }
        }
        let heard = if fresh { now } else { written };
        if now.duration_since(heard) <= REMEMBERED {
            self.hear(name, snapshot, counts, heard, fresh);
        }
    }

    fn hear(
        &mut self,
        name: Arc<str>,
        snapshot: Snapshot,
        counts: Vec<(Key, Counts)>,
        heard: Timestamp,
        fresh: bool,
    ) {
        let before = self.workers.remove(&name);
        let (heard, mut recent) = match before {
            // Another partition's records may be read later, and be older.
            Some(known) if !fresh && snapshot.at < known.wrote => {
                self.workers.insert(name, known);
                return;
            }
            // Started anew under the same name: what it did before is no measure.
            Some(known) if snapshot.uptime_s < known.uptime_s => (heard, VecDeque::new()),
            Some(known) => (heard.max(known.heard), known.recent),
            None => (heard, VecDeque::new()),
        };
        if snapshot.covers_ms > 0 {
            recent.push_back(Recent { covers_ms: snapshot.covers_ms, counts });
        }
        let mut all: u64 = recent.iter().fold(0, |all, one| all.saturating_add(one.covers_ms));
        while let Some(oldest) = recent.front() {
            if recent.len() == 1 || all.saturating_sub(oldest.covers_ms) < NOW_MS && recent.len() <= MOST {
                break;
            }
            all = all.saturating_sub(oldest.covers_ms);
            recent.pop_front();
        }
        let waiting = snapshot.models.iter().map(|m| ((m.model.as_str().into(), m.version), m.waiting));
        let worker = Worker {
            heard,
            wrote: snapshot.at,
            patience: snapshot.patience(),
            uptime_s: snapshot.uptime_s,
            covered_ms: snapshot.covers_ms,
            waiting: waiting.collect(),
            state: snapshot.state,
            recent,
        };
        self.workers.insert(name, worker);
    }
}

/// What a snapshot counts, each with its key.
fn counted(worker: &Arc<str>, snapshot: &Snapshot) -> Vec<(Key, Counts)> {
    let key = |model: &str, version| Key { worker: Arc::clone(worker), model: model.into(), version };
    let mut counts: Vec<_> = snapshot
        .models
        .iter()
        .filter(|figures| figures.counts != Counts::default())
        .map(|figures| (key(&figures.model, figures.version), figures.counts.clone()))
        .collect();
    if !snapshot.errors.is_empty() {
        counts.push((key("", 0), Counts { errors: snapshot.errors.clone(), ..Counts::default() }));
    }
    counts
}

/// It with no more names in it, and no longer ones, than anybody would read.
fn bounded(mut snapshot: Snapshot) -> Snapshot {
    let cut = |name: &mut String| {
        if let Some((at, _)) = name.char_indices().nth(NAME) {
            name.truncate(at);
        }
    };
    let kinds = |errors: &mut BTreeMap<String, u64>| {
        while errors.len() > KINDS {
            errors.pop_last();
        }
        if errors.keys().any(|code| code.len() > NAME) {
            errors.retain(|code, _| code.len() <= NAME);
        }
    };
    cut(&mut snapshot.worker);
    snapshot.models.truncate(MOST);
    for figures in &mut snapshot.models {
        cut(&mut figures.model);
        kinds(&mut figures.counts.errors);
    }
    kinds(&mut snapshot.errors);
    snapshot
}
