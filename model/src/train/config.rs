//! What `model train` reads from its YAML file: strictly, each key optional with a default, and checked as a whole.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::dataset::FASHION_MNIST_LABELS;

/// Why a training configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the training configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not YAML, an unknown key, or a value of the wrong kind; the reason names the key and its line.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: serde_yaml::Error,
    },
    /// A value that cannot work.
    #[error("{path}: {key} is {value}, and must be {must}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, as written in the file.
        key: &'static str,
        /// The value found.
        value: String,
        /// What is allowed.
        must: &'static str,
    },
}

/// One training run. Everything that the result depends on, except the data and the number of threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// The name under which the result is served.
    pub model: String,
    /// The classes' names; an image's label is a place in this list.
    pub labels: Vec<String>,
    /// SPDX expression of the licence under which the result is given away; written into its manifest.
    pub license: String,
    /// The data that it learns from; written into its manifest.
    pub origin: String,
    /// Fixes weights at the start, order, flips, dropout and the validation split.
    pub seed: u64,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images in a step.
    pub batch_size: usize,
    /// Images kept out of training, by which the best epoch is chosen.
    pub validation_images: usize,
    /// Chance of a hidden unit to be dropped.
    pub dropout: f64,
    /// How much of the target is spread over all classes (<https://arxiv.org/abs/1512.00567>).
    pub label_smoothing: f64,
    /// Flip half of the images left to right.
    pub horizontal_flip: bool,
    /// Further changes of each image, drawn anew in each epoch.
    pub augmentation: Augmentation,
    /// A shorter round after all epochs, in which the images are shown in other clothes too.
    pub finish: Finish,
    /// Pictures of none of the classes, that are learned from beside the images.
    pub outliers: Outliers,
    /// Stochastic gradient descent with Nesterov's momentum.
    pub optimizer: Optimizer,
    /// The share of all steps in which the learning rate rises.
    pub warm_up: f64,
    /// Share of the running average of the weights that stays at each step.
    pub average_decay: f64,
    /// How pixels become numbers: `(pixel / 255 - mean) / std`.
    pub normalize: Normalize,
}

/// Changes of each image, drawn anew in each epoch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augmentation {
    /// Moved by up to so many pixels, to each side; black comes in.
    pub shift: usize,
    /// Chance that a rectangle of 2 to 25 % of the image becomes noise (<https://arxiv.org/abs/1708.04896>).
    pub erase: f64,
}

/// A shorter round after all epochs, in which the images are shown as they come from elsewhere: on grey, lit from one side, on nothing,
/// resampled. Its learning rate rises and falls as in the first round, and the best of its epochs is the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Finish {
    /// Passes over the training images. 0: there is no such round.
    pub epochs: usize,
    /// The highest rate.
    pub learning_rate: f64,
    /// Chance of an image to be shown in other clothes.
    pub variants: f64,
}

/// What the net learns to call none of the classes: pictures that are drawn by chance (<https://arxiv.org/abs/1812.04606>).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outliers {
    /// How many are drawn. 0: none, and the net has no output for them.
    pub images: usize,
    /// How many are added to each batch.
    pub per_batch: usize,
    /// The answer to what is none of the classes.
    pub label: String,
    /// The largest share of validation images that may be lost to it.
    pub most: f64,
}

/// Settings of stochastic gradient descent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optimizer {
    /// The highest rate, reached at the end of the warm-up.
    pub learning_rate: f64,
    /// Nesterov's momentum.
    pub momentum: f64,
    /// Decay of the weights proper; biases and batch norms are left alone.
    pub weight_decay: f64,
}

/// Mean and standard deviation of the training pixels, on a scale of 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Normalize {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub std: f64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            model: "fashion-mnist".into(),
            labels: FASHION_MNIST_LABELS.map(str::to_owned).to_vec(),
            license: "MIT".into(),
            origin: "Fashion-MNIST, https://github.com/zalandoresearch/fashion-mnist (MIT, Zalando SE)"
                .into(),
            seed: 1,
            epochs: 10,
            batch_size: 128,
            validation_images: 5000,
            dropout: 0.3,
            label_smoothing: 0.05,
            horizontal_flip: true,
            augmentation: Augmentation::default(),
            finish: Finish::default(),
            outliers: Outliers::default(),
            optimizer: Optimizer::default(),
            warm_up: 0.2,
            average_decay: 0.999,
            normalize: Normalize::default(),
        }
    }
}

impl Default for Finish {
    fn default() -> Self {
        Self { epochs: 0, learning_rate: 0.03, variants: 0.5 }
    }
}

impl Default for Outliers {
    fn default() -> Self {
        Self { images: 0, per_batch: 16, label: "none of these".into(), most: 0.003 }
    }
}

impl Default for Optimizer {
    fn default() -> Self {
        Self { learning_rate: 0.1, momentum: 0.9, weight_decay: 5e-4 }
    }
}

impl Default for Normalize {
    fn default() -> Self {
        Self { mean: 0.2860, std: 0.3530 }
    }
}

