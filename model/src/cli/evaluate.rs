//! `model evaluate`: the accuracy of a version on the test images of a folder.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::FalseyValueParser;
use model::dataset::{DEBIAN_FASHION_MNIST, Dataset, Split};
use model::evaluate::{Evaluation, evaluate};
use serde::Serialize;

use super::output::{json, line, percent};
use super::{Which, progress};

#[derive(Debug, Args)]
pub(super) struct Evaluate {
    #[command(flatten)]
    which: Which,
    /// The folder with t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, plain or gzipped.
    #[arg(long, env = "MLAAS_DATA", default_value = DEBIAN_FASHION_MNIST, value_name = "FOLDER")]
    data: PathBuf,
    /// Print one JSON object.
    #[arg(long, env = "MLAAS_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    version: u32,
    digest: &'a str,
    #[serde(flatten)]
    evaluation: &'a Evaluation,
}

impl Evaluate {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (version, predictor) = self.which.load()?;
        let data = Dataset::read(&self.data, Split::Test)?;
        let bar = progress::bar(data.len(), true);
        bar.set_message("images");
        let evaluation =
            evaluate(&predictor, &version.manifest, &data, &mut |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        let manifest = &version.manifest;
        if self.json {
            json(&Report {
                model: &manifest.name,
                version: manifest.version,
                digest: &version.digest,
                evaluation: &evaluation,
            })?;
            return Ok(ExitCode::SUCCESS);
        }
        for class in &evaluation.classes {
            let accuracy = class.accuracy.map_or("-".into(), percent);
            line(&format!("{accuracy:>8}  {} ({} of {})", class.label, class.correct, class.images))?;
        }
        line(&format!(
            "{:>8}  {} version {} ({} of {})",
            percent(evaluation.accuracy),
            manifest.name,
            manifest.version,
            evaluation.correct,
            evaluation.images
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
