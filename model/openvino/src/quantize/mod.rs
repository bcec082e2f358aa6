//! A net of 32-bit floats made one of 8-bit integers, as ONNX says it: pairs of QuantizeLinear and DequantizeLinear before each
//! convolution and each product with a matrix (<https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html>), which OpenVINO's kernels for
//! integers take the place of.
//!
//! Weights have a scale for each output. A tensor of activations has one, found from what [`Quantizer::calibrate`] sees of it; what
//! rounding weights does to an output in the mean is taken from its bias. Sums, biases and all other layers stay 32-bit.

mod graph;
mod layer;
mod ranges;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use model_core::{EngineError, Pixels};
use registry::Input;

use crate::LoadError;
use crate::onnx::proto::Message;
use crate::onnx::write::{Kind, Node, floats, side, tensor};
use crate::onnx::{self, Unread};
use crate::probe::Probe;
use graph::Graph;
use layer::{Bias, Form, Layer, Weights};
use ranges::{Range, Scale};

/// The first version of the operators in which each output of a layer may have a scale of its own.
const LEAST_OPERATORS: u64 = 13;
/// Calibration images are seen in so many parts, whose results are put together in their order, whatever the number of threads.
const PARTS: usize = 16;

/// Why a net can't be quantised.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// The file is no ONNX.
    #[error(transparent)]
    Unread(Unread),
    /// It is, and nothing of it can be quantised.
    #[error("{0}")]
    Unfit(String),
    /// It can't be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It can't be computed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A file that is to be quantised.
pub struct Quantizer<'a> {
    file: &'a str,
    graph: Graph<'a>,
    layers: Vec<Layer<'a>>,
    /// The tensors that layers are given, each once, with the first layer that is.
    inputs: Vec<(&'a str, usize)>,
    others: usize,
}

/// What calibration images showed.
#[derive(Debug)]
pub struct Calibration(Vec<Range>);

impl<'a> Quantizer<'a> {
    /// Reads an ONNX file; `file` names it in messages.
    ///
    /// # Errors
    /// If it is none, is written for operators that can't say it, is quantised already, or has no layer that could be.
    pub fn new(file: &'a str, onnx: &'a [u8]) -> Result<Self, QuantizeError> {
        let summary = onnx::read(onnx)?;
        let unfit = |what: String| Err(QuantizeError::Unfit(what));
        if summary.quantised {
            return unfit("it computes in 8-bit integers already".to_owned());
        }
        if summary.operators < LEAST_OPERATORS {
            let found = summary.operators;
            return unfit(format!(
                "it is written for version {found} of ONNX's operators (opset), and {LEAST_OPERATORS} is the first that can say it: export it anew"
            ));
        }
        let graph = Graph::read(onnx)?;
        let (mut layers, mut inputs, mut others) = (Vec::new(), Vec::<(&str, usize)>::new(), 0);
        for (place, node) in graph.nodes.iter().enumerate() {
            match Layer::of(&graph, place, node)? {
                Some(layer) => {
                    if inputs.iter().all(|(name, _)| *name != layer.input) {
                        inputs.push((layer.input, layers.len()));
                    }
                    layers.push(layer);
                }
                None => others += usize::from(matches!(node.op, Some("Conv" | "Gemm" | "MatMul"))),
            }
        }
        if layers.is_empty() {
            return unfit(
                "it has no convolution and no product with a matrix whose weights it holds".to_owned(),
            );
        }
        Ok(Self { file, graph, layers, inputs, others })
    }

    /// How many layers are made integers of.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// How many convolutions and products stay as they are, since their weights are computed or lie otherwise.
    #[must_use]
    pub fn others(&self) -> usize {
        self.others
    }

