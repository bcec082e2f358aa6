//! What a token says, and whether that may be believed (RFC 7519, RFC 8725).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use client::Scope;
use serde::Deserialize;
use serde_json::Value;

use super::jwks::{Algorithm, Key};
use crate::config::access::Jwt;

/// The longest token that is looked at, in bytes.
const LONGEST: usize = 8 << 10;

/// A token that can be read. Nothing that it says is believed yet.
pub(super) struct Token<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    /// What is signed.
    message: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
}

/// What is believed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) subject: String,
    pub(super) scopes: Vec<Scope>,
    pub(super) models: Option<BTreeSet<String>>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl<'a> Token<'a> {
    /// # Errors
    /// Where it is none, or signed in a way that is not taken. Nothing of it is repeated.
    pub(super) fn read(text: &'a str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("it is longer than the {LONGEST} bytes that are looked at"));
        }
        let shape = || "it is no JWT of three parts".to_owned();
        let (message, signature) = text.rsplit_once('.').ok_or_else(shape)?;
        let (header, claims) = message.split_once('.').ok_or_else(shape)?;
        if claims.contains('.') {
            return Err(shape());
        }
        let header: Header = json(header).ok_or("its header is not understood")?;
        let algorithm = Algorithm::named(&header.alg)
            .ok_or("it is not signed by RS256, ES256 or EdDSA, and nothing else is taken")?;
        if header.crit.is_some() {
            return Err("its header wants something understood that is not (crit)".to_owned());
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| shape())?;
        Ok(Self { algorithm, kid: header.kid, message, claims, signature })
    }

    /// What it says, if the key signed that and it is meant for here and now; `now` in seconds of Unix time.
    ///
    /// # Errors
    /// Why it is not believed.
    pub(super) fn verify(&self, key: &Key, config: &Jwt, issuer: &str, now: i64) -> Result<Claims, String> {
        // Before anything that it says is looked at.
        if !key.signed(self.message.as_bytes(), &self.signature) {
            return Err("its signature is not the issuer's".to_owned());
        }
        let claims: Value = json(self.claims).ok_or("its claims are not understood")?;
        if claims.get("iss").and_then(Value::as_str) != Some(issuer) {
            return Err("another issuer gave it out (iss)".to_owned());
        }
        let audience = config.audience.as_deref().unwrap_or_default();
        let meant = match claims.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
            _ => false,
        };
        if !meant {
            return Err("it is for another service (aud)".to_owned());
        }
        let leeway = config.leeway.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "seconds, for millions of years")]
        let now = now as f64;
        match claims.get("exp").and_then(Value::as_f64) {
            Some(ends) if now < ends + leeway => {}
            Some(_) => return Err("it has expired (exp)".to_owned()),
            None => return Err("it does not say when it ends (exp)".to_owned()),
        }
        match claims.get("nbf") {
            None => {}
            Some(begins) if begins.as_f64().is_some_and(|begins| begins <= now + leeway) => {}
            Some(_) => return Err("it does not hold yet (nbf)".to_owned()),
        }
        let subject = claims.get("sub").and_then(Value::as_str).filter(|subject| !subject.is_empty());
        let subject = subject.ok_or("it does not say whose it is (sub)")?.to_owned();
        let scopes = words(claim(&claims, &config.scope_claim)).filter_map(Scope::named).collect();
        let models = config.models_claim.as_deref().map(|name| {
            let models: BTreeSet<_> = words(claim(&claims, name)).map(str::to_owned).collect();
            models
        });
        // One that says nothing of models may ask none; '*' is all.
        let models = models.filter(|models| !models.contains("*"));
        Ok(Claims { subject, scopes, models })
    }
}

fn json<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

fn claim<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    if name.starts_with('/') { claims.pointer(name) } else { claims.get(name) }
}

/// The words of a text, or the texts of a list.
fn words(claim: Option<&Value>) -> impl Iterator<Item = &str> {
    let (text, list) = match claim {
        Some(Value::String(text)) => (text.as_str(), &[][..]),
        Some(Value::Array(list)) => ("", &list[..]),
        _ => ("", &[][..]),
    };
    text.split_whitespace().chain(list.iter().filter_map(Value::as_str))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_words_or_lists_at_any_depth() {
        let claims =
            json!({"scope": "predict  read other", "realm_access": {"roles": ["promote", 7]}, "n": 7});
        let found = |name| words(claim(&claims, name)).collect::<Vec<_>>();
        assert_eq!(found("scope"), ["predict", "read", "other"]);
        assert_eq!(found("/realm_access/roles"), ["promote"]);
        assert!(found("n").is_empty() && found("none").is_empty() && found("/no/where").is_empty());
    }

    #[test]
    fn what_is_no_token_of_a_kind_that_is_taken_is_refused_before_anything_else() {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let of = |header: Value| format!("{}.{}.{}", part(header), part(json!({})), "AA");
        assert!(Token::read(&of(json!({"alg": "RS256", "kid": "a", "typ": "at+jwt"}))).is_ok());
        for header in [
            json!({"alg": "none"}),
            json!({"alg": "None"}),
            json!({"alg": "HS256"}),
            json!({"alg": "rs256"}),
            json!({"alg": "RS512"}),
            json!({"alg": ""}),
            json!({"alg": null}),
            json!({}),
            json!({"alg": "RS256", "crit": ["exp"]}),
            json!([]),
        ] {
            assert!(Token::read(&of(header.clone())).is_err(), "{header}");
        }
        let good = of(json!({"alg": "RS256"}));
        let long = format!("{}.{}.AA", part(json!({"alg": "RS256"})), "A".repeat(LONGEST));
        let four = format!("{good}.AA");
        for text in ["", ".", "..", "a.b", "a.b.c", &good[1..], &four, &format!("{good}="), &long] {
            assert!(Token::read(text).is_err(), "{text}");
        }
    }
}
