//! The answer to each image, a JSON object a line, in the order of the images.

use std::collections::HashMap;
use std::io::Write as _;

use model::evaluate::{Evaluated, Images, Truth};
use registry::Manifest;
use serde::Serialize;

use crate::cli::predict::Named;

#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    /// What it shows: a class's label, or none where it is none of the classes.
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correct: Option<bool>,
    /// The first answers, the likeliest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    predictions: Option<Vec<Named>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

pub(super) fn lines(
    manifest: &Manifest,
    images: &Images<'_>,
    evaluated: &Evaluated,
) -> anyhow::Result<Vec<u8>> {
    let judgements: HashMap<usize, _> =
        evaluated.judgements.iter().map(|judgement| (judgement.image, judgement)).collect();
    let failed: HashMap<usize, &str> =
        evaluated.evaluation.failed.iter().map(|failed| (failed.image, failed.reason.as_str())).collect();
    let mut lines = Vec::new();
    for (place, image) in images.list().iter().enumerate() {
        let label = match image.truth {
            Truth::Class(class) => Some(manifest.classes.labels[class].label.as_str()),
            Truth::Other => None,
        };
        let judgement = judgements.get(&place);
        let line = Line {
            file: &image.name,
            label,
            correct: judgement.map(|judgement| judgement.is_right()),
            predictions: judgement
                .map(|judgement| judgement.predictions.iter().cloned().map(Named::from).collect()),
            error: failed.get(&place).copied(),
        };
        serde_json::to_writer(&mut lines, &line)?;
        writeln!(lines)?;
    }
    Ok(lines)
}
