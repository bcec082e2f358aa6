//! The rooms at work, each on a task or a thread of its own: waits for their end, and says which of them failed.

use std::collections::HashMap;
use std::error::Error;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

/// A room that fails takes those around it along, and their end may be heard of first: for that long the one that failed
/// is waited for.
const CAUSE: Duration = Duration::from_secs(2);

/// Rooms that end on their own.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    ends: JoinSet<Result<usize, RoomError>>,
    names: HashMap<Id, &'static str>,
}

/// How a room failed.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// It panicked.
    #[error("it panicked")]
    Panicked,
    /// It ended while none was asked to.
    #[error("it ended before its time")]
    Early,
    /// It can't go on.
    #[error(transparent)]
    Failed(Box<dyn Error + Send + Sync>),
}

impl RoomError {
    /// A room's own error.
    pub(crate) fn failed(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Failed(Box::new(error))
    }
}

/// A room that failed.
#[derive(Debug, thiserror::Error)]
#[error("the {room} room failed")]
pub struct RoomFailed {
    /// Which.
    pub room: &'static str,
    /// How.
    pub source: RoomError,
}

impl Rooms {
    /// A room on a task. It says how many requests it left unanswered.
    pub(crate) fn task(
        &mut self,
        room: &'static str,
        work: impl Future<Output = Result<usize, RoomError>> + Send + 'static,
    ) {
        let id = self.ends.spawn(work).id();
        self.names.insert(id, room);
    }

    /// One of a room's OS threads.
    ///
    /// # Errors
    /// The system's, where it gives no thread.
    pub(crate) fn thread(
        &mut self,
        room: &'static str,
        number: usize,
        work: impl FnOnce() -> Result<usize, RoomError> + Send + 'static,
    ) -> std::io::Result<()> {
        let (ended, end) = oneshot::channel();
        thread::Builder::new().name(format!("{room}-{number}")).spawn(move || {
            // Nobody listens any more where the worker ends at once.
            drop(ended.send(work()));
        })?;
        self.task(room, async move { end.await.unwrap_or(Err(RoomError::Panicked)) });
        Ok(())
    }

    /// Waits until all rooms have ended. Says how many requests were left unanswered.
    ///
    /// # Errors
    /// [`RoomFailed`] where one failed, or ended before `end` was asked for.
    pub(crate) async fn wait(&mut self, end: &CancellationToken) -> Result<usize, RoomFailed> {
        let mut left = 0;
        while let Some((room, result)) = self.next().await {
            let result = match result {
                Ok(_) if !end.is_cancelled() => Err(RoomError::Early),
                result => result,
            };
            match result {
                Ok(unanswered) => left += unanswered,
                Err(source) => {
                    end.cancel();
                    return Err(self.cause(RoomFailed { room, source }).await);
                }
            }
            // What a room left unanswered, those behind it may wait for in vain.
            if left > 0 {
                self.ends.abort_all();
                break;
            }
        }
        Ok(left)
    }

    async fn next(&mut self) -> Option<(&'static str, Result<usize, RoomError>)> {
        let (id, result) = match self.ends.join_next_with_id().await? {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(RoomError::Panicked)),
        };
        Some((self.names.remove(&id).unwrap_or("unknown"), result))
    }

    /// The room that failed of itself, where the first one that was heard of only ended with it.
    async fn cause(&mut self, first: RoomFailed) -> RoomFailed {
        if !matches!(first.source, RoomError::Early) {
            return first;
        }
        let of_itself = async {
            while let Some((room, result)) = self.next().await {
                if let Err(source @ (RoomError::Panicked | RoomError::Failed(_))) = result {
                    return Some(RoomFailed { room, source });
                }
            }
            None
        };
        tokio::time::timeout(CAUSE, of_itself).await.ok().flatten().unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_room_that_panicked_is_named_and_not_one_that_ended_because_of_it() {
        let (records, decode) = oneshot::channel::<()>();
        let mut rooms = Rooms::default();
        rooms.task("decode", async move {
            // Its input is closed: it ends as it should, and before anybody hears of the panic.
            drop(decode.await);
            Ok(0)
        });
        rooms
            .thread("consume", 0, move || {
                drop(records);
                panic!("as it should");
            })
            .unwrap();
        let failed = rooms.wait(&CancellationToken::new()).await.unwrap_err();
        assert_eq!(failed.room, "consume");
        assert!(matches!(failed.source, RoomError::Panicked));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_has_its_name_and_an_error_keeps_its_cause() {
        let mut rooms = Rooms::default();
        rooms.task("batch", async { panic!("as it should") });
        assert_eq!(rooms.wait(&CancellationToken::new()).await.unwrap_err().room, "batch");

        let mut rooms = Rooms::default();
        rooms.task("respond", async { Err(RoomError::failed(std::io::Error::other("fenced"))) });
        let failed = rooms.wait(&CancellationToken::new()).await.unwrap_err();
        assert_eq!(failed.source.to_string(), "fenced");
    }

    #[tokio::test(start_paused = true)]
    async fn rooms_that_end_when_they_are_asked_to_say_what_they_left() {
        let end = CancellationToken::new();
        end.cancel();
        let mut rooms = Rooms::default();
        rooms.task("queue", async { Ok(0) });
        rooms.task("consume", async { Ok(3) });
        rooms.task("respond", std::future::pending());
        assert_eq!(rooms.wait(&end).await.unwrap(), 3, "and does not wait for those behind");
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_that_ends_early_of_itself_is_named() {
        let mut rooms = Rooms::default();
        rooms.task("queue", async { Ok(0) });
        rooms.task("respond", std::future::pending());
        let failed = rooms.wait(&CancellationToken::new()).await.unwrap_err();
        assert!(failed.room == "queue" && matches!(failed.source, RoomError::Early));
    }
}
