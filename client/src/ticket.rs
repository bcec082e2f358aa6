//! An open request: what whoever asked waits on.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wire::Response;

use crate::error::ClientError;
use crate::pending::{Table, Waiting};
use crate::window::Place;

/// An open request. Dropping it gives its place to another; an answer that still comes is ignored.
#[derive(Debug)]
pub struct Ticket {
    pub(crate) id: String,
    pub(crate) table: Arc<Table>,
    pub(crate) waiting: Waiting,
    pub(crate) acknowledged: bool,
    pub(crate) timeout: Duration,
    pub(crate) sent_at: Instant,
    pub(crate) deadline: Instant,
    pub(crate) _place: Place,
}

impl Ticket {
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

    /// Waits until the broker has the request.
    ///
    /// # Errors
    /// [`ClientError`] where it does not within the request's time-out.
    pub async fn acknowledged(&mut self) -> Result<(), ClientError> {
        if self.acknowledged {
            return Ok(());
        }
        match tokio::time::timeout_at(self.deadline, &mut self.waiting.acknowledged).await {
            Ok(Ok(())) => {
                self.acknowledged = true;
                Ok(())
            }
            // The entry was closed without one: what happened was put where the answer goes.
            Ok(Err(_)) => Err(self
                .waiting
                .answer
                .try_recv()
                .map_or(ClientError::Closed, |answer| answer.err().unwrap_or(ClientError::Closed))),
            Err(_) => Err(self.timed_out()),
        }
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// [`ClientError`] where there is none within the request's time-out.
    pub async fn answer(mut self) -> Result<Response, ClientError> {
        match tokio::time::timeout_at(self.deadline, &mut self.waiting.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ClientError::Closed),
            Err(_) => Err(self.timed_out()),
        }
    }

    fn timed_out(&mut self) -> ClientError {
        let acknowledged = self.acknowledged || self.waiting.acknowledged.try_recv().is_ok();
        ClientError::Timeout { id: self.id.clone(), waited: self.timeout, acknowledged }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.table.remove(&self.id);
    }
}
