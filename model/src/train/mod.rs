//! Training: what goes into a run, what it tells, and what comes out. A run is a function of its configuration and its
//! data: the same seed gives the same weights on one thread, and an interrupted run goes on as if it had not been.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub mod augment;
pub mod checkpoint;
mod clothes;
pub mod config;
mod draw;
mod fingerprint;
pub mod outliers;
pub mod publish;
mod run;
pub mod schedule;
pub mod sgd;

pub use run::train;

use sgd::Named;

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The images don't fit the net or the configuration.
    #[error("these images cannot be trained on: {0}")]
    Data(String),
    /// The loss is no number any more.
    #[error("the loss is {loss} in epoch {epoch}: lower optimizer.learning_rate")]
    Diverged {
        /// The epoch, counted from 1.
        epoch: usize,
        /// NaN or infinite.
        loss: f64,
    },
    /// There is an unfinished run.
    #[error(
        "{path} holds a run that ended after epoch {done} of {epochs}: go on with --resume, or start over with --force"
    )]
    Unfinished {
        /// The checkpoint.
        path: PathBuf,
        /// Epochs done.
        done: usize,
        /// Epochs wanted.
        epochs: usize,
    },
    /// A checkpoint of a run with other settings.
    #[error(
        "{path} is the checkpoint of a run with another configuration: give it the same one, or start over without --resume and with --force"
    )]
    OtherConfig {
        /// The checkpoint.
        path: PathBuf,
    },
    /// A checkpoint of a run with other images, or of a release that drew other numbers.
    #[error(
        "{path} is the checkpoint of a run with other images, or of an older release: give it the same images by --data, or start over without --resume and with --force"
    )]
    OtherData {
        /// The checkpoint.
        path: PathBuf,
    },
    /// The checkpoint cannot be read.
    #[error("cannot read the checkpoint {path}: {source}")]
    ReadCheckpoint {
        /// The checkpoint.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The checkpoint is truncated or foreign.
    #[error("{path} cannot be used: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The output is no version's folder.
    #[error("{path} is no place for the result: a version of {model:?} goes to <weights>/{model}/<number>")]
    Output {
        /// The path asked for.
        path: PathBuf,
        /// The model.
        model: String,
    },
    /// The result could not be published.
    #[error(transparent)]
    Registry(#[from] registry::RegistryError),
    /// The result could not be loaded.
    #[error(transparent)]
    Model(#[from] crate::ModelError),
    /// The result could not be measured.
    #[error(transparent)]
    Evaluate(#[from] crate::evaluate::EvaluateError),
    /// The images that were kept out give no temperature.
    #[error(transparent)]
    Calibration(#[from] crate::calibration::CalibrationError),
    /// The manifest asks for a preprocessing that this build has not.
    #[error(transparent)]
    Preprocess(#[from] model_core::PreprocessError),
    /// libtorch failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl TrainError {
    fn damaged(path: &Path, reason: String) -> Self {
        Self::Damaged { path: path.to_owned(), reason }
    }
}

/// How an epoch went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochReport {
    /// Counted from 1.
    pub epoch: usize,
    /// Mean training loss.
    pub loss: f64,
    /// Share of training images, flipped and under dropout, that were named right.
    pub accuracy: f64,
    /// Share of the validation images that the averaged weights name right.
    pub validation_accuracy: f64,
    /// Whether that is the best of its round so far.
    pub best: bool,
    /// Wall time.
    pub seconds: f64,
}

/// What a run tells whoever watches it.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step of an epoch is done; loss and accuracy are the epoch's means so far.
    Step {
        /// Epoch, counted from 1.
        epoch: usize,
        /// Steps done in the run, those of earlier calls included.
        done: usize,
        /// Steps in the run.
        total: usize,
        /// Mean loss.
        loss: f64,
        /// Share named right.
        accuracy: f64,
    },
    /// An epoch is done and its checkpoint written.
    Epoch(&'a EpochReport),
}

/// How a run is carried out; none of it changes the result.
#[derive(Debug, Clone)]
pub struct Options {
    /// The checkpoint file; its folder is made if need be.
    pub checkpoint: PathBuf,
    /// Go on from the checkpoint where there is one.
    pub resume: bool,
    /// Overwrite the checkpoint of an unfinished run.
    pub force: bool,
    /// End after this many epochs of this call, to be resumed later.
    pub stop_after: Option<usize>,
    /// Where to compute.
    pub device: tch::Device,
}

/// A run, finished or stopped.
#[derive(Debug)]
pub struct TrainOutput {
    /// One report for each epoch.
    pub epochs: Vec<EpochReport>,
    /// Whether all epochs were done.
    pub finished: bool,
    /// The averaged weights of the best epoch, of the last round if there is one.
    pub best: Named,
}
