//! What the nets are made of: a convolution with its batch normalisation and activation, which folds into one convolution
//! for inference, and a few ops that do not panic.

use std::ops::{Deref, DerefMut};

use tch::nn::{self, Init, Path};
use tch::{Kind, TchError, Tensor};

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

/// How the input of a convolution is extended at its edges.
#[derive(Clone, Copy, Debug)]
pub enum Padding {
    /// So many zeros on each side: rows, columns.
    Zeros([i64; 2]),
    /// TensorFlow's `SAME`: as many zeros as the stride needs, the odd one at the right and the bottom.
    Same,
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

/// Batch normalisation (<https://arxiv.org/abs/1502.03167>), until it is folded into the layer before it.
#[derive(Clone, Debug)]
enum Norm {
    Own {
        weight: Weights,
        bias: Weights,
        running_mean: Weights,
        running_var: Weights,
        eps: f64,
        momentum: f64,
    },
    Folded {
        bias: Weights,
    },
}

impl Norm {
    fn new(p: &Path, channels: i64, eps: f64, momentum: f64) -> Self {
        Self::Own {
            weight: p.var("weight", &[channels], Init::Const(1.0)).into(),
            bias: p.var("bias", &[channels], Init::Const(0.0)).into(),
            running_mean: p.zeros_no_train("running_mean", &[channels]).into(),
            running_var: p.ones_no_train("running_var", &[channels]).into(),
            eps,
            momentum,
        }
    }

    /// What the layer before adds once this is folded into it.
    fn bias(&self) -> Option<&Tensor> {
        match self {
            Self::Own { .. } => None,
            Self::Folded { bias } => Some(&**bias),
        }
    }

    fn forward_t(&self, xs: Tensor, train: bool) -> Result<Tensor, TchError> {
        let Self::Own { weight, bias, running_mean, running_var, eps, momentum } = self else {
            return Ok(xs);
        };
        let [weight, bias, mean, var] = [weight, bias, running_mean, running_var].map(|own| Some(&**own));
        xs.f_batch_norm(weight, bias, mean, var, train, *momentum, *eps, true)
    }

    /// Scales the rows of `layer`, the weights of the layer before, and keeps what is to be added.
    fn fold(&mut self, layer: &mut Tensor) -> Result<(), TchError> {
        let Self::Own { weight, bias, running_mean, running_var, eps, .. } = self else {
            return Ok(());
        };
        let bias = tch::no_grad(|| {
            // In double precision, so that folding costs no more than one rounding.
            let double = |tensor: &Tensor| tensor.f_to_kind(Kind::Double);
            let deviation = double(running_var)?.f_add_scalar(*eps)?.f_sqrt()?;
            let scale = double(weight)?.f_div(&deviation)?;
            let shift = double(bias)?.f_sub(&double(running_mean)?.f_mul(&scale)?)?;
            let mut rows = vec![1; layer.dim()];
            rows[0] = -1;
            let scaled = double(layer)?.f_mul(&scale.f_view(rows.as_slice())?)?;
            let kind = layer.kind();
            *layer = scaled.f_to_kind(kind)?;
            shift.f_to_kind(kind)
        })?;
        *self = Self::Folded { bias: bias.into() };
        Ok(())
    }
}

fn activate(mut xs: Tensor, activation: Activation) -> Result<Tensor, TchError> {
    match activation {
        Activation::Identity => Ok(xs),
        Activation::Relu => xs.f_relu_(),
        Activation::Relu6 => xs.f_relu6_(),
    }
}

/// A convolution without bias, batch normalisation and an activation. [`fold`](Self::fold) makes it one convolution with bias.
#[derive(Clone, Debug)]
pub struct ConvBn {
    weight: Weights,
    norm: Norm,
    config: ConvBnConfig,
}

/// A [`ConvBn`] whose variables are `<conv>.weight` (`[c_out, c_in / groups, rows, columns]`), `<bn>.weight`, `<bn>.bias`,
/// `<bn>.running_mean` and `<bn>.running_var`.
#[must_use]
pub fn conv_bn(conv: &Path, bn: &Path, c_in: i64, c_out: i64, config: ConvBnConfig) -> ConvBn {
    let [rows, columns] = config.kernel;
    let shape = [c_out, c_in / config.groups, rows, columns];
    ConvBn {
        weight: conv.var("weight", &shape, nn::init::DEFAULT_KAIMING_UNIFORM).into(),
        norm: Norm::new(bn, c_out, config.eps, config.momentum),
        config,
    }
}

impl ConvBn {
    /// `[n, c_in, h, w]` to `[n, c_out, h', w']`. In training the batch's own statistics normalise, and the running ones follow.
    ///
    /// # Errors
    /// If the shapes do not match.
    pub fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor, TchError> {
        let config = &self.config;
        let (padded, padding) = self.padded(xs)?;
        let xs = padded.as_ref().unwrap_or(xs);
        let stride = [config.stride, config.stride];
        let bias = self.norm.bias();
        let ys = xs.f_conv2d(&self.weight, bias, stride, padding, [1, 1], config.groups)?;
        activate(self.norm.forward_t(ys, train)?, config.activation)
    }

