//! Jobs that wait for an instance: one queue a model version. A job is admitted or refused, goes before others of a lower
//! priority, and is answered without being computed once its deadline has passed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use wire::{ErrorCode, ErrorReply, Timings};

use crate::config::Queue;
use crate::metrics::Metrics;
use crate::models::Models;
use crate::parcels::{Answer, Failure, Job};
use crate::rooms::decode::micros;

/// The room's name in logs.
pub const STAGE: &str = "queue";

/// The jobs of one model version that wait.
#[derive(Debug)]
pub struct ModelQueue {
    max_size: usize,
    state: Mutex<State>,
    /// Something came, or nothing comes any more.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// One line for each priority level, the first goes first.
    levels: Vec<VecDeque<Job>>,
    waiting: usize,
    closed: bool,
}

/// What the batch room decides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// How many jobs wait.
    pub waiting: usize,
    /// Since when the oldest one does.
    pub oldest: Option<Instant>,
    /// When the first one expires.
    pub expires: Option<Instant>,
    /// No more will come.
    pub closed: bool,
}

impl ModelQueue {
    /// An empty one.
    #[must_use]
    pub fn new(queue: &Queue) -> Self {
        let levels = (0..queue.levels()).map(|_| VecDeque::new()).collect();
        Self {
            max_size: queue.max_queue_size,
            state: Mutex::new(State { levels, waiting: 0, closed: false }),
            changed: Notify::new(),
        }
    }

