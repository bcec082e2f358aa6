//! Everything that can be wrong with a model version, each as a sentence that says what and where.

use std::io;
use std::path::PathBuf;

use crate::manifest::ManifestError;

/// Why a model version was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The root is not a folder.
    #[error("there is no folder of model versions at {path}: point --weights at one")]
    NoRoot {
        /// The path that was tried.
        path: PathBuf,
    },
    /// A model name that could leave the root, or that no folder may have.
    #[error(
        "{name:?} is no model name: use lower-case letters, digits, '-', '_' and '.', beginning with a letter or digit"
    )]
    BadName {
        /// The name as given.
        name: String,
    },
    /// No folder of that name.
    #[error("there is no model {name:?} in {root}; there are: {known}")]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// Where it was looked for.
        root: PathBuf,
        /// The names that exist, separated by commas.
        known: String,
    },
    /// No version folder of that number.
    #[error("model {name:?} has no version {version}; it has: {known}")]
    UnknownVersion {
        /// The model.
        name: String,
        /// The version asked for.
        version: u32,
        /// The versions that exist, separated by commas.
        known: String,
    },
    /// The model's folder holds no version at all.
    #[error("model {name:?} has no version yet: its folder {path} holds no numbered folder")]
    NoVersions {
        /// The model.
        name: String,
        /// Its folder.
        path: PathBuf,
    },
    /// The alias names nothing.
    #[error("model {name:?} has no alias {alias:?}: `model promote {name} VERSION --alias {alias}` makes it")]
    UnknownAlias {
        /// The model.
        name: String,
        /// The alias asked for.
        alias: String,
    },
    /// The alias file holds something else than a version number.
    #[error("the alias file {path} must hold one version number, and holds {content:?}")]
    BadAlias {
        /// The alias file.
        path: PathBuf,
        /// What it holds, cut short.
        content: String,
    },
    /// The text is neither a version number nor a possible alias.
    #[error("{text:?} is no model version: give a number, an alias such as \"production\", or \"latest\"")]
    BadSelect {
        /// The text as given.
        text: String,
    },
    /// The manifest cannot be read as YAML of its fixed shape.
    #[error("the manifest {path} cannot be read: {source}")]
    BadManifest {
        /// The manifest file.
        path: PathBuf,
        /// What is wrong.
        source: ManifestError,
    },
    /// The manifest says something that cannot be.
    #[error("the manifest {path} is wrong: {message}")]
    InvalidManifest {
        /// The manifest file.
        path: PathBuf,
        /// The field and what is wrong with it.
        message: String,
    },
    /// The manifest has a shape that a later release brought.
    #[error(
        "the manifest {path} is of schema {found}, and this release reads up to {}: a newer release is needed",
        crate::manifest::SCHEMA
    )]
    NewerSchema {
        /// The manifest file.
        path: PathBuf,
        /// Its number.
        found: u64,
    },
    /// The version's folder holds something that its manifest does not name.
    #[error("{path} is not named by the manifest beside it: take it out of the version's folder")]
    StrayFile {
        /// What is too many.
        path: PathBuf,
    },
    /// An artifact is listed, and its file is not in the folder.
    #[error("{path} is not fetched: {}", fetch.as_ref().map_or_else(
        || "its manifest names it, so fetch or publish this version again".to_owned(),
        |command| format!("`{command}` gets it"),
    ))]
    NotFetched {
        /// The absent file.
        path: PathBuf,
        /// The command that gets it, where the manifest says one.
        fetch: Option<String>,
    },
    /// A file that must be there is not.
    #[error("{path} is missing: fetch or publish this version again")]
    MissingFile {
        /// The absent file.
        path: PathBuf,
    },
    /// A folder, a pipe or a device where a file must be.
    #[error("{path} is no file: take it away, and fetch or publish this version again")]
    NoFile {
        /// What is there.
        path: PathBuf,
    },
    /// Signed versions are asked for, and this one is none.
    #[error(
        "{path} is not signed, and only signed versions are loaded: `model sign` signs it, with a private key"
    )]
    NotSigned {
        /// The version's folder.
        path: PathBuf,
    },
    /// The signature is not one of the known keys' over the manifest.
    #[error(
        "{path} is not the signature of the manifest beside it by a key that is known here: have it signed by somebody whose public key is configured"
    )]
    WronglySigned {
        /// The signature.
        path: PathBuf,
    },
    /// There is no file of that name.
    #[error("there is no key at {path}")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A file holds no key, or another kind of one.
    #[error(
        "{path} holds no {half} key of Ed25519 in PEM: {source}; `openssl genpkey -algorithm ed25519 -out KEY` makes a private one, `openssl pkey -in KEY -pubout` its public one"
    )]
    BadKey {
        /// The file.
        path: PathBuf,
        /// `public` or `private`.
        half: &'static str,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file is shorter than the manifest says.
    #[error("{path} is truncated: it holds {found} bytes where its manifest says {expected}; fetch it again")]
    TruncatedFile {
        /// The short file.
        path: PathBuf,
        /// Bytes it should hold.
        expected: u64,
        /// Bytes it holds.
        found: u64,
    },
    /// A file has other content than the manifest says.
    #[error(
        "{path} was tampered with or is another file: its content is {found}, its manifest says {expected}"
    )]
    TamperedFile {
        /// The changed file.
        path: PathBuf,
        /// What the manifest says: SHA-256, or a size where the file is too long.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// What was made for an artifact is not the file that the manifest names.
    #[error("what was made for {path} is {found}, and its manifest says {expected}: nothing was written")]
    OtherContent {
        /// The file that would have been written.
        path: PathBuf,
        /// What the manifest says.
        expected: String,
        /// What was made.
        found: String,
    },
    /// The version to be published exists.
    #[error("{path} exists already: a published version never changes, so give the new one another number")]
    VersionExists {
        /// The version folder.
        path: PathBuf,
    },
    /// Somebody else changed the alias after it was looked at.
    #[error(
        "{alias:?} of model {name:?} was changed meanwhile, and names {}: look at its history, and decide again",
        found.map_or_else(|| "no version".to_owned(), |version| format!("version {version}")),
    )]
    ChangedMeanwhile {
        /// The model.
        name: String,
        /// The alias.
        alias: String,
        /// What it names now.
        found: Option<u32>,
    },
    /// The version can't be tried out.
    #[error("version {version} of {name:?} can't be tried out beside {alias:?}: {message}")]
    NoTrial {
        /// The model.
        name: String,
        /// The version.
        version: u32,
        /// The alias.
        alias: String,
        /// Why not.
        message: String,
    },
    /// What was tried out is over already, and it may be that nothing else was meant.
    #[error(
        "what was tried out beside {alias:?} of model {name:?} is over already, ended by {by}, and nothing is changed{}",
        before.map_or_else(String::new, |version| format!(": to go back to version {version}, name it (--to {version})")),
    )]
    TrialOver {
        /// The model.
        name: String,
        /// The alias.
        alias: String,
        /// Who ended it.
        by: String,
        /// The version before the present one.
        before: Option<u32>,
    },
    /// There is nothing to go back to.
    #[error("{alias:?} of model {name:?} can't go back: {}", to.map_or_else(
        || "its history knows no version before the present one".to_owned(),
        |version| format!("it never named version {version} before, or does so now"),
    ))]
    NoRollback {
        /// The model.
        name: String,
        /// The alias.
        alias: String,
        /// The version asked for, if one was.
        to: Option<u32>,
    },
    /// The version can't be taken away.
    #[error("model {name:?} version {version} is what {alias:?} names: promote another one first")]
    InService {
        /// The model.
        name: String,
        /// The version.
        version: u32,
        /// The alias that names it.
        alias: String,
    },
    /// An entry of an alias's history is damaged.
    #[error("the history's entry {path} cannot be used: {message}")]
    BadHistory {
        /// The entry.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A file that no program wrote.
    #[error("{path} is larger than {limit} bytes")]
    LargeFile {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// The URL is of no store that can be used.
    #[error("{url} can't be used as a store of model versions: {reason}")]
    NoStore {
        /// The URL as given.
        url: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Somebody publishes this version now, or broke off.
    #[error(
        "{path} is being published by somebody else, or was by one who broke off: give the new version another number, or take that one away first (`model delete`)"
    )]
    BeingPublished {
        /// The version's place.
        path: PathBuf,
    },
    /// Somebody took the claim of a version away while it was published.
    #[error(
        "{path} was taken away while it was published (`model delete`), or somebody else publishes it by now: no more was written there; publish it again, under another number"
    )]
    ClaimLost {
        /// The version's place.
        path: PathBuf,
    },
    /// A file that is no part of the version that is published there.
    #[error(
        "{path} was written by somebody else while this version was published, and it is not there now: take what is there away (`model delete`), and publish it again"
    )]
    OtherFile {
        /// The file.
        path: PathBuf,
    },
    /// A file is larger than all copies may be together.
    #[error(
        "{path} holds {needed} bytes, and the copies in {folder} may take {limit} together: allow them more"
    )]
    SmallCache {
        /// The file.
        path: PathBuf,
        /// Bytes it holds.
        needed: u64,
        /// The folder of copies.
        folder: PathBuf,
        /// Bytes that are allowed.
        limit: u64,
    },
    /// An object store failed, or can't be reached.
    #[cfg(feature = "cloud")]
    #[error("cannot {action} {path}: {source}")]
    Store {
        /// What was tried: "read", "write" and so on.
        action: &'static str,
        /// The URL of the file or folder.
        path: PathBuf,
        /// The store's reason.
        source: crate::store::StoreFault,
    },
    /// Reading or writing failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried: "read", "write" and so on.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl RegistryError {
    /// Whether an object store can't be reached, or fails: the same may go well a little later.
    #[must_use]
    pub fn is_away(&self) -> bool {
        #[cfg(feature = "cloud")]
        return matches!(self, Self::Store { source, .. } if source.is_passing());
        #[cfg(not(feature = "cloud"))]
        false
    }

    #[cfg(feature = "store")]
    /// Wraps an I/O error with what was tried; for `map_err`.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
