//! What there is.

use clap::Args;
use registry::{EngineKind, Kind, Manifest, ModelVersion, Precision, Registry, Select};
use serde::Serialize;

use super::super::output::{json, line, percent};
use super::{PRODUCTION, Place, table, trial};

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// Only this model's.
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// The model's name.
    #[arg(value_name = "MODEL")]
    model: String,
    /// Its version: a number, an alias, or `latest`.
    #[arg(default_value = PRODUCTION, value_name = "VERSION")]
    version: Select,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct History {
    /// The model's name.
    #[arg(value_name = "MODEL")]
    model: String,
    /// The alias.
    #[arg(long, env = "MLAAS_ALIAS", default_value = PRODUCTION, value_name = "ALIAS")]
    alias: String,
    #[command(flatten)]
    place: Place,
}

/// A version as it is listed.
#[derive(Serialize)]
struct Entry {
    model: String,
    version: u32,
    /// The aliases that name it.
    aliases: Vec<String>,
    /// Its manifest's SHA-256; none where it can't be opened.
    digest: Option<String>,
    /// What its manifest says of its accuracy, from 0 to 1.
    accuracy: Option<f64>,
    artifacts: Vec<Artifact>,
    /// What all its files come to, those that are not fetched included.
    bytes: u64,
    /// Why it can't be served.
    error: Option<String>,
}

#[derive(Serialize)]
struct Artifact {
    engine: EngineKind,
    precision: Precision,
    file: String,
    /// Whether its file is there.
    fetched: bool,
}

/// The artifacts of a version, and which are there.
fn artifacts(version: &ModelVersion) -> Vec<Artifact> {
    let artifact = |of: &registry::Artifact| Artifact {
        engine: of.engine,
        precision: of.precision,
        file: of.file.clone(),
        fetched: version.is_there(&of.file),
    };
    version.manifest.artifacts.iter().map(artifact).collect()
}

pub(super) fn bytes(manifest: &Manifest) -> u64 {
    manifest.files.values().map(|file| file.size).sum()
}

pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn entries(registry: &Registry, model: &str) -> anyhow::Result<Vec<Entry>> {
    let named = registry.in_service(model)?;
    let entry = |version: u32| {
        let of_it = named.iter().filter(|(_, named)| *named == version);
        let aliases = of_it.map(|(alias, _)| alias.clone()).collect();
        let blank = Entry {
            model: model.to_owned(),
            version,
            aliases,
            digest: None,
            accuracy: None,
            artifacts: Vec::new(),
            bytes: 0,
            error: None,
        };
        match registry.load(model, &Select::Version(version)) {
            Ok(opened) => {
                let metric = opened.manifest.metrics.iter().find(|metric| metric.name == "accuracy");
                Entry {
                    accuracy: metric.map(|metric| metric.value),
                    artifacts: artifacts(&opened),
                    bytes: bytes(&opened.manifest),
                    digest: Some(opened.digest),
                    ..blank
                }
            }
            Err(error) => Entry { error: Some(error.to_string()), ..blank },
        }
    };
    Ok(registry.versions(model)?.into_iter().map(entry).collect())
}

impl List {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let registry = self.place.registry()?;
        let models = match self.model {
            Some(model) => vec![model],
            None => registry.models()?,
        };
        let mut all = Vec::new();
        for model in models {
            all.extend(entries(&registry, &model)?);
        }
        if self.place.json {
            return all.iter().try_for_each(json);
        }
        if all.is_empty() {
            eprintln!("model: there is no model version in {}", self.place.weights.display());
            return Ok(());
        }
        for entry in &all {
            if let Some(error) = &entry.error {
                eprintln!("model: {} version {} can't be served: {error}", entry.model, entry.version);
            }
        }
        let header = ["MODEL", "VERSION", "ALIASES", "ACCURACY", "ARTIFACTS", "SIZE", "DIGEST"];
        table(header, all.iter().map(row))
    }
}

fn row(entry: &Entry) -> [String; 7] {
    let artifact = |of: &Artifact| {
        let precision =
            if of.precision == Precision::F32 { String::new() } else { format!(" {}", of.precision) };
        let missing = if of.fetched { "" } else { " (not fetched)" };
        format!("{}{precision}{missing}", of.engine)
    };
    let artifacts: Vec<String> = entry.artifacts.iter().map(artifact).collect();
    let known = entry.error.is_none();
    [
        entry.model.clone(),
        entry.version.to_string(),
        entry.aliases.join(", "),
        entry.accuracy.map_or_else(|| "-".into(), percent),
        if known { artifacts.join(", ") } else { "can't be served".into() },
        if known { megabytes(entry.bytes) } else { "-".into() },
        entry.digest.as_ref().and_then(|digest| digest.get(..19)).unwrap_or("-").to_owned(),
    ]
}

#[derive(Serialize)]
struct Shown<'a> {
    digest: &'a str,
    aliases: Vec<&'a str>,
    not_fetched: Vec<&'a str>,
    manifest: &'a Manifest,
}

impl Show {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let registry = self.place.registry()?;
        let version = registry.load(&self.model, &self.version)?;
        let manifest = &version.manifest;
        let named = registry.in_service(&self.model)?;
        let of_it = named.iter().filter(|(_, named)| *named == manifest.version);
        let shown = Shown {
            digest: &version.digest,
            aliases: of_it.map(|(alias, _)| alias.as_str()).collect(),
            not_fetched: (manifest.artifacts.iter().filter(|artifact| !version.is_there(&artifact.file)))
                .map(|artifact| artifact.file.as_str())
                .collect(),
            manifest,
        };
        if self.place.json {
            return json(&shown);
        }
        // Comments of YAML, so that all of it can be read as such.
        line(&format!("# {}", shown.digest))?;
        for (what, names) in [("named by", &shown.aliases), ("not fetched", &shown.not_fetched)] {
            if !names.is_empty() {
                line(&format!("# {what}: {}", names.join(", ")))?;
            }
        }
        line(serde_yaml::to_string(manifest)?.trim_end())
    }
}

impl History {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let registry = self.place.registry()?;
        let changes = registry.history(&self.model, &self.alias)?;
        if self.place.json {
            return changes.iter().try_for_each(json);
        }
        if changes.is_empty() {
            let seen = registry.alias(&self.model, &self.alias)?;
            let names = seen.version.map_or_else(|| "nothing".into(), |version| format!("version {version}"));
            eprintln!("model: {} of {} names {names}; no change of it was recorded", self.alias, self.model);
            return Ok(());
        }
        let row = |change: &registry::Change| {
            [
                change.number.to_string(),
                change.at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
                change.from.map_or_else(|| "-".into(), |from| from.to_string()),
                change.to.to_string(),
                match change.kind {
                    Kind::Canary | Kind::Shadow => trial::told(change),
                    Kind::Rollback => "rolled back".into(),
                    Kind::Promote => "promoted".into(),
                    Kind::Other => "by a newer release".into(),
                },
                one_line(&change.by),
                change.evidence.as_ref().map_or_else(
                    || "-".into(),
                    |found| {
                        format!(
                            "{} -> {} of {}",
                            percent(found.champion),
                            percent(found.challenger),
                            found.images
                        )
                    },
                ),
                one_line(change.reason.as_deref().unwrap_or("-")),
            ]
        };
        table(["NUMBER", "AT", "FROM", "TO", "CHANGE", "BY", "ACCURACY", "REASON"], changes.iter().map(row))
    }
}

/// What others wrote, so that it steers no terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
