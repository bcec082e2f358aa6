//! What has to be known of an ONNX file before OpenVINO is given it: that it is one, what it takes and gives, and that all of it is
//! in this file. Read from the Protocol Buffers themselves (<https://protobuf.dev/programming-guides/encoding>); all else of it is
//! passed over.

pub mod proto;
pub mod write;

use std::collections::HashSet;

use proto::{Fields, Value};

/// No ONNX file is larger: a message of Protocol Buffers can't be.
pub const LARGEST: u64 = (2 << 30) - 1;

/// Graphs within graphs, as of `If` and `Loop`. No net of use has more, and a file may say any number.
const DEEPEST: usize = 16;

/// The kind of number of 32-bit floats (IEEE 754 binary32).
const FLOAT: u64 = 1;
/// The kind of a tensor whose numbers lie elsewhere.
const EXTERNAL: u64 = 1;

/// Why a file can't be used, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It is none.
    #[error("it is no ONNX file, or a damaged one: {0}")]
    NotOnnx(&'static str),
    /// A part of it lies in other files.
    #[error("its tensor {0:?} lies in another file (external data): save the net as one file")]
    External(String),
}

/// What a file says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The version of the standard operators that it is written for.
    pub operators: u64,
    /// What has to be given to it, without tensors that it holds.
    pub inputs: Vec<Side>,
    /// What it gives.
    pub outputs: Vec<Side>,
    /// Whether a node of it computes in 8-bit integers.
    pub quantised: bool,
}

/// An input or output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Its name.
    pub name: String,
    /// Whether it is of 32-bit floats.
    pub floats: bool,
    /// The length of each dimension, where it is fixed; nothing where the file does not say.
    pub shape: Option<Vec<Option<u64>>>,
}

/// Reads a file.
///
/// # Errors
/// [`Unread`] where it is no ONNX file, is cut off, or a part of it lies elsewhere.
pub fn read(file: &[u8]) -> Result<Summary, Unread> {
    let mut summary = Summary::default();
    let mut graphs = 0;
    for field in Fields(file) {
        match field? {
            (7, Value::Bytes(bytes)) => {
                graphs += 1;
                let mut held = HashSet::new();
                graph(bytes, &mut summary, &mut held, 0)?;
                // Old files list the tensors that they hold among their inputs.
                summary.inputs.retain(|input| !held.contains(input.name.as_bytes()));
            }
            (8, Value::Bytes(bytes)) => operators(bytes, &mut summary)?,
            // Functions: nodes that stand for others.
            (25, Value::Bytes(bytes)) => {
                for field in Fields(bytes) {
                    if let (7, Value::Bytes(bytes)) = field? {
                        summary.quantised |= node(bytes, 0)?;
                    }
                }
            }
            _ => {}
        }
    }
    match graphs {
        1 if !summary.outputs.is_empty() => Ok(summary),
        1 => Err(Unread::NotOnnx("its graph gives nothing")),
        _ => Err(Unread::NotOnnx("it holds no graph")),
    }
}

fn operators(bytes: &[u8], summary: &mut Summary) -> Result<(), Unread> {
    let (mut standard, mut version) = (true, 0);
    for field in Fields(bytes) {
        match field? {
            (1, Value::Bytes(domain)) => standard = domain.is_empty() || domain == b"ai.onnx",
            (2, Value::Number(number)) => version = number,
            _ => {}
        }
    }
    if standard {
        summary.operators = version;
    }
    Ok(())
}

/// A graph's sides go into `summary`, and the names of the tensors in it into `held`.
fn graph<'a>(
    bytes: &'a [u8],
    summary: &mut Summary,
    held: &mut HashSet<&'a [u8]>,
    depth: usize,
) -> Result<(), Unread> {
    if depth > DEEPEST {
        return Err(Unread::NotOnnx("its graphs lie too deep in each other"));
    }
    for field in Fields(bytes) {
        match field? {
            (1, Value::Bytes(bytes)) => summary.quantised |= node(bytes, depth)?,
            (5, Value::Bytes(bytes)) => drop(held.insert(tensor(bytes)?)),
            (15, Value::Bytes(bytes)) => sparse(bytes)?,
            (11, Value::Bytes(bytes)) => summary.inputs.push(side(bytes)?),
            (12, Value::Bytes(bytes)) => summary.outputs.push(side(bytes)?),
            _ => {}
        }
    }
    Ok(())
}

