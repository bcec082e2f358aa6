//! From a version's files to a lane that is warm, on a thread of its own: it may take minutes, and what is tried out has to end meanwhile
//! where it is over.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::{Follower, NotServed};
use crate::caught::caught;
use crate::lane::Lane;
use crate::models::Wanted;

/// So often is looked what becomes of what is tried out.
const WATCH: Duration = Duration::from_secs(1);

impl Follower {
    /// A lane that nobody finds yet, warm.
    pub(super) fn prepare(&mut self, wanted: &Wanted, version: u32) -> Result<Lane, NotServed> {
        // The last that is heard of a file whose code ends the process.
        let loading = format!("{} {version} is being loaded", wanted.name);
        tracing::info!("{loading}, beside what is served");
        self.note(wanted, loading);
        let versions = Arc::clone(&self.versions);
        let served = self.meanwhile(|| Ok(Arc::new(versions.open_version(wanted, version)?)))?;
        self.make_room_in_service(&served)?;
        let lane = self.lanes.upgrade().ok_or(NotServed::Ended)?.prepare(served);
        self.meanwhile(|| Ok(lane.load()?))?;
        // What it takes is known now.
        self.make_room_in_service(&lane.model)?;
        Ok(lane)
    }

    /// Has a lane loaded where it is not yet, because a request named it.
    pub(super) fn load_lane(&mut self, lane: &Lane) -> Result<(), NotServed> {
        if !lane.model.is_ready() {
            self.meanwhile(|| Ok(lane.load()?))?;
            lane.model.loaded(Ok(()));
        }
        Ok(())
    }

    /// Has something slow done, and sees meanwhile to it that what is tried out and is over ends.
    fn meanwhile<T: Send>(
        &mut self,
        work: impl FnOnce() -> Result<T, NotServed> + Send,
    ) -> Result<T, NotServed> {
        thread::scope(|scope| {
            let (working, done) = channel::<()>();
            let worker = scope.spawn(move || {
                let _working = working;
                caught(work).unwrap_or_else(|words| Err(NotServed::Panicked(words)))
            });
            while let Err(RecvTimeoutError::Timeout) = done.recv_timeout(WATCH) {
                self.watch_trials();
            }
            worker.join().unwrap_or_else(|_| Err(NotServed::Panicked("it ended".to_owned())))
        })
    }
}
