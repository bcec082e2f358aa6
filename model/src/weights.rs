//! Loading a weights file into a net's variables, by name, with a sentence for what does not fit.

use std::collections::HashMap;
use std::path::Path;

use registry::Architecture;
use tch::Tensor;
use tch::nn::VarStore;

use crate::ModelError;

/// Copies each variable's values from the safetensors file at `path`. Tensors that the net has no variable for are passed over:
/// a training head, counters.
///
/// # Errors
/// If the file cannot be read, or lacks a variable, or has it in another shape or another kind of number.
pub fn load(store: &VarStore, path: &Path, architecture: Architecture) -> Result<(), ModelError> {
    let unreadable = |source| ModelError::Weights { path: path.into(), source };
    let tensors: HashMap<String, Tensor> =
        Tensor::read_safetensors(path).map_err(unreadable)?.into_iter().collect();
    for (name, mut variable) in store.variables() {
        let Some(tensor) = tensors.get(&name) else {
            return Err(ModelError::MissingTensor { path: path.into(), architecture, tensor: name });
        };
        if tensor.size() != variable.size() {
            return Err(ModelError::WrongShape {
                path: path.into(),
                architecture,
                tensor: name,
                expected: variable.size(),
                found: tensor.size(),
            });
        }
        // A copy would make them the net's numbers without a word.
        if tensor.kind() != variable.kind() {
            return Err(ModelError::WrongKind {
                path: path.into(),
                tensor: name,
                expected: format!("{:?}", variable.kind()),
                found: format!("{:?}", tensor.kind()),
            });
        }
        tch::no_grad(|| variable.f_copy_(tensor))?;
    }
    Ok(())
}
