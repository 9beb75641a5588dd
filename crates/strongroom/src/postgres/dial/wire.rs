//! Carrying a connection's messages, which is done by whoever waits for an answer.
//!
//! No task stands between a caller and the socket: an answer would have to be handed from one to the other, and each wake the
//! other up, which costs as much as all the rest of a quick query does on this side. While a connection is idle nobody
//! carries; what has come meanwhile, its end among it, is seen when somebody [looks](Wire::look).

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::task::coop::unconstrained;
use tokio_postgres::{AsyncMessage, Connection};

use super::socket::Socket;

/// How long a connection that nobody holds any more may take to say good-bye.
const GOOD_BYE: Duration = Duration::from_secs(1);

/// Holds a connection open. Dropped after its client, it is closed within a second: with a farewell, if the server reads it.
pub(crate) struct Wire {
    /// `None` when it has ended.
    carried: Option<Box<dyn Carry>>,
    closed: Option<Closed>,
    bell: Arc<Bell>,
    /// What the connection hears of its socket and its client by: always the same, whoever carries.
    waker: Waker,
    runtime: Handle,
}

/// A connection that has ended. `None`: in the way that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Closed(pub(crate) Option<Arc<tokio_postgres::Error>>);

impl Wire {
    pub(super) fn new<T>(carried: Connection<Socket, T>) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        Wire { carried: Some(Box::new(carried)), closed: None, bell, waker, runtime: Handle::current() }
    }

    /// Waits for what a client of this connection does, and for nothing else, carrying its messages.
    ///
    /// # Cancel safety
    ///
    /// That of `work`. What has been sent is answered into nothing as soon as the next work is waited for.
    pub(crate) async fn carry<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        // Nobody need wake it: all that it waits for comes from here, and it is asked again each time.
        if let Poll::Ready(outcome) = work.as_mut().poll(&mut unheard()) {
            return outcome;
        }
        poll_fn(|context| {
            self.bell.quiet();
            self.advance();
            let outcome = work.as_mut().poll(&mut unheard());
            if outcome.is_pending() {
                self.bell.ring_for(context.waker());
            }
            outcome
        })
        .await
    }

    /// Why the connection has ended; `None` while it is open. One that broke is known as soon as the system knows.
    pub(crate) fn look(&mut self) -> Option<&Closed> {
        let mut look = pin!(unconstrained(poll_fn(|_| {
            self.advance();
            Poll::Ready(())
        })));
        let _ = look.as_mut().poll(&mut unheard());
        self.closed.as_ref()
    }

    /// Sends and receives what is there.
    fn advance(&mut self) {
        let Some(carried) = &mut self.carried else { return };
        if let Poll::Ready(reason) = carried.poll(&mut Context::from_waker(&self.waker)) {
            // Closes the socket, and fails what is still waited for.
            self.carried = None;
            self.closed = Some(Closed(reason.map(Arc::new)));
        }
    }

    /// Waits for the end of the connection.
    #[cfg(test)]
    pub(crate) async fn wait(&mut self) -> Closed {
        poll_fn(|context| {
            self.bell.quiet();
            self.advance();
            if let Some(closed) = &self.closed {
                return Poll::Ready(closed.clone());
            }
            self.bell.ring_for(context.waker());
            Poll::Pending
        })
        .await
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let Some(mut carried) = self.carried.take() else { return };
        // Most farewells are away at once.
        if carried.poll(&mut unheard()).is_ready() {
            return;
        }
        // On a runtime that is shut down it is dropped, and closed without one.
        self.runtime.spawn(tokio::time::timeout(GOOD_BYE, poll_fn(move |context| carried.poll(context))));
    }
}

/// For what nobody is woken by.
fn unheard() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// A connection over whatever it is that carries it.
trait Carry: Send {
    /// Sends and receives what is there; ready when the connection has ended, with the reason if nobody asked for it.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<tokio_postgres::Error>>;
}

impl<T> Carry for Connection<Socket, T>
where
    T: AsyncRead + AsyncWrite + Send + Unpin,
{
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<tokio_postgres::Error>> {
        loop {
            match std::task::ready!(self.poll_message(context)) {
                Some(Ok(AsyncMessage::Notice(notice))) => {
                    tracing::debug!(severity = notice.severity(), code = notice.code().code(), "{}", notice.message());
                }
                // Nobody has asked for notifications.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Some(error)),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// Passes on what the connection hears to whoever carries at the time. Without it, a client that sends would wake who carried
/// last, and a connection would have to be told of each new one.
#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    carrier: AtomicWaker,
}

impl Bell {
    /// What rings from now on is news.
    fn quiet(&self) {
        self.rung.store(false, Ordering::Release);
    }

    /// Wakes somebody the next time that it rings, or at once if it has.
    fn ring_for(&self, carrier: &Waker) {
        self.carrier.register(carrier);
        if self.rung.load(Ordering::Acquire) {
            self.carrier.wake();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.carrier.wake();
    }
}
