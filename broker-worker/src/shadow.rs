//! What a version computes beside the one that answers: from decode, which keeps the image, by way of the job, to infer, which knows the
//! answer and hands both to the room that computes them. What there is no time or room for is shed, and nobody waits for any of it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use wire::{ModelId, Prediction};

use crate::capacity;
use crate::lane::Lane;
use crate::metrics::Metrics;

/// How many bytes of images may wait, those of jobs that are not computed yet included.
const BYTES: usize = 64 << 20;

/// An image that a version is to compute as well.
#[derive(Debug)]
pub struct Beside {
    /// That version's.
    pub lane: Arc<Lane>,
    /// The file.
    pub image: Vec<u8>,
    /// Given back with the image.
    _room: OwnedSemaphorePermit,
}

/// The same, and what it was answered with.
#[derive(Debug)]
pub struct Compared {
    /// What is computed.
    pub beside: Beside,
    /// The request's id.
    pub id: String,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The version that answered.
    pub model: ModelId,
    /// What it said, the most probable label first.
    pub predictions: Vec<Prediction>,
}

/// The way to the room. The room ends when the last one who holds this is gone.
#[derive(Clone, Debug)]
pub struct Shadows {
    room: Arc<Semaphore>,
    compared: mpsc::Sender<Compared>,
    metrics: Arc<Metrics>,
}

impl Shadows {
    /// And its other end.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> (Self, mpsc::Receiver<Compared>) {
        let (compared, inbox) = mpsc::channel(capacity::COMPARED);
        (Self { room: Arc::new(Semaphore::new(BYTES)), compared, metrics }, inbox)
    }

    /// Keeps a copy of the image for that lane, if there is room for it and somebody who will get to it.
    #[must_use]
    pub fn keep(&self, lane: &Arc<Lane>, image: &[u8]) -> Option<Beside> {
        let bytes = u32::try_from(image.len()).ok();
        let room = bytes
            .filter(|_| self.compared.capacity() > 0 && lane.model.is_ready())
            .and_then(|bytes| Arc::clone(&self.room).try_acquire_many_owned(bytes).ok());
        let Some(room) = room else {
            self.metrics.shadowed(&lane.model.id, "shed");
            return None;
        };
        Some(Beside { lane: Arc::clone(lane), image: image.to_vec(), _room: room })
    }

    /// Hands an answered one over, if there is still room.
    pub fn hand(&self, compared: Compared) {
        if let Err(mpsc::error::TrySendError::Full(compared) | mpsc::error::TrySendError::Closed(compared)) =
            self.compared.try_send(compared)
        {
            self.metrics.shadowed(&compared.beside.lane.model.id, "shed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles;

    #[test]
    fn what_there_is_no_room_for_is_shed_and_counted() {
        let metrics = Arc::<Metrics>::default();
        let (shadows, mut inbox) = Shadows::new(Arc::clone(&metrics));
        let lane = doubles::lane(doubles::served("bird", 2));
        let shed = |count: usize| {
            let line = format!(
                r#"mlaas_worker_shadow_requests_total{{model="bird",outcome="shed",version="2"}} {count}"#
            );
            assert!(metrics.text().contains(&line), "{}", metrics.text());
        };
        let large = shadows.keep(&lane, &vec![0; BYTES]).unwrap();
        assert!(shadows.keep(&lane, b"x").is_none(), "the large one takes it all");
        shed(1);
        drop(large);
        let compared = |beside| Compared {
            beside,
            id: "r".into(),
            key: None,
            model: lane.model.id.clone(),
            predictions: Vec::new(),
        };
        for _ in 0..capacity::COMPARED {
            shadows.hand(compared(shadows.keep(&lane, b"x").unwrap()));
        }
        assert!(shadows.keep(&lane, b"x").is_none(), "nobody would get to it");
        shed(2);
        assert_eq!(inbox.try_recv().unwrap().id, "r");
        assert!(shadows.keep(&lane, b"x").is_some());
        let loading = doubles::lane(doubles::served("bird", 2).not_loaded());
        assert!(shadows.keep(&loading, b"x").is_none());
        shed(3);
    }
}
