//! An ONNX file taken apart as far as quantising it needs: its nodes and the tensors that it holds. All else is put back as it was.

use std::collections::{HashMap, HashSet};

use super::QuantizeError;
use crate::onnx::Unread;
use crate::onnx::proto::{Fields, Message, Value};

/// A file, taken apart. Names are those of the file.
pub(super) struct Graph<'a> {
    /// The file's fields before and behind its graph.
    around: [Vec<&'a [u8]>; 2],
    /// The graph's fields that are neither nodes, tensors nor sides.
    rest: Vec<&'a [u8]>,
    /// What it takes and gives, with the names: each a whole field.
    inputs: Vec<(&'a str, &'a [u8])>,
    pub(super) outputs: Vec<(&'a str, &'a [u8])>,
    pub(super) nodes: Vec<Node<'a>>,
    /// By name: the message, and where it stood.
    tensors: Vec<(&'a str, &'a [u8])>,
    places: HashMap<&'a str, usize>,
}

/// A node.
#[derive(Clone)]
pub(super) struct Node<'a> {
    /// The operator, of the standard ones; none for another's.
    pub(super) op: Option<&'a str>,
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    /// Its fields but inputs and outputs, each whole.
    rest: Vec<&'a [u8]>,
    /// Attributes: their messages.
    attributes: Vec<&'a [u8]>,
}

/// A tensor of 32-bit floats.
pub(super) struct Constant {
    pub(super) shape: Vec<u64>,
    pub(super) values: Vec<f32>,
}

impl<'a> Graph<'a> {
    pub(super) fn read(file: &'a [u8]) -> Result<Self, Unread> {
        let mut graph = Self {
            around: [Vec::new(), Vec::new()],
            rest: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            nodes: Vec::new(),
            tensors: Vec::new(),
            places: HashMap::new(),
        };
        let (mut fields, mut behind) = (Fields(file), 0);
        while let Some(field) = fields.whole() {
            match field? {
                (7, Value::Bytes(bytes), _) => {
                    graph.take(bytes)?;
                    behind = 1;
                }
                (_, _, whole) => graph.around[behind].push(whole),
            }
        }
        Ok(graph)
    }

    fn take(&mut self, bytes: &'a [u8]) -> Result<(), Unread> {
        let mut fields = Fields(bytes);
        while let Some(field) = fields.whole() {
            match field? {
                (1, Value::Bytes(bytes), _) => self.nodes.push(Node::read(bytes)?),
                (5, Value::Bytes(bytes), _) => {
                    let name = name(bytes, 8)?;
                    self.places.insert(name, self.tensors.len());
                    self.tensors.push((name, bytes));
                }
                (11, Value::Bytes(bytes), whole) => self.inputs.push((name(bytes, 1)?, whole)),
                (12, Value::Bytes(bytes), whole) => self.outputs.push((name(bytes, 1)?, whole)),
                (_, _, whole) => self.rest.push(whole),
            }
        }
        Ok(())
    }

    /// The tensor of that name, where the file holds it and it is of 32-bit floats.
    pub(super) fn constant(&self, name: &str) -> Result<Option<Constant>, Unread> {
        if let Some(&place) = self.places.get(name) {
            return floats(self.tensors[place].1);
        }
        let gives = |node: &&Node<'_>| node.op == Some("Constant") && node.outputs.contains(&name);
        match self.nodes.iter().find(gives).map(|node| node.attribute("value")).transpose()?.flatten() {
            Some(Value::Bytes(tensor)) => floats(tensor),
            _ => Ok(None),
        }
    }

    /// Whether the file holds it, and it is no result of the input.
    pub(super) fn is_constant(&self, name: &str) -> bool {
        let gives = |node: &Node<'_>| node.op == Some("Constant") && node.outputs.contains(&name);
        self.places.contains_key(name) || self.nodes.iter().any(gives)
    }

