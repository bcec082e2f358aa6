//! Publishers whose claim is taken away while they are at work, and those who come after them.

use super::super::upload::PART;
use super::*;

/// A file of that content, in two parts where it is large.
fn file(content: u8, is_large: bool) -> Vec<u8> {
    vec![content; if is_large { PART + 1 } else { 64 }]
}

/// Each content has another manifest, and so another claim.
fn publish(scene: &Scene, who: &str, content: &[u8]) -> Result<(), RegistryError> {
    let manifest = Manifest { configuration: Some("train.yaml".into()), ..manifest(1) };
    let files = [("model.safetensors", content), ("train.yaml", &b"epochs: 1"[..])];
    scene.registry(who).publish(manifest, &files).map(drop)
}

fn delete(scene: &Scene) {
    scene.registry("janitor").delete("bird", 1).unwrap();
}

#[test]
fn who_goes_on_after_another_has_published_under_the_number_changes_nothing_and_is_told() {
    for (request, is_large, told) in [
        ("put model.safetensors", false, "was written by somebody else"),
        ("put train.yaml", false, "was written by somebody else"),
        ("part 0 model.safetensors", true, "was taken away while it was published"),
        ("part 1 model.safetensors", true, "was taken away while it was published"),
        ("put manifest.yaml", false, "exists already"),
    ] {
        let scene = Scene::new();
        let (ours, theirs) = (file(1, is_large), file(2, is_large));
        let held = scene.store.hold(request);
        thread::scope(|threads| {
            let first = threads.spawn(|| publish(&scene, "first", &ours));
            held.wait();
            delete(&scene);
            // The same configuration is another file where it is another's.
            let second = Manifest { configuration: Some("train.yaml".into()), ..manifest(1) };
            let files = [("model.safetensors", theirs.as_slice()), ("train.yaml", b"epochs: 2")];
            scene.registry("second").publish(second, &files).unwrap();
            held.let_go();
            let error = first.join().unwrap().unwrap_err().to_string();
            assert!(error.contains(told), "{request}: {error}");
        });
        assert_eq!(weights_of(&scene.registry("reader"), 1).unwrap(), theirs, "{request}");
        assert!(scene.files().iter().all(|file| !file.contains(".publishing")), "{:?}", scene.files());
    }
}

#[test]
fn a_file_that_one_who_was_told_to_stop_puts_in_the_place_of_another_s_comes_under_no_manifest() {
    let scene = Scene::new();
    let (ours, theirs) = (file(1, true), file(2, true));
    // The claim has been looked at, and the parts are put together at this moment.
    let first_held = scene.store.hold("end model.safetensors");
    thread::scope(|threads| {
        let first = threads.spawn(|| publish(&scene, "first", &ours));
        first_held.wait();
        delete(&scene);
        let second_held = scene.store.hold("put train.yaml");
        let second = threads.spawn(|| publish(&scene, "second", &theirs));
        second_held.wait();
        first_held.let_go();
        let error = first.join().unwrap().unwrap_err();
        assert!(matches!(error, RegistryError::ClaimLost { .. }), "{error}");
        second_held.let_go();
        let error = second.join().unwrap().unwrap_err();
        assert!(matches!(error, RegistryError::OtherFile { .. }), "{error}");
    });
    assert!(scene.registry("reader").versions("bird").unwrap().is_empty());
    delete(&scene);
    publish(&scene, "second", &theirs).unwrap();
    assert_eq!(weights_of(&scene.registry("reader"), 1).unwrap(), theirs);
}

#[test]
fn a_manifest_that_comes_when_its_files_were_deleted_does_not_stay() {
    let scene = Scene::new();
    let held = scene.store.hold("put manifest.yaml");
    thread::scope(|threads| {
        let first = threads.spawn(|| publish(&scene, "first", &file(1, false)));
        held.wait();
        delete(&scene);
        held.let_go();
        let error = first.join().unwrap().unwrap_err();
        assert!(matches!(error, RegistryError::ClaimLost { .. }), "{error}");
    });
    assert_eq!(scene.files(), [""; 0]);
}

#[test]
fn of_two_who_publish_the_same_both_are_told_that_it_is_there() {
    for request in ["put model.safetensors", "put train.yaml", "put manifest.yaml"] {
        let scene = Scene::new();
        let held = scene.store.hold(request);
        let same = file(1, false);
        thread::scope(|threads| {
            let first = threads.spawn(|| publish(&scene, "first", &same));
            held.wait();
            publish(&scene, "second", &same).unwrap();
            held.let_go();
            first.join().unwrap().unwrap();
        });
        assert_eq!(weights_of(&scene.registry("reader"), 1).unwrap(), same, "{request}");
    }
}

#[test]
fn who_was_told_to_stop_writes_no_further_file_and_the_number_is_free_when_the_last_one_is_gone() {
    let scene = Scene::new();
    let held = scene.store.hold("put model.safetensors");
    thread::scope(|threads| {
        let first = threads.spawn(|| publish(&scene, "first", &file(1, false)));
        held.wait();
        delete(&scene);
        held.let_go();
        let error = first.join().unwrap().unwrap_err();
        assert!(matches!(error, RegistryError::ClaimLost { .. }), "{error}");
    });
    assert_eq!(scene.files(), ["weights/bird/1/model.safetensors"]);
    let error = publish(&scene, "second", &file(2, false)).unwrap_err();
    assert!(matches!(error, RegistryError::OtherFile { .. }), "{error}");
    delete(&scene);
    publish(&scene, "second", &file(2, false)).unwrap();
}

#[test]
fn a_file_that_belongs_to_none_of_the_version_s_keeps_the_manifest_back() {
    let scene = Scene::new();
    let held = [scene.store.hold("put model.safetensors"), scene.store.hold("put model.onnx")];
    let text = manifest(1).to_yaml(Path::new("m")).unwrap().replace("model.safetensors", "model.onnx");
    let other = Manifest::from_yaml(&text, Path::new("m")).unwrap();
    let [first_held, second_held] = held;
    thread::scope(|threads| {
        let first = threads.spawn(|| publish(&scene, "first", &file(1, false)));
        first_held.wait();
        delete(&scene);
        let second = threads.spawn(|| scene.registry("second").publish(other, &[("model.onnx", b"a net")]));
        second_held.wait();
        first_held.let_go();
        let error = first.join().unwrap().unwrap_err();
        assert!(matches!(error, RegistryError::ClaimLost { .. }), "{error}");
        second_held.let_go();
        let error = second.join().unwrap().unwrap_err();
        assert!(matches!(error, RegistryError::OtherFile { .. }), "{error}");
    });
    assert!(scene.registry("reader").versions("bird").unwrap().is_empty());
}
