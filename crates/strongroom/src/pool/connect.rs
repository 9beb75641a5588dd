//! What a pool must be told of the connections that it holds.

use std::future::Future;

/// Makes, tests and judges connections for a [`Pool`](super::Pool).
pub trait Connect: Send + Sync + 'static {
    /// A connection. Dropped, it is closed; that must not block for long.
    type Connection: Send + 'static;
    /// Why one could not be made. Cloned, because it may answer several waiters.
    type Error: std::error::Error + Clone + Send + Sync + 'static;

    /// Makes a connection. What a new connection must go through before it is lent belongs here.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any await when the pool is closed, the runtime shut down, or it has taken longer than the acquire timeout;
    /// nothing may stay behind.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send;

    /// Whether another attempt may succeed. Default: yes.
    fn is_transient(&self, error: &Self::Error) -> bool {
        let _ = error;
        true
    }

    /// Finds out whether a connection that was idle still lives. Default: it does.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any await; the connection is closed then.
    fn test(&self, connection: &mut Self::Connection) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = connection;
        async { Ok(()) }
    }

    /// Called before a connection is lent; answering `false` closes it, and another one is lent. When it was a new one,
    /// that is made after a pause. Must not block. Default: `true`.
    fn check_out(&self, connection: &mut Self::Connection) -> bool {
        let _ = connection;
        true
    }

    /// Called when a connection comes home: whether it is proven clean and may be lent again. Must not block. Not called
    /// when its borrower panicked: it is closed then.
    fn check_in(&self, connection: &mut Self::Connection) -> bool;
}
