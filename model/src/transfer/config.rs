//! What `model train` reads for classes of one's own: strictly, each key optional with a default, and checked as a whole.

use std::path::Path;

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::train::config::{ConfigError, parse};
use model_core::View;

/// How classes of one's own are learned. Everything that the result depends on, but the images and the backbone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransferConfig {
    /// Says that it is this recipe.
    pub recipe: Recipe,
    /// Fixes views, order and the images kept out.
    pub seed: u64,
    /// The share of each class's images that is kept out to measure by.
    pub held_out: f64,
    /// Further views of each image.
    pub augmentation: Augmentation,
    /// The new last layer.
    pub head: Head,
    /// The last blocks of the net learn too.
    pub fine_tuning: FineTuning,
    /// What an image counts.
    pub class_weights: ClassWeights,
    /// The answer to what is none of the classes.
    pub reject: RejectConfig,
    /// SPDX expression of the licence of the result's weights; written into its manifest.
    pub license: String,
    /// Where the images are from; written into its manifest.
    pub origin: String,
}

/// The recipe's name in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recipe {
    /// A new last layer on a net that stays as it is.
    Transfer,
}

/// Views of each image beside the image as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augmentation {
    /// How many.
    pub views: usize,
    /// The side of the smallest part that is looked at, as a share of the shorter side.
    pub smallest_part: f64,
    /// Half of them left to right.
    pub horizontal_flip: bool,
    /// Up to so many degrees either way.
    pub rotation: f32,
    /// Up to so much more or less light, as a share.
    pub brightness: f32,
    /// The same of contrast.
    pub contrast: f32,
    /// The same of colour.
    pub saturation: f32,
}

/// How the new layer is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Head {
    /// At most so many passes over all views.
    pub epochs: usize,
    /// After so many that were no better it ends.
    pub patience: usize,
    /// Views in a step.
    pub batch_size: usize,
    /// Of Adam (<https://arxiv.org/abs/1412.6980>).
    pub learning_rate: f64,
    /// Of the weights, not of the biases, decoupled from the gradient (<https://arxiv.org/abs/1711.05101>).
    pub weight_decay: f64,
    /// How much of the target is spread over all classes (<https://arxiv.org/abs/1512.00567>).
    pub label_smoothing: f64,
}

/// How the last blocks of the net go on learning, once there is a last layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FineTuning {
    /// How many blocks, counted from the end; 0 for none, and the net stays as it is.
    pub blocks: usize,
    /// At most so many passes over the images, each by a new view of each.
    pub epochs: usize,
    /// After so many that were no better it ends.
    pub patience: usize,
    /// Images in a step.
    pub batch_size: usize,
    /// Of the first step; it falls to 0 along a cosine.
    pub learning_rate: f64,
    /// As of the head.
    pub weight_decay: f64,
}

/// What an image counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassWeights {
    /// All the same.
    None,
    /// One of a class with fewer images more, so that each class counts the same.
    Balanced,
}

/// The answer to what is none of the classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RejectConfig {
    /// Its label.
    pub label: String,
    /// The largest share of images of the classes that may be lost to it.
    pub most: f64,
}

impl Default for TransferConfig {
    fn default() -> Self {
        Self {
            recipe: Recipe::Transfer,
            seed: 1,
            held_out: 0.2,
            augmentation: Augmentation::default(),
            head: Head::default(),
            fine_tuning: FineTuning::default(),
            class_weights: ClassWeights::None,
            reject: RejectConfig::default(),
            license: "NOASSERTION".into(),
            origin: "images of one's own".into(),
        }
    }
}

impl Default for Augmentation {
    fn default() -> Self {
        Self {
            views: 4,
            smallest_part: 0.63,
            horizontal_flip: true,
            rotation: 0.0,
            brightness: 0.2,
            contrast: 0.2,
            saturation: 0.2,
        }
    }
}

impl Default for Head {
    fn default() -> Self {
        Self {
            epochs: 40,
            patience: 4,
            batch_size: 256,
            learning_rate: 0.002,
            weight_decay: 1e-4,
            label_smoothing: 0.0,
        }
    }
}

impl Default for FineTuning {
    fn default() -> Self {
        Self { blocks: 0, epochs: 12, patience: 3, batch_size: 32, learning_rate: 1e-3, weight_decay: 1e-4 }
    }
}

impl Default for RejectConfig {
    fn default() -> Self {
        Self { label: "none of these".into(), most: 0.02 }
    }
}

