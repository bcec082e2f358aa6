//! The gateway as a whole: [`build`] makes everything that can fail before anything runs, [`run`] runs it until the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::gateway::Gateway;
use crate::routes::{self, Shared};
use crate::server::Server;
use crate::tls;

/// A gateway that is about to run.
#[derive(Debug)]
pub struct App {
    gateway: Shared,
    http: TcpListener,
    grpc: Option<TcpListener>,
    tls: Option<Arc<tls::Identity>>,
    /// Whether keys are taken from an embedded broker.
    embedded_keys: bool,
}

impl App {
    /// Takes keys from an embedded broker's topic too, which forgets them with its worker: for tests alone.
    #[must_use]
    pub fn with_embedded_keys(self) -> Self {
        Self { embedded_keys: true, ..self }
    }
}

/// Why a gateway can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// An address is taken.
    #[error("{key} {address} can't be used: {source}")]
    Listen {
        /// Which key names it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
    /// A certificate or key can't be used.
    #[error("{0}")]
    Credentials(String),
}

/// Why a gateway ended other than by being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A server failed.
    #[error("the {server} server failed: {source}")]
    Server {
        /// Which.
        server: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// What the build wrote of the gRPC service can't be read.
    #[error("the description of the gRPC service can't be read: {0}")]
    Descriptors(#[from] tonic_reflection::server::Error),
    /// The grace time was not enough.
    #[error("{0} images were not answered within shutdown.grace: whoever sent them was not told")]
    Unanswered(usize),
}

/// What is said when the gateway listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ready {
    /// `ready`.
    pub event: &'static str,
    /// The gateway's name.
    pub gateway: String,
    /// Whether over TLS.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// Where HTTP is served.
    pub http: String,
    /// Where gRPC is.
    pub grpc: Option<String>,
}

/// Binds its ports.
///
/// # Errors
/// [`BuildError`], one sentence.
pub async fn build(config: Config) -> Result<App, BuildError> {
    if let Some(warning) = config.warning() {
        tracing::warn!("{warning}");
    }
    let tls = tls::Identity::load(&config.tls).map_err(BuildError::Credentials)?.map(Arc::new);
    let http = listen("http.listen", config.http.listen).await?;
    let grpc = match config.grpc.listen.address() {
        Some(address) => Some(listen("grpc.listen", address).await?),
        None => None,
    };
    let gateway = Gateway::new(config).map_err(BuildError::Credentials)?;
    Ok(App { gateway: Arc::new(gateway), http, grpc, tls, embedded_keys: false })
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, BuildError> {
    TcpListener::bind(address).await.map_err(|source| BuildError::Listen { key, address, source })
}

/// Runs until `end` is cancelled: then it says that it is not ready, takes no more after `shutdown.delay`, and ends when all that
/// it took is answered. It listens when it calls `ready`, whether a broker answers or not.
///
/// # Errors
/// [`RunError`] where a server fails, or `shutdown.grace` is not enough.
pub async fn run(app: App, end: CancellationToken, ready: impl FnOnce(&Ready)) -> Result<(), RunError> {
    run_with(app, Router::new(), end, ready).await
}

/// The same, with more routes by HTTP.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    app: App,
    more: Router<Shared>,
    end: CancellationToken,
    ready: impl FnOnce(&Ready),
) -> Result<(), RunError> {
    let App { gateway, http, grpc, tls, embedded_keys } = app;
    let address = |listener: &TcpListener| listener.local_addr().map(|a| a.to_string()).unwrap_or_default();
    ready(&Ready {
        event: "ready",
        gateway: gateway.config.gateway_name(),
        tls: tls.is_some(),
        http: address(&http),
        grpc: grpc.as_ref().map(address),
    });
    let (closing, gone) = (CancellationToken::new(), CancellationToken::new());
    let backend = {
        let (gateway, gone) = (Arc::clone(&gateway), gone.clone());
        tokio::spawn(async move { gateway.backend.run(gone).await })
    };
    let beside = (Arc::clone(&gateway), gone.clone());
    tokio::spawn(async move {
        let (gateway, gone) = beside;
        gateway.auth.run(gateway.config.connection(), embedded_keys, gone).await;
    });
    if let Some(tls) = &tls {
        tokio::spawn(Arc::clone(tls).follow(gone.clone()));
    }
    let mut servers = JoinSet::new();
    let router = routes::router(&gateway, more);
    let http = Server { name: "http", listener: http, router, tls: tls.clone() };
    let grpc = match grpc {
        Some(listener) => {
            Some(Server { name: "grpc", listener, router: crate::grpc::router(&gateway)?, tls })
        }
        None => None,
    };
    for server in [Some(http), grpc].into_iter().flatten() {
        let (name, gateway, closing) = (server.name, Arc::clone(&gateway), closing.clone());
        servers.spawn(async move { (name, server.serve(gateway, closing).await) });
    }
    tokio::select! {
        () = end.cancelled() => {}
        Some(ended) = servers.join_next() => {
            gone.cancel();
            let (server, source) = match ended {
                Ok((name, ended)) => (name, ended.err().unwrap_or_else(|| io::Error::other("it ended by itself"))),
                Err(error) => ("http", io::Error::other(error)),
            };
            return Err(RunError::Server { server, source });
        }
    }
    let shutdown = &gateway.config.shutdown;
    gateway.health.set_draining();
    tokio::time::sleep(shutdown.delay).await;
    closing.cancel();
    gateway.draining.cancel();
    let drained =
        tokio::time::timeout(shutdown.grace, async { while servers.join_next().await.is_some() {} }).await;
    let left = gateway.admission.in_flight();
    servers.abort_all();
    gone.cancel();
    // It has a bound of its own.
    drop(backend.await);
    match (drained, left) {
        (Ok(()), _) => Ok(()),
        (Err(_), 0) => {
            // One that sends slowly, or takes its answer slowly: no worker has anything of it.
            tracing::warn!("connections were still open when shutdown.grace was over");
            Ok(())
        }
        (Err(_), left) => Err(RunError::Unanswered(left)),
    }
}
