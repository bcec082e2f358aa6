//! When to compute how many of the waiting jobs at once: a pure rule, and a task for each lane that follows it.
//! Triton's words: a batch goes at a preferred size or at the largest one, or when the oldest job has waited long enough.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::invalid::{Invalid, at_least_one};
use crate::lane::{Lane, Opened, Waiting};
use crate::parcels::{Answer, Batch};
use crate::served::State;

/// The room's name in logs. Who expires has waited in the queue.
const STAGE: &str = "queue";

/// How many images are computed together; Triton's words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batching {
    /// No more than that many.
    pub max_batch_size: usize,
    /// Sizes that go without waiting for more.
    pub preferred_batch_size: Vec<usize>,
    /// How long the oldest request may wait for others; timers here count whole milliseconds.
    pub max_queue_delay_microseconds: u64,
}

impl Default for Batching {
    fn default() -> Self {
        Self { max_batch_size: 8, preferred_batch_size: Vec::new(), max_queue_delay_microseconds: 0 }
    }
}

impl Batching {
    /// # Errors
    /// [`Invalid`], the first of its rules that does not hold.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        let max = self.max_batch_size;
        at_least_one("batching.max_batch_size", max)?;
        match self.preferred_batch_size.iter().find(|size| **size == 0 || **size > max) {
            Some(size) => Err(Invalid::rule(format!(
                "batching.preferred_batch_size holds {size}: each must be from 1 to batching.max_batch_size, {max}"
            ))),
            None => Ok(()),
        }
    }
}

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

/// The room: a task for each lane that is opened, until no more are and all of them have ended.
pub async fn run(
    mut opened: Opened,
    policy: Policy,
    batches: mpsc::Sender<Batch>,
    answers: mpsc::Sender<Answer>,
) {
    let mut lanes = JoinSet::new();
    loop {
        tokio::select! {
            lane = opened.recv() => match lane {
                Some(lane) => {
                    let (policy, batches, answers) = (policy.clone(), batches.clone(), answers.clone());
                    lanes.spawn(run_lane(lane, policy, batches, answers));
                }
                None => break,
            },
            Some(ended) = lanes.join_next() => panics_on(ended),
        }
    }
    drop((batches, answers));
    while let Some(ended) = lanes.join_next().await {
        panics_on(ended);
    }
}

/// A lane's panic is the room's.
fn panics_on(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

/// One lane, until its line is closed and empty.
async fn run_lane(
    lane: Arc<Lane>,
    policy: Policy,
    batches: mpsc::Sender<Batch>,
    answers: mpsc::Sender<Answer>,
) {
    // Where respond has ended, the worker does: nobody is left to answer.
    let work = async {
        until_loaded(&lane, &answers).await?;
        step_until_closed(&lane, &policy, &batches, &answers).await
    };
    drop(work.await);
}

/// Waits until the lane's version can be computed. Where it can't be, whoever comes is told so until nobody does any more.
async fn until_loaded(lane: &Lane, answers: &mpsc::Sender<Answer>) -> Result<(), Ended> {
    let mut state = lane.model.state();
    loop {
        answer_expired(lane, answers).await?;
        let now = state.borrow_and_update().clone();
        let waiting = lane.line.waiting();
        match now {
            State::Ready => return Ok(()),
            State::Failed(_) if waiting.closed && waiting.jobs == 0 => return Ok(()),
            State::Failed(reply) if waiting.jobs > 0 => {
                for job in lane.line.take(waiting.jobs) {
                    answers.send(job.refused(STAGE, reply.code, &reply.message)).await.map_err(|_| Ended)?;
                }
                continue;
            }
            State::Failed(_) | State::Loading => {}
        }
        tokio::select! {
            // The lane has the other end.
            _ = state.changed() => {}
            () = expiry(waiting.expires) => {}
            () = lane.line.changed() => {}
        }
    }
}

/// Respond or infer has ended.
struct Ended;

async fn step_until_closed(
    lane: &Arc<Lane>,
    policy: &Policy,
    batches: &mpsc::Sender<Batch>,
    answers: &mpsc::Sender<Answer>,
) -> Result<(), Ended> {
    loop {
        answer_expired(lane, answers).await?;
        let (decision, waiting) = decide(lane, policy);
        match decision {
            Decision::Idle if waiting.closed => return Ok(()),
            Decision::Idle => lane.line.changed().await,
            Decision::Wait(time) => {
                let until = Instant::now() + time;
                let wake = waiting.expires.map_or(until, |at| at.min(until));
                tokio::select! {
                    () = tokio::time::sleep_until(wake) => {}
                    () = lane.line.changed() => {}
                }
            }
            Decision::Send(_) => {
                // First a place for the batch, then the batch: while the instances are busy it may still grow.
                let permit = place(lane, batches, answers).await?;
                // Someone's time may have run out meanwhile; the next round answers them.
                if lane.line.waiting().expires.is_some_and(|at| at <= Instant::now()) {
                    continue;
                }
                let (Decision::Send(size), _) = decide(lane, policy) else { continue };
                let jobs = lane.line.take(size);
                // What belongs to a partition that went elsewhere is computed there.
                let jobs: Vec<_> = jobs.into_iter().filter(|job| job.asker.ticket.is_live()).collect();
                if !jobs.is_empty() {
                    permit.send(Batch { lane: Arc::clone(lane), jobs });
                }
            }
        }
    }
}

fn decide(lane: &Lane, policy: &Policy) -> (Decision, Waiting) {
    let waiting = lane.line.waiting();
    let age = waiting.oldest.map_or(Duration::ZERO, |at| at.elapsed());
    (policy.decide(waiting.jobs, age, waiting.closed), waiting)
}

/// A place for a batch. Who expires while this waits is answered when it is time, also those that come meanwhile; and
/// the lane keeps its turn among the lanes that wait.
async fn place<'a>(
    lane: &Lane,
    batches: &'a mpsc::Sender<Batch>,
    answers: &mpsc::Sender<Answer>,
) -> Result<mpsc::Permit<'a, Batch>, Ended> {
    let reserved = batches.reserve();
    tokio::pin!(reserved);
    loop {
        let expires = lane.line.waiting().expires;
        tokio::select! {
            biased;
            permit = &mut reserved => return permit.map_err(|_| Ended),
            () = expiry(expires) => answer_expired(lane, answers).await?,
            () = lane.line.changed() => {}
        }
    }
}

