//! EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, <https://arxiv.org/abs/1905.11946>, in its Lite
//! form: ReLU6 for Swish, no squeeze-and-excitation, stem and head not scaled.
//!
//! Keys as in the PyTorch package `efficientnet_lite_pytorch`; TensorFlow's `SAME` padding; batch normalisation with eps 1e-3.

use tch::nn::Path;
use tch::{TchError, Tensor};

use super::Net;
use super::layers::{Activation, ConvBn, ConvBnConfig, Linear, Padding, conv_bn, global_average, linear};
use crate::onnx::{Graph, Op, Value};

/// One stage of the net: `(repeats, kernel, stride, expansion, c_in, c_out)`.
type Stage = (usize, i64, i64, i64, i64, i64);

const LITE0: [Stage; 7] = [
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
];

const STEM: i64 = 32;
const FEATURES: i64 = 1280;

/// EfficientNet-Lite: images of `[n, 3, 224, 224]` in Lite0's case.
#[derive(Clone, Debug)]
pub struct EfficientNetLite {
    stem: ConvBn,
    blocks: Vec<Block>,
    head: ConvBn,
    fc: Linear,
    /// Whether the convolutions want the image turned by 180 degrees, as fused ones do.
    turned: bool,
}

/// A mobile inverted bottleneck (<https://arxiv.org/abs/1801.04381>).
#[derive(Clone, Debug)]
struct Block {
    expand: Option<ConvBn>,
    depthwise: ConvBn,
    project: ConvBn,
    residual: bool,
}

/// EfficientNet-Lite0: 4.7 million parameters, 407 million multiply-adds an image of 224 x 224.
#[must_use]
pub fn lite0(p: &Path, outputs: i64) -> EfficientNetLite {
    efficientnet_lite(p, &LITE0, outputs)
}

fn same(kernel: i64, stride: i64, groups: i64) -> ConvBnConfig {
    ConvBnConfig {
        kernel: [kernel, kernel],
        stride,
        padding: Padding::Same,
        groups,
        eps: 1e-3,
        momentum: 0.01,
        activation: Activation::Relu6,
    }
}

fn efficientnet_lite(p: &Path, stages: &[Stage], outputs: i64) -> EfficientNetLite {
    let mut blocks = Vec::new();
    let mut last = STEM;
    for &(repeats, kernel, stride, expansion, c_in, c_out) in stages {
        for repeat in 0..repeats {
            let (c_in, stride) = if repeat == 0 { (c_in, stride) } else { (c_out, 1) };
            let p = p / "_blocks" / blocks.len();
            blocks.push(block(&p, kernel, stride, expansion, c_in, c_out));
        }
        last = c_out;
    }
    EfficientNetLite {
        stem: conv_bn(&(p / "_conv_stem"), &(p / "_bn0"), 3, STEM, same(3, 2, 1)),
        blocks,
        head: conv_bn(&(p / "_conv_head"), &(p / "_bn1"), last, FEATURES, same(1, 1, 1)),
        fc: linear(&(p / "_fc"), FEATURES, outputs),
        turned: false,
    }
}

fn block(p: &Path, kernel: i64, stride: i64, expansion: i64, c_in: i64, c_out: i64) -> Block {
    let wide = c_in * expansion;
    let expand = |p: &Path| conv_bn(&(p / "_expand_conv"), &(p / "_bn0"), c_in, wide, same(1, 1, 1));
    let linear = ConvBnConfig { activation: Activation::Identity, ..same(1, 1, 1) };
    Block {
        expand: (expansion != 1).then(|| expand(p)),
        depthwise: conv_bn(&(p / "_depthwise_conv"), &(p / "_bn1"), wide, wide, same(kernel, stride, wide)),
        project: conv_bn(&(p / "_project_conv"), &(p / "_bn2"), wide, c_out, linear),
        residual: stride == 1 && c_in == c_out,
    }
}

impl Block {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor, TchError> {
        let wide = match &self.expand {
            Some(expand) => self.depthwise.forward_t(&expand.forward_t(xs, train)?, train)?,
            None => self.depthwise.forward_t(xs, train)?,
        };
        let mut ys = self.project.forward_t(&wide, train)?;
        if self.residual { ys.f_add_(xs) } else { Ok(ys) }
    }

    fn fuse(&mut self) -> Result<(), TchError> {
        self.expand.iter_mut().try_for_each(ConvBn::fuse)?;
        self.depthwise.fuse()?;
        self.project.fuse()
    }
}

impl Block {
    fn export(&self, graph: &mut Graph, xs: &Value) -> Result<Value, TchError> {
        let wide = match &self.expand {
            Some(expand) => expand.export(graph, xs)?,
            None => xs.clone(),
        };
        let wide = self.depthwise.export(graph, &wide)?;
        let ys = self.project.export(graph, &wide)?;
        Ok(if self.residual { graph.add(&ys, Op::Add(xs)) } else { ys })
    }
}

impl Net for EfficientNetLite {
    fn forward_t(&self, images: &Tensor, train: bool) -> Result<Tensor, TchError> {
        // Turning is done once, and not undone: the mean over each channel does not mind.
        let turned = if self.turned { Some(images.f_flip([2, 3])?) } else { None };
        let mut xs = self.stem.forward_t(turned.as_ref().unwrap_or(images), train)?;
        for block in &self.blocks {
            xs = block.forward_t(&xs, train)?;
        }
        let features = global_average(&self.head.forward_t(&xs, train)?)?;
        self.fc.forward(&features.f_dropout(0.2, train)?)
    }

    fn fuse(&mut self) -> Result<(), TchError> {
        self.stem.fuse()?;
        self.blocks.iter_mut().try_for_each(Block::fuse)?;
        self.head.fuse()?;
        self.turned = true;
        Ok(())
    }

    fn export(&self, graph: &mut Graph, images: &Value) -> Result<Value, TchError> {
        let mut xs = self.stem.export(graph, images)?;
        for block in &self.blocks {
            xs = block.export(graph, &xs)?;
        }
        let features = self.head.export(graph, &xs)?;
        let features = graph.add(&features, Op::GlobalAverage);
        self.fc.export(graph, &features)
    }

    fn share(&self) -> Box<dyn Net> {
        Box::new(self.clone())
    }

    fn micro_batch_size(&self) -> usize {
        4
    }
}
