//! Grad-CAM (<https://arxiv.org/abs/1610.02391>): which places of an image speak for a class.
//!
//! The last convolution of a net still knows where in the image something is. Each of its channels counts as much as the class's output rises
//! with it: by that output's gradient. The channels' sum by these weights, where it is above 0, is the map.
//!
//! The gradient is taken place by place, not as its mean over a channel (HiResCAM, <https://arxiv.org/abs/2011.08891>). Where a net ends in
//! the mean of each channel, as all here but the one for clothes, the gradient is the same at all places, and that is no difference. The
//! one for clothes knows a coat's cuffs by where they are: what it sees there, the mean would spread over the whole picture, and cancel.

pub mod colour;
pub mod overlay;
mod script;

use std::fmt;

use model_core::normalise::{Normalise, rows};
use model_core::{EngineError, Pixels, Prediction, Scorer, Scores};
use registry::{EngineKind, Fit, ModelVersion};
use tch::{TchError, Tensor};

use self::script::Script;
use crate::nets::Net;
use crate::{Device, ModelError, weights};

/// A model version that can say why. One thread owns it.
pub struct Explainer {
    net: Looked,
    normalise: Normalise,
    scorer: Scorer,
    fit: Fit,
    device: tch::Device,
}

/// A net that can be looked into.
enum Looked {
    /// One of the project's own.
    Own(Box<dyn Net>),
    /// Another program's.
    Script(Box<Script>),
}

/// What a net says of an image, and where it sees that.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// All classes, the likeliest first; before them that the image shows none of them, where it is so.
    pub predictions: Vec<Prediction>,
    /// The class that is explained: the number of its output.
    pub class: u32,
    /// Its probability, from 0 to 1.
    pub probability: f32,
    /// Where the net sees it.
    pub map: HeatMap,
}

/// For each cell of the net's last convolution how much speaks for a class there.
#[derive(Clone, Debug)]
pub struct HeatMap {
    /// Cells down. They share the net's square evenly: what one sees has its middle there, whatever the layers before pad.
    pub rows: usize,
    /// Cells across.
    pub columns: usize,
    /// Row by row from the top, none below 0. What 1 would mean hangs on the net: only ratios say something.
    pub values: Vec<f32>,
}

impl HeatMap {
    /// The value at a place of the net's square, across and down in shares of its sides: between the middles of cells by bilinear
    /// interpolation, beyond the outermost ones as there.
    #[must_use]
    pub fn value(&self, (across, down): (f64, f64)) -> f32 {
        let (left, right, to_right) = beside(across, self.columns);
        let (above, below, downwards) = beside(down, self.rows);
        let at = |row, column| self.values.get(row * self.columns + column).copied().unwrap_or(0.0);
        let along = |row| at(row, left) + (at(row, right) - at(row, left)) * to_right;
        along(above) + (along(below) - along(above)) * downwards
    }

    /// The middle of a cell, by its place in `values`.
    #[must_use]
    pub fn middle(&self, cell: usize) -> (f64, f64) {
        let (row, column) = (cell / self.columns.max(1), cell % self.columns.max(1));
        ((column as f64 + 0.5) / self.columns as f64, (row as f64 + 0.5) / self.rows as f64)
    }
}

/// The two of so many cells beside a place, and how much the second one counts.
fn beside(place: f64, cells: usize) -> (usize, usize, f32) {
    let last = cells.saturating_sub(1);
    // From 0 to the last cell by the clamp.
    let at = (place * cells as f64 - 0.5).clamp(0.0, last as f64);
    (at as usize, (at as usize + 1).min(last), at.fract() as f32)
}

/// Why an image is not explained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// Preprocessing found nothing in the image.
    #[error("there is nothing in it that could be pointed at: preprocessing finds no thing on a background")]
    Nothing,
    /// The class is none of the net's.
    #[error("the net has no output {class}: its outputs are 0 to {}", outputs - 1)]
    NoClass {
        /// The class that was asked for.
        class: u32,
        /// How many classes there are.
        outputs: u32,
    },
    /// The net failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// libtorch failed.
    #[error("the net could not be computed")]
    Torch(#[from] TchError),
}

impl Explainer {
    /// Loads a version onto a device by that engine's artifact, with what gradients need: not fused. A TorchScript file is code, which this
    /// runs: for who says so.
    ///
    /// # Errors
    /// If the engine's nets can't be looked into, the version has no such artifact, or it can't be loaded; of TorchScript, if no value in it
    /// is a map of the image.
    pub fn load(version: &ModelVersion, engine: EngineKind, device: Device) -> Result<Self, ModelError> {
        let manifest = &version.manifest;
        let net = match engine {
            EngineKind::Libtorch if manifest.artifact(engine).is_some() => {
                let (mut store, net) = weights::net(version, device.into())?;
                // The gradient of nothing but the maps is wanted.
                store.freeze();
                Looked::Own(net)
            }
            EngineKind::Torchscript if manifest.artifact(engine).is_some() => {
                let content = weights::content(version, engine)?.1;
                let (file, outputs) = (content.path.display().to_string(), manifest.classes.outputs);
                Looked::Script(Box::new(Script::load(
                    &file,
                    &content.bytes,
                    &manifest.input,
                    outputs,
                    device,
                )?))
            }
            _ => return Err(ModelError::Opaque { model: manifest.name.clone(), version: manifest.version }),
        };
        Ok(Self {
            net,
            normalise: Normalise::new(&manifest.input),
            scorer: Scorer::new(manifest),
            fit: manifest.input.fit,
            device: device.into(),
        })
    }

