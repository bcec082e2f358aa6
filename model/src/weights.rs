//! A net with the weights of a version: by name, with a sentence for what does not fit.

use registry::{Architecture, Artifact, Content, EngineKind, Manifest, ModelVersion};
use safetensors::{Dtype, SafeTensors};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use crate::ModelError;
use crate::nets::{self, Net};

/// A version's artifact for that engine, its file read and held to the manifest.
///
/// # Errors
/// If the version has none, or the file is not the manifest's.
pub(crate) fn content(
    version: &ModelVersion,
    engine: EngineKind,
) -> Result<(&Artifact, Content), ModelError> {
    version.read(engine).map_err(Box::new)?.ok_or_else(|| {
        let (model, version) = (version.manifest.name.clone(), version.manifest.version);
        ModelError::NoArtifact { model, version, engine }
    })
}

/// The net that a version's libtorch artifact names, with its weights, and the variables that they were loaded into. Not fused.
///
/// # Errors
/// If the version has no such artifact or its file is not the manifest's, or as [`load`].
pub fn net(version: &ModelVersion, device: Device) -> Result<(VarStore, Box<dyn Net>), ModelError> {
    let (artifact, content) = content(version, EngineKind::Libtorch)?;
    let architecture = artifact.architecture.ok_or_else(|| ModelError::Unsupported {
        what: format!("{}, whose manifest names no architecture", artifact.file),
    })?;
    load(&version.manifest, architecture, &content, device)
}

/// The net of that architecture, with the weights that `content` holds as safetensors. Tensors that the net has no variable for are
/// passed over: a training head, counters.
///
/// # Errors
/// If this build has no such net, or `content` lacks a variable, or has it in another shape or another kind of number.
pub fn load(
    manifest: &Manifest,
    architecture: Architecture,
    content: &Content,
    device: Device,
) -> Result<(VarStore, Box<dyn Net>), ModelError> {
    let path = &content.path;
    let tensors = SafeTensors::deserialize(&content.bytes)
        .map_err(|source| ModelError::Weights { path: path.clone(), source })?;
    let outputs = i64::from(manifest.classes.outputs);
    let find = |name: &str, expected: &[i64]| {
        let missing =
            |_| ModelError::MissingTensor { path: path.clone(), architecture, tensor: name.to_owned() };
        let tensor = tensors.tensor(name).map_err(missing)?;
        let found: Vec<i64> = tensor.shape().iter().map(|&side| side as i64).collect();
        if found != expected {
            let (tensor, expected) = (name.to_owned(), expected.to_vec());
            return Err(ModelError::WrongShape { path: path.clone(), architecture, tensor, expected, found });
        }
        // A copy would make them the net's numbers without a word.
        if tensor.dtype() != Dtype::F32 {
            let found = format!("{:?}", tensor.dtype());
            return Err(ModelError::WrongKind { path: path.clone(), tensor: name.to_owned(), found });
        }
        Ok(tensor)
    };
    // Before a net is made of as many outputs as the manifest says.
    find(nets::output_bias(architecture)?, &[outputs])?;
    let store = VarStore::new(device);
    let net = nets::build(architecture, &store.root(), outputs)?;
    for (name, mut variable) in store.variables() {
        let shape = variable.size();
        let tensor = find(&name, &shape)?;
        let values = Tensor::f_from_data_size(tensor.data(), &shape, Kind::Float)?;
        tch::no_grad(|| variable.f_copy_(&values))?;
    }
    Ok((store, net))
}
