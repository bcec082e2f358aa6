//! Images that a version carries, and what it calls them: where they stand, and what is refused.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;

use common::{House, WEIGHTS, author, manifest};
use registry::manifest::{MOST_SAMPLES, SAMPLE_LIMIT};
use registry::{Manifest, Registry, RegistryError, Sample, Schema, Select};

mod common;

const HEN: &[u8] = b"a picture of a hen";
const OWL: &[u8] = b"a picture of an owl";

fn sample(file: &str, label: &str) -> Sample {
    Sample { file: file.into(), label: label.into() }
}

/// Bird 2, with two samples.
fn with_samples() -> Manifest {
    let samples = vec![sample("sample-1.png", "hen"), sample("sample-2.png", "not a bird")];
    Manifest { samples, ..manifest("bird", 2) }
}

fn publish(registry: &Registry, manifest: Manifest) {
    let files = [("model.safetensors", WEIGHTS), ("sample-1.png", HEN), ("sample-2.png", OWL)];
    registry.publish(manifest, &files).unwrap();
}

/// A registry in which bird 1 has no samples and bird 2 has two.
fn house() -> House {
    let house = House::new(&[1]);
    publish(&house.registry(), with_samples());
    house
}

fn load(house: &House) -> Result<Vec<(String, String, Vec<u8>)>, RegistryError> {
    let version = house.registry().load("bird", &Select::Version(2))?;
    let samples = version.samples()?.into_iter();
    Ok(samples.map(|(sample, found)| (sample.file.clone(), sample.label.clone(), found.bytes)).collect())
}

#[test]
fn samples_are_published_copied_and_read_and_the_manifest_is_of_the_schema_that_has_a_word_for_them() {
    let house = house();
    let expected = [
        ("sample-1.png".to_owned(), "hen".to_owned(), HEN.to_vec()),
        ("sample-2.png".to_owned(), "not a bird".to_owned(), OWL.to_vec()),
    ];
    assert_eq!(load(&house).unwrap(), expected);
    let loaded = house.registry().load("bird", &Select::Version(2)).unwrap();
    assert_eq!(loaded.manifest.schema, Schema::Two);
    let text = |version| fs::read_to_string(house.path(&format!("bird/{version}/manifest.yaml"))).unwrap();
    assert!(text(2).starts_with("schema: 2\n"), "{}", text(2));
    // What has none is what an older release reads.
    assert!(text(1).starts_with("schema: 1\n") && !text(1).contains("samples"), "{}", text(1));
    let read = Manifest::from_yaml(&text(1).replacen("schema: 1", "schema: 2", 1), Path::new("m")).unwrap();
    assert!(read.to_yaml(Path::new("m")).unwrap().starts_with("schema: 1\n"), "and so is what it is made of");

    let other = House::new(&[]);
    let copied = other.registry().copy_from(&house.registry(), "bird", 2).unwrap();
    assert_eq!(copied.digest, loaded.digest);
    assert_eq!(load(&other).unwrap(), expected);
}

#[test]
fn a_sample_that_is_missing_or_other_than_it_was_is_refused_and_not_promoted() {
    let cases: [(&[u8], &str); 3] =
        [(b"", "truncated"), (b"a picture of a hin", "tampered"), (b"a picture of two hens", "tampered")];
    for (content, word) in cases {
        let house = house();
        fs::write(house.path("bird/2/sample-1.png"), content).unwrap();
        let refused = load(&house).unwrap_err().to_string();
        assert!(refused.contains("bird/2/sample-1.png") && refused.contains(word), "{refused}");
        let refused = house.registry().promote("bird", "production", 2, &author(), None);
        assert!(refused.unwrap_err().to_string().contains(word), "{word}");
    }
    let house = house();
    fs::remove_file(house.path("bird/2/sample-1.png")).unwrap();
    let refused = house.registry().load("bird", &Select::Version(2)).unwrap_err();
    assert!(matches!(refused, RegistryError::MissingFile { .. }), "{refused}");
}

#[test]
fn samples_that_can_not_be_are_refused_with_what_is_wrong() {
    let refused = |manifest: &Manifest| manifest.to_yaml(Path::new("m")).unwrap_err().to_string();
    let described = || {
        let mut manifest = with_samples();
        for file in ["sample-1.png", "sample-2.png"] {
            let entry = manifest.files["model.safetensors"].clone();
            manifest.files.insert(file.into(), entry);
        }
        manifest
    };
    described().to_yaml(Path::new("m")).unwrap();
    let case = |change: &dyn Fn(&mut Manifest), words: &str| {
        let mut manifest = described();
        change(&mut manifest);
        let refused = refused(&manifest);
        assert!(refused.contains(words), "{refused:?} does not say {words:?}");
    };
    case(&|m| m.samples[0].label = "owl".into(), "sample-1.png: \"owl\" is none of the classes' labels");
    case(&|m| m.classes.reject = None, "sample-2.png: \"not a bird\" is none of the classes' labels");
    case(&|m| m.samples[1].file = "sample-1.png".into(), "sample-1.png is given twice");
    case(&|m| m.samples[1].file = "model.safetensors".into(), "model.safetensors is given twice");
    case(&|m| m.samples[1].file = "sample-3.png".into(), "sample-3.png: files does not name it");
    case(
        &|m| drop(m.samples.pop()),
        "sample-2.png belongs to no artifact, and is no configuration or sample",
    );
    case(
        &|m| m.files.get_mut("sample-1.png").unwrap().size = SAMPLE_LIMIT + 1,
        "sample-1.png has 1048577 bytes",
    );
    case(
        &|m| m.samples = (0..=MOST_SAMPLES).map(|n| sample(&format!("{n}.png"), "hen")).collect(),
        "there are 17",
    );
}

#[test]
fn samples_in_a_manifest_of_a_shape_that_had_none_are_refused() {
    let sentence = House::refusal_of("license:", "samples: [{ file: a.png, label: hen }]\nlicense:");
    assert!(sentence.contains("samples goes with schema 2"), "{sentence}");
    let house = house();
    let path = house.path("bird/2/manifest.yaml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("schema: 2", "schema: 1", 1)).unwrap();
    let refused = load(&house).unwrap_err().to_string();
    assert!(refused.contains("samples goes with schema 2"), "{refused}");
}
