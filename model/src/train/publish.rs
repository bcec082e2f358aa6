//! From a finished run to a model version in the registry: weights, manifest, and the accuracy as the predictor has it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use model_core::Preprocessor;
use registry::manifest::WEIGHTS_FILE;
use registry::{
    Activation, Architecture, Artifact, Calibration, Class, Classes, Content, FileEntry, Fit, Input,
    Interpolation, Layout, Manifest, Metric, ModelVersion, Order, Polarity, Registry, Reject, Schema,
};
use tch::{Kind, Tensor};

use super::checkpoint::{restore, tensors};
use super::config::TrainConfig;
use super::fingerprint::fingerprint;
use super::run::Net;
use super::sgd::Named;
use super::{TrainError, TrainOutput, augment, clothes, outliers};
use crate::calibration::fit_temperature;
use crate::dataset::Dataset;
use crate::evaluate::{self, Evaluation, evaluate};
use crate::nets::fashion_cnn::SIZE;
use crate::transfer::reject::{self, Threshold};
use crate::variants::Variant;
use crate::{Device, Predictor, onnx};

const CONFIG_FILE: &str = "train.yaml";

/// The net that is trained.
const ARCHITECTURE: Architecture = Architecture::FashionCnn;

/// Where a version is to stand: `<root>/<model>/<version>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The registry's folder.
    pub root: PathBuf,
    /// The version's number.
    pub version: u32,
}

impl Place {
    /// Reads `<root>/<model>/<version>` from a path.
    ///
    /// # Errors
    /// If the path does not end in the model's name and a number.
    pub fn parse(path: &Path, model: &str) -> Result<Self, TrainError> {
        let refuse = || TrainError::Output { path: path.to_owned(), model: model.to_owned() };
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let version: u32 = name.parse().map_err(|_| refuse())?;
        let folder = path.parent().ok_or_else(refuse)?;
        let root = folder.parent().ok_or_else(refuse)?;
        if version == 0 || version.to_string() != name || folder.file_name() != Some(model.as_ref()) {
            return Err(refuse());
        }
        let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
        Ok(Self { root: root.to_owned(), version })
    }

    /// The first version after all that are there.
    #[must_use]
    pub fn next(root: &Path, model: &str) -> Self {
        let versions = Registry::open(root).and_then(|registry| registry.versions(model));
        let last = versions.ok().and_then(|versions| versions.last().copied()).unwrap_or(0);
        Self { root: root.to_owned(), version: last + 1 }
    }

    /// The version's folder.
    #[must_use]
    pub fn folder(&self, model: &str) -> PathBuf {
        self.root.join(model).join(self.version.to_string())
    }
}

/// A finished run, and what it was made of.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    /// Its configuration.
    pub config: &'a TrainConfig,
    /// What came out.
    pub output: &'a TrainOutput,
    /// The images that it was given, those kept out included.
    pub data: &'a Dataset,
    /// Images that nothing was chosen by.
    pub test: &'a Dataset,
    /// The command line that made it.
    pub command: &'a str,
}

