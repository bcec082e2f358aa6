//! The instances: OS threads that compute, each with an engine of its own in each lane, warm before the first batch. A bad
//! item fails alone: where a batch can't be computed, its images are tried one by one. An engine that panics is answered
//! for with INTERNAL and loaded anew, since nobody knows what state it is in.

pub mod hang;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hang::Waiting;
use model_core::{EngineError, Pixels};
use tokio::sync::mpsc;
use wire::{ErrorCode, ErrorReply, Prediction, Timings};

use crate::caught::caught;
use crate::health::Pulse;
use crate::lane::{Lane, Lanes};
use crate::micros::micros;
use crate::parcels::{Answer, Asker, Batch, Failure, Job, Labels};
use crate::review::{self, Kept, Reviews};
use crate::served::{LoadError, NotLoaded};
use crate::shadow::{Beside, Compared, Shadows};

/// The room's name in logs.
pub const STAGE: &str = "infer";
/// What the asker is told of a fault of the model's.
const FAILED: &str = "the model could not compute this image; the worker's log says why";

/// One instance.
pub struct Instance {
    /// Which of them.
    number: usize,
    waiting: Arc<Waiting>,
    shadows: Shadows,
    reviews: Reviews,
}

/// What is computed of a job.
struct Image {
    pixels: Pixels,
    top_k: usize,
    decode: Duration,
    queued: tokio::time::Instant,
    beside: Option<Beside>,
    review: Option<Kept>,
}

impl Image {
    fn of(job: Job) -> (Asker, Self) {
        let Job { asker, pixels, top_k, decode, queued, beside, review, .. } = job;
        (asker, Self { pixels, top_k, decode, queued, beside, review })
    }

    /// How many labels are needed, of which the asker gets `top_k`.
    fn labels(&self) -> usize {
        let looked_at = if self.review.is_some() { review::TOP_K } else { 0 };
        self.top_k.max(looked_at)
    }
}

/// Why images have no predictions.
#[derive(Debug, thiserror::Error)]
enum ComputeError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the engine panicked: {0}")]
    Panicked(String),
    #[error("the engine gave {found} answers to {expected} images")]
    Count { found: usize, expected: usize },
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Instance {
    /// The instance of that number, with its engine in each lane warm. In `waiting` are those who wait while a batch is computed; what
    /// another version is to compute as well goes to `shadows`, what a person should look at to `reviews`.
    ///
    /// # Errors
    /// [`NotLoaded`] where one can't be loaded.
    pub fn load(
        lanes: &Lanes,
        number: usize,
        waiting: Arc<Waiting>,
        (shadows, reviews): (Shadows, Reviews),
    ) -> Result<Self, NotLoaded> {
        lanes.all().iter().try_for_each(|lane| lane.warm(number))?;
        Ok(Self { number, waiting, shadows, reviews })
    }

    /// Computes a batch: one answer for each of its jobs, unless they were answered while it took too long. A job whose deadline
    /// passed while the batch lay ready is not computed.
    pub fn step(&mut self, batch: Batch) -> Vec<Answer> {
        let Batch { lane, jobs } = batch;
        let now = tokio::time::Instant::now();
        let (expired, jobs): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.is_expired(now));
        let mut answers: Vec<_> = expired.into_iter().map(|job| job.expired(STAGE)).collect();
        if jobs.is_empty() {
            return answers;
        }
        let (askers, images): (Vec<_>, Vec<_>) = jobs.into_iter().map(Image::of).unzip();
        self.waiting.hold(&lane.model, askers);
        let computed = self.compute_all(&lane, &images);
        let askers = self.waiting.take();
        let each = askers.into_iter().zip(images).zip(computed);
        answers.extend(each.map(|((asker, mut image), mut computed)| {
            let beside = image.beside.take();
            if let (Some(kept), Ok(predictions)) = (image.review.take(), &mut computed.0) {
                self.reviews.hand(kept, &asker.id, &lane.model.id, predictions);
                predictions.truncate(image.top_k);
            }
            let answer = answer(&lane, asker, &image, computed);
            if let Some(beside) = beside {
                self.shadow(beside, &answer);
            }
            answer
        }));
        answers
    }

    /// Has another version compute what was answered.
    fn shadow(&self, beside: Beside, answer: &Answer) {
        let Ok(Labels { model, predictions, .. }) = &answer.result else { return };
        let Asker { id, key, .. } = &answer.asker;
        self.shadows.hand(Compared {
            beside,
            id: id.clone(),
            key: key.clone(),
            model: model.id.clone(),
            predictions: predictions.clone(),
        });
    }

    /// What becomes of each image.
    fn compute_all(&self, lane: &Lane, images: &[Image]) -> Vec<ComputedImage> {
        let size = images.len();
        let (together, took) = self.compute(lane, images);
        let error = match together {
            Ok(predictions) => {
                lane.metrics.computed(size, took.time);
                return predictions.into_iter().map(|labels| (Ok(labels), took)).collect();
            }
            Err(error) if size == 1 => return vec![(Err(error), took)],
            Err(error) => error,
        };
        let error = &error as &dyn Error;
        tracing::warn!(model = ?lane, size, error, "a batch failed; its images are tried one by one");
        let alone = |image| {
            let (alone, took) = self.compute(lane, std::slice::from_ref(image));
            if alone.is_ok() {
                lane.metrics.computed(1, took.time);
            }
            (alone.map(|mut all| all.pop().unwrap_or_default()), took)
        };
        images.iter().map(alone).collect()
    }
}

