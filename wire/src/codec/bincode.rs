//! bincode 2, standard configuration, behind one byte with the version of the layout. `docs/protocol.md` has the layout byte
//! by byte; this file is the only one that knows the crate.

use ::bincode::config::{Configuration, Limit, LittleEndian, Varint, standard};
use ::bincode::serde::{borrow_decode_from_slice, encode_into_std_write};
use serde::{Deserialize, Serialize};

use super::{DecodeError, MAX_VALUE_BYTES};

/// The first byte of a value: the version of its layout.
pub(crate) const LAYOUT: u8 = 1;

const LIMITED: Configuration<LittleEndian, Varint, Limit<MAX_VALUE_BYTES>> =
    standard().with_limit::<MAX_VALUE_BYTES>();

/// A body as a value; `room` is about how many bytes it will take.
pub(crate) fn write<T: Serialize>(body: &T, room: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(room);
    value.push(LAYOUT);
    // Writing plain data to a vector fails for no value of our types; a test encodes each of them.
    #[allow(clippy::expect_used)]
    encode_into_std_write(body, &mut value, standard()).expect("plain data encodes");
    value
}

/// Reads a value that holds this body and nothing else.
pub(crate) fn read<'de, T: Deserialize<'de>>(value: &'de [u8], what: &'static str) -> Result<T, DecodeError> {
    let (body, left) = read_front(value, what)?;
    if left > 0 {
        let reason = format!("{left} bytes are left over at its end");
        return Err(DecodeError::malformed("bincode", what, reason));
    }
    Ok(body)
}

/// Reads a value that begins with this body, and says how many bytes stand behind it.
///
/// Texts and byte strings are borrowed from the value ([`super::fields`]), so a length that lies is found out before anything
/// is allocated for it.
pub(crate) fn read_front<'de, T: Deserialize<'de>>(
    value: &'de [u8],
    what: &'static str,
) -> Result<(T, usize), DecodeError> {
    let (version, body) = value.split_first().ok_or(DecodeError::Empty("value"))?;
    if *version != LAYOUT {
        return Err(DecodeError::Version(*version));
    }
    let (decoded, read) = borrow_decode_from_slice(body, LIMITED)
        .map_err(|error| DecodeError::malformed("bincode", what, error))?;
    Ok((decoded, body.len() - read))
}
