//! An ONNX file as an engine: one thread and one stream in each instance, in 32-bit floats.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use model_core::normalise::{Normalise, rows};
use model_core::{Engine, EngineError, Pixels, pass_blank};
use openvino::prepostprocess::Pipeline;
use openvino::{
    CompiledModel, Core, DeviceType, Dimension, ElementType, InferRequest, InferenceError, Model, Node,
    PartialShape, RwPropertyKey, Shape, Tensor,
};
use registry::{Input, Layout};

use crate::exact::{SATURATES, integers_are_exact};
use crate::library::{Missing, library};
use crate::onnx;
use crate::port::Port;

/// Passes for each size of batch before the net counts as warm: the first prepares its kernels.
const WARM_UP_PASSES: usize = 2;

/// So many of an image's values go through the net at once: images of 224 x 224 one by one, those of 28 x 28 by 32. Of larger
/// batches the activations would not stay in the processor's cache.
const VALUES_AT_ONCE: usize = 200_000;
const MOST_AT_ONCE: usize = 32;
/// The most images that a net may take at once where it takes so many and no other number.
const LARGEST_BATCH: i64 = 256;

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
    /// The file is no ONNX, or not all of it.
    #[error("{file} can't be used: {reason}")]
    Unread {
        /// The file.
        file: String,
        /// Why.
        reason: onnx::Unread,
    },
    /// It computes in 8-bit integers, and this processor does not do that exactly.
    #[error("{file} can't be used: {SATURATES}")]
    Saturates {
        /// The file.
        file: String,
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
    /// Goes before the net: the core that compiled it has to outlive it.
    compiled: Option<Compiled>,
    net: Arc<Net>,
}

/// What instances share: the net as it was read, to be compiled for each.
struct Net {
    /// The net was compiled once to see that it can be: for the first instance that computes.
    spare: Mutex<Option<Compiled>>,
    /// Goes last.
    source: Mutex<(Core, Model)>,
    normalise: Normalise,
    outputs: usize,
    at_once: usize,
    /// It takes so many images at once and no other number: what is missing is made up.
    fixed: bool,
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
    /// Loads an ONNX file; `file` names it in messages. Its one input takes images as `input` describes them, normalised values
    /// `[N, channels, size, size]` or `[N, size, size, channels]`, any N or one that the file says; its one output gives `outputs` numbers
    /// for each.
    ///
    /// # Errors
    /// Where there is no OpenVINO, the file is no ONNX that it takes, or another net than described.
    pub fn load(file: &str, onnx: &[u8], input: &Input, outputs: u32) -> Result<Self, LoadError> {
        let refused = |source| LoadError::Refused { file: file.to_owned(), source };
        let (core, mut model) = open(file, onnx)?;
        let batch = settle(&mut model, input, outputs)
            .map_err(refused)?
            .map_err(|what| LoadError::OtherNet { file: file.to_owned(), what })?;
        let values = (input.size * input.size * input.channels).max(1) as usize;
        let at_once = batch.unwrap_or((VALUES_AT_ONCE / values).clamp(1, MOST_AT_ONCE));
        if at_once == 1 {
            // A tenth faster than a net for any number: nothing about sizes is left to be found out in each pass.
            let one = PartialShape::new_static(4, &[&[1][..], &image(input)].concat()).map_err(refused)?;
            model.reshape_single_input(&one).map_err(refused)?;
        }
        if input.layout == Layout::Nchw {
            model = interleaved(&model).map_err(refused)?;
        }
        let net = Net {
            source: Mutex::new((core, model)),
            spare: Mutex::default(),
            normalise: Normalise::new(input),
            outputs: outputs as usize,
            at_once,
            fixed: batch.is_some(),
        };
        let compiled = net.compiled().map_err(refused)?;
        *net.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(compiled);
        Ok(Self { net: Arc::new(net), compiled: None })
    }

    /// How many images the net takes at once, where it takes no other number.
    #[must_use]
    pub fn fixed_batch(&self) -> Option<usize> {
        self.net.fixed.then_some(self.net.at_once)
    }

