//! A registry in a temporary folder: what it finds, what it refuses, and what its sentences say.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use common::{House, WEIGHTS, author, manifest, publish, weights_of};
use registry::{
    Architecture, Artifact, EngineKind, FileEntry, Manifest, ModelVersion, Registry, RegistryError, Select,
};

mod common;

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

    registry.promote("bird", "production", 2, &author(), None).unwrap();
    for (select, version) in [("1", 1), ("production", 2), ("latest", 10)] {
        let loaded = registry.load("bird", &select.parse().unwrap()).unwrap();
        assert_eq!(loaded.manifest.version, version);
        assert_eq!(weights_of(&loaded), WEIGHTS);
    }
    registry.promote("bird", "production", 1, &author(), None).unwrap();
    assert_eq!(registry.resolve("bird", &Select::default()).unwrap(), 1);
}

#[test]
fn a_version_is_known_by_the_sha256_of_its_manifest_which_holds_those_of_its_files() {
    let house = House::new(&[1]);
    let load = || house.registry().load("bird", &Select::Latest).unwrap();
    let loaded = load();
    let path = house.path("bird/1/manifest.yaml");
    assert_eq!(loaded.digest, FileEntry::of(&path).unwrap().digest());
    // printf 'eight weights that matter' | sha256sum
    let expected = "26af6f437821d0a759c3039855ea81fb75ffc4de63643e84be90d7fc8cce707c";
    let entry = &loaded.manifest.files["model.safetensors"];
    assert_eq!((entry.size, entry.sha256.as_str()), (WEIGHTS.len() as u64, expected));
    // Another label is another version, though the weights are the same.
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("rooster", "cock")).unwrap();
    assert_ne!(load().digest, loaded.digest);
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
    let longer = [WEIGHTS, b"!"].concat();
    let sentence = House::refusal(|house| fs::write(house.path(weights), &longer).unwrap());
    assert_says(&sentence, &[weights, "tampered", "26 bytes", "25 bytes"]);

    let sentence = House::refusal(|house| fs::write(house.path(weights), &WEIGHTS[..20]).unwrap());
    assert_says(&sentence, &[weights, "truncated", "20 bytes", "25"]);

    let sentence = House::refusal(|house| fs::remove_file(house.path(weights)).unwrap());
    assert_says(&sentence, &[weights, "not fetched", "`make it` gets it"]);

    let sentence = House::refusal(|house| fs::remove_file(house.path("bird/1/manifest.yaml")).unwrap());
    assert_says(&sentence, &["bird/1/manifest.yaml", "missing"]);

    let sentence = House::refusal(|house| fs::write(house.path("bird/1/notes.txt"), "").unwrap());
    assert_says(&sentence, &["bird/1/notes.txt", "not named"]);

    let sentence = House::refusal(|house| fs::create_dir(house.path("bird/1/more")).unwrap());
    assert_says(&sentence, &["bird/1/more", "not named"]);
}

#[test]
fn what_is_handed_out_is_what_was_hashed() {
    let weights = "bird/1/model.safetensors";
    let house = House::new(&[1]);
    let version = house.registry().load("bird", &Select::Version(1)).unwrap();
    let read = || version.read(EngineKind::Libtorch).map(|found| found.unwrap().1.bytes);
    assert_eq!(read().unwrap(), WEIGHTS);
    assert!(version.read(EngineKind::Openvino).unwrap().is_none(), "there is no such artifact");

    // Changed after the version was loaded, in one byte, and in size.
    let mut changed = WEIGHTS.to_vec();
    changed[3] ^= 1;
    fs::write(house.path(weights), &changed).unwrap();
    assert_says(&read().unwrap_err().to_string(), &[weights, "tampered", "sha256:26af6f43"]);
    fs::write(house.path(weights), &WEIGHTS[1..]).unwrap();
    assert_says(&read().unwrap_err().to_string(), &[weights, "truncated"]);
    fs::remove_file(house.path(weights)).unwrap();
    assert_says(&read().unwrap_err().to_string(), &[weights, "not fetched", "`make it`"]);
}

