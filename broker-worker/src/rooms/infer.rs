//! The instances: OS threads that each own one backend for each served model version, warm before the first batch. A bad
//! item fails alone: where a batch can't be computed, its images are tried one by one. A backend that panics is answered
//! for with INTERNAL and loaded anew, since nobody knows what state it is in.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use wire::{ErrorCode, ErrorReply, Prediction, Timings};

use crate::backend::{Backend, BackendError, Input};
use crate::metrics::Metrics;
use crate::models::{Models, Served};
use crate::parcels::{Answer, Batch, Failure, Job, Labels};
use crate::rooms::decode::micros;

/// The room's name in logs.
pub const STAGE: &str = "infer";

/// One instance. Not `Send`: it lives and dies on its thread.
pub struct Instance {
    seats: Vec<Seat>,
    max_batch: usize,
    metrics: Arc<Metrics>,
}

/// One model version of the instance.
struct Seat {
    model: Arc<Served>,
    /// None where it panicked and could not be loaded anew.
    backend: Option<Box<dyn Backend>>,
}

impl Instance {
    /// Loads each model version and warms it up.
    ///
    /// # Errors
    /// [`BackendError`] where one can't be loaded.
    pub fn load(models: &Models, max_batch: usize, metrics: Arc<Metrics>) -> Result<Self, BackendError> {
        let seat = |model: &Arc<Served>| {
            let backend = model.load.as_ref()(max_batch)
                .map_err(|e| BackendError(format!("{model:?} can't be loaded: {e}")))?;
            Ok(Seat { model: Arc::clone(model), backend: Some(backend) })
        };
        let seats = models.iter().map(seat).collect::<Result<_, _>>()?;
        Ok(Self { seats, max_batch, metrics })
    }

    /// Computes a batch: one outcome for each of its jobs, in order.
    pub fn step(&mut self, batch: Batch) -> Vec<Answer> {
        let Some(seat) = self.seats.iter_mut().find(|seat| seat.model.id == batch.model.id) else {
            let error = BackendError(format!("{:?} is not loaded", batch.model));
            return batch
                .jobs
                .into_iter()
                .map(|job| outcome(job, Err(error.clone()), Computed::none()))
                .collect();
        };
        let start = Instant::now();
        let together = predict(seat, &batch.jobs, self.max_batch);
        let took = Computed { size: batch.jobs.len(), time: start.elapsed(), at: start };
        self.metrics.computed(&batch.model.id, took.size, took.time);
        match together {
            Ok(predictions) => {
                let pairs = batch.jobs.into_iter().zip(predictions);
                pairs.map(|(job, labels)| outcome(job, Ok(labels), took)).collect()
            }
            Err(error) if batch.jobs.len() == 1 => {
                batch.jobs.into_iter().map(|job| outcome(job, Err(error.clone()), took)).collect()
            }
            Err(error) => {
                tracing::warn!(model = ?batch.model, size = took.size, %error, "a batch failed; its images are tried one by one");
                let mut outcomes = Vec::with_capacity(took.size);
                for job in batch.jobs {
                    let start = Instant::now();
                    let alone = predict(seat, std::slice::from_ref(&job), self.max_batch)
                        .map(|mut all| all.pop().unwrap_or_default());
                    let took = Computed { size: 1, time: start.elapsed(), at: start };
                    self.metrics.computed(&batch.model.id, 1, took.time);
                    outcomes.push(outcome(job, alone, took));
                }
                outcomes
            }
        }
    }
}

/// One call of a backend.
#[derive(Clone, Copy)]
struct Computed {
    size: usize,
    time: Duration,
    at: Instant,
}

impl Computed {
    fn none() -> Self {
        Self { size: 0, time: Duration::ZERO, at: Instant::now() }
    }
}

fn predict(seat: &mut Seat, jobs: &[Job], max_batch: usize) -> Result<Vec<Vec<Prediction>>, BackendError> {
    let inputs: Vec<_> = jobs.iter().map(|job| Input { pixels: &job.pixels, top_k: job.top_k }).collect();
    if seat.backend.is_none() {
        seat.backend = Some(load(&seat.model, max_batch)?);
    }
    let Some(backend) = &mut seat.backend else { return Err(BackendError("no backend".into())) };
    match catch_unwind(AssertUnwindSafe(|| backend.predict(&inputs))) {
        Ok(Ok(predictions)) if predictions.len() == jobs.len() => Ok(predictions),
        Ok(Ok(predictions)) => Err(BackendError(format!(
            "the backend gave {} answers to {} images",
            predictions.len(),
            jobs.len()
        ))),
        Ok(Err(error)) => Err(error),
        Err(panic) => {
            let error = BackendError(format!("the backend panicked: {}", words(panic.as_ref())));
            tracing::error!(model = ?seat.model, %error, "it is loaded anew");
            // Its destructor may panic as well.
            let old = seat.backend.take();
            drop(catch_unwind(AssertUnwindSafe(|| drop(old))));
            seat.backend = load(&seat.model, max_batch)
                .inspect_err(|error| tracing::error!(model = ?seat.model, %error, "and can't be; the next batch tries again"))
                .ok();
            Err(error)
        }
    }
}

