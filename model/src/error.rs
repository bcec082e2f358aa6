//! What can go wrong between a checked model version and a prediction. (What can be wrong with an image is
//! [`ImageError`](model_core::ImageError).)

use std::path::PathBuf;

use model_core::{EngineError, PreprocessError};
use registry::{Architecture, EngineKind, RegistryError};
use safetensors::SafeTensorError;
use tch::TchError;

use crate::engines::Unusable;

/// Why a model could not be loaded or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The weights file cannot be read as safetensors.
    #[error("cannot read the weights {path}: {source}")]
    Weights {
        /// The weights file.
        path: PathBuf,
        /// The format's reason.
        source: SafeTensorError,
    },
    /// The weights file lacks a tensor of the net.
    #[error("the weights {path} do not belong to {architecture:?}: they hold no tensor {tensor:?}")]
    MissingTensor {
        /// The weights file.
        path: PathBuf,
        /// The net that needs it.
        architecture: Architecture,
        /// Its name.
        tensor: String,
    },
    /// A tensor of the weights file holds other numbers than the net's.
    #[error(
        "the weights {path} cannot be used: tensor {tensor:?} holds {found}, and the net computes with F32"
    )]
    WrongKind {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The file's kind of number.
        found: String,
    },
    /// A tensor of the weights file has another shape than the net's.
    #[error(
        "the weights {path} do not belong to {architecture:?}: tensor {tensor:?} has shape {found:?}, the net's is {expected:?}"
    )]
    WrongShape {
        /// The weights file.
        path: PathBuf,
        /// The net.
        architecture: Architecture,
        /// The tensor's name.
        tensor: String,
        /// The net's shape.
        expected: Vec<i64>,
        /// The file's shape.
        found: Vec<i64>,
    },
    /// The version has nothing that the engine could compute with.
    #[error("{model} version {version} has no artifact for {engine}")]
    NoArtifact {
        /// The model.
        model: String,
        /// Its version.
        version: u32,
        /// The engine.
        engine: EngineKind,
    },
    /// No engine here can compute the version as it is wanted.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// OpenVINO refuses the version's file, or is not there.
    #[error(transparent)]
    Openvino(#[from] Box<model_openvino::LoadError>),
    /// The text names no engine.
    #[error("{text:?} is no engine: use auto, libtorch, openvino or torchscript")]
    UnknownEngine {
        /// The text as given.
        text: String,
    },
    /// A file of the version is not what its manifest says.
    #[error(transparent)]
    Registry(#[from] Box<RegistryError>),
    /// The file can't be TorchScript.
    #[error("{file} is no TorchScript file, which `torch.jit.save` writes")]
    NoTorchScript {
        /// The file.
        file: String,
    },
    /// libtorch can't load a TorchScript file. Its own words, which go on for pages, are the source.
    #[error("{file} can't be loaded as TorchScript")]
    TorchScript {
        /// The file.
        file: String,
        /// libtorch's reason.
        source: TchError,
    },
    /// A TorchScript net has no value that a heat map could be made of.
    #[error("{file} can't be explained: {reason}")]
    NoMap {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// The version's net can't be looked into.
    #[error(
        "{model} version {version} can't be explained: a heat map takes gradients, and an ONNX file gives none. Explain the version that it was \
         made from, or one of the same classes by `model train`"
    )]
    Opaque {
        /// The model.
        model: String,
        /// Its version.
        version: u32,
    },
    /// The manifest asks for something that this build has no net or filter for.
    #[error("this build cannot serve {what}")]
    Unsupported {
        /// What is asked for.
        what: String,
    },
    /// The manifest asks for a preprocessing that this build has not.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The net was asked and did not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A device was asked for that is not there.
    #[error("there is no CUDA device, or this libtorch is built without CUDA: use --device cpu or auto")]
    NoCuda,
    /// The text names no device.
    #[error("{text:?} is no device: use cpu, cuda or auto")]
    UnknownDevice {
        /// The text as given.
        text: String,
    },
    /// An operation of libtorch failed.
    #[error("libtorch: {}", first_line(.0))]
    Torch(#[from] TchError),
}

/// What libtorch says before its C++ stack trace. The whole is the error's source, for a log.
fn first_line(error: &TchError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn a_stack_trace_is_left_to_the_source() {
        let torch = || TchError::Torch("out of memory\nException raised from alloc_cpu\nframe #0".into());
        let error = ModelError::from(torch());
        assert!(error.to_string().ends_with("out of memory"), "{error}");
        assert!(error.source().is_some_and(|source| source.to_string().contains("frame #0")), "{error:?}");
    }
}
