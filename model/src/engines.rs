//! Which engine computes a version, and that engine ready to answer: the worker and the command line both ask here.

use std::fmt;
use std::str::FromStr;

use model_core::Engine;
use model_openvino::OpenVino;
use registry::{Artifact, EngineKind, ModelVersion, Precision};
use serde::{Deserialize, Serialize};

use crate::torchscript::TorchScript;
use crate::{Device, ModelError, Predictor, weights};

/// Which engine computes a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineChoice {
    /// OpenVINO where the version has an artifact for it, the library is there and the processor computes; else libtorch.
    #[default]
    Auto,
    /// The project's own nets, nothing else.
    Libtorch,
    /// ONNX on the processor, nothing else.
    Openvino,
    /// TorchScript files, nothing else.
    Torchscript,
}

impl FromStr for EngineChoice {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "libtorch" => Ok(Self::Libtorch),
            "openvino" => Ok(Self::Openvino),
            "torchscript" => Ok(Self::Torchscript),
            _ => Err(ModelError::UnknownEngine { text: text.into() }),
        }
    }
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Libtorch => "libtorch",
            Self::Openvino => "openvino",
            Self::Torchscript => "torchscript",
        })
    }
}

/// A version that no engine here can compute as it is wanted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{model} version {version} can't be computed by {engine}: {reason}")]
pub struct Unusable {
    model: String,
    version: u32,
    engine: EngineKind,
    reason: String,
}

/// The engine that computes a version, and why, in words that go on after "computed by ...: ". TorchScript, which is code, only where
/// `allow_torchscript` says so.
///
/// # Errors
/// [`Unusable`] where none can that is wanted: the version has nothing for it, or OpenVINO is not there.
pub fn choose(
    version: &ModelVersion,
    wanted: EngineChoice,
    device: Device,
    allow_torchscript: bool,
) -> Result<(EngineKind, String), Unusable> {
    let library = |precision| {
        let exact = precision != Precision::Int8
            || model_openvino::integers_are_exact().map_err(|missing| missing.to_string())?;
        if !exact {
            return Err(model_openvino::SATURATES.to_owned());
        }
        model_openvino::library().map_err(|missing| missing.to_string())
    };
    choose_by(version, wanted, device, allow_torchscript, library)
}

/// A version's artifact for that engine, loaded.
///
/// # Errors
/// If there is none, its file is not the manifest's, or the engine refuses it.
pub fn load(
    version: &ModelVersion,
    engine: EngineKind,
    device: Device,
) -> Result<Box<dyn Engine>, ModelError> {
    match engine {
        EngineKind::Openvino => openvino(version),
        EngineKind::Torchscript => torchscript(version, device),
        _ => Ok(Box::new(Predictor::load(version, device)?)),
    }
}

fn torchscript(version: &ModelVersion, device: Device) -> Result<Box<dyn Engine>, ModelError> {
    let (manifest, content) = (&version.manifest, weights::content(version, EngineKind::Torchscript)?.1);
    let file = content.path.display().to_string();
    let outputs = manifest.classes.outputs;
    Ok(Box::new(TorchScript::load(&file, &content.bytes, &manifest.input, outputs, device)?))
}

fn openvino(version: &ModelVersion) -> Result<Box<dyn Engine>, ModelError> {
    let (manifest, content) = (&version.manifest, weights::content(version, EngineKind::Openvino)?.1);
    let file = content.path.display().to_string();
    let engine = OpenVino::load(&file, &content.bytes, &manifest.input, manifest.classes.outputs);
    Ok(Box::new(engine.map_err(Box::new)?))
}

