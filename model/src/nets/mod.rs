//! The nets. Each file is one paper's net; the path of a variable is its key in the weights file.

pub mod efficientnet_lite;
pub mod fashion_cnn;
pub mod inception_v3;
pub mod layers;

use std::fmt;

use registry::Architecture;
use tch::nn::Path;
use tch::{TchError, Tensor};

use crate::ModelError;
use crate::onnx::{Graph, Value};

/// A classifier of images.
pub trait Net: fmt::Debug + Send {
    /// Normalised images `[n, channels, size, size]` to logits `[n, outputs]`.
    ///
    /// # Errors
    /// If the shapes do not match.
    fn forward_t(&self, images: &Tensor, train: bool) -> Result<Tensor, TchError> {
        self.outputs(&self.features(images, train)?, train)
    }

    /// Normalised images to what the last layer makes logits of, `[n, features]`.
    ///
    /// # Errors
    /// If the shapes do not match.
    fn features(&self, images: &Tensor, train: bool) -> Result<Tensor, TchError> {
        self.pooled(&self.maps(images, train)?, train)
    }

    /// Normalised images to what the last convolution makes of them, `[n, channels, rows, columns]`: the last place in the net that knows
    /// where in an image something is. Turned by 180 degrees if [`is_turned`](Self::is_turned).
    ///
    /// # Errors
    /// If the shapes do not match.
    fn maps(&self, images: &Tensor, train: bool) -> Result<Tensor, TchError>;

    /// [`maps`](Self::maps) to [`features`](Self::features).
    ///
    /// # Errors
    /// If the shapes do not match.
    fn pooled(&self, maps: &Tensor, train: bool) -> Result<Tensor, TchError>;

    /// [`features`](Self::features) to logits.
    ///
    /// # Errors
    /// If the shapes do not match.
    fn outputs(&self, features: &Tensor, train: bool) -> Result<Tensor, TchError>;

    /// Makes the net ready for inference: each normalisation fused into its convolution, weights channels last. No training
    /// after this.
    ///
    /// # Errors
    /// If libtorch runs out of memory.
    fn fuse(&mut self) -> Result<(), TchError>;

    /// Whether it wants images turned by 180 degrees, as some do when they are fused.
    fn is_turned(&self) -> bool {
        false
    }

    /// Adds the net, which is not fused, to a graph: from normalised images to logits.
    ///
    /// # Errors
    /// If it is fused, or libtorch runs out of memory.
    fn export(&self, graph: &mut Graph, images: &Value) -> Result<Value, TchError>;

    /// One more of this net, on the same weights in memory.
    fn share(&self) -> Box<dyn Net>;

    /// How many blocks at its end can be gone through by themselves; 0 for a net that is not cut.
    fn blocks(&self) -> usize {
        0
    }

    /// Normalised images to what the last `blocks` blocks take, `[n, channels, rows, columns]`, not turned even if the net
    /// [is](Self::is_turned).
    ///
    /// # Errors
    /// If the shapes do not match, or there are no such blocks.
    fn before(&self, _images: &Tensor, _blocks: usize) -> Result<Tensor, TchError> {
        Err(TchError::Torch("the net can't be cut".into()))
    }

    /// What [`before`](Self::before) gives to [`features`](Self::features), as in inference, in a net that is not fused. Gradients reach
    /// the last `blocks` blocks.
    ///
    /// # Errors
    /// If the shapes do not match, or there are no such blocks.
    fn behind(&self, _maps: &Tensor, _blocks: usize) -> Result<Tensor, TchError> {
        Err(TchError::Torch("the net can't be cut".into()))
    }

    /// How many images go through the net at once. A larger batch is cut into micro-batches: its activations would not stay in the
    /// processor's cache, and would need that much more memory.
    fn micro_batch_size(&self) -> usize;
}

/// The name of the tensor with one number for each output of that architecture: the last layer's bias, and beside it lies its weight.
///
/// # Errors
/// If this build has no such net.
pub fn output_bias(architecture: Architecture) -> Result<&'static str, ModelError> {
    match architecture {
        Architecture::EfficientnetLite0
        | Architecture::EfficientnetLite1
        | Architecture::EfficientnetLite2 => Ok("_fc.bias"),
        Architecture::InceptionV3 => Ok("fc.bias"),
        Architecture::FashionCnn => Ok("fc2.bias"),
        other => Err(unsupported(other)),
    }
}

fn unsupported(architecture: Architecture) -> ModelError {
    ModelError::Unsupported { what: format!("the architecture {architecture:?}") }
}

/// The net of that architecture with fresh variables under `root`.
///
/// # Errors
/// If this build has no such net.
pub fn build(architecture: Architecture, root: &Path, outputs: i64) -> Result<Box<dyn Net>, ModelError> {
    match architecture {
        Architecture::EfficientnetLite0 => Ok(Box::new(efficientnet_lite::lite0(root, outputs))),
        Architecture::EfficientnetLite1 => Ok(Box::new(efficientnet_lite::lite1(root, outputs))),
        Architecture::EfficientnetLite2 => Ok(Box::new(efficientnet_lite::lite2(root, outputs))),
        Architecture::InceptionV3 => Ok(Box::new(inception_v3::inception_v3(root, outputs))),
        Architecture::FashionCnn => Ok(Box::new(fashion_cnn::fashion_cnn(root, outputs, 0.0))),
        other => Err(unsupported(other)),
    }
}

#[cfg(test)]
mod tests {
    use tch::nn::VarStore;
    use tch::{Device, Tensor};

    use super::*;

    #[test]
    fn a_net_that_is_cut_and_fused_before_the_cut_gives_the_same_features() {
        tch::manual_seed(3);
        for (architecture, size, blocks) in [
            (Architecture::EfficientnetLite0, 65, 16),
            (Architecture::EfficientnetLite2, 64, 21),
            (Architecture::InceptionV3, 107, 11),
        ] {
            let store = VarStore::new(Device::Cpu);
            let net = build(architecture, &store.root(), 3).unwrap();
            let mut fused = net.share();
            fused.fuse().unwrap();
            assert_eq!(net.blocks(), blocks);
            let images = Tensor::randn([2, 3, size, size], tch::kind::FLOAT_CPU);
            let whole = tch::no_grad(|| net.features(&images, false)).unwrap();
            let given = if fused.is_turned() { images.flip([2, 3]) } else { images.shallow_clone() };
            for cut in [1, 4, blocks] {
                let maps =
                    tch::no_grad(|| fused.before(&layers::channels_last(&given).unwrap(), cut)).unwrap();
                let found = net.behind(&maps, cut).unwrap();
                let furthest = (&found - &whole).abs().max().double_value(&[]);
                let scale = whole.abs().max().double_value(&[]);
                assert!(furthest < 1e-4 * scale.max(1.0), "{architecture:?} at {cut}: {furthest} of {scale}");
            }
            assert!(net.before(&images, blocks + 1).is_err());
        }
    }
}
