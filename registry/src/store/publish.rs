//! A version's way into an object store, and out of it.
//!
//! A version's folder is claimed before anything is written to it (`.publishing`, put where nothing is, names the digest of the
//! manifest that will come), and its manifest comes last, where none is. So whoever broke off goes on with the same manifest, and
//! readers, who know a version by its manifest, see all of it or nothing.
//!
//! `model delete` takes a claim away though its publisher may still be at work, and the next one may have claimed the number. So whoever
//! publishes looks at the claim again before each file and before the manifest, writes no file where one is, and before the
//! manifest sees that each file is still the one that was read back: nobody's files come under another's manifest.

use std::cell::RefCell;

use futures_util::TryStreamExt as _;
use object_store::{Error, GetOptions, ObjectMeta, ObjectStoreExt as _};

use super::cloud::Cloud;
use super::upload::{self, PART, Work};
use super::{EntryKind, Parcel, Store as _};
use crate::content::{Hash, sha256};
use crate::digest::FileEntry;
use crate::error::RegistryError;
use crate::manifest::MANIFEST_FILE;
use crate::version::MANIFEST_LIMIT;

/// Who publishes a version says so here first.
const CLAIM: &str = ".publishing";
/// A claim is shorter.
const CLAIM_LIMIT: u64 = 1 << 10;

/// A version's folder that is one's own, as long as nobody takes it away. Whoever breaks off and comes back with the same manifest goes on.
struct Claim {
    folder: String,
    text: String,
}

impl Claim {
    fn key(&self) -> String {
        format!("{}/{CLAIM}", self.folder)
    }
}

impl Cloud {
    /// As the trait says.
    pub(super) fn publish_whole(&self, parcel: &Parcel<'_>) -> Result<(), RegistryError> {
        let folder = format!("{}/{}", parcel.model, parcel.version);
        let manifest = format!("{folder}/{MANIFEST_FILE}");
        let exists = || RegistryError::VersionExists { path: self.place(&folder) };
        let claim = Claim { text: format!("sha256:{}\n", sha256(parcel.manifest)), folder: folder.clone() };
        if self.get(&manifest, MANIFEST_LIMIT)?.is_some() {
            // One's own, left by who broke off at the last step.
            if self.holds(&claim).is_ok() {
                self.delete(&claim.key())?;
            }
            return Err(exists());
        }
        if !self.put_if_absent(&claim.key(), claim.text.as_bytes())? {
            return Err(RegistryError::BeingPublished { path: self.place(&folder) });
        }
        // Whose claim was there before has published meanwhile, and taken it away.
        if self.get(&manifest, MANIFEST_LIMIT)?.is_some() {
            self.delete(&claim.key())?;
            return Err(exists());
        }
        let is_ours = || Ok(self.get(&manifest, MANIFEST_LIMIT)?.as_deref() == Some(parcel.manifest));
        let brought = match self.bring(parcel, &claim) {
            // Who published the same, and was faster, took the claim away.
            Err(RegistryError::ClaimLost { .. }) if is_ours()? => return Ok(()),
            brought => brought?,
        };
        if !self.put_if_absent(&manifest, parcel.manifest)? {
            return Err(exists());
        }
        if self.stands(&claim, &brought)? {
            return self.delete(&claim.key());
        }
        // It was taken away in the moment before, and the manifest came too late to go with it.
        if is_ours()? {
            self.delete(&manifest)?;
        }
        Err(RegistryError::ClaimLost { path: self.place(&folder) })
    }

    /// Whether a version whose manifest is there is still whole: whoever takes it away changes the claim first.
    fn stands(&self, claim: &Claim, brought: &[(String, String)]) -> Result<bool, RegistryError> {
        match self.get(&claim.key(), CLAIM_LIMIT)? {
            Some(found) => Ok(found == claim.text.as_bytes()),
            // Who published the same took it away; or who deleted it, and the files before.
            None => Ok(self.other_than(brought)?.is_none()),
        }
    }

    /// # Errors
    /// If the claim is not there any more, or another's.
    fn holds(&self, claim: &Claim) -> Result<(), RegistryError> {
        match self.get(&claim.key(), CLAIM_LIMIT)? {
            Some(found) if found == claim.text.as_bytes() => Ok(()),
            _ => Err(RegistryError::ClaimLost { path: self.place(&claim.folder) }),
        }
    }

