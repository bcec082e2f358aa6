//! Versions that nothing but a request wants: opened when the first request names one, loaded beside what is served, and let go
//! again, the one first that was asked for the longest time ago.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use registry::RegistryError;
use wire::{ErrorCode, ErrorReply};

use super::follow::Versions;
use super::{ModelsError, Skipped, Wanted};
use crate::lane::Lane;
use crate::served::Served;

/// A lane whose version is to be loaded.
pub type Asked = (Wanted, Arc<Lane>);

/// Opens versions that a request names, and has them loaded.
#[derive(Debug)]
pub struct Demand {
    versions: Arc<dyn Versions>,
    asked: Sender<Asked>,
    /// What could not be served, and what it looked like then. It is tried again when it changes.
    failed: Mutex<BTreeMap<(String, u32), String>>,
}

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
    /// Of those versions. What is to be loaded comes by `asked`.
    #[must_use]
    pub fn new(versions: Arc<dyn Versions>, asked: Sender<Asked>) -> Self {
        Self { versions, asked, failed: Mutex::default() }
    }

    /// That version, its weights not read yet.
    ///
    /// # Errors
    /// [`Refused`] where there is none, or it could not be served and is still what it was then.
    pub fn open(&self, wanted: &Wanted, version: u32) -> Result<Served, Refused> {
        let key = (wanted.name.clone(), version);
        let state = self.versions.state(&wanted.name, version);
        if self.failed().get(&key).is_some_and(|then| *then == state) {
            return Err(Refused::AsBefore);
        }
        match self.versions.open_version(wanted, version) {
            Ok(served) => Ok(served.not_loaded()),
            Err(ModelsError::Registry(RegistryError::UnknownVersion { .. })) => Err(Refused::Absent),
            Err(error) => {
                self.failed().insert(key, state);
                Err(Refused::Unfit(Skipped::asked_for(wanted, version, &error)))
            }
        }
    }

    /// Has that lane's version loaded.
    pub fn load(&self, wanted: Wanted, lane: Arc<Lane>) {
        if self.asked.send((wanted, lane.clone())).is_err() {
            // Nobody loads any more: the worker ends.
            lane.model.loaded(Err(unfit()));
        }
    }

    /// That version could not be loaded: until it changes, nobody tries again.
    pub fn failed_to_load(&self, name: &str, version: u32) {
        let state = self.versions.state(name, version);
        self.failed().insert((name.to_owned(), version), state);
    }

    fn failed(&self) -> MutexGuard<'_, BTreeMap<(String, u32), String>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
