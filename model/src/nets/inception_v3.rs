//! Rethinking the Inception Architecture for Computer Vision, <https://arxiv.org/abs/1512.00567>.
//!
//! Keys as in torchvision's `inception_v3` (its input transform off); batch normalisation with eps 1e-3. The auxiliary head is a
//! matter of training: its keys in a weights file are passed over.

use tch::nn::Path;
use tch::{TchError, Tensor};

use super::Net;
use super::layers::{ConvBn, ConvBnConfig, Linear, Padding, conv_bn, global_average, linear};
use crate::onnx::{Graph, Op, Value};

/// Inception v3: images of `[n, 3, 299, 299]`.
#[derive(Clone, Debug)]
pub struct InceptionV3 {
    layers: Vec<Layer>,
    fc: Linear,
}

#[derive(Clone, Debug)]
enum Layer {
    Conv(ConvBn),
    MaxPool,
    Mixed(Vec<Branch>),
}

/// One of the ways through an Inception module; what they give is joined by channel.
#[derive(Clone, Debug)]
enum Branch {
    /// Convolutions one after another, behind a pooling of the module's input in some.
    Chain(Pool, Vec<ConvBn>),
    /// Convolutions one after another, then two side by side.
    Fork(Vec<ConvBn>, Box<[ConvBn; 2]>),
}

#[derive(Clone, Copy, Debug)]
enum Pool {
    None,
    Average,
    Max,
}

/// Inception v3: 23.8 million parameters without the auxiliary head, 5.7 thousand million multiply-adds an image of 299 x 299.
#[must_use]
pub fn inception_v3(p: &Path, outputs: i64) -> InceptionV3 {
    let stem = |name: &str, c_in, c_out, kernel, stride, padding| {
        Layer::Conv(conv2d(&(p / name), c_in, c_out, [kernel, kernel], stride, [padding, padding]))
    };
    let layers = vec![
        stem("Conv2d_1a_3x3", 3, 32, 3, 2, 0),
        stem("Conv2d_2a_3x3", 32, 32, 3, 1, 0),
        stem("Conv2d_2b_3x3", 32, 64, 3, 1, 1),
        Layer::MaxPool,
        stem("Conv2d_3b_1x1", 64, 80, 1, 1, 0),
        stem("Conv2d_4a_3x3", 80, 192, 3, 1, 0),
        Layer::MaxPool,
        inception_a(&(p / "Mixed_5b"), 192, 32),
        inception_a(&(p / "Mixed_5c"), 256, 64),
        inception_a(&(p / "Mixed_5d"), 288, 64),
        inception_b(&(p / "Mixed_6a"), 288),
        inception_c(&(p / "Mixed_6b"), 768, 128),
        inception_c(&(p / "Mixed_6c"), 768, 160),
        inception_c(&(p / "Mixed_6d"), 768, 160),
        inception_c(&(p / "Mixed_6e"), 768, 192),
        inception_d(&(p / "Mixed_7a"), 768),
        inception_e(&(p / "Mixed_7b"), 1280),
        inception_e(&(p / "Mixed_7c"), 2048),
    ];
    InceptionV3 { layers, fc: linear(&(p / "fc"), 2048, outputs) }
}

fn conv2d(p: &Path, c_in: i64, c_out: i64, kernel: [i64; 2], stride: i64, padding: [i64; 2]) -> ConvBn {
    let padding = Padding::Zeros(padding);
    let config = ConvBnConfig { kernel, stride, padding, eps: 1e-3, ..Default::default() };
    conv_bn(&(p / "conv"), &(p / "bn"), c_in, c_out, config)
}

/// A convolution that keeps the size.
fn keep(p: &Path, c_in: i64, c_out: i64, kernel: [i64; 2]) -> ConvBn {
    conv2d(p, c_in, c_out, kernel, 1, kernel.map(|side| side / 2))
}

/// A 3 x 3 convolution that halves the size.
fn halve(p: &Path, c_in: i64, c_out: i64) -> ConvBn {
    conv2d(p, c_in, c_out, [3, 3], 2, [0, 0])
}

/// Figure 5 of the paper.
fn inception_a(p: &Path, c_in: i64, pool_features: i64) -> Layer {
    Layer::Mixed(vec![
        Branch::Chain(Pool::None, vec![keep(&(p / "branch1x1"), c_in, 64, [1, 1])]),
        Branch::Chain(
            Pool::None,
            vec![keep(&(p / "branch5x5_1"), c_in, 48, [1, 1]), keep(&(p / "branch5x5_2"), 48, 64, [5, 5])],
        ),
        Branch::Chain(
            Pool::None,
            vec![
                keep(&(p / "branch3x3dbl_1"), c_in, 64, [1, 1]),
                keep(&(p / "branch3x3dbl_2"), 64, 96, [3, 3]),
                keep(&(p / "branch3x3dbl_3"), 96, 96, [3, 3]),
            ],
        ),
        Branch::Chain(Pool::Average, vec![keep(&(p / "branch_pool"), c_in, pool_features, [1, 1])]),
    ])
}