/// As [`choose`]. `library` finds OpenVINO for artifacts of a precision, or says what to do.
fn choose_by<T>(
    version: &ModelVersion,
    wanted: EngineChoice,
    device: Device,
    allow_torchscript: bool,
    library: impl Fn(Precision) -> Result<T, String>,
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
        Ok(_) if device != Device::Cpu => Err("it computes on the processor only".to_owned()),
        Ok(artifact) => library(artifact.precision).map(drop),
        Err(reason) => Err(reason),
    };
    let libtorch = || artifact(EngineKind::Libtorch).map(drop);
    let torchscript = || match artifact(EngineKind::Torchscript) {
        Ok(_) if !allow_torchscript => {
            Err("it is code, which runs only where models.allow_torchscript of the worker, or \
                                            --allow-torchscript of `model`, says so"
                .to_owned())
        }
        found => found.map(drop),
    };
    let asked = |engine, there: Result<(), String>| match there {
        Ok(()) => Ok((engine, "it is asked for".to_owned())),
        Err(reason) => Err(unusable(engine, reason)),
    };
    match wanted {
        EngineChoice::Libtorch => asked(EngineKind::Libtorch, libtorch()),
        EngineChoice::Openvino => asked(EngineKind::Openvino, openvino()),
        EngineChoice::Torchscript => asked(EngineKind::Torchscript, torchscript()),
        EngineChoice::Auto => match (openvino(), libtorch(), torchscript()) {
            (Ok(()), ..) => {
                let integers =
                    manifest.artifact(EngineKind::Openvino).is_some_and(|a| a.precision == Precision::Int8);
                let kind = if integers { " of 8-bit integers" } else { "" };
                Ok((
                    EngineKind::Openvino,
                    format!("the version has an artifact{kind} for it, and OpenVINO is there"),
                ))
            }
            (Err(why), Ok(()), _) => Ok((EngineKind::Libtorch, format!("not by OpenVINO, since {why}"))),
            (Err(why), _, Ok(())) => Ok((EngineKind::Torchscript, format!("not by OpenVINO, since {why}"))),
            // An artifact that it has says more than one that it has not.
            (Err(openvino), Err(libtorch), Err(torchscript)) => {
                let has = |engine| manifest.artifact(engine).is_some();
                Err(if has(EngineKind::Openvino) {
                    unusable(EngineKind::Openvino, openvino)
                } else if has(EngineKind::Torchscript) && !has(EngineKind::Libtorch) {
                    unusable(EngineKind::Torchscript, torchscript)
                } else {
                    unusable(EngineKind::Libtorch, libtorch)
                })
            }
        },
    }
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
        let cpu = Device::Cpu;
        for (artifacts, there, wanted, device, library, expected) in [
            (BOTH, BOTH, EngineChoice::Auto, cpu, true, Ok("openvino")),
            (
                BOTH,
                BOTH,
                EngineChoice::Auto,
                cpu,
                false,
                Ok("libtorch: not by OpenVINO, since `make openvino` fetches it"),
            ),
            (
                BOTH,
                BOTH,
                EngineChoice::Auto,
                Device::Cuda,
                true,
                Ok("libtorch: not by OpenVINO, since it computes on the processor"),
            ),
            (
                BOTH,
                LIBTORCH,
                EngineChoice::Auto,
                cpu,
                true,
                Ok("openvino.bin is not fetched: `get openvino` gets it"),
            ),
            (BOTH, OPENVINO, EngineChoice::Auto, cpu, true, Ok("openvino")),
            (BOTH, OPENVINO, EngineChoice::Auto, cpu, false, Err("by openvino: `make openvino` fetches it")),
            (
                LIBTORCH,
                LIBTORCH,
                EngineChoice::Auto,
                cpu,
                true,
                Ok("libtorch: not by OpenVINO, since the version has no artifact"),
            ),
            (
                OPENVINO,
                OPENVINO,
                EngineChoice::Auto,
                cpu,
                false,
                Err("by openvino: `make openvino` fetches it"),
            ),
            (BOTH, BOTH, EngineChoice::Libtorch, cpu, true, Ok("libtorch: it is asked for")),
            (
                BOTH,
                OPENVINO,
                EngineChoice::Libtorch,
                cpu,
                true,
                Err("libtorch.bin is not fetched: `get libtorch` gets it"),
            ),
            (BOTH, BOTH, EngineChoice::Openvino, cpu, false, Err("by openvino: `make openvino` fetches it")),
            (
                LIBTORCH,
                LIBTORCH,
                EngineChoice::Openvino,
                cpu,
                true,
                Err("by openvino: the version has no artifact"),
            ),
            (BOTH, BOTH, EngineChoice::Openvino, Device::Cuda, true, Err("on the processor only")),
        ] {
            let root = tempfile::tempdir().unwrap();
            let version = version(root.path(), artifacts, there);
            let library = |_| if library { Ok(()) } else { Err("`make openvino` fetches it".to_owned()) };
            let found = choose_by(&version, wanted, device, false, library);
            let found =
                found.map(|(engine, why)| format!("{engine}: {why}")).map_err(|error| error.to_string());
            let case = format!("{artifacts:?}, {there:?}, {wanted:?}, {device:?}: {found:?}");
            match (expected, &found) {
                (Ok(words), Ok(text)) | (Err(words), Err(text)) => assert!(text.contains(words), "{case}"),
                _ => panic!("{case}"),
            }
        }
    }

    #[test]
    fn torchscript_is_computed_where_that_is_allowed_and_nothing_else_can() {
        let allowed = |artifacts: &[&str], wanted, allow| {
            let root = tempfile::tempdir().unwrap();
            let version = version(root.path(), artifacts, artifacts);
            let found = choose_by(&version, wanted, Device::Cpu, allow, |_| {
                Err::<(), _>("it is not there".to_owned())
            });
            found.map(|(engine, _)| engine).map_err(|error| error.to_string())
        };
        const ALONE: &[&str] = &["torchscript"];
        let refused = allowed(ALONE, EngineChoice::Auto, false).unwrap_err();
        assert!(
            refused.contains("by torchscript: it is code") && refused.contains("models.allow_torchscript"),
            "{refused}"
        );
        assert_eq!(allowed(ALONE, EngineChoice::Torchscript, false), Err(refused));
        assert_eq!(allowed(ALONE, EngineChoice::Auto, true), Ok(EngineKind::Torchscript));
        assert_eq!(allowed(ALONE, EngineChoice::Torchscript, true), Ok(EngineKind::Torchscript));
        assert!(allowed(ALONE, EngineChoice::Libtorch, true).unwrap_err().contains("no artifact"));
        let all = ["libtorch", "torchscript", "openvino"];
        assert_eq!(allowed(&all, EngineChoice::Auto, true), Ok(EngineKind::Libtorch));
    }
}
