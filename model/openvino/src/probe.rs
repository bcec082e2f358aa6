//! A net that tells what its layers are given, not what it answers: for calibration.

use model_core::normalise::Normalise;
use model_core::{EngineError, Pixels};
use openvino::{
    CompiledModel, Core, DeviceType, ElementType, InferRequest, InferenceError, PartialShape, Shape, Tensor,
};
use registry::{Input, Layout};

use crate::LoadError;
use crate::engine::{image, interleaved, open};

/// A net whose outputs are tensors of any shape. One thread owns it.
pub(crate) struct Probe {
    request: InferRequest,
    input: Tensor,
    normalise: Normalise,
    /// So many images at once.
    batch: usize,
    outputs: usize,
    /// The request was made by this one.
    _model: CompiledModel,
}

/// What hears of each output: its place, its shape, and its values.
pub(crate) type Heard<'a> = &'a mut dyn FnMut(usize, &[usize], &[f32]);

impl Probe {
    /// Loads an ONNX file that takes images as `input` describes them, `batch` of them at once: so many instances, one after the other. The
    /// core that compiled them has to outlive them.
    pub(crate) fn load(
        file: &str,
        onnx: &[u8],
        input: &Input,
        batch: usize,
        instances: usize,
    ) -> Result<(Vec<Self>, Core), LoadError> {
        let refused = |source| LoadError::Refused { file: file.to_owned(), source };
        let (mut core, mut model) = open(file, onnx)?;
        let mut make = || -> Result<Vec<Self>, InferenceError> {
            let [rows, columns, channels] = image(input);
            let shape = PartialShape::new_static(4, &[batch as i64, rows, columns, channels])?;
            model.reshape_single_input(&shape)?;
            if input.layout == Layout::Nchw {
                model = interleaved(&model)?;
            }
            let [channels, size] = [input.channels, input.size].map(i64::from);
            let outputs = model.get_outputs_len()?;
            let mut instance = || {
                let mut compiled = core.compile_model(&model, DeviceType::CPU)?;
                let request = compiled.create_infer_request()?;
                let taken =
                    Tensor::new(ElementType::F32, &Shape::new(&[batch as i64, size, size, channels])?)?;
                let normalise = Normalise::new(input);
                Ok(Self { request, input: taken, normalise, batch, outputs, _model: compiled })
            };
            (0..instances).map(|_| instance()).collect()
        };
        Ok((make().map_err(refused)?, core))
    }

    /// Shows it images, as many as go at once: where there are fewer, some again. `heard` hears of each output.
    pub(crate) fn pass(&mut self, images: &[Pixels], heard: Heard<'_>) -> Result<(), EngineError> {
        let compute = |error: InferenceError| EngineError::Compute(Box::new(error));
        let shown: Vec<&Pixels> = images.iter().cycle().take(self.batch).collect();
        self.normalise.interleaved(&shown, 0, self.input.get_data_mut().map_err(compute)?)?;
        self.request.set_input_tensor(&self.input).map_err(compute)?;
        self.request.infer().map_err(compute)?;
        for place in 0..self.outputs {
            let output = self.request.get_output_tensor_by_index(place).map_err(compute)?;
            let shape = output.get_shape().map_err(compute)?;
            let shape: Vec<usize> =
                shape.get_dimensions().iter().map(|&side| usize::try_from(side).unwrap_or(0)).collect();
            heard(place, &shape, output.get_data().map_err(compute)?);
        }
        Ok(())
    }
}
