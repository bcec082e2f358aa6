//! What a version computes beside the one that answers: from decode, which keeps the image, by way of the job, to infer, which knows the
//! answer and hands both to the room that computes them. What there is no time or room for is shed, and nobody waits for any of it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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
    waiting: Arc<Waiting>,
    metrics: Arc<Metrics>,
    /// Only those who hand over have it.
    _open: Arc<Open>,
}

/// What waits for the room, each lane's apart, so that a slow version keeps no other waiting longer than one image takes it.
#[derive(Debug, Default)]
struct Waiting {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The lane whose turn it is first.
    lanes: VecDeque<(Arc<Lane>, VecDeque<Compared>)>,
    closed: bool,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the room behind it.
#[derive(Debug)]
struct Open(Arc<Waiting>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

/// Where the room takes from.
#[derive(Debug)]
pub struct Inbox(Arc<Waiting>);

impl Shadows {
    /// And its other end.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> (Self, Inbox) {
        let waiting = Arc::<Waiting>::default();
        let open = Arc::new(Open(Arc::clone(&waiting)));
        let inbox = Inbox(Arc::clone(&waiting));
        (Self { room: Arc::new(Semaphore::new(BYTES)), waiting, metrics, _open: open }, inbox)
    }

    /// Keeps a copy of the image for that lane, if there is room for it and somebody who will get to it.
    #[must_use]
    pub fn keep(&self, lane: &Arc<Lane>, image: &[u8]) -> Option<Beside> {
        let bytes = u32::try_from(image.len()).ok();
        let room = bytes.filter(|_| lane.model.is_ready() && !self.is_full(lane));
        let room = room.and_then(|bytes| Arc::clone(&self.room).try_acquire_many_owned(bytes).ok());
        let Some(room) = room else {
            self.metrics.shadowed(&lane.model.id, "shed");
            return None;
        };
        Some(Beside { lane: Arc::clone(lane), image: image.to_vec(), _room: room })
    }

    fn is_full(&self, lane: &Arc<Lane>) -> bool {
        let state = self.waiting.lock();
        let of_it = state.lanes.iter().find(|(other, _)| Arc::ptr_eq(other, lane));
        of_it.is_some_and(|(_, all)| all.len() >= capacity::COMPARED)
    }

    /// Hands an answered one over, if there is still room.
    pub fn hand(&self, compared: Compared) {
        let lane = Arc::clone(&compared.beside.lane);
        let mut state = self.waiting.lock();
        match state.lanes.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &lane)) {
            Some((_, all)) if all.len() >= capacity::COMPARED => {
                drop(state);
                return self.metrics.shadowed(&lane.model.id, "shed");
            }
            Some((_, all)) => all.push_back(compared),
            None => state.lanes.push_back((lane, VecDeque::from([compared]))),
        }
        drop(state);
        self.waiting.changed.notify_one();
    }
}

impl Inbox {
    /// The next one, of each lane in turn; none when nobody is left who hands any over. What waits for a version that is tried out no more
    /// is dropped.
    #[must_use]
    pub fn next(&self) -> Option<Compared> {
        loop {
            let next = self.take()?;
            // Whoever runs this may be kept from the processor at any moment, so it holds no lock longer than it must.
            if !next.beside.lane.line.is_closed() {
                return Some(next);
            }
        }
    }

    fn take(&self) -> Option<Compared> {
        let mut state = self.0.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some((lane, mut all)) = state.lanes.pop_front() {
                let next = all.pop_front();
                if !all.is_empty() {
                    state.lanes.push_back((lane, all));
                }
                if next.is_some() {
                    return next;
                }
            } else {
                state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// As [`next`](Self::next), without waiting.
    #[cfg(test)]
    pub fn try_next(&self) -> Option<Compared> {
        if self.0.lock().lanes.is_empty() { None } else { self.next() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles;

    #[test]
    fn what_there_is_no_room_for_is_shed_and_counted() {
        let metrics = Arc::<Metrics>::default();
        let (shadows, inbox) = Shadows::new(Arc::clone(&metrics));
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
        assert_eq!(inbox.try_next().unwrap().id, "r");
        assert!(shadows.keep(&lane, b"x").is_some());
        let loading = doubles::lane(doubles::served("bird", 2).not_loaded());
        assert!(shadows.keep(&loading, b"x").is_none());
        shed(3);
    }

    #[test]
    fn each_lane_has_its_turn_and_what_is_tried_out_no_more_is_dropped() {
        let (shadows, inbox) = Shadows::new(Arc::default());
        let lanes = [2, 3, 4].map(|version| doubles::lane(doubles::served("bird", version)));
        let hand = |lane: &Arc<Lane>, id: &str| {
            shadows.hand(Compared {
                beside: shadows.keep(lane, b"x").unwrap(),
                id: id.into(),
                key: None,
                model: doubles::served("bird", 1).id,
                predictions: Vec::new(),
            });
        };
        for id in ["slow 1", "slow 2", "slow 3"] {
            hand(&lanes[0], id);
        }
        hand(&lanes[2], "over");
        hand(&lanes[1], "other");
        lanes[2].line.close();
        let next = || inbox.try_next().map(|compared| compared.id);
        let expected = ["slow 1", "other", "slow 2", "slow 3"].map(|id| Some(id.to_owned()));
        assert_eq!([next(), next(), next(), next()], expected);
        drop(shadows);
        assert!(inbox.next().is_none(), "nobody is left");
    }
}
