//! Pieces of ONNX files (<https://onnx.ai/onnx/repo-docs/IR.html>): nodes and tensors.

use super::proto::Message;

/// The kinds of number that are written, by ONNX's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 32-bit floats.
    Float = 1,
    /// Integers from 0 to 255.
    Uint8 = 2,
    /// Integers from -128 to 127.
    Int8 = 3,
}

/// A tensor of these bytes, little-endian, in the order of its dimensions.
#[must_use]
pub fn tensor(name: &str, shape: &[u64], kind: Kind, raw: &[u8]) -> Message {
    Message::default().ints(1, shape).int(2, kind as u64).bytes(8, name.as_bytes()).bytes(9, raw)
}

/// A tensor of 32-bit floats.
#[must_use]
pub fn floats(name: &str, shape: &[u64], values: &[f32]) -> Message {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, shape, Kind::Float, &raw)
}

/// An input or output of 32-bit floats, of that shape; without one, of any.
#[must_use]
pub fn side(name: &str, shape: Option<&Message>) -> Message {
    let tensor = Message::default().int(1, Kind::Float as u64);
    let tensor = shape.iter().fold(tensor, |tensor, shape| tensor.message(2, shape));
    Message::default().bytes(1, name.as_bytes()).message(2, &Message::default().message(1, &tensor))
}

/// One node on its way: what it does, and how.
#[derive(Clone, Debug)]
pub struct Node {
    op: &'static str,
    attributes: Vec<Message>,
}

impl Node {
    /// A node without attributes.
    #[must_use]
    pub fn new(op: &'static str) -> Self {
        Self { op, attributes: Vec::new() }
    }

    fn with(mut self, name: &str, kind: u64, value: impl FnOnce(Message) -> Message) -> Self {
        let attribute = value(Message::default().bytes(1, name.as_bytes())).int(20, kind);
        self.attributes.push(attribute);
        self
    }

    /// With an integer.
    #[must_use]
    pub fn int(self, name: &str, value: i64) -> Self {
        self.with(name, 2, |attribute| attribute.int(3, value.unsigned_abs()))
    }

    /// With integers.
    #[must_use]
    pub fn ints(self, name: &str, values: &[i64]) -> Self {
        self.with(name, 7, |attribute| attribute.ints(8, &unsigned(values)))
    }

    /// With a word.
    #[must_use]
    pub fn text(self, name: &str, value: &str) -> Self {
        self.with(name, 3, |attribute| attribute.bytes(4, value.as_bytes()))
    }

    /// The node itself, named as its one output.
    #[must_use]
    pub fn written(self, inputs: &[String], output: &str) -> Message {
        let mut node = Message::default();
        for input in inputs {
            node = node.bytes(1, input.as_bytes());
        }
        node = node.bytes(2, output.as_bytes()).bytes(3, output.as_bytes()).bytes(4, self.op.as_bytes());
        self.attributes.iter().fold(node, |node, attribute| node.message(5, attribute))
    }
}

/// Sides of tensors and of kernels are never negative.
#[must_use]
pub fn unsigned(values: &[i64]) -> Vec<u64> {
    values.iter().map(|value| value.unsigned_abs()).collect()
}
