//! A batch that an engine does not come back from. Unanswered, its requests would come again, to this worker when it is started anew or to
//! another one, and stop that as well: one image would end the service of all models. So they are answered while the instance hangs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wire::{ErrorCode, ErrorReply, Timings};

use super::STAGE;
use crate::parcels::{Answer, Asker, Failure};
use crate::served::Served;

/// What the asker is told.
const HANGS: &str =
    "the model did not come back from computing this image; the worker's log says for how long it was waited";
/// So often it is looked, before a batch is given up, whether it is still the same: time that passes while nobody can look, because the
/// machine sleeps or the process is stopped, counts little.
const LOOKS: u32 = 20;

/// Who waits for what an instance computes. The instance takes them back when it is done, or [`watch`] does where it never is.
#[derive(Debug, Default)]
pub struct Waiting(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many batches were begun.
    begun: u64,
    held: Option<(Arc<Served>, Vec<Asker>)>,
}

impl Waiting {
    /// A batch begins.
    pub(super) fn hold(&self, model: &Arc<Served>, askers: Vec<Asker>) {
        let mut state = self.lock();
        state.begun += 1;
        state.held = Some((Arc::clone(model), askers));
    }

    /// It is done; nobody where they were answered meanwhile.
    pub(super) fn take(&self) -> Vec<Asker> {
        self.lock().held.take().map(|(_, askers)| askers).unwrap_or_default()
    }

    /// The number of the batch that is at work.
    fn at_work(&self) -> Option<u64> {
        let state = self.lock();
        state.held.is_some().then_some(state.begun)
    }

    /// Those of that batch, if it is still at work.
    fn give_up(&self, batch: u64) -> Option<(Arc<Served>, Vec<Asker>)> {
        let mut state = self.lock();
        if state.begun == batch { state.held.take() } else { None }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers those who wait for a batch that is computed for longer than `stuck`, until the instance has ended.
pub async fn watch(
    waiting: Arc<Waiting>,
    stuck: Duration,
    answers: mpsc::Sender<Answer>,
    ended: CancellationToken,
) {
    let mut seen = (None, 0);
    loop {
        tokio::select! {
            () = ended.cancelled() => return,
            () = tokio::time::sleep(stuck / LOOKS) => {}
        }
        let batch = waiting.at_work();
        seen = if batch == seen.0 { (batch, seen.1 + 1) } else { (batch, 0) };
        let (Some(batch), LOOKS..) = seen else { continue };
        let Some((model, askers)) = waiting.give_up(batch) else { continue };
        let images = askers.len();
        tracing::error!(
            ?model,
            images,
            "a batch is computed for longer than {stuck:?}: its images are answered with an error"
        );
        for asker in askers {
            let reply = ErrorReply::new(ErrorCode::Internal, HANGS);
            let result = Err(Failure::passing(STAGE, Some(Arc::clone(&model)), reply));
            let answer = Answer { asker, result, timings: Timings::default() };
            if answers.send(answer).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles;

    const STUCK: Duration = Duration::from_secs(60);

    fn asker(id: &str) -> Asker {
        doubles::asker(id, doubles::ticket())
    }

    #[tokio::test(start_paused = true)]
    async fn those_of_a_batch_that_hangs_are_answered_and_the_instance_finds_nobody() {
        let (waiting, ended) = (Arc::new(Waiting::default()), CancellationToken::new());
        let (to_answers, mut answers) = mpsc::channel(4);
        let watch = tokio::spawn(watch(Arc::clone(&waiting), STUCK, to_answers, ended.clone()));
        let model = Arc::new(doubles::served("bird", 1));
        // Each takes its time, none of them too long.
        for id in ["a", "b", "c"] {
            waiting.hold(&model, vec![asker(id)]);
            tokio::time::sleep(STUCK / 2).await;
            assert_eq!(waiting.take()[0].id, id);
        }
        assert!(answers.try_recv().is_err());
        waiting.hold(&model, vec![asker("d"), asker("e")]);
        for id in ["d", "e"] {
            let answer = answers.recv().await.unwrap();
            assert_eq!(
                (answer.asker.id.as_str(), answer.result.unwrap_err().reply.code),
                (id, ErrorCode::Internal)
            );
        }
        assert!(waiting.take().is_empty());
        ended.cancel();
        watch.await.unwrap();
    }
}
