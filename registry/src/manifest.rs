//! What a model version says about itself: `manifest.yaml`, read strictly and checked for sense.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::FileEntry;
use crate::error::RegistryError;
use crate::name::is_plain_name;

/// The file in a version's folder that holds the manifest.
pub const MANIFEST_FILE: &str = "manifest.yaml";
/// The file in a version's folder that holds the weights.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// Everything needed to load a version and to turn an image into its answer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The model's name; equals its folder's.
    pub name: String,
    /// The version's number; equals its folder's.
    pub version: u32,
    /// The net whose weights these are.
    pub architecture: Architecture,
    /// What the net's outputs mean.
    pub classes: Classes,
    /// How an image becomes the net's input.
    pub input: Input,
    /// What was measured of this version.
    #[serde(default)]
    pub metrics: Vec<Metric>,
    /// SPDX expression of the weights' licence.
    pub license: String,
    /// Where the weights come from.
    pub origin: String,
    /// Size and SHA-256 of each file of the version, the manifest itself excepted.
    #[serde(deserialize_with = "each_key_once")]
    pub files: BTreeMap<String, FileEntry>,
}

/// The nets there are.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Architecture {
    /// EfficientNet-Lite0 (<https://arxiv.org/abs/1905.11946>).
    EfficientnetLite0,
    /// Inception v3 (<https://arxiv.org/abs/1512.00567>).
    InceptionV3,
    /// The project's own small net for Fashion-MNIST.
    FashionCnn,
}

impl Architecture {
    /// The sides in pixels that the net can take. Where it pools over any size, up to about twice what it was made for: time and
    /// memory grow with the square.
    fn sizes(self) -> RangeInclusive<u32> {
        match self {
            Self::EfficientnetLite0 => 32..=512,
            Self::InceptionV3 => 75..=640,
            // Its last layers know each place of the picture.
            Self::FashionCnn => 28..=28,
        }
    }

    /// The channels that its first layer takes.
    fn channels(self) -> u32 {
        match self {
            Self::EfficientnetLite0 | Self::InceptionV3 => 3,
            Self::FashionCnn => 1,
        }
    }
}

/// What the net's outputs mean.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Classes {
    /// How many outputs the net has; [`Class::index`] counts in them.
    pub outputs: u32,
    /// The outputs that are answers. Others take part in the softmax and are never named.
    pub labels: Vec<Class>,
    /// What to answer when the image is probably none of the labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<NoneOfThese>,
}

/// One answer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// The output's number, from 0.
    pub index: u32,
    /// Its name for people.
    pub label: String,
}

/// The answer to an image of something else.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NoneOfThese {
    /// Its name for people, such as "not a bird".
    pub label: String,
    /// Given when the labels' probabilities sum to less than this. In (0, 0.5], so that this answer is then the likeliest.
    pub threshold: f32,
}

/// How an image becomes the net's input: `size` x `size` pixels of `channels` values, each `(value - mean) / std`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Width and height in pixels.
    pub size: u32,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: u32,
    /// How the image's shape becomes a square.
    pub fit: Fit,
    /// The share of the shorter side that `centre-crop` keeps, above 0 and at most 1; only with that fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<f32>,
    /// The resampling filter.
    #[serde(default)]
    pub interpolation: Interpolation,
    /// Whether light and dark have a fixed meaning.
    #[serde(default)]
    pub polarity: Polarity,
    /// Subtracted from each channel, in units of 0 to 255.
    pub mean: Vec<f32>,
    /// Each channel is then divided by this, in units of 0 to 255.
    pub std: Vec<f32>,
}

/// How an image of any shape becomes a square.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// The middle square whose side is the share `crop` of the shorter side, resized; rounded as torchvision's `Resize` to
    /// `size / crop` and `CenterCrop` to `size` round.
    CentreCrop,
    /// The whole image resized, its proportions not kept.
    Stretch,
    /// The image without its plain border, resized so that the longer side fits, and centred on black.
    /// An image that already has the net's size stays as it is.
    TrimAndPad,
}

/// The resampling filter, widened when shrinking, as in Pillow.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// Triangle.
    #[default]
    Bilinear,
    /// Cubic with a = -0.5 (Catmull-Rom).
    Bicubic,
    /// Lanczos with three lobes.
    Lanczos,
}

/// Whether light and dark have a fixed meaning to the net.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Polarity {
    /// The image is taken as it is.
    #[default]
    AsIs,
    /// The net knows light things on a dark ground: an image with a light ground is inverted. Needs one channel.
    LightOnDark,
}

/// One measurement.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// What was measured, such as `accuracy`.
    pub name: String,
    /// The figure.
    pub value: f64,
    /// The data it was measured on.
    pub data: String,
    /// The command that measures it again.
    pub command: String,
}

impl Manifest {
    /// Reads a manifest and checks it for sense. Unknown and absent fields are errors that name the line.
    ///
    /// # Errors
    /// If `text` is no such YAML, or says something that cannot be; `path` names the file in the message.
    pub fn from_yaml(text: &str, path: &Path) -> Result<Self, RegistryError> {
        let manifest: Self = serde_yaml::from_str(text)
            .map_err(|error| RegistryError::BadManifest { path: path.into(), message: error.to_string() })?;
        manifest
            .validate()
            .map_err(|message| RegistryError::InvalidManifest { path: path.into(), message })?;
        Ok(manifest)
    }