    /// Shows the net images, twice, on so many threads; `on` hears how many of twice their number are done. The result is the same
    /// whatever the number of threads. `batch` is how many images the net takes at once, where it takes no other number.
    ///
    /// # Errors
    /// If there is no image, the net can't be computed, or gives something that is no number.
    pub fn calibrate(
        &self,
        input: &Input,
        batch: Option<usize>,
        images: &[Pixels],
        threads: usize,
        on: &(dyn Fn(usize) + Sync),
    ) -> Result<Calibration, QuantizeError> {
        let probe = self.probe()?;
        let batch = batch.unwrap_or(1);
        let parts: Vec<&[Pixels]> = images.chunks(images.len().div_ceil(PARTS).max(1)).collect();
        let threads = threads.clamp(1, parts.len().max(1));
        // Dropped in this order: what was compiled before what compiled it.
        let (probes, core) = Probe::load(self.file, &probe, input, batch, threads)?;
        let probes: Vec<Mutex<Probe>> = probes.into_iter().map(Mutex::new).collect();
        let done = AtomicUsize::new(0);
        let pass = |seen: Option<&[Range]>| -> Result<Vec<Range>, QuantizeError> {
            let blank = || match seen {
                Some(seen) => seen.iter().map(Range::emptied).collect(),
                None => vec![Range::default(); self.inputs.len()],
            };
            let found: Mutex<Vec<Option<Vec<Range>>>> = Mutex::new(vec![None; parts.len()]);
            let next = AtomicUsize::new(0);
            let work = |net: &Mutex<Probe>| -> Result<(), QuantizeError> {
                let mut net = net.lock().unwrap_or_else(PoisonError::into_inner);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(part) = parts.get(number) else { return Ok(()) };
                    let mut ranges: Vec<Range> = blank();
                    for images in part.chunks(batch) {
                        net.pass(images, &mut |place, shape, values| {
                            let channel = self.layers[self.inputs[place].1].channel(shape.len());
                            match seen {
                                None => ranges[place].see(values, shape, channel),
                                Some(_) => ranges[place].count(values),
                            }
                        })?;
                        on(done.fetch_add(images.len(), Ordering::Relaxed) + images.len());
                    }
                    found.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(ranges);
                }
            };
            thread::scope(|scope| {
                let threads: Vec<_> = probes.iter().map(|net| scope.spawn(|| work(net))).collect();
                let failed = |_| QuantizeError::Unfit("a thread that calibrates ended early".to_owned());
                threads.into_iter().try_for_each(|thread| thread.join().map_err(failed)?)
            })?;
            let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
            let mut all: Vec<Range> = blank();
            for part in found.into_iter().flatten() {
                all = all.into_iter().zip(&part).map(|(range, part)| range.with(part)).collect();
            }
            Ok(all)
        };
        let seen = pass(None)?;
        if let Some(place) = seen.iter().position(|range| !range.is_usable()) {
            let name = self.inputs[place].0;
            let text = format!(
                "its tensor {name:?} holds something that is no number for one of the calibration images"
            );
            return Err(QuantizeError::Unfit(text));
        }
        let counted = pass(Some(&seen))?;
        drop(probes);
        drop(core);
        Ok(Calibration(seen.iter().zip(&counted).map(|(seen, counted)| seen.clone().with(counted)).collect()))
    }

    /// The file, with what its layers are given for outputs.
    fn probe(&self) -> Result<Vec<u8>, Unread> {
        let prefix = self.graph.prefix();
        let mut nodes: Vec<Message> = self.graph.nodes.iter().map(graph::Node::written).collect();
        let mut outputs = Vec::new();
        for (place, (name, _)) in self.inputs.iter().enumerate() {
            let output = format!("{prefix}{place}");
            nodes.push(Node::new("Identity").written(&[(*name).to_owned()], &output));
            outputs.push(side(&output, None));
        }
        self.graph.file(&nodes, &outputs, &[])
    }

    /// The quantised file: the same bytes for the same file and calibration.
    ///
    /// # Errors
    /// If the file's parts don't fit together.
    pub fn write(&self, calibration: &Calibration) -> Result<Vec<u8>, QuantizeError> {
        let mut written =
            Written { prefix: self.graph.prefix(), nodes: Vec::new(), tensors: Vec::new(), made: Vec::new() };
        let mut layers = self.layers.iter().peekable();
        for (place, node) in self.graph.nodes.iter().enumerate() {
            let Some(layer) = layers.next_if(|layer| layer.node == place) else {
                written.nodes.push(node.written());
                continue;
            };
            let range = self.inputs.iter().zip(&calibration.0).find(|((name, _), _)| *name == layer.input);
            let (_, range) = range.ok_or(Unread::NotOnnx("a layer's input was not calibrated"))?;
            let constant = self.graph.constant(layer.weight)?;
            let weights =
                Weights::of(&constant.ok_or(Unread::NotOnnx("a layer's weights are gone"))?, layer.form);
            let given = written.activations(layer.input, range.scale());
            let weight = written.weights(layer.weight, &weights, layer.form);
            self.layer(
                &mut written,
                layer,
                node,
                [given, weight],
                &weights.shift(layer.form, &range.means()),
            )?;
        }
        Ok(self.graph.file(&written.nodes, &self.graph.own_outputs()?, &written.tensors)?)
    }

    /// The layer's own node, and what keeps its outputs where they were in the mean.
    fn layer(
        &self,
        written: &mut Written,
        layer: &Layer<'a>,
        node: &graph::Node<'a>,
        inputs: [String; 2],
        shift: &[f64],
    ) -> Result<(), Unread> {
        let output = node.outputs.first().copied().unwrap_or_default().to_owned();
        let name = |what: &str| format!("{}{output}.{what}", written.prefix);
        let corrected = |bias: Option<&[f32]>| -> Vec<f32> {
            let bias =
                |place: usize| bias.and_then(|bias| bias.get(place)).map_or(0.0, |&bias| f64::from(bias));
            shift.iter().enumerate().map(|(place, shift)| (bias(place) - shift) as f32).collect()
        };
        let shape = [shift.len() as u64];
        let matmul = node.op == Some("MatMul");
        match layer.bias {
            Bias::None if matmul => {
                // Its bias, where it has one, is a node of its own.
                let (plain, bias) = (name("plain"), name("bias"));
                written.tensors.push(floats(&bias, &shape, &corrected(None)));
                written.nodes.push(node.between(&inputs, std::slice::from_ref(&plain)));
                written.nodes.push(Node::new("Add").written(&[plain, bias], &output));
            }
            Bias::Held(_) | Bias::None => {
                let held = match layer.bias {
                    Bias::Held(held) => self.graph.constant(held)?.map(|held| held.values),
                    _ => None,
                };
                let bias = name("bias");
                written.tensors.push(floats(&bias, &shape, &corrected(held.as_deref())));
                let [given, weight] = inputs;
                written.nodes.push(node.between(&[given, weight, bias], &[output]));
            }
            Bias::Other => {
                let more = node.inputs.iter().skip(2).map(|&name| name.to_owned());
                written
                    .nodes
                    .push(node.between(&inputs.into_iter().chain(more).collect::<Vec<_>>(), &[output]));
            }
        }
        Ok(())
    }
}

