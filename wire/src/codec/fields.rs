//! How single fields are read: borrowed before they are copied, and with words that say what belongs there.

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

/// The bytes of a file: base64 in JSON; in bincode plain bytes, which stay where they are.
pub(crate) mod image {
    use std::borrow::Cow;

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

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Cow<'de, [u8]>, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Base64)
        } else {
            deserializer.deserialize_bytes(Bytes)
        }
    }

    struct Base64;

    impl<'de> serde::de::Visitor<'de> for Base64 {
        type Value = Cow<'de, [u8]>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the bytes of an image file as base64 text")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            let bytes = STANDARD
                .decode(text)
                .map_err(|e| E::custom(format!("image is not padded base64 on one line: {e}")))?;
            Ok(Cow::Owned(bytes))
        }
    }

    struct Bytes;

    impl<'de> serde::de::Visitor<'de> for Bytes {
        type Value = Cow<'de, [u8]>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the bytes of an image file")
        }

        fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(bytes))
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
            Ok(Cow::Owned(bytes.to_vec()))
        }
    }
}

/// A number that may be written as text: the attributes of a CloudEvent are, by whatever carries them through text headers.
pub(crate) mod number {
    use std::fmt::Display;
    use std::marker::PhantomData;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, de::Error};

    pub(crate) fn optional<'de, D, N>(deserializer: D) -> Result<Option<N>, D::Error>
    where
        D: Deserializer<'de>,
        N: TryFrom<u64> + FromStr<Err: Display>,
    {
        Ok(Option::<Field<N>>::deserialize(deserializer)?.map(|field| field.0))
    }

    struct Field<N>(N);

    impl<'de, N: TryFrom<u64> + FromStr<Err: Display>> Deserialize<'de> for Field<N> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(Number(PhantomData)).map(Self)
        }
    }

    struct Number<N>(PhantomData<N>);

    impl<N: TryFrom<u64> + FromStr<Err: Display>> serde::de::Visitor<'_> for Number<N> {
        type Value = N;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a whole number that is not negative, as a number or as text")
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<N, E> {
            N::try_from(number).map_err(|_| E::custom(format_args!("{number} is too large")))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<N, E> {
            text.parse().map_err(|e| E::custom(format_args!("'{text}' is no whole number: {e}")))
        }
    }
}
