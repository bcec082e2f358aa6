//! `model`: train, evaluate and ask the models. Reads the command line, runs one command, and says how it went by the exit code.

mod cli;

use std::io::{self, Write as _};

use clap::Parser;

/// Decoded photographs go back to the system; what libtorch has stays.
#[global_allocator]
static ALLOCATOR: model_core::LargePiecesMapped = model_core::LargePiecesMapped;

fn main() {
    // Before anything allocates much or starts a thread.
    model::configure_process();
    let arguments = cli::Arguments::parse();
    let code = match cli::run(arguments) {
        Ok(code) => code,
        Err(error) if cli::broken_pipe(&error) => 0,
        Err(error) => {
            eprintln!("model: {}", cli::sentence(&error));
            cli::exit_code(&error)
        }
    };
    // Whoever read it may have gone.
    drop(io::stdout().flush());
    model::leave(code)
}
