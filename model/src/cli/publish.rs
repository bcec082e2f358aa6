//! What all commands do alike that make a model version: they refuse, may be interrupted, and publish.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{AccessFlags, access};
use registry::{Author, Manifest, ModelVersion, Registry, RegistryError};
use serde::Serialize;

use super::samples::Samples;

/// The alias of the version that is served, which a model's first one gets.
pub(super) const PRODUCTION: &str = "production";

/// Why no version is made of something.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// What was asked for can't be meant.
    #[error("{0}")]
    Usage(String),
    /// What it is made of, or what that answers, can't be used.
    #[error("{0}")]
    Unfit(String),
    /// Somebody was asked and said no.
    #[error("it is not imported, and nothing was written")]
    Declined,
}

impl Refusal {
    /// Whether other options would do.
    pub(super) fn is_usage(&self) -> bool {
        matches!(self, Self::Usage(_))
    }
}

/// A version that is there, as it is told of.
#[derive(Serialize)]
pub(super) struct Published<'a> {
    name: &'a str,
    version: u32,
    digest: &'a str,
}

impl<'a> Published<'a> {
    pub(super) fn of(version: &'a ModelVersion) -> Self {
        let manifest = &version.manifest;
        Self { name: &manifest.name, version: manifest.version, digest: &version.digest }
    }

    /// For people; `production` is whether it is the version that is served from now on.
    pub(super) fn words(&self, production: bool) -> String {
        let served = if production { ", its production version" } else { "" };
        format!("{} version {}{served}: {}", self.name, self.version, self.digest)
    }
}

/// Held while something is written that must be whole.
static WRITING: Mutex<()> = Mutex::new(());

/// Lets signals end the process at any moment but while a version is written. To be called before there are other threads.
pub(super) fn end_between_writes() -> anyhow::Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().context("cannot wait for signals")?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let Ok(signal) = signals.wait() else { return };
            let _whole = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
            eprintln!("model: ended by {signal}");
            // Other threads compute, and nothing waits to be written.
            model::leave(128 + u8::try_from(signal as i32).unwrap_or_default())
        })
        .context("cannot wait for signals")?;
    Ok(())
}

/// Says before any work if a file can't be written: a folder is in its place, or there is none for it.
pub(super) fn can_be_written(path: &Path) -> Result<(), Refusal> {
    let refuse = |why: String| Err(Refusal::Usage(format!("cannot write {}: {why}", path.display())));
    if path.is_dir() || path.file_name().is_none() {
        return refuse("it is a folder: name a file".to_owned());
    }
    let folder = folder_of(path);
    if !folder.is_dir() {
        return refuse(format!("there is no folder {}", folder.display()));
    }
    let place = if is_special(path) { path } else { folder };
    match access(place, AccessFlags::W_OK) {
        Ok(()) => Ok(()),
        Err(error) => refuse(format!("{} may not be written: {}", place.display(), error.desc())),
    }
}

/// Writes a file, whole or not at all; into what is no file, as a pipe, as it comes.
pub(super) fn write_output(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if is_special(path) {
        return fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()));
    }
    let _whole = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    // A name that leads to another file stays, and what it leads to is written.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    Ok(registry::write_whole(&path, bytes)?)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether it is there, and no file: a pipe, a device.
fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_file())
}

/// Who lets `production` name a model's first version, and why.
pub(super) fn first_version() -> Author {
    Author { by: cli::whoami(), reason: Some("the first version".into()), evidence: None }
}

/// As [`publish_files`], with the first artifact's file and with samples.
pub(super) fn publish(
    registry: &Registry,
    mut manifest: Manifest,
    bytes: &[u8],
    samples: &Samples,
) -> anyhow::Result<(ModelVersion, bool)> {
    let file = manifest.artifacts.first().map(|artifact| artifact.file.clone()).unwrap_or_default();
    manifest.samples = samples.iter().map(|(sample, _)| sample.clone()).collect();
    let mut files = vec![(file.as_str(), bytes)];
    files.extend(samples.iter().map(|(sample, bytes)| (sample.file.as_str(), &bytes[..])));
    publish_files(registry, manifest, &files)
}

/// Writes the version, under the first number that is free; whether it is the model's production version.
pub(super) fn publish_files(
    registry: &Registry,
    mut manifest: Manifest,
    files: &[(&str, &[u8])],
) -> anyhow::Result<(ModelVersion, bool)> {
    let _whole = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let author = first_version();
    let mut taken = 0;
    loop {
        manifest.version = registry.next_version(&manifest.name)?.max(taken + 1);
        match registry.publish(manifest.clone(), files) {
            // Another was faster, or something else has the name.
            Err(RegistryError::VersionExists { .. }) => taken = manifest.version,
            Err(error) => return Err(error.into()),
            Ok(version) => {
                let (name, number) = (&version.manifest.name, version.manifest.version);
                let production = registry.promote_first(name, PRODUCTION, number, &author)?;
                return Ok((version, production));
            }
        }
    }
}
