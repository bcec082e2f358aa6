//! The one file that names engines: what libtorch is told about this process, where it computes, which engine serves a version of
//! the registry, and how that version becomes something that is served.

use std::fmt;

use model::{DeviceChoice, ModelError, Predictor};
use model_core::{Engine, ImageLimits, Preprocessor, Scorer};
use model_openvino::OpenVino;
use registry::{Architecture, Artifact, EngineKind, ModelVersion};
use serde::{Deserialize, Serialize};
use wire::ModelId;

use crate::served::{LoadError, Served};

/// Sets the process up for nets. To be called first in `main`, before the first thread.
pub fn configure_process() {
    model::configure_process();
}

/// Where the nets compute: `cpu`, `cuda` or `auto`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Device(DeviceChoice);

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for Device {
    type Error = ModelError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

/// Which engine computes a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// OpenVINO where the version has an artifact for it, the library is there and the processor computes; else libtorch.
    #[default]
    Auto,
    /// The project's own nets, nothing else.
    Libtorch,
    /// ONNX on the processor, nothing else.
    Openvino,
}

/// A version that no engine here can serve as it is wanted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{model} version {version} can't be computed by {engine}: {reason}")]
struct Unusable {
    model: String,
    version: u32,
    engine: EngineKind,
    reason: String,
}

/// Opens versions for one device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Engines {
    device: model::Device,
    limits: ImageLimits,
}

impl Engines {
    /// For the configured device, and images of up to that size.
    ///
    /// # Errors
    /// [`LoadError`] where this machine has no such device.
    pub(crate) fn new(device: Device, limits: ImageLimits) -> Result<Self, LoadError> {
        Ok(Self { device: device.0.resolve().map_err(LoadError::new)?, limits })
    }

    /// What serves that version, by the engine wanted. Its weights are loaded when the first instance asks for them.
    ///
    /// # Errors
    /// [`LoadError`] where this build or this machine can't serve it.
    pub(crate) fn open(self, version: ModelVersion, wanted: Choice) -> Result<Served, LoadError> {
        let library = || model_openvino::library().map_err(|missing| missing.to_string());
        let (engine, why) = choose(&version, wanted, self.device, library).map_err(LoadError::new)?;
        let manifest = &version.manifest;
        tracing::info!(model = manifest.name, version = manifest.version, %engine, "computed by {engine}: {why}");
        let preprocessor = Preprocessor::new(manifest).map_err(LoadError::new)?;
        let id = ModelId {
            name: manifest.name.clone(),
            version: manifest.version,
            digest: version.digest.clone(),
        };
        let architecture = manifest.artifacts.iter().find_map(|artifact| artifact.architecture);
        let (architecture, scorer) = (architecture.map_or("onnx".to_owned(), word), Scorer::new(manifest));
        let Self { device, limits } = self;
        let load = move || -> Result<Box<dyn Engine>, LoadError> {
            match engine {
                EngineKind::Openvino => openvino(&version),
                _ => Ok(Box::new(Predictor::load(&version, device).map_err(LoadError::new)?)),
            }
        };
        let prepare = move |file: &[u8]| preprocessor.decode(file, &limits);
        Ok(Served::new(id, architecture, scorer, prepare, load))
    }
}

/// The engine that serves a version, and why. `library` finds OpenVINO, or says what to do.
fn choose<T>(
    version: &ModelVersion,
    wanted: Choice,
    device: model::Device,
    library: impl Fn() -> Result<T, String>,
) -> Result<(EngineKind, String), Unusable> {
    let manifest = &version.manifest;
    let unusable =
        |engine, reason| Unusable { model: manifest.name.clone(), version: manifest.version, engine, reason };
    // What there is to compute with, or why there is nothing.
    let artifact = |engine: EngineKind| -> Result<&Artifact, String> {
        let artifact = manifest.artifact(engine).ok_or("the version has no artifact for it")?;
        let there = version.artifacts().any(|found| found == artifact);
        if there { Ok(artifact) } else { Err(version.not_fetched(artifact).to_string()) }
    };
    let openvino = || match artifact(EngineKind::Openvino) {
        Ok(_) if device != model::Device::Cpu => Err("it computes on the processor only".to_owned()),
        Ok(_) => library().map(drop),
        Err(reason) => Err(reason),
    };
    let libtorch = || artifact(EngineKind::Libtorch).map(drop);
    match wanted {
        Choice::Libtorch => {
            libtorch().map_err(|reason| unusable(EngineKind::Libtorch, reason))?;
            Ok((EngineKind::Libtorch, "the configuration asks for it".to_owned()))
        }
        Choice::Openvino => {
            openvino().map_err(|reason| unusable(EngineKind::Openvino, reason))?;
            Ok((EngineKind::Openvino, "the configuration asks for it".to_owned()))
        }
        Choice::Auto => match (openvino(), libtorch()) {
            (Ok(()), _) => Ok((
                EngineKind::Openvino,
                "the version has an artifact for it, and OpenVINO is there".to_owned(),
            )),
            (Err(why), Ok(())) => Ok((EngineKind::Libtorch, format!("not by OpenVINO, since {why}"))),
            // The one artifact that it has says more than the one that it has not.
            (Err(reason), Err(_)) if manifest.artifact(EngineKind::Openvino).is_some() => {
                Err(unusable(EngineKind::Openvino, reason))
            }
            (Err(_), Err(reason)) => Err(unusable(EngineKind::Libtorch, reason)),
        },
    }
}

