//! `model predict`: what image files show, in the order given; a bad one is answered with an error, and the rest go on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::FalseyValueParser;
use model::parallel::side_by_side;
use model_core::{Engine, ImageError, ImageLimits, Pixels, Prediction, Preprocessor, Scorer};
use registry::{EngineKind, ModelVersion};
use serde::Serialize;

use super::output::{json, line, percent};
use super::{Loaded, SOME_FAILED, Which, progress};
use crate::cli::SUCCESS;

/// Images that an instance of the engine reads and is shown at a time.
const BATCH: usize = 16;
/// No more of a file is read, and a longer one is refused.
const MAX_FILE_BYTES: u64 = 64 << 20;
const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "gif", "bmp"];

#[derive(Debug, Args)]
pub(super) struct Predict {
    /// Image files, and folders whose image files are taken in the order of their names.
    #[arg(required = true, value_name = "IMAGE|FOLDER")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    which: Which,
    /// How many predictions for each image.
    #[arg(long, env = "MLAAS_TOP_K", default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    top_k: u32,
    /// Print one JSON object for each image.
    #[arg(long, env = "MLAAS_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    file: String,
    model: ModelInfo<'a>,
    predictions: Vec<Named>,
}

#[derive(Serialize)]
pub(super) struct ModelInfo<'a> {
    name: &'a str,
    version: u32,
    digest: &'a str,
    engine: EngineKind,
}

impl<'a> ModelInfo<'a> {
    pub(super) fn of(version: &'a ModelVersion, engine: EngineKind) -> Self {
        let ModelVersion { manifest, digest, .. } = version;
        Self { name: &manifest.name, version: manifest.version, digest, engine }
    }
}

#[derive(Serialize)]
pub(super) struct Named {
    label: String,
    index: Option<u32>,
    probability: f32,
}

impl From<Prediction> for Named {
    fn from(prediction: Prediction) -> Self {
        let Prediction { label, index, probability } = prediction;
        Self { label, index, probability }
    }
}

#[derive(Serialize)]
pub(super) struct Refusal {
    pub(super) file: String,
    pub(super) error: Failure,
}

#[derive(Clone, Serialize)]
pub(super) struct Failure {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn image(error: &ImageError) -> Self {
        let code = match error {
            ImageError::TooLarge { .. } => "OUT_OF_RANGE",
            _ => "INVALID_ARGUMENT",
        };
        Self { code, message: error.to_string() }
    }

    fn io(error: &io::Error) -> Self {
        let (code, message) = match error.kind() {
            io::ErrorKind::NotFound => ("NOT_FOUND", "there is no such file or folder".to_owned()),
            io::ErrorKind::PermissionDenied => ("PERMISSION_DENIED", "it may not be read".to_owned()),
            _ => ("INTERNAL", format!("it cannot be read: {error}")),
        };
        Self { code, message }
    }
}

/// A file to answer, or what is wrong with the path that was to give some.
pub(super) type Item = (PathBuf, Result<(), Failure>);
/// What a file shows, or why it cannot be told.
type Answered = Result<Vec<Prediction>, Failure>;

