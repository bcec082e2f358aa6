//! `model quantize`: a version of 32-bit floats becomes one of 8-bit integers, which is faster. Both are asked the same images, and
//! where the answers are worse than is allowed nothing is written.

mod compare;
mod images;
mod measure;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::thread;

use clap::Args;
use clap::builder::FalseyValueParser;
use model::onnx;
use model_core::{Engine as _, Preprocessor, SampleError};
use model_openvino::quantize::{QuantizeError, Quantizer};
use model_openvino::{OpenVino, SATURATES, integers_are_exact};
use registry::{
    Artifact, Data, EngineKind, Manifest, Metric, ModelVersion, Parent, Precision, Registry, RegistryError,
    Sample, Select,
};
use serde::Serialize;

use super::output::{json, line, percent};
use super::progress;
use super::publish::{Published, Refusal, end_between_writes, publish};
use super::samples::{self, Samples};
use crate::cli::SUCCESS;
use compare::{Accuracy, Compared};
use images::Images;
use measure::{calibration, measure};

/// The artifact's name in its version's folder.
const FILE: &str = "model-int8.onnx";
/// As many images at least have to agree or not where none has a label.
const LEAST_IMAGES: usize = 200;

#[derive(Debug, Args)]
pub(super) struct Quantize {
    /// The model's name.
    #[arg(value_name = "MODEL")]
    model: String,
    /// Its version: a number, an alias, or `latest`.
    #[arg(default_value = "production", value_name = "VERSION")]
    version: Select,
    /// Images as the model will see: a folder of folders named as their labels, or of idx files; no image calibrates and measures.
    #[arg(long, env = "MLAAS_DATA", value_name = "FOLDER")]
    data: PathBuf,
    /// How many images calibrate. All others measure; of idx files, those of t10k do.
    #[arg(long, env = "MLAAS_IMAGES", default_value = "300", value_name = "N")]
    images: NonZeroU32,
    /// Fixes which they are.
    #[arg(long, env = "MLAAS_SEED", default_value_t = 1, value_name = "N")]
    seed: u64,
    /// The most by which accuracy may drop, in points of a hundred.
    #[arg(long, env = "MLAAS_MAX_DROP", default_value = "0.5", value_name = "POINTS", value_parser = points)]
    max_drop: f64,
    /// The least share of images whose answer stays, in percent: what decides where too few have a label.
    #[arg(long, env = "MLAAS_MIN_AGREEMENT", value_name = "PERCENT", value_parser = points)]
    min_agreement: Option<f64>,
    /// The model versions: a folder, or s3://BUCKET/PREFIX, gs://, az://.
    #[arg(long, env = "MLAAS_WEIGHTS", default_value = "weights", value_name = "FOLDER|URL")]
    weights: PathBuf,
    /// Print one JSON object.
    #[arg(long, env = "MLAAS_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

fn points(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.01..=100.0).contains(number));
    number.ok_or_else(|| "give a number from 0.01 to 100".to_owned())
}

#[derive(Serialize)]
struct Report<'a> {
    model: Published<'a>,
    parent: Published<'a>,
    /// Layers that compute in integers, and those that could not.
    layers: usize,
    other_layers: usize,
    calibration_images: usize,
    #[serde(flatten)]
    compared: &'a Compared,
    /// Whether it is the version that is served from now on.
    production: bool,
}

impl Quantize {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        end_between_writes()?;
        let registry = Registry::open(&self.weights)?;
        let version = registry.load(&self.model, &self.version)?;
        let parent = &version.manifest;
        let title = format!("{} version {}", parent.name, parent.version);
        if !integers_are_exact()? {
            return Err(Refusal::Unfit(format!("{title} can't be measured here: {SATURATES}")).into());
        }
        let (file, onnx) = source(&version)?;
        let refused = |error| match error {
            QuantizeError::Unfit(_) | QuantizeError::Unread(_) => {
                anyhow::Error::from(Refusal::Unfit(format!("{file} can't be quantised: {error}")))
            }
            error => error.into(),
        };
        let quantizer = Quantizer::new(&file, &onnx).map_err(refused)?;
        let images = Images::find(&self.data, &parent.classes, self.images.get() as usize, self.seed)?;
        self.check(&images)?;
        let preprocessor = Preprocessor::new(parent)?;
        let threads = thread::available_parallelism().map_or(1, usize::from);

