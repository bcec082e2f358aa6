//! From a fitted layer to a version's manifest and files: the backbone's weights with the new layer in place of its own, and the same net
//! as ONNX.

use std::collections::BTreeMap;

use registry::manifest::WEIGHTS_FILE;
use registry::{
    Activation, Artifact, Calibration, Class, Classes, Content, Data, EngineKind, Manifest, Metric, Parent,
    Precision, Reject, Schema,
};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tch::{Device, Tensor};

use super::reject::Threshold;
use super::run::Learned;
use super::tail::{BIAS, WEIGHT};
use super::{Job, Measured, Others, TransferError};
use crate::onnx::{self, numbers};
use crate::{ModelError, nets, weights};

/// Files by their names in the version's folder, and what they hold.
pub type Files = Vec<(String, Vec<u8>)>;

const ONNX_FILE: &str = "model.onnx";
const CONFIG_FILE: &str = "train.yaml";
/// How far OpenVINO's outputs may be from libtorch's, as for all exports of the project's own nets.
const TOLERANCE: f32 = 1e-4;

/// A finished run.
pub(super) struct Found<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) learned: &'a Learned,
    pub(super) measured: &'a Measured,
    pub(super) threshold: Threshold,
}

/// The version, but for its number.
pub(super) fn version(found: &Found<'_>) -> Result<(Manifest, Files), TransferError> {
    let backbone = found.job.backbone;
    let (artifact, content) = weights::content(backbone, EngineKind::Libtorch)?;
    let architecture = artifact.architecture.ok_or_else(|| {
        TransferError::Data(format!("{}: its manifest names no architecture", content.path.display()))
    })?;
    let manifest = Manifest {
        schema: Schema::default(),
        name: found.job.name.to_owned(),
        // Given when it is published.
        version: 1,
        artifacts: vec![
            Artifact::libtorch(WEIGHTS_FILE, architecture),
            Artifact {
                engine: EngineKind::Openvino,
                file: ONNX_FILE.into(),
                architecture: None,
                precision: Precision::F32,
                tolerance: Some(TOLERANCE),
                fetch: None,
            },
        ],
        classes: found.classes(),
        input: backbone.manifest.input.clone(),
        metrics: found.metrics(),
        parents: vec![Parent {
            name: backbone.manifest.name.clone(),
            version: backbone.manifest.version,
            sha256: backbone.digest.trim_start_matches("sha256:").to_owned(),
        }],
        data: found.data(),
        configuration: Some(CONFIG_FILE.into()),
        // Chosen when there is a net to name them.
        samples: Vec::new(),
        license: found.job.config.license.clone(),
        origin: format!(
            "{}; {} by `model train` on {} version {} ({}: {})",
            found.job.config.origin,
            found.what(),
            backbone.manifest.name,
            backbone.manifest.version,
            backbone.manifest.license,
            backbone.manifest.origin
        ),
        files: BTreeMap::new(),
    };
    let bytes = found.weights(&content, nets::output_bias(architecture)?)?;
    let content = Content { path: content.path, bytes };
    let (_store, net) = weights::load(&manifest, architecture, &content, Device::Cpu)?;
    let onnx = onnx::of(&*net, &manifest).map_err(ModelError::from)?;
    let config = serde_yaml::to_string(found.job.config)
        .map_err(|error| TransferError::Configuration(error.into()))?;
    let files = [(WEIGHTS_FILE, content.bytes), (ONNX_FILE, onnx), (CONFIG_FILE, config.into_bytes())];
    Ok((manifest, files.map(|(name, bytes)| (name.to_owned(), bytes)).into()))
}