async fn answer_expired(lane: &Lane, answers: &mpsc::Sender<Answer>) -> Result<(), Ended> {
    for job in lane.line.take_expired(Instant::now()) {
        answers.send(job.expired(STAGE)).await.map_err(|_| Ended)?;
    }
    Ok(())
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

    struct Room {
        lane: Arc<Lane>,
        batches: mpsc::Receiver<Batch>,
        answers: mpsc::Receiver<Answer>,
        room: tokio::task::JoinHandle<()>,
    }

    fn room(policy: Policy) -> Room {
        let lane = doubles::lane(doubles::served("bird", 1));
        let (to_batches, batches) = mpsc::channel(1);
        let (to_answers, answers) = mpsc::channel(9);
        let room = tokio::spawn(run_lane(Arc::clone(&lane), policy, to_batches, to_answers));
        Room { lane, batches, answers, room }
    }

    async fn next(room: &mut Room) -> Vec<String> {
        let batch = room.batches.recv().await.unwrap();
        batch.jobs.into_iter().map(|job| job.asker.id).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_job_leaves_after_the_delay_and_not_before() {
        let mut room = room(policy(8, &[], 5000));
        let start = Instant::now();
        room.lane.line.push(doubles::job("a")).unwrap();
        assert_eq!(next(&mut room).await, ["a"]);
        // The clock is paused: it moves only by what the room sleeps, whole milliseconds.
        assert!((us(5000)..=us(6000)).contains(&start.elapsed()), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_does_not_wait() {
        let mut room = room(policy(2, &[], 3_600_000_000));
        let start = Instant::now();
        room.lane.line.push(doubles::job("a")).unwrap();
        room.lane.line.push(doubles::job("b")).unwrap();
        assert_eq!(next(&mut room).await, ["a", "b"]);
        assert_eq!(start.elapsed(), us(0));
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_instances_are_busy_the_next_batch_grows() {
        let mut room = room(policy(8, &[], 0));
        for id in ["a", "b", "c", "d"] {
            room.lane.line.push(doubles::job(id)).unwrap();
            tokio::time::sleep(us(1000)).await;
        }
        assert_eq!(next(&mut room).await, ["a"], "it lay ready");
        assert_eq!(next(&mut room).await, ["b", "c", "d"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_expired_are_answered_although_no_instance_is_free() {
        let mut room = room(policy(1, &[], 0));
        room.lane.line.push(doubles::job("ready")).unwrap();
        tokio::task::yield_now().await;
        let deadline = Some(Instant::now() + Duration::from_secs(3));
        room.lane.line.push(Job { deadline, ..doubles::job("late") }).unwrap();
        let answer = room.answers.recv().await.unwrap();
        assert_eq!(answer.asker.id, "late");
        assert_eq!(answer.result.unwrap_err().reply.code, ErrorCode::DeadlineExceeded);
        assert_eq!(next(&mut room).await, ["ready"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_comes_while_a_place_is_waited_for_is_kept_too() {
        let mut room = room(policy(1, &[], 0));
        let start = Instant::now();
        room.lane.line.push(doubles::job("ready")).unwrap();
        room.lane.line.push(doubles::job("next")).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        // The room has the first one in its place by now, and waits for a place for the next.
        let deadline = Some(Instant::now() + Duration::from_secs(3));
        room.lane.line.push(Job { deadline, ..doubles::job("late") }).unwrap();
        let in_time = tokio::time::timeout(Duration::from_secs(60), room.answers.recv());
        let answer = in_time.await.expect("it is answered in time").unwrap();
        assert_eq!(answer.asker.id, "late");
        // The clock is paused: it moves only by what is slept.
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert_eq!(next(&mut room).await, ["ready"]);
        assert_eq!(next(&mut room).await, ["next"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_line_is_emptied_without_delay_and_ends_the_room() {
        let mut room = room(policy(8, &[], 3_600_000_000));
        room.lane.line.push(doubles::job("a")).unwrap();
        room.lane.line.close();
        assert_eq!(next(&mut room).await, ["a"]);
        room.room.await.unwrap();
        assert!(room.batches.recv().await.is_none());
    }
}
