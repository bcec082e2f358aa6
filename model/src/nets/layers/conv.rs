//! A convolution, its batch normalisation and its activation as one layer.

use tch::nn::{self, Path};
use tch::{Device, TchError, Tensor};

use super::batch_norm::BatchNorm;
use super::fused::Fused;
use super::{Activation, Weights, activate, channels_last};

/// How the input of a convolution is extended at its edges.
#[derive(Clone, Copy, Debug)]
pub enum Padding {
    /// So many zeros on each side: rows, columns.
    Zeros([i64; 2]),
    /// TensorFlow's `SAME`: as many zeros as the stride needs, the odd one at the right and the bottom.
    Same,
}

/// The shape of a [`ConvBn`].
#[derive(Clone, Copy, Debug)]
pub struct ConvBnConfig {
    /// Rows, columns.
    pub kernel: [i64; 2],
    /// In both directions.
    pub stride: i64,
    /// At the edges.
    pub padding: Padding,
    /// Groups of channels that do not see each other.
    pub groups: i64,
    /// Added to the variance.
    pub eps: f64,
    /// How fast the running statistics follow in training.
    pub momentum: f64,
    /// What follows.
    pub activation: Activation,
}

impl Default for ConvBnConfig {
    /// A pointwise convolution with ReLU, and PyTorch's batch normalisation.
    fn default() -> Self {
        Self {
            kernel: [1, 1],
            stride: 1,
            padding: Padding::Zeros([0, 0]),
            groups: 1,
            eps: 1e-5,
            momentum: 0.1,
            activation: Activation::Relu,
        }
    }
}

/// A convolution without bias, batch normalisation and an activation. [`fuse`](Self::fuse) makes it one convolution with bias.
#[derive(Clone, Debug)]
pub struct ConvBn {
    /// Empty where `fused` has them.
    pub(super) weight: Weights,
    pub(super) norm: BatchNorm,
    pub(super) config: ConvBnConfig,
    /// What computes it once it is fused, where this libtorch has that.
    pub(super) fused: Option<Fused>,
}

/// A [`ConvBn`] whose variables are `<conv>.weight` (`[c_out, c_in / groups, rows, columns]`), `<bn>.weight`, `<bn>.bias`,
/// `<bn>.running_mean` and `<bn>.running_var`.
#[must_use]
pub fn conv_bn(conv: &Path, bn: &Path, c_in: i64, c_out: i64, config: ConvBnConfig) -> ConvBn {
    let [rows, columns] = config.kernel;
    let shape = [c_out, c_in / config.groups, rows, columns];
    ConvBn {
        weight: conv.var("weight", &shape, nn::init::DEFAULT_KAIMING_UNIFORM).into(),
        norm: BatchNorm::new(bn, c_out, config.eps, config.momentum),
        config,
        fused: None,
    }
}

impl ConvBn {
    /// `[n, c_in, h, w]` to `[n, c_out, h', w']`. In training the batch's own statistics normalise, and the running ones follow.
    ///
    /// # Errors
    /// If the shapes do not match.
    pub fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor, TchError> {
        let config = &self.config;
        let bias = self.norm.bias();
        if let Some(fused) = &self.fused {
            return fused.forward(xs, bias, config.activation);
        }
        let (padded, padding) = self.padded(xs)?;
        let xs = padded.as_ref().unwrap_or(xs);
        let stride = [config.stride, config.stride];
        let ys = xs.f_conv2d(&self.weight, bias, stride, padding, [1, 1], config.groups)?;
        activate(self.norm.forward_t(ys, train)?, config.activation)
    }

    /// What [`forward_t`](Self::forward_t) gives, added to `onto`, of the same shape. Once this is fused, `onto` is what holds the sum.
    ///
    /// # Errors
    /// If the shapes do not match.
    pub fn forward_onto(&self, xs: &Tensor, onto: &Tensor, train: bool) -> Result<Tensor, TchError> {
        match &self.fused {
            Some(fused) if self.config.activation == Activation::Identity => {
                fused.forward_onto(xs, self.norm.bias(), onto)
            }
            _ => self.forward_t(xs, train)?.f_add_(onto),
        }
    }

    /// Makes the normalisation part of the convolution and lays the weights out channels last. No training after this.
    ///
    /// A convolution with [`Padding::Same`] takes and gives images turned by 180 degrees from then on: the odd row and column of zeros
    /// are then at the left and the top, where the convolution's own padding does for them. Unturned, each stride of two would copy
    /// its whole input to extend it.
    ///
    /// On the processor the convolution and what follows it are one call from then on (`layers/fused.rs`).
    ///
    /// # Errors
    /// If libtorch runs out of memory.
    pub fn fuse(&mut self) -> Result<(), TchError> {
        if self.fused.is_some() {
            return Ok(());
        }
        self.norm.fuse_into(&mut self.weight)?;
        if let Padding::Same = self.config.padding {
            // Right for odd kernels: of any size with a stride of 1, of 3 and more with a stride of 2. A 1 x 1 kernel with a stride of
            // 2 has nothing to pad, and on a turned image of even sides it would take the other pixels.
            debug_assert!(self.config.stride == 1 || self.config.kernel.iter().all(|&side| side > 1));
            self.config.padding = Padding::Zeros(self.config.kernel.map(|side| side / 2));
            *self.weight = self.weight.f_flip([2, 3])?;
        }
        *self.weight = channels_last(&self.weight)?;
        if let (Padding::Zeros(padding), Device::Cpu) = (self.config.padding, self.weight.device()) {
            self.fused = Fused::new(&self.weight, padding, self.config.stride, self.config.groups);
        }
        if self.fused.is_some() {
            // It lays them out anew, and memory for them once is enough.
            *self.weight = Tensor::f_empty([0], (self.weight.kind(), self.weight.device()))?;
        }
        Ok(())
    }

    /// The input with `SAME`'s uneven zeros where they are uneven, and the even ones left to the convolution.
    fn padded(&self, xs: &Tensor) -> Result<(Option<Tensor>, [i64; 2]), TchError> {
        let config = &self.config;
        if let Padding::Zeros(padding) = config.padding {
            return Ok((None, padding));
        }
        let (_, _, height, width) = xs.size4()?;
        let total = |length: i64, kernel: i64| {
            let steps = (length + config.stride - 1) / config.stride;
            ((steps - 1) * config.stride + kernel - length).max(0)
        };
        let (rows, columns) = (total(height, config.kernel[0]), total(width, config.kernel[1]));
        if rows % 2 == 0 && columns % 2 == 0 {
            return Ok((None, [rows / 2, columns / 2]));
        }
        let zeros = [columns / 2, columns - columns / 2, rows / 2, rows - rows / 2];
        Ok((Some(xs.f_constant_pad_nd(zeros)?), [0, 0]))
    }
}
