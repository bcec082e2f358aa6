//! The command line: what can be typed, and which file answers it.

mod benchmark;
mod evaluate;
mod explain;
mod export;
mod import;
mod output;
mod predict;
mod progress;
mod publish;
mod quantize;
mod samples;
mod train;
mod versions;

use std::io;
use std::path::PathBuf;

use ::cli::exit::{FAILURE, SUCCESS, USAGE};
use anyhow::Context;
use clap::builder::FalseyValueParser;
use clap::{Args, CommandFactory, Parser, Subcommand};
use model::engines::{self, EngineChoice};
use model::train::{TrainError, config::ConfigError};
use model::{Device, DeviceChoice, Engine, ModelError};
use registry::{EngineKind, ModelVersion, Registry, RegistryError, Select};

/// Some images could not be answered.
const SOME_FAILED: u8 = 5;

/// Train, evaluate and ask image models.
#[derive(Debug, Parser)]
#[command(name = "model", version, after_help = EXIT_CODES, after_long_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 success; 1 failure; 2 usage or configuration error; 5 some images could not be answered.
Results go to stdout, all else to stderr. Every option can be given by the environment variable shown beside it.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a net, for clothes or for classes of your own, and write it as a model version.
    Train(Box<train::Train>),
    /// Measure a model version's accuracy on labelled images.
    Evaluate(evaluate::Evaluate),
    /// Name what images show.
    Predict(predict::Predict),
    /// Show where in an image a net sees what it says.
    Explain(explain::Explain),
    /// Measure how fast each engine computes a model on this machine.
    Benchmark(benchmark::Benchmark),
    /// Write a model version's net as a file for other engines.
    Export(export::Export),
    /// Make a file that another program wrote a model version, after a trial on sample images.
    Import(Box<import::Import>),
    /// Make a faster version of a model that computes in 8-bit integers, if its answers stay what they were.
    Quantize(quantize::Quantize),
    #[command(flatten)]
    Versions(versions::Versions),
    /// Print the completion script of a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Which model version, and where it runs.
#[derive(Debug, Args)]
struct Which {
    /// The model's name.
    #[arg(long, env = "MLAAS_MODEL", default_value = "fashion-mnist", value_name = "NAME")]
    model: String,
    /// Its version: a number, an alias, or `latest`.
    #[arg(long, env = "MLAAS_MODEL_VERSION", default_value = "production", value_name = "VERSION")]
    model_version: Select,
    /// The model versions: a folder, or s3://BUCKET/PREFIX, gs://, az://.
    #[arg(long, env = "MLAAS_WEIGHTS", default_value = "weights", value_name = "FOLDER|URL")]
    weights: PathBuf,
    #[command(flatten)]
    computing: Computing,
}

/// What computes.
#[derive(Debug, Args)]
struct Computing {
    /// Where to compute: cpu, cuda, or auto for cuda where there is one.
    #[arg(long, env = "MLAAS_DEVICE", default_value_t = DeviceChoice::Cpu, value_name = "DEVICE")]
    device: DeviceChoice,
    /// What computes: libtorch, openvino, torchscript, or auto for OpenVINO where it can.
    #[arg(long, env = "MLAAS_ENGINE", default_value_t = EngineChoice::Auto, value_name = "ENGINE")]
    engine: EngineChoice,
    /// Load TorchScript files, which are code: they may do whatever you may.
    #[arg(long, env = "MLAAS_ALLOW_TORCHSCRIPT", value_parser = FalseyValueParser::new())]
    allow_torchscript: bool,
}

/// A version on its engine.
struct Loaded {
    version: ModelVersion,
    engine: Box<dyn Engine>,
    kind: EngineKind,
    /// Why that engine.
    why: String,
}

impl Which {
    fn load(&self) -> anyhow::Result<Loaded> {
        self.computing.load(&Registry::open(&self.weights)?, &self.model, &self.model_version)
    }
}

impl Computing {
    fn load(&self, registry: &Registry, model: &str, version: &Select) -> anyhow::Result<Loaded> {
        let device = self.device.resolve()?;
        let version = registry.load(model, version)?;
        let (kind, why) = engines::choose(&version, self.engine, device, self.allow_torchscript)
            .map_err(ModelError::from)?;
        let engine = engines::load(&version, kind, device)?;
        Ok(Loaded { version, engine, kind, why })
    }

    /// How many instances to compute with side by side: one for each core, each on one thread; on a CUDA device one.
    fn instances(&self) -> usize {
        match self.device.resolve() {
            Ok(Device::Cuda) => 1,
            _ => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Runs the command; its exit code.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<u8> {
    match arguments.command {
        Command::Train(train) => train.run(),
        Command::Evaluate(evaluate) => evaluate.run(),
        Command::Predict(predict) => predict.run(),
        Command::Explain(explain) => explain.run(),
        Command::Benchmark(benchmark) => benchmark.run(),
        Command::Export(export) => export.run(),
        Command::Import(import) => import.run(),
        Command::Quantize(quantize) => quantize.run(),
        Command::Versions(versions) => versions.run(),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "model", &mut script);
            io::Write::write_all(&mut io::stdout(), &script).context("cannot write the script")?;
            Ok(SUCCESS)
        }
    }
}

/// Whether whoever read our output went away, as `head` does: no failure.
pub(crate) fn broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// An error and its causes in one line.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    ::cli::sentence(error.as_ref())
}

/// The exit code for an error: what was asked for cannot be had, or it failed.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    let usage = error.chain().any(|cause| {
        cause.is::<ConfigError>()
            || cause.is::<export::NoPlace>()
            || cause.downcast_ref().is_some_and(publish::Refusal::is_usage)
            || matches!(cause.downcast_ref(), Some(ModelError::NoCuda))
            || matches!(
                cause.downcast_ref(),
                Some(
                    RegistryError::NoRoot { .. }
                        | RegistryError::NoStore { .. }
                        | RegistryError::BeingPublished { .. }
                        | RegistryError::ClaimLost { .. }
                        | RegistryError::OtherFile { .. }
                        | RegistryError::BadName { .. }
                        | RegistryError::UnknownModel { .. }
                        | RegistryError::NoKey { .. }
                        | RegistryError::BadKey { .. }
                        | RegistryError::UnknownVersion { .. }
                        | RegistryError::UnknownAlias { .. }
                        | RegistryError::BadSelect { .. }
                        | RegistryError::NoRollback { .. }
                        | RegistryError::NoTrial { .. }
                        | RegistryError::TrialOver { .. }
                        | RegistryError::InService { .. }
                        | RegistryError::VersionExists { .. }
                )
            )
            || matches!(
                cause.downcast_ref(),
                Some(
                    TrainError::Output { .. }
                        | TrainError::Unfinished { .. }
                        | TrainError::OtherConfig { .. }
                        | TrainError::OtherData { .. }
                )
            )
    });
    if usage { USAGE } else { FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_that_says_nothing_twice() {
        let torch = tch::TchError::Torch("out of memory\nframe #0".into());
        let error = anyhow::Error::from(ModelError::from(torch)).context("cannot load bird");
        assert_eq!(sentence(&error), "cannot load bird: libtorch: Internal torch error: out of memory");
    }
}
