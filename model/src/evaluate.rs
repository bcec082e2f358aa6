//! How well a version does on labelled images. Each image goes the way of a user's: a file, preprocessed as the manifest says, shown to an
//! instance of the engine, and answered as it is served.
//!
//! ```text
//! Images --file--> Pixels --logits--> Judgement, one an image --> Evaluation: Confusion, Reliability, Share
//! ```

mod figures;
mod images;
mod judge;
mod reliability;

use std::collections::BTreeMap;
use std::path::PathBuf;

use model_core::{Engine, EngineError, ImageLimits, Pixels, PreprocessError, Preprocessor};
use registry::{Calibration, Classes, Manifest};
use serde::Serialize;

use crate::calibration::{CalibrationError, fit_temperature};
use crate::dataset::Dataset;
use crate::parallel::side_by_side;
use crate::transfer::folder::FolderError;
use crate::variants::Variant;

pub use figures::{Averages, ClassFigures, Confusion, Pair, Paired, Share, paired, wilson};
pub use images::{Image, Images};
pub use judge::{Judgement, Truth};
pub use reliability::{BINS, Bin, Reliability, Sure};

use judge::{Judge, exclusive, sure};

/// Images shown to an instance at a time ...
const BATCH: usize = 128;
/// ... and at most so many numbers of them: of photographs fewer.
const NUMBERS: usize = 1 << 22;

/// Why there is no evaluation.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The data has a label that the model has no class for.
    #[error(
        "image {image} has label {label}, and the model has no class of that number: this data is not the model's"
    )]
    Label {
        /// The image's place in the data, from 0.
        image: usize,
        /// Its label.
        label: u8,
    },
    /// A folder cannot be listed.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Folders are named as none of the classes.
    #[error(
        "{root}: the folders {folders} are named as no class of {model}, whose classes are {classes}: rename them or take them out, and give images of none of the classes by --other FOLDER"
    )]
    Unknown {
        /// The folder in which they lie.
        root: PathBuf,
        /// The version.
        model: String,
        /// Their names.
        folders: String,
        /// The version's classes.
        classes: String,
    },
    /// There is nothing to show.
    #[error("{root} holds no image of a class: they lie in {root}/<class>/, in a folder for each class")]
    NoImage {
        /// The folder.
        root: PathBuf,
    },
    /// There is no image of none of the classes.
    #[error("{root} holds no file, neither itself nor in its folders")]
    NoOther {
        /// The folder.
        root: PathBuf,
    },
    /// No image of a class could be answered.
    #[error("none of the {images} images of the classes could be answered: the first, {name}: {reason}")]
    NoneUsable {
        /// How many there are.
        images: usize,
        /// One of them.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The manifest asks for a preprocessing that this build has not.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// No temperature can be fitted.
    #[error("no temperature can be fitted")]
    Calibration(#[from] CalibrationError),
    /// There is no temperature for such outputs.
    #[error(
        "no temperature can be fitted: one goes with outputs of which softmax, or sigmoid of a single one, makes probabilities"
    )]
    NoTemperature,
}

impl EvaluateError {
    /// Whether other options or other names would do.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Unknown { .. } | Self::NoImage { .. } | Self::NoOther { .. } | Self::NoTemperature
        )
    }
}

/// How the images of idx files are shown.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What is made of each image before it is shown.
    pub variant: Variant,
    /// Fixes what a variant draws.
    pub seed: u64,
    /// Instances of the engine side by side, each on a thread of its own.
    pub instances: usize,
}

/// What was measured. All of it but `others` is of images of the classes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Share of images whose first answer is their class, from 0 to 1. One that is called none of the classes is wrong.
    pub accuracy: f64,
    /// Its 95 % interval, see [`wilson`].
    pub accuracy_interval: [f64; 2],
    /// How many of them.
    pub correct: usize,
    /// Of how many.
    pub images: usize,
    /// Share whose class is the likeliest, also of those that are called none of them.
    pub top1: f64,
    /// Share whose class is among the five likeliest, the same way.
    pub top5: f64,
    /// Those that are called none of the classes; none where the version never does.
    pub rejected: Option<Share>,
    /// Share of the others whose answer is right; none where there are none.
    pub selective_accuracy: Option<f64>,
    /// Images of none of the classes that are called so, as they should be; none where none was shown.
    pub others: Option<Share>,
    /// The mean negative log-likelihood of the images' classes in nats, as it is served; see [`Reliability::loss`].
    pub loss: Option<f64>,
    /// How sure the answers are.
    pub calibration: Calibrated,
    /// Means over the classes.
    pub macro_average: Averages,
    /// Each class's part, in the order of the manifest's labels.
    pub classes: Vec<ClassFigures>,
    /// Who is taken for whom.
    pub confusion: Confusion,
    /// The images that could not be answered. They count nowhere else.
    pub failed: Vec<Failed>,
}

