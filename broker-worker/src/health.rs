//! Whether the worker lives and whether it is ready, and why not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// No poll for that long means that the consume room hangs: far beyond the longest drain of a rebalance.
const STUCK: Duration = Duration::from_secs(60);

/// What the rooms say about themselves.
#[derive(Debug, Default)]
pub struct Health {
    warm: AtomicBool,
    connected: AtomicBool,
    joined: AtomicBool,
    draining: AtomicBool,
    polled: Mutex<Option<Instant>>,
}

impl Health {
    /// The models are loaded and warm.
    pub fn set_warm(&self) {
        self.warm.store(true, Ordering::Relaxed);
    }

    /// A broker answers.
    pub fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// Whether a broker answers.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// The group has given this worker its share, be it none.
    pub fn set_joined(&self, joined: bool) {
        self.joined.store(joined, Ordering::Relaxed);
    }

    /// The worker ends.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The consume room has polled.
    pub fn polled(&self) {
        *self.polled.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// # Errors
    /// Why the process had better be started anew.
    pub fn live(&self) -> Result<(), &'static str> {
        let polled = *self.polled.lock().unwrap_or_else(PoisonError::into_inner);
        match polled {
            Some(at) if at.elapsed() > STUCK => Err("the consumer has not been polled for a minute"),
            _ => Ok(()),
        }
    }

    /// # Errors
    /// What it waits for.
    pub fn ready(&self) -> Result<(), &'static str> {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        self.live()?;
        if is(&self.draining) {
            Err("the worker is shutting down")
        } else if !is(&self.warm) {
            Err("the models are being loaded")
        } else if !is(&self.connected) {
            Err("no broker answers")
        } else if !is(&self.joined) {
            Err("the consumer group has not given partitions yet")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_said_when_all_is_and_taken_back_at_the_end() {
        let health = Health::default();
        assert_eq!(health.ready(), Err("the models are being loaded"));
        health.set_warm();
        assert_eq!(health.ready(), Err("no broker answers"));
        health.set_connected(true);
        assert!(health.ready().unwrap_err().contains("consumer group"));
        health.set_joined(true);
        health.polled();
        assert_eq!(health.ready(), Ok(()));
        health.set_draining();
        assert!(health.ready().is_err());
        assert_eq!(health.live(), Ok(()));
    }
}