/// A file as its type says, values not checked.
///
/// # Errors
/// An unreadable file, an unknown key (named with its line), or a value of the wrong kind.
pub fn parse<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    serde_yaml::from_str(&text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
}

/// As many as fill a gigabyte.
const MOST_OUTLIERS: usize = 1_000_000;

impl TrainConfig {
    /// Epochs of both rounds.
    #[must_use]
    pub fn all_epochs(&self) -> usize {
        self.epochs + self.finish.epochs
    }

    /// How many outputs the net has: one for each class, and one for none of them where it learns that.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.labels.len() + usize::from(self.outliers.images > 0)
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// An unreadable file, an unknown key (named with its line), or a value out of range.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let config: Self = parse(path)?;
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let refuse =
            |key, value: String, must| Err(ConfigError::Value { path: path.to_owned(), key, value, must });
        let simple = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        let first = self.model.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if !first || !self.model.bytes().all(simple) {
            let must = "lower-case letters, digits, '-', '_' and '.', beginning with a letter or digit";
            return refuse("model", format!("{:?}", self.model), must);
        }
        if self.labels.len() < 2 || self.labels.len() > 255 || self.labels.iter().any(|l| l.trim().is_empty())
        {
            return refuse("labels", format!("{:?}", self.labels), "2 to 255 names, none empty");
        }
        let Outliers { images, per_batch, label, .. } = &self.outliers;
        if *images > MOST_OUTLIERS {
            return refuse("outliers.images", images.to_string(), "at most 1000000");
        }
        if *images > 0 && *per_batch == 0 {
            return refuse("outliers.per_batch", "0".into(), "at least 1 where outliers are learned from");
        }
        if *images > 0 && (label.trim().is_empty() || self.labels.contains(label)) {
            return refuse("outliers.label", format!("{label:?}"), "a name, and none of the classes'");
        }
        if self.augmentation.shift > 14 {
            return refuse("augmentation.shift", self.augmentation.shift.to_string(), "at most 14");
        }
        if self.epochs == 0 {
            return refuse("epochs", "0".into(), "at least 1");
        }
        if self.batch_size < 2 {
            return refuse("batch_size", self.batch_size.to_string(), "at least 2, for batch norm");
        }
        if self.validation_images == 0 {
            return refuse("validation_images", "0".into(), "at least 1, to choose the best epoch by");
        }
        let zero_to_one = [
            ("dropout", self.dropout),
            ("label_smoothing", self.label_smoothing),
            ("warm_up", self.warm_up),
            ("average_decay", self.average_decay),
            ("augmentation.erase", self.augmentation.erase),
            ("finish.variants", self.finish.variants),
            ("outliers.most", self.outliers.most),
            ("optimizer.momentum", self.optimizer.momentum),
        ];
        for (key, value) in zero_to_one {
            if !(0.0..1.0).contains(&value) {
                return refuse(key, value.to_string(), "from 0 to less than 1");
            }
        }
        let positive = [
            ("optimizer.learning_rate", self.optimizer.learning_rate),
            ("finish.learning_rate", self.finish.learning_rate),
            ("normalize.std", self.normalize.std),
        ];
        for (key, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                return refuse(key, value.to_string(), "greater than 0");
            }
        }
        let decay = self.optimizer.weight_decay;
        if !(decay >= 0.0 && decay.is_finite()) {
            return refuse("optimizer.weight_decay", decay.to_string(), "0 or more");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TrainConfig, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.yaml");
        std::fs::write(&path, text).unwrap();
        TrainConfig::read(&path)
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = read("seed: 3\nepochs: 2\nepoch: 3\n").unwrap_err().to_string();
        assert!(error.contains("`epoch`") && error.contains("line 3"), "{error}");
        let error = read("optimizer:\n  momentum: 0.9\n  nesterov: true\n").unwrap_err().to_string();
        assert!(
            error.contains("optimizer") && error.contains("`nesterov`") && error.contains("line 3"),
            "{error}"
        );
    }

    #[test]
    fn values_that_cannot_work_are_refused_by_name() {
        for (text, key) in [
            ("epochs: 0", "epochs"),
            ("batch_size: 1", "batch_size"),
            ("model: ../up", "model"),
            ("labels: [one]", "labels"),
            ("dropout: 1.0", "dropout"),
            ("optimizer: {learning_rate: -1}", "optimizer.learning_rate"),
            ("optimizer: {weight_decay: .nan}", "optimizer.weight_decay"),
            ("normalize: {std: 0}", "normalize.std"),
            ("augmentation: {erase: 2}", "augmentation.erase"),
            ("augmentation: {shift: 15}", "augmentation.shift"),
            ("outliers: {images: 1, per_batch: 0}", "outliers.per_batch"),
            ("outliers: {images: 1, label: Bag}", "outliers.label"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(&format!("{key} is ")), "{text}: {error}");
        }
    }

    #[test]
    fn the_file_that_ships_holds_the_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/fashion-mnist.yaml");
        assert_eq!(TrainConfig::read(&path).unwrap(), TrainConfig::default());
    }
}
