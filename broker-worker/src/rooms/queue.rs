//! Admission: each job enters the line of its lane, or is answered that the line is full.

use std::sync::Arc;

use tokio::sync::mpsc;
use wire::ErrorCode;

use crate::lane::Lanes;
use crate::parcels::{Answer, Job};

/// The room's name in logs.
pub const STAGE: &str = "queue";

/// Puts each job into its lane's line until the input is closed, then closes the lines.
pub async fn run(mut jobs: mpsc::Receiver<Job>, lanes: Lanes, answers: mpsc::Sender<Answer>) {
    while let Some(job) = jobs.recv().await {
        let lane = Arc::clone(&job.lane);
        if let Err(job) = lane.line.push(job) {
            let full =
                format!("{} requests wait for this model already: try again later", lane.line.max_size());
            let refused = job.refused(STAGE, ErrorCode::ResourceExhausted, &full);
            if answers.send(refused).await.is_err() {
                break;
            }
        }
    }
    lanes.iter().for_each(|lane| lane.line.close());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles;
    use crate::lane::Queue;
    use crate::metrics::Metrics;
    use crate::models::Models;

    #[tokio::test(start_paused = true)]
    async fn refuses_what_a_full_line_does_not_take_and_closes_behind_the_last() {
        let models = Models::new(vec![doubles::served("bird", 1)], "bird", "weights").unwrap();
        let bounded = Queue { max_queue_size: 1, ..Queue::default() };
        let lanes = Lanes::new(&models, &bounded, &Metrics::default());
        let (jobs, inbox) = mpsc::channel(4);
        let (outbox, mut answers) = mpsc::channel(4);
        let lane = lanes.find(None, None).unwrap();
        for id in ["a", "b"] {
            let job = Job { lane: Arc::clone(lane), ..doubles::job(id) };
            jobs.send(job).await.unwrap();
        }
        drop(jobs);
        run(inbox, lanes.clone(), outbox).await;
        let answer = answers.recv().await.unwrap();
        assert_eq!(answer.asker.id, "b");
        let failure = answer.result.unwrap_err();
        assert_eq!(failure.reply.code, ErrorCode::ResourceExhausted);
        assert!(failure.reply.retryable && failure.dead.is_none());
        assert!(lane.line.waiting().closed);
    }
}
