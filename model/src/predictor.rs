//! A loaded model version: libtorch as an engine, pixels in, outputs out. The command line and the worker use this one.

use std::cell::RefCell;
use std::sync::Arc;

use model_core::normalise::{Normalise, rows};
use model_core::{Engine, EngineError, Pixels, Scorer, Scores};
use registry::{Architecture, Content, Input, Manifest, ModelVersion};
use tch::nn::VarStore;
use tch::{Kind, TchError, Tensor};

use crate::nets::Net;
use crate::{Device, ModelError, allocator, weights};

/// Forward passes for each shape before a model counts as warm: the first ones choose and compile kernels.
const WARM_UP_PASSES: usize = 3;

/// A model version ready to answer. One thread owns it (`Send`, not `Sync`).
#[derive(Debug)]
pub struct Predictor {
    net: Box<dyn Net>,
    input: Input,
    device: tch::Device,
    normalise: Arc<Normalise>,
    /// The images' values on their way to a tensor, in the same memory each time.
    values: RefCell<Vec<f32>>,
    scorer: Arc<Scorer>,
}

impl Predictor {
    /// Loads a version onto a device: the net its manifest names, its weights by name, normalisation fused, channels last.
    ///
    /// # Errors
    /// If this build has no such net, or the weights are not that net's.
    pub fn load(version: &ModelVersion, device: Device) -> Result<Self, ModelError> {
        Self::serving(&version.manifest, weights::net(version, device.into())?, device)
    }

    /// As [`load`](Self::load), for weights that are no version yet.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_weights(
        manifest: &Manifest,
        architecture: Architecture,
        weights: &Content,
        device: Device,
    ) -> Result<Self, ModelError> {
        Self::serving(manifest, weights::load(manifest, architecture, weights, device.into())?, device)
    }

    fn serving(
        manifest: &Manifest,
        (mut store, mut net): (VarStore, Box<dyn Net>),
        device: Device,
    ) -> Result<Self, ModelError> {
        store.freeze();
        net.fuse()?;
        // The variables as they were loaded are not needed beside the fused ones.
        drop(store);
        allocator::give_memory_back();

        let input = manifest.input.clone();
        let normalise = Arc::new(Normalise::new(&input));
        Ok(Self {
            net,
            input,
            device: device.into(),
            normalise,
            values: RefCell::default(),
            scorer: Arc::new(Scorer::new(manifest)),
        })
    }

    /// One more instance of this version, for another thread: what it computes with is the same memory.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            net: self.net.share(),
            input: self.input.clone(),
            device: self.device,
            normalise: Arc::clone(&self.normalise),
            values: RefCell::default(),
            scorer: Arc::clone(&self.scorer),
        }
    }

    /// Runs the net on blank images until its speed is steady, for batches up to `max_batch`.
    ///
    /// # Errors
    /// If a pass fails.
    pub fn warm_up(&self, max_batch: usize) -> Result<(), EngineError> {
        let blank = Pixels::black(self.input.size, self.input.channels);
        let largest = max_batch.clamp(1, self.net.micro_batch_size());
        // Powers of two and the largest: the shapes between choose the same kernels.
        let smaller = (0..).map(|power| 1 << power).take_while(|&images| images < largest);
        for images in smaller.chain([largest]) {
            let batch = vec![&blank; images];
            for _ in 0..WARM_UP_PASSES {
                self.logits(&batch)?;
            }
        }
        // What was faulted in here stays: given back, the first batches would be as slow as if nothing had been warmed.
        Ok(())
    }

    /// The probabilities for each image of the batch, in order, by [`Scorer::scores`]. An image's answer does not depend on the others.
    ///
    /// # Errors
    /// If an image has not the net's size, or a pass fails.
    pub fn predict(&self, batch: &[&Pixels]) -> Result<Vec<Scores>, EngineError> {
        let logits = self.logits(batch)?;
        Ok(batch.iter().zip(logits).map(|(pixels, logits)| self.scorer.scores(pixels, logits)).collect())
    }

    /// The net's outputs before they are made probabilities, for each image of the batch, in order. Goes in micro-batches of as
    /// many images as the net takes at once.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn logits(&self, batch: &[&Pixels]) -> Result<Vec<Vec<f32>>, EngineError> {
        self.pass_all(batch, |images| self.net.forward_t(images, false))
    }

    /// What the net's last layer makes outputs of, for each image of the batch, in order.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn features(&self, batch: &[&Pixels]) -> Result<Vec<Vec<f32>>, EngineError> {
        self.pass_all(batch, |images| self.net.features(images, false))
    }

    /// What the net's last `blocks` blocks take, for each image of the batch, in order: channel after channel, row after row.
    ///
    /// # Errors
    /// As [`predict`](Self::predict), and if the net has no such blocks.
    pub fn activations(&self, batch: &[&Pixels], blocks: usize) -> Result<Vec<Vec<f32>>, EngineError> {
        self.pass_all(batch, |images| self.net.before(images, blocks))
    }

    /// A row of numbers for each image of the batch.
    fn pass_all(
        &self,
        batch: &[&Pixels],
        net: impl Fn(&Tensor) -> Result<Tensor, TchError>,
    ) -> Result<Vec<Vec<f32>>, EngineError> {
        let mut all = Vec::with_capacity(batch.len());
        for pixels in batch.chunks(self.net.micro_batch_size()) {
            let mut values = self.values.borrow_mut();
            let (normalise, first) = (&self.normalise, all.len());
            values.resize(pixels.len() * normalise.values(), 0.0);
            if self.net.is_turned() {
                normalise.turned(pixels, first, &mut values)?;
            } else {
                normalise.interleaved(pixels, first, &mut values)?;
            }
            let flat = self
                .pass(&values, pixels.len(), &net)
                .map_err(|error| EngineError::Compute(Box::new(error)))?;
            all.extend(rows(&flat, flat.len() / pixels.len(), all.len())?);
        }
        Ok(all)
    }

    /// One pass of the net over `images` images: what it gives for them, one after another.
    fn pass(
        &self,
        values: &[f32],
        images: usize,
        net: impl Fn(&Tensor) -> Result<Tensor, TchError>,
    ) -> Result<Vec<f32>, TchError> {
        let Input { size, channels, .. } = self.input;
        let shape: [i64; 4] = [images as i64, size.into(), size.into(), channels.into()];
        let strides = [shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1];
        debug_assert_eq!(values.len() as i64, shape.iter().product::<i64>());
        let outputs = tch::no_grad(|| {
            // Channels last in memory, as the pixels are.
            // SAFETY: there are as many values as the shape says; they are read only, and outlive this tensor and what the net makes of
            // it, since its outputs are memory of their own.
            #[allow(unsafe_code)]
            let images = unsafe {
                Tensor::f_from_blob(values.as_ptr().cast(), &shape, &strides, Kind::Float, tch::Device::Cpu)?
            };
            let images = images.f_permute([0, 3, 1, 2])?;
            net(&images.f_to_device(self.device)?)?.f_to_device(tch::Device::Cpu)
        })?;
        let mut flat = vec![0_f32; outputs.numel()];
        let count = flat.len();
        outputs.f_contiguous()?.f_copy_data(&mut flat, count)?;
        Ok(flat)
    }
}

