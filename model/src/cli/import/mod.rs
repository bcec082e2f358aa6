//! `model import`: a file that another program wrote becomes a model version. It is tried on sample images first, and of one that is
//! refused, by the program or by whoever is asked, nothing is written.

mod labels;
mod net;
mod settings;
mod taken;
mod trial;

use std::fs::File;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use clap::builder::FalseyValueParser;
use registry::{Registry, RegistryError};
use serde::Serialize;

use super::output::{json, line};
use super::publish::{Published, Refusal, end_between_writes, publish};
use super::samples::{self, Given};
use crate::cli::SUCCESS;
use net::Net;
use settings::{Notes, Settings};
use trial::Tried;

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The net: an ONNX file (.onnx), or a TorchScript file (.pt).
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The model's name. It gets a version after those that it has.
    #[arg(long, env = "MLAAS_NAME", value_name = "NAME")]
    name: String,
    #[command(flatten)]
    settings: Settings,
    /// Load a TorchScript file, which is code: it may do whatever you may.
    #[arg(long, env = "MLAAS_ALLOW_TORCHSCRIPT", value_parser = FalseyValueParser::new())]
    allow_torchscript: bool,
    /// Images that it is tried on: a file, or a folder.
    #[arg(long, env = "MLAAS_SAMPLES", default_value = "data/samples", value_name = "IMAGE|FOLDER")]
    samples: PathBuf,
    /// An image that goes with the version, and what the net calls it: whoever serves the version sees first whether it still does. May be
    /// given several times.
    #[arg(long, env = "MLAAS_SAMPLE", value_name = "IMAGE=LABEL")]
    sample: Vec<Given>,
    /// The model versions: a folder, which is made where it is not there, or s3://BUCKET/PREFIX, gs://, az://.
    #[arg(long, env = "MLAAS_WEIGHTS", default_value = "weights", value_name = "FOLDER|URL")]
    weights: PathBuf,
    /// Do not ask. Nobody is asked either where there is no terminal.
    #[arg(long, env = "MLAAS_YES", value_parser = FalseyValueParser::new())]
    yes: bool,
    /// Print one JSON object, and do not ask.
    #[arg(long, env = "MLAAS_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

#[derive(Serialize)]
struct Imported<'a> {
    model: Published<'a>,
    engine: &'static str,
    /// Whether it is the version that is served from now on.
    production: bool,
    /// How many images it takes at once, where it takes no other number.
    batch: Option<usize>,
    trial: Vec<Tried>,
}

impl Import {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        end_between_writes()?;
        if self.weights.exists() && !self.weights.is_dir() {
            return Err(RegistryError::NoRoot { path: self.weights }.into());
        }
        let registry = Registry::at(&self.weights)?;
        // What needs no net is said first.
        registry.next_version(&self.name)?;
        let (taken, mut notes) = (self.settings.taken(&self.file)?, Notes::default());
        let labels = self.settings.labels(&taken, &mut notes)?;
        let shown = trial::samples(&self.samples)?;
        let engine = net::engine(&self.file, self.allow_torchscript)?;
        let bytes = read(&self.file)?;

        let file = self.file.display().to_string();
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        let said = net::said(engine, &file, &bytes)?;
        let mut manifest =
            self.settings.manifest(&self.name, engine, &name, &said, labels, (&taken, &mut notes))?;
        notes.lines().iter().for_each(|line| eprintln!("model: {line}"));
        net::describe(&mut manifest, &bytes);
        let carried = samples::given(&self.sample, &manifest)?;
        // What can't be is said before it is computed.
        manifest.to_yaml(Path::new("of this import")).map_err(|error| Refusal::Usage(error.to_string()))?;
        let mut net = Net::load(&manifest, &file, &bytes)?;
        let batch = net.fixed_batch();
        if let Some(images) = batch {
            let s = if images == 1 { "" } else { "s" };
            eprintln!("model: {file} takes {images} image{s} at once and no other number: it is served so");
        }
        let tried = trial::run(&mut net, &manifest, &shown, self.settings.activation)?;
        samples::unlike(&self.sample, samples::tried(net.engine(), &manifest, &carried)?)?;
        drop(net);
        if !self.json {
            tried.iter().try_for_each(|tried| line(&tried.to_string()))?;
        }
        if !self.accepted()? {
            return Err(Refusal::Declined.into());
        }
        let (version, production) = publish(&registry, manifest, &bytes, &carried)?;
        if self.json {
            let model = Published::of(&version);
            json(&Imported { model, engine: engine.word(), production, batch, trial: tried })?;
        } else {
            line(&Published::of(&version).words(production))?;
        }
        Ok(SUCCESS)
    }

    /// Whether it is wanted. Asked on a terminal only.
    fn accepted(&self) -> anyhow::Result<bool> {
        let stdin = io::stdin();
        if self.yes || self.json || !stdin.is_terminal() || !io::stderr().is_terminal() {
            return Ok(true);
        }
        eprint!("Import it as {}? [y/N] ", self.name);
        io::stderr().flush().context("cannot ask")?;
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer).context("cannot read the answer")?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}

/// The whole of a file. What is no file, and what is larger than the format can be, is not read.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let reading = || format!("cannot read {}", path.display());
    let found = path.metadata().with_context(reading)?;
    if !found.is_file() {
        return Err(Refusal::Usage(format!("{} is no file", path.display())).into());
    }
    let largest = model_openvino::onnx::LARGEST;
    let mut bytes = Vec::new();
    if found.len() <= largest {
        bytes.reserve_exact(usize::try_from(found.len()).unwrap_or(0));
        File::open(path)
            .and_then(|file| file.take(largest + 1).read_to_end(&mut bytes))
            .with_context(reading)?;
    }
    if found.len() > largest || bytes.len() as u64 > largest {
        let text = format!("{} is larger than the {largest} bytes that such a file can have", path.display());
        return Err(Refusal::Unfit(text).into());
    }
    Ok(bytes)
}