    /// Makes the normalisation part of the convolution and lays the weights out channels last. No training after this.
    ///
    /// A convolution with [`Padding::Same`] takes and gives images turned by 180 degrees from then on: the odd row and column of zeros
    /// are then at the left and the top, where the convolution's own padding does for them. Unturned, each stride of two would copy
    /// its whole input to extend it.
    ///
    /// # Errors
    /// If libtorch runs out of memory.
    pub fn fold(&mut self) -> Result<(), TchError> {
        self.norm.fold(&mut self.weight)?;
        if let Padding::Same = self.config.padding {
            // Right for odd kernels and strides of 1 and 2, which are all there are.
            self.config.padding = Padding::Zeros(self.config.kernel.map(|side| side / 2));
            *self.weight = self.weight.f_flip([2, 3])?;
        }
        *self.weight = channels_last(&self.weight)?;
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

/// A fully connected layer with bias; its variables are `<path>.weight` (`[c_out, c_in]`) and `<path>.bias`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Weights,
    bias: Weights,
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

/// A fully connected layer without bias, batch normalisation and an activation; [`fold`](Self::fold) makes it one layer.
#[derive(Clone, Debug)]
pub struct LinearBn {
    weight: Weights,
    norm: Norm,
    activation: Activation,
}

/// A [`LinearBn`] whose variables are `<linear>.weight` (`[c_out, c_in]`) and those of `<bn>`, as in [`conv_bn`]. PyTorch's eps and
/// momentum.
#[must_use]
pub fn linear_bn(linear: &Path, bn: &Path, c_in: i64, c_out: i64, activation: Activation) -> LinearBn {
    let ConvBnConfig { eps, momentum, .. } = ConvBnConfig::default();
    LinearBn {
        weight: linear.var("weight", &[c_out, c_in], nn::init::DEFAULT_KAIMING_UNIFORM).into(),
        norm: Norm::new(bn, c_out, eps, momentum),
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
    pub fn fold(&mut self) -> Result<(), TchError> {
        self.norm.fold(&mut self.weight)
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

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;
    use tch::nn::VarStore;

    fn greatest_difference(a: &Tensor, b: &Tensor) -> f64 {
        assert_eq!(a.size(), b.size());
        (a - b).abs().max().double_value(&[])
    }

    /// Batch normalisation that does something: random scale, shift and statistics.
    fn stir(store: &VarStore) {
        for (name, mut variable) in store.variables() {
            let least = if name.ends_with("running_var") { 0.5 } else { -0.5 };
            drop(tch::no_grad(|| variable.uniform_(least, least + 1.0)));
        }
    }

    #[test]
    fn a_folded_convolution_gives_the_same_and_with_same_padding_the_same_turned() {
        tch::manual_seed(7);
        for (kernel, stride, size) in [(3, 1, 8), (3, 2, 8), (3, 2, 9), (5, 2, 8), (5, 2, 9), (1, 1, 6)] {
            for padding in [Padding::Same, Padding::Zeros([kernel / 2, kernel / 2])] {
                let store = VarStore::new(Device::Cpu);
                let root = store.root();
                let kernel = [kernel, kernel];
                let activation = Activation::Relu6;
                let config = ConvBnConfig { kernel, stride, padding, activation, ..Default::default() };
                let mut layer = conv_bn(&(&root / "conv"), &(&root / "bn"), 4, 6, config);
                stir(&store);
                let images = Tensor::randn([2, 4, size, size], tch::kind::FLOAT_CPU);
                let turn = |xs: &Tensor| match padding {
                    Padding::Same => xs.flip([2, 3]),
                    Padding::Zeros(_) => xs.shallow_clone(),
                };

                let plain = layer.forward_t(&images, false).unwrap();
                assert_eq!(plain.size()[2], (size + stride - 1) / stride);
                layer.fold().unwrap();
                let folded = layer.forward_t(&channels_last(&turn(&images)).unwrap(), false).unwrap();
                let difference = greatest_difference(&turn(&folded), &plain);
                assert!(difference < 1e-5, "{config:?} at {size}: {difference}");
                // Folding twice changes nothing more.
                layer.fold().unwrap();
                let again = layer.forward_t(&turn(&images), false).unwrap();
                assert!(greatest_difference(&again, &folded) < 1e-5);
            }
        }
    }

    #[test]
    fn a_folded_linear_layer_gives_the_same() {
        tch::manual_seed(7);
        let store = VarStore::new(Device::Cpu);
        let root = store.root();
        let mut layer = linear_bn(&(&root / "fc"), &(&root / "bn"), 5, 3, Activation::Identity);
        stir(&store);
        let xs = Tensor::randn([4, 5], tch::kind::FLOAT_CPU);
        let plain = layer.forward_t(&xs, false).unwrap();
        layer.fold().unwrap();
        assert!(greatest_difference(&layer.forward_t(&xs, false).unwrap(), &plain) < 1e-5);
    }
}
