//! The one file that sees `model`: what libtorch is told about this process, where it computes, which engine serves a version of
//! the registry, and how that version becomes something that is served.

use std::fmt;
use std::sync::Arc;

pub use model::engines::EngineChoice as Choice;
use model::{DeviceChoice, ModelError, engines};
use model_core::{Engine, ImageLimits, Preprocessor, Scorer};
use registry::{Architecture, EngineKind, ModelVersion};
use serde::{Deserialize, Serialize};
use wire::ModelId;

use crate::served::{LoadError, Served};

/// Sets the process up for nets. To be called first in `main`, before the first thread.
pub fn configure_process() {
    model::configure_process();
}

/// Ends the process while threads may still load and compute, without destructors, which would run beneath them.
pub fn leave(code: u8) -> ! {
    model::leave(code)
}

/// Gives the system back what memory is free: for when a net has gone.
pub(crate) fn give_memory_back() {
    model::give_memory_back();
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

    /// What serves that version, by the engine wanted; TorchScript only where that is allowed. Its weights are loaded when the first instance asks for them.
    ///
    /// # Errors
    /// [`LoadError`] where this build or this machine can't serve it.
    pub(crate) fn open(
        self,
        version: ModelVersion,
        wanted: Choice,
        allow_torchscript: bool,
    ) -> Result<Served, LoadError> {
        let (engine, why) =
            engines::choose(&version, wanted, self.device, allow_torchscript).map_err(LoadError::new)?;
        let manifest = &version.manifest;
        tracing::info!(model = manifest.name, version = manifest.version, %engine, "computed by {engine}: {why}");
        let preprocessor = Preprocessor::new(manifest).map_err(LoadError::new)?;
        let id = ModelId {
            name: manifest.name.clone(),
            version: manifest.version,
            digest: version.digest.clone(),
        };
        let architecture = manifest.artifacts.iter().find_map(|artifact| artifact.architecture);
        // What is no net of the project's own is known by its format.
        let format = if engine == EngineKind::Torchscript { "torchscript" } else { "onnx" };
        let (architecture, scorer) = (architecture.map_or(format.to_owned(), word), Scorer::new(manifest));
        let read = manifest.artifact(engine).and_then(|artifact| manifest.files.get(&artifact.file));
        let files = read.map_or(0, |file| file.size);
        let Self { device, limits } = self;
        let version = Arc::new(version);
        let samples = {
            let version = Arc::clone(&version);
            move || {
                let samples = version.samples().map_err(LoadError::new)?;
                Ok(samples.into_iter().map(|(sample, content)| (sample.clone(), content.bytes)).collect())
            }
        };
        let load = move || -> Result<Box<dyn Engine>, LoadError> {
            engines::load(&version, engine, device).map_err(LoadError::new)
        };
        let prepare = move |file: &[u8]| preprocessor.decode(file, &limits);
        Ok(Served::new(id, architecture, scorer, prepare, load).with_files(files).with_samples(samples))
    }
}

/// The manifest's own word for it.
fn word(architecture: Architecture) -> String {
    serde_json::to_value(architecture)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_else(|| format!("{architecture:?}"))
}