/// Writes the best weights of a run as a version: with the temperature and the threshold that suit the images kept out, with
/// its accuracy on the test images, and its configuration. An existing version is replaced if `force` says so.
///
/// # Errors
/// An evaluation that fails, an existing version, a full disk.
pub fn publish(
    run: &Finished<'_>,
    place: &Place,
    force: bool,
) -> Result<(ModelVersion, Evaluation), TrainError> {
    let config = run.config;
    let chosen = Chosen::of(run)?;
    let bytes = tensors(chosen.weights.iter().map(|(name, tensor)| (name.clone(), tensor)), None)?;
    let content = Content { path: place.folder(&config.model).join(WEIGHTS_FILE), bytes };
    let mut manifest = Manifest {
        version: place.version,
        data: fingerprint(run.data),
        configuration: Some(CONFIG_FILE.into()),
        origin: origin(run),
        files: BTreeMap::from([(WEIGHTS_FILE.to_owned(), FileEntry::of_bytes(&content.bytes))]),
        ..manifest(config)
    };
    manifest.classes.calibration = Some(Calibration { temperature: chosen.temperature as f32 });
    // Measured by the predictor that will serve it, from the file that will be shipped.
    let predictor = Predictor::from_weights(&manifest, ARCHITECTURE, &content, Device::Cpu)?;
    // Training computes on all cores within an operation.
    let how = evaluate::Options { variant: Variant::Raw, seed: 0, instances: 1 };
    let evaluation = evaluate(&predictor, &manifest, run.test, &how, &mut |_| {})?;
    let metric = |name: &str, value: f64, data: String, command: String| Metric {
        name: name.into(),
        value,
        artifact: None,
        data,
        command,
    };
    manifest.metrics = vec![metric(
        "accuracy",
        evaluation.accuracy,
        format!("the {} test images (t10k) of {}", evaluation.images, config.origin),
        format!("model evaluate --model {} --model-version {}", config.model, place.version),
    )];
    if let Some(threshold) = chosen.threshold {
        let rejected = |value, data: String| metric("rejected", value, data, run.command.to_owned());
        let too = if config.finish.epochs > 0 { ", as they are and in other clothes" } else { "" };
        let kept_out = format!("the {} images kept out of training{too}", config.validation_images);
        manifest.metrics.push(rejected(threshold.own_rejected, kept_out));
        let others = threshold
            .others_rejected
            .map(|value| rejected(value, format!("{OUTLIERS} drawn pictures of other things")));
        manifest.metrics.extend(others);
    }
    let settings = serde_yaml::to_string(config)
        .map_err(|error| TrainError::Data(format!("the configuration can't be written: {error}")))?;
    let files = [(WEIGHTS_FILE, &content.bytes[..]), (CONFIG_FILE, settings.as_bytes())];
    Ok((put(manifest, &files, place, force)?, evaluation))
}

/// Writes a version; one that is there is replaced if `force` says so.
fn put(
    manifest: Manifest,
    files: &[(&str, &[u8])],
    place: &Place,
    force: bool,
) -> Result<ModelVersion, TrainError> {
    let write = |path: &Path| {
        let path = path.to_owned();
        move |source| TrainError::Write { path, source }
    };
    std::fs::create_dir_all(&place.root).map_err(write(&place.root))?;
    let registry = Registry::open(&place.root)?;
    let folder = place.folder(&manifest.name);
    // Its name begins with a dot, so it is no version while it waits.
    let replaced = folder.with_file_name(format!(".{}.replaced", place.version));
    let replacing = force && folder.exists();
    if replacing {
        std::fs::rename(&folder, &replaced).map_err(write(&folder))?;
    }
    match registry.publish(manifest, files) {
        Ok(version) => {
            if replacing {
                std::fs::remove_dir_all(&replaced).map_err(write(&replaced))?;
            }
            Ok(version)
        }
        Err(error) => {
            if replacing {
                std::fs::rename(&replaced, &folder).map_err(write(&folder))?;
            }
            Err(error.into())
        }
    }
}

/// What is chosen by the images kept out.
struct Chosen {
    weights: Named,
    temperature: f64,
    threshold: Option<Threshold>,
}

/// How many pictures of other things the threshold is chosen by. They are none of those learned from.
const OUTLIERS: usize = 2000;

impl Chosen {
    /// The best weights, but for the bias of the output for none of the classes: so that it has more than half of the
    /// probability where the picture is to be rejected.
    fn of(run: &Finished<'_>) -> Result<Self, TrainError> {
        let config = run.config;
        let (_, kept_out) = augment::split(run.data.len(), config.validation_images, config.seed);
        let kept_out = run.data.select(kept_out.into_iter().map(|place| place as usize));
        let mut net = Net::new(config, tch::Device::Cpu)?;
        restore(Path::new(WEIGHTS_FILE), &net.variables, &run.output.best)?;
        let (logits, labels) = net.logits(&kept_out, config)?;
        let labels: Vec<i64> = Vec::try_from(&labels)?;
        let labels: Vec<usize> = labels.into_iter().filter_map(|label| usize::try_from(label).ok()).collect();
        let temperature = fit_temperature(&onnx::numbers(&logits)?, config.outputs(), &labels)?;
        let threshold = if config.outliers.images > 0 {
            let preprocessor = Preprocessor::new(&manifest(config))?;
            let others = outliers::make(OUTLIERS, !config.seed, &kept_out, &preprocessor)?;
            let others = Dataset { pixels: others, labels: vec![0; OUTLIERS], ..kept_out };
            let (others, _) = net.logits(&others, config)?;
            let margins = |logits: &Tensor| margins(logits, config.labels.len() as i64, temperature);
            let mut own = margins(&logits)?;
            if config.finish.epochs > 0 {
                let dressed = clothes::dress(&kept_out, config.seed, &preprocessor)?;
                own.extend(margins(&net.logits(&dressed, config)?.0)?);
            }
            reject::choose(&own, &margins(&others)?, config.outliers.most)
        } else {
            None
        };
        if let Some(threshold) = &threshold {
            net.raise_last(threshold.score * temperature)?;
        }
        let weights = std::mem::take(&mut net.variables);
        Ok(Self { weights, temperature, threshold })
    }
}

