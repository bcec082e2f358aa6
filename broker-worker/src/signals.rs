//! Ctrl-C and SIGTERM, heard from the first line of `main` on, by a thread of their own: before the worker's work begins
//! a signal ends the process at once, then the first one asks for the end, the second for the end without waiting, and
//! a third ends the process whatever it is doing.

use std::sync::{Arc, OnceLock};
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use tokio::sync::mpsc;
use worker::leave;

/// SIGINT and SIGTERM, withheld from the threads that there are and will be. None is lost: those that come wait.
pub(crate) struct Withheld(SigSet);

/// Whoever asks is told of signals from then on.
pub(crate) struct Signals(Arc<OnceLock<mpsc::UnboundedSender<u8>>>);

/// To be called before the first other thread is started.
pub(crate) fn withhold() -> nix::Result<Withheld> {
    let set: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    set.thread_block()?;
    Ok(Withheld(set))
}

impl Withheld {
    /// Starts the thread that hears them.
    pub(crate) fn listen(self) -> std::io::Result<Signals> {
        let told = Arc::new(OnceLock::<mpsc::UnboundedSender<u8>>::new());
        let signals = Signals(Arc::clone(&told));
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for heard in 1_u32.. {
                let code = match self.0.wait() {
                    Ok(signal) => 128 + u8::try_from(signal as i32).unwrap_or_default(),
                    Err(_) => continue,
                };
                match told.get() {
                    Some(listener) if heard <= 2 && listener.send(code).is_ok() => {}
                    _ => leave(code),
                }
            }
        })?;
        Ok(signals)
    }
}

impl Signals {
    /// The exit code that goes with each signal from now on. Once it is dropped, a signal ends the process.
    pub(crate) fn subscribe(&self) -> mpsc::UnboundedReceiver<u8> {
        let (sender, receiver) = mpsc::unbounded_channel();
        // Asked for once; whoever asked again would hear nothing.
        drop(self.0.set(sender));
        receiver
    }
}