fn openvino(version: &ModelVersion) -> Result<Box<dyn Engine>, LoadError> {
    let manifest = &version.manifest;
    let found = version.read(EngineKind::Openvino).map_err(LoadError::new)?;
    let (_, content) = found.ok_or_else(|| LoadError::new("the version has no ONNX artifact"))?;
    let file = content.path.display().to_string();
    let engine = OpenVino::load(&file, &content.bytes, &manifest.input, manifest.classes.outputs);
    Ok(Box::new(engine.map_err(LoadError::new)?))
}

/// The manifest's own word for it.
fn word(architecture: Architecture) -> String {
    serde_json::to_value(architecture)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_else(|| format!("{architecture:?}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use registry::{Registry, Select};

    use super::*;

    /// A version with the artifacts named; those in `there` are in its folder.
    fn version(root: &Path, artifacts: &[&str], there: &[&str]) -> ModelVersion {
        let folder = root.join("m/1");
        std::fs::create_dir_all(&folder).unwrap();
        let sha256 = "0".repeat(64);
        let mut text = "schema: 1\nname: m\nversion: 1\nartifacts:\n".to_owned();
        for (place, engine) in artifacts.iter().enumerate() {
            let architecture = if *engine == "libtorch" { ", architecture: fashion-cnn" } else { "" };
            let tolerance = if place > 0 { ", tolerance: 1e-4" } else { "" };
            text += &format!(
                "- {{engine: {engine}, file: {engine}.bin, precision: f32, fetch: get {engine}{architecture}{tolerance}}}\n"
            );
        }
        text += "classes: {outputs: 1, labels: [{index: 0, label: thing}]}\n";
        text += "input: {size: 28, channels: 1, fit: stretch, mean: [0], std: [1]}\n";
        text += "license: MIT\norigin: a test\nfiles:\n";
        for engine in artifacts {
            text += &format!("  {engine}.bin: {{size: 0, sha256: {sha256}}}\n");
        }
        std::fs::write(folder.join("manifest.yaml"), text).unwrap();
        for engine in there {
            std::fs::write(folder.join(format!("{engine}.bin")), "").unwrap();
        }
        Registry::open(root).unwrap().load("m", &Select::Version(1)).unwrap()
    }

    #[test]
    fn the_faster_engine_that_can_is_taken_and_what_is_in_its_way_is_said() {
        const BOTH: &[&str] = &["libtorch", "openvino"];
        const LIBTORCH: &[&str] = &["libtorch"];
        const OPENVINO: &[&str] = &["openvino"];
        let cpu = model::Device::Cpu;
        for (artifacts, there, wanted, device, library, expected) in [
            (BOTH, BOTH, Choice::Auto, cpu, true, Ok("openvino")),
            (
                BOTH,
                BOTH,
                Choice::Auto,
                cpu,
                false,
                Ok("libtorch: not by OpenVINO, since `make openvino` fetches it"),
            ),
            (
                BOTH,
                BOTH,
                Choice::Auto,
                model::Device::Cuda,
                true,
                Ok("libtorch: not by OpenVINO, since it computes on the processor"),
            ),
            (
                BOTH,
                LIBTORCH,
                Choice::Auto,
                cpu,
                true,
                Ok("openvino.bin is not fetched: `get openvino` gets it"),
            ),
            (BOTH, OPENVINO, Choice::Auto, cpu, true, Ok("openvino")),
            (BOTH, OPENVINO, Choice::Auto, cpu, false, Err("by openvino: `make openvino` fetches it")),
            (
                LIBTORCH,
                LIBTORCH,
                Choice::Auto,
                cpu,
                true,
                Ok("libtorch: not by OpenVINO, since the version has no artifact"),
            ),
            (OPENVINO, OPENVINO, Choice::Auto, cpu, false, Err("by openvino: `make openvino` fetches it")),
            (BOTH, BOTH, Choice::Libtorch, cpu, true, Ok("libtorch: the configuration")),
            (
                BOTH,
                OPENVINO,
                Choice::Libtorch,
                cpu,
                true,
                Err("libtorch.bin is not fetched: `get libtorch` gets it"),
            ),
            (BOTH, BOTH, Choice::Openvino, cpu, false, Err("by openvino: `make openvino` fetches it")),
            (
                LIBTORCH,
                LIBTORCH,
                Choice::Openvino,
                cpu,
                true,
                Err("by openvino: the version has no artifact"),
            ),
            (BOTH, BOTH, Choice::Openvino, model::Device::Cuda, true, Err("on the processor only")),
        ] {
            let root = tempfile::tempdir().unwrap();
            let version = version(root.path(), artifacts, there);
            let library = || if library { Ok(()) } else { Err("`make openvino` fetches it".to_owned()) };
            let found = choose(&version, wanted, device, library);
            let found =
                found.map(|(engine, why)| format!("{engine}: {why}")).map_err(|error| error.to_string());
            let case = format!("{artifacts:?}, {there:?}, {wanted:?}, {device:?}: {found:?}");
            match (expected, &found) {
                (Ok(words), Ok(text)) | (Err(words), Err(text)) => assert!(text.contains(words), "{case}"),
                _ => panic!("{case}"),
            }
        }
    }
}
