//! The two body encodings, with every size capped before anything is allocated.

use serde::{Deserialize, Serialize};

/// No value larger than this is decoded, whatever a caller's own limit says: 64 MiB.
pub const MAX_VALUE_BYTES: usize = 64 << 20;

/// The first byte of a bincode value: the version of its layout.
pub(crate) const BINCODE_VERSION: u8 = 1;

const CONFIG: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<MAX_VALUE_BYTES>,
> = bincode::config::standard().with_limit::<MAX_VALUE_BYTES>();

/// Why a record's headers or value can't be read. The text tells the sender what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The record has no value, or the image in it no bytes.
    #[error("the {0} is empty: send the bytes of an image file")]
    Empty(&'static str),
    /// More bytes than allowed.
    #[error("the value has {bytes} bytes and the limit is {limit}: send a smaller image")]
    TooLarge {
        /// What came.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A media type that nobody here reads.
    #[error(
        "content-type '{0}' is not known: use image/png (or jpeg, webp, gif, bmp), application/json or application/x-bincode"
    )]
    ContentType(String),
    /// The version byte is not ours.
    #[error("bincode layout version {0} is not known: this side reads version {BINCODE_VERSION}")]
    Version(u8),
    /// The value is not what its encoding says.
    #[error("the value is not a {encoding} {what}: {reason}")]
    Malformed {
        /// `bincode` or `JSON`.
        encoding: &'static str,
        /// `request` or `result`.
        what: &'static str,
        /// The decoder's words.
        reason: String,
    },
    /// The id in the value can't be one.
    #[error("the request id in the value is not {0}")]
    Id(&'static str),
    /// A header's value is not what its name asks for.
    #[error("header {name}: {reason}")]
    Header {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

pub(crate) fn to_bincode<T: Serialize>(body: &T) -> Vec<u8> {
    let mut bytes = vec![BINCODE_VERSION];
    // Writing plain data to a vector fails for no value of our types; a test encodes each of them.
    #[allow(clippy::expect_used)]
    bincode::serde::encode_into_std_write(body, &mut bytes, bincode::config::standard())
        .expect("plain data encodes");
    bytes
}

/// Every text and byte string is borrowed from the value before it is copied ([`text`], [`image_bytes`]), so a length that
/// lies is found out before anything is allocated for it.
pub(crate) fn from_bincode<'de, T: Deserialize<'de>>(
    value: &'de [u8],
    what: &'static str,
) -> Result<T, DecodeError> {
    let malformed = |reason: String| DecodeError::Malformed { encoding: "bincode", what, reason };
    let (version, body) = value.split_first().ok_or(DecodeError::Empty("value"))?;
    if *version != BINCODE_VERSION {
        return Err(DecodeError::Version(*version));
    }
    let (decoded, read) =
        bincode::serde::borrow_decode_from_slice(body, CONFIG).map_err(|e| malformed(e.to_string()))?;
    if read != body.len() {
        return Err(malformed(format!("{} bytes are left over at its end", body.len() - read)));
    }
    Ok(decoded)
}

pub(crate) fn to_json<T: Serialize>(body: &T) -> Vec<u8> {
    // As above: our types have string keys only.
    #[allow(clippy::expect_used)]
    serde_json::to_vec(body).expect("plain data encodes")
}

pub(crate) fn from_json<'de, T: Deserialize<'de>>(
    value: &'de [u8],
    what: &'static str,
) -> Result<T, DecodeError> {
    serde_json::from_slice(value).map_err(|e| DecodeError::Malformed {
        encoding: "JSON",
        what,
        reason: e.to_string(),
    })
}

pub(crate) fn check_size(value: &[u8], limit: usize) -> Result<(), DecodeError> {
    let limit = limit.min(MAX_VALUE_BYTES);
    match value.len() {
        0 => Err(DecodeError::Empty("value")),
        bytes if bytes > limit => Err(DecodeError::TooLarge { bytes, limit }),
        _ => Ok(()),
    }
}

/// A `String` that is read as borrowed text first.
pub(crate) mod text {
    use serde::{Deserialize, Deserializer, de::Error};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(Text)
    }

    /// The same for a field that may be absent.
    pub(crate) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
        #[derive(Deserialize)]
        struct Field(#[serde(deserialize_with = "deserialize")] String);
        Ok(Option::<Field>::deserialize(deserializer)?.map(|field| field.0))
    }

    struct Text;

    impl serde::de::Visitor<'_> for Text {
        type Value = String;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("text")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }

        fn visit_string<E: Error>(self, text: String) -> Result<String, E> {
            Ok(text)
        }
    }
}

/// `Vec<u8>` as base64 in JSON and as plain bytes in bincode.
pub(crate) mod image_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&STANDARD.encode(bytes))
        } else {
            serializer.serialize_bytes(bytes)
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Base64)
        } else {
            deserializer.deserialize_bytes(Bytes)
        }
    }

    struct Base64;

    impl serde::de::Visitor<'_> for Base64 {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the bytes of an image file as base64 text")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<u8>, E> {
            STANDARD
                .decode(text)
                .map_err(|e| E::custom(format!("image is not padded base64 on one line: {e}")))
        }
    }

    struct Bytes;

    impl serde::de::Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the bytes of an image file")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }
}
