//! Heat maps of TorchScript: files that PyTorch wrote, and the project's own nets as they are exported.

use std::fs;
use std::path::Path;

use image::GrayImage;
use model::Device;
use model::explain::Explainer;
use registry::{Activation, Artifact, Class, EngineKind, ModelVersion, Precision, Registry};

use super::common::{bird, pixels, project};
use super::tiny::{model, objects, stderr};
use super::{assert_alike, assert_at, explain, spot, turned_file};

/// A version of a file alone, made from another one's manifest.
fn version(folder: &Path, like: &ModelVersion, name: &str, file: &[u8]) -> ModelVersion {
    let mut manifest = like.manifest.clone();
    manifest.name = name.into();
    manifest.version = 1;
    manifest.artifacts = vec![Artifact {
        engine: EngineKind::Torchscript,
        file: "net.pt".into(),
        architecture: None,
        precision: Precision::F32,
        tolerance: None,
        fetch: None,
    }];
    manifest.configuration = None;
    manifest.metrics.clear();
    manifest.files.clear();
    let registry = Registry::at(folder.join("weights")).unwrap();
    let version = registry.publish(manifest, &[("net.pt", file)]).unwrap();
    fs::write(folder.join("weights").join(name).join("production"), "1\n").unwrap();
    version
}

/// A file of the folder that PyTorch wrote, for images of 32 x 32, which are stretched to that.
fn written(folder: &Path, name: &str) -> ModelVersion {
    let file = fs::read(project("model/tests/torchscript").join(format!("{name}.pt"))).unwrap();
    let mut like = bird();
    let manifest = &mut like.manifest;
    (manifest.input.size, manifest.input.fit, manifest.input.crop) = (32, registry::Fit::Stretch, None);
    (manifest.input.mean, manifest.input.std) = (vec![0.0; 3], vec![255.0; 3]);
    let classes = &mut manifest.classes;
    (classes.outputs, classes.activation, classes.reject) = (2, Activation::Softmax, None);
    classes.labels = ["light", "dark"]
        .iter()
        .zip(0..)
        .map(|(label, index)| Class { index, label: (*label).into() })
        .collect();
    version(folder, &like, name, &file)
}

const CORNERS: [(f64, f64); 4] = [(0.14, 0.14), (0.86, 0.14), (0.14, 0.86), (0.86, 0.86)];

#[test]
fn a_spot_in_a_corner_is_hot_there_in_nets_that_pytorch_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (width, height) = (300, 140);
    for name in ["in", "out"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    for (corner, &place) in CORNERS.iter().enumerate() {
        for orientation in [1, 5, 6] {
            let file = turned_file(&spot(width, height, place), orientation);
            fs::write(folder.join(format!("in/{corner}{orientation}.png")), file).unwrap();
        }
    }
    for (name, layer) in [
        ("methods-scripted", "`forward_features` gives"),
        ("wrapped-traced", "`model.features` gives"),
        ("spot-frozen-and-alone", "`torch.relu_` gives"),
        // Its branches come later, and each is a part.
        ("branches-traced", "`features` gives"),
        // What its patches are, before they look at each other.
        ("tokens-traced", "`patches` gives"),
    ] {
        written(folder, name);
        let arguments = ["explain", "--model", name, "--allow-torchscript", "--json", "--class", "light"];
        let output = model(folder, &[&arguments[..], &["--force", "--output", "out", "in"]].concat());
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        assert!(stderr(&output).contains(layer), "{name}: {}", stderr(&output));
        let answers = objects(&output);
        assert_eq!(answers.len(), 3 * CORNERS.len());
        for answer in answers {
            assert_eq!(answer["model"]["engine"], "torchscript", "{answer}");
            let file = answer["file"].as_str().unwrap();
            let corner = file.strip_prefix("in/").unwrap()[..1].parse::<usize>().unwrap();
            let peak = |axis: &str, side: u32| answer["peak"][axis].as_f64().unwrap() / f64::from(side);
            // Of 16 cells.
            let within = (0.75 / 16.0, 0.75 / 16.0);
            let case = format!("{name}, {file}");
            assert_at((peak("x", width), peak("y", height)), CORNERS[corner], within, &case);
        }
    }
}

#[test]
fn a_net_of_this_project_has_the_same_map_by_the_torchscript_that_it_is_exported_to() {
    let folder = tempfile::tempdir().unwrap();
    let (like, root) = (bird(), project("weights"));
    let arguments = ["export", "bird", "1", "--format", "torchscript", "--output", "net.pt", "--weights"];
    let output = model(folder.path(), &[&arguments[..], &[root.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let file = fs::read(folder.path().join("net.pt")).unwrap();
    let traced = version(folder.path(), &like, "bird", &file);
    let explainer = Explainer::load(&traced, EngineKind::Torchscript, Device::Cpu).unwrap();
    for pixels in &pixels(2, 224, 3) {
        let found = explainer.explain(pixels, Some(88)).unwrap();
        let expected = explain(&like, pixels, 88);
        assert_eq!((found.map.rows, found.map.columns), (7, 7));
        assert_alike(&found.map.values, &expected.values, explainer.layer().unwrap());
    }
}

#[test]
fn what_has_no_map_or_may_not_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    GrayImage::new(9, 9).save(folder.join("a.png")).unwrap();
    for name in ["mirror-traced", "spot-frozen-and-alone"] {
        written(folder, name);
    }
    let explain = |name: &str, more: &[&str]| {
        let output = model(folder, &[&["explain", "--model", name, "a.png"], more].concat());
        (output.status.code().unwrap(), stderr(&output))
    };
    let (code, said) = explain("spot-frozen-and-alone", &[]);
    assert!(code == 1 && said.contains("--allow-torchscript"), "{said}");
    let (code, said) = explain("mirror-traced", &["--allow-torchscript"]);
    assert!(code == 1 && said.contains("no value in it was found that is a map of the image"), "{said}");
    assert!(!folder.join("a-explained.png").exists());
    assert_eq!(explain("spot-frozen-and-alone", &["--allow-torchscript"]).0, 0);
}
