//! What can go wrong between a checked model version and a prediction. (What can be wrong with an image is
//! [`ImageError`](crate::ImageError).)

use std::path::PathBuf;

use registry::Architecture;
use tch::TchError;

/// Why a model could not be loaded or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The weights file cannot be read as safetensors.
    #[error("cannot read the weights {path}: {source}")]
    Weights {
        /// The weights file.
        path: PathBuf,
        /// libtorch's or the format's reason.
        source: TchError,
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
    /// The manifest asks for something that this build has no net or filter for.
    #[error("this build cannot serve {what}")]
    Unsupported {
        /// What is asked for.
        what: String,
    },
    /// An image has not the size that the net takes.
    #[error(
        "image {position} of the batch is {found_width} x {found_height} x {found_channels}, the net takes {size} x {size} x {channels}"
    )]
    WrongSize {
        /// Its place in the batch, from 0.
        position: usize,
        /// The net's side in pixels.
        size: u32,
        /// The net's channels.
        channels: u32,
        /// The image's width.
        found_width: u32,
        /// The image's height.
        found_height: u32,
        /// The image's channels.
        found_channels: u32,
    },
    /// The net's output is not a number: the weights are damaged or of another preprocessing.
    #[error(
        "the net answered image {position} of the batch with something that is no number: its weights must be damaged"
    )]
    NotANumber {
        /// The image's place in the batch, from 0.
        position: usize,
    },
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
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}
