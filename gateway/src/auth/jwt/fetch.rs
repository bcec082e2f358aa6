//! A document from an issuer: one GET, held to a time and a size, that follows nobody elsewhere.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::tls;

/// How long all of it may take.
const TIME: Duration = Duration::from_secs(10);
/// The largest document, in bytes.
const LARGEST: usize = 1 << 20;

/// Fetches.
pub(super) struct Fetcher {
    /// None where nothing is fetched by https.
    tls: Option<TlsConnector>,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fetcher")
    }
}

impl Fetcher {
    /// `secure` says whether anything is fetched by https.
    ///
    /// # Errors
    /// A sentence, where the certificates to trust can't be read.
    pub(super) fn new(ca: Option<&Path>, secure: bool) -> Result<Self, String> {
        if !secure {
            return Ok(Self { tls: None });
        }
        let mut roots = RootCertStore::empty();
        match ca {
            Some(path) => {
                for certificate in tls::certificates(path).map_err(|error| format!("auth.jwt.ca: {error}"))? {
                    roots
                        .add(certificate)
                        .map_err(|error| format!("auth.jwt.ca {}: {error}", path.display()))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            return Err("this system has no certificates to trust: name a file in auth.jwt.ca".to_owned());
        }
        let config = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Some(TlsConnector::from(Arc::new(config))) })
    }

    /// # Errors
    /// A sentence that names the address.
    pub(super) async fn get(&self, url: &str) -> Result<Vec<u8>, String> {
        let fetched = tokio::time::timeout(TIME, self.fetch(url)).await;
        let fetched = fetched.unwrap_or_else(|_| Err(format!("no answer within {} s", TIME.as_secs())));
        fetched.map_err(|error| format!("{}: {error}", wire::quoted(url).escape_debug()))
    }

    async fn fetch(&self, url: &str) -> Result<Vec<u8>, String> {
        let uri: Uri = url.parse().map_err(|_| "this is no address".to_owned())?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((&*host, port)).await.map_err(|error| error.to_string())?;
        if !secure {
            return ask(stream, &uri).await;
        }
        let tls = self.tls.as_ref().ok_or("no certificates are trusted")?;
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        ask(tls.connect(name, stream).await.map_err(|error| error.to_string())?, &uri).await
    }
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    uri: &Uri,
) -> Result<Vec<u8>, String> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let asked = async {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let request = Request::get(path)
            .header(header::HOST, host)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("mlaas-gateway/", env!("CARGO_PKG_VERSION")))
            .body(Body::empty())
            .map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        // Not followed elsewhere either: who may say where the keys are is the configuration.
        if answer.status() != 200 {
            return Err(format!("the answer is {}", answer.status()));
        }
        let bytes = axum::body::to_bytes(Body::new(answer.into_body()), LARGEST).await;
        bytes
            .map(Into::into)
            .map_err(|error| format!("the answer is broken or over {LARGEST} bytes: {error}"))
    };
    let answer = asked.await;
    connection.abort();
    answer
}
