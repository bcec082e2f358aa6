//! In what two versions of a model differ.

use std::collections::BTreeMap;

use clap::Args;
use registry::{Manifest, Select};
use serde::Serialize;
use serde_json::Value;

use super::super::output::{json, line};
use super::{Place, table};

#[derive(Debug, Args)]
pub(in crate::cli) struct Diff {
    /// The model's name.
    #[arg(value_name = "MODEL")]
    model: String,
    /// A version: a number, an alias, or `latest`.
    #[arg(value_name = "VERSION")]
    one: Select,
    /// Another.
    #[arg(value_name = "VERSION")]
    other: Select,
    #[command(flatten)]
    place: Place,
}

/// One measurement of both.
#[derive(Serialize)]
struct Metric {
    name: String,
    data: String,
    one: Option<f64>,
    other: Option<f64>,
    /// By how much the other's is larger.
    difference: Option<f64>,
}

/// What stands in their manifests at one place.
#[derive(Serialize)]
struct Field {
    field: String,
    one: Value,
    other: Value,
}

#[derive(Serialize)]
struct Difference<'a> {
    model: &'a str,
    one: u32,
    other: u32,
    metrics: Vec<Metric>,
    /// Labels that only one of them has.
    labels_of_one: Vec<&'a str>,
    labels_of_other: Vec<&'a str>,
    fields: Vec<Field>,
}

impl Diff {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let registry = self.place.registry()?;
        let (one, other) = (registry.load(&self.model, &self.one)?, registry.load(&self.model, &self.other)?);
        let (one, other) = (&one.manifest, &other.manifest);
        let difference = Difference {
            model: &self.model,
            one: one.version,
            other: other.version,
            metrics: metrics(one, other),
            labels_of_one: labels_of(one, other),
            labels_of_other: labels_of(other, one),
            fields: fields(one, other)?,
        };
        if self.place.json { json(&difference) } else { print(&difference) }
    }
}

/// The metrics of both by name and data, in the first one's order.
fn metrics(one: &Manifest, other: &Manifest) -> Vec<Metric> {
    let mut found: Vec<Metric> = Vec::new();
    for (manifest, is_one) in [(one, true), (other, false)] {
        for metric in &manifest.metrics {
            let same =
                |of: &&mut Metric| (of.name.as_str(), of.data.as_str()) == (&metric.name, &metric.data);
            match found.iter_mut().find(same) {
                Some(of) if is_one => of.one = of.one.or(Some(metric.value)),
                Some(of) => of.other = of.other.or(Some(metric.value)),
                None => found.push(Metric {
                    name: metric.name.clone(),
                    data: metric.data.clone(),
                    one: is_one.then_some(metric.value),
                    other: (!is_one).then_some(metric.value),
                    difference: None,
                }),
            }
        }
    }
    for metric in &mut found {
        metric.difference = metric.one.zip(metric.other).map(|(one, other)| other - one);
    }
    found
}

/// The labels of `one` that `other` has not.
fn labels_of<'a>(one: &'a Manifest, other: &Manifest) -> Vec<&'a str> {
    let labels = one.classes.labels.iter().map(|class| class.label.as_str());
    labels.filter(|label| !other.classes.labels.iter().any(|class| class.label == *label)).collect()
}

/// All else in which the manifests differ, by the path of each key.
fn fields(one: &Manifest, other: &Manifest) -> anyhow::Result<Vec<Field>> {
    let flat = |manifest: &Manifest| -> anyhow::Result<BTreeMap<String, Value>> {
        let mut manifest = manifest.clone();
        // These stand apart.
        manifest.metrics.clear();
        manifest.classes.labels.clear();
        let mut found = BTreeMap::new();
        flatten(String::new(), serde_json::to_value(&manifest)?, &mut found);
        found.remove("version");
        Ok(found)
    };
    let (mut one, mut other) = (flat(one)?, flat(other)?);
    let mut names: Vec<String> = one.keys().chain(other.keys()).cloned().collect();
    names.sort();
    names.dedup();
    let field = |field: String| {
        let (one, other) = (one.remove(&field).unwrap_or_default(), other.remove(&field).unwrap_or_default());
        (one != other).then_some(Field { field, one, other })
    };
    Ok(names.into_iter().filter_map(field).collect())
}

/// Each scalar under its path, such as `input.size` or `artifacts.0.engine`.
fn flatten(path: String, value: Value, found: &mut BTreeMap<String, Value>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(of) => of.into_iter().for_each(|(key, value)| flatten(below(&key), value, found)),
        Value::Array(of) => {
            of.into_iter().enumerate().for_each(|(at, value)| flatten(below(&at.to_string()), value, found));
        }
        value => drop(found.insert(path, value)),
    }
}

fn print(difference: &Difference<'_>) -> anyhow::Result<()> {
    let (one, other) = (difference.one.to_string(), difference.other.to_string());
    let value = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.4}"));
    if !difference.metrics.is_empty() {
        let rows = difference.metrics.iter().map(|metric| {
            let by = metric.difference.map_or_else(|| "-".into(), |by| format!("{by:+.4}"));
            [metric.name.clone(), value(metric.one), value(metric.other), by, metric.data.clone()]
        });
        table(["METRIC", &one, &other, "DIFFERENCE", "DATA"], rows)?;
    }
    for (version, labels) in [(&one, &difference.labels_of_one), (&other, &difference.labels_of_other)] {
        if !labels.is_empty() {
            line(&format!("labels of {version} alone ({}): {}", labels.len(), labels.join(", ")))?;
        }
    }
    if difference.fields.is_empty() {
        return line("their manifests say the same else");
    }
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let rows = difference.fields.iter();
    table(
        ["FIELD", &one, &other],
        rows.map(|field| [field.field.clone(), text(&field.one), text(&field.other)]),
    )
}
