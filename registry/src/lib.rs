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
//! - [`digest`]: size and SHA-256 of a file.
//! - `store`: the folders themselves: list, load, publish, set an alias. A feature, since who only needs to know what a manifest
//!   says (`model-core`) reads no folder.

#![forbid(unsafe_code)]

#[cfg(feature = "store")]
mod check;
pub mod digest;
mod error;
pub mod manifest;
mod name;
pub mod select;
#[cfg(feature = "store")]
pub mod store;

pub use digest::FileEntry;
pub use error::RegistryError;
pub use manifest::{
    Architecture, Class, Classes, Fit, Input, Interpolation, Manifest, Metric, NoneOfThese, Polarity,
};
pub use select::Select;
#[cfg(feature = "store")]
pub use store::{ModelVersion, Registry};
