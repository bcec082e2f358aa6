//! A layer that can be computed in integers: what it multiplies with, and what of that is kept.

use super::graph::{Constant, Graph, Node};
use crate::onnx::Unread;

/// The largest integer of a weight, on both sides of 0.
const LARGEST: f32 = 127.0;
/// The scales that are tried, as those of [`Range`](super::ranges::Range).
const STEP: f32 = 0.01;
const TRIED: usize = 41;

/// A convolution or a product with a matrix, whose weights the file holds.
pub(super) struct Layer<'a> {
    /// Its place among the nodes.
    pub(super) node: usize,
    /// The tensor that it is given.
    pub(super) input: &'a str,
    pub(super) weight: &'a str,
    /// What is added to each output, where the file holds it.
    pub(super) bias: Bias<'a>,
    pub(super) form: Form,
}

/// What a layer adds.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Bias<'a> {
    /// One number for each output, that the file holds.
    Held(&'a str),
    /// Nothing yet, and it could.
    None,
    /// Something that is computed, or nothing as it can't.
    Other,
}

/// How a layer's weights lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    /// `[c_out, c_in / groups, rows, columns]`.
    Conv { groups: usize },
    /// `[c_out, c_in]`.
    Rows,
    /// `[c_in, c_out]`.
    Columns,
}

/// A layer's weights as integers, in the order of the file.
pub(super) struct Weights {
    pub(super) shape: Vec<u64>,
    pub(super) values: Vec<i8>,
    /// One for each output.
    pub(super) scales: Vec<f32>,
    /// By how much an output changes for each of its inputs that is 1: `[c_out, c_in / groups]`.
    changes: Vec<f64>,
}

impl<'a> Layer<'a> {
    /// Whether a node is one; `None` for another, and an error in words for one that can't.
    pub(super) fn of(graph: &Graph<'a>, place: usize, node: &Node<'a>) -> Result<Option<Self>, Unread> {
        let (&[input, weight], more) = (
            match node.inputs.get(..2) {
                Some([input, weight]) => &[*input, *weight],
                _ => return Ok(None),
            },
            node.inputs.get(2).copied().filter(|name| !name.is_empty()),
        );
        let op = match node.op {
            Some(op @ ("Conv" | "Gemm" | "MatMul")) => op,
            _ => return Ok(None),
        };
        if graph.is_constant(input) || node.outputs.len() != 1 {
            return Ok(None);
        }
        let Some(Constant { shape, values }) = graph.constant(weight)? else { return Ok(None) };
        if values.is_empty() || !values.iter().all(|value| value.is_finite()) {
            return Ok(None);
        }
        let form = match (op, shape.len()) {
            ("Conv", 4) => {
                let groups = node.int("group", 1)?;
                let fits = groups > 0 && shape[0] % groups == 0;
                if fits { Some(Form::Conv { groups: groups as usize }) } else { None }
            }
            ("Gemm", 2) => {
                let plain = node.int("transA", 0)? == 0 && node.is_one("alpha")? && node.is_one("beta")?;
                let rows = node.int("transB", 0)? != 0;
                plain.then_some(if rows { Form::Rows } else { Form::Columns })
            }
            ("MatMul", 2) => Some(Form::Columns),
            _ => None,
        };
        let Some(form) = form else { return Ok(None) };
        let outputs = shape[form.axis()];
        let bias = match more {
            None => Bias::None,
            Some(name) => match graph.constant(name)? {
                Some(held) if held.values.len() as u64 == outputs && held.shape.last() == Some(&outputs) => {
                    Bias::Held(name)
                }
                _ => Bias::Other,
            },
        };
        Ok(Some(Self { node: place, input, weight, bias, form }))
    }

    /// The dimension of its input that counts channels, of that many.
    pub(super) fn channel(&self, dimensions: usize) -> usize {
        match self.form {
            Form::Conv { .. } => 1,
            Form::Rows | Form::Columns => dimensions.saturating_sub(1),
        }
    }
}

impl Form {
    /// The dimension of the weights that counts outputs.
    pub(super) fn axis(self) -> usize {
        usize::from(self == Self::Columns)
    }
}

