//! What a training takes, what it tells meanwhile, and what it gives.

use std::path::Path;

use registry::ModelVersion;
use serde::Serialize;

use super::TransferError;
use super::checkpoint::Checkpoint;
use super::config::TransferConfig;
use super::folder::Folder;
use super::publish::Files;

/// What is to be learned, and from what.
#[derive(Debug)]
pub struct Job<'a> {
    /// How.
    pub config: &'a TransferConfig,
    /// The images.
    pub folder: &'a Folder,
    /// Images of none of the classes, to choose the threshold by.
    pub others: Option<&'a Folder>,
    /// The version whose net is taken.
    pub backbone: &'a ModelVersion,
    /// The result's name.
    pub name: &'a str,
    /// Into how many folds the images are cut to measure how far the accuracy varies; none for no such thing.
    pub folds: Option<usize>,
    /// How many of the images go with the result as samples, at most.
    pub samples: usize,
    /// The command that does this; written into the result's manifest.
    pub command: &'a str,
    /// The folder where features are kept.
    pub cache: &'a Path,
    /// The folder of a fine-tuning's checkpoint.
    pub run: &'a Path,
    /// Whether a checkpoint that is there is dropped.
    pub force: bool,
    /// Threads to compute with.
    pub threads: usize,
}

/// What a run tells whoever watches it.
#[derive(Debug)]
pub enum Event {
    /// So many images of so many have features.
    Features {
        /// Images done.
        done: usize,
        /// Of how many.
        images: usize,
    },
    /// An epoch of one of the layers is done.
    Epoch {
        /// Which layer, counted from 1 ...
        layer: usize,
        /// ... of how many.
        layers: usize,
        /// Counted from 1.
        epoch: usize,
        /// At most.
        epochs: usize,
        /// Mean training loss.
        loss: f64,
        /// Share of the images kept out that were named right, if it was looked.
        accuracy: Option<f64>,
    },
    /// A step of a fine-tuning is done.
    Tuning {
        /// Which stage of it, counted from 1 ...
        stage: usize,
        /// ... of how many.
        stages: usize,
        /// Images seen in this stage, epoch after epoch ...
        done: usize,
        /// ... of how many at most.
        images: usize,
        /// Of the step.
        loss: f64,
    },
    /// An epoch of a fine-tuning is done.
    Tuned {
        /// Which stage of it, counted from 1 ...
        stage: usize,
        /// ... of how many.
        stages: usize,
        /// Counted from 1; 0 before the first.
        epoch: usize,
        /// At most.
        epochs: usize,
        /// Mean training loss.
        loss: Option<f64>,
        /// Mean loss on the images that the number of epochs is chosen by, and the share of them that is named right.
        check: Option<(f64, f64)>,
    },
}

/// What is known of the result, from images that what was measured had not learned from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Share of the images kept out whose likeliest class is theirs.
    pub accuracy: f64,
    /// Share of them whose class is among the five likeliest.
    pub top5: f64,
    /// How many.
    pub images: usize,
    /// The accuracy of each fold.
    pub folds: Vec<f64>,
    /// Share of images of the classes that are called none of them.
    pub own_rejected: f64,
    /// Share of other images that are; none where there was none to try.
    pub others_rejected: Option<f64>,
    /// What those were.
    pub others: Others,
    /// How many epochs the layer is fitted.
    pub epochs: usize,
    /// By which logits are divided.
    pub temperature: f64,
    /// What fine-tuning did, where it was asked for.
    pub fine_tuning: Option<Tuning>,
}

/// What fine-tuning did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tuning {
    /// How many blocks learned.
    pub blocks: usize,
    /// For how many epochs; 0 where the net is better as it is, and ships so.
    pub epochs: usize,
    /// Accuracy on the same images kept out, of the net as it is.
    pub accuracy_before: f64,
}

/// Which images of none of the classes there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Others {
    /// Those that were given.
    Given,
    /// Those of classes that were left out in turn.
    ClassesLeftOut,
    /// None: there are too few classes to leave one out.
    None,
}

/// A result that is no version yet.
#[derive(Debug)]
pub struct Trained {
    /// What is known of it.
    pub measured: Measured,
    /// What it is.
    pub manifest: registry::Manifest,
    /// Its files, by the names in the manifest.
    pub files: Files,
    pub(super) checkpoint: Option<Checkpoint>,
}

impl Trained {
    /// To be called once it is a version: drops what it would have been gone on from.
    ///
    /// # Errors
    /// If the file can't be removed.
    pub fn done(self) -> Result<(), TransferError> {
        self.checkpoint.map_or(Ok(()), Checkpoint::remove)
    }
}
