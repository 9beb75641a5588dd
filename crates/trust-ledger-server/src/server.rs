//! The service from its start to its end.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use trust_ledger_registry::Registry;

use crate::listener::{Listener, Tls};
use crate::problem::Chain;
use crate::prune;
use crate::service::Service;
use crate::settings::Settings;

pub use crate::listener::TlsError;

/// How often it is written down when tokens were last used.
const WRITE_USES: Duration = Duration::from_secs(60);

/// The service, listening, and not yet serving.
#[derive(Debug)]
pub struct Server {
    service: Service,
    listener: Listener,
    tls: Option<Tls>,
}

/// Why the service cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Other machines could reach it, and everybody between could read tokens.
    #[error(
        "{address} can be reached from other machines, so TLS is needed: name certificate and key, or listen on 127.0.0.1"
    )]
    WithoutTls {
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// Certificate or key cannot be used.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// The address cannot be used.
    #[error("{address} cannot be listened on")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
}

impl Server {
    /// Sets everything up and listens; connections wait until [`run`](Server::run).
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn bind(registry: Registry, settings: Settings) -> Result<Server, StartError> {
        let address = settings.listen;
        if settings.tls.is_none() && !address.ip().to_canonical().is_loopback() {
            return Err(StartError::WithoutTls { address });
        }
        let tls = settings.tls.as_ref().map(Tls::load).transpose()?;
        let listener = Listener::bind(address, tls.clone(), settings.limits.clone()).await;
        let listener = listener.map_err(|source| StartError::Listen { address, source })?;
        Ok(Server { service: Service::new(registry, settings), listener, tls })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// The system does not tell, which no known one does.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.address()
    }

    /// Serves until `stop` completes. Then nobody new is let in, requests that are under way may end within
    /// [`shutdown_deadline`](Settings::shutdown_deadline), and the ledger's connections are closed. `systemd` is told when the
    /// service is ready and when it stops, if it asks for that (`Type=notify`).
    ///
    /// # Errors
    ///
    /// The ledger's, when it cannot be closed in time. Everything that was answered is durable all the same.
    ///
    /// # Cancel safety
    ///
    /// Dropped, connections are cut; nothing that was answered is lost.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), strongroom::Error> {
        let Server { service, listener, tls } = self;
        let deadline = service.settings.shutdown_deadline;
        let (tell, told) = watch::channel(false);
        let router = service.router();
        let stopping = async {
            stop.await;
            tracing::info!("stopping: requests under way may end within {} s", deadline.as_secs());
            service.health.stop();
            notify(sd_notify::NotifyState::Stopping);
            // The listener, which hears it, lives as long as this.
            let _ = tell.send(true);
            std::future::pending::<()>().await;
        };
        notify(sd_notify::NotifyState::Ready);
        tokio::select! {
            () = listener.serve(router, told, deadline) => {}
            () = stopping => {}
            () = upkeep(&service, tls.as_ref()) => {}
        }
        if let Err(error) = service.tokens.write_uses().await {
            tracing::warn!(
                error = %Chain(&error),
                "when tokens were last used could not be written down"
            );
        }
        service.registry.database().close().await
    }
}

/// What is done beside requests; never ends.
async fn upkeep(service: &Service, tls: Option<&Tls>) {
    let uses = async {
        loop {
            tokio::time::sleep(WRITE_USES).await;
            if let Err(error) = service.tokens.write_uses().await {
                tracing::warn!(
                    error = %Chain(&error),
                    "when tokens were last used could not be written down"
                );
            }
        }
    };
    let certificate = async {
        loop {
            tokio::time::sleep(crate::listener::LOOK).await;
            if let Some(tls) = tls {
                tls.look_again();
            }
        }
    };
    let pruning = async {
        if let Some(prune) = service.settings.prune {
            prune::on_schedule(service, prune).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::join!(uses, certificate, pruning);
}

/// Without a service manager that listens, nothing is told.
fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}
