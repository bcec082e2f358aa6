//! The `worker` program: command line, configuration, logs, signals, exit code. All else is in the library.

mod signals;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use cli::exit::{BROKER, FAILURE, USAGE};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use worker::args::{Args, Command, ready_line};
use worker::config::{self, Config};
use worker::{RunError, leave};

use crate::signals::Signals;

/// Decoded photographs go back to the system; what libtorch has stays.
#[global_allocator]
static ALLOCATOR: model_core::LargePiecesMapped = model_core::LargePiecesMapped;

fn main() -> ExitCode {
    // Before anything else: from here on no signal is lost, and none runs destructors beneath a thread that computes.
    let withheld = signals::withhold();
    // Before the first tensor and the first thread.
    worker::configure_process();
    let signals = match withheld.map_err(std::io::Error::from).and_then(signals::Withheld::listen) {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("worker: signals can't be heard: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (args, sources) = match Args::read(std::env::args_os(), cli::flags::variables()) {
        Ok(read) => read,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    if let Some(Command::Completions { shell }) = args.command {
        Args::complete(shell);
        return ExitCode::SUCCESS;
    }
    let config = match config::load(&sources) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("worker: {error}");
            return ExitCode::from(USAGE);
        }
    };
    if args.check_config {
        print!("{}", config.to_yaml());
        return ExitCode::SUCCESS;
    }
    // Whatever the end is, threads that load or compute may outlive it.
    match work(config, &signals) {
        Ok(Ended::Asked) => leave(0),
        Ok(Ended::AtOnce(code)) => leave(code),
        Err(error) => {
            eprintln!("worker: {error:#}");
            let gone = matches!(error.downcast_ref(), Some(RunError::BrokerGone(_)));
            leave(if gone { BROKER } else { FAILURE })
        }
    }
}

enum Ended {
    Asked,
    AtOnce(u8),
}

fn work(config: Config, signals: &Signals) -> anyhow::Result<Ended> {
    let heard = signals.subscribe();
    config.log.init(kafka::log::TARGET).context("log.level")?;
    // The nets have threads of their own; these move parcels.
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(run(config, heard));
    runtime.shutdown_background();
    ended
}

async fn run(config: Config, mut signals: mpsc::UnboundedReceiver<u8>) -> anyhow::Result<Ended> {
    let format = config.log.format;
    let end = CancellationToken::new();
    let app = tokio::select! {
        app = worker::build(config) => app?,
        // Nothing was taken: all is answered.
        _ = signals.recv() => return Ok(Ended::Asked),
    };
    let work = worker::run(app, end.clone(), move |ready| {
        let mut out = std::io::stdout().lock();
        // A reader that has gone away does not stop a worker.
        drop(writeln!(out, "{}", ready_line(ready, format)).and_then(|()| out.flush()));
    });
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => return result.map(|()| Ended::Asked).map_err(Into::into),
        _ = signals.recv() => {}
    }
    tracing::info!("shutting down; a second signal ends at once");
    end.cancel();
    tokio::select! {
        result = &mut work => result.map(|()| Ended::Asked).map_err(Into::into),
        Some(code) = signals.recv() => Ok(Ended::AtOnce(code)),
    }
}