/// How sure answers are, against how often they are right: without a temperature, and with the manifest's and a fitted one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibrated {
    /// At temperature 1; none where the version knows nothing of any image.
    pub before: Option<Reliability>,
    /// The manifest's temperature, if it has one.
    pub temperature: Option<f32>,
    /// With it, as it is served; none where there is none.
    pub after: Option<Reliability>,
    /// With one that is fitted on these images, if it was asked for.
    pub fitted: Option<Fitted>,
}

/// A temperature, and what it does to the images that it is fitted on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fitted {
    /// By which outputs are divided.
    pub temperature: f64,
    /// With it.
    #[serde(flatten)]
    pub reliability: Reliability,
}

/// An image that could not be answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// Its name.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
    /// Its place among those that were shown.
    #[serde(skip)]
    pub image: usize,
}

/// An evaluation, and the judgement of each image that could be answered, in their order.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// The figures.
    pub evaluation: Evaluation,
    /// What they are made of.
    pub judgements: Vec<Judgement>,
}

/// Shows the images of idx files to instances of the engine: what training measures its result by. `on` hears how many are done.
///
/// # Errors
/// As [`measure`], and a label without a class.
pub fn evaluate(
    engine: &dyn Engine,
    manifest: &Manifest,
    data: &Dataset,
    options: &Options,
    on: &mut dyn FnMut(usize),
) -> Result<Evaluation, EvaluateError> {
    let Options { variant, seed, instances } = *options;
    let images = Images::of_dataset(data, "images", &manifest.classes)?.dressed(variant, seed);
    Ok(measure(engine, manifest, &images, instances, false, on)?.evaluation)
}

/// Shows all images to so many instances of the engine, each on a thread of its own, and fits a temperature on them if `fit` says so; `on`
/// hears how many are done. An image that can't be answered is passed over and told.
///
/// # Errors
/// An engine that fails, or no image of a class that can be answered.
pub fn measure(
    engine: &dyn Engine,
    manifest: &Manifest,
    images: &Images<'_>,
    instances: usize,
    fit: bool,
    on: &mut dyn FnMut(usize),
) -> Result<Evaluated, EvaluateError> {
    let input = &manifest.input;
    let most = NUMBERS / (input.size as usize * input.size as usize * input.channels.max(1) as usize).max(1);
    // Of few images each instance gets its part.
    let batch = most.clamp(1, BATCH).min(images.list().len().div_ceil(instances.max(1)).max(1));
    let (judge, preprocessor) = (Judge::new(manifest), Preprocessor::new(manifest)?);
    let show = Show { judge: &judge, preprocessor: &preprocessor, images, keep: fit };
    let list = images.list();
    let batches: Vec<(usize, &[Image])> =
        list.chunks(batch).enumerate().map(|(place, images)| (place * batch, images)).collect();
    let instances: Vec<Box<dyn Engine>> =
        (0..instances.clamp(1, batches.len().max(1))).map(|_| engine.share()).collect::<Result<_, _>>()?;
    let mut answered: BTreeMap<usize, Vec<Answered>> = BTreeMap::new();
    let mut done = 0;
    let ask = |engine: &mut Box<dyn Engine>, &(first, batch): &(usize, &[Image])| {
        show.batch(&mut **engine, first, batch)
    };
    side_by_side(&batches, instances, ask, |place, batch| {
        let batch = batch?;
        done += batch.len();
        answered.insert(place, batch);
        on(done);
        Ok::<_, EvaluateError>(())
    })?;
    sum_up(&judge, images, answered.into_values().flatten(), fit)
}

/// An image's judgement, and its outputs if they are kept; or why there is none.
type Answered = Result<(Judgement, Vec<f32>), String>;

/// What all instances look at.
struct Show<'a> {
    judge: &'a Judge,
    preprocessor: &'a Preprocessor,
    images: &'a Images<'a>,
    keep: bool,
}

impl Show<'_> {
    fn batch(
        &self,
        engine: &mut dyn Engine,
        first: usize,
        images: &[Image],
    ) -> Result<Vec<Answered>, EngineError> {
        let pixels: Vec<Result<Pixels, String>> = images
            .iter()
            .map(|image| {
                let file = self.images.file(image)?;
                let limits = ImageLimits::default();
                self.preprocessor.decode(&file, &limits).map_err(|error| error.to_string())
            })
            .collect();
        let good: Vec<&Pixels> = pixels.iter().filter_map(|pixels| pixels.as_ref().ok()).collect();
        let mut answers = logits(engine, &good)?.into_iter();
        let answer = |(place, pixels): (usize, Result<Pixels, String>)| {
            let pixels = pixels?;
            let logits = answers.next().unwrap_or_else(|| Err("the engine gave no answer".into()))?;
            let judgement = self.judge.judge(first + place, images[place].truth, &pixels, &logits);
            Ok((judgement, if self.keep { logits } else { Vec::new() }))
        };
        Ok(pixels.into_iter().enumerate().map(answer).collect())
    }
}

