//! What workers do, live, as they publish it: heard from the first look on, until nobody has looked for a while.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::live::view::{Asked, View};
use client::{ClientConfig, Monitor};
use jiff::Timestamp;
use tokio::time::Instant;

/// After that long without a look nothing is heard any more. Whoever looks then finds the hour before on the topic.
const IDLE: Duration = Duration::from_secs(600);
/// Between two attempts to connect, and two looks whether the embedded broker is still the same.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the first look waits for what was published before.
const FIRST: Duration = Duration::from_secs(2);
/// Between two looks whether it is read.
const LOOK: Duration = Duration::from_millis(20);

/// What workers publish, for whoever looks.
#[derive(Debug)]
pub struct Live {
    config: ClientConfig,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    monitor: Option<Arc<Monitor>>,
    connecting: bool,
    /// Why there is none.
    fault: Option<String>,
    /// When that was found.
    tried: Option<Instant>,
    /// When somebody looked last.
    looked: Option<Instant>,
}

impl Live {
    /// Nothing is heard yet.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        Self { config, state: Arc::default() }
    }

    /// What is told now. The first look waits a moment for what was published before it.
    pub async fn view(&self, asked: &Asked) -> View {
        let end = Instant::now() + FIRST;
        loop {
            let (monitor, fault) = self.heard();
            let is_over = Instant::now() >= end;
            match monitor {
                Some(monitor) if is_over || monitor.has_read() || monitor.fault().is_some() => {
                    return monitor.view(asked);
                }
                None if is_over || fault.is_some() => {
                    let fault = fault.or_else(|| Some("no broker is connected".to_owned()));
                    return View { fault, ..client::live::Live::default().view(asked, Timestamp::now()) };
                }
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Where it is heard, else why not; connects where nobody does.
    fn heard(&self) -> (Option<Arc<Monitor>>, Option<String>) {
        let mut state = lock(&self.state);
        let now = Instant::now();
        state.looked = Some(now);
        let rested = state.tried.is_none_or(|tried| now.duration_since(tried) >= AGAIN);
        if rested && !state.connecting && state.monitor.as_ref().is_none_or(|monitor| !monitor.is_current()) {
            state.connecting = true;
            tokio::spawn(connect(self.config.clone(), Arc::clone(&self.state)));
        }
        if rested {
            state.tried = Some(now);
        }
        (state.monitor.clone(), state.fault.clone())
    }
}

/// Connects, and lets go when nobody looks any more.
async fn connect(config: ClientConfig, state: Arc<Mutex<State>>) {
    let opened = Monitor::open(&config).await;
    let opened = {
        let mut state = lock(&state);
        (state.connecting, state.tried) = (false, Some(Instant::now()));
        match opened {
            Ok(monitor) => {
                let monitor = Arc::new(monitor);
                let held = Arc::downgrade(&monitor);
                (state.monitor, state.fault) = (Some(monitor), None);
                held
            }
            Err(error) => {
                state.fault = Some(cli::sentence(&error));
                return;
            }
        }
    };
    let state = Arc::downgrade(&state);
    loop {
        tokio::time::sleep(IDLE / 10).await;
        // Another one is heard by now, or the gateway has ended.
        let (Some(state), Some(opened)) = (state.upgrade(), opened.upgrade()) else { return };
        let mut state = lock(&state);
        let is_it = state.monitor.as_ref().is_some_and(|monitor| Arc::ptr_eq(monitor, &opened));
        if !is_it || state.looked.is_none_or(|looked| looked.elapsed() >= IDLE) {
            if is_it {
                state.monitor = None;
            }
            return;
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
