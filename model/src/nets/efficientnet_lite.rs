//! EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, <https://arxiv.org/abs/1905.11946>, in its Lite
//! form: ReLU6 for Swish, no squeeze-and-excitation, stem and head not scaled.
//!
//! Keys as in the PyTorch package `efficientnet_lite_pytorch`; TensorFlow's `SAME` padding; batch normalisation with eps 1e-3.

use tch::nn::Path;
use tch::{Device, TchError, Tensor};

use super::Net;
use super::layers::{Activation, ConvBn, ConvBnConfig, Linear, Padding, conv_bn, global_average, linear};
use crate::onnx::{Graph, Op, Value};

/// One stage of the net: `(repeats, kernel, stride, expansion, c_out)`.
type Stage = (i64, i64, i64, i64, i64);

/// Lite0's stages, of which the others are multiples.
const STAGES: [Stage; 7] = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
];

/// How a form of the net differs from Lite0.
#[derive(Clone, Copy, Debug)]
struct Form {
    /// Channels of the stages, in tenths of Lite0's.
    width: i64,
    /// Repeats of all stages but the first and the last, in tenths of Lite0's.
    depth: i64,
    /// The share of features that training leaves out.
    dropout: f64,
}

impl Form {
    /// To the nearest multiple of 8, but not down by more than a tenth.
    fn channels(self, lite0: i64) -> i64 {
        let tenths = lite0 * self.width;
        let nearest = ((tenths + 40) / 80 * 8).max(8);
        if 100 * nearest < 9 * tenths { nearest + 8 } else { nearest }
    }

    fn repeats(self, stage: usize, lite0: i64) -> i64 {
        if stage == 0 || stage == STAGES.len() - 1 { lite0 } else { (lite0 * self.depth + 9) / 10 }
    }
}

const STEM: i64 = 32;
const FEATURES: i64 = 1280;

/// EfficientNet-Lite: images of `[n, 3, size, size]`, 224 in Lite0's case, 240 in Lite1's, 260 in Lite2's.
#[derive(Clone, Debug)]
pub struct EfficientNetLite {
    stem: ConvBn,
    blocks: Vec<Block>,
    head: ConvBn,
    fc: Linear,
    dropout: f64,
    /// How many of the blocks lead to an eighth of the image's sides. Their activations are large: on a processor they take images one
    /// by one, since those of several would leave its cache and need that much more memory. Behind them weights outnumber pixels.
    early: usize,
    /// Whether it is fused: the convolutions then want images turned by 180 degrees.
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
    efficientnet_lite(p, Form { width: 10, depth: 10, dropout: 0.2 }, outputs)
}

/// EfficientNet-Lite1: 5.4 million parameters, 631 million multiply-adds an image of 240 x 240.
#[must_use]
pub fn lite1(p: &Path, outputs: i64) -> EfficientNetLite {
    efficientnet_lite(p, Form { width: 10, depth: 11, dropout: 0.2 }, outputs)
}

/// EfficientNet-Lite2: 6.1 million parameters, 899 million multiply-adds an image of 260 x 260.
#[must_use]
pub fn lite2(p: &Path, outputs: i64) -> EfficientNetLite {
    efficientnet_lite(p, Form { width: 11, depth: 12, dropout: 0.3 }, outputs)
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

fn efficientnet_lite(p: &Path, form: Form, outputs: i64) -> EfficientNetLite {
    let mut blocks = Vec::new();
    let mut last = STEM;
    // The stem halves the sides, and so do two of these.
    let (mut early, mut halved) = (0, 0);
    for (stage, (repeats, kernel, stride, expansion, c_out)) in STAGES.into_iter().enumerate() {
        let c_out = form.channels(c_out);
        for repeat in 0..form.repeats(stage, repeats) {
            let stride = if repeat == 0 { stride } else { 1 };
            let p = p / "_blocks" / blocks.len();
            blocks.push(block(&p, kernel, stride, expansion, last, c_out));
            last = c_out;
            if stride == 2 && halved < 2 {
                (early, halved) = (blocks.len(), halved + 1);
            }
        }
    }
    EfficientNetLite {
        stem: conv_bn(&(p / "_conv_stem"), &(p / "_bn0"), 3, STEM, same(3, 2, 1)),
        blocks,
        head: conv_bn(&(p / "_conv_head"), &(p / "_bn1"), last, FEATURES, same(1, 1, 1)),
        fc: linear(&(p / "_fc"), FEATURES, outputs),
        dropout: form.dropout,
        early,
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
        if self.residual {
            self.project.forward_onto(&wide, xs, train)
        } else {
            self.project.forward_t(&wide, train)
        }
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
    fn maps(&self, images: &Tensor, train: bool) -> Result<Tensor, TchError> {
        let (early, late) = self.blocks.split_at(self.early);
        // What is turned stays so: the mean over each channel does not mind.
        let first_half = |images: &Tensor| {
            let stem = self.stem.forward_t(images, train)?;
            early.iter().try_fold(stem, |xs, block| block.forward_t(&xs, train))
        };
        let one_by_one = self.turned && images.device() == Device::Cpu && images.size()[0] > 1;
        let mut xs = if one_by_one {
            let each = images.f_split(1, 0)?.iter().map(first_half).collect::<Result<Vec<_>, _>>()?;
            Tensor::f_cat(&each, 0)?
        } else {
            first_half(images)?
        };
        for block in late {
            xs = block.forward_t(&xs, train)?;
        }
        self.head.forward_t(&xs, train)
    }

    fn pooled(&self, maps: &Tensor, _train: bool) -> Result<Tensor, TchError> {
        global_average(maps)
    }

    fn outputs(&self, features: &Tensor, train: bool) -> Result<Tensor, TchError> {
        self.fc.forward(&features.f_dropout(self.dropout, train)?)
    }

    fn fuse(&mut self) -> Result<(), TchError> {
        self.stem.fuse()?;
        self.blocks.iter_mut().try_for_each(Block::fuse)?;
        self.head.fuse()?;
        self.turned = true;
        Ok(())
    }

    fn is_turned(&self) -> bool {
        self.turned
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

    fn blocks(&self) -> usize {
        self.blocks.len()
    }

    fn before(&self, images: &Tensor, blocks: usize) -> Result<Tensor, TchError> {
        let (before, _) = self.cut(blocks)?;
        let stem = self.stem.forward_t(images, false)?;
        let xs = before.iter().try_fold(stem, |xs, block| block.forward_t(&xs, false))?;
        if self.turned { xs.f_flip([2, 3]) } else { Ok(xs) }
    }

    fn behind(&self, maps: &Tensor, blocks: usize) -> Result<Tensor, TchError> {
        let (_, behind) = self.cut(blocks)?;
        let xs = behind.iter().try_fold(maps.shallow_clone(), |xs, block| block.forward_t(&xs, false))?;
        global_average(&self.head.forward_t(&xs, false)?)
    }

    fn micro_batch_size(&self) -> usize {
        8
    }
}

impl EfficientNetLite {
    /// All blocks but the last so many, and those.
    fn cut(&self, blocks: usize) -> Result<(&[Block], &[Block]), TchError> {
        let before = self.blocks.len().checked_sub(blocks);
        let before = before.ok_or_else(|| TchError::Torch(format!("the net has no {blocks} blocks")))?;
        Ok(self.blocks.split_at(before))
    }
}
