//! Nets, preprocessing, prediction and training. The only crate of the project that sees libtorch, and its public types show none
//! of it: what crosses to others is [`Pixels`] in and [`Scores`] out.
//!
//! ```text
//! file --Preprocessor::decode--> Pixels --Predictor::predict--> Scores --top_k--> Prediction
//!       any thread, no tensor            one owner thread
//! ```
//!
//! - [`mod@decode`] and [`preprocess`]: an image file to the pixels that a version's manifest asks for.
//! - [`predictor`]: a version loaded, warmed up and asked; [`scores`] is its answer.
//! - [`nets`]: the nets themselves.
//! - [`dataset`], [`train`] and [`evaluate`]: labelled images, a net learned from them, and how well a version does on them.
//! - [`allocator`]: what a process does first, so that its memory stays mapped.

pub mod allocator;
pub mod dataset;
pub mod decode;
pub mod device;
mod error;
pub mod evaluate;
mod ground;
pub mod nets;
pub mod predictor;
pub mod preprocess;
pub mod scores;
pub mod train;
pub mod weights;

pub use allocator::configure_process;
pub use decode::{ImageError, ImageLimits};
pub use device::{Device, DeviceChoice};
pub use error::ModelError;
pub use predictor::Predictor;
pub use preprocess::{Pixels, Preprocessor};
pub use scores::{Prediction, Scores};
