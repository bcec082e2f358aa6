//! What an alias named when, who had it so, and why.
//!
//! `<model>/history/<alias>/<number>.yaml` is one [`Change`], numbered from 1. Each is written once, where nothing is, and never
//! altered. Who wants to change an alias looks at the last entry and writes the one after it: of several who do so at once one
//! finds its place free, and the others are told (a compare-and-swap that every store has). The alias file follows the history, for
//! people and for older readers, and can be made of it again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::RegistryError;
use crate::store::{Entry, Store};
use crate::trial::Trial;

/// The folder of histories in a model's folder; so no alias has that name.
pub(crate) const FOLDER: &str = "history";
/// The largest entry that is read, in bytes.
const LIMIT: u64 = 64 << 10;
/// An alias file holds a number.
const ALIAS_LIMIT: u64 = 1 << 10;

/// An entry: one change of an alias. Unknown keys are passed over, so that older readers follow newer writers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// Its place in the history, from 1.
    pub number: u32,
    /// The alias.
    pub alias: String,
    /// Whether it goes forward or back.
    pub kind: Kind,
    /// The version that the alias named before, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u32>,
    /// The version that it names from then on.
    pub to: u32,
    /// That version's identity, the SHA-256 of its manifest: `sha256:<64 hexadecimal digits>`.
    pub digest: String,
    /// When, by the clock of whoever wrote it.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it was decided by, where both versions were shown the same images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// The version that answers some of the requests in its place from then on, until the next change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Trial>,
    /// The version that computes some of the requests beside it from then on and answers none, until the next change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Trial>,
}

impl Change {
    /// The version that is tried out from then on.
    #[must_use]
    pub fn trial(&self) -> Option<&Trial> {
        self.canary.as_ref().or(self.shadow.as_ref())
    }
}

/// How a version did beside the one that was in service, on the same images. Shares are from 0 to 1.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Evidence {
    /// The images, for people.
    pub data: String,
    /// How many both were shown.
    pub images: u64,
    /// The share of them that the one in service named right.
    pub champion: f64,
    /// The share of them that the other one named right.
    pub challenger: f64,
    /// By how much the other one's share is higher.
    pub difference: f64,
    /// The 95 % interval of that.
    pub interval: [f64; 2],
}

/// Which way a change goes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// To another version.
    Promote,
    /// To one that was named before; or what was tried out is no more.
    Rollback,
    /// The alias stays, and another version answers a share of the requests.
    Canary,
    /// The alias stays, and another version computes a share of the requests, whose answers nobody waits for.
    Shadow,
    /// Something that a newer release does.
    #[serde(other)]
    Other,
}

/// Who changes an alias, and why.
#[derive(Clone, Debug, Default)]
pub struct Author {
    /// Who: a name, or user@machine.
    pub by: String,
    /// Why, in a sentence.
    pub reason: Option<String>,
    /// What it was decided by.
    pub evidence: Option<Evidence>,
}

/// What an alias names, as somebody saw it: a change is made to what was seen, or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// The version, if the alias names one.
    pub version: Option<u32>,
    /// The number of the last change; 0 where the alias was written by hand, or is not there.
    pub number: u32,
    /// The version that the alias file names, which follows the history: where it says another, a writer died, or somebody
    /// wrote it by hand.
    pub file: Option<u32>,
    /// When that change was made, by the clock of whoever made it.
    pub at: Option<Timestamp>,
    /// The version that answers some of the requests in its place.
    pub canary: Option<Trial>,
    /// The version that computes some of the requests beside it and answers none.
    pub shadow: Option<Trial>,
}

impl Seen {
    /// As a change left it that has that number.
    pub(crate) fn after(change: &Change, number: u32, file: Option<u32>) -> Self {
        let Change { to, at, canary, shadow, .. } = change.clone();
        Self { version: Some(to), number, file, at: Some(at), canary, shadow }
    }

    /// The version that is tried out.
    #[must_use]
    pub fn trial(&self) -> Option<&Trial> {
        self.canary.as_ref().or(self.shadow.as_ref())
    }
}

/// The folder and the name of an entry that lies there; none where that key is no entry's.
#[cfg(feature = "cloud")]
pub(crate) fn entry(key: &str) -> Option<(&str, &str)> {
    let (folder, name) = key.rsplit_once('/')?;
    let is_history = folder.split('/').nth(1) == Some(FOLDER) && folder.split('/').count() == 3;
    Some((folder, name)).filter(|_| is_history && name.ends_with(".yaml"))
}

/// One alias of one model.
pub(crate) struct History<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) model: &'a str,
    pub(crate) alias: &'a str,
}

