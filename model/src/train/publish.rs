//! From a finished run to a model version in the registry: weights, manifest, and the accuracy as the predictor has it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use registry::manifest::WEIGHTS_FILE;
use registry::{
    Activation, Architecture, Artifact, Class, Classes, Content, FileEntry, Fit, Input, Interpolation,
    Layout, Manifest, Metric, ModelVersion, Order, Polarity, Registry, Reject, Schema,
};

use super::checkpoint::write_tensors;
use super::config::TrainConfig;
use super::{TrainError, TrainOutput};
use crate::dataset::Dataset;
use crate::evaluate::{self, Evaluation, evaluate};
use crate::nets::fashion_cnn::SIZE;
use crate::variants::Variant;
use crate::{Device, Predictor};

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

/// Writes the best weights of a run as a version, with its accuracy on `test`. `staging` is a file name for the weights on their
/// way. An existing version is replaced if `force` says so.
///
/// # Errors
/// An evaluation that fails, an existing version, a full disk.
pub fn publish(
    config: &TrainConfig,
    output: &TrainOutput,
    place: &Place,
    test: &Dataset,
    staging: &Path,
    force: bool,
) -> Result<(ModelVersion, Evaluation), TrainError> {
    write_tensors(staging, output.best.iter().map(|(name, tensor)| (name.clone(), tensor)), None)?;
    let content = Content::unchecked(staging)?;
    let mut manifest = manifest(config, output, place.version, FileEntry::of_bytes(&content.bytes));
    // Measured by the predictor that will serve it, from the file that will be shipped.
    let predictor = Predictor::from_weights(&manifest, ARCHITECTURE, &content, Device::Cpu)?;
    // Training computes on all cores within an operation.
    let how = evaluate::Options { variant: Variant::Raw, seed: 0, instances: 1 };
    let evaluation = evaluate(&predictor, &manifest, test, &how, &mut |_| {})?;
    manifest.metrics = vec![Metric {
        name: "accuracy".into(),
        value: evaluation.accuracy,
        artifact: None,
        data: format!("the {} test images (t10k) of {}", evaluation.images, config.origin),
        command: format!("model evaluate --model {} --model-version {}", config.model, place.version),
    }];

    let write = |path: &Path| {
        let path = path.to_owned();
        move |source| TrainError::Write { path, source }
    };
    std::fs::create_dir_all(&place.root).map_err(write(&place.root))?;
    let registry = Registry::open(&place.root)?;
    let folder = place.folder(&config.model);
    // Its name begins with a dot, so it is no version while it waits.
    let replaced = folder.with_file_name(format!(".{}.replaced", place.version));
    let replacing = force && folder.exists();
    if replacing {
        std::fs::rename(&folder, &replaced).map_err(write(&folder))?;
    }
    match registry.publish(manifest, &[(WEIGHTS_FILE, &content.bytes)]) {
        Ok(version) => {
            if replacing {
                std::fs::remove_dir_all(&replaced).map_err(write(&replaced))?;
            }
            std::fs::remove_file(staging).map_err(write(staging))?;
            Ok((version, evaluation))
        }
        Err(error) => {
            if replacing {
                std::fs::rename(&replaced, &folder).map_err(write(&folder))?;
            }
            Err(error.into())
        }
    }
}

fn manifest(config: &TrainConfig, output: &TrainOutput, version: u32, weights: FileEntry) -> Manifest {
    let best = output.epochs.iter().rev().find(|epoch| epoch.best).map_or(0, |epoch| epoch.epoch);
    let labels = config.labels.iter().zip(0..).map(|(label, index)| Class { index, label: label.clone() });
    Manifest {
        schema: Schema,
        name: config.model.clone(),
        version,
        artifacts: vec![Artifact::libtorch(WEIGHTS_FILE, ARCHITECTURE)],
        classes: Classes {
            outputs: config.labels.len() as u32,
            activation: Activation::Softmax,
            labels: labels.collect(),
            // The probabilities always sum to 1, but for an image in which there is nothing.
            reject: Some(Reject { label: "nothing".into(), threshold: 0.5 }),
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
        license: config.license.clone(),
        origin: format!(
            "{}; trained by `model train` with seed {}, the weights of epoch {best} of {}",
            config.origin, config.seed, config.epochs
        ),
        files: BTreeMap::from([(WEIGHTS_FILE.to_owned(), weights)]),
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
