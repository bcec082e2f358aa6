//! Who may come in, and by which way: what there is to set, and what must hold of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::Uri;
use client::Scope;
use serde::{Deserialize, Serialize};

use super::Config;
use super::check::{Invalid, fail};

/// Whether whoever asks has to say who they are, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Whether they have to.
    pub required: bool,
    /// By a key, of those on the topic `topics.keys`.
    pub keys: bool,
    /// `/metrics` is for everybody all the same.
    pub open_metrics: bool,
    /// By a token of an OpenID Connect issuer.
    pub jwt: Jwt,
    /// By a certificate.
    pub client_certificates: ClientCertificates,
}

/// Tokens (JWT, RFC 7519) of an OpenID Connect issuer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Jwt {
    /// The issuer, as tokens name it (`iss`); none takes no tokens.
    pub issuer: Option<String>,
    /// For whom a token has to be (`aud`).
    pub audience: Option<String>,
    /// Where its keys are; where its discovery document says so where there is none.
    pub jwks_url: Option<String>,
    /// A file of certificates to trust for those two; the system's where there is none.
    pub ca: Option<PathBuf>,
    /// The claim with the scopes: words with spaces between them, or a list. One that begins with `/` is a JSON pointer.
    pub scope_claim: String,
    /// The claim with the models, a list of names, `*` for all; all may be asked where there is none.
    pub models_claim: Option<String>,
    /// How far clocks may differ.
    #[serde(with = "humantime_serde")]
    pub leeway: Duration,
    /// How often the issuer's keys are fetched anew.
    #[serde(with = "humantime_serde")]
    pub refresh: Duration,
}

/// Callers by their certificates, where [`Tls::require_client_certificate`] is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientCertificates {
    /// What one allows who shows nothing else; nothing where there is none.
    pub scopes: Vec<Scope>,
}

/// TLS on both listeners. The files are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The server's certificate and those between it and the root, PEM; none speaks no TLS.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// The certificates that clients' are signed with, PEM; none asks for none.
    pub client_ca: Option<PathBuf>,
    /// Whether who shows no certificate is sent away.
    pub require_client_certificate: bool,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            required: false,
            keys: true,
            open_metrics: true,
            jwt: Jwt::default(),
            client_certificates: ClientCertificates::default(),
        }
    }
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: None,
            jwks_url: None,
            ca: None,
            scope_claim: "scope".to_owned(),
            models_claim: None,
            leeway: Duration::from_secs(30),
            refresh: Duration::from_secs(600),
        }
    }
}

impl Tls {
    /// Whether TLS is spoken.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.certificate.is_some()
    }
}

impl Config {
    pub(super) fn check_access(&self) -> Result<(), Invalid> {
        self.check_listen("http.listen", Some(self.http.listen))?;
        self.check_listen("grpc.listen", self.grpc.listen.address())?;
        self.check_tls()?;
        self.check_jwt()?;
        let (auth, certificates) = (&self.auth, &self.auth.client_certificates);
        if certificates.scopes.contains(&Scope::Unknown) {
            return fail("auth.client_certificates.scopes may hold predict, read, promote and review");
        }
        if !certificates.scopes.is_empty() && !self.tls.require_client_certificate {
            return fail("auth.client_certificates.scopes needs tls.require_client_certificate: true");
        }
        for (key, value) in
            [("rate_per_key", self.limits.rate_per_key), ("burst_per_key", self.limits.burst_per_key)]
        {
            if value == Some(0) {
                return fail(format!("limits.{key} is 0: nobody could ask; null is no limit"));
            }
        }
        if !auth.required {
            return Ok(());
        }
        if !auth.keys && auth.jwt.issuer.is_none() && certificates.scopes.is_empty() {
            return fail(
                "auth.required is true and nobody could come in: turn auth.keys on, or set auth.jwt.issuer or auth.client_certificates.scopes",
            );
        }
        if auth.keys && self.kafka.bootstrap_servers.is_none() {
            return fail(crate::auth::keys::NO_EMBEDDED);
        }
        Ok(())
    }

