//! An issuer's keys (JWK Set, RFC 7517): public ones of three kinds. What else there is counts as not there.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;

/// How a token may be signed: asymmetric alone, so that nobody who can check a token can make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// A key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    kid: Option<String>,
    public: Public,
}

#[derive(Debug, PartialEq, Eq)]
enum Public {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// A point, uncompressed.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// Those of an issuer.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<Arc<Key>>);

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// # Errors
    /// Where it is none, or holds no key that could be used.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let set: Set = serde_json::from_slice(bytes).map_err(|error| format!("no set of keys: {error}"))?;
        // One of a new kind takes nothing from the others.
        let keys: Vec<_> = set
            .keys
            .into_iter()
            .filter_map(|key| Key::of(serde_json::from_value(key).ok()?))
            .map(Arc::new)
            .collect();
        if keys.is_empty() {
            return Err("there is no key for RS256, ES256 or EdDSA among them".to_owned());
        }
        Ok(Self(keys))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The key of that name, of a kind that goes with the algorithm. Without a name it is the only one of that kind.
    pub(super) fn find(&self, algorithm: Algorithm, kid: Option<&str>) -> Option<Arc<Key>> {
        let mut fitting = self.0.iter().filter(|key| key.public.is_for(algorithm));
        match kid {
            Some(kid) => fitting.find(|key| key.kid.as_deref() == Some(kid)).cloned(),
            None => {
                let only = fitting.next();
                only.filter(|_| fitting.next().is_none()).cloned()
            }
        }
    }
}

impl Key {
    fn of(jwk: Jwk) -> Option<Self> {
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let public = match (&*jwk.kty, jwk.crv.as_deref()) {
            ("RSA", _) => Public::Rsa { n: bytes(&jwk.n)?, e: bytes(&jwk.e)? },
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
                if x.len() != 32 || y.len() != 32 {
                    return None;
                }
                Public::P256([&[4], &x[..], &y[..]].concat())
            }
            ("OKP", Some("Ed25519")) => Public::Ed25519(bytes(&jwk.x)?),
            _ => return None,
        };
        let named = jwk.alg.as_deref();
        let fits = named.is_none_or(|alg| Algorithm::named(alg).is_some_and(|alg| public.is_for(alg)));
        fits.then_some(Self { kid: jwk.kid, public })
    }

    /// Whether that is its signature.
    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.public {
            Public::Rsa { n, e } => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
            Public::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            Public::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok(),
        }
    }
}

impl Public {
    fn is_for(&self, algorithm: Algorithm) -> bool {
        matches!(
            (self, algorithm),
            (Self::Rsa { .. }, Algorithm::Rs256)
                | (Self::P256(_), Algorithm::Es256)
                | (Self::Ed25519(_), Algorithm::EdDsa)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 8037, appendix A.
    const ED25519: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn set(keys: &str) -> Result<KeySet, String> {
        KeySet::read(format!("{{\"keys\": [{keys}]}}").as_bytes())
    }

    fn okp(kid: &str, more: &str) -> String {
        format!(r#"{{"kty": "OKP", "crv": "Ed25519", "x": "{ED25519}", "kid": "{kid}"{more}}}"#)
    }

    #[test]
    fn a_key_is_found_by_its_name_and_only_for_its_own_algorithm() {
        let keys = set(&[okp("a", ""), okp("b", r#", "use": "sig", "alg": "EdDSA""#)].join(",")).unwrap();
        assert_eq!(keys.len(), 2);
        assert!(keys.find(Algorithm::EdDsa, Some("a")).is_some());
        assert!(keys.find(Algorithm::EdDsa, Some("c")).is_none());
        assert!(keys.find(Algorithm::EdDsa, None).is_none(), "which of two?");
        assert!(keys.find(Algorithm::Rs256, Some("a")).is_none());
        assert!(keys.find(Algorithm::Es256, Some("a")).is_none());
        assert!(set(&okp("a", "")).unwrap().find(Algorithm::EdDsa, None).is_some());
    }

    #[test]
    fn what_is_no_public_key_of_ours_is_not_there() {
        for other in [
            r#"{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}"#,
            r#"{"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}"#,
            r#"{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}"#,
            r#"{"kty": "RSA", "n": "not base64!", "e": "AQAB"}"#,
            r#"{"kty": 7}"#,
            "7",
            &okp("a", r#", "use": "enc""#),
            &okp("a", r#", "alg": "HS256""#),
            &okp("a", r#", "alg": "RS256""#),
        ] {
            assert!(set(other).is_err(), "{other}");
            assert_eq!(set(&format!("{other},{}", okp("b", ""))).unwrap().len(), 1);
        }
        assert!(KeySet::read(b"<html>").is_err());
        assert!(Algorithm::named("none").is_none() && Algorithm::named("HS256").is_none());
    }
}