/// Figure 10: from 35 x 35 to 17 x 17.
fn inception_b(p: &Path, c_in: i64) -> Layer {
    Layer::Mixed(vec![
        Branch::Chain(Pool::None, vec![halve(&(p / "branch3x3"), c_in, 384)]),
        Branch::Chain(
            Pool::None,
            vec![
                keep(&(p / "branch3x3dbl_1"), c_in, 64, [1, 1]),
                keep(&(p / "branch3x3dbl_2"), 64, 96, [3, 3]),
                halve(&(p / "branch3x3dbl_3"), 96, 96),
            ],
        ),
        Branch::Chain(Pool::Max, vec![]),
    ])
}

/// Figure 6, with n = 7.
fn inception_c(p: &Path, c_in: i64, c7: i64) -> Layer {
    Layer::Mixed(vec![
        Branch::Chain(Pool::None, vec![keep(&(p / "branch1x1"), c_in, 192, [1, 1])]),
        Branch::Chain(
            Pool::None,
            vec![
                keep(&(p / "branch7x7_1"), c_in, c7, [1, 1]),
                keep(&(p / "branch7x7_2"), c7, c7, [1, 7]),
                keep(&(p / "branch7x7_3"), c7, 192, [7, 1]),
            ],
        ),
        Branch::Chain(
            Pool::None,
            vec![
                keep(&(p / "branch7x7dbl_1"), c_in, c7, [1, 1]),
                keep(&(p / "branch7x7dbl_2"), c7, c7, [7, 1]),
                keep(&(p / "branch7x7dbl_3"), c7, c7, [1, 7]),
                keep(&(p / "branch7x7dbl_4"), c7, c7, [7, 1]),
                keep(&(p / "branch7x7dbl_5"), c7, 192, [1, 7]),
            ],
        ),
        Branch::Chain(Pool::Average, vec![keep(&(p / "branch_pool"), c_in, 192, [1, 1])]),
    ])
}

/// From 17 x 17 to 8 x 8.
fn inception_d(p: &Path, c_in: i64) -> Layer {
    Layer::Mixed(vec![
        Branch::Chain(
            Pool::None,
            vec![keep(&(p / "branch3x3_1"), c_in, 192, [1, 1]), halve(&(p / "branch3x3_2"), 192, 320)],
        ),
        Branch::Chain(
            Pool::None,
            vec![
                keep(&(p / "branch7x7x3_1"), c_in, 192, [1, 1]),
                keep(&(p / "branch7x7x3_2"), 192, 192, [1, 7]),
                keep(&(p / "branch7x7x3_3"), 192, 192, [7, 1]),
                halve(&(p / "branch7x7x3_4"), 192, 192),
            ],
        ),
        Branch::Chain(Pool::Max, vec![]),
    ])
}

/// Figure 7.
fn inception_e(p: &Path, c_in: i64) -> Layer {
    let fork =
        |a: &str, b: &str| Box::new([keep(&(p / a), 384, 384, [1, 3]), keep(&(p / b), 384, 384, [3, 1])]);
    Layer::Mixed(vec![
        Branch::Chain(Pool::None, vec![keep(&(p / "branch1x1"), c_in, 320, [1, 1])]),
        Branch::Fork(
            vec![keep(&(p / "branch3x3_1"), c_in, 384, [1, 1])],
            fork("branch3x3_2a", "branch3x3_2b"),
        ),
        Branch::Fork(
            vec![
                keep(&(p / "branch3x3dbl_1"), c_in, 448, [1, 1]),
                keep(&(p / "branch3x3dbl_2"), 448, 384, [3, 3]),
            ],
            fork("branch3x3dbl_3a", "branch3x3dbl_3b"),
        ),
        Branch::Chain(Pool::Average, vec![keep(&(p / "branch_pool"), c_in, 192, [1, 1])]),
    ])
}

const MAX_POOL: Op<'static> = Op::MaxPool { side: 3, stride: 2 };

fn max_pool(xs: &Tensor) -> Result<Tensor, TchError> {
    xs.f_max_pool2d([3, 3], [2, 2], [0, 0], [1, 1], false)
}

fn chain(convs: &[ConvBn], xs: Tensor, train: bool) -> Result<Tensor, TchError> {
    convs.iter().try_fold(xs, |xs, conv| conv.forward_t(&xs, train))
}

