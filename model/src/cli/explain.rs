//! `model explain`: the pictures with a heat map of what speaks in them for a class; a bad one is answered with an error, and the rest go on.

use std::collections::HashSet;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use clap::builder::FalseyValueParser;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder as _};
use model::engines::{self, EngineChoice};
use model::explain::overlay::{drawn, peak};
use model::explain::{ExplainError, Explainer, Explanation};
use model::{Device, ModelError};
use model_core::{ImageLimits, Pixels, Prediction, Preprocessor, Shown, shown};
use registry::{Classes, EngineKind, ModelVersion, Registry};
use serde::Serialize;

use super::output::{json, line, percent};
use super::predict::{Failure, Item, ModelInfo, Named, Refusal as Refused, files, read};
use super::publish::Refusal;
use super::{SOME_FAILED, Which};
use crate::cli::SUCCESS;

/// What drawing may take: the picture at its own size, and a copy.
const DRAWING_BYTES: u64 = 512 << 20;

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// Image files, and folders whose image files are taken in the order of their names.
    #[arg(required = true, value_name = "IMAGE|FOLDER")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    which: Which,
    /// The class to look for: its label, or the number of its output [default: the likeliest].
    #[arg(long, env = "MLAAS_CLASS", value_name = "LABEL|N")]
    class: Option<String>,
    /// The PNG file to write, or a folder that is there [default: IMAGE-explained.png in the current folder].
    #[arg(long, env = "MLAAS_OUTPUT", value_name = "FILE|FOLDER")]
    output: Option<PathBuf>,
    /// Write over files that are there.
    #[arg(long, env = "MLAAS_FORCE", value_parser = FalseyValueParser::new())]
    force: bool,
    /// Print one JSON object for each image.
    #[arg(long, env = "MLAAS_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    file: String,
    model: ModelInfo<'a>,
    /// What the net says first: a class, or that it is none of them.
    prediction: Named,
    class: Explained<'a>,
    output: String,
    /// The picture's sides as it is shown, which `peak` counts in.
    width: u32,
    height: u32,
    /// Nothing where nothing in the picture speaks for the class.
    peak: Option<Peak>,
}

#[derive(Serialize)]
struct Explained<'a> {
    label: Option<&'a str>,
    index: u32,
    probability: f32,
}

#[derive(Clone, Copy, Serialize)]
struct Peak {
    x: f64,
    y: f64,
}

/// A version that explains its answers, and which class is asked about.
struct Explaining {
    version: ModelVersion,
    engine: EngineKind,
    explainer: Explainer,
    preprocessor: Preprocessor,
    class: Option<u32>,
}

/// An image explained, and the file with the picture of it.
struct Done {
    explanation: Explanation,
    shown: (u32, u32),
    peak: Option<Peak>,
}

impl Explain {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let items: Vec<Item> = self.paths.iter().flat_map(|path| files(path)).collect();
        let into_folder = self.output.as_deref().is_none_or(Path::is_dir);
        if items.len() > 1 && !into_folder {
            let text = format!(
                "{} images can't all be written to one --output: name a folder that is there, or leave it out",
                items.len()
            );
            return Err(Refusal::Usage(text).into());
        }
        let explaining = self.load()?;
        let mut written = HashSet::new();
        let mut failed = false;
        for (file, usable) in items {
            let output = self.place(&file);
            let done = usable.and_then(|()| {
                free(&file, &output, self.force, &written)?;
                let (done, png) = explaining.explain(&file)?;
                registry::write_whole(&output, &png)
                    .map_err(|error| Failure { code: "INTERNAL", message: super::sentence(&error.into()) })?;
                Ok(done)
            });
            match done {
                Ok(done) => {
                    self.answer(&explaining, file.display().to_string(), &output, done)?;
                    written.insert(output);
                }
                Err(error) => {
                    failed = true;
                    self.refuse(file.display().to_string(), error)?;
                }
            }
        }
        Ok(if failed { SOME_FAILED } else { SUCCESS })
    }

    fn load(&self) -> anyhow::Result<Explaining> {
        if self.which.computing.engine == EngineChoice::Openvino {
            let text = "a heat map takes gradients, which openvino does not give: leave --engine out";
            return Err(Refusal::Usage(text.to_owned()).into());
        }
        let device = self.which.computing.device.resolve()?;
        let version =
            Registry::open(&self.which.weights)?.load(&self.which.model, &self.which.model_version)?;
        let classes = &version.manifest.classes;
        let class = self.class.as_deref().map(|class| named(class, classes)).transpose()?;
        let engine = self.engine(&version, device)?;
        let explainer = Explainer::load(&version, engine, device)?;
        if let Some(layer) = explainer.layer() {
            eprintln!("model: the map is of what `{layer}` gives");
        }
        let preprocessor = Preprocessor::new(&version.manifest)?;
        Ok(Explaining { version, engine, explainer, preprocessor, class })
    }

    /// Whose net is looked into: the project's own where there is one, else TorchScript where that is allowed.
    fn engine(&self, version: &ModelVersion, device: Device) -> anyhow::Result<EngineKind> {
        let has = |engine| version.manifest.artifact(engine).is_some();
        let wanted = match self.which.computing.engine {
            EngineChoice::Auto if !has(EngineKind::Libtorch) && has(EngineKind::Torchscript) => {
                EngineChoice::Torchscript
            }
            EngineChoice::Auto => return Ok(EngineKind::Libtorch),
            wanted => wanted,
        };
        let chosen = engines::choose(version, wanted, device, self.which.computing.allow_torchscript);
        Ok(chosen.map_err(ModelError::from)?.0)
    }

    /// Where the picture of an image goes.
    fn place(&self, file: &Path) -> PathBuf {
        let mut name = file.file_stem().unwrap_or_default().to_owned();
        name.push("-explained.png");
        match &self.output {
            Some(output) if output.is_dir() => output.join(name),
            Some(output) => output.clone(),
            None => name.into(),
        }
    }

    fn answer(&self, explaining: &Explaining, file: String, output: &Path, done: Done) -> anyhow::Result<()> {
        let Done { explanation: Explanation { predictions, class, probability, .. }, .. } = done;
        let classes = &explaining.version.manifest.classes;
        let label =
            classes.labels.iter().find(|known| known.index == class).map(|known| known.label.as_str());
        let first = predictions.into_iter().next().context("the net names no class")?;
        if self.json {
            let (width, height) = done.shown;
            return json(&Answer {
                file,
                model: ModelInfo::of(&explaining.version, explaining.engine),
                prediction: first.into(),
                class: Explained { label, index: class, probability },
                output: output.display().to_string(),
                width,
                height,
                peak: done.peak,
            });
        }
        let class = label.map_or_else(|| format!("output {class}"), str::to_owned);
        line(&format!("{file}: {}", words(&first, &class, probability, done.peak, output)))
    }

    fn refuse(&self, file: String, error: Failure) -> anyhow::Result<()> {
        if self.json {
            return json(&Refused { file, error });
        }
        eprintln!("model: {file}: {}", error.message);
        Ok(())
    }
}

