//! `model export`: a version's net as a file for other engines.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use model::{onnx, torchscript};
use nix::sys::memfd::{MFdFlags, memfd_create};
use registry::{Artifact, EngineKind, FileEntry, ModelVersion, Registry, Select};
use serde::Serialize;

use super::output::{json, line};
use super::publish::write_output;
use crate::cli::SUCCESS;

#[derive(Debug, Args)]
pub(super) struct Export {
    /// The model's name.
    #[arg(value_name = "MODEL")]
    model: String,
    /// Its version: a number, an alias, or `latest`.
    #[arg(default_value = "production", value_name = "VERSION")]
    version: Select,
    /// What to write.
    #[arg(long, env = "MLAAS_FORMAT", value_enum)]
    format: Format,
    /// The file to write [default: the one that the version's manifest lists, held to its digest].
    #[arg(long, env = "MLAAS_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,
    /// The model versions: a folder, or s3://BUCKET/PREFIX, gs://, az://.
    #[arg(long, env = "MLAAS_WEIGHTS", default_value = "weights", value_name = "FOLDER|URL")]
    weights: PathBuf,
    /// Print one JSON object.
    #[arg(long, env = "MLAAS_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// ONNX: what OpenVINO, ONNX Runtime and others compute.
    Onnx,
    /// TorchScript: what PyTorch computes, in any language.
    Torchscript,
}

/// Nobody says where the file should go.
#[derive(Debug, thiserror::Error)]
#[error("{model} version {version} lists no {format} file of its own: say where to write one with --output")]
pub(super) struct NoPlace {
    model: String,
    version: u32,
    format: &'static str,
}

enum Place<'a> {
    File(&'a PathBuf),
    Listed(&'a Artifact),
}

#[derive(Serialize)]
struct Written<'a> {
    file: &'a Path,
    size: u64,
    sha256: &'a str,
}

impl Export {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let version = Registry::open(&self.weights)?.load(&self.model, &self.version)?;
        let (engine, format) = match self.format {
            Format::Onnx => (EngineKind::Openvino, "ONNX"),
            Format::Torchscript => (EngineKind::Torchscript, "TorchScript"),
        };
        // Before the work, not after.
        let place = match (&self.output, version.manifest.artifact(engine)) {
            (Some(output), _) => Place::File(output),
            (None, Some(artifact)) => Place::Listed(artifact),
            (None, None) => {
                let (model, version) = (self.model, version.manifest.version);
                return Err(NoPlace { model, version, format }.into());
            }
        };
        let bytes = match self.format {
            Format::Onnx => onnx::export(&version)?,
            Format::Torchscript => traced(&version)?,
        };
        let entry = FileEntry::of_bytes(&bytes);
        let file = match place {
            Place::File(output) => {
                write_output(output, &bytes)?;
                output.clone()
            }
            Place::Listed(artifact) => version.put(artifact, &bytes)?,
        };
        if self.json {
            json(&Written { file: &file, size: entry.size, sha256: &entry.sha256 })?;
        } else {
            line(&format!("{}: {} bytes, {}", file.display(), entry.size, entry.digest()))?;
        }
        Ok(SUCCESS)
    }
}

/// The version's net as TorchScript, which libtorch writes to a path only.
fn traced(version: &ModelVersion) -> anyhow::Result<Vec<u8>> {
    let memory = memfd_create(c"net", MFdFlags::MFD_CLOEXEC).context("cannot make room for the file")?;
    // What is before the last dot is the name of the net in the file.
    let path = PathBuf::from(format!("/proc/self/fd/{}", memory.as_raw_fd()));
    torchscript::export(version, &path)?;
    fs::read(path).context("cannot read what was written")
}