impl Engine for Predictor {
    fn logits(&mut self, batch: &[&Pixels]) -> Result<Vec<Vec<f32>>, EngineError> {
        Self::logits(self, batch)
    }

    fn warm_up(&mut self, max_batch: usize) -> Result<(), EngineError> {
        Self::warm_up(self, max_batch)
    }

    fn share(&self) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(Self::share(self)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use registry::{Registry, Select};

    use super::*;
    use crate::nets::layers::lacking;

    fn logits(predictor: &Predictor, images: &[Pixels]) -> Vec<f32> {
        let batch: Vec<&Pixels> = images.iter().collect();
        predictor.logits(&batch).unwrap().concat()
    }

    #[test]
    fn a_libtorch_without_onednn_answers_alike() {
        let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights");
        for name in ["fashion-mnist", "bird"] {
            let version = Registry::open(&weights).and_then(|all| all.load(name, &Select::Version(1)));
            let version =
                version.unwrap_or_else(|error| panic!("{error}\n(`make setup` fetches the weights)"));
            let load = || Predictor::load(&version, Device::Cpu).unwrap();
            let (with, without) = (load(), lacking(load));
            let one_by_one = |predictor: &Predictor| !format!("{:?}", predictor.net).contains("fused: Some");
            assert_eq!((one_by_one(&with), one_by_one(&without)), (false, true), "{name}");
            without.warm_up(2).unwrap();
            let Input { size, channels, .. } = version.manifest.input;
            let image = |n: usize| {
                let blank = Pixels::black(size, channels);
                let data = (0..blank.data.len()).map(|at| (at * (31 + n) / 7 % 256) as u8).collect();
                Pixels { data, ..blank }
            };
            // One, and more than go at once.
            for count in [1, without.net.micro_batch_size() + 2] {
                let images: Vec<_> = (0..count).map(image).collect();
                let (expected, found) = (logits(&with, &images), logits(&without.share(), &images));
                assert_eq!(found.len(), count * version.manifest.classes.outputs as usize);
                let furthest = expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(furthest < 1e-4, "{name}, {count} images: logits differ by up to {furthest}");
            }
        }
    }
}
