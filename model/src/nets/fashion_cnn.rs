//! The project's own net for Fashion-MNIST (<https://arxiv.org/abs/1708.07747>): two blocks of two 3 x 3 convolutions with 32 and
//! 64 channels, each ended by a pool, then 128 hidden units; batch normalisation behind each hidden layer.

use tch::nn::Path;
use tch::{TchError, Tensor};

use super::Net;
use super::layers::{
    Activation, ConvBn, ConvBnConfig, Linear, LinearBn, Padding, conv_bn, linear, linear_bn,
};
use crate::onnx::{Graph, Op, Value};

/// The side of the square input, in pixels.
pub const SIZE: i64 = 28;

const HIDDEN: i64 = 128;

/// Images of `[n, 1, 28, 28]`.
#[derive(Clone, Debug)]
pub struct FashionCnn {
    convs: [ConvBn; 4],
    hidden: LinearBn,
    output: Linear,
    dropout: f64,
}

/// 468 thousand parameters, 18.7 million multiply-adds an image. `dropout` is the chance of a hidden unit to be dropped in training.
///
/// Keys: `conv1`, `bn1` to `conv4`, `bn4`, then `fc1`, `bn5`, `fc2`.
#[must_use]
pub fn fashion_cnn(p: &Path, outputs: i64, dropout: f64) -> FashionCnn {
    let conv = |n: usize, c_in, c_out| {
        let padding = Padding::Zeros([1, 1]);
        let config = ConvBnConfig { kernel: [3, 3], padding, ..Default::default() };
        conv_bn(&(p / format!("conv{n}")), &(p / format!("bn{n}")), c_in, c_out, config)
    };
    let features = 64 * (SIZE / 4) * (SIZE / 4);
    FashionCnn {
        convs: [conv(1, 1, 32), conv(2, 32, 32), conv(3, 32, 64), conv(4, 64, 64)],
        hidden: linear_bn(&(p / "fc1"), &(p / "bn5"), features, HIDDEN, Activation::Relu),
        output: linear(&(p / "fc2"), HIDDEN, outputs),
        dropout,
    }
}

fn halve(xs: &Tensor) -> Result<Tensor, TchError> {
    xs.f_max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)
}

impl Net for FashionCnn {
    fn maps(&self, images: &Tensor, train: bool) -> Result<Tensor, TchError> {
        let [conv1, conv2, conv3, conv4] = &self.convs;
        let xs = halve(&conv2.forward_t(&conv1.forward_t(images, train)?, train)?)?;
        conv4.forward_t(&conv3.forward_t(&xs, train)?, train)
    }

    fn pooled(&self, maps: &Tensor, train: bool) -> Result<Tensor, TchError> {
        self.hidden.forward_t(&halve(maps)?.f_flatten(1, 3)?, train)
    }

    fn outputs(&self, features: &Tensor, train: bool) -> Result<Tensor, TchError> {
        self.output.forward(&features.f_dropout(self.dropout, train)?)
    }

    fn fuse(&mut self) -> Result<(), TchError> {
        self.convs.iter_mut().try_for_each(ConvBn::fuse)?;
        self.hidden.fuse()
    }

    fn export(&self, graph: &mut Graph, images: &Value) -> Result<Value, TchError> {
        let mut xs = images.clone();
        for (conv, place) in self.convs.iter().zip(1..) {
            xs = conv.export(graph, &xs)?;
            if place % 2 == 0 {
                xs = graph.add(&xs, Op::MaxPool { side: 2, stride: 2 });
            }
        }
        let flat = graph.add(&xs, Op::Flatten);
        let hidden = self.hidden.export(graph, &flat)?;
        self.output.export(graph, &hidden)
    }

    fn share(&self) -> Box<dyn Net> {
        Box::new(self.clone())
    }

    fn micro_batch_size(&self) -> usize {
        32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::nn::VarStore;
    use tch::{Device, Kind};

    #[test]
    fn has_its_parameters_under_its_keys() {
        let store = VarStore::new(Device::Cpu);
        let _net = fashion_cnn(&store.root(), 10, 0.3);
        let parameters: usize = store.trainable_variables().iter().map(Tensor::numel).sum();
        assert_eq!(parameters, 468_138);
        let variables = store.variables();
        assert_eq!(variables["conv4.weight"].size(), [64, 64, 3, 3]);
        assert_eq!(variables["fc1.weight"].size(), [128, 3136]);
        assert_eq!(variables["bn5.running_var"].size(), [128]);
    }

    #[test]
    fn fused_it_answers_as_before() {
        let store = VarStore::new(Device::Cpu);
        let mut net = fashion_cnn(&store.root(), 10, 0.3);
        // Statistics that change something.
        for (name, mut variable) in store.variables() {
            if name.contains("bn") {
                tch::no_grad(|| drop(variable.uniform_(0.5, 1.5)));
            }
        }
        let images = Tensor::rand([3, 1, SIZE, SIZE], (Kind::Float, Device::Cpu));
        let plain = tch::no_grad(|| net.forward_t(&images, false)).unwrap();
        tch::no_grad(|| net.fuse()).unwrap();
        let fused = tch::no_grad(|| net.forward_t(&images, false)).unwrap();
        let difference = (&plain - &fused).abs().max().double_value(&[]);
        assert!(difference < 1e-4 * plain.abs().max().double_value(&[]), "{difference}");
    }
}
