//! Which shape a manifest has. The shape's number is read before anything else, so that a newer one is refused by its number and
//! not by the first key that happens to be new.

use std::collections::BTreeMap;
use std::string::FromUtf8Error;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    Activation, Architecture, Artifact, Class, Classes, EngineKind, Input, Manifest, Metric, Precision,
    Reject,
};
use super::{WEIGHTS_FILE, each_key_once};
use crate::digest::FileEntry;

/// The newest shape that this release reads.
pub const SCHEMA: u64 = 2;

/// The shape of a [`Manifest`]. What is written has the oldest one that has a word for all that it says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Schema {
    /// 1.
    #[default]
    One,
    /// 2, which brought `samples`.
    Two,
}

impl Schema {
    /// The oldest shape that can say what this manifest does.
    pub(super) fn of(manifest: &Manifest) -> Self {
        if manifest.samples.is_empty() { Self::One } else { Self::Two }
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        writer.serialize_u64(match self {
            Self::One => 1,
            Self::Two => SCHEMA,
        })
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        // Which numbers there are is found out before.
        Ok(if u64::deserialize(reader)? < SCHEMA { Self::One } else { Self::Two })
    }
}

/// The one key that any shape has, but the oldest.
#[derive(Deserialize)]
struct Probe {
    schema: Option<u64>,
}

/// Why bytes are no manifest of any known shape.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// They are no text.
    #[error("it is not UTF-8 text: {0}")]
    Text(#[from] FromUtf8Error),
    /// The text is not YAML of its shape; with line and column.
    #[error(transparent)]
    Yaml(#[from] serde_yaml::Error),
    /// The oldest shape is told by having no number.
    #[error("schema must be 1 to {SCHEMA}; the oldest shape has no such key")]
    NumberedOldest,
}

/// What is wrong with a text.
pub(super) enum Unread {
    /// Its shape is newer than this release.
    Newer(u64),
    /// It is no manifest.
    Bad(ManifestError),
}

impl From<serde_yaml::Error> for Unread {
    fn from(error: serde_yaml::Error) -> Self {
        Self::Bad(error.into())
    }
}

/// The manifest that a text of any known shape holds.
pub(super) fn read(text: &str) -> Result<Manifest, Unread> {
    match serde_yaml::from_str::<Probe>(text)?.schema {
        None => Ok(serde_yaml::from_str::<Oldest>(text)?.into()),
        Some(0) => Err(Unread::Bad(ManifestError::NumberedOldest)),
        Some(1..=SCHEMA) => Ok(serde_yaml::from_str(text)?),
        Some(newer) => Err(Unread::Newer(newer)),
    }
}

/// Schema 0, which had no number: one artifact, whose file had a fixed name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Oldest {
    name: String,
    version: u32,
    architecture: Architecture,
    classes: OldestClasses,
    input: Input,
    #[serde(default)]
    metrics: Vec<Metric>,
    license: String,
    origin: String,
    #[serde(deserialize_with = "each_key_once")]
    files: BTreeMap<String, FileEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OldestClasses {
    outputs: u32,
    labels: Vec<Class>,
    none: Option<Reject>,
}

impl From<Oldest> for Manifest {
    fn from(oldest: Oldest) -> Self {
        let OldestClasses { outputs, labels, none } = oldest.classes;
        Self {
            schema: Schema::default(),
            name: oldest.name,
            version: oldest.version,
            artifacts: vec![Artifact::libtorch(WEIGHTS_FILE, oldest.architecture)],
            classes: Classes {
                outputs,
                activation: Activation::Softmax,
                labels,
                reject: none,
                calibration: None,
            },
            input: oldest.input,
            metrics: oldest.metrics,
            parents: Vec::new(),
            data: Vec::new(),
            configuration: None,
            samples: Vec::new(),
            license: oldest.license,
            origin: oldest.origin,
            files: oldest.files,
        }
    }
}

impl Artifact {
    /// Weights of one of the project's own nets, as the first artifact of a version.
    #[must_use]
    pub fn libtorch(file: &str, architecture: Architecture) -> Self {
        Self {
            engine: EngineKind::Libtorch,
            file: file.to_owned(),
            architecture: Some(architecture),
            precision: Precision::F32,
            tolerance: None,
            fetch: None,
        }
    }
}