#[test]
fn an_artifact_that_is_not_fetched_leaves_the_others_to_serve() {
    let house = House::new(&[1]);
    let path = house.path("bird/1/manifest.yaml");
    let both = with_onnx(&fs::read_to_string(&path).unwrap());
    fs::write(&path, both).unwrap();
    let load = || house.registry().load("bird", &Select::Version(1));
    let engines = |version: &ModelVersion| version.artifacts().map(|a| a.engine).collect::<Vec<_>>();

    let version = load().unwrap();
    assert_eq!(engines(&version), [EngineKind::Libtorch]);
    assert_eq!(weights_of(&version), WEIGHTS);
    let sentence = version.read(EngineKind::Openvino).unwrap_err().to_string();
    assert_says(&sentence, &["bird/1/model.onnx is not fetched", "`make it better` gets it"]);

    fs::write(house.path("bird/1/model.onnx"), WEIGHTS).unwrap();
    fs::remove_file(house.path("bird/1/model.safetensors")).unwrap();
    assert_eq!(engines(&load().unwrap()), [EngineKind::Openvino]);

    // One that is damaged is no reason to serve the other one: somebody has to look.
    fs::write(house.path("bird/1/model.safetensors"), &WEIGHTS[..7]).unwrap();
    assert_says(&load().unwrap_err().to_string(), &["model.safetensors is truncated"]);
}

#[test]
fn what_was_made_for_an_artifact_is_put_in_its_place_if_it_is_what_the_manifest_says() {
    let house = House::new(&[1]);
    let path = house.path("bird/1/manifest.yaml");
    fs::write(&path, with_onnx(&fs::read_to_string(&path).unwrap())).unwrap();
    let version = house.registry().load("bird", &Select::Version(1)).unwrap();
    let artifact = version.manifest.artifact(EngineKind::Openvino).unwrap();
    let onnx = house.path("bird/1/model.onnx");

    let sentence = version.put(artifact, b"something else").unwrap_err().to_string();
    assert_says(&sentence, &["model.onnx", "sha256:26af6f43", "nothing was written"]);
    assert!(!onnx.exists());
    assert_eq!(version.put(artifact, WEIGHTS).unwrap(), onnx);
    assert_eq!(fs::read(&onnx).unwrap(), WEIGHTS);
    // A damaged one is put right, and no draft is left.
    fs::write(&onnx, "damaged").unwrap();
    version.put(artifact, WEIGHTS).unwrap();
    assert_eq!(fs::read(&onnx).unwrap(), WEIGHTS);
    assert_eq!(fs::read_dir(house.path("bird/1")).unwrap().count(), 3);
}

/// The manifest with a second artifact, of the same bytes.
fn with_onnx(text: &str) -> String {
    let second =
        "- {engine: openvino, file: model.onnx, precision: f32, tolerance: 1e-4, fetch: make it better}";
    let sha256 = FileEntry::of_bytes(WEIGHTS).sha256;
    let file = format!("files:\n  model.onnx: {{size: {}, sha256: {sha256}}}\n", WEIGHTS.len());
    text.replace("classes:\n", &format!("{second}\nclasses:\n")).replace("files:\n", &file)
}

/// A manifest as version 0.1 wrote it.
const OLDEST: &str = "
name: bird
version: 1
architecture: efficientnet-lite0
classes:
  outputs: 1000
  labels: [{ index: 88, label: macaw }]
  none: { label: not a bird, threshold: 0.2 }
input: { size: 224, channels: 3, fit: stretch, mean: [127, 127, 127], std: [128, 128, 128] }
license: Apache-2.0
origin: a test
files:
  model.safetensors:
    size: 25
    sha256: 26af6f437821d0a759c3039855ea81fb75ffc4de63643e84be90d7fc8cce707c
";