/// The operators that nets in 8-bit integers have.
const INTEGERS: [&[u8]; 6] = [
    b"QuantizeLinear",
    b"DequantizeLinear",
    b"QLinearConv",
    b"QLinearMatMul",
    b"ConvInteger",
    b"MatMulInteger",
];

/// A node may have tensors and graphs among its attributes; whether it computes in 8-bit integers.
fn node(bytes: &[u8], depth: usize) -> Result<bool, Unread> {
    let mut quantised = false;
    for field in Fields(bytes) {
        let attribute = match field? {
            (4, Value::Bytes(op)) => {
                quantised |= INTEGERS.contains(&op);
                continue;
            }
            (5, Value::Bytes(attribute)) => attribute,
            _ => continue,
        };
        for field in Fields(attribute) {
            match field? {
                (5 | 10, Value::Bytes(bytes)) => drop(tensor(bytes)?),
                (6 | 11, Value::Bytes(bytes)) => {
                    let mut inner = Summary::default();
                    graph(bytes, &mut inner, &mut HashSet::new(), depth + 1)?;
                    quantised |= inner.quantised;
                }
                (22 | 23, Value::Bytes(bytes)) => sparse(bytes)?,
                _ => {}
            }
        }
    }
    Ok(quantised)
}

/// Two tensors: the values, and where they stand.
fn sparse(bytes: &[u8]) -> Result<(), Unread> {
    for field in Fields(bytes) {
        if let (1 | 2, Value::Bytes(bytes)) = field? {
            tensor(bytes)?;
        }
    }
    Ok(())
}

/// A tensor's name.
fn tensor(bytes: &[u8]) -> Result<&[u8], Unread> {
    let (mut name, mut external) = (&b""[..], false);
    for field in Fields(bytes) {
        match field? {
            (8, Value::Bytes(text)) => name = text,
            (13, Value::Bytes(_)) => external = true,
            (14, Value::Number(kind)) => external |= kind == EXTERNAL,
            _ => {}
        }
    }
    if external { Err(Unread::External(text(name))) } else { Ok(name) }
}

