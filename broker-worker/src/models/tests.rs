//! Which models are served, which are skipped, and what is fatal.

use super::*;
use crate::doubles;
use crate::engines::Engines;
use model_core::{Engine, EngineError, Pixels};
use std::path::Path;
use wire::ErrorCode;

fn models() -> Models {
    let served = vec![doubles::served("bird", 2), doubles::served("bird", 1), doubles::served("shoe", 1)];
    Models::new(served, "shoe", "weights").unwrap()
}

#[test]
fn finds_by_name_and_version_and_falls_back_to_the_default() {
    let found = |name, version| models().find(name, version).map(|m| format!("{m:?}"));
    assert_eq!(found(None, None).unwrap(), "shoe 1");
    assert_eq!(found(Some("bird"), None).unwrap(), "bird 2", "the first one configured");
    assert_eq!(found(Some("bird"), Some(1)).unwrap(), "bird 1");
}

#[test]
fn says_what_there_is_where_it_finds_nothing() {
    for (name, version) in [(Some("fish"), None), (Some("bird"), Some(9)), (None, Some(2))] {
        let error = models().find(name, version).unwrap_err();
        assert_eq!(error.code, ErrorCode::NotFound);
        assert!(error.message.ends_with("there are: bird 2, bird 1, shoe 1"), "{}", error.message);
    }
    let long = models().find(Some(&"x".repeat(1 << 20)), None).unwrap_err().message;
    assert!(long.len() < 400, "a name that long is cut: {} bytes", long.len());
}

/// A copy of the shipped Fashion-MNIST model, and another model beside it whose weights are cut short.
fn half_copied() -> tempfile::TempDir {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights/fashion-mnist");
    let dir = tempfile::tempdir().unwrap();
    for name in ["fashion-mnist", "half"] {
        let version = dir.path().join(name).join("1");
        std::fs::create_dir_all(&version).unwrap();
        std::fs::write(dir.path().join(name).join("production"), "1\n").unwrap();
        let manifest = std::fs::read_to_string(shipped.join("1/manifest.yaml")).unwrap();
        let manifest = manifest.replacen("fashion-mnist", name, 1);
        std::fs::write(version.join("manifest.yaml"), manifest).unwrap();
        let weights = std::fs::read(shipped.join("1/model.safetensors")).unwrap();
        let end = if name == "half" { weights.len() / 2 } else { weights.len() };
        std::fs::write(version.join("model.safetensors"), &weights[..end]).unwrap();
    }
    dir
}

fn open(config: &config::Models) -> Result<Models, ModelsError> {
    let engines = Engines::new(crate::engines::Device::default(), model_core::ImageLimits::default())?;
    Catalog::new(config, engines, "w1".into())?.open()
}

#[test]
fn a_half_copied_model_is_skipped_and_those_beside_it_are_served() {
    let dir = half_copied();
    let mut config = config::Models { root: dir.path().to_owned(), ..config::Models::default() };
    let models = open(&config).unwrap();
    assert_eq!(models.list(), "fashion-mnist 1");
    let [skipped] = models.skipped() else { panic!("{:?}", models.skipped()) };
    assert_eq!((skipped.wanted.name.as_str(), skipped.version), ("half", Some(1)));
    assert!(skipped.reason.starts_with("half is not served: "), "{}", skipped.reason);
    assert_eq!(models.find(Some("half"), None).unwrap_err().code, ErrorCode::Unavailable);

    config.default = "half".to_owned();
    let models = open(&config).unwrap();
    assert_eq!(models.find(None, None).unwrap_err().code, ErrorCode::Unavailable);

    std::fs::remove_file(dir.path().join("half/1/manifest.yaml")).unwrap();
    assert_eq!(open(&config).unwrap().skipped().len(), 1, "nor does a missing file");
}

#[test]
fn weights_that_differ_in_one_byte_are_found_when_they_are_read_and_skipped() {
    let dir = half_copied();
    let path = dir.path().join("half/1/model.safetensors");
    let mut weights = std::fs::read(dir.path().join("fashion-mnist/1/model.safetensors")).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    std::fs::write(path, weights).unwrap();
    let config = config::Models { root: dir.path().to_owned(), ..config::Models::default() };
    let models = open(&config).unwrap().load(0).unwrap();
    assert_eq!(models.list(), "fashion-mnist 1");
    let reason = &models.skipped()[0].reason;
    assert!(
        reason.starts_with("half is not served: half 1 can't be loaded: ") && reason.contains("tampered"),
        "{reason}"
    );
}

