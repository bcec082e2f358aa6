//! How much is taken at once: images on their way, and bytes of requests in memory. What finds no place is refused at once:
//! whoever sends too much hears of it, and the topic does not fill.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;
use crate::problem::Problem;

/// The places that there are.
#[derive(Clone, Debug)]
pub struct Admission {
    images: Arc<Semaphore>,
    pages: Arc<Semaphore>,
    limits: Limits,
}

/// Places for images, given back when dropped.
#[derive(Debug)]
pub struct Places(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

/// Room for the bytes of one request, given back when dropped.
#[derive(Debug)]
pub struct Room {
    pages: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

/// Bytes are counted by pages: a semaphore's permits are 32 bits.
const PAGE: usize = 1 << 12;

impl Admission {
    /// As many places as that.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS)));
        Self {
            images: semaphore(limits.max_in_flight),
            pages: semaphore(limits.max_in_flight_bytes.div_ceil(PAGE)),
            limits: limits.clone(),
        }
    }

    /// Places for that many images.
    ///
    /// # Errors
    /// Where there are not so many.
    pub fn places(&self, images: usize) -> Result<Places, Problem> {
        let wanted = u32::try_from(images).unwrap_or(u32::MAX);
        Arc::clone(&self.images).try_acquire_many_owned(wanted).map(Places).map_err(|_| {
            Problem::too_many(format!(
                "{} images are on their way through this gateway, and no more are taken",
                self.limits.max_in_flight
            ))
        })
    }

    /// Room for a request, for none of its bytes yet.
    #[must_use]
    pub fn room(&self) -> Room {
        Room { pages: Arc::clone(&self.pages), held: None, bytes: 0 }
    }

    /// How many images are on their way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.limits.max_in_flight.saturating_sub(self.images.available_permits())
    }

    /// How many bytes of requests are in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let pages = self.limits.max_in_flight_bytes.div_ceil(PAGE);
        pages.saturating_sub(self.pages.available_permits()) * PAGE
    }
}

impl Room {
    /// That many bytes more.
    ///
    /// # Errors
    /// Where there is no room for them.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let before = self.bytes.div_ceil(PAGE);
        let after = (self.bytes + bytes).div_ceil(PAGE);
        let more = u32::try_from(after - before).unwrap_or(u32::MAX);
        if more > 0 {
            let permit = Arc::clone(&self.pages)
                .try_acquire_many_owned(more)
                .map_err(|_| Problem::too_many("this gateway has no memory for more requests now"))?;
            match &mut self.held {
                Some(held) => held.merge(permit),
                None => self.held = Some(permit),
            }
        }
        self.bytes += bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Admission {
        Admission::new(&Limits { max_in_flight: 2, max_in_flight_bytes: 4 * PAGE, ..Limits::default() })
    }

    #[test]
    fn places_are_bounded_and_given_back() {
        let admission = admission();
        let one = admission.places(1).unwrap();
        assert_eq!(admission.places(2).unwrap_err().status(), 429);
        let two = admission.places(1).unwrap();
        assert_eq!(admission.in_flight(), 2);
        drop((one, two));
        assert_eq!(admission.in_flight(), 0);
        admission.places(2).unwrap();
    }

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let admission = admission();
        let mut one = admission.room();
        one.grow(1).unwrap();
        one.grow(PAGE - 1).unwrap();
        let mut two = admission.room();
        two.grow(3 * PAGE).unwrap();
        assert_eq!(one.grow(1).unwrap_err().status(), 429);
        drop(two);
        one.grow(1).unwrap();
        one.grow(3 * PAGE - 1).unwrap();
        one.grow(1).unwrap_err();
    }
}
