//! Model versions on disk: what there is, which one an alias names, and that a version's files are the ones its manifest
//! describes. Readable without libtorch.
//!
//! ```text
//! weights/
//!   bird/
//!     production            the alias file: a version number
//!     1/
//!       manifest.yaml       name, architecture, classes, preprocessing, metrics, origin, size and SHA-256 of each file
//!       model.safetensors
//! ```
//!
//! - [`manifest`]: what a version says about itself, read strictly.
//! - [`select`]: which version is meant: a number, an alias or the latest.
//! - [`digest`]: size and SHA-256 of a file, and the comparison with what the manifest promises.
//! - [`store`]: the folders themselves: list, load, publish, set an alias.

#![forbid(unsafe_code)]

pub mod digest;
mod error;
pub mod manifest;
pub mod select;
pub mod store;

pub use digest::FileEntry;
pub use error::RegistryError;
pub use manifest::{
    Architecture, Class, Classes, Fit, Input, Interpolation, Manifest, Metric, NoneOfThese, Polarity,
};
pub use select::Select;
pub use store::{ModelVersion, Registry};