    /// A beginning of names that none of the file's has.
    pub(super) fn prefix(&self) -> String {
        let of_nodes = self.nodes.iter().flat_map(|node| node.inputs.iter().chain(&node.outputs));
        let names: HashSet<&str> =
            of_nodes.copied().chain(self.tensors.iter().map(|(name, _)| *name)).collect();
        let mut prefix = "int8.".to_owned();
        while names.iter().any(|name| name.starts_with(&prefix)) {
            prefix.insert(0, '_');
        }
        prefix
    }

    /// The file with these nodes and outputs, and these tensors after its own; those of its own that nothing uses are left out.
    pub(super) fn file(
        &self,
        nodes: &[Message],
        outputs: &[Message],
        tensors: &[Message],
    ) -> Result<Vec<u8>, Unread> {
        let mut used: HashSet<&str> = HashSet::new();
        let mut nested = false;
        let written: Vec<Vec<u8>> = nodes.iter().map(|node| node.clone().into_bytes()).collect();
        let mut read = Vec::new();
        for node in &written {
            let node = Node::read(node)?;
            nested |= node.holds_graphs()?;
            read.push(node);
        }
        used.extend(read.iter().flat_map(|node| node.inputs.iter().copied()));
        let kept = |name: &str| {
            nested || used.contains(name) || self.outputs.iter().any(|(output, _)| *output == name)
        };
        let mut graph = Message::default();
        for (message, node) in nodes.iter().zip(&read) {
            let idle = node.op == Some("Constant") && !node.outputs.iter().any(|name| kept(name));
            if !idle {
                graph = graph.message(1, message);
            }
        }
        graph = self.rest.iter().fold(graph, |graph, whole| graph.field(whole));
        for (name, tensor) in &self.tensors {
            if kept(name) {
                graph = graph.bytes(5, tensor);
            }
        }
        graph = tensors.iter().fold(graph, |graph, tensor| graph.message(5, tensor));
        for (name, whole) in &self.inputs {
            // Old files list the tensors that they hold among their inputs.
            if kept(name) || !self.places.contains_key(name) {
                graph = graph.field(whole);
            }
        }
        graph = outputs.iter().fold(graph, |graph, output| graph.message(12, output));
        let [before, behind] = &self.around;
        let file = before.iter().fold(Message::default(), |file, whole| file.field(whole));
        let file = behind.iter().fold(file.message(7, &graph), |file, whole| file.field(whole));
        Ok(file.into_bytes())
    }

    /// Its own outputs.
    pub(super) fn own_outputs(&self) -> Result<Vec<Message>, Unread> {
        let message = |(_, whole): &(&str, &'a [u8])| match Fields(whole).next() {
            Some(Ok((_, Value::Bytes(bytes)))) => Ok(Message::default().field(bytes)),
            _ => Err(Unread::NotOnnx("an output means nothing")),
        };
        self.outputs.iter().map(message).collect()
    }
}

