//! Small pictures of the last images, for the page: made beside the answers, of some, and never in anybody's way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model_core::{ImageLimits, thumbnail};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// In pixels, across and down at most.
const SIDE: u32 = 96;
/// A larger file is not kept until its answer comes.
const LARGEST: usize = 2 << 20;
/// So many are kept meanwhile.
const KEPT: usize = 8;
/// Between two that are kept: no more are looked at a second.
const EVERY: Duration = Duration::from_millis(200);
/// What decoding one may take: of what needs more there is none.
const LIMITS: ImageLimits = ImageLimits { max_width: 16_384, max_height: 16_384, max_alloc_bytes: 24 << 20 };

/// Who makes them.
#[derive(Debug)]
pub struct Thumbnails {
    kept: Arc<Semaphore>,
    making: Arc<Semaphore>,
    last: Mutex<Option<Instant>>,
}

/// A file of which a thumbnail may be made.
#[derive(Debug)]
pub struct Sketch {
    file: Vec<u8>,
    making: Arc<Semaphore>,
    _kept: OwnedSemaphorePermit,
}

impl Thumbnails {
    /// None is ever made where they are not on.
    #[must_use]
    pub fn new(on: bool) -> Self {
        let kept = Arc::new(Semaphore::new(if on { KEPT } else { 0 }));
        Self { kept, making: Arc::new(Semaphore::new(1)), last: Mutex::default() }
    }

    /// A copy of the file, where there is time and room for a picture of it.
    #[must_use]
    pub fn sketch(&self, file: &[u8]) -> Option<Sketch> {
        if file.len() > LARGEST {
            return None;
        }
        let kept = Arc::clone(&self.kept).try_acquire_owned().ok()?;
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now.duration_since(last) < EVERY) {
            return None;
        }
        *last = Some(now);
        Some(Sketch { file: file.to_vec(), making: Arc::clone(&self.making), _kept: kept })
    }
}

impl Sketch {
    /// Makes the picture on a thread of its own and gives it to `done`; not at all while another one is made, or where the file is no image.
    pub fn make(self, done: impl FnOnce(Vec<u8>) + Send + 'static) {
        let Ok(turn) = Arc::clone(&self.making).try_acquire_owned() else { return };
        tokio::task::spawn_blocking(move || {
            if let Ok(jpeg) = thumbnail(&self.file, SIDE, &LIMITS) {
                done(jpeg);
            }
            drop(turn);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn some_are_kept_and_never_many() {
        let thumbnails = Thumbnails::new(true);
        let mut kept = Vec::new();
        for _ in 0..KEPT {
            kept.push(thumbnails.sketch(b"file").unwrap());
            assert!(thumbnails.sketch(b"file").is_none(), "at once there is no second one");
            tokio::time::sleep(EVERY).await;
        }
        assert!(thumbnails.sketch(b"file").is_none(), "no answer has come yet");
        kept.pop();
        assert!(thumbnails.sketch(&vec![0; LARGEST + 1]).is_none(), "it is large");
        assert!(thumbnails.sketch(b"file").is_some());
        assert!(Thumbnails::new(false).sketch(b"file").is_none());
    }
}
