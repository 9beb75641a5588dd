//! What the pool is told of connections to a server.

use std::sync::Arc;

use super::connection::Connection;
use super::dial::Dialer;
use crate::error::{Error, QueryErrorKind, Result};
use crate::pool::{AcquireError, Connect, Pooled};

/// A connection, borrowed. Dropped, it is home again; one that is not clean is closed instead.
pub(crate) type Lease = Pooled<Connector>;

/// Makes connections.
pub(crate) struct Connector {
    pub(super) dialer: Dialer,
    /// As messages name it.
    pub(super) server: Arc<str>,
}

impl Connect for Connector {
    type Connection = Connection;
    type Error = Error;

    async fn connect(&self) -> Result<Connection> {
        let dialed = self.dialer.dial().await?;
        let keeps_statements = self.dialer.settings().named_statements();
        Ok(Connection::new(dialed, Arc::clone(&self.server), keeps_statements))
    }

    /// What the server or a credential's source refuses for good is not asked for again.
    fn is_transient(&self, error: &Error) -> bool {
        error.is_passing()
    }

    async fn test(&self, connection: &mut Connection) -> Result<()> {
        connection.ping().await
    }

    fn check_out(&self, connection: &mut Connection) -> bool {
        connection.log_if_closed();
        !connection.is_closed()
    }

    fn check_in(&self, connection: &mut Connection) -> bool {
        connection.is_clean()
    }
}

/// The pool's refusal as this crate's error.
pub(super) fn refused(error: AcquireError<Error>) -> Error {
    use crate::error::Busy;
    match error {
        AcquireError::AllBusy { waited, size, oldest } => {
            Error::PoolExhausted { waited, busy: Busy::Connections { size, oldest }, source: None }
        }
        AcquireError::Connecting { waited, last } => {
            Error::PoolExhausted { waited, busy: Busy::Connecting, source: last.map(Arc::new) }
        }
        AcquireError::Connect(error) => error,
        AcquireError::ConnectorPanicked => Error::query(QueryErrorKind::Other, "opening a connection panicked"),
        AcquireError::Closed | AcquireError::DriverLost => Error::Closed,
    }
}