impl<'a> Node<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Unread> {
        let (mut op, mut standard) = ("", true);
        let mut node = Self {
            op: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            rest: Vec::new(),
            attributes: Vec::new(),
        };
        let mut fields = Fields(bytes);
        while let Some(field) = fields.whole() {
            let (number, value, whole) = field?;
            match (number, value) {
                (1, Value::Bytes(name)) => node.inputs.push(text(name)?),
                (2, Value::Bytes(name)) => node.outputs.push(text(name)?),
                (number, value) => {
                    node.rest.push(whole);
                    match (number, value) {
                        (4, Value::Bytes(name)) => op = text(name)?,
                        (5, Value::Bytes(attribute)) => node.attributes.push(attribute),
                        (7, Value::Bytes(domain)) => standard = domain.is_empty() || domain == b"ai.onnx",
                        _ => {}
                    }
                }
            }
        }
        node.op = standard.then_some(op);
        Ok(node)
    }

    /// The same node between these.
    pub(super) fn between(&self, inputs: &[String], outputs: &[String]) -> Message {
        let node = inputs.iter().fold(Message::default(), |node, name| node.bytes(1, name.as_bytes()));
        let node = outputs.iter().fold(node, |node, name| node.bytes(2, name.as_bytes()));
        self.rest.iter().fold(node, |node, whole| node.field(whole))
    }

    /// The same node.
    pub(super) fn written(&self) -> Message {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        self.between(&owned(&self.inputs), &owned(&self.outputs))
    }

    /// An attribute's value.
    fn attribute(&self, wanted: &str) -> Result<Option<Value<'a>>, Unread> {
        for attribute in &self.attributes {
            if name(attribute, 1)? != wanted {
                continue;
            }
            for field in Fields(attribute) {
                if let (2..=5, value) = field? {
                    return Ok(Some(value));
                }
            }
        }
        Ok(None)
    }

    /// An integer, where the node says it; `otherwise` where not.
    pub(super) fn int(&self, name: &str, otherwise: u64) -> Result<u64, Unread> {
        match self.attribute(name)? {
            Some(Value::Number(number)) => Ok(number),
            Some(_) => Err(Unread::NotOnnx("an attribute is of another kind than its name says")),
            None => Ok(otherwise),
        }
    }

    /// Whether a number is 1, as it is where the node does not say.
    pub(super) fn is_one(&self, name: &str) -> Result<bool, Unread> {
        let bytes = match self.attribute(name)? {
            Some(Value::Fixed(bytes)) => bytes,
            Some(_) => return Err(Unread::NotOnnx("an attribute is of another kind than its name says")),
            None => return Ok(true),
        };
        Ok(bytes == 1_f32.to_le_bytes())
    }

    /// Whether there are graphs in it, whose nodes may use any tensor.
    fn holds_graphs(&self) -> Result<bool, Unread> {
        for attribute in &self.attributes {
            for field in Fields(attribute) {
                if matches!(field?, (6 | 11, Value::Bytes(_))) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

fn text(bytes: &[u8]) -> Result<&str, Unread> {
    str::from_utf8(bytes).map_err(|_| Unread::NotOnnx("a name in it is not UTF-8"))
}

/// The name that a message has in that field.
fn name(message: &[u8], number: u64) -> Result<&str, Unread> {
    let mut name = "";
    for field in Fields(message) {
        match field? {
            (found, Value::Bytes(bytes)) if found == number => name = text(bytes)?,
            _ => {}
        }
    }
    Ok(name)
}

/// A tensor's numbers, where they are 32-bit floats.
fn floats(tensor: &[u8]) -> Result<Option<Constant>, Unread> {
    let (mut shape, mut kind, mut bytes) = (Vec::new(), 0, Vec::new());
    for field in Fields(tensor) {
        match field? {
            (1, Value::Number(side)) => shape.push(side),
            (1, Value::Bytes(sides)) => shape.extend(packed(sides)?),
            (2, Value::Number(number)) => kind = number,
            (4 | 9, Value::Bytes(raw)) => bytes.extend_from_slice(raw),
            (4, Value::Fixed(raw)) => bytes.extend_from_slice(raw),
            _ => {}
        }
    }
    if kind != 1 {
        return Ok(None);
    }
    let values: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect();
    let count = shape.iter().try_fold(1_u64, |count, &side| count.checked_mul(side));
    if count != Some(values.len() as u64) {
        return Err(Unread::NotOnnx("a tensor has not as many numbers as its shape says"));
    }
    Ok(Some(Constant { shape, values }))
}

/// Numbers in a row.
fn packed(bytes: &[u8]) -> Result<Vec<u64>, Unread> {
    // Each as the value of a field would be.
    let mut numbers = Vec::new();
    let mut rest = Fields(bytes);
    while !rest.0.is_empty() {
        numbers.push(rest.number().ok_or(Unread::NotOnnx("a shape is cut off"))?);
    }
    Ok(numbers)
}

impl From<Unread> for QuantizeError {
    fn from(error: Unread) -> Self {
        Self::Unread(error)
    }
}
