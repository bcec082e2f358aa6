//! Admission: each job enters the line of its lane, or is answered that the line is full.

use tokio::sync::mpsc;
use wire::ErrorCode;

use crate::parcels::{Admission, Answer};

/// The room's name in logs.
pub const STAGE: &str = "queue";

/// Puts each job into its lane's line until the input is closed.
pub async fn run(mut admissions: mpsc::Receiver<Admission>, answers: mpsc::Sender<Answer>) {
    while let Some(Admission { job, entrance }) = admissions.recv().await {
        if let Err(job) = entrance.line.push(job) {
            let full =
                format!("{} requests wait for this model already: try again later", entrance.line.max_size());
            let refused = job.refused(STAGE, ErrorCode::ResourceExhausted, &full);
            if answers.send(refused).await.is_err() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles;
    use crate::lane::{Lanes, Queue};
    use crate::models::Models;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn refuses_what_a_full_line_does_not_take_and_the_line_is_closed_behind_the_last() {
        let models = Models::new(vec![doubles::served("bird", 1)], "bird", "weights").unwrap();
        let bounded = Queue { max_queue_size: 1, ..Queue::default() };
        let shape = doubles::shape(bounded);
        let (lanes, _) = Lanes::new(&models, shape, Arc::default(), None);
        let (admissions, inbox) = mpsc::channel(4);
        let (outbox, mut answers) = mpsc::channel(4);
        let entrance = lanes.find(None, None, b"").unwrap().entrance;
        let lane = Arc::clone(entrance.lane());
        for id in ["a", "b"] {
            let (job, entrance) = (doubles::job_in(&lane, id), Arc::clone(&entrance));
            admissions.send(Admission { job, entrance }).await.unwrap();
        }
        drop((admissions, lanes, entrance));
        assert!(!lane.line.waiting().closed, "two are on their way");
        run(inbox, outbox).await;
        let answer = answers.recv().await.unwrap();
        assert_eq!(answer.asker.id, "b");
        let failure = answer.result.unwrap_err();
        assert_eq!(failure.reply.code, ErrorCode::ResourceExhausted);
        assert!(failure.reply.retryable && failure.dead.is_none());
        assert!(lane.line.waiting().closed);
    }
}
