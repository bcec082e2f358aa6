//! An object store as it was last seen: while it can't be reached, whoever only reads goes by that. A worker goes on with what it
//! serves, and one that starts serves what the others do, from the copies on its machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Entry, Parcel, Store};
use crate::cache::Cache;
use crate::content::sha256;
use crate::digest::FileEntry;
use crate::error::RegistryError;
use crate::history;
use crate::version::write_whole;

/// So long a store that could not be reached is not asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// A store, and a folder with what it answered.
#[derive(Debug)]
pub(super) struct Remembered {
    store: Arc<dyn Store>,
    folder: PathBuf,
    /// Why it can't be reached, and when that was found.
    away: Mutex<Option<(String, Instant)>>,
    /// By the folder of a history the entry that was read last: none ever changes, so that who looks again and again reads each once.
    entries: Mutex<BTreeMap<String, (String, Vec<u8>)>>,
}

impl Remembered {
    /// Of the store at `location`.
    pub(super) fn new(store: Arc<dyn Store>, location: &Path, cache: &Cache) -> Self {
        let name = sha256(location.as_os_str().as_encoded_bytes());
        Self {
            store,
            folder: cache.folder().join("seen").join(name),
            away: Mutex::default(),
            entries: Mutex::default(),
        }
    }

    /// What the store answers to `question`; what it answered last, where it can't be reached.
    fn ask<T: Serialize + DeserializeOwned>(
        &self,
        question: &str,
        ask: impl FnOnce() -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let path = self.folder.join(format!("{}.json", sha256(question.as_bytes())));
        let known = || fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        // Whoever asks many things need not wait for each.
        let found = self.lock().as_ref().is_some_and(|(_, found)| found.elapsed() < PAUSE);
        if let (true, Some(known)) = (found, known()) {
            return Ok(known);
        }
        match ask() {
            Err(error) if error.is_away() => {
                let Some(known) = known() else { return Err(error) };
                *self.lock() = Some((error.to_string(), Instant::now()));
                Ok(known)
            }
            answer => {
                *self.lock() = None;
                answer.inspect(|answer| remember(&path, answer))
            }
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, (String, Vec<u8>)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Option<(String, Instant)>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is the same as before is not written again. That it can't be is no reason to serve nothing.
fn remember(path: &Path, answer: &impl Serialize) {
    let Ok(text) = serde_json::to_vec(answer) else { return };
    if fs::read(path).is_ok_and(|known| known == text) {
        return;
    }
    if path.parent().is_some_and(|folder| fs::create_dir_all(folder).is_ok()) {
        drop(write_whole(path, &text));
    }
}

impl Store for Remembered {
    fn list(&self, folder: &str) -> Result<Vec<Entry>, RegistryError> {
        self.ask(&format!("list {folder}"), || self.store.list(folder))
    }

    fn versions(&self, model: &str) -> Result<Vec<u32>, RegistryError> {
        self.ask(&format!("versions {model}"), || self.store.versions(model))
    }

    fn get(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, RegistryError> {
        let ask = || self.ask(&format!("get {key}"), || self.store.get(key, limit));
        let Some((folder, entry)) = history::entry(key) else { return ask() };
        let known = self.entries().get(folder).filter(|(known, _)| known == entry).cloned();
        if let Some((_, bytes)) = known {
            return Ok(Some(bytes));
        }
        let found = ask()?;
        if let Some(bytes) = &found {
            self.entries().insert(folder.to_owned(), (entry.to_owned(), bytes.clone()));
        }
        Ok(found)
    }

    fn put_if_absent(&self, key: &str, bytes: &[u8]) -> Result<bool, RegistryError> {
        self.store.put_if_absent(key, bytes)
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        self.store.put(key, bytes)
    }

    fn publish(&self, version: &Parcel<'_>) -> Result<(), RegistryError> {
        self.store.publish(version)
    }

    fn remove(
        &self,
        model: &str,
        version: u32,
        keep: &dyn Fn() -> Result<(), RegistryError>,
    ) -> Result<(), RegistryError> {
        self.store.remove(model, version, keep)
    }

    fn local(&self, key: &str) -> Option<PathBuf> {
        self.store.local(key)
    }

    fn fetch(
        &self,
        key: &str,
        entry: &FileEntry,
        path: &Path,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        let fetched = self.store.fetch(key, entry, path, progress);
        if let Err(error) = &fetched
            && error.is_away()
        {
            *self.lock() = Some((error.to_string(), Instant::now()));
        }
        fetched
    }

    fn place(&self, key: &str) -> PathBuf {
        self.store.place(key)
    }

    fn away(&self) -> Option<String> {
        self.lock().as_ref().map(|(why, _)| why.clone())
    }
}
