//! What goes.

use anyhow::Context as _;
use clap::Args;
use clap::builder::FalseyValueParser;
use registry::{Registry, Select};
use serde::Serialize;

use super::super::output::{json, line};
use super::look::{bytes, megabytes};
use super::{Place, table};

#[derive(Debug, Args)]
pub(in crate::cli) struct Delete {
    /// The model's name.
    #[arg(value_name = "MODEL")]
    model: String,
    /// The version's number.
    #[arg(value_name = "VERSION", value_parser = clap::value_parser!(u32).range(1..))]
    version: u32,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Gc {
    /// Only this model's versions.
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// How many of each model's newest versions stay in any case.
    #[arg(long, env = "MLAAS_KEEP", default_value_t = 3, value_name = "N")]
    keep: usize,
    /// Take them away, not only list them.
    #[arg(long, env = "MLAAS_DELETE", value_parser = FalseyValueParser::new())]
    delete: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Serialize)]
struct Gone<'a> {
    model: &'a str,
    version: u32,
    /// What its files come to; none where its manifest can't be read.
    bytes: Option<u64>,
    deleted: bool,
}

impl Delete {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let registry = self.place.registry()?;
        let (model, version) = (self.model.as_str(), self.version);
        let bytes = size(&registry, model, version);
        registry.delete(model, version)?;
        if self.place.json {
            return json(&Gone { model, version, bytes, deleted: true });
        }
        line(&format!("{model} version {version} is deleted"))
    }
}

fn size(registry: &Registry, model: &str, version: u32) -> Option<u64> {
    registry.load(model, &Select::Version(version)).ok().map(|version| bytes(&version.manifest))
}

/// The versions of a model that no alias names, that no rollback would go to, and that are not among the newest.
fn unneeded(registry: &Registry, model: &str, keep: usize) -> anyhow::Result<Vec<u32>> {
    let mut needed = Vec::new();
    needed.extend(registry.in_service(model)?.into_iter().map(|(_, version)| version));
    for (alias, _) in registry.aliases(model)? {
        needed.extend(registry.before(model, &alias)?);
    }
    let versions = registry.versions(model)?;
    let old = versions.len().saturating_sub(keep);
    Ok(versions.into_iter().take(old).filter(|version| !needed.contains(version)).collect())
}

impl Gc {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let registry = self.place.registry()?;
        let models = match &self.model {
            Some(model) => vec![model.clone()],
            None => registry.models()?,
        };
        let mut found = Vec::new();
        for model in &models {
            for version in unneeded(&registry, model, self.keep)? {
                found.push(Gone { model, version, bytes: size(&registry, model, version), deleted: false });
            }
        }
        for gone in found.iter_mut().filter(|_| self.delete) {
            registry
                .delete(gone.model, gone.version)
                .with_context(|| format!("cannot delete {} version {}", gone.model, gone.version))?;
            gone.deleted = true;
        }
        if self.place.json {
            return found.iter().try_for_each(json);
        }
        if found.is_empty() {
            eprintln!(
                "model: each version is named by an alias, would be gone back to, or is among the newest {}",
                self.keep
            );
            return Ok(());
        }
        let size = |gone: &Gone<'_>| gone.bytes.map_or_else(|| "-".into(), megabytes);
        table(
            ["MODEL", "VERSION", "SIZE"],
            found.iter().map(|gone| [gone.model.to_owned(), gone.version.to_string(), size(gone)]),
        )?;
        if !self.delete {
            eprintln!("model: nothing is deleted; --delete does it");
        }
        Ok(())
    }
}
