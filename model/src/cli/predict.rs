//! `model predict`: what image files show, in the order given; a bad one is answered with an error, and the rest go on.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clap::builder::FalseyValueParser;
use model_core::{ImageLimits, Pixels, Prediction, Preprocessor};
use registry::ModelVersion;
use serde::Serialize;

use super::output::{json, line, percent};
use super::{SOME_FAILED, Which, progress};

/// Images read and shown to the predictor at a time.
const BATCH: usize = 32;
/// A longer file is refused before it is read.
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
struct ModelInfo<'a> {
    name: &'a str,
    version: u32,
    digest: &'a str,
}

#[derive(Serialize)]
struct Named {
    label: String,
    index: Option<u32>,
    probability: f32,
}

#[derive(Serialize)]
struct Refusal {
    file: String,
    error: Failure,
}

#[derive(Serialize)]
struct Failure {
    code: &'static str,
    message: String,
}

impl Failure {
    fn invalid(error: impl ToString) -> Self {
        Self { code: "INVALID_ARGUMENT", message: error.to_string() }
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
type Item = (PathBuf, Result<(), Failure>);

impl Predict {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let items: Vec<Item> = self.paths.iter().flat_map(|path| files(path)).collect();
        let (version, predictor) = self.which.load()?;
        let preprocessor = Preprocessor::new(&version.manifest)?;
        let limits = ImageLimits::default();
        // With one image, or lines that go to the same terminal, a bar would only flicker.
        let bar = progress::bar(items.len(), !io::IsTerminal::is_terminal(&io::stdout()));
        bar.set_message("images");
        let mut failed = false;
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            let batch: Vec<(PathBuf, Result<Pixels, Failure>)> = items
                .by_ref()
                .take(BATCH)
                .map(|(file, usable)| {
                    let pixels = usable
                        .and_then(|()| read(&file))
                        .and_then(|bytes| preprocessor.decode(&bytes, &limits).map_err(Failure::invalid));
                    (file, pixels)
                })
                .collect();
            let good: Vec<&Pixels> = batch.iter().filter_map(|(_, pixels)| pixels.as_ref().ok()).collect();
            let mut scores = predictor.predict(&good)?.into_iter();
            for (file, pixels) in batch {
                let predicted = match pixels {
                    Ok(_) => scores.next().ok_or_else(|| Failure {
                        code: "INTERNAL",
                        message: "the predictor gave no answer".into(),
                    }),
                    Err(failure) => Err(failure),
                };
                let file = file.display().to_string();
                match predicted {
                    Ok(scores) => {
                        let predictions = scores.top_k(&version.manifest.classes, self.top_k as usize);
                        self.answer(file, &version, predictions)?;
                    }
                    Err(error) => {
                        failed = true;
                        self.refuse(file, error)?;
                    }
                }
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        Ok(if failed { ExitCode::from(SOME_FAILED) } else { ExitCode::SUCCESS })
    }

    fn answer(
        &self,
        file: String,
        version: &ModelVersion,
        predictions: Vec<Prediction>,
    ) -> anyhow::Result<()> {
        if self.json {
            let model = ModelInfo {
                name: &version.manifest.name,
                version: version.manifest.version,
                digest: &version.digest,
            };
            let predictions = predictions
                .into_iter()
                .map(|p| Named { label: p.label, index: p.index, probability: p.probability })
                .collect();
            return json(&Answer { file, model, predictions });
        }
        let named: Vec<String> = predictions
            .iter()
            .map(|p| format!("{} {}", p.label, percent(f64::from(p.probability))))
            .collect();
        line(&format!("{file}: {}", named.join(", ")))
    }

    fn refuse(&self, file: String, error: Failure) -> anyhow::Result<()> {
        if self.json {
            return json(&Refusal { file, error });
        }
        eprintln!("model: {file}: {}", error.message);
        Ok(())
    }
}

/// The file itself, or the image files of a folder in the order of their names.
fn files(path: &Path) -> Vec<Item> {
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

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let length = std::fs::metadata(file).map_err(|error| Failure::io(&error))?.len();
    if length > MAX_FILE_BYTES {
        return Err(Failure::invalid(format!(
            "it has {length} bytes, and at most {MAX_FILE_BYTES} are read"
        )));
    }
    std::fs::read(file).map_err(|error| Failure::io(&error))
}
