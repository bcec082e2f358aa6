//! A registry in a temporary folder: what it finds, what it refuses, and what its sentences say.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use registry::{Architecture, FileEntry, Manifest, Registry, RegistryError, Select};
use tempfile::TempDir;

const WEIGHTS: &[u8] = b"eight weights that matter";

/// A registry with the model `bird` in the given versions.
struct House {
    folder: TempDir,
}

impl House {
    fn new(versions: &[u32]) -> Self {
        let house = Self { folder: tempfile::tempdir().unwrap() };
        for version in versions {
            house.add("bird", *version);
        }
        house
    }

    fn add(&self, name: &str, version: u32) {
        let weights = self.path("draft");
        fs::write(&weights, WEIGHTS).unwrap();
        self.registry().publish(manifest(name, version), &weights).unwrap();
        fs::remove_file(weights).unwrap();
    }

    fn registry(&self) -> Registry {
        Registry::open(self.folder.path()).unwrap()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// What loading version 1 is refused with, after `damage`.
    fn refusal(damage: impl FnOnce(&House)) -> String {
        let house = Self::new(&[1]);
        assert!(house.registry().load("bird", &Select::Version(1)).is_ok());
        damage(&house);
        house.registry().load("bird", &Select::Version(1)).unwrap_err().to_string()
    }

    /// What loading version 1 is refused with, after `from` became `to` in its manifest.
    fn refusal_of(from: &str, to: &str) -> String {
        Self::refusal(|house| {
            let path = house.path("bird/1/manifest.yaml");
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{from:?} is not in {text}");
            fs::write(path, text.replacen(from, to, 1)).unwrap();
        })
    }
}

fn manifest(name: &str, version: u32) -> Manifest {
    let text = format!(
        "
name: {name}
version: {version}
architecture: efficientnet-lite0
classes:
  outputs: 10
  labels: [{{ index: 7, label: rooster }}, {{ index: 8, label: hen }}]
  none: {{ label: not a bird, threshold: 0.2 }}
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

fn assert_says(sentence: &str, words: &[&str]) {
    for word in words {
        assert!(sentence.contains(word), "{sentence:?} does not say {word:?}");
    }
}

#[test]
fn a_published_version_is_found_and_loaded_by_number_alias_and_latest() {
    let house = House::new(&[1, 2, 10]);
    house.add("fashion-mnist", 1);
    let registry = house.registry();
    assert_eq!(registry.models().unwrap(), ["bird", "fashion-mnist"]);
    assert_eq!(registry.versions("bird").unwrap(), [1, 2, 10]);

    registry.set_alias("bird", "production", 2).unwrap();
    for (select, version) in [("1", 1), ("production", 2), ("latest", 10)] {
        let loaded = registry.load("bird", &select.parse().unwrap()).unwrap();
        assert_eq!(loaded.manifest.version, version);
        assert_eq!(fs::read(&loaded.weights).unwrap(), WEIGHTS);
    }
    registry.set_alias("bird", "production", 1).unwrap();
    assert_eq!(registry.resolve("bird", &Select::default()).unwrap(), 1);
}

#[test]
fn the_digest_is_the_sha256_of_the_weights() {
    let house = House::new(&[1]);
    let loaded = house.registry().load("bird", &Select::Latest).unwrap();
    // printf 'eight weights that matter' | sha256sum
    let expected = "26af6f437821d0a759c3039855ea81fb75ffc4de63643e84be90d7fc8cce707c";
    assert_eq!(loaded.digest, format!("sha256:{expected}"));
    let entry = FileEntry::of(&loaded.weights).unwrap();
    assert_eq!((entry.size, entry.sha256.as_str()), (WEIGHTS.len() as u64, expected));
}

#[test]
fn a_manifest_survives_being_written_and_read() {
    let house = House::new(&[3]);
    let loaded = house.registry().load("bird", &Select::Version(3)).unwrap().manifest;
    let expected = manifest("bird", 3);
    assert_eq!(Manifest { files: expected.files.clone(), ..loaded }, expected);
}

#[test]
fn a_tampered_truncated_or_missing_file_is_refused_by_name() {
    let weights = "bird/1/model.safetensors";
    let mut changed = WEIGHTS.to_vec();
    changed[3] ^= 1;
    let sentence = House::refusal(|house| fs::write(house.path(weights), &changed).unwrap());
    assert_says(&sentence, &[weights, "tampered", "sha256:"]);

    let longer = [WEIGHTS, b"!"].concat();
    let sentence = House::refusal(|house| fs::write(house.path(weights), &longer).unwrap());
    assert_says(&sentence, &[weights, "tampered", "26 bytes", "25 bytes"]);

    let sentence = House::refusal(|house| fs::write(house.path(weights), &WEIGHTS[..20]).unwrap());
    assert_says(&sentence, &[weights, "truncated", "20 bytes", "25"]);

    let sentence = House::refusal(|house| fs::remove_file(house.path(weights)).unwrap());
    assert_says(&sentence, &[weights, "missing"]);

    let sentence = House::refusal(|house| fs::remove_file(house.path("bird/1/manifest.yaml")).unwrap());
    assert_says(&sentence, &["bird/1/manifest.yaml", "missing"]);
}

#[test]
fn a_manifest_is_read_strictly() {
    for (from, to, words) in [
        ("license:", "licence:", &["manifest.yaml", "licence", "line"][..]),
        ("efficientnet-lite0", "resnet", &["manifest.yaml", "resnet"]),
        ("version: 1", "version: 2", &["bird version 2", "bird version 1"]),
        ("name: bird", "name: cat", &["cat version 1"]),
        ("index: 8", "index: 7", &["index 7 is given twice"]),
        ("index: 8", "index: 10", &["index 10", "outputs"]),
        ("threshold: 0.2", "threshold: 0.9", &["threshold", "0.9"]),
        ("channels: 3", "channels: 1", &["mean", "1 channels"]),
        ("crop: 0.875", "crop: 0.0", &["crop"]),
        ("fit: centre-crop", "fit: stretch", &["crop goes with"]),
        ("size: 224", "size: 4096", &["size must be 32 to 512", "4096"]),
        ("efficientnet-lite0", "fashion-cnn", &["size must be 28 to 28", "224"]),
        ("fit: centre-crop\n  crop: 0.875", "fit: trim-and-pad", &["trim-and-pad needs 1 channel"]),
        (
            "files:\n",
            "files:\n  model.safetensors: {size: 1, sha256: f}\n",
            &["model.safetensors is given twice"],
        ),
        ("size: 25", "size: 24", &["tampered"]),
        ("model.safetensors", "../model.safetensors", &["does not name the weights"]),
        ("sha256: ", "sha256: f", &["sha256"]),
        ("value: 0.75", "value: .nan", &["accuracy"]),
    ] {
        assert_says(&House::refusal_of(from, to), words);
    }
}

#[test]
fn channels_are_those_of_the_net() {
    let mut manifest = manifest("bird", 1);
    manifest.architecture = Architecture::FashionCnn;
    manifest.input.size = 28;
    let error = manifest.to_yaml(Path::new("manifest.yaml")).unwrap_err().to_string();
    assert_says(&error, &["manifest.yaml", "channels must be 1", "is 3"]);
}

#[test]
fn names_cannot_leave_the_folder() {
    let house = House::new(&[1]);
    fs::create_dir_all(house.path("weights")).unwrap();
    let inner = Registry::open(house.path("weights")).unwrap();
    for name in ["..", "../bird", "/etc", "bird/../bird", "", ".", ".hidden", "Bird", "a\0b", "-x"] {
        let refused = inner.load(name, &Select::Latest).unwrap_err();
        assert!(matches!(refused, RegistryError::BadName { .. }), "{name:?}: {refused}");
        let alias = house.registry().load("bird", &Select::Alias(name.into())).unwrap_err();
        assert!(matches!(alias, RegistryError::BadSelect { .. }), "{name:?}: {alias}");
    }
}

#[test]
fn what_is_not_there_is_said_with_what_is() {
    let house = House::new(&[1, 4]);
    let registry = house.registry();
    let sentence = |name: &str, select| registry.load(name, &select).unwrap_err().to_string();
    assert_says(&sentence("brid", Select::Latest), &["brid", "there are: bird"]);
    assert_says(&sentence("bird", Select::Version(3)), &["version 3", "1, 4"]);
    assert_says(&sentence("bird", Select::default()), &["production", "bird/production"]);

    fs::write(house.path("bird/production"), "the newest").unwrap();
    assert_says(&sentence("bird", Select::default()), &["bird/production", "the newest"]);
    fs::write(house.path("bird/production"), "9").unwrap();
    assert_says(&sentence("bird", Select::default()), &["version 9", "1, 4"]);

    assert!(matches!(Registry::open(house.path("nowhere")).unwrap_err(), RegistryError::NoRoot { .. }));
}

#[test]
fn folders_that_are_no_versions_are_passed_over() {
    let house = House::new(&[1]);
    for folder in ["bird/notes", "bird/01", "bird/.2.77", ".git", "Lost+Found"] {
        fs::create_dir_all(house.path(folder)).unwrap();
    }
    assert_eq!(house.registry().versions("bird").unwrap(), [1]);
    assert_eq!(house.registry().models().unwrap(), ["bird"]);
}

#[test]
fn a_published_version_never_changes_and_a_failed_one_leaves_nothing() {
    let house = House::new(&[1]);
    let registry = house.registry();
    let weights = house.path("new");
    fs::write(&weights, b"other weights").unwrap();
    let again = registry.publish(manifest("bird", 1), &weights).unwrap_err();
    assert!(matches!(again, RegistryError::VersionExists { .. }));
    assert!(registry.load("bird", &Select::Version(1)).is_ok());

    assert!(registry.publish(manifest("bird", 2), &house.path("absent")).is_err());
    let mut senseless = manifest("bird", 2);
    senseless.classes.labels.clear();
    assert!(registry.publish(senseless, &weights).is_err());
    assert_eq!(fs::read_dir(house.path("bird")).unwrap().count(), 1);
    assert!(registry.set_alias("bird", "production", 2).is_err());
    assert!(registry.set_alias("bird", "3", 1).is_err());
}
