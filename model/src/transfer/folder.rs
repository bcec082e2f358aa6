//! A folder of labelled images, `folder/<class>/*`, as other tools' `ImageFolder`: which images there are, and what is wrong with them, file by
//! file, before anything is learned from them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use model_core::{ImageLimits, Preprocessor};
use registry::FileEntry;
use serde::{Serialize, Serializer};

use super::listing::{Change, Listing};
use crate::parallel::side_by_side;

/// The largest file that is read: larger ones are no photographs.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Why there is nothing to learn from.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The folder, or one in it, cannot be listed.
    #[error("cannot list {path}: {source}")]
    List {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A class's name can't be a label.
    #[error("the folder {path:?} names a class, and its name {why}: rename it")]
    Name {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file is another one than it was when the folder was looked through.
    #[error("{path} changed while it was learned from: start again when the folder stays as it is")]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

/// An image of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// The file.
    pub path: PathBuf,
    /// Its class's place in [`Folder::classes`].
    pub class: usize,
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
}

/// The images to learn from, sorted by class and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// The classes' names, sorted: their numbers are their places.
    pub classes: Vec<String>,
    /// The images that can be used.
    pub images: Vec<Labelled>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    listing: Listing,
}

/// Something that is wrong with a file or a class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file or the class's folder.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// What it is.
    #[serde(flatten)]
    pub kind: Problem,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "problem", rename_all = "kebab-case")]
pub enum Problem {
    /// The only class: there is nothing to tell it from.
    OneClass,
    /// No image of the class can be used.
    EmptyClass,
    /// It can't be read as an image, or, of a folder, not as a class.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// It shows what another image of its class shows, which stays.
    Duplicate {
        /// The other one.
        #[serde(serialize_with = "lossy")]
        of: PathBuf,
    },
    /// It shows what an image of another class shows: one of them is wrong.
    TwoClasses {
        /// The other one.
        #[serde(serialize_with = "lossy")]
        other: PathBuf,
    },
}

impl Problem {
    /// Whether there is something to learn from without what is concerned.
    #[must_use]
    pub fn can_be_left_out(&self) -> bool {
        *self != Self::OneClass
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = printable(&self.path);
        match &self.kind {
            Problem::OneClass => {
                write!(
                    f,
                    "{path}: fewer than two classes: a folder for each, with its images, is what is needed"
                )
            }
            Problem::EmptyClass => write!(f, "{path}: a class without an image"),
            Problem::Unreadable { reason } => write!(f, "{path}: can't be read: {reason}"),
            Problem::Duplicate { of } => write!(f, "{path}: the same picture as {}", printable(of)),
            Problem::TwoClasses { other } => {
                write!(f, "{path}: the same picture as {}, of another class", printable(other))
            }
        }
    }
}

/// A file as it was read: its digest, and that of the picture in it.
type Looked = Result<(String, String), String>;

impl Folder {
    /// Looks at every file of `folder/<class>/*`, on `threads` threads; `on` hears how many of how many are done. Names that begin with a
    /// dot, and files beside the classes' folders, are passed over. What can't be used is a finding, and not among the images.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn read(
        root: &Path,
        preprocessor: &Preprocessor,
        threads: usize,
        on: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, FolderError> {
        let (listing, of_classes) = Listing::of(root)?;
        let mut classes = Vec::new();
        let mut files = Vec::new();
        for Listed { name, path, files: of_class } in of_classes {
            files.extend(of_class.into_iter().map(|file| (classes.len(), file)));
            classes.push((name, path));
        }
        let looked = look_at(&files, preprocessor, threads, on);
        let mut folder = Self {
            classes: classes.iter().map(|(name, _)| name.clone()).collect(),
            images: Vec::new(),
            findings: listing.unusable().collect(),
            listing,
        };
        folder.sort_out(files, looked);
        folder.drop_empty(root, classes);
        Ok(folder)
    }

    /// Each file to the images, or to the findings.
    fn sort_out(&mut self, files: Vec<(usize, PathBuf)>, looked: Vec<Looked>) {
        let mut pictures: BTreeMap<String, Vec<Labelled>> = BTreeMap::new();
        for ((class, path), looked) in files.into_iter().zip(looked) {
            match looked {
                Ok((sha256, picture)) => {
                    pictures.entry(picture).or_default().push(Labelled { path, class, sha256 });
                }
                Err(reason) => self.find(path, Problem::Unreadable { reason }),
            }
        }
        for mut same in pictures.into_values() {
            let first = same[0].clone();
            // None of them can be told to be the right one.
            if let Some(other) = same.iter().find(|image| image.class != first.class).cloned() {
                for image in same {
                    let other = if image.class == first.class { &other } else { &first };
                    self.find(image.path, Problem::TwoClasses { other: other.path.clone() });
                }
                continue;
            }
            for copy in same.drain(1..) {
                self.find(copy.path, Problem::Duplicate { of: first.path.clone() });
            }
            self.images.push(first);
        }
        self.images.sort_by(|a, b| (a.class, &a.path).cmp(&(b.class, &b.path)));
    }