#[test]
fn a_version_of_schema_0_is_read_on() {
    let house = House::new(&[1]);
    let path = house.path("bird/1/manifest.yaml");
    fs::write(&path, OLDEST).unwrap();
    let version = house.registry().load("bird", &Select::Version(1)).unwrap();
    let expected = Artifact::libtorch("model.safetensors", Architecture::EfficientnetLite0);
    assert_eq!(version.manifest.artifacts, [expected]);
    assert_eq!(version.manifest.classes.reject.as_ref().unwrap().label, "not a bird");
    assert_eq!(weights_of(&version), WEIGHTS);
    assert_eq!(version.digest, FileEntry::of(&path).unwrap().digest());

    // Written again it is of the newest schema, and says the same.
    let written = version.manifest.to_yaml(&path).unwrap();
    assert!(written.starts_with("schema: 1\n"), "{written}");
    assert_eq!(Manifest::from_yaml(&written, &path).unwrap(), version.manifest);

    let words = |text: String| Manifest::from_yaml(&text, &path).unwrap_err().to_string();
    assert_says(&words(OLDEST.replace("none:", "reject:")), &["reject", "line"]);
    assert_says(&words(OLDEST.replace("license:", "parents: []\nlicense:")), &["parents"]);
}

#[test]
fn a_manifest_is_read_strictly() {
    for (from, to, words) in [
        ("license:", "licence:", &["manifest.yaml", "licence", "line"][..]),
        ("efficientnet-lite0", "resnet", &["manifest.yaml", "resnet"]),
        ("schema: 1", "schema: 3", &["schema 3", "reads up to 2", "newer release"]),
        ("schema: 1", "schema: 3\nweather: fine", &["schema 3", "reads up to 2"]),
        ("schema: 1", "schema: 0", &["schema must be 1"]),
        ("schema: 1", "schema: one", &["manifest.yaml", "schema"]),
        ("schema: 1\n", "", &["artifacts"]),
        ("license:", "license: MIT\nlicense:", &["manifest.yaml", "duplicate", "license"]),
        (
            "engine: libtorch",
            "engine: tensorrt",
            &["\"tensorrt\" is unknown", "libtorch, torchscript, openvino"],
        ),
        ("precision: f32", "precision: f8", &["f8", "f32"]),
        ("engine: libtorch", "engine: openvino", &["architecture goes with engine libtorch"]),
        (
            "  architecture: efficientnet-lite0\n",
            "",
            &["model.safetensors: engine libtorch needs architecture"],
        ),
        ("  precision: f32\n", "  precision: f32\n  tolerance: 0.1\n", &["all artifacts but the first"]),
        ("fetch: make it", "fetch: \"make\\e[2Jit\"", &["fetch must be one line"]),
        (
            "metrics:\n- name: accuracy\n",
            "metrics:\n- artifact: x.onnx\n  name: accuracy\n",
            &["no artifact x.onnx"],
        ),
        ("license:", "parents: [{name: bird, version: 1, sha256: f}]\nlicense:", &["parents: bird: sha256"]),
        ("license:", "data: [{name: images, sha256: ''}]\nlicense:", &["data: images: sha256"]),
        ("  reject:", "  calibration: {temperature: 0}\n  reject:", &["temperature must be above 0"]),
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
        ("size: 224", "size: 5000", &["size must be 1 to 4096"]),
        ("size: 224", "size: 224\n  layout: nhwc", &["layout must be nchw for this architecture"]),
        ("size: 224", "size: 224\n  order: gbr", &["gbr", "rgb", "bgr"]),
        ("outputs: 10", "outputs: 10\n  activation: relu", &["relu", "softmax"]),
        (
            "outputs: 10",
            "outputs: 1\n  activation: sigmoid",
            &["index 7", "outputs, 1, which is two classes"],
        ),
        (
            "  reject:",
            "  activation: none\n  calibration: {temperature: 2}\n  reject:",
            &["calibration goes with activation softmax"],
        ),
        (
            "files:\n",
            "files:\n  model.safetensors: {size: 1, sha256: f}\n",
            &["model.safetensors is given twice"],
        ),
        ("files:\n", "files:\n  more.bin: {size: 1, sha256: f}\n", &["more.bin: sha256 must be 64"]),
        ("size: 25", "size: 24", &["tampered"]),
        ("file: model.safetensors", "file: model.bin", &["model.bin: files does not name it"]),
        ("files:\n  model", "files:\n  ../model", &["../model.safetensors", "no file name"]),
        ("sha256: ", "sha256: f", &["sha256"]),
        ("value: 0.75", "value: .nan", &["accuracy"]),
    ] {
        assert_says(&House::refusal_of(from, to), words);
    }
}

