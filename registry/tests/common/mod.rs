//! A registry in a temporary folder, for the tests of this crate.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(dead_code, reason = "each test has its part")]

use std::fs;
use std::path::{Path, PathBuf};

use registry::{Author, EngineKind, Manifest, ModelVersion, Registry, RegistryError, Select};
use tempfile::TempDir;

pub(crate) const WEIGHTS: &[u8] = b"eight weights that matter";

/// A registry with the model `bird` in the given versions.
pub(crate) struct House {
    folder: TempDir,
}

impl House {
    pub(crate) fn new(versions: &[u32]) -> Self {
        let house = Self { folder: tempfile::tempdir().unwrap() };
        for version in versions {
            house.add("bird", *version);
        }
        house
    }

    pub(crate) fn add(&self, name: &str, version: u32) {
        publish(&self.registry(), manifest(name, version), WEIGHTS).unwrap();
    }

    pub(crate) fn registry(&self) -> Registry {
        Registry::open(self.folder.path()).unwrap()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// What loading version 1 is refused with, after `damage`.
    pub(crate) fn refusal(damage: impl FnOnce(&House)) -> String {
        let house = Self::new(&[1]);
        assert!(house.registry().load("bird", &Select::Version(1)).is_ok());
        damage(&house);
        house.registry().load("bird", &Select::Version(1)).unwrap_err().to_string()
    }

    /// What loading version 1 is refused with, after `from` became `to` in its manifest.
    pub(crate) fn refusal_of(from: &str, to: &str) -> String {
        Self::refusal(|house| {
            let path = house.path("bird/1/manifest.yaml");
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{from:?} is not in {text}");
            fs::write(path, text.replacen(from, to, 1)).unwrap();
        })
    }
}

pub(crate) fn manifest(name: &str, version: u32) -> Manifest {
    let text = format!(
        "
schema: 1
name: {name}
version: {version}
artifacts: [{{ engine: libtorch, file: model.safetensors, architecture: efficientnet-lite0, precision: f32, fetch: make it }}]
classes:
  outputs: 10
  labels: [{{ index: 7, label: rooster }}, {{ index: 8, label: hen }}]
  reject: {{ label: not a bird, threshold: 0.2 }}
input:
  size: 224
  channels: 3
  fit: centre-crop
  crop: 0.875
  interpolation: bicubic
  mean: [127, 127, 127]
  std: [128, 128, 128]
metrics: [{{ name: accuracy, value: 0.75, data: a test set, command: model evaluate }}]
license: Apache-2.0
origin: a test
files: {{ model.safetensors: {{ size: 0, sha256: {} }} }}
",
        "0".repeat(64)
    );
    Manifest::from_yaml(&text, Path::new("manifest.yaml")).unwrap()
}

pub(crate) fn publish(
    registry: &Registry,
    manifest: Manifest,
    weights: &[u8],
) -> Result<ModelVersion, RegistryError> {
    registry.publish(manifest, &[("model.safetensors", weights)])
}

/// What the libtorch artifact holds.
pub(crate) fn weights_of(version: &ModelVersion) -> Vec<u8> {
    version.read(EngineKind::Libtorch).unwrap().unwrap().1.bytes
}

/// Who promotes.
pub(crate) fn author() -> Author {
    Author { by: "ada".into(), reason: Some("it is better".into()), evidence: None }
}
