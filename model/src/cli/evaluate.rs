//! `model evaluate`: the accuracy of a version on the images of a folder, as they are or in other clothes.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use model::dataset::{DEBIAN_FASHION_MNIST, Dataset, Split};
use model::evaluate::{Evaluation, Options, evaluate};
use model::train::augment;
use model::train::config::TrainConfig;
use model::variants::Variant;
use registry::{EngineKind, ModelVersion};
use serde::Serialize;

use super::output::{json, line, percent};
use super::{Loaded, Which, progress};

/// Which images of the data set.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Images {
    /// The test images: to measure by.
    Test,
    /// Those of the training images that `model train` keeps out of training with its default configuration: to choose by.
    Validation,
}

#[derive(Debug, Args)]
pub(super) struct Evaluate {
    #[command(flatten)]
    which: Which,
    /// The folder with t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (or train-...), plain or gzipped.
    #[arg(long, env = "MLAAS_DATA", default_value = DEBIAN_FASHION_MNIST, value_name = "FOLDER")]
    data: PathBuf,
    /// Which of its images.
    #[arg(long, env = "MLAAS_SPLIT", value_enum, default_value_t = Images::Test)]
    split: Images,
    /// Show the images in other clothes too: on grey, lit from one side, on nothing, enlarged; one line for each.
    #[arg(long, env = "MLAAS_VARIANTS", value_parser = FalseyValueParser::new())]
    variants: bool,
    /// Fixes what the variants draw.
    #[arg(long, env = "MLAAS_SEED", default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Only the first N images.
    #[arg(long, env = "MLAAS_IMAGES", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    images: Option<u32>,
    /// Print one JSON object, with --variants one for each.
    #[arg(long, env = "MLAAS_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    version: u32,
    digest: &'a str,
    engine: EngineKind,
    #[serde(flatten)]
    evaluation: &'a Evaluation,
}

#[derive(Serialize)]
struct VariantReport {
    variant: String,
    accuracy: f64,
    correct: usize,
    images: usize,
}

impl Evaluate {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Loaded { version, engine, kind, why } = self.which.load()?;
        eprintln!("model: computed by {kind}: {why}");
        let mut data = self.images()?;
        if let Some(images) = self.images {
            data.truncate(images as usize);
        }
        let instances = self.which.instances();
        let variants = if self.variants { &Variant::ALL[..] } else { &[Variant::Raw] };
        let bar = progress::bar(data.len() * variants.len(), true);
        bar.set_message("images");
        let mut before = 0;
        for &variant in variants {
            let options = Options { variant, seed: self.seed, instances };
            let mut on = |done: usize| bar.set_position((before + done) as u64);
            let evaluation = evaluate(&*engine, &version.manifest, &data, &options, &mut on)?;
            before += data.len();
            if self.variants {
                bar.suspend(|| self.report_variant(variant, &evaluation))?;
            } else {
                bar.finish_and_clear();
                self.report(&version, kind, &evaluation)?;
            }
        }
        bar.finish_and_clear();
        Ok(ExitCode::SUCCESS)
    }

    fn images(&self) -> anyhow::Result<Dataset> {
        match self.split {
            Images::Test => Ok(Dataset::read(&self.data, Split::Test)?),
            Images::Validation => {
                let TrainConfig { validation_images, seed, .. } = TrainConfig::default();
                let data = Dataset::read(&self.data, Split::Train)?;
                let (_, kept_out) = augment::split(data.len(), validation_images.min(data.len()), seed);
                Ok(data.select(kept_out.into_iter().filter_map(|place| usize::try_from(place).ok())))
            }
        }
    }

    fn report_variant(&self, variant: Variant, evaluation: &Evaluation) -> anyhow::Result<()> {
        let Evaluation { accuracy, correct, images, .. } = *evaluation;
        if self.json {
            return json(&VariantReport { variant: variant.to_string(), accuracy, correct, images });
        }
        line(&format!("{:>8}  {variant} ({correct} of {images})", percent(accuracy)))
    }

    fn report(
        &self,
        version: &ModelVersion,
        engine: EngineKind,
        evaluation: &Evaluation,
    ) -> anyhow::Result<()> {
        let manifest = &version.manifest;
        if self.json {
            return json(&Report {
                model: &manifest.name,
                version: manifest.version,
                digest: &version.digest,
                engine,
                evaluation,
            });
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
        ))
    }
}
