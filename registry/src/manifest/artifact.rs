//! The files that a version can be computed from, each by one engine.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{Layout, Manifest};

/// One file that holds the net, for one engine. A version may have several; the first is what the others are held to.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// What computes with it.
    pub engine: EngineKind,
    /// Its name in the version's folder; `files` holds its size and SHA-256.
    pub file: String,
    /// The net whose weights it holds: with `libtorch`, whose files hold nothing but weights, and with no other engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    /// What it computes in.
    pub precision: Precision,
    /// The largest difference between one of its outputs and the first artifact's; with all but the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f32>,
    /// The command that fetches or makes the file, for whom the folder lacks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch: Option<String>,
}

/// What computes with an artifact.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum EngineKind {
    /// The project's own nets; the file is safetensors and holds their weights.
    Libtorch,
    /// The file is TorchScript and holds the whole net, which is code.
    Torchscript,
    /// The file is ONNX and holds the whole net.
    Openvino,
}

impl EngineKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Libtorch, Self::Torchscript, Self::Openvino];

    /// The manifest's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Libtorch => "libtorch",
            Self::Torchscript => "torchscript",
            Self::Openvino => "openvino",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl TryFrom<String> for EngineKind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::ALL.into_iter().find(|engine| engine.word() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::word).join(", ");
            format!("the engine {text:?} is unknown to this release, which knows: {known}")
        })
    }
}

impl From<EngineKind> for String {
    fn from(engine: EngineKind) -> Self {
        engine.word().to_owned()
    }
}

/// What an artifact computes in.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floats (IEEE 754 binary32).
    F32,
    /// 8-bit integers, summed in 32 bits; what is between them in 32-bit floats.
    Int8,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        })
    }
}

/// The nets there are.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Architecture {
    /// EfficientNet-Lite0 (<https://arxiv.org/abs/1905.11946>).
    EfficientnetLite0,
    /// EfficientNet-Lite1: deeper.
    EfficientnetLite1,
    /// EfficientNet-Lite2: deeper and wider.
    EfficientnetLite2,
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
            Self::EfficientnetLite0 | Self::EfficientnetLite1 | Self::EfficientnetLite2 => 32..=512,
            Self::InceptionV3 => 75..=640,
            // Its last layers know each place of the picture.
            Self::FashionCnn => 28..=28,
        }
    }

    /// The channels that its first layer takes.
    fn channels(self) -> u32 {
        match self {
            Self::EfficientnetLite0
            | Self::EfficientnetLite1
            | Self::EfficientnetLite2
            | Self::InceptionV3 => 3,
            Self::FashionCnn => 1,
        }
    }
}

impl Artifact {
    /// What an artifact says by itself and of the manifest's input. `first` is whether the others are held to it.
    fn validate(&self, manifest: &Manifest, first: bool) -> Result<(), String> {
        if !manifest.files.contains_key(&self.file) {
            return Err("files does not name it".into());
        }
        match (self.engine, self.architecture) {
            (engine, _) if self.precision == Precision::Int8 && engine != EngineKind::Openvino => {
                return Err("precision int8 goes with engine openvino only".into());
            }
            (EngineKind::Libtorch, None) => return Err("engine libtorch needs architecture".into()),
            (EngineKind::Libtorch, Some(_)) | (_, None) => {}
            (_, Some(_)) => return Err("architecture goes with engine libtorch only".into()),
        }
        if let Some(architecture) = self.architecture {
            let (sizes, channels) = (architecture.sizes(), architecture.channels());
            let input = &manifest.input;
            if !sizes.contains(&input.size) {
                return Err(format!(
                    "input: size must be {} to {} for this architecture, and is {}",
                    sizes.start(),
                    sizes.end(),
                    input.size
                ));
            }
            if input.layout != Layout::Nchw {
                return Err("input: layout must be nchw for this architecture".into());
            }
            if input.channels != channels {
                return Err(format!(
                    "input: channels must be {channels} for this architecture, and is {}",
                    input.channels
                ));
            }
        }
        match self.tolerance {
            None if first => {}
            Some(_) if first => return Err("tolerance goes with all artifacts but the first".into()),
            None => return Err("tolerance is missing: how far its outputs may be from the first's".into()),
            Some(tolerance) if tolerance > 0.0 && tolerance.is_finite() => {}
            Some(tolerance) => return Err(format!("tolerance must be above 0, and is {tolerance}")),
        }
        let plain = |text: &String| !text.trim().is_empty() && !text.chars().any(char::is_control);
        if !self.fetch.as_ref().is_none_or(plain) {
            return Err("fetch must be one line".into());
        }
        Ok(())
    }
}

/// What the artifacts say, each by itself and together.
pub(super) fn validate(manifest: &Manifest) -> Result<(), String> {
    if manifest.artifacts.is_empty() {
        return Err("artifacts is empty".into());
    }
    let mut files = BTreeSet::new();
    for (place, artifact) in manifest.artifacts.iter().enumerate() {
        artifact
            .validate(manifest, place == 0)
            .map_err(|message| format!("artifacts: {}: {message}", artifact.file))?;
        let earlier = &manifest.artifacts[..place];
        if earlier.iter().any(|e| e.engine == artifact.engine && e.precision == artifact.precision) {
            return Err(format!("artifacts: there are two for engine {} of one precision", artifact.engine));
        }
        if !files.insert(artifact.file.as_str()) {
            return Err(format!("artifacts: {} is given twice", artifact.file));
        }
    }
    if let Some(file) = &manifest.configuration {
        if !manifest.files.contains_key(file) {
            return Err(format!("configuration: files does not name {file}"));
        }
        if !files.insert(file) {
            return Err(format!("configuration: {file} is an artifact's file"));
        }
    }
    if let Some(sample) = manifest.samples.iter().find(|sample| !files.insert(&sample.file)) {
        return Err(format!("samples: {} is given twice, or is another file of the version", sample.file));
    }
    match manifest.files.keys().find(|file| !files.contains(file.as_str())) {
        Some(file) => Err(format!("files: {file} belongs to no artifact, and is no configuration or sample")),
        None => Ok(()),
    }
}
