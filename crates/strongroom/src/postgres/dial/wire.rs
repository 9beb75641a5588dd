//! The task that carries a connection's messages.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{oneshot, watch};
use tokio_postgres::{AsyncMessage, Connection};

use super::socket::Socket;

/// How long a connection that nobody holds any more may take to say good-bye.
const GOOD_BYE: Duration = Duration::from_secs(1);

/// Holds a connection open. Dropped, it is closed within a second: with a farewell, if the server reads it.
pub(crate) struct Wire {
    closed: watch::Receiver<Option<Closed>>,
    /// Dropped, it tells the task to end.
    _holder: oneshot::Sender<()>,
}

/// A connection that has ended. `None`: in the way that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Closed(pub(crate) Option<Arc<tokio_postgres::Error>>);

impl Wire {
    pub(super) fn new<T>(mut carried: Connection<Socket, T>) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (close, closed) = watch::channel(None);
        let (holder, mut left) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let reason = tokio::select! {
                reason = carry(&mut carried) => reason,
                _ = &mut left => {
                    tokio::time::timeout(GOOD_BYE, carry(&mut carried)).await.unwrap_or_default()
                }
            };
            // Closes the socket before anybody hears of it.
            drop(carried);
            close.send_replace(Some(Closed(reason.map(Arc::new))));
        });
        Wire { closed, _holder: holder }
    }

    /// Why the connection has ended; `None` while it is open. A connection that broke is known as soon as the system
    /// knows.
    pub(crate) fn closed(&self) -> Option<Closed> {
        self.closed.borrow().clone()
    }

    /// Waits for the end of the connection.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again.
    #[cfg(test)]
    pub(crate) async fn wait(&self) -> Closed {
        let mut closed = self.closed.clone();
        match closed.wait_for(Option::is_some).await {
            Ok(closed) => closed.clone().unwrap_or(Closed(None)),
            // The task was dropped with its runtime.
            Err(_) => Closed(None),
        }
    }
}

async fn carry<T>(carried: &mut Connection<Socket, T>) -> Option<tokio_postgres::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match poll_fn(|context| carried.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notice(notice))) => {
                tracing::debug!(severity = notice.severity(), code = notice.code().code(), "{}", notice.message());
            }
            // Nobody has asked for notifications.
            Some(Ok(_)) => {}
            Some(Err(error)) => return Some(error),
            None => return None,
        }
    }
}
