//! Images that a person should look at: which these are, and their way from decode, which keeps the image, by way of the job, to infer, which
//! knows the answer, and on to a thread that writes them to the review topic ([`send`]). What there is no room for is shed and counted, and
//! nobody waits for any of it.

pub mod send;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wire::{ModelId, Prediction, Why};

use crate::capacity;
use crate::fnv::fnv1a;
use crate::invalid::{Invalid, at_least_one};
use crate::metrics::Metrics;

/// So many labels go with an image, whatever was asked for.
pub const TOP_K: usize = 5;
/// What `max_per_minute` is counted in.
const MINUTE: Duration = Duration::from_secs(60);

/// The section `review` of the configuration: which images people are to look at.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Review {
    /// Whether any are.
    pub enabled: bool,
    /// Those whose first label is less probable than that, from 0 to 1.
    pub below: f64,
    /// Those whose first two labels are no further apart than that, from 0 to 1.
    pub margin: f64,
    /// Those that show none of the classes, as the model says.
    pub rejected: bool,
    /// That share of all others, from 0 to 1; always the same requests.
    pub sample: f64,
    /// So many in a minute at most.
    pub max_per_minute: u32,
    /// How many bytes of images are held for it at most, from when they are read until Kafka has them.
    pub max_bytes: usize,
}

impl Default for Review {
    fn default() -> Self {
        Self {
            enabled: false,
            below: 0.5,
            margin: 0.1,
            rejected: true,
            sample: 0.0,
            max_per_minute: 60,
            max_bytes: 64 << 20,
        }
    }
}

impl Review {
    /// # Errors
    /// [`Invalid`], the first of its rules that does not hold.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        for (key, share) in [("below", self.below), ("margin", self.margin), ("sample", self.sample)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Invalid::rule(format!("review.{key}, {share}, must be from 0 to 1")));
            }
        }
        at_least_one("review.max_per_minute", self.max_per_minute)?;
        if !(1 << 10..=4 << 30).contains(&self.max_bytes) {
            return Err(Invalid::rule(format!(
                "review.max_bytes, {}, must be from 1024 to 4294967296: no image would fit, or more than memory holds",
                self.max_bytes
            )));
        }
        Ok(())
    }

    /// Why a person should look at the image of the request of that id, if one should. At least two predictions are needed to tell how far
    /// the first two are apart.
    #[must_use]
    pub fn why(&self, id: &str, predictions: &[Prediction]) -> Option<Why> {
        let first = predictions.first()?;
        let probability = f64::from(first.probability);
        let apart = predictions.get(1).map(|second| probability - f64::from(second.probability));
        if first.index.is_none() {
            if self.rejected {
                return Some(Why::Rejected);
            }
        } else if probability < self.below {
            return Some(Why::Below);
        } else if self.margin > 0.0 && apart.is_some_and(|apart| apart <= self.margin) {
            return Some(Why::Margin);
        }
        (drawn(id) < self.sample).then_some(Why::Sampled)
    }
}

/// A number from 0 to 1, always the same for one id: the hash that says which requests meet a canary, of other bytes, and MurmurHash3's
/// last mix.
fn drawn(id: &str) -> f64 {
    let hash = fnv1a(b"review ".iter().chain(id.as_bytes()).copied());
    // Its upper bits alone are too much alike for texts that differ at their end.
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    let both = u32::try_from(mixed >> 32).unwrap_or_default();
    f64::from(both) / (f64::from(u32::MAX) + 1.0)
}

