//! `model evaluate`: how well a version does on labelled images: its figures as text, as JSON and as a page, and each image's answer.

mod predictions;
mod text;

use std::path::{Path, PathBuf};

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use model::dataset::{DEBIAN_FASHION_MNIST, Dataset, Split};
use model::evaluate::{EvaluateError, Evaluated, Evaluation, Images, measure};
use model::report;
use model::train::augment;
use model::train::config::TrainConfig;
use model::variants::Variant;
use registry::{EngineKind, Manifest, ModelVersion};
use serde::Serialize;

use super::output::{json, line, percent};
use super::publish::{Refusal, can_be_written, end_between_writes, write_output};
use super::{Loaded, SOME_FAILED, Which, progress};
use crate::cli::SUCCESS;

/// Images that can't be answered are said one by one up to so many.
const SAID: usize = 20;

/// Which images of the data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Half {
    /// The test images: to measure by.
    Test,
    /// Those of the training images that `model train` keeps out of training with its default configuration: to choose by.
    Validation,
}

#[derive(Debug, Args)]
pub(super) struct Evaluate {
    #[command(flatten)]
    which: Which,
    /// The images: a folder for each class, named as it is, FOLDER/<class>/*; or idx files, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte
    /// (or train-...), plain or gzipped.
    #[arg(long, env = "MLAAS_DATA", default_value = DEBIAN_FASHION_MNIST, value_name = "FOLDER")]
    data: PathBuf,
    /// Images of none of the classes, in this folder or in folders in it: how many of them are called so.
    #[arg(long, env = "MLAAS_OTHER", value_name = "FOLDER")]
    other: Option<PathBuf>,
    /// Which of the idx files' images; test by default.
    #[arg(long, env = "MLAAS_SPLIT", value_enum)]
    split: Option<Half>,
    /// Show the images in other clothes too: on grey, lit from one side, on nothing, enlarged; one line for each.
    #[arg(long, env = "MLAAS_VARIANTS", value_parser = FalseyValueParser::new(), conflicts_with_all = ["report", "predictions", "fit_temperature", "other"])]
    variants: bool,
    /// Fixes what the variants draw.
    #[arg(long, env = "MLAAS_SEED", default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Only N images: of idx files the first, of a folder such as are spread evenly over all.
    #[arg(long, env = "MLAAS_IMAGES", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    images: Option<u32>,
    /// Fit a temperature on these images, which should be others than those that are measured by, and say what it does. The version
    /// stays as it is.
    #[arg(long, env = "MLAAS_FIT_TEMPERATURE", value_parser = FalseyValueParser::new())]
    fit_temperature: bool,
    /// Write all of it as one page, with the worst mistakes' pictures.
    #[arg(long, env = "MLAAS_REPORT", value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Write the answer to each image, one JSON object a line.
    #[arg(long, env = "MLAAS_PREDICTIONS", value_name = "FILE")]
    predictions: Option<PathBuf>,
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
    data: String,
    #[serde(flatten)]
    evaluation: &'a Evaluation,
}

#[derive(Serialize)]
struct VariantReport {
    variant: String,
    accuracy: f64,
    accuracy_interval: [f64; 2],
    correct: usize,
    images: usize,
}

