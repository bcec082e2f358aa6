//! An object store in memory, with whatever goes wrong in one: what holds for a folder holds there too.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod faulty;
mod publishers;

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Barrier};
use std::thread;

use object_store::ObjectStore as _;
use object_store::path::Path as Key;
use tempfile::TempDir;

use super::cloud::Cloud;
use crate::{Author, Cache, EngineKind, Manifest, Registry, RegistryError, Select};
use faulty::Faulty;

const WEIGHTS: &[u8] = b"eight weights that matter";

/// A store, and machines that use it.
struct Scene {
    store: Arc<Faulty>,
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { store: Faulty::new(), folder: tempfile::tempdir().unwrap() }
    }

    fn cache(&self, machine: &str) -> Cache {
        Cache::at(self.folder.path().join(machine))
    }

    /// The store as one machine sees it.
    fn registry(&self, machine: &str) -> Registry {
        let store = Arc::clone(&self.store) as Arc<dyn super::cloud::Both>;
        let cloud =
            Cloud::over(store, "s3://bucket/weights", Key::from("weights"), self.cache(machine)).unwrap();
        Registry::over(Arc::new(cloud), Path::new("s3://bucket/weights")).cached(self.cache(machine))
    }

    fn publish(&self, version: u32) {
        self.registry("publisher").publish(manifest(version), &[("model.safetensors", WEIGHTS)]).unwrap();
    }

    /// All files of the store.
    fn files(&self) -> Vec<String> {
        let listed = futures_util::StreamExt::collect::<Vec<_>>(self.store.store.list(None));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut files: Vec<_> =
            runtime.block_on(listed).into_iter().map(|object| object.unwrap().location.to_string()).collect();
        files.sort();
        files
    }
}

fn manifest(version: u32) -> Manifest {
    let text = format!(
        "
schema: 1
name: bird
version: {version}
artifacts: [{{ engine: libtorch, file: model.safetensors, architecture: efficientnet-lite0, precision: f32 }}]
classes: {{ outputs: 10, labels: [{{ index: 7, label: rooster }}, {{ index: 8, label: hen }}] }}
input: {{ size: 224, channels: 3, fit: centre-crop, crop: 0.875, interpolation: bicubic, mean: [127, 127, 127], std: [128, 128, 128] }}
license: Apache-2.0
origin: a test
files: {{ model.safetensors: {{ size: 0, sha256: {} }} }}
",
        "0".repeat(64)
    );
    Manifest::from_yaml(&text, Path::new("manifest.yaml")).unwrap()
}

fn weights_of(registry: &Registry, version: u32) -> Result<Vec<u8>, RegistryError> {
    let version = registry.load("bird", &Select::Version(version))?;
    Ok(version.read(EngineKind::Libtorch)?.unwrap().1.bytes)
}

fn by(name: &str) -> Author {
    Author { by: name.into(), ..Author::default() }
}

#[test]
fn a_published_version_is_found_loaded_promoted_rolled_back_and_deleted_from_another_machine() {
    let scene = Scene::new();
    scene.publish(1);
    scene.publish(2);
    let other = scene.registry("other");
    assert_eq!(other.models().unwrap(), ["bird"]);
    assert_eq!(other.versions("bird").unwrap(), [1, 2]);
    assert_eq!(weights_of(&other, 1).unwrap(), WEIGHTS);
    other.promote("bird", "production", 1, &by("ada"), None).unwrap();
    other.promote("bird", "production", 2, &by("bob"), None).unwrap();
    assert_eq!(scene.registry("publisher").resolve("bird", &Select::default()).unwrap(), 2);
    assert!(matches!(other.delete("bird", 2), Err(RegistryError::InService { .. })));
    assert_eq!(weights_of(&other, 2).unwrap(), WEIGHTS, "it is there as before");
    other.rollback("bird", "production", None, &by("ada")).unwrap();
    let history = other.history("bird", "production").unwrap();
    assert_eq!(
        history.iter().map(|change| (change.by.as_str(), change.to)).collect::<Vec<_>>(),
        [("ada", 1), ("bob", 2), ("ada", 1)]
    );
    other.delete("bird", 2).unwrap();
    assert_eq!(other.versions("bird").unwrap(), [1]);
    assert!(scene.files().iter().all(|file| !file.contains("/2/")), "{:?}", scene.files());
    let refused = other.publish(manifest(1), &[("model.safetensors", b"others")]).unwrap_err();
    assert!(matches!(refused, RegistryError::VersionExists { .. }), "{refused}");
}