        let (input, outputs) = (&parent.input, parent.classes.outputs);
        let f32 = OpenVino::load(&file, &onnx, input, outputs)?;
        let (pixels, digest) = calibration(&images, &preprocessor, threads)?;
        let bar = progress::bar(2 * pixels.len(), true);
        bar.set_message("calibration");
        let on = |done: usize| bar.set_position(done as u64);
        let calibrated =
            quantizer.calibrate(input, f32.fixed_batch(), &pixels, threads, &on).map_err(refused)?;
        bar.finish_and_clear();
        let count = pixels.len();
        drop(pixels);
        let bytes = quantizer.write(&calibrated).map_err(refused)?;
        let int8 = OpenVino::load(FILE, &bytes, input, outputs)?;

        let compared = measure(&images, [&f32, &int8], parent, &preprocessor, threads)?;
        self.judge(&title, &compared)?;
        let manifest = self.manifest(&version, &compared, count, digest);
        let samples = carried_over(&version, &manifest, &int8)?;
        let (made, production) = publish(&registry, manifest, &bytes, &samples)?;
        let (layers, other_layers) = (quantizer.layers(), quantizer.others());
        if self.json {
            json(&Report {
                model: Published::of(&made),
                parent: Published::of(&version),
                layers,
                other_layers,
                calibration_images: count,
                compared: &compared,
                production,
            })?;
        } else {
            let others = if other_layers > 0 {
                format!(", {other_layers} are left as they are")
            } else {
                String::new()
            };
            line(&format!(
                "{title}: {layers} layers in 8-bit integers{others}, calibrated on {count} images"
            ))?;
            line(&words(&compared))?;
            line(&Published::of(&made).words(production))?;
        }
        Ok(SUCCESS)
    }

    /// How many labelled images can tell whether accuracy drops by more than is allowed.
    fn least(&self) -> usize {
        (100.0 / self.max_drop).ceil() as usize
    }

    /// Whether the images can tell what is asked, before anything is computed.
    fn check(&self, images: &Images) -> Result<(), Refusal> {
        let (least, measured) = (self.least(), images.measured.len());
        let labelled = images.measured.iter().filter(|image| image.label.is_some()).count();
        let (data, calibration) = (self.data.display(), images.calibration.len());
        if labelled >= least || (self.min_agreement.is_some() && measured >= LEAST_IMAGES) {
            return Ok(());
        }
        let beside = format!("{data} has {measured} images beside the {calibration} that calibrate");
        Err(Refusal::Usage(if self.min_agreement.is_some() {
            format!(
                "{beside}, and telling whether answers stay takes {LEAST_IMAGES}: add some, or calibrate on fewer (--images)"
            )
        } else {
            format!(
                "{beside}, {labelled} of them in folders named as labels of the model, and telling whether accuracy drops by {} points \
                 takes {least} such: add some, calibrate on fewer (--images), allow more (--max-drop), or let it do that answers stay, \
                 whether right or wrong (--min-agreement 95)",
                self.max_drop
            )
        }))
    }

    /// Whether the answers are good enough.
    fn judge(&self, title: &str, compared: &Compared) -> Result<(), Refusal> {
        let refuse = |what: String| {
            Err(Refusal::Unfit(format!(
                "{title} is not quantised: {what}. Other calibration images, or more (--images), may help. Nothing was written\n{}",
                words(compared)
            )))
        };
        let accuracy = compared.accuracy.as_ref().filter(|accuracy| accuracy.images >= self.least());
        if accuracy.is_none() && (self.min_agreement.is_none() || compared.images < LEAST_IMAGES) {
            return refuse("too few of the images could be used to tell".to_owned());
        }
        if let Some(accuracy) = accuracy
            && accuracy.drop * 100.0 > self.max_drop
        {
            return refuse(format!(
                "its accuracy would drop by {:.2} points, and --max-drop allows {}",
                accuracy.drop * 100.0,
                self.max_drop
            ));
        }
        match self.min_agreement {
            Some(least) if compared.agreement * 100.0 < least => refuse(format!(
                "{} of its answers would stay, and --min-agreement asks for {least} %",
                percent(compared.agreement)
            )),
            _ => Ok(()),
        }
    }

    /// The manifest of the version that is made; its number is not known yet.
    fn manifest(
        &self,
        version: &ModelVersion,
        compared: &Compared,
        count: usize,
        digest: String,
    ) -> Manifest {
        let parent = &version.manifest;
        let (name, number, seed) = (&parent.name, parent.version, self.seed);
        let folder = self.data.display();
        let command =
            format!("model quantize {name} {number} --data {folder} --images {} --seed {seed}", self.images);
        let metric = |name: &str, value: f64, images: usize| Metric {
            name: name.to_owned(),
            value,
            artifact: None,
            data: format!("{images} images of {folder} that calibration did not see"),
            command: command.clone(),
        };
        let mut metrics = Vec::new();
        if let Some(Accuracy { images, f32, int8, .. }) = compared.accuracy {
            metrics.push(metric("accuracy", int8, images));
            metrics.push(metric("accuracy of the parent", f32, images));
        }
        metrics.push(metric("share of the parent's answers that stay", compared.agreement, compared.images));
        let sha256 = version.digest.trim_start_matches("sha256:").to_owned();
        Manifest {
            artifacts: vec![Artifact {
                engine: EngineKind::Openvino,
                file: FILE.to_owned(),
                architecture: None,
                precision: Precision::Int8,
                tolerance: None,
                fetch: None,
            }],
            metrics,
            parents: vec![Parent { name: name.clone(), version: number, sha256 }],
            data: vec![Data {
                name: format!("list of {count} calibration images (seed {seed})"),
                sha256: digest,
            }],
            configuration: None,
            // Known when the net is tried on them.
            samples: Vec::new(),
            origin: format!("{}; quantised", parent.origin),
            ..parent.clone()
        }
    }
}

