//! The table of open requests: who waits for which id. Whoever answers first takes the entry out, so that a second answer,
//! a late one and one to somebody else's request find nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use wire::Response;

use crate::error::ClientError;

pub(crate) type Answer = Result<Response, ClientError>;

#[derive(Debug, Default)]
pub(crate) struct Table(Mutex<HashMap<String, Slot>>);

#[derive(Debug)]
struct Slot {
    acknowledged: Option<oneshot::Sender<()>>,
    answer: oneshot::Sender<Answer>,
}

/// The two ends that whoever asked waits on.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) acknowledged: oneshot::Receiver<()>,
    pub(crate) answer: oneshot::Receiver<Answer>,
}

impl Table {
    /// Opens an entry.
    pub(crate) fn insert(&self, id: &str) -> Waiting {
        let (ack_sender, acknowledged) = oneshot::channel();
        let (answer_sender, answer) = oneshot::channel();
        let slot = Slot { acknowledged: Some(ack_sender), answer: answer_sender };
        self.slots().insert(id.to_owned(), slot);
        Waiting { acknowledged, answer }
    }

    /// The broker has the request. Unless its answer was quicker, someone may be waiting for that.
    pub(crate) fn acknowledge(&self, id: &str) {
        if let Some(sender) = self.slots().get_mut(id).and_then(|slot| slot.acknowledged.take()) {
            // Nobody need be waiting for it.
            sender.send(()).ok();
        }
    }

    /// Hands over an answer and closes the entry; false where nobody waits for that id.
    pub(crate) fn answer(&self, id: &str, answer: Answer) -> bool {
        let Some(slot) = self.slots().remove(id) else { return false };
        if answer.is_ok()
            && let Some(sender) = slot.acknowledged
        {
            // Only a request that the broker has can be answered.
            sender.send(()).ok();
        }
        slot.answer.send(answer).is_ok()
    }

    /// Whether someone waits for that id.
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.slots().contains_key(id)
    }

    /// Closes an entry without an answer.
    pub(crate) fn remove(&self, id: &str) {
        self.slots().remove(id);
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.slots().len()
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use wire::{ErrorCode, ErrorReply, Outcome, Timings};

    use super::*;

    fn response(id: &str) -> Response {
        Response {
            request_id: id.to_owned(),
            outcome: Outcome::Error(ErrorReply::new(ErrorCode::Internal, "x")),
            timings: Timings::default(),
            worker: "w".to_owned(),
        }
    }

    #[test]
    fn only_the_first_answer_finds_someone() {
        let table = Table::default();
        let mut waiting = table.insert("a");
        assert!(table.answer("a", Ok(response("a"))));
        assert!(!table.answer("a", Ok(response("a"))), "a second one is dropped");
        assert!(!table.answer("b", Ok(response("b"))), "nobody asked for that");
        assert_eq!(waiting.answer.try_recv().unwrap().unwrap(), response("a"));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn an_answer_stands_for_an_acknowledgement_that_comes_later() {
        let table = Table::default();
        let mut waiting = table.insert("a");
        assert!(waiting.acknowledged.try_recv().is_err());
        table.answer("a", Ok(response("a")));
        table.acknowledge("a");
        waiting.acknowledged.try_recv().unwrap();
    }

    #[test]
    fn a_failure_is_no_acknowledgement() {
        let table = Table::default();
        let mut waiting = table.insert("a");
        table.answer("a", Err(ClientError::Closed));
        assert!(waiting.acknowledged.try_recv().is_err());
        assert!(waiting.answer.try_recv().unwrap().is_err());
    }
}
