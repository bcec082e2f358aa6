//! What the Makefile calls: set-up, demo, test run. `cargo xtask --help` lists the tasks.
//!
//! Exit codes: 0 success, 1 a task failed, 2 a wrong command line, 130 interrupted.

mod audit;
mod compose;
mod coverage;
mod demo;
mod earlier;
mod fetch;
mod length;
mod libtorch;
mod openvino;
mod policy;
mod process;
mod progress;
mod setup;
mod suite;
mod system;
mod test_tools;
mod watch;
mod weights;
mod workspace;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{setup::Part, system::Purpose, workspace::Workspace};

/// Tasks of the mlaas project.
#[derive(Parser)]
#[command(name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install and fetch what is missing; a second run does nothing.
    Setup {
        /// What for: `demo` leaves out what only the tests need; `data` is the images that the clothes model is trained on.
        #[arg(long = "for", value_name = "PURPOSE", default_value = "test")]
        purpose: Purpose,
        /// Only these parts.
        #[arg(long, value_delimiter = ',')]
        only: Vec<Part>,
    },
    /// Set up, build in release, and have two workers name real images.
    Demo {
        /// Keep them up, with a gateway and its web page, until Ctrl-C.
        #[arg(long)]
        ui: bool,
    },
    /// Set up, lint, and run all tests, on a real Apache Kafka too.
    Test,
    /// The tests that take too long for `test`.
    TestMore,
    /// Dependencies against deny.toml and the known vulnerabilities, by cargo-deny; needs the internet.
    Audit,
    /// Which lines the tests reach that need neither libtorch nor a real Kafka; wants the toolchain's llvm-tools.
    Coverage,
    /// Formatting, dependency policy, length of files, clippy and documentation, warnings denied.
    Lint,
    /// Fetch OpenVINO and make the files that it computes; the worker takes it from then on.
    Openvino,
    /// Fetch the weights of a version of the bird model.
    Weights {
        /// The version.
        #[arg(long, default_value_t = 1)]
        bird: u32,
    },
    /// Who may depend on whom.
    Policy,
    /// Bring docker-compose.yml up, ask it for two images, from the host and from a container, and take it down.
    ComposeTest,
    /// Run a test executable with a time limit; `make test` has cargo do so.
    #[command(hide = true)]
    Watch {
        /// The executable and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        line: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments.task) {
        Ok(code) => code,
        Err(error) if error.is::<process::Interrupted>() => {
            eprintln!("interrupted");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<ExitCode> {
    process::watch_signals()?;
    let workspace = Workspace::find()?;
    match task {
        Task::Setup { purpose, only } => setup::ensure(&workspace, *purpose, only),
        Task::Demo { ui } => demo::run(&workspace, *ui),
        Task::Test => suite::test(&workspace),
        Task::TestMore => suite::test_more(&workspace),
        Task::Audit => audit::run(&workspace),
        Task::Coverage => coverage::run(&workspace),
        Task::Lint => suite::lint(&workspace),
        Task::Openvino => openvino::run(&workspace),
        Task::Weights { bird } => weights::run(&workspace, *bird),
        Task::Policy => policy::check(&workspace),
        Task::ComposeTest => compose::run(&workspace),
        Task::Watch { line } => return watch::run(line),
    }?;
    Ok(ExitCode::SUCCESS)
}
