//! An open request: what whoever asked waits on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use wire::Response;

use crate::error::ClientError;
use crate::pending::{Answer, Table, Waiting};
use crate::window::Place;

/// An open request. Dropping it gives its place to another; an answer that still comes is ignored.
#[derive(Debug)]
pub struct Ticket {
    id: String,
    table: Arc<Table>,
    acknowledged: Acknowledged,
    /// None once it was taken out for good.
    answer: Option<oneshot::Receiver<Answer>>,
    time: Duration,
    sent_at: Instant,
    /// When the time-out ends; never where `None`.
    ends: Option<Instant>,
    place: Place,
}

#[derive(Debug)]
enum Acknowledged {
    Waiting(oneshot::Receiver<()>),
    Yes,
    /// It failed, for that reason.
    No(ClientError),
}

impl Ticket {
    pub(crate) fn new(
        id: String,
        table: Arc<Table>,
        waiting: Waiting,
        time: Duration,
        ends: Option<Instant>,
        place: Place,
    ) -> Self {
        let acknowledged = Acknowledged::Waiting(waiting.acknowledged);
        let answer = Some(waiting.answer);
        Self { id, table, acknowledged, answer, time, sent_at: Instant::now(), ends, place }
    }

    /// The request's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When it was sent.
    #[must_use]
    pub fn sent_at(&self) -> Instant {
        self.sent_at
    }

    /// Waits until the broker has the request. To ask again gives the same again, but for a time-out, which another
    /// may follow.
    ///
    /// # Errors
    /// [`ClientError`] where the broker does not take it, or not within the request's time-out.
    pub async fn acknowledged(&mut self) -> Result<(), ClientError> {
        let heard = match &mut self.acknowledged {
            Acknowledged::Yes => return Ok(()),
            Acknowledged::No(error) => return Err(error.clone()),
            Acknowledged::Waiting(receiver) => within(self.ends, receiver).await,
        };
        match heard {
            Some(Ok(())) => {
                self.acknowledged = Acknowledged::Yes;
                Ok(())
            }
            // The entry was closed without one: what happened was put where the answer goes.
            Some(Err(_)) => {
                let error = match self.answer.take().and_then(|mut answer| answer.try_recv().ok()) {
                    Some(Err(error)) => error,
                    _ => ClientError::Closed,
                };
                self.acknowledged = Acknowledged::No(error.clone());
                Err(error)
            }
            None => Err(self.timed_out()),
        }
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// [`ClientError`] where there is none within the request's time-out, or none can come.
    pub async fn answer(mut self) -> Result<Response, ClientError> {
        let ends = self.ends;
        match self.answer_until(ends).await {
            Some(answer) => answer,
            None => {
                self.place.ran_out();
                Err(self.timed_out())
            }
        }
    }

    /// Waits for the answer for as long as answers come to anybody who asked with this client: until none has come for
    /// `patience`.
    ///
    /// # Errors
    /// [`ClientError::Timeout`] then; another where no answer can come.
    pub async fn answer_while_others_come(mut self, patience: Duration) -> Result<Response, ClientError> {
        loop {
            let since = self.table.answered_at().map_or(self.sent_at, |at| at.max(self.sent_at));
            let ends = since.checked_add(patience);
            if let Some(answer) = self.answer_until(ends).await {
                return answer;
            }
            if self.table.answered_at().is_none_or(|at| at <= since) {
                self.time = patience;
                return Err(self.timed_out());
            }
        }
    }

    /// The answer, if it comes until then.
    async fn answer_until(&mut self, ends: Option<Instant>) -> Option<Answer> {
        let Some(answer) = &mut self.answer else {
            return Some(match &self.acknowledged {
                Acknowledged::No(error) => Err(error.clone()),
                _ => Err(ClientError::Closed),
            });
        };
        let answer = within(ends, answer).await?.unwrap_or(Err(ClientError::Closed));
        self.answer = None;
        if answer.is_ok() {
            self.place.answered(self.sent_at.elapsed(), self.time);
        }
        Some(answer)
    }

    fn timed_out(&mut self) -> ClientError {
        let acknowledged = match &mut self.acknowledged {
            Acknowledged::Yes => true,
            Acknowledged::No(_) => false,
            Acknowledged::Waiting(receiver) => match receiver.try_recv() {
                Ok(()) => {
                    self.acknowledged = Acknowledged::Yes;
                    true
                }
                // Nothing is lost by asking: a channel that was closed says so again.
                Err(_) => false,
            },
        };
        ClientError::Timeout { id: self.id.clone(), waited: self.time, acknowledged }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.table.remove(&self.id);
    }
}

/// What comes until then; nothing where it takes longer.
pub(crate) async fn within<T>(ends: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match ends {
        Some(ends) => tokio::time::timeout_at(ends, work).await.ok(),
        None => Some(work.await),
    }
}
