//! TLS on both servers: which protocols, whose certificates, and files that change while it runs.

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wire::Scope;

use crate::support::access::{bearer, put, record};
use crate::support::http::Connection;
use crate::support::{Running, broker, config_with, echo, eventually, limited};

/// Whoever signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
pub(crate) struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn sign(&self, names: &[&str], common: &str) -> Pair {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    fn client(&self, identity: Option<&Pair>, protocols: &[&[u8]]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.0.pem().as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(gateway::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

/// The server's files in a folder.
pub(crate) fn place(folder: &Path, pair: &Pair, authority: &Authority) -> [(&'static str, String); 3] {
    let file = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name).display().to_string()
    };
    [
        ("tls.certificate", file("tls.crt", &pair.certificate)),
        ("tls.key", file("tls.key", &pair.key)),
        ("tls.client_ca", file("ca.crt", &authority.0.pem())),
    ]
}

async fn connect(address: &str, tls: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    limited("TLS", tls.connect(ServerName::try_from("localhost").unwrap(), stream)).await
}

/// The status of one GET over HTTP/1.1 or HTTP/2, as was agreed; none where the connection was of no use.
async fn get(address: &str, tls: &TlsConnector, path: &str, authorization: &str) -> Option<u16> {
    let stream = connect(address, tls).await.ok()?;
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let there = if h2 { format!("https://localhost{path}") } else { path.to_owned() };
    let mut request = Request::get(there).header("host", "localhost").body(Body::empty()).unwrap();
    if !authorization.is_empty() {
        request.headers_mut().insert("authorization", authorization.parse().unwrap());
    }
    let io = TokioIo::new(stream);
    let answer = if h2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.ok()?;
        tokio::spawn(connection);
        limited("an answer", sender.send_request(request)).await
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.ok()?;
        tokio::spawn(connection);
        limited("an answer", sender.send_request(request)).await
    };
    Some(answer.ok()?.status().as_u16())
}

async fn start(broker: &kafka::EmbeddedBroker, keys: &[(&str, &str)]) -> Running {
    Running::start_app(config_with(broker, keys), gateway::App::with_embedded_keys).await
}

async fn until_ready(gateway: &Running, tls: &TlsConnector) {
    eventually("it is ready", async || get(&gateway.ready.http, tls, "/readyz", "").await == Some(200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_servers_speak_tls_and_what_was_agreed_over_it() {
    let (broker, folder, authority) = (broker(1), tempfile::tempdir().unwrap(), Authority::new());
    let _worker = echo(&broker);
    let files = place(folder.path(), &authority.sign(&["localhost"], "gateway"), &authority);
    let gateway = start(&broker, &[("tls.certificate", &files[0].1), ("tls.key", &files[1].1)]).await;
    assert!(gateway.ready.tls);
    let (http, grpc) = (&gateway.ready.http, gateway.ready.grpc.as_ref().unwrap());
    until_ready(&gateway, &authority.client(None, &[b"http/1.1"])).await;
    for (offered, agreed) in
        [(&[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])), (&[b"http/1.1"], Some(b"http/1.1")), (&[], None)]
    {
        let tls = authority.client(None, offered);
        let stream = connect(http, &tls).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
        assert_eq!(get(http, &tls, "/livez", "").await, Some(200), "{offered:?}");
    }
    let stream = connect(grpc, &authority.client(None, &[b"h2", b"http/1.1"])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    drop(stream);
    assert!(connect(grpc, &authority.client(None, &[b"http/1.1"])).await.is_err());
    // Who trusts another authority does not trust this one, and who speaks no TLS is not answered in the clear.
    assert!(connect(http, &Authority::new().client(None, &[])).await.is_err());
    let mut plain = Connection::open(http).await;
    plain.send(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(plain.head().await.is_none());
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opens_a_connection_and_says_nothing_is_not_waited_for() {
    let (broker, folder, authority) = (broker(1), tempfile::tempdir().unwrap(), Authority::new());
    let files = place(folder.path(), &authority.sign(&["localhost"], "gateway"), &authority);
    let keys =
        [("tls.certificate", &*files[0].1), ("tls.key", &*files[1].1), ("http.header_timeout", "300ms")];
    let gateway = start(&broker, &keys).await;
    let mut silent = Connection::open(&gateway.ready.http).await;
    assert!(silent.closed().await);
    // Nor is one waited for at the end that has only just begun.
    let _begun = Connection::open(&gateway.ready.http).await;
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_change_are_read_again_and_a_bad_one_changes_nothing() {
    let (broker, folder) = (broker(1), tempfile::tempdir().unwrap());
    let (before, after) = (Authority::new(), Authority::new());
    let files = place(folder.path(), &before.sign(&["localhost"], "gateway"), &before);
    let gateway = start(&broker, &[("tls.certificate", &files[0].1), ("tls.key", &files[1].1)]).await;
    let http = gateway.ready.http.clone();
    let (old, new) = (before.client(None, &[]), after.client(None, &[]));
    assert!(connect(&http, &old).await.is_ok() && connect(&http, &new).await.is_err());
    // Half of what is new does not go with the other half of what was, and is not taken.
    let next = after.sign(&["localhost"], "gateway");
    std::fs::write(folder.path().join("tls.crt"), &next.certificate).unwrap();
    let looks = tokio::time::Instant::now() + std::time::Duration::from_millis(2500);
    while tokio::time::Instant::now() < looks {
        assert!(connect(&http, &old).await.is_ok(), "what was in order stays");
    }
    std::fs::write(folder.path().join("tls.key"), &next.key).unwrap();
    eventually("the new one is shown", async || connect(&http, &new).await.is_ok()).await;
    assert!(connect(&http, &old).await.is_err());
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_s_certificate_is_asked_for_checked_and_counts_as_who_it_is_where_that_is_said() {
    let (broker, folder) = (broker(1), tempfile::tempdir().unwrap());
    let (authority, stranger) = (Authority::new(), Authority::new());
    put(&broker, &record("k1", "mlaas_predicts", &[Scope::Predict]));
    let files = place(folder.path(), &authority.sign(&["localhost"], "gateway"), &authority);
    let tls: Vec<_> = files.iter().map(|(key, value)| (*key, &**value)).collect();
    let (own, foreign) = (authority.sign(&[], "camera 7"), stranger.sign(&[], "camera 7"));
    let with = |pair: Option<&Pair>| authority.client(pair, &[b"http/1.1"]);

    // Optional: who shows none comes in by a key; who shows a stranger's does not.
    let gateway = start(&broker, &[&tls[..], &[("auth.required", "true")]].concat()).await;
    until_ready(&gateway, &with(None)).await;
    let http = gateway.ready.http.clone();
    assert_eq!(get(&http, &with(Some(&own)), "/livez", "").await, Some(200));
    assert_eq!(get(&http, &with(Some(&foreign)), "/livez", "").await, None);
    assert_eq!(get(&http, &with(Some(&own)), "/v1/workers", "").await, Some(401), "it stands for nobody");
    gateway.finish().await.unwrap();

    // Required, and it may read; a key that is shown beside it goes before.
    let more = [
        ("auth.required", "true"),
        ("tls.require_client_certificate", "true"),
        ("auth.client_certificates.scopes", "[read]"),
    ];
    let gateway = start(&broker, &[&tls[..], &more].concat()).await;
    until_ready(&gateway, &with(Some(&own))).await;
    let http = gateway.ready.http.clone();
    for (pair, path, key, status) in [
        (None, "/livez", "", None),
        (Some(&foreign), "/livez", "", None),
        (Some(&own), "/v1/workers", "", Some(200)),
        (Some(&own), "/v1/results/x", "", Some(403)),
        (Some(&own), "/v1/workers", &*bearer("mlaas_predicts"), Some(403)),
        (Some(&own), "/v1/workers", &*bearer("mlaas_other"), Some(401)),
    ] {
        assert_eq!(get(&http, &with(pair), path, key).await, status, "{path} {key}");
    }
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_can_t_be_used_are_named_at_the_start_and_no_key_is_shown() {
    let (broker, folder, authority) = (broker(1), tempfile::tempdir().unwrap(), Authority::new());
    let pair = authority.sign(&["localhost"], "gateway");
    let other = authority.sign(&["localhost"], "gateway");
    for (certificate, key, said) in [
        ("", &*pair.key, "tls.certificate: there is no certificate"),
        (&*pair.certificate, "nonsense", "tls.key: there is no private key"),
        (&pair.certificate, &other.key, "do not go together"),
        (&pair.key, &pair.certificate, "there is no certificate"),
    ] {
        let bad = Pair { certificate: certificate.to_owned(), key: key.to_owned() };
        let files = place(folder.path(), &bad, &authority);
        let keys = [("tls.certificate", &*files[0].1), ("tls.key", &*files[1].1)];
        let error = gateway::build(config_with(&broker, &keys)).await.unwrap_err().to_string();
        assert!(error.contains(said) && !error.contains("nonsense"), "{error}");
    }
    let keys = [("tls.certificate", "/nowhere.crt"), ("tls.key", "/nowhere.key")];
    let error = gateway::build(config_with(&broker, &keys)).await.unwrap_err().to_string();
    assert!(error.contains("tls.certificate /nowhere.crt"), "{error}");
}