impl Predict {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let items: Vec<Item> = self.paths.iter().flat_map(|path| files(path)).collect();
        let loaded = self.which.load()?;
        let manifest = &loaded.version.manifest;
        let classifier = Classifier {
            preprocessor: Preprocessor::new(manifest)?,
            scorer: Scorer::new(manifest),
            top_k: self.top_k as usize,
        };
        // With one image, or lines that go to the same terminal, a bar would only flicker.
        let bar = progress::bar(items.len(), !io::IsTerminal::is_terminal(&io::stdout()));
        bar.set_message("images");
        let batches: Vec<&[Item]> = items.chunks(BATCH).collect();
        let instances = self.which.computing.instances().min(batches.len());
        let engines: Vec<Box<dyn Engine>> =
            (0..instances).map(|_| loaded.engine.share()).collect::<Result<_, _>>()?;
        let classify =
            |engine: &mut Box<dyn Engine>, batch: &&[Item]| classifier.classify(&mut **engine, batch);
        let mut failed = false;
        // In the order of the files, whichever batch is done first.
        let (mut early, mut due) = (BTreeMap::new(), 0);
        side_by_side(&batches, engines, classify, |place, answered| {
            early.insert(place, answered);
            while let Some(answered) = early.remove(&due) {
                failed |= self.print(&loaded, batches[due], answered?)?;
                bar.inc(batches[due].len() as u64);
                due += 1;
            }
            Ok::<_, anyhow::Error>(())
        })?;
        bar.finish_and_clear();
        Ok(if failed { SOME_FAILED } else { SUCCESS })
    }

    /// Prints a batch's answers; whether one of them is an error.
    fn print(&self, loaded: &Loaded, batch: &[Item], answered: Vec<Answered>) -> anyhow::Result<bool> {
        let mut failed = false;
        for ((file, _), predicted) in batch.iter().zip(answered) {
            let file = file.display().to_string();
            match predicted {
                Ok(predictions) => self.answer(file, loaded, predictions)?,
                Err(error) => {
                    failed = true;
                    self.refuse(file, error)?;
                }
            }
        }
        Ok(failed)
    }

    fn answer(&self, file: String, loaded: &Loaded, predictions: Vec<Prediction>) -> anyhow::Result<()> {
        if self.json {
            let model = ModelInfo::of(&loaded.version, loaded.kind);
            let predictions = predictions.into_iter().map(Named::from).collect();
            return json(&Answer { file, model, predictions });
        }
        line(&format!("{file}: {}", words(&predictions)))
    }

    fn refuse(&self, file: String, error: Failure) -> anyhow::Result<()> {
        if self.json {
            return json(&Refusal { file, error });
        }
        eprintln!("model: {file}: {}", error.message);
        Ok(())
    }
}

/// Predictions for people.
pub(super) fn words(predictions: &[Prediction]) -> String {
    let word = |p: &Prediction| format!("{} {}", p.label, percent(f64::from(p.probability)));
    predictions.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// From files to predictions, whichever engine computes.
struct Classifier {
    preprocessor: Preprocessor,
    scorer: Scorer,
    top_k: usize,
}

impl Classifier {
    /// What a batch of files shows: predictions for each that can be used.
    fn classify(&self, engine: &mut dyn Engine, batch: &[Item]) -> anyhow::Result<Vec<Answered>> {
        let limits = ImageLimits::default();
        let prepared: Vec<Result<Pixels, Failure>> = batch
            .iter()
            .map(|(file, usable)| {
                usable.clone()?;
                self.preprocessor.decode(&read(file)?, &limits).map_err(|error| Failure::image(&error))
            })
            .collect();
        let good: Vec<&Pixels> = prepared.iter().filter_map(|pixels| pixels.as_ref().ok()).collect();
        let mut logits = engine.logits(&good)?.into_iter();
        let answer = |pixels: Result<Pixels, Failure>| {
            let none = || Failure { code: "INTERNAL", message: "the engine gave no answer".into() };
            let pixels = pixels?;
            logits.next().map(|logits| self.scorer.top_k(&pixels, logits, self.top_k)).ok_or_else(none)
        };
        Ok(prepared.into_iter().map(answer).collect())
    }
}

/// The file itself, or the image files of a folder in the order of their names.
pub(super) fn files(path: &Path) -> Vec<Item> {
    if !path.is_dir() {
        return vec![(path.to_owned(), Ok(()))];
    }
    let listed = std::fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
    let mut files: Vec<PathBuf> = match listed {
        Ok(files) => files,
        Err(error) => return vec![(path.to_owned(), Err(Failure::io(&error)))],
    };
    files.retain(|file| is_image(file) && file.is_file());
    files.sort();
    if files.is_empty() {
        let message = format!("this folder holds no image file ({})", EXTENSIONS.join(", "));
        return vec![(path.to_owned(), Err(Failure { code: "NOT_FOUND", message }))];
    }
    files.into_iter().map(|file| (file, Ok(()))).collect()
}

fn is_image(file: &Path) -> bool {
    let extension = file.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension)))
}

/// The file, by what can be read of it: a length may change meanwhile, and devices and pipes have none.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| Failure::io(&error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = format!("it is longer than the {MAX_FILE_BYTES} bytes that are read");
        return Err(Failure { code: "OUT_OF_RANGE", message });
    }
    Ok(bytes)
}