#[test]
fn of_ten_who_publish_under_one_number_one_does_and_readers_see_all_or_nothing() {
    let scene = Scene::new();
    scene.publish(1);
    let start = Barrier::new(10 + 16);
    let published = thread::scope(|threads| {
        let readers: Vec<_> = (0..16)
            .map(|reader| {
                let (scene, start) = (&scene, &start);
                threads.spawn(move || {
                    let registry = scene.registry(&format!("reader {reader}"));
                    start.wait();
                    for _ in 0..100 {
                        for version in registry.versions("bird").unwrap() {
                            weights_of(&registry, version).unwrap();
                        }
                    }
                })
            })
            .collect();
        let publishers: Vec<_> = (0u8..10)
            .map(|publisher| {
                let (scene, start) = (&scene, &start);
                threads.spawn(move || {
                    let registry = scene.registry(&format!("publisher {publisher}"));
                    start.wait();
                    let published = registry.publish(manifest(2), &[("model.safetensors", &[publisher; 64])]);
                    published.map(|_| publisher).map_err(|error| {
                        let refused = matches!(
                            error,
                            RegistryError::VersionExists { .. } | RegistryError::BeingPublished { .. }
                        );
                        assert!(refused, "{error}");
                    })
                })
            })
            .collect();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        publishers.into_iter().filter_map(|publisher| publisher.join().unwrap().ok()).collect::<Vec<_>>()
    });
    let [winner] = published[..] else { panic!("{published:?} published under one number") };
    assert_eq!(weights_of(&scene.registry("later"), 2).unwrap(), [winner; 64]);
}

#[test]
fn a_publisher_that_breaks_off_anywhere_leaves_what_was_and_goes_on_where_it_was() {
    // Two whole parts and a piece of a third.
    let large: Vec<u8> = (0..(2 * super::upload::PART + 1000)).map(|at| (at % 251) as u8).collect();
    let files = [("model.safetensors", large.as_slice())];
    let mut broken_off = 0;
    for answers in 0.. {
        let scene = Scene::new();
        scene.publish(1);
        scene.store.parts.store(0, Ordering::SeqCst);
        scene.store.answers(answers);
        let published = scene.registry("publisher").publish(manifest(2), &files);
        scene.store.answers(-1);
        if published.is_ok() {
            break;
        }
        broken_off += 1;
        let other = scene.registry("other");
        match other.versions("bird").unwrap()[..] {
            // The last answers are about what is published already.
            [1, 2] => {
                assert_eq!(weights_of(&other, 2).unwrap(), large);
                let again = scene.registry("publisher").publish(manifest(2), &files).unwrap_err();
                assert!(matches!(again, RegistryError::VersionExists { .. }), "{again}");
            }
            [1] => {
                let theirs = other.publish(manifest(2), &[("model.safetensors", b"others")]);
                match theirs {
                    // Nothing was claimed yet.
                    Ok(_) => continue,
                    Err(error) => assert!(matches!(error, RegistryError::BeingPublished { .. }), "{error}"),
                }
                scene.registry("publisher").publish(manifest(2), &files).unwrap();
                assert_eq!(weights_of(&other, 2).unwrap(), large);
                assert_eq!(scene.store.parts.load(Ordering::SeqCst), 3, "no part is sent twice");
            }
            ref found => panic!("{found:?}"),
        }
        let files = scene.files();
        assert!(files.iter().all(|file| !file.contains(".publishing")), "{answers}: {files:?}");
    }
    assert!(broken_off > 8, "{broken_off}");
}

#[test]
fn what_one_who_broke_off_left_is_taken_away_and_the_number_is_free_again() {
    let scene = Scene::new();
    // The manifest is looked for, the version claimed and looked for again; the list of what is there fails.
    scene.store.answers(3);
    let published = scene.registry("publisher").publish(manifest(1), &[("model.safetensors", WEIGHTS)]);
    assert!(published.is_err());
    scene.store.answers(-1);
    assert_eq!(scene.files(), ["weights/bird/1/.publishing"]);
    let other = scene.registry("other");
    assert!(matches!(other.delete("bird", 2), Err(RegistryError::UnknownVersion { .. })));
    other.delete("bird", 1).unwrap();
    other.publish(manifest(1), &[("model.safetensors", b"others")]).unwrap();
    assert_eq!(weights_of(&other, 1).unwrap(), b"others");
}

#[test]
fn a_copy_that_breaks_off_is_gone_on_with_and_one_of_another_content_is_refused() {
    let scene = Scene::new();
    scene.publish(1);
    *scene.store.cut.lock().unwrap() = Some(0);
    let registry = scene.registry("other");
    let version = {
        // What is cut first is the manifest.
        assert!(registry.load("bird", &Select::Version(1)).unwrap_err().is_away());
        registry.load("bird", &Select::Version(1)).unwrap()
    };
    *scene.store.cut.lock().unwrap() = Some(10);
    assert_eq!(version.read(EngineKind::Libtorch).unwrap().unwrap().1.bytes, WEIGHTS);

    let other = scene.registry("one more");
    let version = other.load("bird", &Select::Version(1)).unwrap();
    *scene.store.flipped.lock().unwrap() = Some(3);
    let refused = version.read(EngineKind::Libtorch).unwrap_err();
    assert!(matches!(refused, RegistryError::TamperedFile { .. }), "{refused}");
    *scene.store.flipped.lock().unwrap() = None;
    assert_eq!(
        version.read(EngineKind::Libtorch).unwrap().unwrap().1.bytes,
        WEIGHTS,
        "and then it is copied anew"
    );
}