    /// Admits a job.
    ///
    /// # Errors
    /// The job, where the queue is full.
    #[allow(clippy::result_large_err)]
    pub fn push(&self, job: Job) -> Result<(), Job> {
        let mut state = self.lock();
        if self.max_size > 0 && state.waiting >= self.max_size {
            return Err(job);
        }
        let last = state.levels.len() - 1;
        state.levels[job.level.min(last)].push_back(job);
        state.waiting += 1;
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// What waits.
    #[must_use]
    pub fn look(&self) -> Look {
        let state = self.lock();
        let heads = state.levels.iter().filter_map(VecDeque::front);
        let all = state.levels.iter().flatten();
        Look {
            waiting: state.waiting,
            oldest: heads.map(|job| job.queued).min(),
            expires: all.filter_map(|job| job.deadline).min(),
            closed: state.closed,
        }
    }

    /// Takes out up to `count` jobs, the highest priority first, and in a level the oldest first.
    #[must_use]
    pub fn take(&self, count: usize) -> Vec<Job> {
        let mut state = self.lock();
        let mut taken = Vec::with_capacity(count.min(state.waiting));
        while taken.len() < count
            && let Some(job) = state.levels.iter_mut().find_map(VecDeque::pop_front)
        {
            taken.push(job);
        }
        state.waiting -= taken.len();
        taken
    }

    /// Takes out all jobs whose deadline has passed.
    #[must_use]
    pub fn take_expired(&self, now: Instant) -> Vec<Job> {
        let is_expired = |job: &Job| job.deadline.is_some_and(|at| at <= now);
        let mut state = self.lock();
        let mut expired = Vec::new();
        for level in &mut state.levels {
            if level.iter().any(is_expired) {
                let (gone, stays): (VecDeque<_>, VecDeque<_>) = level.drain(..).partition(is_expired);
                *level = stays;
                expired.extend(gone);
            }
        }
        state.waiting -= expired.len();
        expired
    }

    /// No more jobs will come.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Waits until something comes or the queue is closed, since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a job that is not computed.
#[must_use]
pub fn refused(job: Job, code: ErrorCode, message: &str) -> Answer {
    let timings =
        Timings { decode: micros(job.decode), queue: micros(job.queued.elapsed()), ..Timings::default() };
    let failure = Failure::passing(STAGE, Some(job.model), ErrorReply::new(code, message));
    Answer { asker: job.asker, result: Err(failure), timings }
}

/// The answer to a job whose deadline passed while it waited.
#[must_use]
pub fn expired(job: Job) -> Answer {
    refused(job, ErrorCode::DeadlineExceeded, "the deadline passed while the request waited for an instance")
}

/// The queue of each model version, in the order of [`Models::iter`].
#[must_use]
pub fn queues(models: &Models, queue: &Queue) -> Vec<Arc<ModelQueue>> {
    models.iter().map(|_| Arc::new(ModelQueue::new(queue))).collect()
}

/// The room: puts each job into its model's queue until the input is closed, then closes the queues.
pub async fn run(
    mut jobs: mpsc::Receiver<Job>,
    models: Models,
    queues: Vec<Arc<ModelQueue>>,
    outcomes: mpsc::Sender<Answer>,
    metrics: Arc<Metrics>,
) {
    while let Some(job) = jobs.recv().await {
        let Some((_, queue)) = models.iter().zip(&queues).find(|(model, _)| model.id == job.model.id) else {
            continue;
        };
        let pending = metrics.pending(&job.model.id);
        match queue.push(job) {
            Ok(()) => pending.inc(),
            Err(job) => {
                let full =
                    format!("{} requests wait for this model already: try again later", queue.max_size);
                let outcome = refused(job, ErrorCode::ResourceExhausted, &full);
                if outcomes.send(outcome).await.is_err() {
                    break;
                }
            }
        }
    }
    queues.iter().for_each(|queue| queue.close());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles;
    use std::time::Duration;

    fn queue(max_queue_size: usize) -> ModelQueue {
        ModelQueue::new(&Queue { max_queue_size, ..Queue::default() })
    }

    fn ids(jobs: &[Job]) -> Vec<&str> {
        jobs.iter().map(|job| job.asker.id.as_str()).collect()
    }

    fn job(id: &str, level: usize) -> Job {
        Job { level, ..doubles::job(id) }
    }

    #[tokio::test(start_paused = true)]
    async fn higher_priorities_go_first_and_in_a_level_the_oldest() {
        let queue = queue(0);
        for (id, level) in [("c", 4), ("a", 0), ("d", 4), ("b", 0), ("e", 99)] {
            queue.push(job(id, level)).unwrap();
        }
        assert_eq!(ids(&queue.take(3)), ["a", "b", "c"]);
        assert_eq!(ids(&queue.take(9)), ["d", "e"]);
        assert_eq!(queue.look().waiting, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_gives_the_job_back_and_zero_means_no_bound() {
        let bounded = queue(1);
        bounded.push(job("a", 0)).unwrap();
        assert_eq!(bounded.push(job("b", 0)).unwrap_err().asker.id, "b");
        assert_eq!(ids(&bounded.take(1)), ["a"]);
        bounded.push(job("c", 0)).unwrap();
        let unbounded = queue(0);
        for i in 0..1000 {
            unbounded.push(job(&i.to_string(), 0)).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_expired_are_taken_out_wherever_they_stand() {
        let queue = queue(0);
        let now = Instant::now();
        let at = |id, seconds| Job { deadline: Some(now + Duration::from_secs(seconds)), ..doubles::job(id) };
        queue.push(at("late", 9)).unwrap();
        queue.push(at("soon", 1)).unwrap();
        queue.push(job("never", 0)).unwrap();
        assert_eq!(queue.look().expires, Some(now + Duration::from_secs(1)));
        assert_eq!(ids(&queue.take_expired(now)), [""; 0]);
        assert_eq!(ids(&queue.take_expired(now + Duration::from_secs(1))), ["soon"]);
        assert_eq!(queue.look().waiting, 2);
        assert_eq!(ids(&queue.take(9)), ["late", "never"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_room_refuses_what_a_full_queue_does_not_take_and_closes_behind_the_last() {
        let models = Models::new(vec![doubles::served("bird", 1)], "bird", "weights").unwrap();
        let queues = vec![Arc::new(queue(1))];
        let (jobs, inbox) = mpsc::channel(4);
        let (outbox, mut outcomes) = mpsc::channel(4);
        let model = models.find(None, None).unwrap();
        for id in ["a", "b"] {
            let job = Job { model: Arc::clone(&model), ..doubles::job(id) };
            jobs.send(job).await.unwrap();
        }
        drop(jobs);
        run(inbox, models, queues.clone(), outbox, Arc::new(Metrics::default())).await;
        let outcome = outcomes.recv().await.unwrap();
        assert_eq!(outcome.asker.id, "b");
        let failure = outcome.result.unwrap_err();
        assert_eq!(failure.reply.code, ErrorCode::ResourceExhausted);
        assert!(failure.reply.retryable && failure.dead.is_none());
        assert!(queues[0].look().closed);
    }
}