    fn check_listen(&self, key: &str, address: Option<SocketAddr>) -> Result<(), Invalid> {
        let asked = self.auth.required || self.http.allow_unauthenticated;
        match address {
            Some(address) if !address.ip().is_loopback() && !asked => fail(format!(
                "{key} is {address}, which others can reach, and nobody is asked who they are: say auth.required: true (docs/security.md), listen on 127.0.0.1, or say http.allow_unauthenticated: true if everybody who reaches that address may ask"
            )),
            _ => Ok(()),
        }
    }

    fn check_tls(&self) -> Result<(), Invalid> {
        let Tls { certificate, key, client_ca, require_client_certificate } = &self.tls;
        if certificate.is_some() != key.is_some() {
            return fail("tls.certificate and tls.key go together: name both files, or none");
        }
        if client_ca.is_some() && certificate.is_none() {
            return fail("tls.client_ca needs tls.certificate and tls.key");
        }
        if *require_client_certificate && client_ca.is_none() {
            return fail(
                "tls.require_client_certificate needs tls.client_ca, which clients' certificates are signed with",
            );
        }
        Ok(())
    }

    fn check_jwt(&self) -> Result<(), Invalid> {
        let jwt = &self.auth.jwt;
        let Some(issuer) = &jwt.issuer else {
            return match (&jwt.audience, &jwt.jwks_url) {
                (None, None) => Ok(()),
                _ => fail("auth.jwt.audience and auth.jwt.jwks_url need auth.jwt.issuer"),
            };
        };
        if jwt.audience.as_deref().is_none_or(str::is_empty) {
            return fail(
                "auth.jwt.audience must be set: without it a token that the issuer gave for another service would do",
            );
        }
        if jwt.scope_claim.is_empty() {
            return fail("auth.jwt.scope_claim is empty: name the claim that holds the scopes");
        }
        for (key, url) in [("issuer", Some(issuer)), ("jwks_url", jwt.jwks_url.as_ref())] {
            if url.is_some_and(|url| !may_be_fetched(url)) {
                return fail(format!(
                    "auth.jwt.{key} must be an https:// address, since whoever can change what comes from there decides who comes in; http:// is taken of 127.0.0.1 and localhost alone"
                ));
            }
        }
        let day = Duration::from_secs(24 * 3600);
        if jwt.leeway > Duration::from_secs(600) || jwt.refresh < Duration::from_secs(1) || jwt.refresh > day
        {
            return fail("auth.jwt.leeway must be 10min at most, and auth.jwt.refresh between 1s and a day");
        }
        Ok(())
    }

    /// What whoever runs the gateway should know of how it is set up; none where all is well.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        let reachable = |address: SocketAddr| !address.ip().is_loopback();
        let open = reachable(self.http.listen) || self.grpc.listen.address().is_some_and(reachable);
        (self.auth.required && open && !self.tls.is_on()).then_some(
            "keys and tokens travel in the clear to an address that others can reach: set tls.certificate and tls.key, unless a proxy before this gateway speaks TLS",
        )
    }
}