impl Branch {
    fn forward_t(&self, xs: &Tensor, train: bool, outputs: &mut Vec<Tensor>) -> Result<(), TchError> {
        match self {
            Self::Chain(pool, convs) => {
                let xs = match pool {
                    Pool::None => xs.shallow_clone(),
                    Pool::Average => xs.f_avg_pool2d([3, 3], [1, 1], [1, 1], false, true, None)?,
                    Pool::Max => max_pool(xs)?,
                };
                outputs.push(chain(convs, xs, train)?);
            }
            Self::Fork(convs, both) => {
                let xs = chain(convs, xs.shallow_clone(), train)?;
                for conv in both.iter() {
                    outputs.push(conv.forward_t(&xs, train)?);
                }
            }
        }
        Ok(())
    }

    fn fuse(&mut self) -> Result<(), TchError> {
        match self {
            Self::Chain(_, convs) => convs.iter_mut().try_for_each(ConvBn::fuse),
            Self::Fork(convs, both) => convs.iter_mut().chain(both.iter_mut()).try_for_each(ConvBn::fuse),
        }
    }
}

impl Branch {
    fn export(&self, graph: &mut Graph, xs: &Value, outputs: &mut Vec<Value>) -> Result<(), TchError> {
        match self {
            Self::Chain(pool, convs) => {
                let xs = match pool {
                    Pool::None => xs.clone(),
                    Pool::Average => graph.add(xs, Op::AveragePool),
                    Pool::Max => graph.add(xs, MAX_POOL),
                };
                outputs.push(convs.iter().try_fold(xs, |xs, conv| conv.export(graph, &xs))?);
            }
            Self::Fork(convs, both) => {
                let xs = convs.iter().try_fold(xs.clone(), |xs, conv| conv.export(graph, &xs))?;
                for conv in both.iter() {
                    outputs.push(conv.export(graph, &xs)?);
                }
            }
        }
        Ok(())
    }
}

impl Layer {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor, TchError> {
        match self {
            Self::Conv(conv) => conv.forward_t(xs, train),
            Self::MaxPool => max_pool(xs),
            Self::Mixed(branches) => {
                let mut outputs = Vec::new();
                for branch in branches {
                    branch.forward_t(xs, train, &mut outputs)?;
                }
                Tensor::f_cat(&outputs, 1)
            }
        }
    }
}

fn through(layers: &[Layer], xs: &Tensor, train: bool) -> Result<Tensor, TchError> {
    layers.iter().try_fold(xs.shallow_clone(), |xs, layer| layer.forward_t(&xs, train))
}

impl InceptionV3 {
    /// All layers but the last so many modules, and those.
    fn cut(&self, blocks: usize) -> Result<(&[Layer], &[Layer]), TchError> {
        if blocks > self.blocks() {
            return Err(TchError::Torch(format!("the net has no {blocks} modules")));
        }
        Ok(self.layers.split_at(self.layers.len() - blocks))
    }
}

impl Net for InceptionV3 {
    fn maps(&self, images: &Tensor, train: bool) -> Result<Tensor, TchError> {
        through(&self.layers, images, train)
    }

    fn pooled(&self, maps: &Tensor, _train: bool) -> Result<Tensor, TchError> {
        global_average(maps)
    }

    fn outputs(&self, features: &Tensor, train: bool) -> Result<Tensor, TchError> {
        self.fc.forward(&features.f_dropout(0.5, train)?)
    }

    fn fuse(&mut self) -> Result<(), TchError> {
        self.layers.iter_mut().try_for_each(|layer| match layer {
            Layer::Conv(conv) => conv.fuse(),
            Layer::MaxPool => Ok(()),
            Layer::Mixed(branches) => branches.iter_mut().try_for_each(Branch::fuse),
        })
    }

    fn export(&self, graph: &mut Graph, images: &Value) -> Result<Value, TchError> {
        let mut xs = images.clone();
        for layer in &self.layers {
            xs = match layer {
                Layer::Conv(conv) => conv.export(graph, &xs)?,
                Layer::MaxPool => graph.add(&xs, MAX_POOL),
                Layer::Mixed(branches) => {
                    let mut outputs = Vec::new();
                    for branch in branches {
                        branch.export(graph, &xs, &mut outputs)?;
                    }
                    let first = outputs.remove(0);
                    graph.add(&first, Op::Concat(&outputs))
                }
            };
        }
        let features = graph.add(&xs, Op::GlobalAverage);
        self.fc.export(graph, &features)
    }

    fn share(&self) -> Box<dyn Net> {
        Box::new(self.clone())
    }

    /// The modules, with which it ends.
    fn blocks(&self) -> usize {
        self.layers.iter().rev().take_while(|layer| matches!(layer, Layer::Mixed(_))).count()
    }

    fn before(&self, images: &Tensor, blocks: usize) -> Result<Tensor, TchError> {
        through(self.cut(blocks)?.0, images, false)
    }

    fn behind(&self, maps: &Tensor, blocks: usize) -> Result<Tensor, TchError> {
        global_average(&through(self.cut(blocks)?.1, maps, false)?)
    }

    fn micro_batch_size(&self) -> usize {
        8
    }
}
