//! What a net is to everybody else: plain pixels in, plain outputs out.

use std::error::Error;

use crate::Pixels;

/// A loaded model version, ready to answer. One thread owns it.
pub trait Engine: Send {
    /// The net's outputs (logits) for each image of the batch, in order. An image's outputs do not depend on the others.
    ///
    /// # Errors
    /// If an image has not the net's size, or the net fails.
    fn logits(&mut self, batch: &[&Pixels]) -> Result<Vec<Vec<f32>>, EngineError>;

    /// Runs the net on blank images until its speed is steady, for batches of up to `max_batch`.
    ///
    /// # Errors
    /// If the net fails.
    fn warm_up(&mut self, max_batch: usize) -> Result<(), EngineError>;

    /// One more instance of the same version, for another thread: on the same weights in memory, where the engine can.
    ///
    /// # Errors
    /// If the engine cannot make one.
    fn share(&self) -> Result<Box<dyn Engine>, EngineError>;
}

/// Has the net compute images whose answers nobody wants, as blank ones to warm it up. That it has no numbers for them is no failure: a net
/// that divides by an image's contrast has none for a blank one.
///
/// # Errors
/// If the net fails.
pub fn pass_blank(engine: &mut impl Engine, batch: &[&Pixels]) -> Result<(), EngineError> {
    match engine.logits(batch) {
        Ok(_) | Err(EngineError::NotANumber { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Why an engine gave no outputs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
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
    /// The library that computes failed. Its own words, which may be pages of a stack trace, are the source.
    #[error("the net could not be computed")]
    Compute(#[source] Box<dyn Error + Send + Sync>),
}
