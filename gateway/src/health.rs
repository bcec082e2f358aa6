//! Whether the gateway is ready, and why not. It lives as long as it answers at all: it has no work that could hang beside its
//! answers.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the parts of the gateway say about themselves.
#[derive(Debug)]
pub struct Health(Mutex<State>);

#[derive(Debug)]
struct State {
    draining: bool,
    /// Why requests can't be sent now.
    fault: Option<String>,
    /// Why callers can't be told apart now.
    keys: Option<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self(Mutex::new(State {
            draining: false,
            fault: Some("no broker was asked yet".to_owned()),
            keys: None,
        }))
    }
}

impl Health {
    /// The gateway ends.
    pub fn set_draining(&self) {
        self.state().draining = true;
    }

    /// Whether the gateway ends.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.state().draining
    }

    /// Requests can be sent, or why they can't. Logged when that is new.
    pub fn set_broker(&self, fault: Option<String>) {
        let mut state = self.state();
        match (&state.fault, &fault) {
            (before, Some(now)) if before.as_ref() != Some(now) => tracing::warn!("{now}"),
            (Some(_), None) => tracing::info!("the broker answers"),
            _ => {}
        }
        state.fault = fault;
    }

    /// The keys of callers are to be known before anybody comes in.
    pub fn await_keys(&self) {
        self.state().keys = Some("the keys of callers are not read yet".to_owned());
    }

    /// The keys of callers are known, or why not. Logged when that is new.
    pub fn set_keys(&self, fault: Option<String>) {
        let mut state = self.state();
        if let Some(now) = fault.as_ref().filter(|now| state.keys.as_ref() != Some(now)) {
            tracing::warn!("{now}");
        }
        state.keys = fault;
    }

    /// Why requests can't be sent now.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.state().fault.clone()
    }

    /// # Errors
    /// Why it is not ready, a sentence each.
    pub fn ready(&self) -> Result<(), Vec<String>> {
        let state = self.state();
        let draining = state.draining.then(|| "the gateway is shutting down".to_owned());
        let reasons: Vec<_> =
            draining.into_iter().chain(state.fault.clone()).chain(state.keys.clone()).collect();
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_said_when_the_broker_answers_and_taken_back_at_the_end() {
        let health = Health::default();
        assert_eq!(health.ready(), Err(vec!["no broker was asked yet".to_owned()]));
        health.set_broker(None);
        assert_eq!(health.ready(), Ok(()));
        health.set_broker(Some("it is away".to_owned()));
        assert_eq!(health.ready(), Err(vec!["it is away".to_owned()]));
        health.set_broker(None);
        health.set_draining();
        assert_eq!(health.ready(), Err(vec!["the gateway is shutting down".to_owned()]));
    }
}
