//! A net as an ONNX file (<https://onnx.ai/onnx/repo-docs/IR.html>), for engines other than libtorch.
//!
//! The layers write themselves ([`Net::export`]): each convolution with its normalisation folded into it in double precision, in
//! plain Rust and in one order, so that the file is the same to the last byte whatever computes it. Its input is what the net takes:
//! normalised values `[N, channels, size, size]`, any N; its output logits `[N, outputs]`.

use model_openvino::onnx::proto::Message;
use model_openvino::onnx::write::{Node, floats, side, unsigned};
use registry::{Manifest, ModelVersion};
use tch::{TchError, Tensor};

use crate::nets::Net;
use crate::{ModelError, weights};

/// The version of the format: of 2022, which every runtime in use reads.
const IR_VERSION: u64 = 8;
/// The version of the operators, of the same year.
const OPERATORS: u64 = 17;

/// The name of the file's one input.
pub const INPUT: &str = "images";
/// The name of its one output.
pub const OUTPUT: &str = "logits";

/// Something that a node gives and others take.
#[derive(Clone, Debug)]
pub struct Value(String);

/// The operators that the nets are made of.
#[derive(Clone, Copy, Debug)]
pub enum Op<'a> {
    /// `weight` is `[c_out, c_in / groups, rows, columns]`.
    Conv {
        /// Folded weights, and their shape.
        weight: (&'a [f32], [i64; 4]),
        /// One for each channel.
        bias: &'a [f32],
        /// In both directions.
        stride: i64,
        /// Zeros on each side, rows and columns; none for TensorFlow's `SAME`.
        padding: Option<[i64; 2]>,
        /// Groups of channels that do not see each other.
        groups: i64,
    },
    /// `weight` is `[c_out, c_in]`.
    Linear {
        /// Folded weights, and their shape.
        weight: (&'a [f32], [i64; 2]),
        /// One for each channel.
        bias: &'a [f32],
    },
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// The largest of a square, without padding.
    MaxPool {
        /// The square's side.
        side: i64,
        /// In both directions.
        stride: i64,
    },
    /// The mean of 3 x 3, zeros at the edges counted.
    AveragePool,
    /// The mean of each channel, and its two sides of 1 left out: `[n, c, h, w]` to `[n, c]`.
    GlobalAverage,
    /// All but the first dimension made one.
    Flatten,
    /// One value and another.
    Add(&'a Value),
    /// This and others, by channel.
    Concat(&'a [Value]),
}

/// A net on its way to a file.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: Vec<Message>,
    constants: Vec<Message>,
    /// Whether the bounds of [`Op::Relu6`] are among the constants.
    bounds: bool,
}

impl Graph {
    /// Adds a node that makes something of `input`.
    pub fn add(&mut self, input: &Value, op: Op<'_>) -> Value {
        let name = format!("n{}", self.nodes.len());
        let mut inputs = vec![input.0.clone()];
        let node = match op {
            Op::Conv { weight: (weight, shape), bias, stride, padding, groups } => {
                inputs.push(self.constant(&format!("{name}.weight"), weight, &shape));
                inputs.push(self.constant(&format!("{name}.bias"), bias, &[shape[0]]));
                let node = Node::new("Conv").ints("kernel_shape", &shape[2..]).ints("strides", &[stride; 2]);
                let node = if groups == 1 { node } else { node.int("group", groups) };
                match padding {
                    Some([rows, columns]) => node.ints("pads", &[rows, columns, rows, columns]),
                    None => node.text("auto_pad", "SAME_UPPER"),
                }
            }
            Op::Linear { weight: (weight, shape), bias } => {
                inputs.push(self.constant(&format!("{name}.weight"), weight, &shape));
                inputs.push(self.constant(&format!("{name}.bias"), bias, &shape[..1]));
                Node::new("Gemm").int("transB", 1)
            }
            Op::Relu => Node::new("Relu"),
            Op::Relu6 => {
                if !self.bounds {
                    self.bounds = true;
                    self.constant("zero", &[0.0], &[]);
                    self.constant("six", &[6.0], &[]);
                }
                inputs.extend(["zero".to_owned(), "six".to_owned()]);
                Node::new("Clip")
            }
            Op::MaxPool { side, stride } => {
                Node::new("MaxPool").ints("kernel_shape", &[side; 2]).ints("strides", &[stride; 2])
            }
            Op::AveragePool => Node::new("AveragePool")
                .ints("kernel_shape", &[3; 2])
                .ints("strides", &[1; 2])
                .ints("pads", &[1; 4])
                .int("count_include_pad", 1),
            Op::GlobalAverage => Node::new("ReduceMean").ints("axes", &[2, 3]).int("keepdims", 0),
            Op::Flatten => Node::new("Flatten").int("axis", 1),
            Op::Add(other) => {
                inputs.push(other.0.clone());
                Node::new("Add")
            }
            Op::Concat(others) => {
                inputs.extend(others.iter().map(|other| other.0.clone()));
                Node::new("Concat").int("axis", 1)
            }
        };
        self.nodes.push(node.written(&inputs, &name));
        Value(name)
    }

    /// A tensor of the file, and its name.
    fn constant(&mut self, name: &str, values: &[f32], shape: &[i64]) -> String {
        let tensor = floats(name, &unsigned(shape), values);
        self.constants.push(tensor);
        name.to_owned()
    }

    /// The file, whose output is `output`.
    fn finish(mut self, output: &Value, name: &str, input: [i64; 3], outputs: i64) -> Vec<u8> {
        // The last node's own name is no word for people.
        self.nodes.push(Node::new("Identity").written(std::slice::from_ref(&output.0), OUTPUT));
        let mut graph = Message::default();
        for node in &self.nodes {
            graph = graph.message(1, node);
        }
        graph = graph.bytes(2, name.as_bytes());
        for constant in &self.constants {
            graph = graph.message(5, constant);
        }
        graph = graph.message(11, &tensor_of(INPUT, &input)).message(12, &tensor_of(OUTPUT, &[outputs]));
        let operators = Message::default().bytes(1, b"").int(2, OPERATORS);
        let model = Message::default()
            .int(1, IR_VERSION)
            .bytes(2, b"mlaas")
            .message(7, &graph)
            .message(8, &operators);
        model.into_bytes()
    }
}

/// An input or output of any number of images, each of that shape.
fn tensor_of(name: &str, image: &[i64]) -> Message {
    let mut shape = Message::default().message(1, &Message::default().bytes(2, b"N"));
    for length in unsigned(image) {
        shape = shape.message(1, &Message::default().int(1, length));
    }
    side(name, Some(&shape))
}

/// The net of a version's libtorch artifact as an ONNX file.
///
/// # Errors
/// If the version has no such artifact, or its weights cannot be loaded.
pub fn export(version: &ModelVersion) -> Result<Vec<u8>, ModelError> {
    let (_store, net) = weights::net(version, tch::Device::Cpu)?;
    Ok(of(&*net, &version.manifest)?)
}

/// `net`, which is not fused and is what `manifest` describes, as an ONNX file.
///
/// # Errors
/// If libtorch runs out of memory.
pub fn of(net: &dyn Net, manifest: &Manifest) -> Result<Vec<u8>, TchError> {
    let (size, channels) = (manifest.input.size.into(), manifest.input.channels.into());
    file(net, &manifest.name, [channels, size, size], manifest.classes.outputs.into())
}

/// `net`, which is not fused, as an ONNX file: for images of `input` (channels, rows, columns).
fn file(net: &dyn Net, name: &str, input: [i64; 3], outputs: i64) -> Result<Vec<u8>, TchError> {
    let mut graph = Graph::default();
    let output = net.export(&mut graph, &Value(INPUT.into()))?;
    Ok(graph.finish(&output, name, input, outputs))
}

/// A tensor's numbers in the order of its dimensions.
///
/// # Errors
/// If libtorch runs out of memory.
pub fn numbers(tensor: &Tensor) -> Result<Vec<f32>, TchError> {
    let mut values = vec![0.0; tensor.numel()];
    let count = values.len();
    tensor.f_contiguous()?.f_copy_data(&mut values, count)?;
    Ok(values)
}
