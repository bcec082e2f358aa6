//! The second engine: a net as an ONNX file, computed on the processor by OpenVINO. The only crate of the project that sees OpenVINO,
//! which is opened at run time: nothing needs it to build, and a machine without it lacks this engine and nothing else.
//!
//! - [`mod@library`]: where OpenVINO lies.
//! - [`onnx`]: what has to be known of a file before OpenVINO is given it.
//! - [`engine`]: a file loaded and asked, as an [`Engine`](model_core::Engine).

pub mod engine;
pub mod library;
pub mod onnx;

pub use engine::{LoadError, OpenVino};
pub use library::{Missing, library};
