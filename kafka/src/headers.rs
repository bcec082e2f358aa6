//! Record headers in and out of librdkafka, in order, null values and repeated names included.

use rdkafka::message::{BorrowedHeaders, Header, Headers, OwnedHeaders};

/// Headers for a record to send.
pub fn to_headers<'a>(pairs: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> OwnedHeaders {
    pairs.fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value }))
}

/// The headers of a record that came; none where it has none.
#[must_use]
pub fn from_headers(headers: Option<&BorrowedHeaders>) -> Vec<(String, Option<Vec<u8>>)> {
    headers
        .into_iter()
        .flat_map(|headers| headers.iter())
        .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_repeated_names_and_null_values_are_kept() {
        let pairs = [("a", Some(&b"1"[..])), ("b", None), ("a", Some(&b"\xff"[..])), ("c", Some(&b""[..]))];
        let headers = to_headers(pairs.into_iter());
        let back = from_headers(Some(headers.as_borrowed()));
        let expected: Vec<_> =
            pairs.into_iter().map(|(k, v)| (k.to_owned(), v.map(<[u8]>::to_vec))).collect();
        assert_eq!(back, expected);
        assert!(from_headers(None).is_empty());
    }
}