/// How much more the classes have than the output for none of them, as logarithms of probabilities.
fn margins(logits: &Tensor, classes: i64, temperature: f64) -> Result<Vec<f64>, TrainError> {
    let logits = logits.f_to_kind(Kind::Double)?.f_mul_scalar(1.0 / temperature)?;
    let own = logits.f_narrow(1, 0, classes)?.f_logsumexp(&[1_i64][..], false)?;
    Ok(Vec::try_from(own.f_sub(&logits.f_select(1, classes)?)?)?)
}

fn origin(run: &Finished<'_>) -> String {
    let (config, epochs) = (run.config, &run.output.epochs);
    let best = epochs.iter().rev().find(|epoch| epoch.best).map_or(0, |epoch| epoch.epoch);
    format!(
        "{}; trained by `{}` with seed {}, the weights of epoch {best} of {}",
        config.origin,
        run.command,
        config.seed,
        config.all_epochs()
    )
}

/// What a version says whatever comes out of a run.
pub(super) fn manifest(config: &TrainConfig) -> Manifest {
    let labels = config.labels.iter().zip(0..).map(|(label, index)| Class { index, label: label.clone() });
    // Where there is no output for it, the probabilities sum to 1 but for an image in which there is nothing.
    let reject = if config.outliers.images > 0 { &config.outliers.label } else { "nothing" };
    Manifest {
        schema: Schema::default(),
        name: config.model.clone(),
        version: 1,
        artifacts: vec![Artifact::libtorch(WEIGHTS_FILE, ARCHITECTURE)],
        classes: Classes {
            outputs: config.outputs() as u32,
            activation: Activation::Softmax,
            labels: labels.collect(),
            reject: Some(Reject { label: reject.into(), threshold: 0.5 }),
            calibration: None,
        },
        input: Input {
            size: SIZE as u32,
            channels: 1,
            order: Order::Rgb,
            layout: Layout::Nchw,
            fit: Fit::TrimAndPad,
            crop: None,
            interpolation: Interpolation::Lanczos,
            polarity: Polarity::LightOnDark,
            mean: vec![(config.normalize.mean * 255.0) as f32],
            std: vec![(config.normalize.std * 255.0) as f32],
        },
        metrics: Vec::new(),
        parents: Vec::new(),
        data: Vec::new(),
        configuration: None,
        samples: Vec::new(),
        license: config.license.clone(),
        origin: config.origin.clone(),
        files: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_names_its_model_and_version() {
        let place = Place::parse(Path::new("weights/fashion-mnist/3"), "fashion-mnist").unwrap();
        assert_eq!(place, Place { root: "weights".into(), version: 3 });
        assert_eq!(place.folder("fashion-mnist"), Path::new("weights/fashion-mnist/3"));
        assert_eq!(Place::parse(Path::new("m/1"), "m").unwrap().root, Path::new("."));
        for wrong in ["weights/fashion-mnist", "weights/other/3", "3", "weights/fashion-mnist/0", "w/m/03"] {
            let error = Place::parse(Path::new(wrong), "fashion-mnist").unwrap_err().to_string();
            assert!(error.contains("fashion-mnist/<number>"), "{wrong}: {error}");
        }
    }

    #[test]
    fn the_next_version_follows_the_last() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Place::next(root.path(), "m").version, 1);
        std::fs::create_dir_all(root.path().join("m/4")).unwrap();
        assert_eq!(Place::next(root.path(), "m").version, 5);
        assert_eq!(Place::next(&root.path().join("absent"), "m").version, 1);
    }
}
