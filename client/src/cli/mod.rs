//! The command line over the library.
//!
//! - [`args`]: what can be typed.
//! - [`file`]: the configuration file.
//! - [`inputs`]: which files are sent.
//! - [`output`]: what is printed.
//! - [`exit`]: exit codes.
//! - [`send`], [`listen`], [`models`]: the commands.

mod args;
mod exit;
mod file;
mod inputs;
mod listen;
mod models;
mod output;
mod send;

use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;

use args::{Args, Command, Global};
use client::ClientConfig;
use exit::{Exit, Failure};
use file::File;

pub(crate) fn main() -> ExitCode {
    let args = Args::parse();
    init_tracing(args.global.verbose);
    match run(args) {
        Ok(exit) => exit.into(),
        Err(Failure::BrokenPipe) => Exit::Success.into(),
        Err(Failure::Interrupted) => Exit::Interrupted.into(),
        Err(failure) => {
            // Where stderr is gone too, the exit code is left.
            writeln!(std::io::stderr(), "client: {failure}").ok();
            failure.exit().into()
        }
    }
}

fn run(args: Args) -> Result<Exit, Failure> {
    let Args { command, global } = args;
    if let Command::Completions { shell } = command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), "client", &mut script);
        std::io::stdout().write_all(&script)?;
        return Ok(Exit::Success);
    }
    let file = File::read(global.config.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let exit = runtime.block_on(async {
        let work = async {
            match command {
                Command::Send(args) => send::run(args, &global, file).await,
                Command::Listen(args) => listen::run(args, &global, file).await,
                Command::Models(args) => models::run(args, &global, file).await,
                Command::Completions { .. } => Ok(Exit::Success),
            }
        };
        tokio::select! {
            exit = work => exit,
            _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        }
    });
    // A blocking call of librdkafka's may still run: it need not be waited for.
    runtime.shutdown_background();
    exit
}

/// What flags, environment and file together say about the connection. Flags have the environment in them.
fn connection(global: &Global, file: &File) -> ClientConfig {
    let mut config = ClientConfig {
        kafka: file.kafka.clone(),
        topics: file.topics.clone(),
        timeout: file.timeout,
        connect_timeout: global.connect_timeout.map_or(file.connect_timeout, Into::into),
        ..ClientConfig::default()
    };
    if let Some(servers) = global.bootstrap_servers.as_deref().map(str::trim).filter(|s| !s.is_empty()) {
        config.kafka.bootstrap_servers = Some(servers.to_owned());
    }
    config
}

/// Talk goes to stderr, and is quiet unless asked for; librdkafka's retries are shown from `-vv` on.
fn init_tracing(verbose: u8) {
    let filter = match verbose {
        0 => "warn,librdkafka=off,rdkafka=off",
        1 => "info,librdkafka=off,rdkafka=off",
        2 => "debug,librdkafka=info,rdkafka=info",
        _ => "trace",
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