/// Whether something that is believed may be fetched from there.
pub(crate) fn may_be_fetched(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let local = matches!(uri.host(), Some("127.0.0.1" | "localhost" | "[::1]"));
    match uri.scheme_str() {
        Some("https") => uri.host().is_some_and(|host| !host.is_empty()),
        Some("http") => local,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn check(text: &str) -> Result<(), String> {
        let config: Config = cli::parse(text, Path::new("gateway.yaml")).map_err(|e| e.to_string())?;
        config.check().map_err(|e| e.to_string())
    }

    const KAFKA: &str = "kafka: {bootstrap_servers: 'kafka:9092'}";

    #[test]
    fn what_others_can_reach_is_listened_on_only_where_somebody_is_asked_or_that_is_said() {
        for section in ["http", "grpc"] {
            for address in ["0.0.0.0:80", "'[::]:80'", "10.0.0.1:80"] {
                let error = check(&format!("{section}: {{listen: {address}}}")).unwrap_err();
                assert!(error.starts_with(&format!("{section}.listen is ")), "{error}");
                assert!(error.contains("http.allow_unauthenticated: true"), "{error}");
                let asked =
                    format!("{{{KAFKA}, {section}: {{listen: {address}}}, auth: {{required: true}}}}");
                assert_eq!(check(&asked), Ok(()));
            }
            let open = if section == "http" {
                "http: {listen: 0.0.0.0:80, allow_unauthenticated: true}".to_owned()
            } else {
                "{http: {allow_unauthenticated: true}, grpc: {listen: 0.0.0.0:80}}".to_owned()
            };
            assert_eq!(check(&open), Ok(()));
            assert_eq!(check(&format!("{section}: {{listen: '[::1]:80'}}")), Ok(()));
        }
        assert_eq!(check("grpc: {listen: off}"), Ok(()));
    }

    #[test]
    fn keys_that_travel_in_the_clear_are_warned_of() {
        let warned = |text: &str| {
            let config: Config = serde_yaml::from_str(text).unwrap();
            config.warning().is_some()
        };
        assert!(warned("{http: {listen: 0.0.0.0:80}, auth: {required: true}}"));
        assert!(warned("{grpc: {listen: 0.0.0.0:80}, auth: {required: true}}"));
        assert!(!warned(
            "{http: {listen: 0.0.0.0:80}, auth: {required: true}, tls: {certificate: a, key: b}}"
        ));
        assert!(!warned("{http: {listen: 127.0.0.1:80}, auth: {required: true}}"));
        assert!(!warned("{http: {listen: 0.0.0.0:80, allow_unauthenticated: true}}"));
    }

    #[test]
    fn what_lets_nobody_or_anybody_in_is_named() {
        let jwt =
            |more: &str| format!("auth: {{jwt: {{issuer: 'https://login.example', audience: mlaas{more}}}}}");
        assert_eq!(check(&jwt("")), Ok(()));
        for (text, said) in [
            ("auth: {required: true}".to_owned(), "keys need a real Kafka"),
            (format!("{{{KAFKA}, auth: {{required: true, keys: false}}}}"), "nobody could come in"),
            ("auth: {jwt: {issuer: 'https://login.example'}}".to_owned(), "auth.jwt.audience must be set"),
            ("auth: {jwt: {audience: mlaas}}".to_owned(), "need auth.jwt.issuer"),
            (
                "auth: {jwt: {issuer: 'http://login.example', audience: a}}".to_owned(),
                "auth.jwt.issuer must be",
            ),
            (jwt(", jwks_url: 'http://10.0.0.1/keys'"), "auth.jwt.jwks_url must be"),
            (jwt(", jwks_url: 'file:///etc/keys'"), "auth.jwt.jwks_url must be"),
            (jwt(", jwks_url: 'http://localhost.evil.example/'"), "auth.jwt.jwks_url must be"),
            (jwt(", leeway: 1h"), "auth.jwt.leeway"),
            (jwt(", refresh: 0s"), "auth.jwt.refresh"),
            ("tls: {certificate: a}".to_owned(), "go together"),
            ("tls: {client_ca: a}".to_owned(), "tls.client_ca needs"),
            (
                "tls: {certificate: a, key: b, require_client_certificate: true}".to_owned(),
                "needs tls.client_ca",
            ),
            ("auth: {client_certificates: {scopes: [predict]}}".to_owned(), "needs tls.require"),
            ("auth: {client_certificates: {scopes: [all]}}".to_owned(), "may hold predict"),
            ("limits: {rate_per_key: 0}".to_owned(), "limits.rate_per_key is 0"),
        ] {
            let error = check(&text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert_eq!(check(&jwt(", jwks_url: 'http://127.0.0.1:9000/keys'")), Ok(()));
    }
}
