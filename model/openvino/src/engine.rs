//! An ONNX file as an engine: one thread and one stream in each instance, in 32-bit floats.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use model_core::normalise::{Normalise, rows};
use model_core::{Engine, EngineError, Pixels};
use openvino::{
    CompiledModel, Core, DeviceType, ElementType, InferRequest, InferenceError, Model, Node, RwPropertyKey,
    Shape, Tensor,
};
use registry::Input;

use crate::library::{Missing, library};

/// Passes for each size of batch before the net counts as warm: the first prepares its kernels.
const WARM_UP_PASSES: usize = 2;

/// So many of an image's values go through the net at once: images of 224 x 224 one by one, those of 28 x 28 by 32. Of larger
/// batches the activations would not stay in the processor's cache.
const VALUES_AT_ONCE: usize = 200_000;
const MOST_AT_ONCE: usize = 32;

/// Why an ONNX file can't be computed with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// There is no OpenVINO.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The file's net is not the one that its manifest describes.
    #[error("{file} is not what its manifest says: {what}")]
    OtherNet {
        /// The file.
        file: String,
        /// What differs.
        what: String,
    },
    /// OpenVINO refuses it. Its own words, which may be pages, are the source.
    #[error("{file} can't be computed by OpenVINO")]
    Refused {
        /// The file.
        file: String,
        /// OpenVINO's reason.
        source: InferenceError,
    },
}

/// An ONNX file ready to answer. One thread owns it.
pub struct OpenVino {
    net: Arc<Net>,
    compiled: Option<Compiled>,
}

/// What instances share: the net as it was read, to be compiled for each.
struct Net {
    source: Mutex<(Core, Model)>,
    /// The net was compiled once to see that it can be: for the first instance that computes.
    spare: Mutex<Option<Compiled>>,
    normalise: Normalise,
    outputs: usize,
    at_once: usize,
}

/// A net with kernels and weights of its own.
struct Compiled {
    request: InferRequest,
    /// A tensor for each size of batch, from one image, made when it is first needed.
    inputs: Vec<Option<Tensor>>,
    /// The request was made by this one.
    _model: CompiledModel,
}

impl Net {
    fn compiled(&self) -> Result<Compiled, InferenceError> {
        if let Some(spare) = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Ok(spare);
        }
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let (core, model) = &mut *source;
        let mut compiled = core.compile_model(model, DeviceType::CPU)?;
        let request = compiled.create_infer_request()?;
        let inputs = (0..self.at_once).map(|_| None).collect();
        Ok(Compiled { request, inputs, _model: compiled })
    }
}

impl OpenVino {
    /// Loads an ONNX file; `file` names it in messages. Its one input takes any number of images as `input` describes them, normalised
    /// values `[N, channels, size, size]`, and its one output gives `outputs` numbers for each.
    ///
    /// # Errors
    /// Where there is no OpenVINO, the file is no ONNX that it takes, or another net than described.
    pub fn load(file: &str, onnx: &[u8], input: &Input, outputs: u32) -> Result<Self, LoadError> {
        library()?;
        let refused = |source| LoadError::Refused { file: file.to_owned(), source };
        let mut core = Core::new().map_err(|error| Missing::Unusable {
            path: "as it was opened".to_owned(),
            reason: error.to_string(),
        })?;
        let settings = [
            // By itself it would take bfloat16 where the processor has it.
            (RwPropertyKey::HintInferencePrecision, "f32"),
            (RwPropertyKey::InferenceNumThreads, "1"),
            (RwPropertyKey::NumStreams, "1"),
            // Instances are threads of ours, and each would be bound to the same core.
            (RwPropertyKey::HintEnableCpuPinning, "NO"),
        ];
        core.set_properties(&DeviceType::CPU, settings).map_err(refused)?;
        let model = core.read_model_from_buffer(onnx, None).map_err(refused)?;
        let differs = differs(&model, input, outputs).map_err(refused)?;
        if let Some(what) = differs {
            return Err(LoadError::OtherNet { file: file.to_owned(), what });
        }
        let values = (input.size * input.size * input.channels).max(1) as usize;
        let net = Net {
            source: Mutex::new((core, model)),
            spare: Mutex::default(),
            normalise: Normalise::new(input),
            outputs: outputs as usize,
            at_once: (VALUES_AT_ONCE / values).clamp(1, MOST_AT_ONCE),
        };
        let compiled = net.compiled().map_err(refused)?;
        *net.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(compiled);
        Ok(Self { net: Arc::new(net), compiled: None })
    }

