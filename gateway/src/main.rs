//! The `gateway` program: command line, configuration, logs, signals, exit code. All else is in the library.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use cli::exit::{FAILURE, USAGE};
use gateway::Config;
use gateway::args::{Args, Command, ready_line};
use gateway::key_commands::{self, KeysCommand, KeysError};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Bodies of requests go back to the system when they are answered: the C library's allocator would keep what a flood took.
#[global_allocator]
static ALLOCATOR: model_core::LargePiecesMapped = model_core::LargePiecesMapped;

fn main() -> ExitCode {
    let (args, sources) = match Args::read(std::env::args_os(), cli::flags::variables()) {
        Ok(read) => read,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    match &args.command {
        Some(Command::Completions { shell }) => {
            Args::complete(*shell);
            return ExitCode::SUCCESS;
        }
        Some(Command::Openapi) => return print(gateway::openapi()),
        Some(Command::Keys { .. }) | None => {}
    }
    let config = match Config::load(&sources) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("gateway: {error}");
            return ExitCode::from(USAGE);
        }
    };
    if args.check_config {
        return print(&config.to_yaml());
    }
    if let Some(Command::Keys { command }) = args.command {
        return ExitCode::from(keys(command, &config));
    }
    match work(config) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("gateway: {error:#}");
            ExitCode::from(FAILURE)
        }
    }
}

/// Data, on stdout. Whoever has gone away does not want it.
fn print(text: &str) -> ExitCode {
    drop(std::io::stdout().write_all(text.as_bytes()));
    ExitCode::SUCCESS
}

/// The exit code.
fn keys(command: KeysCommand, config: &Config) -> u8 {
    let done = || -> anyhow::Result<Result<(), KeysError>> {
        config.log.init(client::KAFKA_LOG).context("log.level")?;
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let done = runtime.block_on(key_commands::run(command, config));
        runtime.shutdown_background();
        Ok(done)
    };
    let (error, code) = match done() {
        Ok(Ok(())) => return 0,
        Ok(Err(error)) => (error.to_string(), error.exit()),
        Err(error) => (format!("{error:#}"), FAILURE),
    };
    eprintln!("gateway: {error}");
    code
}

fn work(config: Config) -> anyhow::Result<u8> {
    config.log.init(client::KAFKA_LOG).context("log.level")?;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(run(config));
    // A look at the results topic may still go on: nobody waits for it.
    runtime.shutdown_background();
    ended
}

/// The exit code.
async fn run(config: Config) -> anyhow::Result<u8> {
    let mut signals = Signals::new()?;
    let format = config.log.format;
    let end = CancellationToken::new();
    let app = gateway::build(config).await?;
    let work = gateway::run(app, end.clone(), move |ready| {
        let mut out = std::io::stdout().lock();
        // A reader that has gone away does not stop a gateway.
        drop(writeln!(out, "{}", ready_line(ready, format)).and_then(|()| out.flush()));
    });
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => return result.map(|()| 0).map_err(Into::into),
        _ = signals.next() => {}
    }
    tracing::info!("shutting down; a second signal ends at once");
    end.cancel();
    tokio::select! {
        result = &mut work => result.map(|()| 0).map_err(Into::into),
        code = signals.next() => Ok(code),
    }
}

/// Ctrl-C and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The exit code that goes with the next one.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 128 + 2,
            _ = self.terminate.recv() => 128 + 15,
        }
    }
}