impl Augmentation {
    /// One view, drawn.
    pub(super) fn draw(&self, random: &mut ChaCha8Rng) -> View {
        let mut around = |by: f32| 1.0 + by * random.random_range(-1.0..=1.0_f32);
        let (brightness, contrast, saturation) =
            (around(self.brightness), around(self.contrast), around(self.saturation));
        let angle = (around(self.rotation) - 1.0).to_radians();
        // By area, so that small parts are not the most.
        let area = random.random_range(self.smallest_part * self.smallest_part..=1.0);
        View {
            // Never the whole, which is what an answer is made of.
            share: area.sqrt().min(0.999),
            left: random.random_range(0.0..=1.0),
            top: random.random_range(0.0..=1.0),
            is_mirrored: self.horizontal_flip && random.random_bool(0.5),
            angle,
            brightness,
            contrast,
            saturation,
        }
    }
}

impl TransferConfig {
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
        let Self { augmentation, head, fine_tuning, .. } = self;
        if self.reject.label.trim().is_empty() {
            return refuse("reject.label", "empty".into(), "a label");
        }
        for (key, value, most) in [
            ("augmentation.views", augmentation.views, 100),
            ("head.epochs", head.epochs, 10_000),
            ("head.patience", head.patience, 10_000),
            ("head.batch_size", head.batch_size, 1 << 20),
            ("fine_tuning.blocks", fine_tuning.blocks, 100),
            ("fine_tuning.epochs", fine_tuning.epochs, 10_000),
            ("fine_tuning.patience", fine_tuning.patience, 10_000),
            ("fine_tuning.batch_size", fine_tuning.batch_size, 4096),
        ] {
            let least = usize::from(!["augmentation.views", "fine_tuning.blocks"].contains(&key));
            if value < least || value > most {
                return refuse(
                    key,
                    value.to_string(),
                    "a number from 1 (of views and blocks from 0) to 10000 (of views and blocks to 100, of batch_size to 4096)",
                );
            }
        }
        for (key, value) in [
            ("held_out", self.held_out),
            ("reject.most", self.reject.most),
            ("head.label_smoothing", head.label_smoothing),
            ("augmentation.brightness", augmentation.brightness.into()),
            ("augmentation.contrast", augmentation.contrast.into()),
            ("augmentation.saturation", augmentation.saturation.into()),
        ] {
            if !(0.0..1.0).contains(&value) {
                return refuse(key, value.to_string(), "from 0 to less than 1");
            }
        }
        if !(self.held_out > 0.0 && self.held_out <= 0.5) {
            return refuse("held_out", self.held_out.to_string(), "greater than 0, and at most 0.5");
        }
        if !(0.05..=1.0).contains(&augmentation.smallest_part) {
            return refuse(
                "augmentation.smallest_part",
                augmentation.smallest_part.to_string(),
                "from 0.05 to 1",
            );
        }
        if !(0.0..=180.0).contains(&augmentation.rotation) {
            return refuse(
                "augmentation.rotation",
                augmentation.rotation.to_string(),
                "from 0 to 180 degrees",
            );
        }
        for (key, rate) in [
            ("head.learning_rate", head.learning_rate),
            ("fine_tuning.learning_rate", fine_tuning.learning_rate),
        ] {
            if !(rate > 0.0 && rate.is_finite()) {
                return refuse(key, rate.to_string(), "greater than 0");
            }
        }
        for (key, decay) in
            [("head.weight_decay", head.weight_decay), ("fine_tuning.weight_decay", fine_tuning.weight_decay)]
        {
            if !(decay >= 0.0 && decay.is_finite()) {
                return refuse(key, decay.to_string(), "0 or more");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_ships_holds_the_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/birds.yaml");
        assert_eq!(TransferConfig::read(&path).unwrap(), TransferConfig::default());
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("birds.yaml");
        for (text, key) in [
            ("held_out: 0", "held_out"),
            ("held_out: 0.6", "held_out"),
            ("augmentation: {views: 101}", "augmentation.views"),
            ("augmentation: {smallest_part: 0}", "augmentation.smallest_part"),
            ("augmentation: {rotation: 200}", "augmentation.rotation"),
            ("head: {epochs: 0}", "head.epochs"),
            ("head: {learning_rate: .nan}", "head.learning_rate"),
            ("head: {weight_decay: -1}", "head.weight_decay"),
            ("fine_tuning: {blocks: 101}", "fine_tuning.blocks"),
            ("fine_tuning: {batch_size: 0}", "fine_tuning.batch_size"),
            ("fine_tuning: {learning_rate: 0}", "fine_tuning.learning_rate"),
            ("reject: {most: 1}", "reject.most"),
            ("reject: {label: ' '}", "reject.label"),
        ] {
            std::fs::write(&path, format!("recipe: transfer\n{text}\n")).unwrap();
            let error = TransferConfig::read(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("{key} is ")), "{text}: {error}");
        }
        std::fs::write(&path, "recipe: transfer\nepochs: 3\n").unwrap();
        let error = TransferConfig::read(&path).unwrap_err().to_string();
        assert!(error.contains("`epochs`") && error.contains("line 2"), "{error}");
    }
}
