//! A loaded model version: pixels in, probabilities out. The command line and the worker use this one.

use registry::{Input, ModelVersion};
use tch::nn::VarStore;
use tch::{Kind, TchError, Tensor};

use crate::nets::{self, Net};
use crate::preprocess::Pixels;
use crate::{Device, ModelError, Scores, allocator, weights};

/// Forward passes for each shape before a model counts as warm: the first ones choose and compile kernels.
const WARM_UP_PASSES: usize = 3;

/// A model version ready to answer. One thread owns it (`Send`, not `Sync`).
#[derive(Debug)]
pub struct Predictor {
    net: Box<dyn Net>,
    input: Input,
    outputs: usize,
    device: tch::Device,
    mean: Tensor,
    std: Tensor,
}

impl Predictor {
    /// Loads a version onto a device: the net its manifest names, its weights by name, normalisation folded, channels last.
    ///
    /// # Errors
    /// If this build has no such net, or the weights are not that net's.
    pub fn load(version: &ModelVersion, device: Device) -> Result<Self, ModelError> {
        let manifest = &version.manifest;
        let device = tch::Device::from(device);
        let outputs = manifest.classes.outputs;
        let mut store = VarStore::new(device);
        let mut net = nets::build(manifest.architecture, &store.root(), outputs.into())?;
        weights::load(&store, &version.weights, manifest.architecture)?;
        store.freeze();
        net.fold()?;
        // The variables as they were loaded are not needed beside the folded ones.
        drop(store);
        allocator::give_back();

        let input = manifest.input.clone();
        let by_channel = |values: &[f32]| -> Result<Tensor, ModelError> {
            let channels = i64::from(input.channels);
            Ok(Tensor::f_from_slice(values)?.f_view([1, channels, 1, 1])?.f_to_device(device)?)
        };
        let (mean, std) = (by_channel(&input.mean)?, by_channel(&input.std)?);
        Ok(Self { net, input, outputs: outputs as usize, device, mean, std })
    }

    /// One more instance of this version, for another thread: what it computes with is the same memory.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            net: self.net.share(),
            input: self.input.clone(),
            outputs: self.outputs,
            device: self.device,
            mean: self.mean.shallow_clone(),
            std: self.std.shallow_clone(),
        }
    }

    /// Runs the net on blank images until its speed is steady, for batches up to `max_batch`.
    ///
    /// # Errors
    /// If a pass fails.
    pub fn warm_up(&self, max_batch: usize) -> Result<(), ModelError> {
        let blank = Pixels::black(self.input.size, self.input.channels);
        let largest = max_batch.clamp(1, self.net.images_a_pass());
        // Powers of two and the largest: the shapes between choose the same kernels.
        let smaller = (0..).map(|power| 1 << power).take_while(|&images| images < largest);
        for images in smaller.chain([largest]) {
            let batch = vec![&blank; images];
            for _ in 0..WARM_UP_PASSES {
                self.predict(&batch)?;
            }
        }
        // At rest a warm model holds no more than it needs; the first batch takes its pages again.
        allocator::give_back();
        Ok(())
    }

    /// The probabilities for each image of the batch, in order. An image's answer does not depend on the others.
    ///
    /// # Errors
    /// If an image has not the net's size, or a pass fails.
    pub fn predict(&self, batch: &[&Pixels]) -> Result<Vec<Scores>, ModelError> {
        let rows = self.passes(batch, |logits| logits.f_softmax(-1, Kind::Float))?;
        Ok(rows.into_iter().map(Scores::new).collect())
    }

    /// The net's outputs before they are made probabilities, for each image of the batch, in order.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn logits(&self, batch: &[&Pixels]) -> Result<Vec<Vec<f32>>, ModelError> {
        self.passes(batch, |logits| Ok(logits.shallow_clone()))
    }

    /// Runs the net over the batch in passes; `last` is its final step. One row of outputs an image.
    fn passes(
        &self,
        batch: &[&Pixels],
        last: impl Fn(&Tensor) -> Result<Tensor, TchError>,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut rows: Vec<Vec<f32>> = Vec::with_capacity(batch.len());
        for pixels in batch.chunks(self.net.images_a_pass()) {
            let images = self.images(pixels, rows.len())?;
            let outputs = tch::no_grad(|| {
                let images = images.f_to_device(self.device)?.f_to_kind(Kind::Float)?;
                let images = images.f_sub(&self.mean)?.f_div(&self.std)?;
                last(&self.net.forward_t(&images, false)?)?.f_to_device(tch::Device::Cpu)
            })?;
            let mut flat = vec![0_f32; pixels.len() * self.outputs];
            let count = flat.len();
            outputs.f_contiguous()?.f_copy_data(&mut flat, count)?;
            for row in flat.chunks_exact(self.outputs) {
                if row.iter().any(|value| !value.is_finite()) {
                    return Err(ModelError::NotANumber { position: rows.len() });
                }
                rows.push(row.to_vec());
            }
        }
        Ok(rows)
    }

    /// The images as bytes `[n, channels, size, size]`, channels last in memory, as their pixels are.
    fn images(&self, pixels: &[&Pixels], first: usize) -> Result<Tensor, ModelError> {
        let Input { size, channels, .. } = self.input;
        let bytes = (size * size * channels) as usize;
        let mut data = Vec::with_capacity(pixels.len() * bytes);
        for (position, image) in pixels.iter().enumerate() {
            let fits = image.width == size && image.height == size && image.channels == channels;
            if !fits || image.data.len() != bytes {
                return Err(ModelError::WrongSize {
                    position: first + position,
                    size,
                    channels,
                    found_width: image.width,
                    found_height: image.height,
                    found_channels: image.channels,
                });
            }
            data.extend_from_slice(&image.data);
        }
        let side = i64::from(size);
        let shape = [pixels.len() as i64, side, side, i64::from(channels)];
        Ok(Tensor::f_from_data_size(&data, &shape, Kind::Uint8)?.f_permute([0, 3, 1, 2])?)
    }
}