impl Found<'_> {
    /// What of the net is new.
    fn what(&self) -> String {
        match &self.learned.tuned {
            Some(_) => format!("the last {} blocks and a last layer", self.job.config.fine_tuning.blocks),
            None => "a last layer".into(),
        }
    }

    /// The backbone's tensors as they are, but for the last layer's and those that were fine-tuned.
    fn weights(&self, backbone: &Content, bias: &str) -> Result<Vec<u8>, TransferError> {
        let damaged = |source| ModelError::Weights { path: backbone.path.clone(), source };
        let tensors = SafeTensors::deserialize(&backbone.bytes).map_err(damaged)?;
        let weight = bias.strip_suffix("bias").map(|layer| format!("{layer}weight")).unwrap_or_default();
        // The last output is "none of these": the same whatever the image is.
        let none = self.threshold.score * self.measured.temperature;
        let Learned { layer, tuned } = self.learned;
        let new = tuned.as_ref().and_then(|tuned| Some((tuned.get(WEIGHT)?, tuned.get(BIAS)?)));
        let (new_weight, new_bias) = new.unwrap_or((&layer.weight, &layer.bias));
        let width = new_weight.size()[1] as usize;
        let zeros = vec![0.0; width];
        let weights = bytes(new_weight, &zeros)?;
        let biases = bytes(new_bias, &[none as f32])?;
        let outputs = self.job.folder.classes.len() + 1;
        let of_blocks = tuned.iter().flatten().filter(|(name, _)| tensors.tensor(name).is_ok());
        let of_blocks = of_blocks
            .map(|(name, tensor)| Ok((name.as_str(), bytes(tensor, &[])?)))
            .collect::<Result<BTreeMap<_, _>, TransferError>>()?;
        let mut all: Vec<(String, TensorView<'_>)> = Vec::new();
        for (name, tensor) in tensors.iter().filter(|(name, _)| *name != bias && *name != weight) {
            let view = match of_blocks.get(name) {
                Some(bytes) => {
                    TensorView::new(Dtype::F32, tensor.shape().to_vec(), bytes).map_err(damaged)?
                }
                None => tensor,
            };
            all.push((name.to_owned(), view));
        }
        all.push((weight, TensorView::new(Dtype::F32, vec![outputs, width], &weights).map_err(damaged)?));
        all.push((bias.to_owned(), TensorView::new(Dtype::F32, vec![outputs], &biases).map_err(damaged)?));
        Ok(safetensors::serialize(all, None).map_err(damaged)?)
    }

    fn classes(&self) -> Classes {
        let labels = self.job.folder.classes.iter().zip(0..);
        Classes {
            outputs: self.job.folder.classes.len() as u32 + 1,
            activation: Activation::Softmax,
            labels: labels.map(|(label, index)| Class { index, label: label.clone() }).collect(),
            // Less than half for the classes is more than half for the last output.
            reject: Some(Reject { label: self.job.config.reject.label.clone(), threshold: 0.5 }),
            calibration: Some(Calibration { temperature: self.measured.temperature as f32 }),
        }
    }

    fn metrics(&self) -> Vec<Metric> {
        let Measured { accuracy, top5, images, own_rejected, others_rejected, others, ref folds, .. } =
            *self.measured;
        let kept_out = format!("{images} images kept out, by a layer that has not learned from them");
        let metric = |name: &str, value: f64, data: &str| Metric {
            name: name.into(),
            value,
            artifact: None,
            data: data.into(),
            command: self.job.command.to_owned(),
        };
        let mut metrics = vec![metric("accuracy", accuracy, &kept_out), metric("top-5", top5, &kept_out)];
        if let Some(tuning) = self.measured.fine_tuning {
            let data = format!("{images} images kept out, by a last layer alone");
            metrics.push(metric("accuracy", tuning.accuracy_before, &data));
        }
        if !folds.is_empty() {
            let mean = folds.iter().sum::<f64>() / folds.len() as f64;
            metrics.push(metric("accuracy", mean, &format!("the mean of {} folds", folds.len())));
        }
        metrics.push(metric("rejected", own_rejected, &kept_out));
        if let Some(rejected) = others_rejected {
            let data = match others {
                Others::Given => "images of none of the classes",
                _ => "images of classes that were left out in turn",
            };
            metrics.push(metric("rejected", rejected, data));
        }
        metrics
    }

    fn data(&self) -> Vec<Data> {
        let data = |name: &str, sha256| Data { name: name.into(), sha256 };
        let others = self.job.others.map(|folder| data("images of none of the classes", folder.sha256()));
        [data("images of the classes", self.job.folder.sha256())].into_iter().chain(others).collect()
    }
}

/// A tensor's numbers and further ones, as a file holds them.
fn bytes(tensor: &Tensor, more: &[f32]) -> Result<Vec<u8>, TransferError> {
    let values = numbers(tensor)?;
    Ok(values.iter().chain(more).flat_map(|value| value.to_le_bytes()).collect())
}