/// The outputs for each image. One for which there are no numbers does not spoil the others'.
fn logits(engine: &mut dyn Engine, batch: &[&Pixels]) -> Result<Vec<Result<Vec<f32>, String>>, EngineError> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    match engine.logits(batch) {
        Ok(rows) => Ok(rows.into_iter().map(Ok).collect()),
        Err(EngineError::NotANumber { .. }) if batch.len() == 1 => {
            Ok(vec![Err("the net answers with something that is no number".into())])
        }
        Err(EngineError::NotANumber { .. }) => {
            let alone: Result<Vec<_>, _> = batch.iter().map(|image| logits(engine, &[image])).collect();
            Ok(alone?.into_iter().flatten().collect())
        }
        Err(error) => Err(error),
    }
}

fn sum_up(
    judge: &Judge,
    images: &Images<'_>,
    answered: impl Iterator<Item = Answered>,
    fit: bool,
) -> Result<Evaluated, EvaluateError> {
    let classes = judge.classes();
    let (mut judgements, mut failed, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for (image, answered) in answered.enumerate() {
        match answered {
            Ok((judgement, logits)) => {
                if fit && let Truth::Class(truth) = judgement.truth {
                    rows.push((truth, logits));
                }
                judgements.push(judgement);
            }
            Err(reason) => failed.push(Failed { file: images.list()[image].name.clone(), reason, image }),
        }
    }
    let (own, others): (Vec<&Judgement>, Vec<&Judgement>) =
        judgements.iter().partition(|judgement| judgement.truth != Truth::Other);
    if own.is_empty() {
        let first = failed.into_iter().next();
        let (name, reason) = first.map(|failed| (failed.file, failed.reason)).unwrap_or_default();
        let count = images.list().iter().filter(|image| image.truth != Truth::Other).count();
        return Err(EvaluateError::NoneUsable { images: count, name, reason });
    }
    let count = |of: &dyn Fn(&Judgement) -> bool| own.iter().filter(|judgement| of(judgement)).count();
    let share = |of: &dyn Fn(&Judgement) -> bool| count(of) as f64 / own.len() as f64;
    let confusion = Confusion::of(&judgements, classes.labels.len());
    let figures = confusion.classes(classes);
    let (correct, rejected) = (count(&Judgement::is_right), count(&|judgement| judgement.answer.is_none()));
    let reliability = |sure: fn(&Judgement) -> Option<Sure>| {
        Reliability::of(&own.iter().filter_map(|judgement| sure(judgement)).collect::<Vec<_>>())
    };
    let (before, after) = (reliability(|image| image.before), reliability(|image| image.after));
    let temperature = classes.calibration.map(|calibration| calibration.temperature);
    let evaluation = Evaluation {
        accuracy: correct as f64 / own.len() as f64,
        accuracy_interval: wilson(correct, own.len()),
        correct,
        images: own.len(),
        top1: share(&|judgement| judgement.top[0]),
        top5: share(&|judgement| judgement.top[1]),
        rejected: classes.reject.as_ref().and_then(|_| Share::of(rejected, own.len())),
        selective_accuracy: Share::of(correct, own.len() - rejected).map(|share| share.share),
        others: Share::of(others.iter().filter(|judgement| judgement.is_right()).count(), others.len()),
        loss: after.as_ref().and_then(|after| after.loss),
        calibration: Calibrated {
            before,
            temperature,
            after: temperature.and(after),
            fitted: if fit { Some(fitted(classes, &rows)?) } else { None },
        },
        macro_average: Averages::of(&figures),
        classes: figures,
        confusion,
        failed,
    };
    Ok(Evaluated { evaluation, judgements })
}

/// A temperature for images, each with its class and its outputs, and what it does to them.
fn fitted(classes: &Classes, rows: &[(usize, Vec<f32>)]) -> Result<Fitted, EvaluateError> {
    let mut labels = Vec::new();
    let mut logits: Vec<f32> = Vec::new();
    let mut outputs = 0;
    for (truth, row) in rows {
        let row = exclusive(row, classes.activation).ok_or(EvaluateError::NoTemperature)?;
        outputs = row.len();
        labels.push(classes.labels[*truth].index as usize);
        logits.extend(row.iter());
    }
    let temperature = fit_temperature(&logits, outputs, &labels)?;
    let served =
        Classes { calibration: Some(Calibration { temperature: temperature as f32 }), ..classes.clone() };
    let sures: Vec<Sure> = rows.iter().filter_map(|(truth, row)| sure(row, *truth, &served)).collect();
    let reliability = Reliability::of(&sures).ok_or(CalibrationError::Empty)?;
    Ok(Fitted { temperature, reliability })
}

#[cfg(test)]
mod tests;
