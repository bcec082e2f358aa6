//! What is told of the snapshots that were heard: now, of a window of time, and step by step through it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use wire::Counts;

use super::series::{Key, Series};
use super::{KEPT, Live, RECENT, Worker};

/// So many points a window has at most.
const POINTS: u64 = 180;

/// What is asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// How far back, an hour at most; five minutes where it is zero.
    pub window: Duration,
    /// Only that model.
    pub model: Option<String>,
    /// Only that version of it.
    pub version: Option<u32>,
    /// Only that worker.
    pub worker: Option<String>,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    /// When.
    pub at: Timestamp,
    /// What is wrong with the broker or the topic; none where nothing is known to be.
    pub fault: Option<String>,
    /// What is done now: about the last ten seconds of the workers that are there.
    pub now: Figures,
    /// All of the window.
    pub total: Figures,
    /// How many records lie behind the committed offsets on partitions of workers that are there; none where that is not known.
    pub lag: Option<u64>,
    /// How far back the window goes, in seconds.
    pub window_s: u64,
    /// How long a point is, in seconds.
    pub step_s: u64,
    /// One for each step that is over, the oldest first; not written where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<Point>,
    /// By name, those too that are gone, for ten minutes.
    pub workers: Vec<WorkerRow>,
    /// By name and version.
    pub models: Vec<ModelRow>,
}

/// How much was done, and how fast.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Requests answered a second, those with an error included.
    pub per_second: f64,
    /// Requests answered with labels.
    pub answered: u64,
    /// Requests answered with an error.
    pub failed: u64,
    /// How many of each code those are.
    pub errors: BTreeMap<String, u64>,
    /// How many milliseconds half of those with labels were in a worker at most; none where there were none.
    pub p50_ms: Option<f64>,
    /// How many 90 of a hundred were.
    pub p90_ms: Option<f64>,
    /// How many 99 of a hundred were.
    pub p99_ms: Option<f64>,
    /// How many images a batch had, on average.
    pub batch: Option<f64>,
}

/// One step of a window.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Point {
    /// Requests answered a second, those with an error included.
    pub per_second: f64,
    /// Requests answered with an error a second.
    pub failed_per_second: f64,
    /// As in [`Figures`].
    pub p50_ms: Option<f64>,
    /// As in [`Figures`].
    pub p99_ms: Option<f64>,
    /// As in [`Figures`].
    pub batch: Option<f64>,
    /// How many records lay behind the committed offsets at most; none where no worker said so.
    pub lag: Option<u64>,
}

/// Whether a worker is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// It is, and takes requests.
    Works,
    /// It is, and has all that it can take.
    Paused,
    /// It has ended.
    Ended,
    /// Nothing has been heard of it for so long that it is taken for dead.
    Gone,
}

impl Presence {
    /// Whether it is there.
    #[must_use]
    pub fn is_there(self) -> bool {
        matches!(self, Self::Works | Self::Paused)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Paused => "paused",
            Self::Ended => "ended",
            Self::Gone => "gone",
        }
    }
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkerRow {
    /// Its name.
    pub worker: String,
    /// Whether it is there.
    pub presence: Presence,
    /// How many seconds ago it was heard last.
    pub heard_s: u64,
    /// For how many seconds it had been running then.
    pub uptime_s: u64,
    /// How many partitions were its.
    pub partitions: u32,
    /// How many records lay on them behind the committed offsets; none where that was not known.
    pub lag: Option<u64>,
    /// Requests taken and not answered.
    pub in_flight: u64,
    /// Requests that waited for an instance.
    pub waiting: u64,
    /// How many instances compute.
    pub instances: u32,
    /// Memory that the process held, in bytes; 0 where that was not known.
    pub memory_bytes: u64,
    /// How many processor cores it used.
    pub cores: f64,
    /// What it does now; nothing where it is not there.
    pub now: Figures,
}

/// A model version.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelRow {
    /// The model's name; empty for requests for which none was found.
    pub model: String,
    /// The version; 0 where there is no model.
    pub version: u32,
    /// How many workers that are there serve it.
    pub workers: usize,
    /// Requests that wait for an instance of it.
    pub waiting: u64,
    /// What is done now.
    pub now: Figures,
    /// All of the window.
    pub total: Figures,
}

