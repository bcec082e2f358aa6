//! The `worker` program: command line, configuration, logs, signals, exit code. All else is in the library.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use worker::args::{Args, Instead, ready_line};
use worker::config::{self, Config};
use worker::{RunError, telemetry};

const USAGE: u8 = 2;
const BROKER_GONE: u8 = 3;
const INTERRUPTED: u8 = 128 + 2;
const TERMINATED: u8 = 128 + 15;

fn main() -> ExitCode {
    // Before the first tensor and the first thread.
    model::configure_process();
    let (args, sources) = match Args::read(std::env::args_os(), std::env::vars()) {
        Ok(read) => read,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    if let Some(Instead::Completions { shell }) = args.command {
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
    match work(config) {
        Ok(Ended::Asked) => ExitCode::SUCCESS,
        Ok(Ended::AtOnce(code)) => leave(code),
        Err(error) => {
            eprintln!("worker: {error:#}");
            let gone = matches!(error.downcast_ref(), Some(RunError::BrokerGone(_)));
            leave(if gone { BROKER_GONE } else { 1 })
        }
    }
}

enum Ended {
    Asked,
    AtOnce(u8),
}

fn work(config: Config) -> anyhow::Result<Ended> {
    telemetry::init(&config.log).context("log.level")?;
    // The nets have threads of their own; these move parcels.
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(run(config));
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

async fn run(config: Config) -> anyhow::Result<Ended> {
    let mut signals = Signals::new().context("signals can't be heard")?;
    let format = config.log.format;
    let end = CancellationToken::new();
    let app = tokio::select! {
        app = worker::build(config) => app?,
        code = signals.next() => return Ok(Ended::AtOnce(code)),
    };
    let work = worker::run(app, end.clone(), move |ready| {
        let mut out = std::io::stdout().lock();
        // A reader that has gone away does not stop a worker.
        drop(writeln!(out, "{}", ready_line(ready, format)).and_then(|()| out.flush()));
    });
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => return result.map(|()| Ended::Asked).map_err(Into::into),
        _ = signals.next() => {}
    }
    tracing::info!("shutting down; a second signal ends at once");
    end.cancel();
    tokio::select! {
        result = &mut work => result.map(|()| Ended::Asked).map_err(Into::into),
        code = signals.next() => Ok(Ended::AtOnce(code)),
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The exit code that goes with the next signal.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPTED,
            _ = self.terminate.recv() => TERMINATED,
        }
    }
}

/// Ends the process while threads may still compute: to return would run libtorch's destructors beneath them. What was
/// worth keeping has been dropped before.
fn leave(code: u8) -> ExitCode {
    drop(std::io::stdout().flush());
    // SAFETY: `_exit` ends the process, touches no memory of ours and runs no handlers.
    #[allow(unsafe_code)]
    unsafe {
        nix::libc::_exit(i32::from(code))
    }
}