/// A quantised file on its way.
struct Written {
    prefix: String,
    nodes: Vec<Message>,
    tensors: Vec<Message>,
    /// What is there already: the tensor that it was made of, and how.
    made: Vec<(String, Option<Form>, String)>,
}

impl Written {
    /// The tensor after a round trip through integers, made once.
    fn activations(&mut self, name: &str, Scale { scale, signed }: Scale) -> String {
        let kind = if signed { Kind::Int8 } else { Kind::Uint8 };
        self.pair(name, None, |written, [scales, zeros, integers]| {
            written.tensors.push(floats(scales, &[], &[scale]));
            written.tensors.push(tensor(zeros, &[], kind, &[0]));
            let inputs = [name, scales, zeros].map(str::to_owned);
            written.nodes.push(Node::new("QuantizeLinear").written(&inputs, integers));
            Node::new("DequantizeLinear")
        })
    }

    /// The weights of integers, made once.
    fn weights(&mut self, name: &str, weights: &Weights, form: Form) -> String {
        let bytes = |values: &[i8]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        self.pair(name, Some(form), |written, [scales, zeros, integers]| {
            let outputs = [weights.scales.len() as u64];
            written.tensors.push(floats(scales, &outputs, &weights.scales));
            written.tensors.push(tensor(zeros, &outputs, Kind::Int8, &vec![0; weights.scales.len()]));
            written.tensors.push(tensor(integers, &weights.shape, Kind::Int8, &bytes(&weights.values)));
            Node::new("DequantizeLinear").int("axis", form.axis() as i64)
        })
    }

    /// `make` makes scales, zeros and integers of these names, and says how they become floats again.
    fn pair(
        &mut self,
        name: &str,
        form: Option<Form>,
        make: impl FnOnce(&mut Self, [&str; 3]) -> Node,
    ) -> String {
        if let Some((.., made)) = self.made.iter().find(|(of, how, _)| of == name && *how == form) {
            return made.clone();
        }
        let count = self.made.len();
        let of = |what: &str| format!("{}{count}.{name}.{what}", self.prefix);
        let [scales, zeros, integers, made] = ["scale", "zero", "integers", "floats"].map(of);
        let back = make(self, [&scales, &zeros, &integers]);
        self.nodes.push(back.written(&[integers, scales, zeros], &made));
        self.made.push((name.to_owned(), form, made.clone()));
        made
    }
}
