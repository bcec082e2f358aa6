//! The second engine: a net as an ONNX file, computed on the processor by OpenVINO. The only crate of the project that sees OpenVINO,
//! which is opened at run time: nothing needs it to build, and a machine without it lacks this engine and nothing else.
//!
//! - [`mod@library`]: where OpenVINO lies.
//! - [`onnx`]: what has to be known of a file before OpenVINO is given it.
//! - [`engine`]: a file loaded and asked, as an [`Engine`](model_core::Engine).
//! - [`quantize`]: a file of 32-bit floats made one of 8-bit integers.

pub mod engine;
mod exact;
pub mod library;
pub mod onnx;
mod port;
mod probe;
pub mod quantize;

pub use engine::{LoadError, OpenVino};
pub use exact::{SATURATES, integers_are_exact};
pub use library::{Missing, library};