/// What was found, for people.
fn words(first: &Prediction, class: &str, probability: f32, peak: Option<Peak>, output: &Path) -> String {
    let share = percent(f64::from(probability));
    let said = match first.index {
        Some(_) if first.label == class => format!("{class} {share}"),
        _ => {
            format!("{} {}; explained is {class} {share}", first.label, percent(f64::from(first.probability)))
        }
    };
    let place = match peak {
        Some(Peak { x, y }) => format!("most of it at {x:.0}, {y:.0}"),
        None => "nothing in it speaks for that".to_owned(),
    };
    format!("{said}, {place}: {}", output.display())
}

/// The class of a label, capitals or not, else of an output's number.
fn named(text: &str, classes: &Classes) -> anyhow::Result<u32> {
    let with = |same: &dyn Fn(&str) -> bool| -> Vec<u32> {
        classes.labels.iter().filter(|class| same(&class.label)).map(|class| class.index).collect()
    };
    let exactly = with(&|label| label == text);
    let found = if exactly.is_empty() { with(&|label| label.eq_ignore_ascii_case(text)) } else { exactly };
    let count = classes.probabilities();
    match (found.as_slice(), text.parse::<u32>()) {
        (&[index], _) => Ok(index),
        ([], Ok(index)) if index < count => Ok(index),
        ([], Ok(_)) => {
            let text = format!("--class {text}: the outputs are numbered 0 to {}", count.saturating_sub(1));
            Err(Refusal::Usage(text).into())
        }
        ([], Err(_)) => {
            let labels: Vec<&str> = classes.labels.iter().map(|class| class.label.as_str()).collect();
            let text = format!("--class {text}: the model has no such label, but: {}", labels.join(", "));
            Err(Refusal::Usage(text).into())
        }
        (several, _) => {
            let text = format!("--class {text}: several outputs have that label: say which of {several:?}");
            Err(Refusal::Usage(text).into())
        }
    }
}

/// Whether the picture may be written there.
fn free(file: &Path, output: &Path, force: bool, written: &HashSet<PathBuf>) -> Result<(), Failure> {
    let taken = |message: String| Err(Failure { code: "ALREADY_EXISTS", message });
    let place = output.display();
    if written.contains(output) {
        return taken(format!(
            "its picture would take the place of another image's, {place}: name them apart"
        ));
    }
    let real = |path: &Path| path.canonicalize().ok();
    if real(output).is_some_and(|output| Some(output) == real(file)) {
        return taken(format!("its picture would take its own place, {place}: choose another --output"));
    }
    match output.symlink_metadata() {
        Ok(there) if !there.is_file() => {
            taken(format!("{place} is there, and is no file: choose another --output"))
        }
        Ok(_) if !force => taken(format!("{place} is there already: not without --force")),
        _ => Ok(()),
    }
}

impl Explaining {
    fn explain(&self, file: &Path) -> Result<(Done, Vec<u8>), Failure> {
        let bytes = read(file)?;
        let limits = ImageLimits::default();
        let prepared = self.preprocessor.placed(&bytes, &limits);
        let (pixels, placement) = prepared.map_err(|error| Failure::image(&error))?;
        let explanation = self.explainer.explain(&pixels, self.class).map_err(|error| match error {
            ExplainError::Nothing => Failure { code: "INVALID_ARGUMENT", message: error.to_string() },
            error => Failure { code: "INTERNAL", message: super::sentence(&error.into()) },
        })?;
        let drawing = ImageLimits { max_alloc_bytes: DRAWING_BYTES, ..limits };
        let shown = shown(&bytes, &drawing).map_err(|error| Failure::image(&error))?;
        drop(bytes);
        let peak = peak(&explanation.map, &placement, &shown).map(|place| Peak { x: place.x, y: place.y });
        let Shown { width, height, .. } = shown;
        let png = png(&drawn(shown, &explanation.map, &placement));
        let png = png.map_err(|error| Failure { code: "INTERNAL", message: error.to_string() })?;
        Ok((Done { explanation, shown: (width, height), peak }, png))
    }
}

fn png(picture: &Pixels) -> Result<Vec<u8>, image::ImageError> {
    let mut file = Cursor::new(Vec::new());
    PngEncoder::new_with_quality(&mut file, CompressionType::Fast, FilterType::Adaptive).write_image(
        &picture.data,
        picture.width,
        picture.height,
        ExtendedColorType::Rgb8,
    )?;
    Ok(file.into_inner())
}
