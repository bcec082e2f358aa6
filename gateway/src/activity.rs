//! Whether a connection lies idle: since when nothing has been asked on it that is not answered to its end.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;

/// What goes on on one connection.
#[derive(Debug)]
pub struct Activity(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Requests that are not answered to their end.
    open: usize,
    /// Since when there are none.
    since: Instant,
}

/// A request that is not answered to its end.
#[derive(Debug)]
pub struct Busy(Arc<Activity>);

/// The body of an answer, with which the request is over.
#[derive(Debug)]
pub struct Sent {
    /// The body itself.
    pub body: Body,
    /// Dropped behind it.
    pub _busy: Busy,
}

impl Default for Activity {
    fn default() -> Self {
        Self(Mutex::new(State { open: 0, since: Instant::now() }))
    }
}

impl Activity {
    /// A request begins.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Busy {
        self.change(|state| state.open += 1);
        Busy(Arc::clone(self))
    }

    /// Returns when nothing has gone on for that long.
    pub async fn idle_for(&self, limit: Duration) {
        loop {
            let (open, since) = self.change(|state| (state.open, state.since));
            let ends = if open == 0 { since } else { Instant::now() } + limit;
            if open == 0 && ends <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(ends).await;
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.open -= 1;
            state.since = Instant::now();
        });
    }
}

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn idle_is_what_has_had_nothing_under_way_for_that_long() {
        let activity = Arc::<Activity>::default();
        let start = Instant::now();
        let busy = activity.begin();
        let asked = Arc::clone(&activity);
        let other = tokio::spawn(async move {
            tokio::time::sleep(LIMIT * 3).await;
            drop(busy);
        });
        asked.idle_for(LIMIT).await;
        other.await.unwrap();
        assert!(start.elapsed() >= LIMIT * 4, "{:?}", start.elapsed());
        assert!(start.elapsed() < LIMIT * 6, "{:?}", start.elapsed());
    }
}
