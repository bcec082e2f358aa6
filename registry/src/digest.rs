//! What a manifest says about one file of its version: size and SHA-256.

use serde::{Deserialize, Serialize};

/// What a manifest promises about one file of its version.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Length in bytes: tells a truncated file from a changed one.
    pub size: u64,
    /// SHA-256 (FIPS 180-4) of the content, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

impl FileEntry {
    /// The form in which a digest is shown and announced: `sha256:<64 hexadecimal digits>`.
    #[must_use]
    pub fn digest(&self) -> String {
        format!("sha256:{}", self.sha256)
    }
}

/// Whether `text` is a SHA-256 as it is written here.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
