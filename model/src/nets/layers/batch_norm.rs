//! Batch normalisation with the statistics of training, and the arithmetic that makes it part of the layer before it.

use tch::nn::{Init, Path};
use tch::{Kind, TchError, Tensor};

use super::Weights;

/// Batch normalisation (<https://arxiv.org/abs/1502.03167>), until it is fused into the layer before it.
#[derive(Clone, Debug)]
pub(super) enum BatchNorm {
    Own {
        weight: Weights,
        bias: Weights,
        running_mean: Weights,
        running_var: Weights,
        eps: f64,
        momentum: f64,
    },
    Fused {
        bias: Weights,
    },
}

impl BatchNorm {
    pub(super) fn new(p: &Path, channels: i64, eps: f64, momentum: f64) -> Self {
        Self::Own {
            weight: p.var("weight", &[channels], Init::Const(1.0)).into(),
            bias: p.var("bias", &[channels], Init::Const(0.0)).into(),
            running_mean: p.zeros_no_train("running_mean", &[channels]).into(),
            running_var: p.ones_no_train("running_var", &[channels]).into(),
            eps,
            momentum,
        }
    }

    /// What the layer before adds once this is fused into it.
    pub(super) fn bias(&self) -> Option<&Tensor> {
        match self {
            Self::Own { .. } => None,
            Self::Fused { bias } => Some(&**bias),
        }
    }

    pub(super) fn forward_t(&self, xs: Tensor, train: bool) -> Result<Tensor, TchError> {
        let Self::Own { weight, bias, running_mean, running_var, eps, momentum } = self else {
            return Ok(xs);
        };
        let [weight, bias, mean, var] = [weight, bias, running_mean, running_var].map(|own| Some(&**own));
        xs.f_batch_norm(weight, bias, mean, var, train, *momentum, *eps, true)
    }

    /// Scales the rows of `layer`, the weights of the layer before, and keeps what is to be added.
    pub(super) fn fuse_into(&mut self, layer: &mut Tensor) -> Result<(), TchError> {
        let Self::Own { weight, bias, running_mean, running_var, eps, .. } = self else {
            return Ok(());
        };
        let bias = tch::no_grad(|| {
            // In double precision, so that fusing costs no more than one rounding.
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
        *self = Self::Fused { bias: bias.into() };
        Ok(())
    }
}
