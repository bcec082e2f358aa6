//! A TorchScript file as an engine: a whole net that another program wrote, on libtorch. Such a file is code: it is loaded only for
//! who says so.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use model_core::normalise::{Normalise, rows};
use model_core::{Engine, EngineError, Pixels, pass_blank};
use registry::{Input, Layout, ModelVersion};
use tch::{CModule, Kind, TchError, Tensor};

use crate::{Device, ModelError, weights};

/// Passes for each size of batch before the net counts as warm: the first ones look at what they are given, and choose.
const WARM_UP_PASSES: usize = 3;
/// So many images go through the net at once, unless it takes another number only.
const MOST_AT_ONCE: usize = 8;
/// Numbers of images that are tried with a net that takes neither one nor two.
const OTHER_BATCHES: [usize; 8] = [3, 4, 5, 6, 7, 8, 16, 32];
/// What the file of a net begins with: it is a zip archive.
const MAGIC: &[u8] = b"PK\x03\x04";

/// A TorchScript file ready to answer. One thread owns it.
pub struct TorchScript {
    module: Arc<CModule>,
    normalise: Arc<Normalise>,
    layout: Layout,
    outputs: usize,
    device: tch::Device,
    at_once: usize,
    /// It takes so many images at once and no other number: what is missing is made up.
    fixed: bool,
    /// The images' values on their way to a tensor, in the same memory each time.
    values: Vec<f32>,
}

impl TorchScript {
    /// Loads a file; `file` names it in messages. Its `forward` takes images as `input` describes them, normalised values `[n, channels,
    /// size, size]` or `[n, size, size, channels]`, any n or one alone, and gives `outputs` numbers for each.
    ///
    /// This runs code that the file holds, and has it compute blank images: a file does not say how many it takes at once.
    ///
    /// # Errors
    /// If libtorch can't load it.
    pub fn load(
        file: &str,
        mut bytes: &[u8],
        input: &Input,
        outputs: u32,
        device: Device,
    ) -> Result<Self, ModelError> {
        if !bytes.starts_with(MAGIC) {
            return Err(ModelError::NoTorchScript { file: file.to_owned() });
        }
        let device = tch::Device::from(device);
        let refused = |source| ModelError::TorchScript { file: file.to_owned(), source };
        let mut module = CModule::load_data_on_device(&mut bytes, device).map_err(refused)?;
        // It may have been written while it was trained.
        module.f_set_eval().map_err(refused)?;
        let normalise = Arc::new(Normalise::new(input));
        let net = Self {
            module: Arc::new(module),
            normalise,
            layout: input.layout,
            outputs: outputs as usize,
            device,
            at_once: MOST_AT_ONCE,
            fixed: false,
            values: Vec::new(),
        };
        Ok(net.settled())
    }

    /// With the number of images that it takes, where it takes no other. A net that computes no blank images counts as one for any number.
    fn settled(mut self) -> Self {
        let alone = if !self.takes(2) {
            [1].into_iter().chain(OTHER_BATCHES).find(|&images| self.takes(images))
        } else if self.takes(1) || self.takes(3) {
            None
        } else {
            Some(2)
        };
        (self.at_once, self.fixed) = (alone.unwrap_or(MOST_AT_ONCE), alone.is_some());
        self
    }

    /// Whether so many blank images can go at once.
    fn takes(&mut self, images: usize) -> bool {
        let blank = Pixels::black(self.normalise.size(), self.normalise.channels());
        (self.at_once, self.fixed) = (images, false);
        pass_blank(self, &vec![&blank; images]).is_ok()
    }

    /// How many images the net takes at once, where it takes no other number.
    #[must_use]
    pub fn fixed_batch(&self) -> Option<usize> {
        self.fixed.then_some(self.at_once)
    }