/// An image's predictions, or why it has none, and the call that they are from.
type ComputedImage = (Result<Vec<Prediction>, ComputeError>, Computed);

/// One call of an engine.
#[derive(Clone, Copy)]
struct Computed {
    size: usize,
    time: Duration,
    at: Instant,
}

impl Instance {
    fn compute(
        &self,
        lane: &Lane,
        images: &[Image],
    ) -> (Result<Vec<Vec<Prediction>>, ComputeError>, Computed) {
        let at = Instant::now();
        let predictions = self.predict(lane, images);
        (predictions, Computed { size: images.len(), time: at.elapsed(), at })
    }

    fn predict(&self, lane: &Lane, images: &[Image]) -> Result<Vec<Vec<Prediction>>, ComputeError> {
        let model = &lane.model;
        let mut slot = lane.engine(self.number);
        let engine = match &mut *slot {
            Some(engine) => engine,
            None => slot.insert(caught(|| lane.engine_anew()).map_err(ComputeError::Panicked)??),
        };
        let pixels: Vec<_> = images.iter().map(|image| &image.pixels).collect();
        match caught(|| engine.logits(&pixels)) {
            Ok(Ok(logits)) if logits.len() == images.len() => {
                let labelled =
                    |(image, logits): (&Image, _)| model.labelled(&image.pixels, logits, image.labels());
                Ok(images.iter().zip(logits).map(labelled).collect())
            }
            Ok(Ok(logits)) => Err(ComputeError::Count { found: logits.len(), expected: images.len() }),
            Ok(Err(error)) => Err(error.into()),
            Err(panic) => {
                let error = ComputeError::Panicked(panic);
                tracing::error!(?model, %error, "it is loaded anew");
                // Its destructor may panic as well.
                let old = slot.take();
                drop(caught(|| drop(old)));
                let anew = caught(|| lane.engine_anew()).map_err(ComputeError::Panicked);
                *slot = anew
                    .and_then(|engine| Ok(engine?))
                    .inspect_err(|error| {
                        let error = error as &dyn Error;
                        tracing::error!(?model, error, "and can't be; the next batch tries again");
                    })
                    .ok();
                Err(error)
            }
        }
    }
}

fn answer(lane: &Lane, asker: Asker, image: &Image, (computed, took): ComputedImage) -> Answer {
    let timings = Timings {
        decode: micros(image.decode),
        queue: micros(took.at.saturating_duration_since(image.queued.into_std())),
        inference: micros(took.time),
        total: 0,
    };
    let model = Arc::clone(&lane.model);
    let result = match computed {
        Ok(predictions) => {
            Ok(Labels { model, predictions, batch_size: u32::try_from(took.size).unwrap_or(u32::MAX) })
        }
        Err(error) => {
            // The cause may be pages of a library's stack trace: it is the operator's.
            let error = &error as &dyn Error;
            asker.span.in_scope(|| tracing::error!(?model, error, "an image can't be computed"));
            Err(Failure::passing(STAGE, Some(model), ErrorReply::new(ErrorCode::Internal, FAILED)))
        }
    };
    Answer { asker, result, timings }
}

/// One thread of the room: loads, reports through `ready`, and computes until its input is closed.
pub fn run(
    load: impl FnOnce() -> Result<Instance, NotLoaded>,
    ready: &std::sync::mpsc::Sender<Result<(), NotLoaded>>,
    batches: &Mutex<mpsc::Receiver<Batch>>,
    answers: &mpsc::Sender<Answer>,
    pulse: &Pulse,
) {
    let mut instance = match load() {
        Ok(instance) => instance,
        Err(error) => {
            drop(ready.send(Err(error)));
            return;
        }
    };
    if ready.send(Ok(())).is_err() {
        return;
    }
    loop {
        pulse.rest();
        // Held while this thread waits: the other instances wait for the lock instead.
        let batch = batches.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(batch) = batch else { return };
        pulse.beat_at(format!("a batch of {} for {:?}", batch.jobs.len(), batch.lane));
        let answered = instance.step(batch);
        pulse.rest();
        for answer in answered {
            if answers.blocking_send(answer).is_err() {
                return;
            }
        }
    }
}
