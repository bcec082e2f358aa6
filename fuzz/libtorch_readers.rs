//! As `readers.rs`: those of libtorch's files.

use std::path::Path;

use model::torchscript::TorchScript;
use model::{Device, ModelError, weights};
use registry::{Architecture, Content, Manifest};

/// The weights of one of the project's own nets: as they are, and with as many bytes behind them as a whole file has, so that the
/// tensors that the file names may lie in it.
pub(crate) fn safetensors(bytes: &[u8]) {
    /// Of the tensors of a Fashion CNN.
    const VALUES: usize = 1_875_112;
    let manifest = described("libtorch", "model.safetensors", "architecture: fashion-cnn, ", 1, 28);
    let load = |bytes: Vec<u8>| {
        let content = Content { path: "model.safetensors".into(), bytes };
        drop(weights::load(&manifest, Architecture::FashionCnn, &content, Device::Cpu.into()));
    };
    load(bytes.to_vec());
    let mut whole = bytes.to_vec();
    whole.resize(bytes.len() + VALUES, 0);
    load(whole);
}

/// What stands before libtorch's own reader of TorchScript, and that reader as far as an error of its is an error here.
pub(crate) fn torchscript(bytes: &[u8]) {
    let manifest = described("torchscript", "model.pt", "", 3, 8);
    let loaded = TorchScript::load("model.pt", bytes, &manifest.input, 4, Device::Cpu);
    if !bytes.starts_with(b"PK") {
        assert!(matches!(loaded, Err(ModelError::NoTorchScript { .. })), "it is no zip archive");
    }
}

/// A version of one artifact.
fn described(engine: &str, file: &str, more: &str, channels: u32, size: u32) -> Manifest {
    let (labels, digest) = ("[{ index: 0, label: a }]", "0".repeat(64));
    let each = vec!["127"; channels as usize].join(", ");
    let text = format!(
        "{{ schema: 1, name: m, version: 1, license: MIT, origin: here,
            artifacts: [{{ engine: {engine}, file: {file}, {more}precision: f32 }}], classes: {{ outputs: 10, labels: {labels} }},
            input: {{ size: {size}, channels: {channels}, fit: stretch, mean: [{each}], std: [{each}] }},
            files: {{ {file}: {{ size: 0, sha256: \"{digest}\" }} }} }}"
    );
    Manifest::from_yaml(&text, Path::new("manifest.yaml")).expect("it is one")
}
