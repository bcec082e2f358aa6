//! A thread that reads until it is told to stop. It is not waited for where it is dropped: that would hold up a runtime's
//! own thread for as long as a poll takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::error::ClientError;
use crate::reading;

/// A running thread; dropping it tells it to end.
#[derive(Debug)]
pub(crate) struct Thread {
    stop: Arc<AtomicBool>,
    handle: Option<JoinHandle<()>>,
}

/// What the thread asks whether it is to go on.
#[derive(Clone, Debug)]
pub(crate) struct Running(Arc<AtomicBool>);

impl Running {
    pub(crate) fn go_on(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

impl Thread {
    pub(crate) fn start(
        name: &str,
        work: impl FnOnce(&Running) + Send + 'static,
    ) -> Result<Self, ClientError> {
        let stop = Arc::new(AtomicBool::new(false));
        let running = Running(Arc::clone(&stop));
        let handle = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&running))
            .map_err(|error| ClientError::Thread(error.to_string()))?;
        Ok(Self { stop, handle: Some(handle) })
    }

    /// Tells it to end and waits for that.
    pub(crate) async fn close(mut self) -> Result<(), ClientError> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(handle) = self.handle.take() else { return Ok(()) };
        reading::blocking(move || handle.join().map_err(|_| ClientError::Thread("it panicked".to_owned())))
            .await
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
