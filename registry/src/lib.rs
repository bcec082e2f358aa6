//! Model versions on disk: what there is, which one an alias names, and that a version's files are the ones its manifest
//! describes. Readable without libtorch.
//!
//! ```text
//! weights/
//!   bird/
//!     production            the alias file: a version number
//!     1/
//!       manifest.yaml       name, artifacts, classes, preprocessing, metrics, origin, size and SHA-256 of each file
//!       model.safetensors   an artifact: what one engine computes with
//!       model.onnx          another
//! ```
//!
//! - [`manifest`]: what a version says about itself, read strictly.
//! - [`select`]: which version is meant: a number, an alias or the latest.
//! - [`digest`]: size and SHA-256 of a file.
//! - `version`: a version's folder: which artifacts it holds, and their bytes, read once and checked.
//! - `store`: all of them: list, load, publish, set an alias. Both are a feature, since who only needs to know what a manifest
//!   says (`model-core`) reads no folder.

#![forbid(unsafe_code)]

#[cfg(feature = "store")]
mod content;
pub mod digest;
#[cfg(feature = "store")]
mod draft;
mod error;
pub mod manifest;
mod name;
pub mod select;
#[cfg(feature = "store")]
pub mod store;
#[cfg(feature = "store")]
pub mod version;

#[cfg(feature = "store")]
pub use content::Content;
pub use digest::FileEntry;
pub use error::RegistryError;
pub use manifest::{
    Activation, Architecture, Artifact, Calibration, Class, Classes, Data, EngineKind, Fit, Input,
    Interpolation, Layout, Manifest, Metric, Order, Parent, Polarity, Precision, Reject, Schema,
};
pub use select::Select;
#[cfg(feature = "store")]
pub use store::Registry;
#[cfg(feature = "store")]
pub use version::{ModelVersion, write_whole};
