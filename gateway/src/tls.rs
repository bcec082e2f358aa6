//! TLS on the listeners: certificate and key from files that are read again when they change, and clients' certificates where
//! they are asked for.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;

use crate::auth::Subject;
use crate::config::Tls;

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(2);
/// What is spoken over a listener for HTTP, and over one for gRPC.
const HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];
const GRPC: &[&[u8]] = &[b"h2"];

/// The files' bytes.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// What both listeners speak now.
struct Spoken {
    http: Arc<ServerConfig>,
    grpc: Arc<ServerConfig>,
}

/// TLS, as the files are now, or were when they were last in order.
pub struct Identity {
    config: Tls,
    spoken: RwLock<Spoken>,
    seen: RwLock<Files>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The one set of algorithms.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates in a file, PEM; one at least.
///
/// # Errors
/// A sentence that names the file.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    parse(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

fn parse(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("not PEM: {error}"))?;
    if found.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(found) }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

impl Files {
    fn read(config: &Tls) -> Result<Self, String> {
        let file = |key: &str, path: &Option<PathBuf>| match path {
            Some(path) => read(path).map_err(|error| format!("tls.{key} {error}")),
            None => Err(format!("tls.{key} is not set")),
        };
        Ok(Self {
            certificate: file("certificate", &config.certificate)?,
            key: file("key", &config.key)?,
            client_ca: config.client_ca.as_ref().map(|_| file("client_ca", &config.client_ca)).transpose()?,
        })
    }

    fn speak(&self, config: &Tls) -> Result<Spoken, String> {
        let chain = parse(&self.certificate).map_err(|error| format!("tls.certificate: {error}"))?;
        // What the error says of the key's bytes is nobody's business.
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            "tls.key: there is no private key in it (PEM: PKCS #8, PKCS #1 or SEC 1)".to_owned()
        })?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for root in parse(pem).map_err(|error| format!("tls.client_ca: {error}"))? {
                    roots.add(root).map_err(|error| format!("tls.client_ca: {error}"))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                let verifier = match config.require_client_certificate {
                    true => verifier,
                    false => verifier.allow_unauthenticated(),
                };
                let verifier = verifier.build().map_err(|error| format!("tls.client_ca: {error}"))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let spoken = builder
            .with_single_cert(chain, key)
            .map_err(|error| format!("tls.certificate and tls.key do not go together: {error}"))?;
        let with = |protocols: &[&[u8]]| {
            let mut spoken = spoken.clone();
            spoken.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            Arc::new(spoken)
        };
        Ok(Spoken { http: with(HTTP), grpc: with(GRPC) })
    }
}

impl Identity {
    /// As the files are; none where no TLS is spoken.
    ///
    /// # Errors
    /// A sentence that names the key, where they can't be used.
    pub fn load(config: &Tls) -> Result<Option<Self>, String> {
        if !config.is_on() {
            return Ok(None);
        }
        let seen = Files::read(config)?;
        let spoken = seen.speak(config)?;
        Ok(Some(Self { config: config.clone(), spoken: RwLock::new(spoken), seen: RwLock::new(seen) }))
    }

    /// What a listener of that name speaks, `http` or `grpc`.
    #[must_use]
    pub fn of(&self, server: &str) -> Arc<ServerConfig> {
        let spoken = self.spoken.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(if server == "grpc" { &spoken.grpc } else { &spoken.http })
    }

    /// Looks at the files again and again until the token is cancelled. What can't be used is said, and what was before stays.
    pub async fn follow(self: Arc<Self>, end: CancellationToken) {
        let mut said = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = end.cancelled() => return,
            }
            let it = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || it.look()).await;
            match looked.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(false) => {}
                Ok(true) => {
                    tracing::info!("the certificate was read anew");
                    said = None;
                }
                // Once for each fault: files that are replaced one by one do not go together for a moment.
                Err(error) if said.as_ref() != Some(&error) => {
                    tracing::warn!("the certificate that was read before stays: {error}");
                    said = Some(error);
                }
                Err(_) => {}
            }
        }
    }

    /// Whether there was something new, and it is spoken now.
    fn look(&self) -> Result<bool, String> {
        let files = Files::read(&self.config)?;
        if *self.seen.read().unwrap_or_else(PoisonError::into_inner) == files {
            return Ok(false);
        }
        let spoken = files.speak(&self.config)?;
        *self.spoken.write().unwrap_or_else(PoisonError::into_inner) = spoken;
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = files;
        Ok(true)
    }
}

/// The name of whoever showed a certificate that was checked: its first DNS name, else its subject's common name, else its
/// serial number, as hexadecimal digits.
#[must_use]
pub fn subject(certificates: Option<&[CertificateDer<'_>]>) -> Option<Subject> {
    let certificate = webpki::EndEntityCert::try_from(certificates?.first()?).ok()?;
    let name = certificate.valid_dns_names().next().map(str::to_owned);
    let name = name.or_else(|| common_name(certificate.subject()));
    let serial = || certificate.serial().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Subject(name.unwrap_or_else(serial).into()))
}

/// The common name (2.5.4.3) in a subject's DER: relative names, each a set of pairs of a kind and a text.
fn common_name(mut names: &[u8]) -> Option<String> {
    const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    // A sequence may stand around them.
    if let Some((0x30, inside, [])) = value(names) {
        names = inside;
    }
    while let Some((0x31, mut set, rest)) = value(names) {
        while let Some((0x30, pair, others)) = value(set) {
            if let Some((0x06, COMMON_NAME, text)) = value(pair)
                && let Some((_, text, [])) = value(text)
            {
                return std::str::from_utf8(text).ok().filter(|text| !text.is_empty()).map(str::to_owned);
            }
            set = others;
        }
        names = rest;
    }
    None
}

/// The first value of some DER: its tag, what is in it, and what stands behind it.
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = der.split_first_chunk()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => {
            rest.split_first_chunk().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?
        }
        _ => return None,
    };
    let (inside, behind) = rest.split_at_checked(length)?;
    Some((tag, inside, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_name_is_found_and_nothing_is_read_past_an_end() {
        // C=DE, CN=camera 7
        let names = [
            &[0x31, 0x0b, 0x30, 0x09, 0x06, 0x03, 0x55, 0x04, 0x06, 0x13, 0x02][..],
            b"DE",
            &[0x31, 0x11, 0x30, 0x0f, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x08],
            b"camera 7",
        ]
        .concat();
        assert_eq!(common_name(&names).as_deref(), Some("camera 7"));
        let around = [&[0x30, u8::try_from(names.len()).unwrap()], &names[..]].concat();
        assert_eq!(common_name(&around).as_deref(), Some("camera 7"));
        for cut in 0..names.len() {
            assert_eq!(common_name(&names[..cut]), None, "{cut}");
        }
        assert_eq!(value(&[0x04, 0x84, 1, 0, 0, 0, 0]), None);
        assert_eq!(value(&[0x04, 0x81, 0x02, 1, 2, 3]), Some((4, &[1, 2][..], &[3][..])));
        assert_eq!(value(&[0x04, 0x82, 0x00, 0x01, 9]), Some((4, &[9][..], &[][..])));
    }
}
