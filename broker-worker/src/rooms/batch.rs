//! When to compute how many of the waiting jobs at once: a pure rule, and a task for each model version that follows it.
//! Triton's words: a batch goes at a preferred size or at the largest one, or when the oldest job has waited long enough.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::Batching;
use crate::metrics::Metrics;
use crate::models::Served;
use crate::parcels::{Answer, Batch};
use crate::rooms::queue::{self, ModelQueue};

/// The rule.
#[derive(Clone, Debug)]
pub struct Policy {
    max: usize,
    preferred: Vec<usize>,
    max_delay: Duration,
}

/// What to do with what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Compute that many.
    Send(usize),
    /// Wait for that long, or until another job comes.
    Wait(Duration),
    /// Nothing waits.
    Idle,
}

impl Policy {
    /// By that configuration.
    #[must_use]
    pub fn new(batching: &Batching) -> Self {
        Self {
            max: batching.max_batch_size.max(1),
            preferred: batching.preferred_batch_size.clone(),
            max_delay: Duration::from_micros(batching.max_queue_delay_microseconds),
        }
    }

    /// The decision for that many jobs, the oldest of which has waited that long. The first job always fits, so that one
    /// that waits is sent sooner or later whatever the sizes are.
    #[must_use]
    pub fn decide(&self, waiting: usize, oldest: Duration, closed: bool) -> Decision {
        let preferred = self.preferred.iter().copied().filter(|size| *size <= waiting).max();
        match preferred {
            _ if waiting == 0 => Decision::Idle,
            _ if waiting >= self.max => Decision::Send(self.max),
            Some(size) => Decision::Send(size),
            None if closed || oldest >= self.max_delay => Decision::Send(waiting),
            None => Decision::Wait(self.max_delay - oldest),
        }
    }
}

/// The room for one model version, until its queue is closed and empty.
pub async fn run(
    model: Arc<Served>,
    queue: Arc<ModelQueue>,
    policy: Policy,
    batches: mpsc::Sender<Batch>,
    outcomes: mpsc::Sender<Answer>,
    metrics: Arc<Metrics>,
) {
    let pending = metrics.pending(&model.id);
    loop {
        for job in queue.take_expired(Instant::now()) {
            pending.dec();
            if outcomes.send(queue::expired(job)).await.is_err() {
                return;
            }
        }
        let look = queue.look();
        let age = look.oldest.map_or(Duration::ZERO, |at| at.elapsed());
        match policy.decide(look.waiting, age, look.closed) {
            Decision::Idle if look.closed => return,
            Decision::Idle => queue.changed().await,
            Decision::Wait(time) => {
                let until = Instant::now() + time;
                let wake = look.expires.map_or(until, |at| at.min(until));
                tokio::select! {
                    () = tokio::time::sleep_until(wake) => {}
                    () = queue.changed() => {}
                }
            }
            Decision::Send(_) => {
                // First a place for the batch, then the batch: while the instances are busy it may still grow.
                let permit = tokio::select! {
                    permit = batches.reserve() => permit,
                    () = expiry(look.expires) => continue,
                };
                let Ok(permit) = permit else { return };
                // Someone else's time may have run out while this waited; the next round answers them.
                let look = queue.look();
                if look.expires.is_some_and(|at| at <= Instant::now()) {
                    continue;
                }
                let age = look.oldest.map_or(Duration::ZERO, |at| at.elapsed());
                let Decision::Send(size) = policy.decide(look.waiting, age, look.closed) else { continue };
                let jobs = queue.take(size);
                pending.sub(i64::try_from(jobs.len()).unwrap_or(i64::MAX));
                // What belongs to a partition that went elsewhere is computed there.
                let jobs: Vec<_> = jobs.into_iter().filter(|job| job.asker.ticket.is_live()).collect();
                if !jobs.is_empty() {
                    permit.send(Batch { model: Arc::clone(&model), jobs });
                }
            }
        }
    }
}

