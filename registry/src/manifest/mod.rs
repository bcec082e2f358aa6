//! What a model version says about itself: `manifest.yaml`, read strictly and checked for sense.

mod artifact;
mod classes;
mod input;
mod sample;
mod schema;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

pub use artifact::{Architecture, Artifact, EngineKind, Precision};
pub use classes::{Activation, Calibration, Class, Classes, Reject};
pub use input::{Fit, Input, Interpolation, Layout, Order, Polarity};
pub use sample::{MOST_SAMPLES, SAMPLE_LIMIT, Sample};
pub use schema::{ManifestError, SCHEMA, Schema};

use crate::digest::{FileEntry, is_sha256};
use crate::error::RegistryError;
use crate::name::is_plain_name;

/// The file in a version's folder that holds the manifest.
pub const MANIFEST_FILE: &str = "manifest.yaml";
/// The file in a version's folder that holds the weights of one of the project's own nets.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// Everything needed to load a version and to turn an image into its answer. Its SHA-256 is the version's identity: it holds
/// those of all other files.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The shape of this file.
    pub schema: Schema,
    /// The model's name; equals its folder's.
    pub name: String,
    /// The version's number; equals its folder's.
    pub version: u32,
    /// The files that it can be computed from, each by one engine.
    pub artifacts: Vec<Artifact>,
    /// What the net's outputs mean.
    pub classes: Classes,
    /// How an image becomes the net's input.
    pub input: Input,
    /// What was measured of this version.
    #[serde(default)]
    pub metrics: Vec<Metric>,
    /// The versions that it was made from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<Parent>,
    /// What it was trained on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<Data>,
    /// The file that holds the configuration it was trained with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// Images, and what it calls them: tried before it serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<Sample>,
    /// SPDX expression of the weights' licence.
    pub license: String,
    /// Where the weights come from.
    pub origin: String,
    /// Size and SHA-256 of each file of the version, the manifest itself excepted.
    #[serde(deserialize_with = "each_key_once")]
    pub files: BTreeMap<String, FileEntry>,
}

/// One measurement.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// What was measured, such as `accuracy`.
    pub name: String,
    /// The figure.
    pub value: f64,
    /// The artifact's file that it was measured on; the first one's where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// The data it was measured on.
    pub data: String,
    /// The command that measures it again.
    pub command: String,
}

/// A version that another was made from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// The model's name.
    pub name: String,
    /// The version's number.
    pub version: u32,
    /// SHA-256 of its manifest, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// A file that a version was trained on.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// What it is, for people.
    pub name: String,
    /// SHA-256 of its content, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// Reads a manifest of any known shape and checks it for sense. Unknown and absent fields are errors that name the line.
    ///
    /// # Errors
    /// If `text` is no such YAML, of a newer shape, or says something that cannot be; `path` names the file in the message.
    pub fn from_yaml(text: &str, path: &Path) -> Result<Self, RegistryError> {
        let manifest = schema::read(text).map_err(|unread| match unread {
            schema::Unread::Newer(found) => RegistryError::NewerSchema { path: path.into(), found },
            schema::Unread::Bad(source) => RegistryError::BadManifest { path: path.into(), source },
        })?;
        manifest
            .validate()
            .map_err(|message| RegistryError::InvalidManifest { path: path.into(), message })?;
        Ok(manifest)
    }

    /// The manifest as YAML, of the oldest shape that has a word for all that it says: older releases read it where they can.
    ///
    /// # Errors
    /// If it says something that cannot be; `path` names the file in the message.
    pub fn to_yaml(&self, path: &Path) -> Result<String, RegistryError> {
        let manifest = Self { schema: Schema::of(self), ..self.clone() };
        manifest
            .validate()
            .map_err(|message| RegistryError::InvalidManifest { path: path.into(), message })?;
        serde_yaml::to_string(&manifest)
            .map_err(|error| RegistryError::BadManifest { path: path.into(), source: error.into() })
    }

    /// The artifact for that engine; of several the first.
    #[must_use]
    pub fn artifact(&self, engine: EngineKind) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.engine == engine)
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
        for (file, entry) in &self.files {
            if !is_plain_name(file) || file == MANIFEST_FILE {
                return Err(format!("files: {file:?} is no file name for a version's folder"));
            }
            digits("files", file, &entry.sha256)?;
        }
        sample::validate(self)?;
        artifact::validate(self)?;
        for parent in &self.parents {
            digits("parents", &parent.name, &parent.sha256)?;
        }
        for data in &self.data {
            digits("data", &data.name, &data.sha256)?;
        }
        for Metric { name, value, artifact, .. } in &self.metrics {
            if !value.is_finite() {
                return Err(format!("metrics: {name}: value must be a finite number"));
            }
            if let Some(file) = artifact
                && !self.files.contains_key(file)
            {
                return Err(format!("metrics: {name}: there is no artifact {file}"));
            }
        }
        Ok(())
    }
}

/// Whether a digest of that place is one.
fn digits(place: &str, name: &str, sha256: &str) -> Result<(), String> {
    if is_sha256(sha256) {
        Ok(())
    } else {
        Err(format!("{place}: {name}: sha256 must be 64 lower-case hexadecimal digits"))
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
