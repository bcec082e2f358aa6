//! The instances: OS threads that compute, each with an engine of its own in each lane, warm before the first batch. A bad
//! item fails alone: where a batch can't be computed, its images are tried one by one. An engine that panics is answered
//! for with INTERNAL and loaded anew, since nobody knows what state it is in.

pub mod hang;

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
}

/// What is computed of a job.
struct Image {
    pixels: Pixels,
    top_k: usize,
    decode: Duration,
    queued: tokio::time::Instant,
    beside: Option<Beside>,
}

impl Image {
    fn of(job: Job) -> (Asker, Self) {
        let Job { asker, pixels, top_k, decode, queued, beside, .. } = job;
        (asker, Self { pixels, top_k, decode, queued, beside })
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
    /// another version is to compute as well goes to `shadows`.
    ///
    /// # Errors
    /// [`NotLoaded`] where one can't be loaded.
    pub fn load(
        lanes: &Lanes,
        number: usize,
        waiting: Arc<Waiting>,
        shadows: Shadows,
    ) -> Result<Self, NotLoaded> {
        lanes.all().iter().try_for_each(|lane| lane.warm(number))?;
        Ok(Self { number, waiting, shadows })
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
        answers.extend(each.map(|((asker, mut image), computed)| {
            let beside = image.beside.take();
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
                    |(image, logits): (&Image, _)| model.labelled(&image.pixels, logits, image.top_k);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles;
    use crate::metrics::Metrics;
    use std::time::Duration;

    struct Room {
        metrics: Arc<Metrics>,
        lane: Arc<Lane>,
        instance: Instance,
    }

    fn room() -> Room {
        let metrics = Arc::<Metrics>::default();
        let (lanes, _) = doubles::lanes(vec![doubles::served("bird", 1)], Arc::clone(&metrics));
        let instance = Instance::load(&lanes, 0, Arc::default(), doubles::shadows()).unwrap();
        let lane = Arc::clone(lanes.find(None, None, b"").unwrap().entrance.lane());
        Room { metrics, lane, instance }
    }

    impl Room {
        fn job(&self, value: u8) -> Job {
            let mut job = doubles::job_in(&self.lane, &value.to_string());
            job.pixels.data = vec![value];
            job
        }

        fn step(&mut self, jobs: Vec<Job>) -> Vec<Answer> {
            let lane = Arc::clone(&self.lane);
            self.instance.step(Batch { lane, jobs })
        }

        fn answers(&mut self, values: &[u8]) -> Vec<Result<(String, u32), ErrorCode>> {
            let jobs = values.iter().map(|value| self.job(*value)).collect();
            self.step(jobs).into_iter().map(read).collect()
        }

        fn counts(&self, line: &str) -> bool {
            self.metrics.text().lines().any(|l| l == line)
        }
    }

    fn read(answer: Answer) -> Result<(String, u32), ErrorCode> {
        answer
            .result
            .map(|labels| (labels.predictions[0].label.clone(), labels.batch_size))
            .map_err(|failure| failure.reply.code)
    }

    #[test]
    fn a_batch_is_computed_together_and_answered_in_order() {
        let mut room = room();
        assert_eq!(room.answers(&[1, 2, 3]), [1, 2, 3].map(|i| Ok((format!("value {i}"), 3))));
        assert!(room.counts(r#"nv_inference_exec_count{model="bird",version="1"} 1"#));
    }

    #[test]
    fn a_bad_item_fails_alone_and_each_image_is_counted_once() {
        let mut room = room();
        let answers = room.answers(&[1, doubles::FAILS, 3]);
        let expected =
            [Ok(("value 1".to_owned(), 1)), Err(ErrorCode::Internal), Ok(("value 3".to_owned(), 1))];
        assert_eq!(answers, expected);
        assert!(room.counts(r#"nv_inference_count{model="bird",version="1"} 2"#), "{}", room.metrics.text());
        assert!(room.counts(r#"nv_inference_exec_count{model="bird",version="1"} 2"#));
    }

    #[test]
    fn a_deadline_that_passed_while_the_batch_lay_ready_is_answered_without_being_computed() {
        let mut room = room();
        let soon = tokio::time::Instant::now();
        // The double would fail on it.
        let late = Job { deadline: Some(soon), ..room.job(doubles::FAILS) };
        let in_time = Job { deadline: Some(soon + Duration::from_secs(3600)), ..room.job(5) };
        let jobs = vec![late, in_time];
        let answers: Vec<_> = room.step(jobs).into_iter().map(read).collect();
        assert_eq!(answers, [Err(ErrorCode::DeadlineExceeded), Ok(("value 5".to_owned(), 1))]);
    }

    #[test]
    fn a_panic_is_answered_and_the_engine_loaded_anew() {
        let mut room = room();
        let expected =
            [Ok(("value 1".to_owned(), 1)), Err(ErrorCode::Internal), Ok(("value 3".to_owned(), 1))];
        // A double that has panicked answers nothing more, so that these come from new ones.
        assert_eq!(room.answers(&[1, doubles::PANICS, 3]), expected);
        assert_eq!(room.answers(&[4]), [Ok(("value 4".to_owned(), 1))]);
    }

    #[test]
    fn failures_of_the_model_are_retryable_no_dead_letters_and_keep_their_cause_to_the_log() {
        let mut room = room();
        let jobs = vec![room.job(doubles::FAILS)];
        let failure = room.step(jobs).remove(0).result.unwrap_err();
        assert!(failure.reply.retryable && failure.dead.is_none());
        assert_eq!(failure.reply.message, FAILED);
    }

    #[test]
    fn what_was_answered_is_handed_on_to_be_computed_by_another_version_too() {
        let mut room = room();
        let (shadows, inbox) = Shadows::new(Arc::default());
        room.instance.shadows = shadows.clone();
        let other = doubles::lane(doubles::served("bird", 2));
        let beside = |value| shadows.keep(&other, &doubles::image(value));
        let jobs = [7, doubles::FAILS].map(|value| Job { beside: beside(value), ..room.job(value) });
        let answers: Vec<_> = room.step(jobs.into()).into_iter().map(read).collect();
        assert_eq!(answers, [Ok(("value 7".to_owned(), 1)), Err(ErrorCode::Internal)]);
        let compared = inbox.try_next().unwrap();
        assert_eq!((compared.id.as_str(), compared.model.version), ("7", 1));
        assert_eq!(compared.predictions[0].label, "value 7");
        assert_eq!(compared.beside.image, doubles::image(7));
        assert!(inbox.try_next().is_none(), "what failed is compared with nothing");
    }

    #[test]
    fn a_model_that_can_t_be_loaded_says_which() {
        let served = doubles::served_by("bird", 1, || Err(LoadError::new("no weights")));
        let (lanes, _) = doubles::lanes(vec![served], Arc::default());
        let error = Instance::load(&lanes, 0, Arc::default(), doubles::shadows()).err().unwrap();
        assert_eq!(
            (error.to_string(), error.source.to_string()),
            ("bird 1 can't be loaded".into(), "no weights".into())
        );
    }
}
