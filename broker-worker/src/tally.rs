//! What is counted for the next snapshot: taken out when one is written.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wire::snapshot::merge_errors;
use wire::{Counts, ErrorCode, ModelFigures, ModelId, Timings};

use crate::micros::micros;

/// The counts since they were taken last.
#[derive(Debug, Default)]
pub struct Tally {
    counted: Mutex<Counted>,
    /// How far each partition's committed offset is behind.
    lags: Mutex<BTreeMap<i32, u64>>,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Each version once. There are few.
    pub models: Vec<ModelFigures>,
    /// Requests for which no model was found, by code.
    pub errors: BTreeMap<String, u64>,
}

impl Counted {
    /// Those of a version.
    pub fn of(&mut self, model: &str, version: u32) -> &mut ModelFigures {
        let known = self.models.iter().position(|known| known.model == model && known.version == version);
        let at = known.unwrap_or_else(|| {
            self.models.push(ModelFigures { model: model.to_owned(), version, ..ModelFigures::default() });
            self.models.len() - 1
        });
        &mut self.models[at]
    }

    /// Those of another, too.
    pub fn merge(&mut self, other: &Self) {
        for figures in &other.models {
            self.of(&figures.model, figures.version).counts.merge(&figures.counts);
        }
        merge_errors(&mut self.errors, &other.errors);
    }
}

impl Tally {
    /// A request was answered, with labels or an error, and the broker had the answer that long after the record came.
    pub fn answered(
        &self,
        model: Option<&ModelId>,
        outcome: Result<(), ErrorCode>,
        timings: &Timings,
        delivered: Duration,
    ) {
        let mut counted = self.counted();
        let Some(model) = model else {
            // Whoever answers with labels has a model.
            return if let Err(code) = outcome {
                count(&mut counted.errors, code)
            };
        };
        let counts = &mut counted.of(&model.name, model.version).counts;
        match outcome {
            Err(code) => count(&mut counts.errors, code),
            Ok(()) => {
                let respond = delivered.saturating_sub(Duration::from_micros(timings.total));
                counts.answered += 1;
                counts.latency.add(delivered);
                counts.rooms_us.decode += timings.decode;
                counts.rooms_us.queue += timings.queue;
                counts.rooms_us.respond += micros(respond);
            }
        }
    }

    /// A batch of that many images was computed.
    pub fn computed(&self, model: &ModelId, images: usize, took: Duration) {
        let mut counted = self.counted();
        let Counts { images: all, batches, rooms_us, .. } =
            &mut counted.of(&model.name, model.version).counts;
        *all += images as u64;
        *batches += 1;
        rooms_us.infer += micros(took);
    }

    /// What was counted since this was called last.
    #[must_use]
    pub fn take(&self) -> Counted {
        std::mem::take(&mut *self.counted())
    }

    /// How far a partition's committed offset is behind.
    pub fn set_lag(&self, partition: i32, lag: i64) {
        self.lags().insert(partition, u64::try_from(lag).unwrap_or_default());
    }

    /// The partition is another worker's now.
    pub fn forget_partition(&self, partition: i32) {
        self.lags().remove(&partition);
    }

    /// How far all of them are behind; none where nothing is known of any.
    #[must_use]
    pub fn lag(&self) -> Option<u64> {
        let lags = self.lags();
        (!lags.is_empty()).then(|| lags.values().fold(0_u64, |all, lag| all.saturating_add(*lag)))
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lags(&self) -> MutexGuard<'_, BTreeMap<i32, u64>> {
        self.lags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(errors: &mut BTreeMap<String, u64>, code: ErrorCode) {
    match errors.get_mut(code.name()) {
        Some(many) => *many += 1,
        None => drop(errors.insert(code.name().to_owned(), 1)),
    }
}
