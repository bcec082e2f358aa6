//! `model import` with what others say of a net: the files beside it, and the names of torchvision's weights.

use std::fs;
use std::path::Path;

use registry::{Fit, Interpolation, Manifest, Order, Registry, Select};
use serde_json::{Value, json};

use super::{COLOURS, answers, material};
use crate::tiny::{self, objects, stderr};

/// A folder with `weights/` and the two files, where there is something in them.
struct Beside(tempfile::TempDir);

impl Beside {
    fn new(preprocessor: &Value, config: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in [("preprocessor_config.json", preprocessor), ("config.json", config)] {
            if !value.is_null() {
                fs::write(folder.path().join(name), value.to_string()).unwrap();
            }
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn import(&self, net: &str, more: &[&str]) -> std::process::Output {
        let weights = self.path("weights");
        let fixed = ["import", net, "--name", "m", "--weights", &weights, "--samples", "colours", "--json"];
        tiny::model(material(), &[&fixed[..], more].concat())
    }

    /// What was imported, what was said, and the manifest.
    fn imported(&self, net: &str, more: &[&str]) -> (Value, String, Manifest) {
        let output = self.import(net, more);
        assert!(output.status.success(), "{net} {more:?}: {}", stderr(&output));
        let registry = Registry::open(self.path("weights")).unwrap();
        let manifest = registry.load("m", &Select::Latest).unwrap().manifest;
        (objects(&output).remove(0), stderr(&output), manifest)
    }
}

/// Values from 0 to 1, which is what the nets of the tests are for.
fn preprocessor(kind: &str, more: &Value) -> Value {
    let mut file =
        json!({"image_processor_type": kind, "image_mean": [0, 0, 0], "image_std": [1, 1, 1], "size": 8});
    file.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    file
}

fn config() -> Value {
    json!({
        "architectures": ["ViTForImageClassification"], "model_type": "vit", "hidden_size": 768,
        "id2label": {"3": "dark", "0": "red", "1": "green", "2": "blue"},
        "problem_type": "single_label_classification"
    })
}

#[test]
fn the_files_beside_a_net_say_how_it_is_asked() {
    let right = COLOURS.map(|(name, _)| name);
    let beside = Beside::new(&preprocessor("ViTImageProcessor", &json!({"resample": 3})), &config());
    let folder = beside.path("");
    let (said, told, manifest) = beside.imported("nets/plain.onnx", &["--from", &folder]);
    assert_eq!(answers(&said), right);
    assert_eq!((manifest.input.fit, manifest.input.crop), (Fit::Stretch, None));
    assert_eq!(manifest.input.interpolation, Interpolation::Bicubic);
    assert_eq!((manifest.input.mean, manifest.input.std), (vec![0.0; 3], vec![255.0; 3]));
    for line in [
        "config.json: 4 labels, activation softmax\n",
        "preprocessor_config.json (ViTImageProcessor): fit stretch, interpolation bicubic, mean 0,0,0, std 255,255,255\n",
    ] {
        assert!(told.contains(line), "{line}{told}");
    }

    // What is given is taken instead, and the net's size where its file says none.
    let more =
        ["--from", &folder, "--interpolation", "lanczos", "--fit", "centre-crop", "--labels", "four.txt"];
    let (said, told, manifest) =
        beside.imported("nets/open.onnx", &[&more[..], &["--activation", "sigmoid"]].concat());
    assert_eq!(answers(&said), right);
    assert_eq!((manifest.input.fit, manifest.input.crop), (Fit::CentreCrop, Some(0.875)));
    assert_eq!(manifest.input.interpolation, Interpolation::Lanczos);
    assert_eq!(serde_json::to_value(manifest.classes.activation).unwrap(), "sigmoid");
    assert!(told.contains("(ViTImageProcessor): input 3x8x8, mean 0,0,0, std 255,255,255\n"), "{told}");
    assert!(!told.contains("labels"), "{told}");

    // Blue first, as MobileViT's are; and classes that do not exclude each other.
    let file = preprocessor(
        "MobileViTImageProcessor",
        &json!({"size": {"shortest_edge": 10}, "crop_size": 8, "resample": 2}),
    );
    let mut several = config();
    several["problem_type"] = "multi_label_classification".into();
    let beside = Beside::new(&file, &several);
    let (said, told, manifest) = beside.imported("nets/bgr.onnx", &["--from", &beside.path("")]);
    assert_eq!(answers(&said), right);
    assert_eq!((manifest.input.order, manifest.input.crop), (Order::Bgr, Some(0.8)));
    assert_eq!(serde_json::to_value(manifest.classes.activation).unwrap(), "sigmoid");
    assert!(told.contains("fit centre-crop of 0.8, interpolation bilinear, channels bgr, mean"), "{told}");
}

#[test]
fn timm_s_config_says_all_and_the_others_part_of_it() {
    let timm = json!({
        "architecture": "resnet50", "num_classes": 4, "label_names": ["red", "green", "blue", "dark"],
        "pretrained_cfg": {"input_size": [3, 8, 8], "crop_pct": 0.8, "mean": [0, 0, 0], "std": [1, 1, 1]}
    });
    let beside = Beside::new(&Value::Null, &timm);
    let (said, told, manifest) = beside.imported("nets/open.onnx", &["--from", &beside.path("config.json")]);
    assert_eq!(answers(&said), COLOURS.map(|(name, _)| name));
    assert_eq!((manifest.input.size, manifest.input.crop), (8, Some(0.8)));
    assert!(
        told.contains(
            "config.json (timm, resnet50): input 3x8x8, fit centre-crop of 0.8, interpolation bicubic"
        ),
        "{told}"
    );

    // Labels alone.
    let beside = Beside::new(&Value::Null, &config());
    let more = ["--from", &beside.path("config.json"), "--mean", "0", "--std", "255"];
    assert_eq!(answers(&beside.imported("nets/plain.onnx", &more).0), COLOURS.map(|(name, _)| name));
}

#[test]
fn a_set_of_torchvision_s_weights_is_known_by_its_name() {
    let beside = Beside::new(&Value::Null, &Value::Null);
    let more = ["--preset", "ResNet50_Weights.IMAGENET1K_V2", "--labels", "four.txt", "--input", "3x8x8"];
    let (_, told, manifest) = beside.imported("nets/plain.onnx", &more);
    assert_eq!(manifest.input.mean, [123.675, 116.28, 103.53]);
    assert_eq!((manifest.input.fit, manifest.input.crop), (Fit::CentreCrop, Some(224.0 / 232.0)));
    assert!(
        told.contains("from torchvision's ResNet50_Weights.IMAGENET1K_V2: fit centre-crop of 0.9655"),
        "{told}"
    );
}

#[test]
fn what_can_not_be_taken_is_refused_by_name_and_leaves_nothing() {
    let vit = |more: &Value| preprocessor("ViTImageProcessor", more);
    let (none, open) = (Value::Null, "nets/open.onnx");
    for (file, config, net, more, code, words) in [
        (
            vit(&json!({"do_pad": true})),
            config(),
            open,
            &[][..],
            2,
            "preprocessor_config.json: it asks for \"do_pad\": true",
        ),
        (vit(&json!({"resample": 0})), config(), open, &[], 2, "resample is 0 (nearest)"),
        (
            vit(&json!({"size": 9})),
            config(),
            "nets/plain.onnx",
            &[],
            2,
            "if 3x8x8 is right, say --input 3x8x8",
        ),
        (vit(&json!({"do_resize": false})), config(), open, &[], 2, "do_resize is false"),
        (vit(&json!({})), none.clone(), open, &[], 2, "--labels is missing"),
        (
            vit(&json!({})),
            json!({"id2label": {"0": "a"}}),
            open,
            &[],
            1,
            "has one output, which is two classes, and",
        ),
        (
            vit(&json!({})),
            json!({"problem_type": "regression", "id2label": {"0": "a"}}),
            open,
            &[],
            2,
            "say --activation",
        ),
        (
            vit(&json!({})),
            json!({"id2label": {"0": "a\u{1b}"}}),
            open,
            &[],
            1,
            "label 0 holds a control character",
        ),
        (none.clone(), config(), open, &["--input", "3x8x8"], 2, "--mean is missing: config.json alone"),
        (none.clone(), json!([1]), open, &[], 1, "config.json: it holds no JSON object"),
        (none.clone(), none.clone(), open, &[], 2, "holds neither preprocessor_config.json nor config.json"),
    ] {
        let beside = Beside::new(&file, &config);
        let output = beside.import(net, &[&["--from", &beside.path("")], more].concat());
        assert_eq!(output.status.code(), Some(code), "{file} {config}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{file} {config}: {}", stderr(&output));
        assert!(!Path::new(&beside.path("weights")).exists());
    }
    let beside = Beside::new(&vit(&json!({"resample": 0})), &config());
    for (more, words) in [
        (&["--from", "four.txt"][..], "four.txt is neither"),
        (&["--preset", "resnet50"], "spelled most alike are ResNet50_Weights."),
        (&["--preset", "ResNet50_Weights.IMAGENET1K_V2"], "--labels is missing"),
        (&["--labels", "four.txt"], "--mean and --std missing: what the net was trained with, or --preset"),
        (&["--preset", "a", "--from", "b"], "cannot be used with"),
    ] {
        let output = beside.import("nets/plain.onnx", more);
        assert_eq!(output.status.code(), Some(2), "{more:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{more:?}: {}", stderr(&output));
    }
    // What lies beside a net is proposed, and what can't be followed is given.
    let net = beside.path("net.onnx");
    fs::copy(material().join("nets/plain.onnx"), &net).unwrap();
    let output = beside.import(&net, &[]);
    assert!(
        stderr(&output).contains(&format!("--from {} takes", beside.0.path().display())),
        "{}",
        stderr(&output)
    );
    let (_, _, manifest) =
        beside.imported(&net, &["--from", &beside.path(""), "--interpolation", "bilinear"]);
    assert_eq!(manifest.input.interpolation, Interpolation::Bilinear);
}
