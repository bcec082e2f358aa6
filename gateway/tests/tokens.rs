//! Tokens of an issuer that runs in the test: which are believed, which are not, and how often it is asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::support::access::bearer;
use crate::support::{PATIENCE, Running, broker, config_with, echo, eventually};
use crate::tls::{Authority, place};

/// What the issuer signs with.
enum Signer {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    fn rsa() -> Self {
        let der = openssl::rsa::Rsa::generate(2048).unwrap().private_key_to_der().unwrap();
        Self::Rsa(Box::new(RsaKeyPair::from_der(&der).unwrap()))
    }

    fn ec() -> Self {
        let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        Self::Ec(EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap())
    }

    fn ed() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
        }
    }

    fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(pair) => {
                let RsaPublicKeyComponents::<Vec<u8>> { n, e } = pair.public().into();
                json!({"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": encode(n), "e": encode(e)})
            }
            Self::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
                json!({"kty": "EC", "kid": kid, "crv": "P-256", "x": x, "y": y})
            }
            Self::Ed(pair) => {
                json!({"kty": "OKP", "kid": kid, "crv": "Ed25519", "x": encode(pair.public_key())})
            }
        }
    }

    fn sign(&self, message: &str) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::Ec(pair) => pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        }
    }

    fn token(&self, kid: &str, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "kid": kid, "typ": "JWT"});
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        format!("{message}.{}", encode(self.sign(&message)))
    }
}

/// The keys that it has, and how often it was asked for them.
type Served = (Arc<Mutex<Vec<Value>>>, Arc<AtomicUsize>);