    /// One pass over images that go at once; `first` is the place of the first of them in the batch.
    fn pass(&mut self, pixels: &[&Pixels], first: usize) -> Result<Vec<Vec<f32>>, EngineError> {
        let count = if self.fixed { self.at_once } else { pixels.len() };
        let images = count as i64;
        let [size, channels] = [self.normalise.size(), self.normalise.channels()].map(i64::from);
        self.values.resize(count * self.normalise.values(), 0.0);
        let (given, missing) = self.values.split_at_mut(pixels.len() * self.normalise.values());
        self.normalise.interleaved(pixels, first, given)?;
        missing.fill(0.0);
        let compute = |error: TchError| EngineError::Compute(Box::new(error));
        let outputs = tch::no_grad(|| {
            let values = Tensor::f_from_slice(&self.values)?.f_view([images, size, size, channels])?;
            // Laid out anew, since a net may ask for a view of them.
            let values = match self.layout {
                Layout::Nchw => values.f_permute([0, 3, 1, 2])?.f_contiguous()?,
                Layout::Nhwc => values,
            };
            let outputs = self.module.forward_ts(&[values.f_to_device(self.device)?])?;
            outputs.f_to_device(tch::Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()
        });
        let outputs = outputs.map_err(compute)?;
        let shape = outputs.size();
        // What a pooling leaves are sides of 1.
        let fits = shape.len() >= 2
            && shape[..2] == [images, self.outputs as i64]
            && shape[2..].iter().all(|&side| side == 1);
        if !fits {
            let text =
                format!("the net gave {shape:?} for {images} images, not [{images}, {}]", self.outputs);
            return Err(EngineError::Compute(text.into()));
        }
        let mut flat = vec![0.0; count * self.outputs];
        let values = flat.len();
        outputs.f_copy_data(&mut flat, values).map_err(compute)?;
        rows(&flat[..pixels.len() * self.outputs], self.outputs, first)
    }
}

/// Writes the net of a version's libtorch artifact as TorchScript, for PyTorch: from normalised images to logits, any number of them.
/// It is traced as it is trained, its normalisation by itself, since what serves it here is made for this processor.
///
/// # Errors
/// If the version has no such artifact, its weights cannot be loaded, or writing fails.
pub fn export(version: &ModelVersion, file: &Path) -> Result<(), ModelError> {
    let (mut store, net) = weights::net(version, tch::Device::Cpu)?;
    // Variables that learn can't be the constants of a file.
    store.freeze();
    let [size, channels] = [version.manifest.input.size, version.manifest.input.channels].map(i64::from);
    let image = Tensor::f_zeros([1, channels, size, size], (Kind::Float, tch::Device::Cpu))?;
    let mut failed = None;
    let mut forward = |images: &[Tensor]| {
        let traced = images.iter().map(|images| net.forward_t(images, false)).collect::<Result<_, _>>();
        traced.unwrap_or_else(|error| {
            failed = Some(error);
            images.iter().map(Tensor::shallow_clone).collect()
        })
    };
    let module = CModule::create_by_tracing("Net", "forward", &[image], &mut forward)?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(module.save(file)?),
    }
}

impl Engine for TorchScript {
    fn logits(&mut self, batch: &[&Pixels]) -> Result<Vec<Vec<f32>>, EngineError> {
        let mut all = Vec::with_capacity(batch.len());
        for pixels in batch.chunks(self.at_once) {
            all.extend(self.pass(pixels, all.len())?);
        }
        Ok(all)
    }

    fn warm_up(&mut self, max_batch: usize) -> Result<(), EngineError> {
        let blank = Pixels::black(self.normalise.size(), self.normalise.channels());
        let largest = if self.fixed { 1 } else { max_batch.clamp(1, self.at_once) };
        for images in 1..=largest {
            let batch = vec![&blank; images];
            for _ in 0..WARM_UP_PASSES {
                pass_blank(self, &batch)?;
            }
        }
        Ok(())
    }

    fn share(&self) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(Self {
            module: Arc::clone(&self.module),
            normalise: Arc::clone(&self.normalise),
            values: Vec::new(),
            ..*self
        }))
    }
}

impl fmt::Debug for TorchScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TorchScript").field("layout", &self.layout).finish_non_exhaustive()
    }
}