#[test]
fn artifacts_are_told_apart_and_each_file_belongs_to_one() {
    let house = House::new(&[1]);
    let path = house.path("bird/1/manifest.yaml");
    let both = with_onnx(&fs::read_to_string(&path).unwrap());
    assert_eq!(Manifest::from_yaml(&both, &path).unwrap().artifacts.len(), 2);
    for (from, to, words) in [
        (", tolerance: 1e-4", "", "model.onnx: tolerance is missing"),
        ("tolerance: 1e-4", "tolerance: .inf", "tolerance must be above 0"),
        (
            "engine: openvino",
            "engine: libtorch, architecture: efficientnet-lite0",
            "there are two for engine libtorch of one precision",
        ),
        ("file: model.onnx", "file: model.safetensors", "model.safetensors is given twice"),
        (
            "files:\n",
            &format!("files:\n  a: {{size: 1, sha256: {}}}\n", "0".repeat(64)),
            "a belongs to no artifact, and is no configuration",
        ),
    ] {
        assert!(both.contains(from), "{from:?} is not in {both}");
        let error = Manifest::from_yaml(&both.replacen(from, to, 1), &path).unwrap_err().to_string();
        assert_says(&error, &["manifest.yaml", words]);
    }
}

#[test]
fn a_manifest_that_no_program_wrote_is_not_read_whole() {
    let sentence = House::refusal(|house| {
        let file = fs::File::options().write(true).open(house.path("bird/1/manifest.yaml")).unwrap();
        file.set_len(1 << 40).unwrap();
    });
    assert_says(&sentence, &["manifest.yaml", "larger than 16777216 bytes"]);
}

#[test]
fn channels_are_those_of_the_net() {
    let mut manifest = manifest("bird", 1);
    manifest.artifacts = vec![Artifact::libtorch("model.safetensors", Architecture::FashionCnn)];
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
    assert_says(&sentence("bird", Select::default()), &["production", "`model promote bird"]);

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
    let again = publish(&registry, manifest("bird", 1), b"other weights").unwrap_err();
    assert!(matches!(again, RegistryError::VersionExists { .. }));
    assert!(registry.load("bird", &Select::Version(1)).is_ok());

    let mut senseless = manifest("bird", 2);
    senseless.classes.labels.clear();
    assert!(publish(&registry, senseless, WEIGHTS).is_err());
    assert!(registry.publish(manifest("bird", 2), &[]).is_err(), "its artifact is not among the files");
    assert_eq!(fs::read_dir(house.path("bird")).unwrap().count(), 1);
    assert!(registry.promote("bird", "production", 2, &author(), None).is_err());
    assert!(registry.promote("bird", "3", 1, &author(), None).is_err());
}