async fn expiry(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Queue;
    use crate::doubles;
    use crate::parcels::Job;
    use wire::ErrorCode;

    fn policy(max: usize, preferred: &[usize], delay_us: u64) -> Policy {
        Policy::new(&Batching {
            max_batch_size: max,
            preferred_batch_size: preferred.to_vec(),
            max_queue_delay_microseconds: delay_us,
        })
    }

    const fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    #[test]
    fn sends_at_once_where_no_delay_is_allowed() {
        let policy = policy(8, &[], 0);
        assert_eq!(policy.decide(0, us(0), false), Decision::Idle);
        assert_eq!(policy.decide(1, us(0), false), Decision::Send(1));
        assert_eq!(policy.decide(20, us(0), false), Decision::Send(8));
    }

    #[test]
    fn waits_for_more_until_the_oldest_has_waited_long_enough() {
        let policy = policy(8, &[], 500);
        assert_eq!(policy.decide(3, us(0), false), Decision::Wait(us(500)));
        assert_eq!(policy.decide(3, us(499), false), Decision::Wait(us(1)));
        assert_eq!(policy.decide(3, us(500), false), Decision::Send(3));
        assert_eq!(policy.decide(8, us(0), false), Decision::Send(8));
        assert_eq!(policy.decide(3, us(0), true), Decision::Send(3), "nothing more will come");
    }

    #[test]
    fn a_preferred_size_goes_without_waiting_and_the_largest_first() {
        let policy = policy(8, &[2, 4], 500);
        assert_eq!(policy.decide(1, us(0), false), Decision::Wait(us(500)));
        assert_eq!(policy.decide(3, us(0), false), Decision::Send(2));
        assert_eq!(policy.decide(7, us(0), false), Decision::Send(4));
        assert_eq!(policy.decide(9, us(0), false), Decision::Send(8));
        assert_eq!(policy.decide(1, us(500), false), Decision::Send(1), "below any preferred size");
    }

    struct Bench {
        queue: Arc<ModelQueue>,
        batches: mpsc::Receiver<Batch>,
        outcomes: mpsc::Receiver<Answer>,
        room: tokio::task::JoinHandle<()>,
    }

    fn bench(policy: Policy) -> Bench {
        let queue = Arc::new(ModelQueue::new(&Queue::default()));
        let (to_batches, batches) = mpsc::channel(1);
        let (to_outcomes, outcomes) = mpsc::channel(9);
        let model = Arc::new(doubles::served("bird", 1));
        let metrics = Arc::new(Metrics::default());
        let room = tokio::spawn(run(model, Arc::clone(&queue), policy, to_batches, to_outcomes, metrics));
        Bench { queue, batches, outcomes, room }
    }

    async fn next(bench: &mut Bench) -> Vec<String> {
        let batch = bench.batches.recv().await.unwrap();
        batch.jobs.into_iter().map(|job| job.asker.id).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_job_leaves_after_the_delay_and_not_before() {
        let mut bench = bench(policy(8, &[], 5000));
        let start = Instant::now();
        bench.queue.push(doubles::job("a")).unwrap();
        assert_eq!(next(&mut bench).await, ["a"]);
        // The clock is paused: it moves only by what the room sleeps, whole milliseconds.
        assert!((us(5000)..=us(6000)).contains(&start.elapsed()), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_does_not_wait() {
        let mut bench = bench(policy(2, &[], 3_600_000_000));
        let start = Instant::now();
        bench.queue.push(doubles::job("a")).unwrap();
        bench.queue.push(doubles::job("b")).unwrap();
        assert_eq!(next(&mut bench).await, ["a", "b"]);
        assert_eq!(start.elapsed(), us(0));
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_instances_are_busy_the_next_batch_grows() {
        let mut bench = bench(policy(8, &[], 0));
        for id in ["a", "b", "c", "d"] {
            bench.queue.push(doubles::job(id)).unwrap();
            tokio::time::sleep(us(1000)).await;
        }
        assert_eq!(next(&mut bench).await, ["a"], "it lay ready");
        assert_eq!(next(&mut bench).await, ["b", "c", "d"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_expired_are_answered_although_no_instance_is_free() {
        let mut bench = bench(policy(1, &[], 0));
        bench.queue.push(doubles::job("ready")).unwrap();
        tokio::task::yield_now().await;
        let deadline = Some(Instant::now() + Duration::from_secs(3));
        bench.queue.push(Job { deadline, ..doubles::job("late") }).unwrap();
        let outcome = bench.outcomes.recv().await.unwrap();
        assert_eq!(outcome.asker.id, "late");
        assert_eq!(outcome.result.unwrap_err().reply.code, ErrorCode::DeadlineExceeded);
        assert_eq!(next(&mut bench).await, ["ready"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_queue_is_emptied_without_delay_and_ends_the_room() {
        let mut bench = bench(policy(8, &[], 3_600_000_000));
        bench.queue.push(doubles::job("a")).unwrap();
        bench.queue.close();
        assert_eq!(next(&mut bench).await, ["a"]);
        bench.room.await.unwrap();
        assert!(bench.batches.recv().await.is_none());
    }
}
