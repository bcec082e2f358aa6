//! Whether this processor multiplies 8-bit integers exactly. Without VNNI (or its like) oneDNN sums two products in 16 bits, which hold
//! no more than 32767: a net's answers are others then, and nothing says so.

use std::sync::{Mutex, PoisonError};

use openvino::{DeviceType, ElementType, InferenceError, Shape, Tensor};

use crate::engine::core;
use crate::library::{Missing, library};
use crate::onnx::proto::Message;
use crate::onnx::write::{Kind, Node, floats, side, tensor};

/// What is said where they are not.
pub const SATURATES: &str = "it computes in 8-bit integers, whose sums overflow on this processor: it has no VNNI. \
                             Serve the version that it was made from";

/// Channels of the net that tells.
const CHANNELS: usize = 64;

/// Whether sums of products of 8-bit integers are what they should be, as a small convolution of the largest tells. Found out once.
///
/// # Errors
/// Where there is no OpenVINO, or it can't be used.
pub fn integers_are_exact() -> Result<bool, Missing> {
    static EXACT: Mutex<Option<bool>> = Mutex::new(None);
    library()?;
    let mut exact = EXACT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(exact) = *exact {
        return Ok(exact);
    }
    let sum = sum().map_err(|error| Missing::Unusable {
        path: "as it was opened".to_owned(),
        reason: error.to_string(),
    })?;
    let expected = (CHANNELS * 255 * 127) as f32;
    Ok(*exact.insert((sum / expected - 1.0).abs() < 1e-3))
}

/// What a net of 64 channels of 255, with weights of 127, comes to.
fn sum() -> Result<f32, Box<dyn std::error::Error>> {
    let mut core = core()?;
    let model = core.read_model_from_buffer(&net(), None)?;
    let mut compiled = core.compile_model(&model, DeviceType::CPU)?;
    let mut request = compiled.create_infer_request()?;
    let mut compute = || -> Result<f32, InferenceError> {
        let side = CHANNELS as i64;
        let mut input = Tensor::new(ElementType::F32, &Shape::new(&[1, side, 8, 8])?)?;
        input.get_data_mut::<f32>()?.fill(255.0);
        request.set_input_tensor(&input)?;
        request.infer()?;
        let output = request.get_output_tensor()?;
        Ok(output.get_data::<f32>()?.first().copied().unwrap_or_default())
    };
    Ok(compute()?)
}

fn net() -> Vec<u8> {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let channels = CHANNELS as u64;
    let shape = [1, channels, 8, 8]
        .iter()
        .fold(Message::default(), |shape, &length| shape.message(1, &Message::default().int(1, length)));
    let nodes = [
        Node::new("QuantizeLinear").written(&names(&["x", "one", "zero"]), "q"),
        Node::new("DequantizeLinear").written(&names(&["q", "one", "zero"]), "d"),
        Node::new("DequantizeLinear").int("axis", 0).written(&names(&["w", "ones", "zeros"]), "v"),
        Node::new("Conv").ints("kernel_shape", &[1, 1]).written(&names(&["d", "v"]), "y"),
    ];
    let tensors = [
        floats("one", &[], &[1.0]),
        tensor("zero", &[], Kind::Uint8, &[0]),
        tensor("w", &[channels, channels, 1, 1], Kind::Int8, &[127; CHANNELS * CHANNELS]),
        floats("ones", &[channels], &[1.0; CHANNELS]),
        tensor("zeros", &[channels], Kind::Int8, &[0; CHANNELS]),
    ];
    let graph =
        nodes.iter().fold(Message::default(), |graph, node| graph.message(1, node)).bytes(2, b"exact");
    let graph = tensors.iter().fold(graph, |graph, tensor| graph.message(5, tensor));
    let graph = graph.message(11, &side("x", Some(&shape))).message(12, &side("y", None));
    let operators = Message::default().bytes(1, b"").int(2, 13);
    Message::default().int(1, 8).message(7, &graph).message(8, &operators).into_bytes()
}