/// An image that may turn out to be one of those, or why it could not be kept.
#[derive(Debug)]
pub struct Kept(Result<Held, &'static str>);

/// An image, and the room that it takes.
#[derive(Debug)]
struct Held {
    image: Vec<u8>,
    room: OwnedSemaphorePermit,
}

/// One that a person should look at.
#[derive(Debug)]
pub struct Unsure {
    id: String,
    model: ModelId,
    predictions: Vec<Prediction>,
    why: Why,
    at: Timestamp,
    held: Held,
}

/// The way to the thread that writes them, which ends when the last one who holds this is gone.
#[derive(Clone, Debug)]
pub struct Reviews(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    section: Review,
    room: Arc<Semaphore>,
    /// When the minute began, and how many it had.
    minute: Mutex<(Instant, u32)>,
    metrics: Arc<Metrics>,
    sender: mpsc::SyncSender<Unsure>,
    /// Nobody writes them.
    off: Arc<AtomicBool>,
}

/// Where the thread takes from.
#[derive(Debug)]
pub struct Inbox {
    receiver: mpsc::Receiver<Unsure>,
    off: Arc<AtomicBool>,
}

#[cfg(test)]
impl Inbox {
    /// What was handed over: the request's id, how many labels, and the image.
    pub fn handed(&self) -> Vec<(String, usize, Vec<u8>)> {
        self.receiver.try_iter().map(|one| (one.id, one.predictions.len(), one.held.image)).collect()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.off.store(true, Ordering::Relaxed);
    }
}

impl Reviews {
    /// And its other end, where any are to be looked at.
    #[must_use]
    pub fn new(section: &Review, metrics: Arc<Metrics>) -> (Self, Option<Inbox>) {
        if !section.enabled {
            return (Self(None), None);
        }
        let (sender, receiver) = mpsc::sync_channel(capacity::UNSURE);
        let room = Arc::new(Semaphore::new(section.max_bytes.min(Semaphore::MAX_PERMITS)));
        let (minute, off) = (Mutex::new((Instant::now(), 0)), Arc::<AtomicBool>::default());
        let inbox = Inbox { receiver, off: Arc::clone(&off) };
        let inner = Inner { section: section.clone(), room, minute, metrics, sender, off };
        (Self(Some(Arc::new(inner))), Some(inbox))
    }

    /// Keeps a copy of an image until its answer is known, if there is room for it.
    #[must_use]
    pub fn keep(&self, image: &[u8]) -> Option<Kept> {
        let inner = self.0.as_ref().filter(|inner| !inner.off.load(Ordering::Relaxed))?;
        if inner.is_over() {
            return Some(Kept(Err("limited")));
        }
        let bytes = u32::try_from(image.len()).ok();
        let room = bytes.and_then(|bytes| Arc::clone(&inner.room).try_acquire_many_owned(bytes).ok());
        Some(Kept(room.map(|room| Held { image: image.to_vec(), room }).ok_or("shed")))
    }

    /// Hands an image on that was answered so, if a person should look at it.
    pub fn hand(&self, kept: Kept, id: &str, model: &ModelId, predictions: &[Prediction]) {
        let Some(inner) = &self.0 else { return };
        let Some(why) = inner.section.why(id, predictions) else { return };
        let outcome = match kept.0 {
            Err(outcome) => outcome,
            Ok(_) if !inner.take() => "limited",
            Ok(held) => {
                let predictions = predictions.iter().take(TOP_K).cloned().collect();
                let (id, model, at) = (id.to_owned(), model.clone(), Timestamp::now());
                match inner.sender.try_send(Unsure { id, model, predictions, why, at, held }) {
                    Ok(()) => return,
                    Err(_) => "shed",
                }
            }
        };
        inner.metrics.reviewed(model, outcome);
    }
}

impl Inner {
    /// Whether this minute has all that it may have.
    fn is_over(&self) -> bool {
        let minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        minute.0.elapsed() < MINUTE && minute.1 >= self.section.max_per_minute
    }

    /// Takes one of those that this minute may have.
    fn take(&self) -> bool {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        if minute.0.elapsed() >= MINUTE {
            *minute = (Instant::now(), 0);
        }
        let taken = minute.1 < self.section.max_per_minute;
        minute.1 += u32::from(taken);
        taken
    }
}

#[cfg(test)]
mod tests;
