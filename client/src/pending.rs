//! The table of open requests: who waits for which id. Whoever answers first takes the entry out, so that a second answer,
//! a late one and one to somebody else's request find nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use wire::Response;

use crate::error::ClientError;

pub(crate) type Answer = Result<Response, ClientError>;

/// For how long it is taken for granted that answers can't be read, after that was heard. Later one is tried again.
const UNREADABLE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(crate) struct Table(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    open: HashMap<String, Slot>,
    /// Answers can't be read: why, and when that was heard.
    unreadable: Option<(ClientError, Instant)>,
    /// No answer can come any more.
    closed: bool,
    /// When the last answer came to anybody.
    answered_at: Option<Instant>,
}

#[derive(Debug)]
struct Slot {
    /// Somebody waits for the answer, not for the acknowledgement alone.
    wanted: bool,
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
    /// Opens an entry. `wanted` says whether somebody waits for the answer.
    ///
    /// # Errors
    /// [`ClientError`] where no answer can come.
    pub(crate) fn insert(&self, id: &str, wanted: bool) -> Result<Waiting, ClientError> {
        let (ack_sender, acknowledged) = oneshot::channel();
        let (answer_sender, answer) = oneshot::channel();
        let slot = Slot { wanted, acknowledged: Some(ack_sender), answer: answer_sender };
        let mut entries = self.entries();
        if entries.closed {
            return Err(ClientError::Closed);
        }
        match &entries.unreadable {
            Some((error, heard)) if wanted && heard.elapsed() < UNREADABLE => return Err(error.clone()),
            _ => {}
        }
        entries.open.insert(id.to_owned(), slot);
        Ok(Waiting { acknowledged, answer })
    }

    /// The broker has the request. Unless its answer was quicker, someone may be waiting for that.
    pub(crate) fn acknowledge(&self, id: &str) {
        if let Some(sender) = self.entries().open.get_mut(id).and_then(|slot| slot.acknowledged.take()) {
            // Nobody need be waiting for it.
            sender.send(()).ok();
        }
    }

    /// Hands over an answer and closes the entry; false where nobody waits for that id.
    pub(crate) fn answer(&self, id: &str, answer: Answer) -> bool {
        let mut entries = self.entries();
        let Some(slot) = entries.open.remove(id) else { return false };
        if answer.is_ok() {
            entries.answered_at = Some(Instant::now());
            if let Some(sender) = slot.acknowledged {
                // Only a request that the broker has can be answered.
                sender.send(()).ok();
            }
        }
        drop(entries);
        slot.answer.send(answer).is_ok()
    }

    /// Answers can't be read: whoever waits for one is told.
    pub(crate) fn unreadable(&self, error: &ClientError) {
        let mut entries = self.entries();
        entries.unreadable = Some((error.clone(), Instant::now()));
        for (_, slot) in entries.open.extract_if(|_, slot| slot.wanted) {
            slot.answer.send(Err(error.clone())).ok();
        }
    }

    /// Answers can be read.
    pub(crate) fn readable(&self) {
        self.entries().unreadable = None;
    }

    /// No answer comes any more: whoever waits for one is told, and no entry is opened.
    pub(crate) fn close(&self) {
        let mut entries = self.entries();
        entries.closed = true;
        for (_, slot) in entries.open.drain() {
            slot.answer.send(Err(ClientError::Closed)).ok();
        }
    }

    /// When the last answer came to anybody; `None` where none has.
    pub(crate) fn answered_at(&self) -> Option<Instant> {
        self.entries().answered_at
    }

    /// Whether someone waits for that id.
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.entries().open.contains_key(id)
    }

    /// Closes an entry without an answer.
    pub(crate) fn remove(&self, id: &str) {
        self.entries().open.remove(id);
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.entries().open.len()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
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
        let mut waiting = table.insert("a", true).unwrap();
        assert!(table.answer("a", Ok(response("a"))));
        assert!(!table.answer("a", Ok(response("a"))), "a second one is dropped");
        assert!(!table.answer("b", Ok(response("b"))), "nobody asked for that");
        assert_eq!(waiting.answer.try_recv().unwrap().unwrap(), response("a"));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn an_answer_stands_for_an_acknowledgement_that_comes_later() {
        let table = Table::default();
        let mut waiting = table.insert("a", true).unwrap();
        assert!(waiting.acknowledged.try_recv().is_err());
        table.answer("a", Ok(response("a")));
        table.acknowledge("a");
        waiting.acknowledged.try_recv().unwrap();
    }

    #[test]
    fn a_failure_is_no_acknowledgement() {
        let table = Table::default();
        let mut waiting = table.insert("a", true).unwrap();
        table.answer("a", Err(ClientError::Closed));
        assert!(waiting.acknowledged.try_recv().is_err());
        assert!(waiting.answer.try_recv().unwrap().is_err());
    }

    #[test]
    fn where_answers_can_not_be_read_only_those_who_wait_for_one_are_told() {
        let table = Table::default();
        let mut waiting = table.insert("a", true).unwrap();
        let mut sending = table.insert("b", false).unwrap();
        let error = ClientError::NotAllowed { topic: "t".into(), address: "h:1".into() };
        table.unreadable(&error);
        assert!(matches!(waiting.answer.try_recv().unwrap(), Err(ClientError::NotAllowed { .. })));
        assert!(matches!(table.insert("c", true), Err(ClientError::NotAllowed { .. })));
        table.acknowledge("b");
        sending.acknowledged.try_recv().unwrap();
        table.readable();
        assert!(table.insert("c", true).is_ok());
    }

    #[test]
    fn a_closed_table_takes_nobody() {
        let table = Table::default();
        let mut waiting = table.insert("a", true).unwrap();
        table.close();
        assert!(matches!(waiting.answer.try_recv().unwrap(), Err(ClientError::Closed)));
        assert!(matches!(table.insert("b", false), Err(ClientError::Closed)));
        assert_eq!(table.len(), 0);
    }
}
