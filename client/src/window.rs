//! How much may be open at once: a number of requests and a number of bytes. A request larger than all the bytes waits
//! until nothing else is open, and then goes: the first always fits. Those that somebody waits for go at the pace of the
//! answers beside.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::error::ClientError;
use crate::pace::Pace;

#[derive(Clone, Debug)]
pub(crate) struct Window {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    capacity: u32,
    paced: Arc<Paced>,
}

/// A place in the window, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    paced: Option<PacedPlace>,
    _request: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// As many permits as the pace lets be open.
#[derive(Debug)]
struct Paced {
    permits: Arc<Semaphore>,
    state: Mutex<State>,
    ran_out: Notify,
}

#[derive(Debug)]
struct State {
    pace: Pace,
    /// Permits that are out and will not come back, because the limit fell.
    owed: usize,
    open: usize,
}

#[derive(Debug)]
struct PacedPlace {
    permit: Option<OwnedSemaphorePermit>,
    paced: Arc<Paced>,
    /// How many were open when it was taken, it included.
    open: usize,
}

impl Window {
    pub(crate) fn new(requests: usize, bytes: usize) -> Self {
        let capacity = u32::try_from(bytes.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        let requests = requests.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            requests: Arc::new(Semaphore::new(requests)),
            bytes: Arc::new(Semaphore::new(capacity as usize)),
            capacity,
            paced: Arc::new(Paced::new(requests)),
        }
    }

    /// Waits, first come first served, until that many bytes fit.
    pub(crate) async fn enter(&self, bytes: usize) -> Result<Place, ClientError> {
        let share = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.capacity);
        // The semaphores are never closed.
        let request = Arc::clone(&self.requests).acquire_owned().await.map_err(|_| ClientError::Closed)?;
        let bytes =
            Arc::clone(&self.bytes).acquire_many_owned(share).await.map_err(|_| ClientError::Closed)?;
        Ok(Place { paced: None, _request: request, _bytes: bytes })
    }

    /// The same at the pace of the answers, for one that may take that `time`.
    ///
    /// # Errors
    /// [`ClientError::Stalled`] where nothing was answered for that time, unless no other is open: then this one is tried.
    pub(crate) async fn enter_paced(&self, bytes: usize, time: Duration) -> Result<Place, ClientError> {
        let mut entering = std::pin::pin!(async {
            let paced = Paced::enter(&self.paced).await?;
            let place = self.enter(bytes).await?;
            Ok(Place { paced: Some(paced), ..place })
        });
        loop {
            let mut ran_out = std::pin::pin!(self.paced.ran_out.notified());
            ran_out.as_mut().enable();
            if self.paced.is_stalled(time) {
                return Err(ClientError::Stalled { waited: time });
            }
            tokio::select! {
                place = &mut entering => return place,
                () = ran_out => {}
            }
        }
    }
}

impl Place {
    /// Its request was answered after `latency` of its `time`.
    pub(crate) fn answered(&self, latency: Duration, time: Duration) {
        if let Some(PacedPlace { paced, open, .. }) = &self.paced {
            paced.adapt(|pace| pace.answered(latency, time, *open, Instant::now()));
        }
    }

    /// The time of its request ran out.
    pub(crate) fn ran_out(&self) {
        if let Some(PacedPlace { paced, .. }) = &self.paced {
            paced.adapt(Pace::ran_out);
            paced.ran_out.notify_waiters();
        }
    }
}

impl Paced {
    fn new(most: usize) -> Self {
        let pace = Pace::new(most, Instant::now());
        Self {
            permits: Arc::new(Semaphore::new(pace.limit())),
            state: Mutex::new(State { pace, owed: 0, open: 0 }),
            ran_out: Notify::new(),
        }
    }

    async fn enter(paced: &Arc<Self>) -> Result<PacedPlace, ClientError> {
        let permit = Arc::clone(&paced.permits).acquire_owned().await.map_err(|_| ClientError::Closed)?;
        let mut state = paced.state();
        let others = state.open;
        state.pace.sent(others, Instant::now());
        state.open += 1;
        Ok(PacedPlace { permit: Some(permit), paced: Arc::clone(paced), open: others + 1 })
    }

