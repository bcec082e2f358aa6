//! Model versions in a folder or an object store: what there is, which one an alias names, and that a version's files are the ones its manifest
//! describes. Readable without libtorch.
//!
//! ```text
//! weights/
//!   bird/
//!     production            the alias file: a version number
//!     history/production/   each change of that alias: who, when, from, to, why
//!     1/
//!       manifest.yaml.sig   the signature of the manifest, where it is signed
//!       manifest.yaml       name, artifacts, classes, preprocessing, metrics, origin, size and SHA-256 of each file
//!       model.safetensors   an artifact: what one engine computes with
//!       model.onnx          another
//!       sample-1.png        an image, and the manifest says what the version calls it
//! ```
//!
//! - [`manifest`]: what a version says about itself, read strictly.
//! - [`select`]: which version is meant: a number, an alias or the latest.
//! - [`digest`]: size and SHA-256 of a file.
//! - `version`: a version's folder: which artifacts it holds, and their bytes, read once and checked.
//! - `registry`: all of them: list, load, publish.
//! - `aliases`: promote, roll back, and delete what none names.
//! - `history`: how an alias is changed, so that of two who do so at once one is told.
//! - `trial`: a version that is tried out beside the one that an alias names.
//! - [`signature`]: whose versions are trusted.
//! - `store`: where all these files lie: a folder, or an object store (the feature `cloud`).
//! - `cache`: copies of an object store's files on this machine. These eight are a feature, since who only needs to know what a
//!   manifest says (`model-core`) reads no folder.

#![forbid(unsafe_code)]

#[cfg(feature = "store")]
mod aliases;
#[cfg(feature = "store")]
mod cache;
#[cfg(feature = "store")]
mod content;
pub mod digest;
#[cfg(feature = "store")]
mod draft;
mod error;
#[cfg(feature = "store")]
mod history;
pub mod manifest;
mod name;
#[cfg(feature = "store")]
mod registry;
pub mod select;
#[cfg(feature = "store")]
pub mod signature;
#[cfg(feature = "store")]
pub mod store;
#[cfg(feature = "store")]
mod trial;
#[cfg(feature = "store")]
pub mod version;

#[cfg(feature = "store")]
pub use cache::Cache;
#[cfg(feature = "store")]
pub use content::Content;
pub use digest::FileEntry;
pub use error::RegistryError;
#[cfg(feature = "store")]
pub use history::{Author, Change, Evidence, Kind, Seen};
pub use manifest::{
    Activation, Architecture, Artifact, Calibration, Class, Classes, Data, EngineKind, Fit, Input,
    Interpolation, Layout, Manifest, Metric, Order, Parent, Polarity, Precision, Reject, Sample, Schema,
};
#[cfg(feature = "store")]
pub use registry::Registry;
pub use select::Select;
#[cfg(feature = "store")]
pub use signature::{PublicKeys, SigningKey};
#[cfg(feature = "store")]
pub use trial::{Limits, Trial, TryOut};
#[cfg(feature = "store")]
pub use version::{ModelVersion, write_whole};
