//! The executable `client`: reads what was typed, does it, and says by its exit code how it went.

mod command;

use std::process::ExitCode;

fn main() -> ExitCode {
    command::main()
}