    /// The manifest as YAML.
    ///
    /// # Errors
    /// If it says something that cannot be; `path` names the file in the message.
    pub fn to_yaml(&self, path: &Path) -> Result<String, RegistryError> {
        self.validate().map_err(|message| RegistryError::InvalidManifest { path: path.into(), message })?;
        serde_yaml::to_string(self)
            .map_err(|error| RegistryError::BadManifest { path: path.into(), message: error.to_string() })
    }

    fn validate(&self) -> Result<(), String> {
        if !is_plain_name(&self.name) {
            return Err(format!("name {:?} is no model name", self.name));
        }
        if self.version == 0 {
            return Err("version must be 1 or more".into());
        }
        self.classes.validate()?;
        self.input.validate()?;
        let (sizes, channels) = (self.architecture.sizes(), self.architecture.channels());
        if !sizes.contains(&self.input.size) {
            return Err(format!(
                "input: size must be {} to {} for this architecture, and is {}",
                sizes.start(),
                sizes.end(),
                self.input.size
            ));
        }
        if self.input.channels != channels {
            return Err(format!(
                "input: channels must be {channels} for this architecture, and is {}",
                self.input.channels
            ));
        }
        if !self.files.contains_key(WEIGHTS_FILE) {
            return Err(format!("files does not name the weights, {WEIGHTS_FILE}"));
        }
        for (file, entry) in &self.files {
            if !is_plain_name(file) || file == MANIFEST_FILE {
                return Err(format!("files: {file:?} is no file name for a version's folder"));
            }
            let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            if entry.sha256.len() != 64 || !entry.sha256.bytes().all(hex) {
                return Err(format!("files: {file}: sha256 must be 64 lower-case hexadecimal digits"));
            }
        }
        if let Some(metric) = self.metrics.iter().find(|metric| !metric.value.is_finite()) {
            return Err(format!("metrics: {}: value must be a finite number", metric.name));
        }
        Ok(())
    }
}

impl Classes {
    fn validate(&self) -> Result<(), String> {
        if self.labels.is_empty() {
            return Err("classes: labels is empty".into());
        }
        let mut seen = BTreeSet::new();
        for class in &self.labels {
            if class.index >= self.outputs {
                return Err(format!(
                    "classes: index {} ({}) is not below outputs, {}",
                    class.index, class.label, self.outputs
                ));
            }
            if !seen.insert(class.index) {
                return Err(format!("classes: index {} is given twice", class.index));
            }
            if class.label.trim().is_empty() {
                return Err(format!("classes: index {} has an empty label", class.index));
            }
        }
        if let Some(none) = &self.none
            && !(none.threshold > 0.0 && none.threshold <= 0.5)
        {
            return Err(format!(
                "classes: none: threshold must be above 0 and at most 0.5, and is {}",
                none.threshold
            ));
        }
        Ok(())
    }
}

impl Input {
    fn validate(&self) -> Result<(), String> {
        if self.channels != 1 && self.channels != 3 {
            return Err(format!("input: channels must be 1 or 3, and is {}", self.channels));
        }
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != self.channels as usize {
                return Err(format!(
                    "input: {name} must have one value for each of the {} channels, and has {}",
                    self.channels,
                    values.len()
                ));
            }
            if values.iter().any(|value| !value.is_finite()) {
                return Err(format!("input: {name} must be finite numbers"));
            }
        }
        if self.std.iter().any(|&std| std <= 0.0) {
            return Err("input: std must be above 0".into());
        }
        match (self.fit, self.crop) {
            (Fit::CentreCrop, None) => {
                return Err("input: fit centre-crop needs crop, the share of the shorter side".into());
            }
            (Fit::CentreCrop, Some(share)) if !(share > 0.0 && share <= 1.0) => {
                return Err(format!("input: crop must be above 0 and at most 1, and is {share}"));
            }
            (Fit::Stretch | Fit::TrimAndPad, Some(_)) => {
                return Err("input: crop goes with fit centre-crop only".into());
            }
            _ => {}
        }
        if self.fit == Fit::TrimAndPad && self.channels != 1 {
            return Err("input: fit trim-and-pad needs 1 channel".into());
        }
        if self.polarity == Polarity::LightOnDark && self.channels != 1 {
            return Err("input: polarity light-on-dark needs 1 channel".into());
        }
        Ok(())
    }
}

/// A map whose keys are all different. YAML says that they are; its reader would take the last.
fn each_key_once<'de, D: Deserializer<'de>>(reader: D) -> Result<BTreeMap<String, FileEntry>, D::Error> {
    struct Files;

    impl<'de> Visitor<'de> for Files {
        type Value = BTreeMap<String, FileEntry>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("files, each with its size and sha256")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut files = BTreeMap::new();
            while let Some((name, entry)) = map.next_entry::<String, FileEntry>()? {
                if files.contains_key(&name) {
                    return Err(A::Error::custom(format!("{name} is given twice")));
                }
                files.insert(name, entry);
            }
            Ok(files)
        }
    }

    reader.deserialize_map(Files)
}
