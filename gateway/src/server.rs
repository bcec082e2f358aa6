//! A server: takes connections, no more than there may be, and serves each until the end is asked for; then it takes none, and
//! each is closed behind what it has under way. HTTP/1 and HTTP/2 are told apart by their first bytes.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::activity::{Activity, Busy, Sent};
use crate::auth::Subject;
use crate::gateway::Gateway;
use crate::tls;

/// Bytes of a request's head.
const MAX_HEAD: u32 = 64 << 10;
/// HTTP/2's: how many requests one connection has under way.
const MAX_STREAMS: u32 = 128;
/// HTTP/2's: between two questions whether the other side is there, and how long it may take to answer.
const PING: Duration = Duration::from_secs(30);
/// How long to wait where no more files can be opened.
const BREATH: Duration = Duration::from_millis(100);

/// What is served where.
#[derive(Debug)]
pub struct Server {
    /// `http` or `grpc`.
    pub name: &'static str,
    /// Where.
    pub listener: TcpListener,
    /// What.
    pub router: Router,
    /// In what TLS; in none where there is none.
    pub tls: Option<Arc<tls::Identity>>,
}

impl Server {
    /// Serves until `end` is cancelled and all that was under way then is done.
    ///
    /// # Errors
    /// The listener's, where it can't be used at all.
    pub async fn serve(self, gateway: Arc<Gateway>, end: CancellationToken) -> io::Result<()> {
        let Self { name, listener, router, tls } = self;
        let places =
            Arc::new(Semaphore::new(gateway.config.http.max_connections.min(Semaphore::MAX_PERMITS)));
        let connections = GracefulShutdown::new();
        let builder = Arc::new(builder(name, &gateway));
        loop {
            let (stream, peer) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        wait_if_exhausted(name, &error).await;
                        continue;
                    }
                },
                () = end.cancelled() => break,
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                // Closed at once: whoever balances load sees that another is to be asked.
                gateway.metrics.refused(name);
                continue;
            };
            let watched = connections.watcher();
            let (builder, router, gateway) = (Arc::clone(&builder), router.clone(), Arc::clone(&gateway));
            let (tls, end) = (tls.as_ref().map(|tls| TlsAcceptor::from(tls.of(name))), end.clone());
            tokio::spawn(async move {
                let (_place, _counted) = (place, gateway.metrics.connection(name));
                // What is written is small and whole: it need not wait for more.
                stream.set_nodelay(true).ok();
                let one = One { name, peer, subject: None, builder, router, gateway, watched };
                match tls {
                    None => one.serve(stream).await,
                    Some(tls) => one.serve_in(&tls, stream, end).await,
                }
            });
        }
        drop(listener);
        connections.shutdown().await;
        Ok(())
    }
}

fn builder(name: &str, gateway: &Gateway) -> Builder<TokioExecutor> {
    let http = &gateway.config.http;
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(http.header_timeout)
        .max_buf_size(MAX_HEAD as usize * 2)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    if name == "grpc" { builder.http2_only() } else { builder }
}

/// A connection.
struct One {
    name: &'static str,
    peer: SocketAddr,
    /// Whose certificate it was opened with.
    subject: Option<Subject>,
    builder: Arc<Builder<TokioExecutor>>,
    router: Router,
    gateway: Arc<Gateway>,
    watched: Watcher,
}

impl One {
    /// Over TLS, which may take as long as a request's head.
    async fn serve_in(mut self, tls: &TlsAcceptor, stream: TcpStream, end: CancellationToken) {
        let (name, peer) = (self.name, self.peer);
        let opened = tokio::select! {
            opened = tokio::time::timeout(self.gateway.config.http.header_timeout, tls.accept(stream)) => opened,
            () = end.cancelled() => return,
        };
        match opened {
            Ok(Ok(stream)) => {
                self.subject = tls::subject(stream.get_ref().1.peer_certificates());
                self.serve(stream).await;
            }
            Ok(Err(error)) => tracing::debug!(server = name, %peer, %error, "TLS could not be agreed on"),
            Err(_) => tracing::debug!(server = name, %peer, "TLS was not agreed on in time"),
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { name, peer, subject, builder, router, gateway, watched } = self;
        let activity = Arc::<Activity>::default();
        let told = Arc::clone(&activity);
        let service = hyper::service::service_fn(move |request| {
            answer(router.clone(), peer, subject.clone(), request, told.begin())
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        tokio::select! {
            ended = watched.watch(connection) => if let Err(error) = ended {
                tracing::debug!(server = name, %peer, %error, "a connection ended");
            },
            // hyper times the head of a request; that nothing at all comes it does not.
            () = activity.idle_for(gateway.config.http.header_timeout) => {
                tracing::debug!(server = name, %peer, "a connection lay idle");
            }
        }
    }
}

async fn answer(
    router: Router,
    peer: SocketAddr,
    subject: Option<Subject>,
    request: Request<Incoming>,
    busy: Busy,
) -> Result<axum::response::Response, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    if let Some(subject) = subject {
        request.extensions_mut().insert(subject);
    }
    let response = router.oneshot(request).await?;
    Ok(response.map(|body| Body::new(Sent { body, _busy: busy })))
}

/// A connection that was given up before it was taken is nobody's loss; where files have run out, others must close first.
async fn wait_if_exhausted(name: &str, error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::warn!(server = name, %error, "connections can't be taken");
        tokio::time::sleep(BREATH).await;
    }
}