/// An issuer with its discovery document, ended when dropped.
struct Issuer {
    url: String,
    keys: Arc<Mutex<Vec<Value>>>,
    asked: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Issuer {
    async fn start(keys: Vec<Value>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (keys, asked) = (Arc::new(Mutex::new(keys)), Arc::new(AtomicUsize::new(0)));
        let named = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(async move || Json(named)))
            .route(
                "/keys",
                get(async |State((keys, asked)): State<Served>| {
                    asked.fetch_add(1, Ordering::SeqCst);
                    Json(json!({"keys": *keys.lock().unwrap()}))
                }),
            )
            .with_state((Arc::clone(&keys), Arc::clone(&asked)));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, keys, asked, server }
    }

    async fn gateway(&self, broker: &kafka::EmbeddedBroker, more: &[(&str, &str)]) -> Running {
        let base = [
            ("auth.required", "true"),
            ("auth.keys", "false"),
            ("auth.jwt.issuer", &*self.url),
            ("auth.jwt.audience", "mlaas"),
        ];
        Running::of(config_with(broker, &[&base[..], more].concat())).await
    }

    /// Claims that are believed for an hour, but for what `more` says; what is null there is left out.
    fn claims(&self, more: Value) -> Value {
        let now = jiff::Timestamp::now().as_second();
        let mut claims = json!({
            "iss": self.url, "aud": "mlaas", "sub": "ada", "exp": now + 3600, "scope": "openid predict read",
        });
        for (name, value) in more.as_object().unwrap() {
            match value {
                Value::Null => claims.as_object_mut().unwrap().remove(name),
                value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        claims
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn status(gateway: &Running, token: &str, path: &str) -> u16 {
    gateway.ask_as(&bearer(token), "GET", path).await.status
}

const WORKERS: &str = "/v1/workers";

#[tokio::test(flavor = "multi_thread")]
async fn what_the_issuer_signed_for_here_and_now_is_believed_and_nothing_else() {
    let broker = broker(1);
    let signers = [("r", Signer::rsa()), ("e", Signer::ec()), ("d", Signer::ed())];
    let mut keys: Vec<_> = signers.iter().map(|(kid, signer)| signer.jwk(kid)).collect();
    keys.push(json!({"kty": "oct", "kid": "o", "alg": "HS256", "k": encode("a secret that is none")}));
    let issuer = Issuer::start(keys).await;
    let gateway = issuer.gateway(&broker, &[]).await;
    let good = issuer.claims(json!({}));
    for (kid, signer) in &signers {
        assert_eq!(status(&gateway, &signer.token(kid, &good), WORKERS).await, 200, "{kid}");
        // Under another's name, and changed by a letter.
        let other = if *kid == "r" { "e" } else { "r" };
        assert_eq!(status(&gateway, &signer.token(other, &good), WORKERS).await, 401, "{kid} as {other}");
        let token = signer.token(kid, &good);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let more = issuer.claims(json!({"scope": "predict read promote"}));
        let (header, _) = signed.split_once('.').unwrap();
        let changed = format!("{header}.{}.{signature}", encode(more.to_string()));
        assert_eq!(status(&gateway, &changed, WORKERS).await, 401, "{kid}: other claims");
        for cut in [1, signature.len() / 2, signature.len()] {
            let cut = &token[..token.len() - cut];
            assert_eq!(status(&gateway, cut, WORKERS).await, 401, "{kid}: a part of a signature");
        }
    }
    let (kid, signer) = &signers[0];
    let now = jiff::Timestamp::now().as_second();
    for (claims, expected) in [
        (json!({"aud": ["other", "mlaas"]}), 200),
        (json!({"aud": "other"}), 401),
        (json!({"aud": ["mlaas2"]}), 401),
        (json!({"aud": null}), 401),
        (json!({"iss": "https://other.example"}), 401),
        (json!({"iss": format!("{}/", issuer.url)}), 401),
        (json!({"iss": null}), 401),
        (json!({"exp": now - 10}), 200),
        (json!({"exp": now - 31}), 401),
        (json!({"exp": null}), 401),
        (json!({"exp": (now + 60).to_string()}), 401),
        (json!({"nbf": now + 10}), 200),
        (json!({"nbf": now + 60}), 401),
        (json!({"nbf": "now"}), 401),
        (json!({"sub": null}), 401),
        (json!({"scope": null}), 403),
        (json!({"scope": "predict readx"}), 403),
        (json!({"scope": ["read"]}), 200),
        (json!({"scope": "Read"}), 403),
        (json!({"sub": "x\r\nx-evil: 1\u{1b}[2J"}), 200),
    ] {
        let token = signer.token(kid, &issuer.claims(claims.clone()));
        assert_eq!(status(&gateway, &token, WORKERS).await, expected, "{claims}");
    }
    // What asks for less than a signature of the issuer's.
    let body = encode(good.to_string());
    let header = |value: Value| encode(value.to_string());
    let none = format!("{}.{body}.", header(json!({"alg": "none"})));
    let public = openssl_public(&issuer.keys.lock().unwrap()[0]);
    let message = format!("{}.{body}", header(json!({"alg": "HS256", "kid": "r"})));
    let confused = |secret: &[u8]| {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", encode(tag))
    };
    let embedded = {
        let mine = Signer::ec();
        let head = json!({"alg": "ES256", "jwk": mine.jwk("x"), "jku": "http://127.0.0.1:1/", "kid": "x"});
        let message = format!("{}.{body}", header(head));
        format!("{message}.{}", encode(mine.sign(&message)))
    };
    let large = signer.token(kid, &issuer.claims(json!({"more": "x".repeat(20_000)})));
    for token in [
        &*none,
        &confused(&public),
        &confused(b"a secret that is none"),
        &embedded,
        &large,
        "a.b.c",
        "..",
        &format!("{body}.{body}.{body}"),
    ] {
        assert_eq!(status(&gateway, token, WORKERS).await, 401, "{}", &token[..token.len().min(80)]);
    }
    gateway.finish().await.unwrap();
}

/// An RSA key as PEM, which whoever confuses the kinds of keys takes for a secret.
fn openssl_public(jwk: &Value) -> Vec<u8> {
    let number = |name: &str| {
        openssl::bn::BigNum::from_slice(&URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap())
            .unwrap()
    };
    let key = openssl::rsa::Rsa::from_public_components(number("n"), number("e")).unwrap();
    key.public_key_to_pem().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_are_fetched_once_and_who_makes_some_up_does_not_flood_the_issuer() {
    let broker = broker(1);
    let (first, second) = (Signer::ec(), Signer::ec());
    let issuer = Issuer::start(vec![first.jwk("1")]).await;
    let gateway = issuer.gateway(&broker, &[]).await;
    let claims = issuer.claims(json!({}));
    assert_eq!(status(&gateway, &first.token("1", &claims), WORKERS).await, 200);
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 1);
    // It signs with another from now on: the first token says so.
    *issuer.keys.lock().unwrap() = vec![second.jwk("2")];
    assert_eq!(status(&gateway, &second.token("2", &claims), WORKERS).await, 200);
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 2);
    assert_eq!(status(&gateway, &first.token("1", &claims), WORKERS).await, 401, "taken back");
    for n in 0..100 {
        assert_eq!(status(&gateway, &first.token(&format!("made up {n}"), &claims), WORKERS).await, 401);
    }
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 2);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_away_keeps_nobody_out_whose_key_is_known_and_is_waited_for_by_the_others() {
    let broker = broker(1);
    let signer = Signer::ed();
    let issuer = Issuer::start(vec![signer.jwk("1")]).await;
    let gateway = issuer.gateway(&broker, &[("auth.jwt.refresh", "1s")]).await;
    let token = signer.token("1", &issuer.claims(json!({})));
    let other = signer.token("2", &issuer.claims(json!({})));
    assert_eq!(status(&gateway, &token, WORKERS).await, 200);
    issuer.server.abort();
    eventually("that is known", async || status(&gateway, &other, WORKERS).await == 503).await;
    assert_eq!(status(&gateway, &token, WORKERS).await, 200);
    gateway.finish().await.unwrap();
    // One that was never there.
    let gateway = issuer.gateway(&broker, &[]).await;
    let answer = gateway.ask_as(&bearer(&token), "GET", WORKERS).await;
    assert_eq!(answer.problem().0, 503);
    assert_eq!(gateway.get("/livez").await.status, 200);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_s_models_and_scopes_stand_in_claims_that_are_named() {
    let broker = broker(1);
    let _worker = echo(&broker);
    let signer = Signer::ec();
    let issuer = Issuer::start(vec![signer.jwk("1")]).await;
    let keys = [
        ("auth.jwt.scope_claim", "/realm_access/roles"),
        ("auth.jwt.models_claim", "models"),
        ("limits.rate_per_key", "1"),
        ("limits.burst_per_key", "4"),
    ];
    let gateway = issuer.gateway(&broker, &keys).await;
    let roles = json!({"roles": ["predict"]});
    for (models, query, expected) in [
        (json!(["bird"]), "?model=bird", 200),
        (json!(["bird"]), "?model=cat", 403),
        (json!(["bird"]), "", 403),
        (json!("bird cat"), "?model=cat", 200),
        (json!(["*"]), "", 200),
        (Value::Null, "?model=bird", 403),
    ] {
        // Somebody else each time, so that the rate holds none of them up.
        let claims = json!({"scope": null, "sub": format!("{models}{query}"), "realm_access": roles, "models": models});
        let token = signer.token("1", &issuer.claims(claims));
        assert_eq!(gateway.predict_as(&token, query).await.status, expected, "{models} {query}");
    }
    let of = |exp: i64| {
        let claims = json!({"exp": exp, "realm_access": roles, "models": ["*"]});
        signer.token("1", &issuer.claims(claims))
    };
    // A token after the other of one person's does not make them faster.
    let now = jiff::Timestamp::now().as_second();
    let began = std::time::Instant::now();
    let mut answers = Vec::new();
    for n in 0..6 {
        answers.push(gateway.predict_as(&of(now + 100 + n), "").await.status);
    }
    assert!(began.elapsed() > PATIENCE || answers.contains(&429), "{answers:?}");
    gateway.finish().await.unwrap();
}

/// What listens there in TLS and hands on to the issuer; its port.
async fn secured(issuer: &Issuer, folder: &std::path::Path, authority: &Authority) -> u16 {
    let files = place(folder, &authority.sign(&["localhost"], "issuer"), authority);
    let tls = gateway::config::Tls {
        certificate: Some((&files[0].1).into()),
        key: Some((&files[1].1).into()),
        ..gateway::config::Tls::default()
    };
    let acceptor = TlsAcceptor::from(gateway::tls::Identity::load(&tls).unwrap().unwrap().of("http"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, behind) = (listener.local_addr().unwrap().port(), issuer.url.replace("http://", ""));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                let mut plain = tokio::net::TcpStream::connect(behind).await.unwrap();
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    tokio::io::copy_bidirectional(&mut stream, &mut plain).await.ok();
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_by_https_from_whom_the_configuration_trusts() {
    let (broker, folder, authority) = (broker(1), tempfile::tempdir().unwrap(), Authority::new());
    let signer = Signer::ec();
    let issuer = Issuer::start(vec![signer.jwk("1")]).await;
    let port = secured(&issuer, folder.path(), &authority).await;
    let token = signer.token("1", &issuer.claims(json!({})));
    let (url, ca) =
        (format!("https://localhost:{port}/keys"), folder.path().join("ca.crt").display().to_string());
    let gateway = issuer.gateway(&broker, &[("auth.jwt.jwks_url", &url), ("auth.jwt.ca", &ca)]).await;
    assert_eq!(status(&gateway, &token, WORKERS).await, 200);
    gateway.finish().await.unwrap();
    // Another authority's word is no proof that this is the issuer, nor is the right one's for another name.
    let stranger = tempfile::tempdir().unwrap();
    place(stranger.path(), &authority.sign(&[], "x"), &Authority::new());
    let other = stranger.path().join("ca.crt").display().to_string();
    let asked = issuer.asked.load(Ordering::SeqCst);
    for (url, ca) in [(&url, &other), (&url.replace("localhost", "127.0.0.1"), &ca)] {
        let gateway = issuer.gateway(&broker, &[("auth.jwt.jwks_url", url), ("auth.jwt.ca", ca)]).await;
        assert_eq!(status(&gateway, &token, WORKERS).await, 503, "{url}");
        gateway.finish().await.unwrap();
    }
    assert_eq!(issuer.asked.load(Ordering::SeqCst), asked);
}