    /// What of a net that another program wrote the maps are of, in the words of its source.
    #[must_use]
    pub fn layer(&self) -> Option<&str> {
        match &self.net {
            Looked::Own(_) => None,
            Looked::Script(script) => Some(&script.layer),
        }
    }

    /// What speaks in an image for `class`, the number of an output, or where none is given for the likeliest class.
    ///
    /// # Errors
    /// If the image has not the net's size or there is nothing in it, the net has no such output, or libtorch fails.
    pub fn explain(&self, pixels: &Pixels, class: Option<u32>) -> Result<Explanation, ExplainError> {
        let (outputs, maps, leaf) = self.seen(&image(&self.normalise, pixels, self.device)?)?;
        if self.fit == Fit::TrimAndPad && pixels.data.iter().all(|&value| value == 0) {
            return Err(ExplainError::Nothing);
        }
        let logits = logits(&outputs)?;
        let count = logits.len();
        let scores = self.scorer.scores(pixels, logits);
        let predictions = scores.top_k(self.scorer.classes(), usize::MAX);
        let class = chosen(class, &predictions, &scores)?;
        let two_of_one = count == 1 && scores.probabilities().len() == 2;
        let map = gradient_map(&score(&outputs, class, two_of_one)?, &leaf, &maps)?;
        let (rows, columns) = map.size2()?;
        let mut values = vec![0.0_f32; (rows * columns) as usize];
        let length = values.len();
        map.f_to_device(tch::Device::Cpu)?.f_contiguous()?.f_copy_data(&mut values, length)?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(EngineError::NotANumber { position: 0 }.into());
        }
        let probability = scores.probabilities().get(class as usize).copied().unwrap_or(0.0);
        let map = HeatMap { rows: rows as usize, columns: columns as usize, values };
        Ok(Explanation { predictions, class, probability, map })
    }

    /// What the net answers to an image, what its last convolution makes of it, and what gradients are taken by.
    fn seen(&self, image: &Tensor) -> Result<(Tensor, Tensor, Tensor), TchError> {
        match &self.net {
            Looked::Own(net) => {
                // As numbers that come from nowhere.
                let maps = tch::no_grad(|| net.maps(image, false))?.f_detach()?.f_set_requires_grad(true)?;
                let outputs = net.outputs(&net.pooled(&maps, false)?, false)?;
                Ok((outputs, maps.shallow_clone(), maps))
            }
            Looked::Script(script) => script.seen(image),
        }
    }
}

/// An image's normalised values: `[1, channels, size, size]`.
fn image(normalise: &Normalise, pixels: &Pixels, device: tch::Device) -> Result<Tensor, ExplainError> {
    let mut values = vec![0.0; normalise.values()];
    normalise.interleaved(&[pixels], 0, &mut values)?;
    let [size, channels] = [normalise.size(), normalise.channels()].map(i64::from);
    let image = Tensor::f_from_slice(&values)?.f_view([1, size, size, channels])?;
    Ok(image.f_permute([0, 3, 1, 2])?.f_contiguous()?.f_to_device(device)?)
}

/// The class that is asked for, or the likeliest.
fn chosen(class: Option<u32>, predictions: &[Prediction], scores: &Scores) -> Result<u32, ExplainError> {
    let outputs = scores.probabilities().len() as u32;
    let likeliest = || predictions.iter().find_map(|prediction| prediction.index).unwrap_or(0);
    let class = class.unwrap_or_else(likeliest);
    if class < outputs { Ok(class) } else { Err(ExplainError::NoClass { class, outputs }) }
}

fn logits(outputs: &Tensor) -> Result<Vec<f32>, ExplainError> {
    let outputs = outputs.f_detach()?.f_to_device(tch::Device::Cpu)?.f_contiguous()?;
    let mut flat = vec![0.0; outputs.numel()];
    let count = flat.len();
    outputs.f_copy_data(&mut flat, count)?;
    Ok(rows(&flat, count, 0)?.pop().unwrap_or_default())
}

/// The output that rises with a class. Where a single output means two classes, it rises with the second and falls with the first.
fn score(outputs: &Tensor, class: u32, two_of_one: bool) -> Result<Tensor, TchError> {
    let of = |class: i64| outputs.f_narrow(1, class, 1)?.f_sum(outputs.kind());
    match (two_of_one, class) {
        (true, 0) => of(0)?.f_neg(),
        (true, _) => of(0),
        (false, class) => of(class.into()),
    }
}

/// `[n, channels, rows, columns]` to `[rows, columns]`, of the first image: the paper's equation 2, with the gradient for the weights, taken by
/// `leaf`.
fn gradient_map(score: &Tensor, leaf: &Tensor, maps: &Tensor) -> Result<Tensor, TchError> {
    let gradients = Tensor::f_run_backward(&[score], &[leaf], false, false)?;
    let gradient = gradients.first().ok_or_else(|| TchError::Torch("there is no gradient".into()))?;
    tch::no_grad(|| {
        let product = gradient.f_mul(maps)?.f_narrow(0, 0, 1)?;
        product.f_sum_dim_intlist([1_i64].as_slice(), false, maps.kind())?.f_squeeze_dim(0)?.f_relu()
    })
}

impl fmt::Debug for Explainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explainer").field("layer", &self.layer()).finish_non_exhaustive()
    }
}
