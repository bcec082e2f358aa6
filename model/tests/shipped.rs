//! The Fashion-MNIST weights that ship: what the manifest says of them is so.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod tiny;

use std::path::{Path, PathBuf};

use model::dataset::DEBIAN_FASHION_MNIST;
use registry::{Registry, Select};
use tiny::lines;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_samples_are_named() {
    let samples = [
        ("tshirt_top0.png", "T-shirt/top"),
        ("trouser1.png", "Trouser"),
        ("pullover2.png", "Pullover"),
        ("dress3.png", "Dress"),
        ("coat4.png", "Coat"),
        ("sandal5.png", "Sandal"),
        ("shirt6.png", "Shirt"),
        ("sneaker7.png", "Sneaker"),
        ("bag8.png", "Bag"),
        ("ankle_boot9.png", "Ankle boot"),
    ];
    let files: Vec<String> = samples.iter().map(|(file, _)| format!("data/samples/{file}")).collect();
    let mut arguments = vec!["predict", "--json"];
    arguments.extend(files.iter().map(String::as_str));
    let answers = lines(&project(), &arguments);
    for ((answer, (file, label)), index) in answers.iter().zip(samples).zip(0..) {
        let first = &answer["predictions"][0];
        assert_eq!((&first["label"], &first["index"]), (&label.into(), &index.into()), "{file}: {answer}");
        assert!(first["probability"].as_f64().unwrap() > 0.8, "{file}: {answer}");
    }
}

#[test]
fn at_least_93_percent_of_the_test_images_are_named_right_as_the_manifest_says() {
    assert!(
        Path::new(DEBIAN_FASHION_MNIST).join("t10k-images-idx3-ubyte.gz").is_file(),
        "the 10,000 test images are missing: `make data` fetches them"
    );
    let version =
        Registry::open(project().join("weights")).unwrap().load("fashion-mnist", &Select::default());
    let metric =
        version.unwrap().manifest.metrics.into_iter().find(|metric| metric.name == "accuracy").unwrap();
    let mut arguments: Vec<&str> = metric.command.split(' ').skip(1).collect();
    arguments.push("--json");
    let report = &lines(&project(), &arguments)[0];
    assert_eq!(report["images"], 10_000);
    let accuracy = report["accuracy"].as_f64().unwrap();
    assert!(accuracy >= 0.93, "{accuracy}");
    // Another processor rounds differently, and may turn an image or two.
    assert!((accuracy - metric.value).abs() < 0.001, "{accuracy}, and the manifest says {}", metric.value);
}
