//! A large file on its way into an object store: in parts, of which those that arrived are noted, so that who breaks off goes on.

use std::fs;
use std::path::Path;

use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;
use object_store::{Error, PutPayload};
use serde::{Deserialize, Serialize};

use crate::content::sha256;
use crate::version::write_whole;

/// The size of a part, but for the last: 8 MiB. Stores ask for 5 at least, and take ten thousand of them.
pub(super) const PART: usize = 8 << 20;

/// How far an upload is.
#[derive(Debug, Deserialize, Serialize)]
struct Upload {
    /// What is uploaded: another file is begun anew.
    sha256: String,
    /// The store's name for it.
    id: String,
    /// The store's names for the parts that have arrived.
    parts: Vec<String>,
}

/// A thing to ask of the store.
pub(super) enum Work {
    Begin,
    Part { id: String, index: usize, bytes: Vec<u8> },
    End { id: String, parts: Vec<String> },
}

impl Work {
    pub(super) async fn run(
        self,
        store: &(impl MultipartStore + ?Sized),
        path: &Key,
    ) -> Result<String, Error> {
        match self {
            Self::Begin => store.create_multipart(path).await,
            Self::Part { id, index, bytes } => {
                let part = store.put_part(path, &id, index, PutPayload::from(bytes)).await?;
                Ok(part.content_id)
            }
            Self::End { id, parts } => {
                let parts = parts.into_iter().map(|content_id| PartId { content_id }).collect();
                store.complete_multipart(path, &id, parts).await.map(|_| id)
            }
        }
    }
}

/// Uploads `bytes`, and notes in the file `state` how far it is. `send` has the store do something.
pub(super) fn in_parts(
    state: &Path,
    bytes: &[u8],
    send: &dyn Fn(Work) -> Result<String, Error>,
    progress: &dyn Fn(u64),
) -> Result<(), Error> {
    let digest = sha256(bytes);
    if let Some(begun) = Upload::read(state).filter(|begun| begun.sha256 == digest) {
        match begun.go_on(state, bytes, send, progress) {
            // The store knows nothing of it any more: they are cleared away after some days.
            Err(Error::NotFound { .. }) => {}
            ended => return ended,
        }
    }
    let begun = Upload { sha256: digest, id: send(Work::Begin)?, parts: Vec::new() };
    begun.go_on(state, bytes, send, progress)
}

impl Upload {
    fn read(state: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(state).ok()?).ok()
    }

    /// What can't be noted is uploaded once more by whoever breaks off: that is no reason to stop.
    fn note(&self, state: &Path) {
        let made = state.parent().is_some_and(|folder| fs::create_dir_all(folder).is_ok());
        if let (true, Ok(text)) = (made, serde_json::to_vec(self)) {
            drop(write_whole(state, &text));
        }
    }

    fn go_on(
        mut self,
        state: &Path,
        bytes: &[u8],
        send: &dyn Fn(Work) -> Result<String, Error>,
        progress: &dyn Fn(u64),
    ) -> Result<(), Error> {
        let arrived = |parts: usize| (parts * PART).min(bytes.len()) as u64;
        progress(arrived(self.parts.len()));
        for (index, part) in bytes.chunks(PART).enumerate().skip(self.parts.len()) {
            let (id, bytes) = (self.id.clone(), part.to_vec());
            self.parts.push(send(Work::Part { id, index, bytes })?);
            self.note(state);
            progress(arrived(self.parts.len()));
        }
        send(Work::End { id: self.id, parts: self.parts })?;
        drop(fs::remove_file(state));
        Ok(())
    }
}
