//! Nets, the libtorch engine, the choice of an engine, training and evaluation. The only crate of the project that sees libtorch, and its public types show
//! none of it: what crosses to others is `model-core`'s plain data, [`Pixels`] in and [`Scores`] out.
//!
//! ```text
//! file --Preprocessor::decode--> Pixels --Predictor::predict--> Scores --top_k--> Prediction
//!       any thread, no tensor            one owner thread
//! ```
//!
//! - [`engines`]: which engine computes a version, and that engine loaded.
//! - [`predictor`]: a version loaded, warmed up and asked: libtorch as an [`Engine`].
//! - [`torchscript`]: a net that another program wrote, as another.
//! - [`nets`]: the nets themselves.
//! - [`onnx`]: a net as a file for other engines.
//! - [`dataset`], [`train`] and [`evaluate`]: labelled images, a net learned from them, and how well a version does on them, also
//!   in other clothes ([`variants`]).
//! - [`report`]: an evaluation as a page for people.
//! - [`calibration`]: how sure its answers are to be taken.
//! - [`explain`]: where in an image a net sees what it says.
//! - [`transfer`]: a net that knows photographs learns a user's own classes.
//! - [`parallel`]: work on many images side by side.
//! - [`allocator`]: what a process does first, so that its memory stays mapped; [`leave`](fn@leave): what it does last.

pub mod allocator;
pub mod calibration;
pub mod dataset;
pub mod device;
pub mod engines;
mod error;
pub mod evaluate;
pub mod explain;
mod leave;
pub mod nets;
pub mod onnx;
pub mod parallel;
pub mod predictor;
pub mod report;
pub mod torchscript;
pub mod train;
pub mod transfer;
pub mod variants;
pub mod weights;

pub use allocator::{configure_process, give_memory_back};
pub use device::{Device, DeviceChoice};
pub use error::ModelError;
pub use leave::leave;
pub use model_core::{
    Engine, EngineError, ImageError, ImageLimits, Pixels, Prediction, PreprocessError, Preprocessor, Scores,
};
pub use predictor::Predictor;