/// The samples that the net of integers calls what the other one does; of the others it is said what they are called.
fn carried_over(version: &ModelVersion, manifest: &Manifest, int8: &OpenVino) -> anyhow::Result<Samples> {
    let samples = version.samples()?.into_iter();
    let samples: Samples = samples.map(|(sample, content)| (sample.clone(), content.bytes)).collect();
    let tried = samples::tried(&mut *int8.share()?, manifest, &samples)?;
    let mut carried = Samples::new();
    for (sample, tried) in samples.into_iter().zip(tried) {
        let (Sample { file, label }, _) = &sample;
        match tried {
            Ok(()) => carried.push(sample),
            Err(SampleError::Named { found, .. }) => {
                eprintln!(
                    "model: {file} is called {found} in 8-bit integers, and not {label}: it is left out"
                );
            }
            Err(error) => eprintln!("model: {file} is left out: {}", ::cli::sentence(&error)),
        }
    }
    Ok(carried)
}

/// For people.
fn words(compared: &Compared) -> String {
    let mut text = format!(
        "{:>8}  of {} answers stay (95 % interval {} to {})",
        percent(compared.agreement),
        compared.images,
        percent(compared.agreement_interval[0]),
        percent(compared.agreement_interval[1])
    );
    if let Some(accuracy) = &compared.accuracy {
        let [low, high] = accuracy.drop_interval.map(|drop| drop * 100.0);
        let (f32, int8, images) = (percent(accuracy.f32), percent(accuracy.int8), accuracy.images);
        let drop =
            format!("a drop of {:.2} points (95 % interval {low:.2} to {high:.2})", accuracy.drop * 100.0);
        text += &format!("\n{f32:>8}  accuracy in 32-bit floats ({images} images)");
        text += &format!("\n{int8:>8}  accuracy in 8-bit integers, {drop}");
    }
    text
}

/// A version's net as ONNX: as it lies there, or written by the project's own net.
fn source(version: &ModelVersion) -> anyhow::Result<(String, Vec<u8>)> {
    let manifest = &version.manifest;
    let own = version.artifacts().any(|artifact| artifact.engine == EngineKind::Libtorch);
    match version.read(EngineKind::Openvino) {
        Ok(Some((_, content))) => Ok((content.path.display().to_string(), content.bytes)),
        Ok(None) | Err(RegistryError::NotFetched { .. }) if own => {
            Ok((format!("the net of {} version {}", manifest.name, manifest.version), onnx::export(version)?))
        }
        Ok(None) => {
            let text = "has no ONNX file, and is no net of the project's own: import it as ONNX";
            Err(Refusal::Unfit(format!("{} version {} {text}", manifest.name, manifest.version)).into())
        }
        Err(error) => Err(error.into()),
    }
}
