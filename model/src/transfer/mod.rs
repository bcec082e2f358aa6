//! Classes of one's own: a net that knows photographs (the backbone) stays as it is, and a new last layer learns to tell a user's classes by
//! what it sees. Where the configuration says so, the net's last blocks learn with it then.
//!
//! ```text
//! Folder::read --> features of each view (kept on disk) --> fit --> choose, measure --> fit on all --> a model version
//!                  activations before the last blocks   --> tune, a checkpoint each epoch --'
//! ```
//!
//! A run is a function of the images, the configuration and the backbone. Features are the long part, and kept: a run that was ended is
//! begun again, and comes to the same result. A fine-tuning goes on from its last epoch.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

mod activations;
mod checkpoint;
pub mod config;
mod features;
pub mod folder;
mod head;
mod images;
mod job;
mod listing;
mod publish;
pub(crate) mod reject;
mod run;
mod samples;
mod split;
mod tail;
mod tuning;

pub use job::{Event, Job, Measured, Others, Trained, Tuning};
pub use listing::{Change, What};
pub use publish::Files;
pub use run::train;

use crate::{EngineError, ImageError, ModelError, PreprocessError};
use folder::FolderError;

/// Why nothing was learned.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The folder of images.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The images or the backbone are such that there is nothing to learn.
    #[error("{0}")]
    Data(String),
    /// The backbone takes images in a way that this release does not know.
    #[error("the backbone can't be used: {0}")]
    Backbone(#[from] PreprocessError),
    /// The configuration can't be written beside what was learned.
    #[error("the configuration can't be written: {0}")]
    Configuration(#[source] Box<dyn Error + Send + Sync>),
    /// An image that could be read when the folder was looked through.
    #[error("{path} can't be used")]
    Image {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ImageError,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What a fine-tuning left can't be gone on from.
    #[error(
        "{path} can't be gone on from: {reason}; --force begins anew, another --runs or --name leaves it"
    )]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Two at once would write the same checkpoint.
    #[error("another training goes on in {folder}: wait for it, or give another --name or --runs")]
    Busy {
        /// The folder of its checkpoint.
        folder: PathBuf,
    },
    /// The backbone failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The backbone, or the result, cannot be loaded.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The backbone cannot be read, or the result not be described.
    #[error(transparent)]
    Registry(#[from] registry::RegistryError),
    /// The images that were kept out give no temperature.
    #[error(transparent)]
    Calibration(#[from] crate::calibration::CalibrationError),
    /// libtorch failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl TransferError {
    fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }
}