impl Weights {
    /// Each output's weights by a scale of their own: the one that loses least, by the squares of what is lost.
    pub(super) fn of(constant: &Constant, form: Form) -> Self {
        let Constant { shape, values } = constant;
        let outputs = shape[form.axis()] as usize;
        let each = values.len() / outputs;
        // Where an output's weights lie.
        let place = |output: usize, at: usize| match form {
            Form::Columns => at * outputs + output,
            Form::Conv { .. } | Form::Rows => output * each + at,
        };
        let window = match form {
            Form::Conv { .. } => (shape[2] * shape[3]) as usize,
            Form::Rows | Form::Columns => 1,
        };
        let mut weights = Self {
            shape: shape.clone(),
            values: vec![0; values.len()],
            scales: Vec::with_capacity(outputs),
            changes: Vec::with_capacity(values.len() / window.max(1)),
        };
        let mut row = vec![0.0; each];
        for output in 0..outputs {
            row.iter_mut().enumerate().for_each(|(at, value)| *value = values[place(output, at)]);
            let scale = scale(&row);
            weights.scales.push(scale);
            for (channel, window_of) in row.chunks(window.max(1)).enumerate() {
                let mut change = 0.0;
                for (at, &value) in window_of.iter().enumerate() {
                    let kept = integer(value, scale);
                    weights.values[place(output, channel * window + at)] = kept as i8;
                    change += f64::from(kept * scale) - f64::from(value);
                }
                weights.changes.push(change);
            }
        }
        weights
    }

    /// By how much each output changes in the mean, for inputs whose channels have these means (<https://arxiv.org/abs/1906.04721>,
    /// section 4.2; what padding leaves out is not looked at).
    pub(super) fn shift(&self, form: Form, means: &[f64]) -> Vec<f64> {
        let outputs = self.scales.len();
        let channels = self.changes.len() / outputs.max(1);
        let each_group = match form {
            Form::Conv { groups } => outputs / groups,
            Form::Rows | Form::Columns => outputs,
        };
        let shift = |(output, changes): (usize, &[f64])| {
            let first = output / each_group.max(1) * channels;
            changes.iter().zip(means.iter().skip(first)).map(|(change, mean)| change * mean).sum()
        };
        self.changes.chunks(channels.max(1)).enumerate().map(shift).collect()
    }
}

fn integer(value: f32, scale: f32) -> f32 {
    (value / scale).round_ties_even().clamp(-LARGEST, LARGEST)
}

fn scale(row: &[f32]) -> f32 {
    let whole = row.iter().fold(0.0, |largest: f32, value| largest.max(value.abs())) / LARGEST;
    let mut best = (f64::INFINITY, 1.0);
    for tried in 0..TRIED {
        let scale = whole * (1.0 - tried as f32 * STEP);
        // Of weights that are 0 any scale is right.
        if scale < f32::MIN_POSITIVE {
            break;
        }
        let lost = row.iter().map(|&value| f64::from(integer(value, scale) * scale - value).powi(2)).sum();
        if lost < best.0 {
            best = (lost, scale);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_lie_as_they_did_and_each_output_has_its_scale() {
        let values = vec![127.0, -1.0, 0.0, 0.25, -0.5, 0.25];
        let rows = Weights::of(&Constant { shape: vec![2, 3], values: values.clone() }, Form::Rows);
        assert_eq!(rows.values, [127, -1, 0, 64, -127, 64]);
        assert_eq!(rows.scales[0], 1.0);
        let turned: Vec<f32> = [0, 3, 1, 4, 2, 5].map(|at: usize| values[at]).to_vec();
        let columns = Weights::of(&Constant { shape: vec![3, 2], values: turned }, Form::Columns);
        assert_eq!((columns.scales, columns.values), (rows.scales, vec![127, 64, -1, -127, 0, 64]));
        let nothing = Weights::of(&Constant { shape: vec![1, 2], values: vec![0.0; 2] }, Form::Rows);
        assert_eq!((nothing.scales, nothing.values), (vec![1.0], vec![0, 0]));
    }

    #[test]
    fn the_shift_of_a_convolution_is_that_of_its_group() {
        // Two groups of one channel each, windows of two; a weight of 0.3 among 127 is lost.
        let values = vec![127.0, 0.3, 127.0, 0.3];
        let form = Form::Conv { groups: 2 };
        let weights = Weights::of(&Constant { shape: vec![2, 1, 1, 2], values }, form);
        let shift = weights.shift(form, &[1.0, 10.0]);
        assert!((shift[0] + 0.3).abs() < 1e-6 && (shift[1] + 3.0).abs() < 1e-5, "{shift:?}");
    }
}