    /// One pass over images that go at once; `first` is the place of the first of them in the batch.
    fn pass(&mut self, pixels: &[&Pixels], first: usize) -> Result<Vec<Vec<f32>>, EngineError> {
        let compute = |error: InferenceError| EngineError::Compute(Box::new(error));
        let normalise = &self.net.normalise;
        let compiled = match &mut self.compiled {
            Some(compiled) => compiled,
            none => none.insert(self.net.compiled().map_err(compute)?),
        };
        let input = match &mut compiled.inputs[pixels.len() - 1] {
            Some(input) => input,
            none => {
                let [channels, size] = [normalise.channels(), normalise.size()].map(i64::from);
                let shape = Shape::new(&[pixels.len() as i64, channels, size, size]).map_err(compute)?;
                none.insert(Tensor::new(ElementType::F32, &shape).map_err(compute)?)
            }
        };
        normalise.planes(pixels, first, input.get_data_mut().map_err(compute)?)?;
        compiled.request.set_input_tensor(input).map_err(compute)?;
        compiled.request.infer().map_err(compute)?;
        let output = compiled.request.get_output_tensor().map_err(compute)?;
        let flat: &[f32] = output.get_data().map_err(compute)?;
        if flat.len() != pixels.len() * self.net.outputs {
            let text = format!("the net gave {} numbers for {} images", flat.len(), pixels.len());
            return Err(EngineError::Compute(text.into()));
        }
        rows(flat, self.net.outputs, first)
    }
}

impl Engine for OpenVino {
    fn logits(&mut self, batch: &[&Pixels]) -> Result<Vec<Vec<f32>>, EngineError> {
        let mut all = Vec::with_capacity(batch.len());
        for pixels in batch.chunks(self.net.at_once) {
            all.extend(self.pass(pixels, all.len())?);
        }
        Ok(all)
    }

    fn warm_up(&mut self, max_batch: usize) -> Result<(), EngineError> {
        let normalise = &self.net.normalise;
        let blank = Pixels::black(normalise.size(), normalise.channels());
        for images in 1..=max_batch.clamp(1, self.net.at_once) {
            let batch = vec![&blank; images];
            for _ in 0..WARM_UP_PASSES {
                self.logits(&batch)?;
            }
        }
        Ok(())
    }

    fn share(&self) -> Result<Box<dyn Engine>, EngineError> {
        let compiled = self.net.compiled().map_err(|error| EngineError::Compute(Box::new(error)))?;
        Ok(Box::new(Self { net: Arc::clone(&self.net), compiled: Some(compiled) }))
    }
}

impl fmt::Debug for OpenVino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenVino").field("at_once", &self.net.at_once).finish_non_exhaustive()
    }
}

/// In what the net differs from its description, before anything of it is computed.
fn differs(model: &Model, input: &Input, outputs: u32) -> Result<Option<String>, InferenceError> {
    let (inputs, answers) = (model.get_inputs_len()?, model.get_outputs_len()?);
    if (inputs, answers) != (1, 1) {
        return Ok(Some(format!("it has {inputs} inputs and {answers} outputs, not one of each")));
    }
    let [size, channels] = [input.size, input.channels].map(i64::from);
    let sides = [("input", model.get_input_by_index(0)?, vec![channels, size, size])];
    for (name, node, expected) in
        sides.into_iter().chain([("output", model.get_output_by_index(0)?, vec![i64::from(outputs)])])
    {
        let kind = node.get_element_type()?;
        if kind != ElementType::F32 {
            return Ok(Some(format!("its {name} holds {kind:?}, not 32-bit floats")));
        }
        let found = shape(&node)?;
        let rest: Vec<_> = expected.iter().map(|&side| Some(side)).collect();
        if found.split_first() != Some((&None, rest.as_slice())) {
            let (found, expected) = (word(&found), word(&[&[None], rest.as_slice()].concat()));
            return Ok(Some(format!("its {name} has the shape {found}, not {expected}")));
        }
    }
    Ok(None)
}

/// A shape, with nothing for a side that may be of any length.
fn shape(node: &Node) -> Result<Vec<Option<i64>>, InferenceError> {
    let shape = node.get_partial_shape()?;
    if shape.get_rank().is_dynamic() {
        return Ok(Vec::new());
    }
    let side = |side: &openvino::Dimension| (side.get_min() == side.get_max()).then(|| side.get_max());
    Ok(shape.get_dimensions().iter().map(side).collect())
}

/// A shape for people.
fn word(shape: &[Option<i64>]) -> String {
    let sides: Vec<_> =
        shape.iter().map(|side| side.map_or("N".to_owned(), |side| side.to_string())).collect();
    format!("[{}]", sides.join(", "))
}
