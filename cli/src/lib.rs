//! What the command lines of the programs share.
//!
//! - [`layers`]: a configuration put together of defaults, a file, the environment and flags.
//! - [`flags`]: which keys a command line and its variables set; an empty variable counts as unset.
//! - [`files`]: where a user's own configuration file lies.
//! - [`color`]: whether to write in colour.
//! - [`log`]: logs of programs that run for long.
//! - [`exit`]: the exit codes that mean the same everywhere.
//! - [`sentence`]: an error with its causes, in one line; [`whoami`]: who runs the program; [`process_name`]: which one it is.
//!
//! It knows neither Kafka nor a model.

#![forbid(unsafe_code)]

pub mod color;
pub mod exit;
pub mod files;
pub mod flags;
pub mod layers;
pub mod log;
mod sentence;
mod whoami;

pub use color::Color;
pub use layers::{LayerError, Setting, Sources, load, parse};
pub use sentence::sentence;
pub use whoami::{process_name, whoami};
