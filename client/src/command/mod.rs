//! The command line over the library.
//!
//! - [`args`]: what can be typed.
//! - [`config`]: what can be configured.
//! - [`inputs`]: which files are sent.
//! - [`output`]: what is printed; [`tally`]: what became of the images.
//! - [`exit`]: exit codes.
//! - [`send`], [`listen`], [`models`], [`review`], [`top`]: the commands.

mod args;
mod config;
mod control;
mod exit;
mod inputs;
mod listen;
mod models;
mod output;
mod review;
mod send;
mod tally;
mod top;

use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use args::{Args, Command};
use config::Config;
use exit::{Exit, Failure};
use tally::Tally;

pub(crate) fn main() -> ExitCode {
    let typed = Args::command();
    let read = cli::flags::matches(typed.clone(), std::env::args_os())
        .and_then(|matches| Args::from_arg_matches(&matches).map(|args| (args, matches)));
    let (args, matches) = match read {
        Ok(read) => read,
        Err(error) => error.exit(),
    };
    init_tracing(&args);
    let sources = args::sources(&typed, &matches, &args);
    match run(args, &sources) {
        Ok(exit) => exit.into(),
        Err(Failure::BrokenPipe) => Exit::Success.into(),
        Err(Failure::Interrupted) => Exit::Interrupted.into(),
        Err(failure) => {
            // It may name what others named.
            say(format!("client: {}{}", output::printable(&failure.to_string()), failure.advice()));
            failure.exit().into()
        }
    }
}

fn run(args: Args, sources: &cli::Sources) -> Result<Exit, Failure> {
    let Args { command, global } = args;
    if let Some(Command::Completions { shell }) = command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), "client", &mut script);
        std::io::stdout().write_all(&script)?;
        return Ok(Exit::Success);
    }
    let config = Config::load(sources)?;
    if global.check_config {
        std::io::stdout().write_all(config.to_yaml().as_bytes())?;
        return Ok(Exit::Success);
    }
    let Some(command) = command else {
        Args::command().error(ErrorKind::MissingSubcommand, "say what to do: send, listen or models").exit()
    };
    let quiet = global.quiet;
    let color = global.color.applies(std::io::stdout().is_terminal());
    let tally = Arc::new(Tally::default());
    let wait = !matches!(&command, Command::Send(args) if !args.wait);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let exit = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let counted = Arc::clone(&tally);
        // On a thread of its own: where nobody reads the output it blocks there, and Ctrl-C is heard here.
        let work = tokio::spawn(async move {
            match command {
                Command::Send(args) => send::run(args, quiet, config, counted).await,
                Command::Listen(args) => listen::run(args, quiet, config, counted).await,
                Command::Models(args) => models::run(args, quiet, config).await,
                Command::Load(args) => control::load(args, quiet, config).await,
                Command::Unload(args) => control::unload(args, quiet, config).await,
                Command::Refresh(args) => control::refresh(args, config).await,
                Command::Top(args) => top::run(args, color, config).await,
                Command::Review(command) => review::run(command, quiet, config).await,
                Command::Completions { .. } => Ok(Exit::Success),
            }
        });
        tokio::select! {
            ended = work => ended.map_err(|e| Failure::Io(std::io::Error::other(e)))?,
            _ = interrupt.recv() => Err(Failure::Interrupted),
        }
    });
    top::give_back();
    if !quiet
        && !matches!(exit, Err(Failure::BrokenPipe))
        && let Some(summary) = tally.summary(wait)
    {
        say(summary);
    }
    // A blocking call may still run: it need not be waited for.
    runtime.shutdown_background();
    exit
}

/// One line on stderr, unless nobody reads it: it may be the very pipe on which the output hangs.
fn say(line: String) {
    const PATIENCE: Duration = Duration::from_secs(1);
    let (sender, said) = mpsc::channel();
    std::thread::spawn(move || {
        // Where stderr is gone too, the exit code is left.
        writeln!(std::io::stderr(), "{line}").ok();
        sender.send(()).ok();
    });
    said.recv_timeout(PATIENCE).ok();
}

/// Talk goes to stderr, and is quiet unless asked for; librdkafka's retries are shown from `-vv` on.
fn init_tracing(args: &Args) {
    let filter = match args.global.verbose {
        0 if args.global.quiet => "error,librdkafka=off,rdkafka=off",
        0 => "warn,librdkafka=off,rdkafka=off",
        1 => "info,librdkafka=off,rdkafka=off",
        2 => "debug,librdkafka=info,rdkafka=info",
        _ => "trace",
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(args.global.color.applies(std::io::stderr().is_terminal()))
        .init();
}
