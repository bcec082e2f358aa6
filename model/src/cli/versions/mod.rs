//! `model list`, `show`, `diff`, `history`, `publish`, `pull`, `promote`, `rollback`, `sign`, `delete` and `gc`: which versions there are, and which one is in
//! service. Of them only `promote` computes: with `--data`, and what a version carries as samples.

mod change;
mod clean;
mod copy;
mod diff;
mod gate;
mod look;
mod samples;
mod sign;
mod trial;

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use registry::{Author, PublicKeys, Registry};

use super::output::line;
use super::publish::PRODUCTION;
use crate::cli::SUCCESS;

#[derive(Debug, Subcommand)]
pub(super) enum Versions {
    /// List model versions, and which one each alias names.
    List(look::List),
    /// Print what a model version says of itself.
    Show(look::Show),
    /// Print in what two versions of a model differ, their metrics side by side.
    Diff(diff::Diff),
    /// Print which version an alias named when, who had it so, and why.
    History(look::History),
    /// Copy a version to an object store, or to another folder, for other machines.
    Publish(copy::Publish),
    /// Copy a version from an object store, or from another folder, to this machine.
    Pull(copy::Pull),
    /// Let an alias name a version: who follows the alias serves it.
    Promote(change::Promote),
    /// Let an alias name the version that it named before.
    Rollback(change::Rollback),
    /// Sign a version, for workers that load signed ones only.
    Sign(sign::Sign),
    /// Take a version away that no alias names.
    Delete(clean::Delete),
    /// List the versions that nobody needs any more, and with --delete take them away.
    Gc(clean::Gc),
}

impl Versions {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        match self {
            Self::List(list) => list.run(),
            Self::Show(show) => show.run(),
            Self::Diff(diff) => diff.run(),
            Self::History(history) => history.run(),
            Self::Publish(publish) => publish.run(),
            Self::Pull(pull) => pull.run(),
            Self::Promote(promote) => promote.run(),
            Self::Rollback(rollback) => rollback.run(),
            Self::Sign(sign) => sign.run(),
            Self::Delete(delete) => delete.run(),
            Self::Gc(gc) => gc.run(),
        }?;
        Ok(SUCCESS)
    }
}

/// Where the versions are, and how they are told of.
#[derive(Debug, Args)]
pub(in crate::cli) struct Place {
    /// The model versions: a folder, or s3://BUCKET/PREFIX, gs://, az://.
    #[arg(long, env = "MLAAS_WEIGHTS", default_value = "weights", value_name = "FOLDER|URL")]
    weights: PathBuf,
    /// Take only versions that are signed by one of these public keys: PEM, separated by commas.
    #[arg(long, env = "MLAAS_PUBLIC_KEYS", value_name = "FILES", value_delimiter = ',')]
    public_keys: Vec<PathBuf>,
    /// Print JSON: an object, or one a line where there are several.
    #[arg(long, env = "MLAAS_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

impl Place {
    fn registry(&self) -> anyhow::Result<Registry> {
        self.trusting(self.any_registry()?)
    }

    /// Of which only those are taken that are signed as is asked for.
    fn trusting(&self, registry: Registry) -> anyhow::Result<Registry> {
        if self.public_keys.is_empty() {
            return Ok(registry);
        }
        Ok(registry.trusting(PublicKeys::read(&self.public_keys)?))
    }

    /// Whoever has signed what is in it.
    fn any_registry(&self) -> anyhow::Result<Registry> {
        Ok(Registry::open(&self.weights)?)
    }
}

/// Who changes an alias, and why.
#[derive(Debug, Args)]
struct Signature {
    /// Why: a sentence that the history keeps.
    #[arg(long, env = "MLAAS_REASON", value_name = "TEXT")]
    reason: Option<String>,
    /// Who [default: user@machine].
    #[arg(long, env = "MLAAS_BY", value_name = "NAME")]
    by: Option<String>,
}

impl Signature {
    fn author(&self) -> Author {
        let by = self.by.clone().unwrap_or_else(cli::whoami);
        Author { by, reason: self.reason.clone(), evidence: None }
    }
}

/// Prints rows under a heading, in columns.
fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(header);
    table.add_rows(rows);
    line(&table.trim_fmt())
}