    /// Leaves out classes of which nothing is left, and says if too few are.
    fn drop_empty(&mut self, root: &Path, classes: Vec<(String, PathBuf)>) {
        let mut places = Vec::new();
        self.classes.clear();
        for (class, (name, path)) in classes.into_iter().enumerate() {
            let is_empty = !self.images.iter().any(|image| image.class == class);
            places.push(self.classes.len());
            if is_empty {
                self.find(path, Problem::EmptyClass);
            } else {
                self.classes.push(name);
            }
        }
        for image in &mut self.images {
            image.class = places[image.class];
        }
        if self.classes.len() < 2 {
            self.find(root.to_owned(), Problem::OneClass);
        }
        self.findings.sort_by(|a, b| a.path.cmp(&b.path));
    }

    /// What is another file by now, is gone or has come since the folder was looked through.
    ///
    /// # Errors
    /// If the folder cannot be listed any more.
    pub fn changes(&self) -> Result<Vec<Change>, FolderError> {
        let digests = self.images.iter().map(|image| (image.path.as_path(), image.sha256.as_str())).collect();
        self.listing.changes(&digests)
    }

    fn find(&mut self, path: PathBuf, kind: Problem) {
        self.findings.push(Finding { path, kind });
    }

    /// What identifies the images: SHA-256 over each one's class and file, in hexadecimal digits. Names of files are no part of it.
    #[must_use]
    pub fn sha256(&self) -> String {
        let mut lines: Vec<String> = self
            .images
            .iter()
            .map(|image| format!("{}\0{}\n", self.classes[image.class], image.sha256))
            .collect();
        lines.sort();
        sha256(lines.concat().as_bytes())
    }

    /// How many images each class has.
    #[must_use]
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.images.iter().for_each(|image| counts[image.class] += 1);
        counts
    }
}

/// The bytes of an image as they were when the folder was looked through.
///
/// # Errors
/// If they are others now.
pub(super) fn read_again(image: &Labelled) -> Result<Vec<u8>, FolderError> {
    let bytes = read(&image.path).map_err(|_| FolderError::Changed { path: image.path.clone() })?;
    if sha256(&bytes) == image.sha256 {
        Ok(bytes)
    } else {
        Err(FolderError::Changed { path: image.path.clone() })
    }
}

/// A class's folder, as it is listed.
pub(crate) struct Listed {
    /// The class.
    pub(crate) name: String,
    /// Its folder.
    pub(crate) path: PathBuf,
    /// What lies in it, sorted.
    pub(crate) files: Vec<PathBuf>,
}

impl Listed {
    /// A folder, if its name is text and it can be looked into.
    fn of(path: PathBuf) -> Result<Self, FolderError> {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(FolderError::Name { path, why: "is not UTF-8" });
        };
        Ok(Self { name: name.to_owned(), files: entries(&path)?, path })
    }

    /// A folder whose name becomes a label, if it can be one and the folder be looked into.
    pub(super) fn of_a_label(path: PathBuf) -> Result<Self, FolderError> {
        let listed = Self::of(path)?;
        let why = match listed.name.as_str() {
            name if name.trim().is_empty() => "is blank",
            name if name.chars().any(char::is_control) => "holds a control character",
            _ => return Ok(listed),
        };
        Err(FolderError::Name { path: listed.path, why })
    }
}

/// The folders in a folder, sorted, with what lies in each; nothing that begins with a dot.
pub(crate) fn listed(root: &Path) -> Result<Vec<Listed>, FolderError> {
    folders(root)?.into_iter().map(Listed::of).collect()
}

/// The folders in a folder, sorted.
pub(super) fn folders(root: &Path) -> Result<Vec<PathBuf>, FolderError> {
    Ok(entries(root)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// What lies in a folder, sorted, without what begins with a dot.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let list = |source| FolderError::List { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(list)? {
        let path = entry.map_err(list)?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if !name.starts_with(b".") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn look_at(
    files: &[(usize, PathBuf)],
    preprocessor: &Preprocessor,
    threads: usize,
    on: &mut dyn FnMut(usize, usize),
) -> Vec<Looked> {
    let mut all: Vec<Looked> = vec![Err(String::new()); files.len()];
    let mut done = 0;
    let look = |(): &mut (), (_, path): &(usize, PathBuf)| look(path, preprocessor);
    let Ok(()) = side_by_side(files, vec![(); threads.max(1)], look, |place, looked| {
        all[place] = looked;
        done += 1;
        on(done, files.len());
        Ok::<_, Infallible>(())
    });
    all
}

fn look(path: &Path, preprocessor: &Preprocessor) -> Looked {
    let bytes = read(path)?;
    let pixels = preprocessor.decode(&bytes, &ImageLimits::default()).map_err(|error| error.to_string())?;
    Ok((sha256(&bytes), sha256(&pixels.data)))
}

/// A file's bytes, or why they can't be an image's.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    // Before it is opened: a pipe would wait for whoever writes into it.
    let found = path.metadata().map_err(|error| error.to_string())?;
    if found.is_dir() {
        return Err("it is a folder: a class's images lie in its folder, and not deeper".into());
    }
    if !found.is_file() {
        return Err("it is no file".into());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
    }
    Ok(bytes)
}

/// A path on one line, its control characters written out: a name may hold any.
pub(super) fn printable(path: &Path) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    path.to_string_lossy().chars().map(shown).collect()
}

/// A path as a string of JSON, which knows no bytes that are not UTF-8.
pub(super) fn lossy<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

/// In hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    FileEntry::of_bytes(bytes).sha256
}
