//! A place in the queue, as a future.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::queue::{Notice, Waiter};
use super::slots::Taken;
use super::{AcquireError, Connect, Inner, Served};

/// Takes an idle connection, or waits for its turn.
pub(super) struct Acquiring<'p, C: Connect> {
    pub(super) inner: &'p Arc<Inner<C>>,
    pub(super) waiter: Waiter,
    pub(super) now: Instant,
    /// The place in the queue, while it has one.
    pub(super) place: Option<usize>,
}

impl<C: Connect> Future for Acquiring<'_, C> {
    type Output = Served<C>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = self.inner;
        if let Some(place) = self.place {
            let served = inner.slots.poll(place, context.waker());
            if served.is_ready() {
                self.place = None;
                return served;
            }
        } else {
            match inner.slots.take(self.waiter, self.now, || Notice::Waker(context.waker().clone())) {
                Ok(Taken::Loan(loan)) => return Poll::Ready(Ok(loan)),
                Ok(Taken::Queued(place, tell)) => {
                    self.place = Some(place);
                    inner.tell(tell);
                }
                Err(_) => return Poll::Ready(Err(AcquireError::Closed)),
            }
        }
        // Who waits makes sure that somebody works for him.
        inner.driver.start(inner);
        Poll::Pending
    }
}

impl<C: Connect> Drop for Acquiring<'_, C> {
    fn drop(&mut self) {
        let served = self.place.and_then(|place| self.inner.slots.leave(place));
        if let Some(loan) = served {
            self.inner.give(loan, Instant::now());
        }
    }
}