    /// One pass over images that go at once; `first` is the place of the first of them in the batch.
    fn pass(&mut self, pixels: &[&Pixels], first: usize) -> Result<Vec<Vec<f32>>, EngineError> {
        let compute = |error: InferenceError| EngineError::Compute(Box::new(error));
        let normalise = &self.net.normalise;
        let compiled = match &mut self.compiled {
            Some(compiled) => compiled,
            none => none.insert(self.net.compiled().map_err(compute)?),
        };
        let images = if self.net.fixed { self.net.at_once } else { pixels.len() };
        let input = match &mut compiled.inputs[images - 1] {
            Some(input) => input,
            none => {
                let [channels, size] = [normalise.channels(), normalise.size()].map(i64::from);
                let shape = Shape::new(&[images as i64, size, size, channels]).map_err(compute)?;
                none.insert(Tensor::new(ElementType::F32, &shape).map_err(compute)?)
            }
        };
        let values: &mut [f32] = input.get_data_mut().map_err(compute)?;
        let (given, missing) = values.split_at_mut(values.len() / images * pixels.len());
        normalise.interleaved(pixels, first, given)?;
        missing.fill(0.0);
        compiled.request.set_input_tensor(input).map_err(compute)?;
        compiled.request.infer().map_err(compute)?;
        let output = compiled.request.get_output_tensor().map_err(compute)?;
        let flat: &[f32] = output.get_data().map_err(compute)?;
        if flat.len() != images * self.net.outputs {
            let text = format!("the net gave {} numbers for {images} images", flat.len());
            return Err(EngineError::Compute(text.into()));
        }
        rows(&flat[..pixels.len() * self.net.outputs], self.net.outputs, first)
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
        let largest = if self.net.fixed { 1 } else { max_batch.clamp(1, self.net.at_once) };
        for images in 1..=largest {
            let batch = vec![&blank; images];
            for _ in 0..WARM_UP_PASSES {
                pass_blank(self, &batch)?;
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

/// OpenVINO, set as all nets want it, and the net of an ONNX file; `file` names it in messages.
pub(crate) fn open(file: &str, onnx: &[u8]) -> Result<(Core, Model), LoadError> {
    library()?;
    let refused = |source| LoadError::Refused { file: file.to_owned(), source };
    // Before OpenVINO sees it, who would look for what is missing in files beside it.
    let summary = onnx::read(onnx).map_err(|reason| LoadError::Unread { file: file.to_owned(), reason })?;
    if summary.quantised && !integers_are_exact()? {
        return Err(LoadError::Saturates { file: file.to_owned() });
    }
    let mut core = core()?;
    let model = core.read_model_from_buffer(onnx, None).map_err(refused)?;
    Ok((core, model))
}

/// OpenVINO, set as all nets want it.
pub(crate) fn core() -> Result<Core, Missing> {
    let unusable = |reason: String| Missing::Unusable { path: "as it was opened".to_owned(), reason };
    let mut core = Core::new().map_err(|error| unusable(error.to_string()))?;
    let settings = [
        // By itself it would take bfloat16 where the processor has it. What a file says is in integers is computed in integers.
        (RwPropertyKey::HintInferencePrecision, "f32"),
        (RwPropertyKey::InferenceNumThreads, "1"),
        (RwPropertyKey::NumStreams, "1"),
        // Instances are threads of ours, and each would be bound to the same core.
        (RwPropertyKey::HintEnableCpuPinning, "NO"),
    ];
    core.set_properties(&DeviceType::CPU, settings).map_err(|error| unusable(error.to_string()))?;
    Ok(core)
}

/// The same net for values `[N, size, size, channels]`, as pixels lie and as the kernels want them: so nobody lays them out anew.
pub(crate) fn interleaved(model: &Model) -> Result<Model, InferenceError> {
    let pipeline = Pipeline::new(model)?;
    let input = pipeline.get_input_info()?;
    input.get_tensor_info()?.set_layout(openvino::Layout::new("NHWC")?)?;
    input.get_model_info()?.set_layout(openvino::Layout::new("NCHW")?)?;
    pipeline.build_new_model()
}

/// An image's dimensions, as a net takes it.
pub(crate) fn image(input: &Input) -> [i64; 3] {
    let [size, channels] = [input.size, input.channels].map(i64::from);
    match input.layout {
        Layout::Nchw => [channels, size, size],
        Layout::Nhwc => [size, size, channels],
    }
}

/// Holds the net to its description before anything of it is computed, and settles what it leaves open: how many images it takes at
/// once, where it takes no other number; in words in what it differs.
fn settle(
    model: &mut Model,
    input: &Input,
    outputs: u32,
) -> Result<Result<Option<usize>, String>, InferenceError> {
    let (inputs, answers) = (model.get_inputs_len()?, model.get_outputs_len()?);
    if (inputs, answers) != (1, 1) {
        return Ok(Err(format!("it has {inputs} inputs and {answers} outputs, not one of each")));
    }
    let (taken, given) =
        (Port::from(model.get_input_by_index(0)?), Port::from(model.get_output_by_index(0)?));
    for (name, node) in [("input", &taken), ("output", &given)] {
        let kind = node.get_element_type()?;
        if kind != ElementType::F32 {
            return Ok(Err(format!("its {name} holds {kind:?}, not 32-bit floats")));
        }
    }
    let image = image(input);
    let found = shape(&taken)?.unwrap_or(vec![None; 4]);
    // A net whose output is for one image, whatever its input says, takes one image.
    let batch = found.first().copied().flatten().or(shape(&given)?.and_then(|given| *given.first()?));
    let wanted: Vec<_> = [batch].into_iter().chain(image.map(Some)).collect();
    let fits = |(found, wanted): (&Option<i64>, &Option<i64>)| found.is_none() || found == wanted;
    if found.len() != wanted.len() || !found.iter().zip(&wanted).all(fits) {
        return Ok(Err(format!("its input has the shape {}, not {}", word(&found), word(&wanted))));
    }
    if batch.is_some_and(|batch| !(1..=LARGEST_BATCH).contains(&batch)) {
        return Ok(Err(format!(
            "its input has the shape {}: 1 to {LARGEST_BATCH} images can go at once",
            word(&found)
        )));
    }
    if found != wanted {
        let side =
            |side: &Option<i64>| side.map_or(Dimension::new(-1, -1), |side| Dimension::new(side, side));
        let sides: Vec<_> = wanted.iter().map(side).collect();
        model.reshape_single_input(&PartialShape::new(4, &sides)?)?;
    }
    let found = shape(&Port::from(model.get_output_by_index(0)?))?.unwrap_or_default();
    let wanted = [batch, Some(i64::from(outputs))];
    // What a pooling leaves are sides of 1.
    let (first, rest) = found.split_at(found.len().min(2));
    if first.len() < 2 || !first.iter().zip(&wanted).all(fits) || rest.iter().any(|&side| side != Some(1)) {
        return Ok(Err(format!("its output has the shape {}, not {}", word(&found), word(&wanted))));
    }
    Ok(Ok(batch.and_then(|batch| usize::try_from(batch).ok())))
}

/// A shape, with nothing for a side that may be of any length; nothing where their number may be any.
fn shape(node: &Node) -> Result<Option<Vec<Option<i64>>>, InferenceError> {
    let shape = node.get_partial_shape()?;
    if shape.get_rank().is_dynamic() {
        return Ok(None);
    }
    let side = |side: &Dimension| (side.get_min() == side.get_max()).then(|| side.get_max());
    Ok(Some(shape.get_dimensions().iter().map(side).collect()))
}

/// A shape for people.
fn word(shape: &[Option<i64>]) -> String {
    let sides: Vec<_> =
        shape.iter().map(|side| side.map_or("N".to_owned(), |side| side.to_string())).collect();
    format!("[{}]", sides.join(", "))
}