    /// The first of the files that is not the one that was read back any more.
    fn other_than<'a>(&self, brought: &'a [(String, String)]) -> Result<Option<&'a str>, RegistryError> {
        for (key, sent) in brought {
            if self.mark(key)?.as_ref() != Some(sent) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Has all files there, and nothing else: their keys and marks. What an earlier attempt has brought stays.
    fn bring(&self, parcel: &Parcel<'_>, claim: &Claim) -> Result<Vec<(String, String)>, RegistryError> {
        let there = self.list(&claim.folder)?;
        let mut brought = Vec::new();
        for (name, bytes) in parcel.files {
            let key = format!("{}/{name}", claim.folder);
            let size = EntryKind::File(bytes.len() as u64);
            let is_there = there.iter().any(|entry| entry.name == *name && entry.kind == size);
            let progress = |done| parcel.progress.tell(name, done, bytes.len() as u64);
            let mark = match is_there.then(|| self.is_what_was_sent(&key, bytes)) {
                Some(Ok(mark)) => mark,
                _ => self.upload(claim, &key, bytes, &progress)?,
            };
            progress(bytes.len() as u64);
            brought.push((key, mark));
        }
        for entry in self.list(&claim.folder)? {
            let is_ours = parcel.files.iter().any(|(name, _)| *name == entry.name);
            if !is_ours && !entry.name.starts_with('.') && entry.name != MANIFEST_FILE {
                return Err(self.is_anothers(&format!("{}/{}", claim.folder, entry.name)));
            }
        }
        // What is gone went with the claim.
        let other = self.other_than(&brought)?;
        self.holds(claim)?;
        other.map_or(Ok(()), |key| Err(self.is_anothers(key)))?;
        Ok(brought)
    }

    fn is_anothers(&self, key: &str) -> RegistryError {
        RegistryError::OtherFile { path: self.place(key) }
    }

    /// Writes one of a version's files where none is, in parts where it is large, and reads it back: its mark.
    fn upload(
        &self,
        claim: &Claim,
        key: &str,
        bytes: &[u8],
        progress: &dyn Fn(u64),
    ) -> Result<String, RegistryError> {
        self.holds(claim)?;
        if bytes.len() <= PART {
            if !self.put_if_absent(key, bytes)? {
                return Err(self.is_anothers(key));
            }
        } else {
            self.upload_in_parts(claim, key, bytes, progress)?;
        }
        self.is_what_was_sent(key, bytes)
    }

    /// Parts can't be put together only where nothing is. So the claim is looked at once more right before.
    fn upload_in_parts(
        &self,
        claim: &Claim,
        key: &str,
        bytes: &[u8],
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        let path = self.key(key);
        let state =
            self.uploads.join(format!("{}.json", sha256(self.place(key).as_os_str().as_encoded_bytes())));
        let lost = RefCell::new(None);
        let send = |work: Work| {
            if matches!(work, Work::End { .. })
                && let Err(error) = self.holds(claim)
            {
                let source = error.to_string().into();
                *lost.borrow_mut() = Some(error);
                return Err(Error::Generic { store: "store", source });
            }
            let (store, path) = (self.store(), path.clone());
            self.wait(async move { work.run(&*store, &path).await })
        };
        let sent = upload::in_parts(&state, bytes, &send, progress);
        match lost.take() {
            Some(lost) => Err(lost),
            None => sent.map_err(self.fails("write", key)),
        }
    }

    /// Reads a file back, and holds it to what was written: its mark.
    fn is_what_was_sent(&self, key: &str, bytes: &[u8]) -> Result<String, RegistryError> {
        let (store, path) = (self.store(), self.key(key));
        let (entry, mark) = self
            .wait(async move {
                let found = store.get(&path).await?;
                let mark = mark_of(&found.meta);
                let mut chunks = found.into_stream();
                let mut hash = Hash::default();
                while let Some(chunk) = chunks.try_next().await? {
                    hash.update(&chunk);
                }
                Ok((hash.entry(), mark))
            })
            .map_err(self.fails("read back", key))?;
        let expected = FileEntry::of_bytes(bytes);
        if entry == expected {
            return Ok(mark);
        }
        let path = self.place(key);
        Err(RegistryError::TamperedFile { path, expected: expected.digest(), found: entry.digest() })
    }

    /// What changes when the file is written again; none where there is no such file.
    fn mark(&self, key: &str) -> Result<Option<String>, RegistryError> {
        let found = self.get_with(key, GetOptions { head: true, ..GetOptions::default() })?;
        Ok(found.map(|found| mark_of(&found.meta)))
    }

    /// As the trait says. Also of a version that somebody publishes at this moment, who is told then.
    pub(super) fn take_away(
        &self,
        model: &str,
        version: u32,
        keep: &dyn Fn() -> Result<(), RegistryError>,
    ) -> Result<(), RegistryError> {
        let folder = format!("{model}/{version}");
        let manifest = format!("{folder}/{MANIFEST_FILE}");
        let held = self.get(&manifest, MANIFEST_LIMIT)?;
        self.delete(&manifest)?;
        // Who promoted it meanwhile gets it back; who does so from now on does not find it.
        if let Err(error) = keep() {
            held.map_or(Ok(true), |held| self.put_if_absent(&manifest, &held))?;
            return Err(error);
        }
        // Until all is gone nobody publishes under this number, and who does so now goes no further than the file that is on its way.
        let claim = format!("{folder}/{CLAIM}");
        self.put(&claim, b"being deleted\n")?;
        loop {
            let left: Vec<_> = self.all(&folder)?.into_iter().filter(|(name, _)| name != CLAIM).collect();
            if left.is_empty() {
                return self.delete(&claim);
            }
            for (name, _) in left {
                self.delete(&format!("{folder}/{name}"))?;
            }
        }
    }
}

fn mark_of(found: &ObjectMeta) -> String {
    found.e_tag.clone().unwrap_or_else(|| found.last_modified.to_rfc3339())
}
