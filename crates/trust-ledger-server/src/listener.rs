//! Connections: taken, encrypted, cut when they stall, and ended when the service stops.

mod activity;
mod stalling;
mod tls;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower_service::Service as _;

use crate::body::Holding;
use crate::request::Peer;
use crate::settings::Limits;
use activity::Activity;
use stalling::Stalling;
pub use tls::TlsError;
pub(crate) use tls::{LOOK, Tls};

/// Pause after a connection could not be taken for want of file descriptors or memory.
const PAUSE: Duration = Duration::from_millis(50);

/// Headers of a request at most that hyper takes. Fewer are allowed, and the others are refused with a document.
const HEADERS: usize = 200;

/// Least size of hyper's buffer.
const LEAST_BUFFER: usize = 8 << 10;

/// What takes connections.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: TcpListener,
    tls: Option<Tls>,
    limits: Limits,
}

impl Listener {
    pub(crate) async fn bind(address: SocketAddr, tls: Option<Tls>, limits: Limits) -> io::Result<Listener> {
        raise_open_files();
        Ok(Listener { listener: TcpListener::bind(address).await?, tls, limits })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves connections until `stop` changes; then those that are under way may end what they do, for at most `deadline`.
    pub(crate) async fn serve(self, router: Router, mut stop: watch::Receiver<bool>, deadline: Duration) {
        let most = self.limits.connections.clamp(1, Semaphore::MAX_PERMITS);
        let open = Arc::new(Semaphore::new(most));
        let connections = Arc::new(Connections { router, tls: self.tls, limits: self.limits, stop: stop.clone() });
        let mut cut = tokio::task::JoinSet::new();
        loop {
            // Closed by nobody.
            let Ok(slot) = open.clone().acquire_owned().await else { break };
            let taken = tokio::select! {
                taken = self.listener.accept() => taken,
                () = stopped(&mut stop) => break,
            };
            while cut.try_join_next().is_some() {}
            match taken {
                Ok((stream, peer)) => {
                    let connections = connections.clone();
                    cut.spawn(async move {
                        connections.serve(stream, peer).await;
                        drop(slot);
                    });
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "no connection can be taken");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        // Nobody new is let in while the others end.
        drop(self.listener);
        let all = async { while cut.join_next().await.is_some() {} };
        if tokio::time::timeout(deadline, all).await.is_err() {
            tracing::warn!(connections = cut.len(), "cut off: they did not end in time");
            cut.shutdown().await;
        }
    }
}

/// What all connections share.
struct Connections {
    router: Router,
    tls: Option<Tls>,
    limits: Limits,
    stop: watch::Receiver<bool>,
}

impl Connections {
    async fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        // Answers are small and whole: waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        let activity = Activity::default();
        let stream = Stalling::new(stream, self.limits.stall, activity.clone());
        match &self.tls {
            None => self.speak(stream, peer, activity).await,
            Some(tls) => match tokio::time::timeout(self.limits.stall, tls.shake_hands(stream)).await {
                Ok(Ok(stream)) => self.speak(stream, peer, activity).await,
                Ok(Err(error)) => tracing::debug!(%peer, error, "no TLS"),
                Err(_) => tracing::debug!(%peer, "TLS took too long"),
            },
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        activity: Activity,
    ) {
        let (router, active) = (self.router.clone(), activity.clone());
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer.ip()));
            // A router is always ready.
            let (answer, answering) = (router.clone().call(request.map(Body::new)), active.answering());
            async { Ok::<_, Infallible>(answer.await?.map(|body| Holding::new(body, answering))) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.stall)
            .max_headers(HEADERS)
            .max_buf_size(self.limits.headers.saturating_mul(2).max(LEAST_BUFFER))
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let mut stop = self.stop.clone();
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopped(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                // Half of a request is not waited for.
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = activity.end() => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, error = &error as &dyn std::error::Error, "a connection broke off");
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever could say it and has gone has stopped too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Whether it says something about one client alone, who has gone.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Each connection is an open file, of which a process may usually have 1,024: as many as the system lets it have.
fn raise_open_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
}