impl History<'_> {
    /// What the alias names: the last entry's version; where there is no history, the file's.
    pub(crate) fn seen(&self) -> Result<Seen, RegistryError> {
        let seen = self.named()?;
        // The history stands, whatever the file holds.
        let file = if seen.number > 0 { self.file().ok().flatten() } else { seen.file };
        Ok(Seen { file, ..seen })
    }

    /// As [`seen`](Self::seen), for who changes nothing: where there is a history, the alias file is not looked at.
    pub(crate) fn named(&self) -> Result<Seen, RegistryError> {
        let numbers = self.numbers()?;
        match numbers.last() {
            Some(&number) => Ok(Seen::after(&self.entry(number)?, number, None)),
            None => {
                let version = self.file()?;
                Ok(Seen { version, file: version, ..Seen::default() })
            }
        }
    }

    /// All entries, the first first.
    pub(crate) fn entries(&self) -> Result<Vec<Change>, RegistryError> {
        self.numbers()?.into_iter().map(|number| self.entry(number)).collect()
    }

    /// Adds the entry after what was seen; whether nobody else did so meanwhile. The alias file follows.
    pub(crate) fn add(&self, change: &Change) -> Result<bool, RegistryError> {
        let key = self.key(change.number);
        let text = serde_yaml::to_string(change).map_err(|error| RegistryError::BadHistory {
            path: self.store.place(&key),
            message: error.to_string(),
        })?;
        if !self.store.put_if_absent(&key, text.as_bytes())? {
            return Ok(false);
        }
        self.follow()?;
        Ok(true)
    }

    /// Has the alias file say what the history says.
    pub(crate) fn follow(&self) -> Result<(), RegistryError> {
        loop {
            let Seen { version: Some(version), number, file, .. } = self.seen()? else { return Ok(()) };
            if number == 0 || file == Some(version) {
                return Ok(());
            }
            self.store.put(&self.file_key(), format!("{version}\n").as_bytes())?;
            // Who was faster, and wrote the file sooner, is followed in another round.
        }
    }

    fn numbers(&self) -> Result<Vec<u32>, RegistryError> {
        let folder = format!("{}/{FOLDER}/{}", self.model, self.alias);
        let number =
            |entry: &Entry| entry.name.strip_suffix(".yaml")?.parse().ok().filter(|number| *number > 0);
        let mut numbers: Vec<u32> = self.store.list(&folder)?.iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn entry(&self, number: u32) -> Result<Change, RegistryError> {
        let key = self.key(number);
        let bad = |message: String| RegistryError::BadHistory { path: self.store.place(&key), message };
        let bytes = self.store.get(&key, LIMIT)?.ok_or_else(|| bad("it is gone".into()))?;
        let change: Change = serde_yaml::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        if (change.number, change.alias.as_str()) != (number, self.alias) {
            return Err(bad(format!("it is change {} of {:?}", change.number, change.alias)));
        }
        if change.trial().is_some_and(|trial| !trial.is_possible()) {
            return Err(bad("what it tries out has a share or a limit that can't be".into()));
        }
        Ok(change)
    }

    /// What the alias file names; none where there is no such file.
    fn file(&self) -> Result<Option<u32>, RegistryError> {
        let key = self.file_key();
        let Some(bytes) = self.store.get(&key, ALIAS_LIMIT)? else { return Ok(None) };
        let content = String::from_utf8_lossy(&bytes);
        match content.trim().parse() {
            Ok(crate::Select::Version(version)) => Ok(Some(version)),
            _ => Err(RegistryError::BadAlias {
                path: self.store.place(&key),
                content: content.chars().take(40).collect(),
            }),
        }
    }

    fn file_key(&self) -> String {
        format!("{}/{}", self.model, self.alias)
    }

    /// Numbers are written so that names sort as they do.
    fn key(&self, number: u32) -> String {
        format!("{}/{FOLDER}/{}/{number:08}.yaml", self.model, self.alias)
    }
}

/// Where a rollback goes: the version that the alias named before the present one was promoted, whatever was rolled back since.
pub(crate) fn before(changes: &[Change]) -> Option<u32> {
    let mut way: Vec<u32> = Vec::new();
    for change in changes {
        if way.is_empty() {
            way.extend(change.from);
        }
        match change.kind {
            Kind::Rollback => {
                // Back over what was promoted since. A version that is not on the way was named outright.
                match way.iter().rposition(|version| *version == change.to) {
                    Some(place) => way.truncate(place + 1),
                    None => way.push(change.to),
                }
            }
            Kind::Canary | Kind::Shadow | Kind::Other => {}
            Kind::Promote if way.last() == Some(&change.to) => {}
            Kind::Promote => way.push(change.to),
        }
    }
    way.pop();
    way.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(way: &[(Kind, u32)]) -> Vec<Change> {
        let mut from = Some(1);
        let change = |(number, &(kind, to)): (u32, &(Kind, u32))| Change {
            number,
            alias: "production".into(),
            kind,
            from: from.replace(to),
            to,
            digest: String::new(),
            at: Timestamp::UNIX_EPOCH,
            by: String::new(),
            reason: None,
            evidence: None,
            canary: None,
            shadow: None,
        };
        (1..).zip(way).map(change).collect()
    }

    #[test]
    fn a_rollback_goes_further_back_each_time() {
        use Kind::{Canary, Promote, Rollback, Shadow};
        for (way, expected) in [
            (&[(Promote, 2)][..], Some(1)),
            (&[(Promote, 2), (Promote, 3)], Some(2)),
            (&[(Promote, 2), (Promote, 3), (Rollback, 2)], Some(1)),
            (&[(Promote, 2), (Promote, 3), (Rollback, 2), (Rollback, 1)], None),
            (&[(Promote, 2), (Promote, 3), (Rollback, 2), (Promote, 4)], Some(2)),
            (&[(Promote, 2), (Promote, 2)], Some(1)),
            (&[(Promote, 2), (Promote, 1), (Promote, 3)], Some(1)),
            (&[(Promote, 2), (Rollback, 7)], Some(2)),
            (&[(Promote, 2), (Canary, 2), (Rollback, 2)], Some(1)),
            (&[(Promote, 2), (Canary, 2), (Promote, 3)], Some(2)),
            (&[(Promote, 2), (Shadow, 2), (Promote, 3)], Some(2)),
        ] {
            assert_eq!(before(&changes(way)), expected, "{way:?}");
        }
        assert_eq!(before(&[]), None);
    }
}
