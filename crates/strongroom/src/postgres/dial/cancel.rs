//! Stopping the statement that runs on a connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio_postgres::{CancelToken, NoTls};

use super::super::settings::Settings;
use super::super::tls::{Tls, TlsMode};
use super::socket::Address;
use crate::error::{Error, Result};

/// Longest time that a request to cancel may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks a connection's server to stop what it does.
#[derive(Clone)]
pub(crate) struct Canceller {
    pub(super) token: CancelToken,
    pub(super) address: Address,
    /// The host's name, and how it must prove it; `None` without TLS.
    pub(super) name: Option<(String, TlsMode)>,
    pub(super) settings: Arc<Settings>,
    pub(super) tls: Arc<Tls>,
    /// For messages.
    pub(super) shown: String,
}

impl Canceller {
    /// Asks, encrypted if the connection is. The server does not say whether there was anything to stop; when this
    /// has returned, the request has reached it, so that no later statement is hit. Takes 5 s at most.
    ///
    /// # Errors
    ///
    /// [`Connection`](Error::Connection) when the request did not reach the server.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the request may or may not have been sent, and may stop a later statement.
    pub(crate) async fn cancel(&self) -> Result<()> {
        let failed = |reason: &str| Error::connection(self.shown.clone(), reason).passing();
        match tokio::time::timeout(PATIENCE, self.ask()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed("the request to cancel a statement did not get through").caused_by(error)),
            Err(_) => Err(failed("the request to cancel a statement was not taken within 5 s")),
        }
    }

    async fn ask(&self) -> io::Result<()> {
        let mut socket = self.address.connect(&self.settings).await?;
        let sent = match &self.name {
            None => self.token.cancel_query_raw(&mut socket, NoTls).await,
            Some((host, mode)) => {
                let handshake = self.tls.handshake(host, *mode).await.map_err(io::Error::other)?;
                self.token.cancel_query_raw(&mut socket, handshake).await
            }
        };
        sent.map_err(io::Error::other)?;
        // The server closes the connection when it has passed the request on (PostgreSQL manual, 55.2.8). What comes
        // before that, TLS's farewell, is of no interest; a reset is as good an end as any.
        let mut rest = [0; 256];
        while socket.read(&mut rest).await.is_ok_and(|length| length > 0) {}
        Ok(())
    }
}
