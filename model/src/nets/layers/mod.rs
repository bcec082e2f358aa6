//! What the nets are made of: a convolution with its batch normalisation and activation, which fuses into one convolution
//! for inference, and a few ops that do not panic.

mod batch_norm;
mod conv;
mod export;
mod fused;
mod linear;
#[cfg(test)]
mod tests;

use std::ops::{Deref, DerefMut};

use tch::{TchError, Tensor};

pub use conv::{ConvBn, ConvBnConfig, Padding, conv_bn};
#[cfg(test)]
pub(crate) use fused::lacking;
pub use linear::{Linear, LinearBn, linear, linear_bn};

/// A net's own numbers. A clone is the same memory, so that all instances of a net hold its weights once.
#[derive(Debug)]
pub struct Weights(Tensor);

impl Clone for Weights {
    fn clone(&self) -> Self {
        Self(self.0.shallow_clone())
    }
}

impl From<Tensor> for Weights {
    fn from(tensor: Tensor) -> Self {
        Self(tensor)
    }
}

impl Deref for Weights {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.0
    }
}

impl DerefMut for Weights {
    fn deref_mut(&mut self) -> &mut Tensor {
        &mut self.0
    }
}

/// What follows the normalisation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
}

fn activate(mut xs: Tensor, activation: Activation) -> Result<Tensor, TchError> {
    match activation {
        Activation::Identity => Ok(xs),
        Activation::Relu => xs.f_relu_(),
        Activation::Relu6 => xs.f_relu6_(),
    }
}

/// The mean of each channel: `[n, c, h, w]` to `[n, c]`.
///
/// # Errors
/// If `xs` has not four dimensions.
pub fn global_average(xs: &Tensor) -> Result<Tensor, TchError> {
    xs.f_mean_dim([2_i64, 3].as_slice(), false, xs.kind())
}

/// The same four-dimensional values with each pixel's channels side by side in memory.
///
/// # Errors
/// If `xs` has not four dimensions.
pub fn channels_last(xs: &Tensor) -> Result<Tensor, TchError> {
    xs.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])
}
