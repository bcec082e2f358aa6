//! `model promote` of versions that carry images, and what they call them.

use registry::{Author, Sample};

use super::*;

/// `weights/tiny`: version 1 in production, and those with one sample of that label each.
fn shelf(labels: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("weights");
    let registry = Registry::at(&weights).unwrap();
    let first = Registry::open(trained().join("weights")).unwrap();
    registry.copy_from(&first, "tiny", 1).unwrap();
    registry.promote("tiny", "production", 1, &Author::default(), None).unwrap();
    let manifest = registry.load("tiny", &Select::Version(1)).unwrap().manifest;
    let image = fs::read(trained().join("images/class7.png")).unwrap();
    for (version, label) in (2..).zip(labels) {
        let samples = vec![Sample { file: "sample-1.png".into(), label: (*label).to_owned() }];
        let manifest = Manifest { version, samples, ..manifest.clone() };
        let read = |file: &String| (file.clone(), fs::read(weights.join("tiny/1").join(file)).unwrap());
        let mut files: Vec<_> = manifest.files.keys().map(read).collect();
        files.push(("sample-1.png".to_owned(), image.clone()));
        let files: Vec<(&str, &[u8])> = files.iter().map(|(file, bytes)| (&**file, &**bytes)).collect();
        registry.publish(manifest, &files).unwrap();
    }
    folder
}

/// What class 7 is called.
fn seven() -> String {
    let first = Registry::open(trained().join("weights")).unwrap();
    first.load("tiny", &Select::Version(1)).unwrap().manifest.classes.labels[7].label.clone()
}

#[test]
fn a_version_that_calls_its_sample_something_else_is_not_promoted_and_not_tried_out_whoever_insists() {
    let seven = seven();
    let shelf = shelf(&[&seven, "Bag"]);
    let folder = shelf.path();
    let insist = ["--force", "--reason", "better"];
    text(folder, &[&["promote", "tiny", "2"], &insist[..]].concat());
    let says = [
        "version 3 of tiny is not promoted: its sample sample-1.png is called",
        &seven,
        "should be called Bag: ",
    ];
    refused(folder, &[&["promote", "tiny", "3"], &insist[..]].concat(), 1, &says);
    refused(folder, &["promote", "tiny", "3", "--canary", "10"], 1, &says);
    assert_eq!(fs::read_to_string(folder.join("weights/tiny/production")).unwrap(), "2\n");

    // What can't be computed here is for the workers to refuse.
    let elsewhere = ["--engine", "torchscript"];
    let promote = [&["promote", "tiny", "3"], &insist[..], &elsewhere].concat();
    let output = model(folder, &promote);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("its samples are left to the workers to try: "), "{}", stderr(&output));
}

#[test]
fn samples_go_with_a_version_to_another_place() {
    let shelf = shelf(&[&seven()]);
    let folder = shelf.path();
    text(folder, &["publish", "tiny", "2", "--to", "elsewhere"]);
    let file = |root: &str| fs::read(folder.join(root).join("tiny/2/sample-1.png")).unwrap();
    assert_eq!(file("elsewhere"), file("weights"));
    let shown = text(folder, &["show", "tiny", "2"]);
    assert!(shown.contains("schema: 2\n") && shown.contains("- file: sample-1.png\n"), "{shown}");
    text(folder, &["pull", "tiny", "2", "--from", "elsewhere", "--weights", "back"]);
    assert_eq!(file("back"), file("weights"));
}