impl Asked {
    fn wants(&self, key: &Key) -> bool {
        self.wants_worker(&key.worker)
            && self.model.as_deref().is_none_or(|model| *model == *key.model)
            && self.version.is_none_or(|version| version == key.version)
    }

    fn wants_worker(&self, name: &str) -> bool {
        self.worker.as_deref().is_none_or(|worker| worker == name)
    }

    fn seconds(&self) -> u64 {
        let window = if self.window.is_zero() { RECENT } else { self.window };
        window.clamp(Duration::from_secs(60), KEPT).as_secs()
    }
}

/// Counts that are added up, and the rate with them.
#[derive(Clone, Debug, Default)]
struct Sum {
    counts: Counts,
    per_second: f64,
}

impl Sum {
    fn add(&mut self, counts: &Counts, seconds: f64) {
        self.per_second += answers(counts) as f64 / seconds;
        self.counts.merge(counts);
    }

    fn figures(self) -> Figures {
        let Counts { answered, errors, images, batches, latency, .. } = self.counts;
        let [p50_ms, p90_ms, p99_ms] =
            [0.5, 0.9, 0.99].map(|part| latency.quantile(part).map(|micros| micros / 1e3));
        Figures {
            per_second: self.per_second,
            answered,
            failed: errors.values().fold(0, |all, many| all.saturating_add(*many)),
            errors,
            p50_ms,
            p90_ms,
            p99_ms,
            batch: (batches > 0).then(|| images as f64 / batches as f64),
        }
    }
}

fn answers(counts: &Counts) -> u64 {
    counts.answered.saturating_add(counts.failed())
}

impl Worker {
    fn presence(&self, now: Timestamp) -> Presence {
        let silent = now.duration_since(self.heard);
        match () {
            () if self.state.ends => Presence::Ended,
            () if silent > self.patience.try_into().unwrap_or(jiff::SignedDuration::MAX) => Presence::Gone,
            () if self.state.paused => Presence::Paused,
            () => Presence::Works,
        }
    }

    /// What it did lately of what is wanted.
    fn recent<'a>(
        &'a self,
        wanted: impl Fn(&Key) -> bool + 'a,
    ) -> impl Iterator<Item = (&'a Key, &'a Counts, f64)> {
        let all: u64 = self.recent.iter().fold(0, |all, one| all.saturating_add(one.covers_ms));
        let seconds = all.max(1) as f64 / 1e3;
        let counts = self.recent.iter().flat_map(|one| &one.counts);
        counts.filter(move |(key, _)| wanted(key)).map(move |(key, counts)| (key, counts, seconds))
    }
}

impl Live {
    /// What is told of what was heard.
    #[must_use]
    pub fn view(&self, asked: &Asked, now: Timestamp) -> View {
        let window_s = asked.seconds();
        let series = if window_s <= RECENT.as_secs() { &self.seconds } else { &self.tens };
        let there: Vec<_> = self.workers.values().filter(|worker| worker.presence(now).is_there()).collect();
        let mut sums = BTreeMap::<(&str, u32), (Sum, Sum)>::new();
        let (mut lately, mut total) = (Sum::default(), Sum::default());
        for (key, counts, seconds) in there.iter().flat_map(|worker| worker.recent(|key| asked.wants(key))) {
            lately.add(counts, seconds);
            sums.entry((&key.model, key.version)).or_default().0.add(counts, seconds);
        }
        let first = (now.as_second() - i64::try_from(window_s).unwrap_or(i64::MAX)).div_euclid(series.wide);
        let slots = series.since(first).flat_map(|slot| &slot.counts);
        for (key, counts) in slots.filter(|(key, _)| asked.wants(key)) {
            total.add(counts, window_s as f64);
            sums.entry((&key.model, key.version)).or_default().1.add(counts, window_s as f64);
        }
        let named = self.workers.iter().filter(|(name, _)| asked.wants_worker(name));
        let mut workers: Vec<_> = named.map(|(name, worker)| worker.row(name, asked, now)).collect();
        workers.sort_by(|a, b| (!a.presence.is_there(), &a.worker).cmp(&(!b.presence.is_there(), &b.worker)));
        for worker in &there {
            for (model, version) in worker.waiting.keys() {
                let of = |key: &str| asked.model.as_deref().is_none_or(|model| model == key);
                if of(model) && asked.version.is_none_or(|wanted| wanted == *version) {
                    sums.entry((model, *version)).or_default();
                }
            }
        }
        let models = sums.into_iter().map(|((model, version), (lately, total))| {
            let served = there.iter().filter_map(|worker| worker.waiting_of(model, version));
            ModelRow {
                model: model.to_owned(),
                version,
                workers: served.clone().count(),
                waiting: served.fold(0, u64::saturating_add),
                now: lately.figures(),
                total: total.figures(),
            }
        });
        let lags = workers.iter().filter(|row| row.presence.is_there()).map(|row| row.lag);
        let (step_s, points) = points(series, asked, window_s, now);
        View {
            at: now,
            fault: None,
            now: lately.figures(),
            total: total.figures(),
            lag: lags.flatten().reduce(u64::saturating_add),
            window_s,
            step_s,
            points,
            models: models.collect(),
            workers,
        }
    }
}