fn load(model: &Served, max_batch: usize) -> Result<Box<dyn Backend>, BackendError> {
    catch_unwind(AssertUnwindSafe(|| model.load.as_ref()(max_batch)))
        .unwrap_or_else(|panic| Err(BackendError(format!("loading panicked: {}", words(panic.as_ref())))))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

fn outcome(job: Job, computed: Result<Vec<Prediction>, BackendError>, took: Computed) -> Answer {
    let timings = Timings {
        decode: micros(job.decode),
        queue: micros(took.at.saturating_duration_since(job.queued.into_std())),
        inference: micros(took.time),
        total: 0,
    };
    let model = job.model;
    let result = match computed {
        Ok(predictions) => {
            Ok(Labels { model, predictions, batch_size: u32::try_from(took.size).unwrap_or(u32::MAX) })
        }
        Err(error) => {
            let message = format!("the model could not compute this image: {error}");
            Err(Failure::passing(STAGE, Some(model), ErrorReply::new(ErrorCode::Internal, message)))
        }
    };
    Answer { asker: job.asker, result, timings }
}

/// One thread of the room: loads, reports through `ready`, and computes until its input is closed.
pub fn run(
    load: impl FnOnce() -> Result<Instance, BackendError>,
    ready: &std::sync::mpsc::Sender<Result<(), BackendError>>,
    batches: &Mutex<mpsc::Receiver<Batch>>,
    outcomes: &mpsc::Sender<Answer>,
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
        // Held while this thread waits: the other instances wait for the lock instead.
        let batch = batches.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(batch) = batch else { return };
        for outcome in instance.step(batch) {
            if outcomes.blocking_send(outcome).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles;

    fn instance(models: &Models) -> Instance {
        Instance::load(models, 8, Arc::new(Metrics::default())).unwrap()
    }

    fn models() -> Models {
        Models::new(vec![doubles::served("bird", 1)], "bird", "weights").unwrap()
    }

    fn batch(models: &Models, values: &[u8]) -> Batch {
        let jobs = values.iter().map(|value| {
            let mut job = doubles::job(&value.to_string());
            job.pixels.data = vec![*value];
            job
        });
        Batch { model: models.find(None, None).unwrap(), jobs: jobs.collect() }
    }

    fn answers(outcomes: Vec<Answer>) -> Vec<Result<(String, u32), ErrorCode>> {
        let read = |outcome: Answer| {
            outcome
                .result
                .map(|labels| (labels.predictions[0].label.clone(), labels.batch_size))
                .map_err(|failure| failure.reply.code)
        };
        outcomes.into_iter().map(read).collect()
    }

    #[test]
    fn a_batch_is_computed_together_and_answered_in_order() {
        let models = models();
        let outcomes = instance(&models).step(batch(&models, &[1, 2, 3]));
        let expected = [1, 2, 3].map(|i| Ok((format!("value {i}"), 3)));
        assert_eq!(answers(outcomes), expected);
    }

    #[test]
    fn a_bad_item_fails_alone() {
        let models = models();
        let outcomes = instance(&models).step(batch(&models, &[1, doubles::FAILS, 3]));
        let expected =
            [Ok(("value 1".to_owned(), 1)), Err(ErrorCode::Internal), Ok(("value 3".to_owned(), 1))];
        assert_eq!(answers(outcomes), expected);
    }

    #[test]
    fn a_panic_is_answered_and_the_backend_loaded_anew() {
        let models = models();
        let mut instance = instance(&models);
        let outcomes = instance.step(batch(&models, &[1, doubles::PANICS, 3]));
        let expected =
            [Ok(("value 1".to_owned(), 1)), Err(ErrorCode::Internal), Ok(("value 3".to_owned(), 1))];
        // A double that has panicked answers nothing more, so that these come from new ones.
        assert_eq!(answers(outcomes), expected);
        assert_eq!(answers(instance.step(batch(&models, &[4]))), [Ok(("value 4".to_owned(), 1))]);
    }

    #[test]
    fn failures_of_the_model_are_retryable_and_no_dead_letters() {
        let models = models();
        let mut outcomes = instance(&models).step(batch(&models, &[doubles::FAILS]));
        let failure = outcomes.remove(0).result.unwrap_err();
        assert!(failure.reply.retryable && failure.dead.is_none());
    }

    #[test]
    fn a_model_that_can_t_be_loaded_says_which() {
        let mut served = doubles::served("bird", 1);
        served.load = Box::new(|_| Err(BackendError("no weights".into())));
        let models = Models::new(vec![served], "bird", "weights").unwrap();
        let error = Instance::load(&models, 8, Arc::new(Metrics::default())).err().unwrap();
        assert_eq!(error.to_string(), "bird 1 can't be loaded: no weights");
    }
}