fn side(bytes: &[u8]) -> Result<Side, Unread> {
    let mut side = Side::default();
    for field in Fields(bytes) {
        match field? {
            (1, Value::Bytes(name)) => side.name = text(name),
            (2, Value::Bytes(kind)) => {
                for field in Fields(kind) {
                    if let (1, Value::Bytes(tensor)) = field? {
                        tensor_type(tensor, &mut side)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(side)
}

fn tensor_type(bytes: &[u8], side: &mut Side) -> Result<(), Unread> {
    for field in Fields(bytes) {
        match field? {
            (1, Value::Number(kind)) => side.floats = kind == FLOAT,
            (2, Value::Bytes(shape)) => {
                let mut sides = Vec::new();
                for field in Fields(shape) {
                    let (1, Value::Bytes(dimension)) = field? else { continue };
                    let mut length = None;
                    for field in Fields(dimension) {
                        if let (1, Value::Number(number)) = field? {
                            // 0 and less is how some writers say "any".
                            length = Some(number).filter(|&length| (1..1 << 62).contains(&length));
                        }
                    }
                    sides.push(length);
                }
                side.shape = Some(sides);
            }
            _ => {}
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(field: u8, value: u8) -> Vec<u8> {
        vec![field << 3, value]
    }

    /// A field of a number below 16 and fewer bytes than 16384.
    fn bytes(field: u8, parts: &[Vec<u8>]) -> Vec<u8> {
        let value = parts.concat();
        let length = [value.len() as u8 | 0x80, (value.len() >> 7) as u8];
        [&[field << 3 | 2][..], &length, &value].concat()
    }

    fn name(field: u8, text: &str) -> Vec<u8> {
        bytes(field, &[text.as_bytes().to_vec()])
    }

    fn taken(called: &str, kind: u8, sides: &[u8]) -> Vec<u8> {
        let sides: Vec<_> = sides.iter().map(|&side| bytes(1, &[number(1, side)])).collect();
        let tensor = bytes(1, &[number(1, kind), bytes(2, &sides)]);
        [name(1, called), bytes(2, &[tensor])].concat()
    }

    /// A file with these fields in its graph.
    fn file(more: &[Vec<u8>]) -> Vec<u8> {
        let sides = [bytes(11, &[taken("x", 1, &[0, 3, 8, 8])]), bytes(12, &[taken("y", 1, &[0, 4])])];
        let operators = bytes(8, &[name(1, ""), number(2, 17)]);
        let others = bytes(8, &[name(1, "ai.onnx.ml"), number(2, 3)]);
        [number(1, 8), bytes(7, &[&sides[..], more].concat()), operators, others].concat()
    }

    fn tensor(called: &str, more: Vec<u8>) -> Vec<u8> {
        [number(2, 1), name(8, called), more].concat()
    }

    #[test]
    fn what_a_file_takes_and_gives_is_read() {
        // A tensor that it holds is nothing to be given, though it stands among the inputs.
        let held = [bytes(5, &[tensor("w", Vec::new())]), bytes(11, &[taken("w", 1, &[4, 3])])];
        let summary = read(&file(&held)).unwrap();
        let side = |name: &str, shape: &[Option<u64>]| Side {
            name: name.to_owned(),
            floats: true,
            shape: Some(shape.to_vec()),
        };
        assert_eq!(summary.inputs, [side("x", &[None, Some(3), Some(8), Some(8)])]);
        assert_eq!(summary.outputs, [side("y", &[None, Some(4)])]);
        assert_eq!(summary.operators, 17);
        let bytes_in = file(&[bytes(11, &[taken("z", 2, &[])])]);
        assert!(!read(&bytes_in).unwrap().inputs[1].floats);
    }

    #[test]
    fn a_tensor_that_lies_elsewhere_is_found_wherever_it_is_named() {
        let outside = || tensor("weights", [number(14, 1), bytes(13, &[name(1, "location")])].concat());
        let attribute = |field, value| bytes(5, &[name(1, "value"), bytes(field, &[value])]);
        let node = |attribute| bytes(1, &[name(4, "Constant"), attribute]);
        let refused = Err(Unread::External("weights".to_owned()));
        assert_eq!(read(&file(&[bytes(5, &[outside()])])), refused);
        assert_eq!(read(&file(&[bytes(15, &[bytes(1, &[outside()])])])), refused, "sparse");
        assert_eq!(read(&file(&[node(attribute(5, outside()))])), refused, "a constant");
        let inner = bytes(5, &[outside()]);
        assert_eq!(read(&file(&[node(attribute(6, inner))])), refused, "a branch");
        assert!(read(&file(&[bytes(5, &[tensor("w", number(14, 0))])])).is_ok());
    }

    #[test]
    fn no_bytes_are_too_bad_to_be_refused() {
        let mut deep = Vec::new();
        for _ in 0..=DEEPEST {
            deep = bytes(1, &[bytes(5, &[bytes(6, &[deep])])]);
        }
        let error = read(&file(&[deep])).unwrap_err().to_string();
        assert!(error.contains("too deep"), "{error}");
        assert!(read(b"").unwrap_err().to_string().contains("no graph"));

        let whole = file(&[bytes(5, &[tensor("w", Vec::new())])]);
        for end in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[end] ^= 0xff;
            // An answer of any kind.
            drop((read(&whole[..end]), read(&damaged)));
        }
        let graph = whole.len() - 20;
        assert!(read(&whole[..graph]).is_err(), "cut off in the graph");
    }
}