impl Worker {
    fn waiting_of(&self, model: &str, version: u32) -> Option<u64> {
        self.waiting
            .iter()
            .find(|((name, known), _)| **name == *model && *known == version)
            .map(|(_, many)| *many)
    }

    fn row(&self, name: &str, asked: &Asked, now: Timestamp) -> WorkerRow {
        let presence = self.presence(now);
        let mut sum = Sum::default();
        if presence.is_there() {
            self.recent(|key| asked.wants(key)).for_each(|(_, counts, seconds)| sum.add(counts, seconds));
        }
        WorkerRow {
            worker: name.to_owned(),
            presence,
            heard_s: u64::try_from(now.duration_since(self.heard).as_secs()).unwrap_or_default(),
            uptime_s: self.uptime_s,
            partitions: self.state.partitions,
            lag: self.state.lag,
            in_flight: self.state.in_flight,
            waiting: self.waiting.values().fold(0, |all, many| all.saturating_add(*many)),
            instances: self.state.instances,
            memory_bytes: self.state.memory_bytes,
            cores: if self.covered_ms == 0 { 0.0 } else { self.state.cpu_ms as f64 / self.covered_ms as f64 },
            now: sum.figures(),
        }
    }
}

/// Steps that are over, each several slots long where they are many. Points begin where they began in the look before, so that a chart moves
/// and does not flicker.
fn points(series: &Series, asked: &Asked, window_s: u64, now: Timestamp) -> (u64, Vec<Point>) {
    let wide = series.wide;
    let slots = window_s.div_ceil(u64::try_from(wide).unwrap_or(1)).max(1);
    let each = slots.div_ceil(POINTS);
    let count = slots / each;
    let step_s = each * u64::try_from(wide).unwrap_or(1);
    let step = i64::try_from(step_s).unwrap_or(i64::MAX);
    let end = now.as_second().div_euclid(step);
    let first = end - i64::try_from(count).unwrap_or(i64::MAX);
    let mut sums =
        vec![(Counts::default(), BTreeMap::<&str, u64>::new()); usize::try_from(count).unwrap_or(0)];
    for slot in series.since(first * step / wide) {
        let at = (slot.number * wide).div_euclid(step) - first;
        let Some((counts, lags)) = usize::try_from(at).ok().and_then(|at| sums.get_mut(at)) else { continue };
        slot.counts.iter().filter(|(key, _)| asked.wants(key)).for_each(|(_, more)| counts.merge(more));
        for (worker, lag) in slot.lags.iter().filter(|(worker, _)| asked.wants_worker(worker)) {
            let most = lags.entry(worker).or_default();
            *most = (*most).max(*lag);
        }
    }
    let point = |(counts, lags): (Counts, BTreeMap<&str, u64>)| {
        let per = |many: u64| many as f64 / step_s as f64;
        let (all, failed) = (answers(&counts), counts.failed());
        let Figures { p50_ms, p99_ms, batch, .. } = Sum { counts, per_second: 0.0 }.figures();
        let lag = lags.into_values().reduce(u64::saturating_add);
        Point { per_second: per(all), failed_per_second: per(failed), p50_ms, p99_ms, batch, lag }
    };
    (step_s, sums.into_iter().map(point).collect())
}
