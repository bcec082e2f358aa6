//! From one place to another: a version as it is, with the identity that it has.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::ProgressBar;
use registry::{ModelVersion, Registry, RegistryError, Select};
use serde::Serialize;

use super::super::output::{json, line};
use super::super::progress;
use super::super::publish::first_version;
use super::{PRODUCTION, Place};

#[derive(Debug, Args)]
pub(in crate::cli) struct Publish {
    /// The model's name.
    #[arg(value_name = "MODEL")]
    model: String,
    /// Its version: a number, an alias, or `latest`.
    #[arg(default_value = PRODUCTION, value_name = "VERSION")]
    version: Select,
    /// Where to: s3://BUCKET/PREFIX, gs://, az://, or a folder.
    #[arg(long, env = "MLAAS_TO", value_name = "URL")]
    to: PathBuf,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Pull {
    /// The model's name.
    #[arg(value_name = "MODEL")]
    model: String,
    /// Its version: a number, an alias, or `latest`.
    #[arg(default_value = PRODUCTION, value_name = "VERSION")]
    version: Select,
    /// Where from: s3://BUCKET/PREFIX, gs://, az://, or a folder.
    #[arg(long, env = "MLAAS_FROM", value_name = "URL")]
    from: PathBuf,
    #[command(flatten)]
    place: Place,
}

#[derive(Serialize)]
struct Copied<'a> {
    model: &'a str,
    version: u32,
    digest: &'a str,
    place: &'a Path,
    /// Whether it was there before, the same.
    already: bool,
    /// Whether it is the model's production version there.
    production: bool,
}

impl Publish {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let (from, to) = (self.place.registry()?, Registry::at(&self.to)?);
        copy(&from, to, &self.to, &self.model, &self.version, self.place.json)
    }
}

impl Pull {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let (from, to) =
            (self.place.trusting(Registry::open(&self.from)?)?, Registry::at(&self.place.weights)?);
        copy(&from, to, &self.place.weights, &self.model, &self.version, self.place.json)
    }
}

fn copy(
    from: &Registry,
    to: Registry,
    place: &Path,
    model: &str,
    select: &Select,
    as_json: bool,
) -> anyhow::Result<()> {
    let version = from.resolve(model, select)?;
    let bar = progress::bytes(!as_json);
    let (to, from) = (to.reporting(shown_on(&bar)), from.clone().reporting(shown_on(&bar)));
    let copied = to.copy_from(&from, model, version);
    bar.finish_and_clear();
    let (copied, already) = match copied {
        Ok(copied) => (copied, false),
        Err(exists @ RegistryError::VersionExists { .. }) => {
            (same(&from, &to, model, version).ok_or(exists)?, true)
        }
        Err(error) => return Err(error.into()),
    };
    let author = first_version();
    let production = to.promote_first(model, PRODUCTION, version, &author)?
        || to.alias(model, PRODUCTION)?.version == Some(version);
    if as_json {
        return json(&Copied { model, version, digest: &copied.digest, place, already, production });
    }
    let what = if already { "was there already" } else { "is there" };
    let served = if production { ", its production version" } else { "" };
    line(&format!("{model} version {version} {what}{served}: {}, {}", place.display(), copied.digest))
}

/// The version that is there, if it is the one that was to come.
fn same(from: &Registry, to: &Registry, model: &str, version: u32) -> Option<ModelVersion> {
    let select = Select::Version(version);
    let (from, to) = (from.load(model, &select).ok()?, to.load(model, &select).ok()?);
    Some(to).filter(|to| to.digest == from.digest)
}

/// Shows how far a file is: of one after the other.
fn shown_on(bar: &ProgressBar) -> impl Fn(&str, u64, u64) + Send + Sync + 'static {
    let bar = bar.clone();
    move |file, copied, size| {
        bar.set_message(file.to_owned());
        bar.set_length(size);
        bar.set_position(copied);
    }
}