impl Evaluate {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        end_between_writes()?;
        // What needs no work is said first.
        for file in self.report.iter().chain(&self.predictions) {
            can_be_written(file)?;
        }
        let Loaded { version, engine, kind, why } = self.which.load()?;
        eprintln!("model: computed by {kind}: {why}");
        let data = self.dataset()?;
        let mut images = self.images(data.as_ref(), &version.manifest)?;
        if let Some(count) = self.images {
            images.keep(count as usize);
        }
        for folder in images.empty() {
            eprintln!("model: {}: a class without an image", folder.display());
        }
        if let Some(other) = &self.other {
            images.add_others(other).map_err(usage)?;
        }
        let instances = self.which.computing.instances();
        let shown = images.list().len();
        let variants = if self.variants { &Variant::ALL[..] } else { &[Variant::Raw] };
        let bar = progress::bar(shown * variants.len(), true);
        bar.set_message("images");
        let mut before = 0;
        let mut failed = 0;
        for &variant in variants {
            let dressed = images.dressed(variant, self.seed);
            let mut on = |done: usize| bar.set_position((before + done) as u64);
            let measured =
                measure(&*engine, &version.manifest, &dressed, instances, self.fit_temperature, &mut on);
            let evaluated = measured.map_err(|error| {
                bar.finish_and_clear();
                usage(error)
            })?;
            before += shown;
            failed += evaluated.evaluation.failed.len();
            if self.variants {
                bar.suspend(|| self.say_variant(variant, &evaluated.evaluation))?;
            } else {
                bar.finish_and_clear();
                self.tell(&version, kind, &dressed, &evaluated)?;
            }
        }
        bar.finish_and_clear();
        Ok(if failed > 0 { SOME_FAILED } else { SUCCESS })
    }

    /// The images of idx files, if the data is such.
    fn dataset(&self) -> anyhow::Result<Option<Dataset>> {
        let data = dataset(&self.data, self.half())?;
        if data.is_none() {
            for (option, given) in [("--split", self.split.is_some()), ("--variants", self.variants)] {
                if given {
                    let text =
                        format!("{option} goes with idx files, and {} holds none", self.data.display());
                    return Err(Refusal::Usage(text).into());
                }
            }
        }
        Ok(data)
    }

    fn half(&self) -> Half {
        self.split.unwrap_or(Half::Test)
    }

    fn images<'a>(&self, data: Option<&'a Dataset>, manifest: &Manifest) -> anyhow::Result<Images<'a>> {
        images(&self.data, self.half(), data, manifest)
    }

    /// What the images are, for people.
    fn data_name(&self, images: &Images<'_>) -> String {
        let data = self.data.display();
        let half = match self.half() {
            _ if !images.is_dataset() => "",
            Half::Test => " (test images)",
            Half::Validation => " (validation images)",
        };
        let other = self.other.as_ref().map(|other| format!(", others from {}", other.display()));
        format!("{data}{half}{}", other.unwrap_or_default())
    }

    fn say_variant(&self, variant: Variant, evaluation: &Evaluation) -> anyhow::Result<()> {
        let Evaluation { accuracy, accuracy_interval, correct, images, .. } = *evaluation;
        if self.json {
            let variant = variant.to_string();
            return json(&VariantReport { variant, accuracy, accuracy_interval, correct, images });
        }
        line(&format!("{:>8}  {variant} ({correct} of {images})", percent(accuracy)))
    }

    /// Files first, so that they are there whoever stops reading.
    fn tell(
        &self,
        version: &ModelVersion,
        engine: EngineKind,
        images: &Images<'_>,
        evaluated: &Evaluated,
    ) -> anyhow::Result<()> {
        let (manifest, evaluation) = (&version.manifest, &evaluated.evaluation);
        for failed in evaluation.failed.iter().take(SAID) {
            eprintln!("model: {}: {}", text::plain(&failed.file), text::plain(&failed.reason));
        }
        if evaluation.failed.len() > SAID {
            let more = evaluation.failed.len() - SAID;
            eprintln!("model: {more} more images can't be answered: --json and --predictions name them");
        }
        let data = self.data_name(images);
        if let Some(path) = &self.predictions {
            write_output(path, &predictions::lines(manifest, images, evaluated)?)?;
        }
        if let Some(path) = &self.report {
            let about = report::About { version, engine, data: &data };
            write_output(path, report::page(&about, images, evaluated).as_bytes())?;
        }
        if self.json {
            return json(&Report {
                model: &manifest.name,
                version: manifest.version,
                digest: &version.digest,
                engine,
                data,
                evaluation,
            });
        }
        line(&text::text(manifest, &data, evaluation))?;
        said(self.report.as_deref());
        said(self.predictions.as_deref());
        Ok(())
    }
}

/// The images of idx files, if `folder` holds such, or is not there at all; none where it holds folders of images.
pub(super) fn dataset(folder: &Path, half: Half) -> anyhow::Result<Option<Dataset>> {
    let halves = ["t10k", "train"].into_iter();
    let names = halves.flat_map(|half| ["", ".gz"].map(|end| format!("{half}-images-idx3-ubyte{end}")));
    if folder.is_dir() && !names.into_iter().any(|name| folder.join(name).exists()) {
        return Ok(None);
    }
    Ok(Some(match half {
        Half::Test => Dataset::read(folder, Split::Test)?,
        Half::Validation => {
            let TrainConfig { validation_images, seed, .. } = TrainConfig::default();
            let data = Dataset::read(folder, Split::Train)?;
            let (_, kept_out) = augment::split(data.len(), validation_images.min(data.len()), seed);
            data.select(kept_out.into_iter().filter_map(|place| usize::try_from(place).ok()))
        }
    }))
}

/// The labelled images of `folder`, or of the idx files that were found there.
pub(super) fn images<'a>(
    folder: &Path,
    half: Half,
    data: Option<&'a Dataset>,
    manifest: &Manifest,
) -> anyhow::Result<Images<'a>> {
    let images = match data {
        Some(data) => {
            let name = if half == Half::Test { "t10k-images-idx3-ubyte" } else { "validation" };
            Images::of_dataset(data, name, &manifest.classes)
        }
        None => Images::in_folder(folder, manifest),
    };
    images.map_err(usage)
}

fn said(file: Option<&Path>) {
    if let Some(file) = file {
        eprintln!("model: wrote {}", file.display());
    }
}

/// What other options would do is told by its exit code.
pub(super) fn usage(error: EvaluateError) -> anyhow::Error {
    if error.is_usage() { Refusal::Usage(error.to_string()).into() } else { error.into() }
}
