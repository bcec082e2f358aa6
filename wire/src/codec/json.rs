//! JSON.

use serde::{Deserialize, Serialize};

use super::DecodeError;

/// A body as a value.
pub(crate) fn write<T: Serialize>(body: &T) -> Vec<u8> {
    // Our types have string keys only, and nothing else can fail; a test encodes each of them.
    #[allow(clippy::expect_used)]
    serde_json::to_vec(body).expect("plain data encodes")
}

/// Reads a value.
pub(crate) fn read<'de, T: Deserialize<'de>>(value: &'de [u8], what: &'static str) -> Result<T, DecodeError> {
    serde_json::from_slice(value).map_err(|error| DecodeError::malformed("JSON", what, error))
}
