//! Exit codes that mean the same in each program. What a program adds, its own help tells.

/// Done as asked.
pub const SUCCESS: u8 = 0;
/// Anything that has no code of its own.
pub const FAILURE: u8 = 1;
/// Usage or configuration: nothing was begun.
pub const USAGE: u8 = 2;
/// The broker can't be reached, or is gone.
pub const BROKER: u8 = 3;
/// Ended by Ctrl-C: 128 and the signal's number.
pub const INTERRUPTED: u8 = 128 + 2;
