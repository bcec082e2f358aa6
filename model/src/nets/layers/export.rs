//! The layers as nodes of an ONNX file, normalisation folded in.

use tch::{TchError, Tensor};

use super::batch_norm::BatchNorm;
use super::{Activation, ConvBn, Linear, LinearBn, Padding};
use crate::onnx::{Graph, Op, Value, numbers};

impl ConvBn {
    /// Adds this layer, which is not fused, to a graph.
    ///
    /// # Errors
    /// If it is fused, or libtorch runs out of memory.
    pub fn export(&self, graph: &mut Graph, input: &Value) -> Result<Value, TchError> {
        let (weight, bias) = folded(&self.weight, &self.norm)?;
        let (c_out, c_in, rows, columns) = self.weight.size4()?;
        let padding = match self.config.padding {
            Padding::Zeros(padding) => Some(padding),
            Padding::Same => None,
        };
        let (stride, groups) = (self.config.stride, self.config.groups);
        let weight = (weight.as_slice(), [c_out, c_in, rows, columns]);
        let output = graph.add(input, Op::Conv { weight, bias: &bias, stride, padding, groups });
        Ok(activation(graph, output, self.config.activation))
    }
}

impl Linear {
    /// Adds this layer to a graph.
    ///
    /// # Errors
    /// If libtorch runs out of memory.
    pub fn export(&self, graph: &mut Graph, input: &Value) -> Result<Value, TchError> {
        let (weight, bias) = (numbers(&self.weight)?, numbers(&self.bias)?);
        let (c_out, c_in) = self.weight.size2()?;
        Ok(graph.add(input, Op::Linear { weight: (&weight, [c_out, c_in]), bias: &bias }))
    }
}

impl LinearBn {
    /// Adds this layer, which is not fused, to a graph.
    ///
    /// # Errors
    /// If it is fused, or libtorch runs out of memory.
    pub fn export(&self, graph: &mut Graph, input: &Value) -> Result<Value, TchError> {
        let (weight, bias) = folded(&self.weight, &self.norm)?;
        let (c_out, c_in) = self.weight.size2()?;
        let output = graph.add(input, Op::Linear { weight: (&weight, [c_out, c_in]), bias: &bias });
        Ok(activation(graph, output, self.activation))
    }
}

fn activation(graph: &mut Graph, value: Value, activation: Activation) -> Value {
    match activation {
        Activation::Identity => value,
        Activation::Relu => graph.add(&value, Op::Relu),
        Activation::Relu6 => graph.add(&value, Op::Relu6),
    }
}

/// A layer's weights with the normalisation behind it folded in, and the bias that this leaves: in double precision, each number
/// rounded once. Division and square root are exactly rounded everywhere (IEEE 754), so the result is the same everywhere.
fn folded(weight: &Tensor, norm: &BatchNorm) -> Result<(Vec<f32>, Vec<f32>), TchError> {
    let BatchNorm::Own { weight: scale, bias, running_mean, running_var, eps, .. } = norm else {
        return Err(TchError::Torch("a net that is fused can't be exported".into()));
    };
    let [scale, bias, mean, var] =
        [numbers(scale)?, numbers(bias)?, numbers(running_mean)?, numbers(running_var)?];
    let mut weight = numbers(weight)?;
    let row = weight.len() / scale.len().max(1);
    let mut shift = Vec::with_capacity(bias.len());
    for (channel, row) in weight.chunks_exact_mut(row.max(1)).enumerate() {
        let scale = f64::from(scale[channel]) / (f64::from(var[channel]) + eps).sqrt();
        row.iter_mut().for_each(|value| *value = (f64::from(*value) * scale) as f32);
        shift.push((f64::from(bias[channel]) - f64::from(mean[channel]) * scale) as f32);
    }
    Ok((weight, shift))
}