#[test]
fn a_damaged_model_that_is_named_or_alone_is_fatal() {
    let dir = half_copied();
    let serve = serde_yaml::from_str("[{name: fashion-mnist}, {name: half}]").unwrap();
    let mut config = config::Models { root: dir.path().to_owned(), serve, ..config::Models::default() };
    assert!(matches!(open(&config), Err(ModelsError::Registry(_))));
    config.serve.clear();
    std::fs::remove_dir_all(dir.path().join("fashion-mnist")).unwrap();
    let error = open(&config).unwrap_err().to_string();
    assert!(error.starts_with("no model can be served: half is not served: "), "{error}");
}

#[test]
fn refuses_nothing_to_serve_the_same_twice_and_a_default_that_is_not_served() {
    let error = |served, default| Models::new(served, default, "weights").unwrap_err().to_string();
    assert!(error(vec![], "bird").contains("no model"));
    assert!(error(vec![doubles::served("bird", 1), doubles::served("bird", 1)], "bird").contains("twice"));
    assert!(error(vec![doubles::served("bird", 1)], "fish").contains("models.default is fish"));
}

#[test]
fn what_is_found_and_can_t_be_loaded_is_skipped_and_what_is_named_is_fatal() {
    let broken = || doubles::served_by("bird", 1, || Err(LoadError::new("no weights")));
    let models = |named| {
        Models::new(vec![broken(), doubles::served("shoe", 1)], "shoe", "weights").unwrap().named(named)
    };
    let error = models(true).load(0).unwrap_err();
    assert_eq!(error.to_string(), "bird 1 can't be loaded");
    assert_eq!(error.source().unwrap().to_string(), "no weights");
    let found = models(false).load(0).unwrap();
    assert_eq!(found.list(), "shoe 1");
    assert_eq!(found.skipped()[0].reason, "bird is not served: bird 1 can't be loaded: no weights");
    let alone = Models::new(vec![broken()], "bird", "weights").unwrap().named(false);
    assert!(matches!(alone.load(0), Err(ModelsError::NoneLeft { .. })));
}

#[test]
fn what_has_no_room_beside_the_others_is_not_loaded() {
    const BYTES: u64 = 1 << 30;
    let models = |named| {
        let served = ["bird", "shoe", "dot"].map(|name| doubles::served(name, 1).with_files(BYTES));
        Models::new(served.into(), "bird", "weights").unwrap().named(named)
    };
    let found = models(false).load(2 * BYTES).unwrap();
    assert_eq!(found.list(), "bird 1, shoe 1");
    let figures =
        "it takes about 1024 MiB, the others take 2048 MiB, and models.memory_bytes allows 2048 MiB together";
    let reason = &found.skipped()[0].reason;
    assert!(
        reason.starts_with("dot is not served: dot 1 can't be loaded: ") && reason.contains(figures),
        "{reason}"
    );
    assert!(models(true).load(2 * BYTES).is_err());
    assert_eq!(models(true).load(0).unwrap().list(), "bird 1, shoe 1, dot 1");
}

#[test]
fn what_is_found_and_calls_its_sample_something_else_is_skipped_and_what_is_named_is_fatal() {
    let models = |named| {
        let sample = || registry::Sample { file: "sample-1.png".into(), label: "value 7".into() };
        let bird = doubles::served("bird", 1).with_samples(move || Ok(vec![(sample(), doubles::image(6))]));
        Models::new(vec![bird, doubles::served("shoe", 1)], "shoe", "weights").unwrap().named(named)
    };
    let error = models(true).load(0).unwrap_err();
    let why = "its sample sample-1.png is called value 6, and should be called value 7: ";
    assert!(error.source().unwrap().to_string().starts_with(why), "{error:?}");
    let found = models(false).load(0).unwrap();
    assert_eq!(found.list(), "shoe 1");
    let reason = &found.skipped()[0].reason;
    assert!(reason.starts_with(&format!("bird is not served: bird 1 can't be loaded: {why}")), "{reason}");
}

/// An engine that loads and computes nothing.
struct Dud;

impl Engine for Dud {
    fn logits(&mut self, _: &[&Pixels]) -> Result<Vec<Vec<f32>>, EngineError> {
        Err(EngineError::Compute("no kernel".into()))
    }

    fn warm_up(&mut self, _: usize) -> Result<(), EngineError> {
        self.logits(&[]).map(drop)
    }

    fn share(&self) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(Self))
    }
}

#[test]
fn what_is_found_and_loads_and_can_t_be_computed_is_skipped_too() {
    let models = |named| {
        let dud = doubles::served_by("bird", 1, || Ok(Box::new(Dud)));
        Models::new(vec![dud, doubles::served("shoe", 1)], "shoe", "weights").unwrap().named(named)
    };
    assert_eq!(models(true).load(0).unwrap_err().to_string(), "bird 1 can't be loaded");
    let found = models(false).load(0).unwrap();
    assert_eq!(found.list(), "shoe 1");
    let reason = "bird is not served: bird 1 can't be loaded: the net could not be computed: no kernel";
    assert_eq!(found.skipped()[0].reason, reason);
}
