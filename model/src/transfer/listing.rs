//! A folder of labelled images as it was when it was looked through: what has changed since is said, for the result knows nothing of it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::folder::{Finding, FolderError, Listed, Problem, folders, lossy, printable, read, sha256};

/// What lies in the classes' folders, and by what it is known again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    root: PathBuf,
    files: BTreeMap<PathBuf, Option<Stamp>>,
    /// The folders that can be no class, and why.
    unusable: BTreeMap<PathBuf, String>,
}

/// Of a file: its number, and when it was last changed in any way, in seconds and nanoseconds.
type Stamp = (u64, i64, i64);

/// A file that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The file.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// What happened to it.
    pub change: What,
}

/// What may happen to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// It was not there.
    Added,
    /// It is there no more.
    Removed,
    /// It holds something else.
    Exchanged,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = printable(&self.path);
        match self.change {
            What::Added => write!(f, "{path} was added meanwhile: it was not learned from"),
            What::Removed => write!(f, "{path} was removed meanwhile: it was learned from"),
            What::Exchanged => write!(f, "{path} was changed meanwhile: what it was is what counts"),
        }
    }
}

impl Listing {
    /// What lies in a folder, and the classes in it.
    pub(super) fn of(root: &Path) -> Result<(Self, Vec<Listed>), FolderError> {
        let (mut classes, mut unusable) = (Vec::new(), BTreeMap::new());
        for folder in folders(root)? {
            match Listed::of_a_label(folder.clone()) {
                Ok(class) => classes.push(class),
                Err(FolderError::List { source, .. }) => {
                    unusable.insert(folder, format!("its files can't be listed: {source}"));
                }
                Err(FolderError::Name { why, .. }) => {
                    unusable.insert(folder, format!("it names a class, and its name {why}: rename it"));
                }
                Err(error) => return Err(error),
            }
        }
        let files = classes.iter().flat_map(|class| &class.files);
        let files = files.map(|file| (file.clone(), stamp(file))).collect();
        Ok((Self { root: root.to_owned(), files, unusable }, classes))
    }

    /// The folders that can be no class.
    pub(super) fn unusable(&self) -> impl Iterator<Item = Finding> {
        let finding = |(path, reason): (&PathBuf, &String)| {
            let kind = Problem::Unreadable { reason: reason.clone() };
            Finding { path: path.clone(), kind }
        };
        self.unusable.iter().map(finding)
    }

    /// What differs by now; `digests` are those of the files that were learned from.
    pub(super) fn changes(&self, digests: &HashMap<&Path, &str>) -> Result<Vec<Change>, FolderError> {
        let (now, _) = Self::of(&self.root)?;
        let change = |path: &PathBuf, change| Change { path: path.clone(), change };
        let mut changes = Vec::new();
        for (path, stamp) in &self.files {
            match now.files.get(path) {
                None if digests.contains_key(path.as_path()) => changes.push(change(path, What::Removed)),
                Some(other) if other != stamp && !is_same(path, digests) => {
                    changes.push(change(path, What::Exchanged));
                }
                _ => {}
            }
        }
        let added = now.files.keys().filter(|path| !self.files.contains_key(*path));
        changes.extend(added.map(|path| change(path, What::Added)));
        Ok(changes)
    }
}

/// Whether a file that was touched holds what it held.
fn is_same(path: &Path, digests: &HashMap<&Path, &str>) -> bool {
    digests.get(path).is_some_and(|digest| read(path).is_ok_and(|bytes| sha256(&bytes) == *digest))
}

fn stamp(path: &Path) -> Option<Stamp> {
    path.metadata().ok().map(|found| (found.ino(), found.ctime(), found.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_differs_is_told_and_what_was_merely_touched_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join("class").join(name);
        fs::create_dir(folder.path().join("class")).unwrap();
        for name in ["gone", "left-out", "other", "touched", "unreadable"] {
            fs::write(at(name), name).unwrap();
        }
        let (listing, _) = Listing::of(folder.path()).unwrap();
        let learned = ["gone", "other", "touched"].map(|name| (at(name), sha256(name.as_bytes())));
        let digests = learned.iter().map(|(path, digest)| (path.as_path(), digest.as_str())).collect();
        assert_eq!(listing.changes(&digests).unwrap(), []);

        fs::remove_file(at("gone")).unwrap();
        fs::remove_file(at("left-out")).unwrap();
        // Of the same length, in the same file.
        fs::write(at("other"), "OTHER").unwrap();
        fs::write(at("touched"), "touched").unwrap();
        fs::write(at("unreadable"), "readable").unwrap();
        fs::write(at("new"), "new").unwrap();
        fs::write(at(".hidden"), "hidden").unwrap();
        let told = [
            ("gone", What::Removed),
            ("other", What::Exchanged),
            ("unreadable", What::Exchanged),
            ("new", What::Added),
        ];
        let expected: Vec<_> =
            told.into_iter().map(|(name, change)| Change { path: at(name), change }).collect();
        assert_eq!(listing.changes(&digests).unwrap(), expected);

        fs::remove_dir_all(folder.path()).unwrap();
        assert!(listing.changes(&digests).is_err());
    }
}
