//! Fully connected layers, with and without batch normalisation.

use tch::nn::{self, Init, Path};
use tch::{TchError, Tensor};

use super::batch_norm::BatchNorm;
use super::{Activation, ConvBnConfig, Weights, activate};

/// A fully connected layer with bias; its variables are `<path>.weight` (`[c_out, c_in]`) and `<path>.bias`.
#[derive(Clone, Debug)]
pub struct Linear {
    pub(super) weight: Weights,
    pub(super) bias: Weights,
}

/// A [`Linear`] of that path.
#[must_use]
pub fn linear(path: &Path, c_in: i64, c_out: i64) -> Linear {
    let bound = 1.0 / (c_in as f64).sqrt();
    Linear {
        weight: path.var("weight", &[c_out, c_in], nn::init::DEFAULT_KAIMING_UNIFORM).into(),
        bias: path.var("bias", &[c_out], Init::Uniform { lo: -bound, up: bound }).into(),
    }
}

impl Linear {
    /// `[n, c_in]` to `[n, c_out]`.
    ///
    /// # Errors
    /// If the shapes do not match.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor, TchError> {
        xs.f_linear(&self.weight, Some(&*self.bias))
    }
}

/// A fully connected layer without bias, batch normalisation and an activation; [`fuse`](Self::fuse) makes it one layer.
#[derive(Clone, Debug)]
pub struct LinearBn {
    pub(super) weight: Weights,
    pub(super) norm: BatchNorm,
    pub(super) activation: Activation,
}

/// A [`LinearBn`] whose variables are `<linear>.weight` (`[c_out, c_in]`) and those of `<bn>`, as in [`super::conv_bn`]. PyTorch's eps and
/// momentum.
#[must_use]
pub fn linear_bn(linear: &Path, bn: &Path, c_in: i64, c_out: i64, activation: Activation) -> LinearBn {
    let ConvBnConfig { eps, momentum, .. } = ConvBnConfig::default();
    LinearBn {
        weight: linear.var("weight", &[c_out, c_in], nn::init::DEFAULT_KAIMING_UNIFORM).into(),
        norm: BatchNorm::new(bn, c_out, eps, momentum),
        activation,
    }
}

impl LinearBn {
    /// `[n, c_in]` to `[n, c_out]`.
    ///
    /// # Errors
    /// If the shapes do not match.
    pub fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor, TchError> {
        let ys = xs.f_linear(&self.weight, self.norm.bias())?;
        activate(self.norm.forward_t(ys, train)?, self.activation)
    }

    /// Makes the normalisation part of the layer. No training after this.
    ///
    /// # Errors
    /// If libtorch runs out of memory.
    pub fn fuse(&mut self) -> Result<(), TchError> {
        self.norm.fuse_into(&mut self.weight)
    }
}
