//! How much may be open at once: a number of requests and a number of bytes. A request larger than all the bytes waits
//! until nothing else is open, and then goes: the first always fits.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ClientError;

#[derive(Clone, Debug)]
pub(crate) struct Window {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    capacity: u32,
}

/// A place in the window, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _request: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Window {
    pub(crate) fn new(requests: usize, bytes: usize) -> Self {
        let capacity = u32::try_from(bytes.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self {
            requests: Arc::new(Semaphore::new(requests.clamp(1, Semaphore::MAX_PERMITS))),
            bytes: Arc::new(Semaphore::new(capacity as usize)),
            capacity,
        }
    }

    /// Waits, first come first served, until that many bytes fit.
    pub(crate) async fn enter(&self, bytes: usize) -> Result<Place, ClientError> {
        let share = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.capacity);
        // The semaphores are never closed.
        let request = Arc::clone(&self.requests).acquire_owned().await.map_err(|_| ClientError::Closed)?;
        let bytes =
            Arc::clone(&self.bytes).acquire_many_owned(share).await.map_err(|_| ClientError::Closed)?;
        Ok(Place { _request: request, _bytes: bytes })
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

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
}
