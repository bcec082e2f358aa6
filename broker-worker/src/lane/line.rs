//! The jobs that wait for one model version. A job is admitted or refused, and goes before others of a lower priority;
//! but none waits for ever behind those that come later with a higher one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Queue;
use crate::parcels::Job;

/// Whatever its priority, a job that has waited this much longer than another goes before it.
const FIRST_AFTER: Duration = Duration::from_secs(10);

/// The line.
#[derive(Debug)]
pub struct Line {
    max_size: usize,
    /// So much earlier a job must have come to go before one of the next higher priority.
    head_start: Duration,
    state: Mutex<State>,
    /// Something came, or nothing comes any more.
    changed: Notify,
    pending: IntGauge,
}

#[derive(Debug)]
struct State {
    /// The jobs of each priority level, oldest first; the first level goes first.
    levels: Vec<VecDeque<Job>>,
    waiting: usize,
    closed: bool,
}

/// What the batch room decides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How many jobs wait.
    pub jobs: usize,
    /// Since when the oldest one does.
    pub oldest: Option<Instant>,
    /// When the first one expires.
    pub expires: Option<Instant>,
    /// No more will come.
    pub closed: bool,
}

impl Line {
    /// A line without jobs. `pending` shows how many wait.
    #[must_use]
    pub fn new(queue: &Queue, pending: IntGauge) -> Self {
        let levels: Vec<_> = (0..queue.levels()).map(|_| VecDeque::new()).collect();
        let steps = u32::try_from(levels.len() - 1).unwrap_or(u32::MAX).max(1);
        Self {
            max_size: queue.max_queue_size,
            head_start: FIRST_AFTER / steps,
            state: Mutex::new(State { levels, waiting: 0, closed: false }),
            changed: Notify::new(),
            pending,
        }
    }

    /// How many jobs it takes; 0 is no bound.
    #[must_use]
    pub fn max_size(&self) -> usize {
        self.max_size
    }

    /// Admits a job.
    ///
    /// # Errors
    /// The job, where the line is full.
    #[allow(clippy::result_large_err)]
    pub fn push(&self, job: Job) -> Result<(), Job> {
        let mut state = self.lock();
        if self.max_size > 0 && state.waiting >= self.max_size {
            return Err(job);
        }
        let last = state.levels.len() - 1;
        state.levels[job.level.min(last)].push_back(job);
        self.count(&mut state, |waiting| waiting + 1);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Whether no more will come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// What waits.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let state = self.lock();
        let heads = state.levels.iter().filter_map(VecDeque::front);
        let all = state.levels.iter().flatten();
        Waiting {
            jobs: state.waiting,
            oldest: heads.map(|job| job.queued).min(),
            expires: all.filter_map(|job| job.deadline).min(),
            closed: state.closed,
        }
    }

    /// Takes out up to `count` jobs: of each priority the oldest first, and of different ones the higher first, unless
    /// the other has come earlier by its head start.
    #[must_use]
    pub fn take(&self, count: usize) -> Vec<Job> {
        let mut state = self.lock();
        let mut taken = Vec::with_capacity(count.min(state.waiting));
        while taken.len() < count
            && let Some(job) = self.next(&mut state.levels)
        {
            taken.push(job);
        }
        self.count(&mut state, |waiting| waiting - taken.len());
        taken
    }

    fn next(&self, levels: &mut [VecDeque<Job>]) -> Option<Job> {
        let turn = |(level, queued): (usize, Instant)| {
            queued + self.head_start * u32::try_from(level).unwrap_or(u32::MAX)
        };
        let heads = levels.iter().enumerate().filter_map(|(i, level)| Some((i, level.front()?.queued)));
        let (first, _) = heads.min_by_key(|head| turn(*head))?;
        levels[first].pop_front()
    }

    /// Takes out all jobs whose deadline has passed.
    #[must_use]
    pub fn take_expired(&self, now: Instant) -> Vec<Job> {
        let mut state = self.lock();
        let mut expired = Vec::new();
        for level in &mut state.levels {
            if level.iter().any(|job| job.is_expired(now)) {
                let (gone, stays): (VecDeque<_>, VecDeque<_>) =
                    level.drain(..).partition(|job| job.is_expired(now));
                *level = stays;
                expired.extend(gone);
            }
        }
        self.count(&mut state, |waiting| waiting - expired.len());
        expired
    }

    /// No more jobs will come.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Waits until something comes or the line is closed, since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn count(&self, state: &mut State, change: impl Fn(usize) -> usize) {
        state.waiting = change(state.waiting);
        self.pending.set(i64::try_from(state.waiting).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles;

    fn line(max_queue_size: usize) -> Line {
        let pending = IntGauge::new("pending", "how many wait").unwrap();
        Line::new(&Queue { max_queue_size, ..Queue::default() }, pending)
    }

    fn ids(jobs: &[Job]) -> Vec<&str> {
        jobs.iter().map(|job| job.asker.id.as_str()).collect()
    }

    fn job(id: &str, level: usize) -> Job {
        Job { level, ..doubles::job(id) }
    }

    #[tokio::test(start_paused = true)]
    async fn higher_priorities_go_first_and_in_a_level_the_oldest() {
        let line = line(0);
        for (id, level) in [("c", 4), ("a", 0), ("d", 4), ("b", 0), ("e", 99)] {
            line.push(job(id, level)).unwrap();
        }
        assert_eq!(line.pending.get(), 5);
        assert_eq!(ids(&line.take(3)), ["a", "b", "c"]);
        assert_eq!(ids(&line.take(9)), ["d", "e"]);
        assert_eq!((line.waiting().jobs, line.pending.get()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_has_waited_long_goes_before_those_of_any_priority_that_come_later() {
        let line = line(0);
        line.push(job("low", 8)).unwrap();
        line.push(job("middle", 4)).unwrap();
        tokio::time::advance(FIRST_AFTER / 2 + Duration::from_millis(1)).await;
        line.push(job("high", 0)).unwrap();
        assert_eq!(ids(&line.take(1)), ["middle"], "half the priority, half the time");
        assert_eq!(ids(&line.take(1)), ["high"], "not yet the other one's turn");
        tokio::time::advance(FIRST_AFTER / 2).await;
        // Without the head start, one that comes each moment would keep it waiting for ever.
        line.push(job("high again", 0)).unwrap();
        assert_eq!(ids(&line.take(2)), ["low", "high again"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_line_gives_the_job_back_and_zero_means_no_bound() {
        let bounded = line(1);
        bounded.push(job("a", 0)).unwrap();
        assert_eq!(bounded.push(job("b", 0)).unwrap_err().asker.id, "b");
        assert_eq!(ids(&bounded.take(1)), ["a"]);
        bounded.push(job("c", 0)).unwrap();
        let unbounded = line(0);
        for i in 0..1000 {
            unbounded.push(job(&i.to_string(), 0)).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_expired_are_taken_out_wherever_they_stand() {
        let line = line(0);
        let now = Instant::now();
        let at = |id, seconds| Job { deadline: Some(now + Duration::from_secs(seconds)), ..doubles::job(id) };
        line.push(at("late", 9)).unwrap();
        line.push(at("soon", 1)).unwrap();
        line.push(job("never", 0)).unwrap();
        assert_eq!(line.waiting().expires, Some(now + Duration::from_secs(1)));
        assert_eq!(ids(&line.take_expired(now)), [""; 0]);
        assert_eq!(ids(&line.take_expired(now + Duration::from_secs(1))), ["soon"]);
        assert_eq!(line.waiting().jobs, 2);
        assert_eq!(ids(&line.take(9)), ["late", "never"]);
    }
}
