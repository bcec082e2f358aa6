//! What the tests share: the formulas of `golden/reference.py`, the golden files, and where the weights lie.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    reason = "each test file uses its own part; a test may panic"
)]

use std::path::{Path, PathBuf};

use model_core::Pixels;
use registry::{Activation, Architecture, Artifact, Layout, Order, Registry, Schema, Select};
use registry::{Class, Classes, FileEntry, Fit, Input, Interpolation, Manifest, ModelVersion, Polarity};

#[path = "../../core/tests/pictures/mod.rs"]
mod pictures;

pub(crate) use pictures::other_clothes;

/// A path of the project.
pub(crate) fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The bird model, which `make setup` puts there.
pub(crate) fn bird() -> ModelVersion {
    shipped("bird")
}

/// Version 1 of a model of the project.
pub(crate) fn shipped(name: &str) -> ModelVersion {
    version(name, 1)
}

/// A version of a model of the project.
pub(crate) fn version(name: &str, number: u32) -> ModelVersion {
    Registry::open(project("weights"))
        .and_then(|registry| registry.load(name, &Select::Version(number)))
        .unwrap_or_else(|error| panic!("{error}\n(make setup fetches the weights of version 1)"))
}

/// A golden file of logits, one row an image.
pub(crate) fn golden(name: &str) -> Vec<Vec<f32>> {
    let path = project("model/tests/golden").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// `pixels` of the reference script.
pub(crate) fn pixels(images: usize, size: u32, channels: u32) -> Vec<Pixels> {
    let image = |n: u32| {
        let mut data = Vec::new();
        for y in 0..size {
            for x in 0..size {
                for c in 0..channels {
                    let value = x * (c + 2) + y * (n + 1) + (x * y) / (c + 5) % 97 + 53 * n + 29 * c;
                    data.push((value % 256) as u8);
                }
            }
        }
        Pixels { width: size, height: size, channels, data }
    };
    (0..images as u32).map(image).collect()
}

/// `made_up` of the reference script.
pub(crate) fn made_up(name: &str, shape: &[usize]) -> Vec<f32> {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let count: usize = shape.iter().product();
    let bound = (6.0 / (count / shape[0]) as f64).sqrt() / if name == "_fc.weight" { 10.0 } else { 1.0 };
    let value = |at: u64| {
        let mut z = seed.wrapping_add(at.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let u = (z >> 40) as f64 / f64::from(1 << 24);
        let value = if shape.len() > 1 {
            (2.0 * u - 1.0) * bound
        } else if name.ends_with("running_var") {
            0.5 + u
        } else if name.ends_with("weight") {
            0.8 + 0.4 * u
        } else {
            0.2 * (u - 0.5)
        };
        value as f32
    };
    (1..=count as u64).map(value).collect()
}

/// Inception v3 with the weights of the reference script, written into `folder` and published there.
pub(crate) fn inception(folder: &Path) -> ModelVersion {
    // Such a file from torchvision holds the auxiliary head and counters too.
    let other = vec![
        ("AuxLogits.fc.bias".to_owned(), tch::Tensor::zeros([1000], tch::kind::FLOAT_CPU)),
        ("Mixed_5b.branch1x1.bn.num_batches_tracked".to_owned(), tch::Tensor::from(7_i64)),
    ];
    made_up_version(folder, "inception", Architecture::InceptionV3, (299, 1000, 127.5, 127.5), other)
}

/// EfficientNet-Lite1 with ten outputs and the weights of the reference script, as [`inception`].
pub(crate) fn lite1(folder: &Path) -> ModelVersion {
    made_up_version(folder, "lite1", Architecture::EfficientnetLite1, (240, 10, 127.0, 128.0), vec![])
}

/// EfficientNet-Lite2 with ten outputs and the weights of the reference script, as [`inception`].
pub(crate) fn lite2(folder: &Path) -> ModelVersion {
    made_up_version(folder, "lite2", Architecture::EfficientnetLite2, (260, 10, 127.0, 128.0), vec![])
}

/// A net for images of `size`, with `outputs`, `mean` and `std`, whose weights are [`made_up`], and `tensors` beside them.
fn made_up_version(
    folder: &Path,
    name: &str,
    architecture: Architecture,
    (size, outputs, mean, std): (u32, u32, f32, f32),
    mut tensors: Vec<(String, tch::Tensor)>,
) -> ModelVersion {
    let manifest = Manifest {
        schema: Schema::default(),
        name: name.into(),
        version: 1,
        artifacts: vec![Artifact::libtorch("model.safetensors", architecture)],
        classes: Classes {
            outputs,
            activation: Activation::Softmax,
            labels: vec![Class { index: 8, label: "hen".into() }],
            reject: None,
            calibration: None,
        },
        input: Input {
            size,
            channels: 3,
            order: Order::Rgb,
            layout: Layout::Nchw,
            fit: Fit::CentreCrop,
            crop: Some(0.875),
            interpolation: Interpolation::Bicubic,
            polarity: Polarity::AsIs,
            mean: vec![mean; 3],
            std: vec![std; 3],
        },
        metrics: vec![],
        parents: vec![],
        data: vec![],
        configuration: None,
        samples: Vec::new(),
        license: "CC0-1.0".into(),
        origin: "made up".into(),
        files: [("model.safetensors".to_owned(), FileEntry { size: 0, sha256: "0".repeat(64) })].into(),
    };
    let store = tch::nn::VarStore::new(tch::Device::Cpu);
    model::nets::build(architecture, &store.root(), outputs.into()).unwrap();
    for (name, variable) in store.variables() {
        let shape: Vec<usize> = variable.size().iter().map(|&side| side as usize).collect();
        let values = made_up(&name, &shape);
        tensors.push((name, tch::Tensor::from_slice(&values).view(variable.size().as_slice())));
    }
    let file = folder.join(format!("{name}.safetensors"));
    tch::Tensor::write_safetensors(&tensors, &file).unwrap();
    Registry::open(folder)
        .unwrap()
        .publish(manifest, &[("model.safetensors", &std::fs::read(&file).unwrap())])
        .unwrap()
}
