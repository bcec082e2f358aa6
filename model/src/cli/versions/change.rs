//! Which version is in service.

use clap::Args;
use clap::builder::FalseyValueParser;
use registry::{Author, Change, Evidence, Registry, Seen, Select};
use serde::Serialize;

use super::super::output::{json, line};
use super::super::publish::Refusal;
use super::gate::{Gate, percentages};
use super::trial::{self, Trial};
use super::{PRODUCTION, Place, Signature, samples};

#[derive(Debug, Args)]
pub(in crate::cli) struct Promote {
    /// The model's name.
    #[arg(value_name = "MODEL")]
    model: String,
    /// The version: its number, or `latest`.
    #[arg(value_name = "VERSION")]
    version: Select,
    /// The alias.
    #[arg(long, env = "MLAAS_ALIAS", default_value = PRODUCTION, value_name = "ALIAS")]
    alias: String,
    #[command(flatten)]
    gate: Gate,
    #[command(flatten)]
    trial: Trial,
    /// Promote a version that was not held against the one in service, or that did worse; wants a --reason.
    #[arg(long, env = "MLAAS_FORCE", value_parser = FalseyValueParser::new(), conflicts_with_all = ["canary", "shadow"])]
    force: bool,
    #[command(flatten)]
    signature: Signature,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Rollback {
    /// The model's name.
    #[arg(value_name = "MODEL")]
    model: String,
    /// The version [default: the one that was in service before this one was promoted].
    #[arg(long, env = "MLAAS_TO", value_name = "VERSION", value_parser = clap::value_parser!(u32).range(1..))]
    to: Option<u32>,
    /// The alias.
    #[arg(long, env = "MLAAS_ALIAS", default_value = PRODUCTION, value_name = "ALIAS")]
    alias: String,
    #[command(flatten)]
    signature: Signature,
    #[command(flatten)]
    place: Place,
}

#[derive(Serialize)]
struct Told<'a> {
    model: &'a str,
    #[serde(flatten)]
    change: &'a Change,
}

impl Promote {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let registry = self.place.registry()?;
        let version = registry.resolve(&self.model, &self.version)?;
        samples::check(&self.gate.computing, &registry, &self.model, version)?;
        if let Some(how) = self.trial.how()? {
            let author = self.signature.author();
            let change = registry.try_out(&self.model, &self.alias, version, how, &author)?;
            return told(&self.place, &self.model, &change);
        }
        let seen = registry.alias(&self.model, &self.alias)?;
        let evidence = self.held_against(&registry, version, &seen)?;
        let author = Author { evidence, ..self.signature.author() };
        let change = registry.promote(&self.model, &self.alias, version, &author, Some(&seen))?;
        told(&self.place, &self.model, &change)
    }

    /// Whether the version may take the place of the one in service, and by what that was decided.
    fn held_against(
        &self,
        registry: &Registry,
        version: u32,
        seen: &Seen,
    ) -> anyhow::Result<Option<Evidence>> {
        let refuse = |why: String| Err(Refusal::Usage(why).into());
        let Some(champion) = seen.version else { return Ok(None) };
        let Self { model, alias, .. } = self;
        if champion == version {
            return refuse(format!("{alias} of {model} is version {version} already"));
        }
        let reason = self.signature.reason.as_deref().unwrap_or_default();
        if self.force && reason.trim().is_empty() {
            return refuse("--force wants --reason TEXT, which the history keeps".to_owned());
        }
        if let Some(held) = self.gate.hold(registry, model, [champion, version])? {
            if !self.force {
                held.refuse_worse()?;
            }
            return Ok(Some(held.evidence));
        }
        if !self.force {
            // Whoever is told so should know what they would replace.
            drop(registry.load(model, &Select::Version(version))?);
            return refuse(format!(
                "version {version} of {model} was not held against version {champion}, which is in service: show both the same \
                 labelled images with --data FOLDER, or promote it with --force --reason TEXT, which the history keeps",
            ));
        }
        Ok(None)
    }
}

impl Rollback {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let registry = self.place.registry()?;
        let author = self.signature.author();
        let change = registry.rollback(&self.model, &self.alias, self.to, &author)?;
        told(&self.place, &self.model, &change)
    }
}

fn told(place: &Place, model: &str, change: &Change) -> anyhow::Result<()> {
    if place.json {
        return json(&Told { model, change });
    }
    if change.trial().is_some() {
        let (alias, to) = (&change.alias, change.to);
        return line(&format!("{alias} of {model}: version {to} as before, {}", trial::told(change)));
    }
    let from = change.from.map_or_else(|| "no version".into(), |from| format!("version {from}"));
    let evidence = change.evidence.as_ref().map(|evidence| format!("\n{}", percentages(evidence)));
    let evidence = evidence.unwrap_or_default();
    line(&format!("{} of {model}: from {from} to version {}{evidence}", change.alias, change.to))
}
