//! What a caller shows: at most one thing, in one of two headers.

use axum::http::{HeaderMap, header};

use super::keys::PREFIX;
use crate::problem::Problem;

/// The header for a key alone, beside `Authorization`.
const API_KEY: &str = "x-api-key";

/// What was shown. It is no field of anything that is logged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Credential<'a> {
    /// A key.
    Key(&'a str),
    /// What may be a token.
    Token(&'a str),
}

/// What the head of a request shows; none where it shows nothing.
///
/// # Errors
/// [`Problem`] 401 where it shows more than one thing, or something that is neither.
pub(super) fn read(headers: &HeaderMap) -> Result<Option<Credential<'_>>, Problem> {
    let bearer = match one(headers, header::AUTHORIZATION)? {
        None => None,
        Some(value) => match value.split_once(' ') {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => Some(rest.trim_matches(' ')),
            _ => {
                return Err(Problem::not_believed(
                    "Authorization is not of the scheme Bearer: send `Authorization: Bearer` and a key or token",
                ));
            }
        },
    };
    let shown = match (bearer, one(headers, API_KEY)?) {
        (Some(bearer), Some(key)) if bearer != key => {
            return Err(Problem::not_believed(
                "Authorization and X-API-Key say two things: send one of them",
            ));
        }
        (bearer, key) => bearer.or(key),
    };
    Ok(shown.map(|shown| match shown.starts_with(PREFIX) {
        true => Credential::Key(shown),
        false => Credential::Token(shown),
    }))
}

/// Takes what was shown out of the head.
pub(super) fn forget(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    headers.remove(API_KEY);
}

/// The one value of a header, printable ASCII.
fn one(headers: &HeaderMap, name: impl header::AsHeaderName) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .ok()
            .filter(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
            .map(Some)
            .ok_or_else(|| Problem::not_believed("what is shown holds characters that no key or token has")),
        (Some(_), Some(_)) => Err(Problem::not_believed("more than one key or token is shown: send one")),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn read_from(pairs: &[(&'static str, &[u8])]) -> Result<Option<String>, u16> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        let shown = read(&headers).map_err(|problem| problem.status().as_u16())?;
        Ok(shown.map(|shown| match shown {
            Credential::Key(key) => format!("key {key}"),
            Credential::Token(token) => format!("token {token}"),
        }))
    }

    #[test]
    fn a_key_or_a_token_in_one_of_two_headers() {
        for (pairs, shown) in [
            (&[][..], None),
            (&[("authorization", &b"Bearer mlaas_a"[..])], Some("key mlaas_a")),
            (&[("authorization", b"bEARER  mlaas_a ")], Some("key mlaas_a")),
            (&[("x-api-key", b"mlaas_a")], Some("key mlaas_a")),
            (&[("authorization", b"Bearer a.b.c")], Some("token a.b.c")),
            (&[("x-api-key", b"mlaas_a"), ("authorization", b"Bearer mlaas_a")], Some("key mlaas_a")),
        ] {
            assert_eq!(read_from(pairs), Ok(shown.map(str::to_owned)));
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_not_believed() {
        for pairs in [
            &[("authorization", &b"Bearer mlaas_a"[..]), ("authorization", b"Bearer mlaas_a")][..],
            &[("x-api-key", b"mlaas_a"), ("x-api-key", b"mlaas_b")],
            &[("x-api-key", b"mlaas_a"), ("authorization", b"Bearer mlaas_b")],
            &[("authorization", b"Basic bWxhYXNfYTo=")],
            &[("authorization", b"mlaas_a")],
            &[("authorization", b"Bearer")],
            &[("authorization", b"Bearer mlaas_a\tb")],
            &[("x-api-key", "mlaas_ä".as_bytes())],
        ] {
            assert_eq!(read_from(pairs), Err(401), "{pairs:?}");
        }
    }
}