#[test]
fn a_version_that_is_not_published_leaves_no_folder_that_was_made_for_it() {
    let house = House::new(&[]);
    let registry = Registry::at(house.path("new/weights")).unwrap();
    assert_eq!(registry.next_version("bird").unwrap(), 1);
    let mut senseless = manifest("bird", 1);
    senseless.classes.labels.clear();
    assert!(publish(&registry, senseless, WEIGHTS).is_err());
    // More than a reader would take.
    let mut large = manifest("bird", 1);
    large.origin = "x".repeat(17 << 20);
    let refused = publish(&registry, large, WEIGHTS).unwrap_err();
    assert!(matches!(refused, RegistryError::LargeFile { .. }), "{refused}");
    assert!(!house.path("new").exists());

    publish(&registry, manifest("bird", 1), WEIGHTS).unwrap();
    assert_eq!(registry.next_version("bird").unwrap(), 2);
    assert!(matches!(registry.next_version("..").unwrap_err(), RegistryError::BadName { .. }));
    assert_eq!(weights_of(&registry.load("bird", &Select::Latest).unwrap()), WEIGHTS);
}

#[test]
fn what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not() {
    let house = House::new(&[1]);
    let draft = |name: &str, seconds: u64| {
        let folder = house.path("bird").join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("model.onnx"), "half of it").unwrap();
        let folder = fs::File::open(folder).unwrap();
        folder.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(seconds)).unwrap();
        folder
    };
    draft(".2.77.1700000000", 3600);
    let lives = draft(".2.78.1700000000", 3600);
    lives.lock().unwrap();
    draft(".2.79.1700000000", 1);
    draft(".2.replaced", 3600);
    house.add("bird", 2);
    let mut left: Vec<_> =
        fs::read_dir(house.path("bird")).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".2.78.1700000000", ".2.79.1700000000", ".2.replaced", "1", "2"]);
}

#[test]
fn of_several_who_publish_at_once_each_number_is_one_s_and_one_names_the_alias() {
    let house = House::new(&[]);
    let root = house.path("weights");
    let threads: Vec<_> = (0..4)
        .map(|n: u8| {
            let registry = Registry::at(&root).unwrap();
            std::thread::spawn(move || {
                let weights = [n; 1000];
                loop {
                    let number = registry.next_version("bird").unwrap();
                    match publish(&registry, manifest("bird", number), &weights) {
                        Ok(version) => {
                            let named =
                                registry.promote_first("bird", "production", number, &author()).unwrap();
                            break (weights_of(&version) == weights, number, named);
                        }
                        Err(RegistryError::VersionExists { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    let done: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(done.iter().all(|&(whole, ..)| whole), "{done:?}");
    let registry = Registry::open(&root).unwrap();
    assert_eq!(registry.versions("bird").unwrap(), [1, 2, 3, 4]);
    let named: Vec<_> = done.iter().filter(|&&(.., named)| named).collect();
    let [(_, production, _)] = named[..] else { panic!("{done:?}") };
    assert_eq!(registry.resolve("bird", &Select::default()).unwrap(), *production);
    assert_eq!(
        fs::read_dir(root.join("bird")).unwrap().count(),
        6,
        "four versions, an alias, its history, and no draft"
    );
}

#[test]
fn of_several_who_name_an_alias_at_once_one_is_heard() {
    let house = House::new(&[1, 2, 3, 4]);
    let (registry, start) = (house.registry(), Barrier::new(4));
    // Nobody panics before all are done: the others would wait for them.
    let named = |version: u32| -> Vec<Result<bool, RegistryError>> {
        let name = |round: u32| {
            start.wait();
            registry.promote_first("bird", &format!("alias{round}"), version, &author())
        };
        (0..50).map(name).collect()
    };
    let heard: Vec<Vec<_>> = thread::scope(|scope| {
        let threads: Vec<_> = (1..=4).map(|version| scope.spawn(move || named(version))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for round in 0..50 {
        let heard: Vec<u32> =
            (1..=4).filter(|&version| *heard[version as usize - 1][round].as_ref().unwrap()).collect();
        let alias = Select::Alias(format!("alias{round}"));
        assert_eq!(heard, [registry.resolve("bird", &alias).unwrap()], "round {round}");
    }
    assert_eq!(fs::read_dir(house.path("bird")).unwrap().count(), 4 + 50 + 1, "no draft is left");
}
