//! Versions that nothing but a request wants: opened when the first request names one, loaded beside what is served, and let go
//! again, the one first that was asked for the longest time ago.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use registry::RegistryError;
use tokio::time::Instant;
use wire::{ErrorCode, ErrorReply};

use super::follow::Versions;
use super::{ModelsError, Skipped, Wanted};
use crate::lane::Lane;
use crate::served::Served;

/// What the follower is asked to do.
#[derive(Debug)]
pub enum Asked {
    /// Load that lane's version.
    Load(Wanted, Arc<Lane>),
    /// Let that version of that model go, if nothing but requests wanted it.
    LetGo(String, u32),
    /// Look now which versions are meant.
    Look,
}

/// Where it is asked.
pub type Asking = Sender<Asked>;

/// Opens versions that a request names, and has them loaded.
#[derive(Debug)]
pub struct Demand {
    versions: Arc<dyn Versions>,
    asking: Asking,
    /// What could not be served, and what it looked like then. It is tried again when it changes.
    failed: Mutex<BTreeMap<(String, u32), Failed>>,
}

#[derive(Debug)]
struct Failed {
    /// None where there was no such version.
    state: Option<String>,
    looked: Instant,
}

/// So often one looks whether a version that could not be served is another now, however many name it.
const LOOK: Duration = Duration::from_secs(1);
/// The most versions that are known to be none, so that who names many of them takes no memory.
const KNOWN: usize = 10_000;

/// Why a version is not served to whoever names it.
#[derive(Debug)]
pub enum Refused {
    /// There is none of that number.
    Absent,
    /// It could not be served before, and is what it was then.
    AsBefore,
    /// It can't be served.
    Unfit(Skipped),
}

/// What an asker is told of a version that can't be served. Why is the operator's.
#[must_use]
pub fn unfit() -> ErrorReply {
    let message = "this version can't be served by this worker: its log says why";
    ErrorReply::new(ErrorCode::Unavailable, message)
}

impl Demand {
    /// Of those versions. What is to be loaded is said by `asking`.
    #[must_use]
    pub fn new(versions: Arc<dyn Versions>, asking: Asking) -> Self {
        Self { versions, asking, failed: Mutex::default() }
    }

    /// That version, its weights not read yet.
    ///
    /// # Errors
    /// [`Refused`] where there is none, or it could not be served and is still what it was then.
    pub fn open(&self, wanted: &Wanted, version: u32) -> Result<Served, Refused> {
        let key = (wanted.name.clone(), version);
        if let Some(failed) = self.failed().get(&key)
            && failed.looked.elapsed() < LOOK
        {
            return Err(if failed.state.is_some() { Refused::AsBefore } else { Refused::Absent });
        }
        let state = self.versions.state(&wanted.name, version);
        if let Some(failed) = self.failed().get_mut(&key)
            && failed.state.as_ref() == Some(&state)
        {
            failed.looked = Instant::now();
            return Err(Refused::AsBefore);
        }
        match self.versions.open_version(wanted, version) {
            Ok(served) => Ok(served.not_loaded()),
            Err(ModelsError::Registry(RegistryError::UnknownVersion { .. })) => {
                self.remember(key, None);
                Err(Refused::Absent)
            }
            Err(error) => {
                self.remember(key, Some(state));
                Err(Refused::Unfit(Skipped::asked_for(wanted, version, &error)))
            }
        }
    }

    fn remember(&self, key: (String, u32), state: Option<String>) {
        // While its store is away it is tried again as it is.
        if self.versions.away().is_none() {
            let mut failed = self.failed();
            if failed.len() >= KNOWN {
                failed.clear();
            }
            failed.insert(key, Failed { state, looked: Instant::now() });
        }
    }

    /// Has that lane's version loaded.
    pub fn load(&self, wanted: Wanted, lane: Arc<Lane>) {
        if self.asking.send(Asked::Load(wanted, lane.clone())).is_err() {
            // Nobody loads any more: the worker ends.
            lane.model.loaded(Err(unfit()));
        }
    }

    /// That version could not be loaded: until it changes, nobody tries again.
    pub fn failed_to_load(&self, name: &str, version: u32) {
        let state = self.versions.state(name, version);
        self.remember((name.to_owned(), version), Some(state));
    }

    fn failed(&self) -> MutexGuard<'_, BTreeMap<(String, u32), Failed>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
