//! What the rooms ask of a model: to turn an image file into pixels, and pixels into labels. Plain data on both sides, so
//! that the rooms are tested without a net.

use model_core::Pixels;
use wire::Prediction;

/// Turns an image file into a net's input. Called on several threads at once.
pub trait Prepare: Send + Sync {
    /// The pixels that the net takes.
    ///
    /// # Errors
    /// A sentence for the sender where the file is not an image that can be used. The same file always gets the same.
    fn prepare(&self, file: &[u8]) -> Result<Pixels, String>;
}

/// One image, and what is asked about it.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// From the same model's [`Prepare`].
    pub pixels: &'a Pixels,
    /// How many predictions to return.
    pub top_k: usize,
}

/// A loaded model. One thread owns it.
pub trait Backend {
    /// The predictions for each image, in order; for each the most probable first.
    ///
    /// # Errors
    /// Where the batch can't be computed. The infer room then tries its images one by one.
    fn predict(&mut self, batch: &[Input<'_>]) -> Result<Vec<Vec<Prediction>>, BackendError>;
}

/// Makes a [`Backend`] on the thread that will own it, and runs it until it is as quick as it gets, for batches of up to
/// that many images.
pub type Loader = dyn Fn(usize) -> Result<Box<dyn Backend>, BackendError> + Send + Sync;

/// Why a backend can't be loaded or can't compute. Cloned for each image of a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BackendError(pub String);