    /// Whether nothing was answered for that time, and another request is there to see when that ends.
    fn is_stalled(&self, time: Duration) -> bool {
        let state = self.state();
        state.open > 0 && state.pace.is_stalled(time, Instant::now())
    }

    /// Changes the pace, and with it how many permits there are.
    fn adapt(&self, change: impl FnOnce(&mut Pace)) {
        let mut state = self.state();
        let before = state.pace.limit();
        change(&mut state.pace);
        let after = state.pace.limit();
        let mut more = after.saturating_sub(before);
        let kept = more.min(state.owed);
        state.owed -= kept;
        more -= kept;
        self.permits.add_permits(more);
        let fewer = before.saturating_sub(after);
        state.owed += fewer - self.permits.forget_permits(fewer);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PacedPlace {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let mut state = self.paced.state();
        state.open -= 1;
        if state.owed > 0 {
            state.owed -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const TIME: Duration = Duration::from_secs(8);

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let window = Window::new(10, 100);
        let first = now(window.enter(60)).unwrap().unwrap();
        assert!(now(window.enter(41)).is_none());
        let second = now(window.enter(40)).unwrap().unwrap();
        drop(first);
        assert!(now(window.enter(61)).is_none());
        assert!(now(window.enter(60)).is_some());
        drop(second);
    }

    #[test]
    fn requests_are_bounded() {
        let window = Window::new(1, 100);
        let first = now(window.enter(1)).unwrap().unwrap();
        assert!(now(window.enter(1)).is_none());
        drop(first);
        assert!(now(window.enter(1)).is_some());
    }

    #[test]
    fn one_larger_than_the_window_goes_alone() {
        let window = Window::new(10, 100);
        let small = now(window.enter(1)).unwrap().unwrap();
        assert!(now(window.enter(1000)).is_none(), "not beside another");
        drop(small);
        let large = now(window.enter(1000)).unwrap().unwrap();
        assert!(now(window.enter(1)).is_none(), "nothing beside it");
        drop(large);
    }

    /// Takes all the places that there are.
    fn fill(window: &Window) -> Vec<Place> {
        std::iter::from_fn(|| now(window.enter_paced(1, TIME)).map(Result::unwrap)).collect()
    }

    #[test]
    fn places_grow_and_shrink_with_the_answers() {
        let window = Window::new(100, 1000);
        let places = fill(&window);
        assert_eq!(places.len(), 4);
        for place in &places {
            place.answered(TIME / 100, TIME);
        }
        drop(places);
        let places = fill(&window);
        assert_eq!(
            places.len(),
            7,
            "each quick answer made room for one more, but that of the one that was open alone"
        );
        places[6].answered(TIME / 2, TIME);
        drop(places);
        assert_eq!(fill(&window).len(), 2, "7 took half of the time, so 2 take a fifth");
        let without_pace: Vec<_> = std::iter::from_fn(|| now(window.enter(1))).collect();
        assert_eq!(without_pace.len(), 100, "who does not wait for answers goes beside");
    }

    #[test]
    fn where_nothing_is_answered_one_is_tried_and_the_others_are_told() {
        let window = Window::new(100, 1000);
        let time = Duration::from_nanos(1);
        let places = fill(&window);
        let mut waiting = pin!(window.enter_paced(1, time));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        places[0].ran_out();
        let told = waiting.as_mut().poll(&mut context);
        assert!(matches!(told, Poll::Ready(Err(ClientError::Stalled { .. }))), "{told:?}");
        drop(places);
        let tried = now(window.enter_paced(1, time)).unwrap().unwrap();
        let told = now(window.enter_paced(1, time)).unwrap();
        assert!(matches!(told, Err(ClientError::Stalled { .. })), "{told:?}");
        tried.answered(Duration::ZERO, TIME);
        assert!(now(window.enter_paced(1, TIME)).unwrap().is_ok());
    }
}