#[test]
fn an_upload_that_arrives_as_something_else_is_not_published() {
    let scene = Scene::new();
    *scene.store.flipped.lock().unwrap() = Some(0);
    let published = scene.registry("publisher").publish(manifest(1), &[("model.safetensors", WEIGHTS)]);
    assert!(matches!(published, Err(RegistryError::TamperedFile { .. })), "{published:?}");
    *scene.store.flipped.lock().unwrap() = None;
    assert!(scene.registry("other").versions("bird").unwrap().is_empty());
}

#[test]
fn copies_are_bounded_and_held_to_their_digest_on_each_use() {
    let scene = Scene::new();
    for version in 1..=4 {
        let content = [u8::try_from(version).unwrap(); 100];
        scene.registry("publisher").publish(manifest(version), &[("model.safetensors", &content)]).unwrap();
    }
    let registry = scene.registry("small").cached(scene.cache("small").of_bytes(250));
    let copies = || fs::read_dir(scene.folder.path().join("small/sha256")).unwrap().count();
    for version in [1, 2, 1, 3] {
        weights_of(&registry, version).unwrap();
    }
    assert_eq!(copies(), 2, "the second went, which was used before the first");
    scene.store.answers(0);
    let copy = |version: u32| {
        let digest =
            registry.load("bird", &Select::Version(version)).unwrap().manifest.files["model.safetensors"]
                .clone();
        scene.folder.path().join("small/sha256").join(digest.sha256)
    };
    scene.store.answers(-1);
    assert!(copy(1).exists() && copy(3).exists() && !copy(2).exists());
    fs::write(copy(1), [9; 100]).unwrap();
    assert_eq!(weights_of(&registry, 1).unwrap(), [1; 100], "what became something else is copied again");
    let none = scene.registry("small").cached(scene.cache("small").of_bytes(99));
    fs::remove_file(copy(4)).ok();
    let refused = weights_of(&none, 4).unwrap_err();
    assert!(matches!(refused, RegistryError::SmallCache { needed: 100, limit: 99, .. }), "{refused}");
}

#[test]
fn while_the_store_is_away_a_reader_goes_by_what_it_saw_and_says_so() {
    let scene = Scene::new();
    scene.publish(1);
    let writer = scene.registry("writer");
    writer.promote("bird", "production", 1, &by("ada"), None).unwrap();
    let machine = || scene.registry("worker").remembering();
    let before = machine();
    assert_eq!(before.resolve("bird", &Select::default()).unwrap(), 1);
    weights_of(&before, 1).unwrap();
    assert_eq!(before.away(), None);

    scene.store.answers(0);
    // One that starts now, too.
    for registry in [before, machine()] {
        assert_eq!(registry.resolve("bird", &Select::default()).unwrap(), 1);
        assert_eq!(weights_of(&registry, 1).unwrap(), WEIGHTS);
        assert!(registry.away().unwrap().contains("connection refused"), "{:?}", registry.away());
        let refused = registry.promote("bird", "production", 1, &by("bob"), None).unwrap_err();
        assert!(refused.is_away(), "nothing is decided by what may be old: {refused}");
    }
    // And one that never saw it has nothing to go by.
    assert!(scene.registry("new").remembering().versions("bird").unwrap_err().is_away());

    scene.store.answers(-1);
    let after = machine();
    scene.publish(2);
    writer.promote("bird", "production", 2, &by("ada"), None).unwrap();
    assert_eq!(after.resolve("bird", &Select::default()).unwrap(), 2);
    assert_eq!(after.away(), None);
}

#[test]
fn who_looks_again_and_nothing_has_changed_lists_and_fetches_nothing() {
    let scene = Scene::new();
    scene.publish(1);
    scene.publish(2);
    let writer = scene.registry("writer");
    writer.promote("bird", "production", 1, &by("ada"), None).unwrap();
    let follower = scene.registry("worker").remembering();
    // What it names, how often the store was asked for a file, and for a list.
    let look = || {
        let before = [&scene.store.gets, &scene.store.lists].map(|asked| asked.load(Ordering::SeqCst));
        let named = follower.resolve("bird", &Select::default()).unwrap();
        let after = [&scene.store.gets, &scene.store.lists].map(|asked| asked.load(Ordering::SeqCst));
        (named, after[0] - before[0], after[1] - before[1])
    };
    assert_eq!(look(), (1, 1, 2), "the entry, and the lists of versions and of entries");
    assert_eq!(look(), (1, 0, 2));
    writer.promote("bird", "production", 2, &by("ada"), None).unwrap();
    assert_eq!(look(), (2, 1, 2), "each entry once");
    assert_eq!(look(), (2, 0, 2));
    writer.rollback("bird", "production", None, &by("ada")).unwrap();
    assert_eq!(look(), (1, 1, 2));
}

#[test]
fn a_url_that_can_not_be_meant_is_a_sentence() {
    for (url, expected) in [
        ("ftp://bucket/weights", "a store's URL is s3://, gs:// or az:// and a bucket"),
        ("s3:///weights", "behind :// stands the name of a bucket"),
        ("s3://key:secret@bucket/weights", "credentials belong into the environment"),
    ] {
        let refused = Registry::open(url).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}
