//! Work on a connection, which goes on when its caller is gone: it is then stopped, and comes to an orderly end.
//!
//! Nothing that has been sent to the server is left alone. A caller's future that is dropped hands its work to a task, which
//! asks the server to stop it, reads what is still to come, and rolls back; only a connection whose work has come to such an
//! end is lent again. What doesn't end in time is dropped with its connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use super::dial::Canceller;
use crate::error::{Error, QueryErrorKind, Result};

/// How long work whose caller is gone may go on before the server is asked to stop it. Most ends by itself meanwhile, and a
/// cancel request takes a connection of its own.
const GRACE: Duration = Duration::from_millis(10);

/// How long stopped work, its rollback included, may take to end.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// What a connection is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Nothing that takes effect before a COMMIT.
    Open = 0,
    /// A statement that commits by itself: it can be stopped, and with its connection lost nobody knows whether it has.
    Changing = 1,
    /// A COMMIT, which is never stopped.
    Committing = 2,
}

/// What those who watch over a connection's work share with it.
pub(crate) struct Watch {
    cancel: Canceller,
    stage: AtomicU8,
    /// A BEGIN is not answered yet, and statements may have been sent behind it.
    beginning: AtomicBool,
    /// The work is to come to an end.
    stopping: AtomicBool,
    told: Notify,
    /// A request to stop a statement may still be on its way, and hit the next one.
    uncertain: AtomicBool,
    /// A statement that commits by itself was asked to stop.
    interrupted: AtomicBool,
}

impl Watch {
    pub(crate) fn new(cancel: Canceller) -> Self {
        Watch {
            cancel,
            stage: AtomicU8::new(Stage::Open as u8),
            beginning: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            told: Notify::new(),
            uncertain: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
        }
    }

    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    fn is_at(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Acquire) == stage as u8
    }

    pub(crate) fn may_be_committed(&self) -> bool {
        !self.is_at(Stage::Open)
    }

    pub(crate) fn note_beginning(&self, beginning: bool) {
        self.beginning.store(beginning, Ordering::Release);
        if !beginning {
            self.told.notify_waiters();
        }
    }

    /// Waits until no BEGIN is unanswered.
    async fn begun(&self) {
        loop {
            // Listening begins before looking, so that nothing is missed in between.
            let told = self.told.notified();
            if !self.beginning.load(Ordering::Acquire) {
                return;
            }
            told.await;
        }
    }

    /// Whether "done" may mean less than it says: a primary that is asked to stop a statement while its commit waits for the
    /// standby answers so, and warns that the commit is on its own disk only.
    pub(crate) fn was_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Waits until the work is to come to an end.
    pub(crate) async fn stopping(&self) {
        loop {
            // Listening begins before looking, so that nothing is missed in between.
            let told = self.told.notified();
            if self.is_stopping() {
                return;
            }
            told.await;
        }
    }

    /// Makes ready for the next borrower; `false` when a cancel request might hit him.
    pub(crate) fn settle(&self) -> bool {
        self.stopping.store(false, Ordering::Release);
        self.interrupted.store(false, Ordering::Release);
        self.enter(Stage::Open);
        !self.uncertain.load(Ordering::Acquire)
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    async fn request_cancel(&self) {
        if self.is_at(Stage::Committing) {
            return;
        }
        self.interrupted.store(self.is_at(Stage::Changing), Ordering::Release);
        self.uncertain.store(true, Ordering::Release);
        match self.cancel.cancel().await {
            Ok(()) => self.uncertain.store(false, Ordering::Release),
            Err(error) => tracing::debug!(%error, "a statement that nobody waits for could not be stopped"),
        }
    }
}

/// Brings work to its end: at once if it gets there by itself soon, else on request. `None` when it does not end; with it,
/// its connection must be dropped.
pub(crate) async fn stop<F: Future + ?Sized>(mut work: Pin<&mut F>, watch: &Watch, soon: bool) -> Option<F::Output> {
    watch.stop();
    let grace = if soon { Duration::ZERO } else { GRACE };
    if let Ok(ended) = timeout(grace, work.as_mut()).await {
        return Some(ended);
    }
    // A BEGIN that is stopped would let what was sent behind it take effect statement by statement.
    let begun = async {
        tokio::select! {
            biased;
            ended = work.as_mut() => Some(ended),
            () = watch.begun() => None,
        }
    };
    if let Some(ended) = timeout(END_PATIENCE, begun).await.ok()? {
        return Some(ended);
    }
    watch.request_cancel().await;
    timeout(END_PATIENCE, work).await.ok()
}

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

/// Work that owns its connection. Dropped before its end, it comes to that in the background.
pub(crate) struct Work<T: Send + 'static> {
    /// None when it has ended.
    future: Option<Boxed<T>>,
    watch: Arc<Watch>,
    /// Where it was begun.
    runtime: Option<Handle>,
}

impl<T: Send + 'static> Work<T> {
    pub(crate) fn new(watch: Arc<Watch>, future: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Work { future: Some(Box::pin(future)), watch, runtime: None }
    }

    /// Waits for its end; at the deadline, stops it.
    pub(crate) async fn until(mut self, deadline: Instant) -> Result<T> {
        if let Ok(outcome) = timeout_at(deadline, &mut self).await {
            return outcome;
        }
        let watch = Arc::clone(&self.watch);
        let ended = match self.hand_over(true) {
            Some(ending) => ending.await.ok().flatten(),
            None => None,
        };
        match ended {
            Some(Err(Error::Cancelled)) => Err(took_too_long()),
            Some(outcome) => outcome,
            None if watch.may_be_committed() => Err(Error::CommitUnknown { source: None }),
            None => Err(took_too_long()),
        }
    }

    fn hand_over(&mut self, soon: bool) -> Option<tokio::task::JoinHandle<Option<Result<T>>>> {
        let (Some(mut future), Some(runtime)) = (self.future.take(), self.runtime.take()) else { return None };
        let watch = Arc::clone(&self.watch);
        // On a runtime that is shut down it is dropped, and its connection closed.
        Some(runtime.spawn(async move { stop(future.as_mut(), &watch, soon).await }))
    }
}

pub(super) fn took_too_long() -> Error {
    Error::query(QueryErrorKind::Timeout, "stopped: no statement or batch may take longer (session_max_age)")
}

impl<T: Send + 'static> Future for Work<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if self.runtime.is_none() {
            self.runtime = Some(Handle::current());
        }
        let Some(future) = &mut self.future else { return Poll::Pending };
        let outcome = ready!(future.as_mut().poll(context));
        self.future = None;
        Poll::Ready(outcome)
    }
}

impl<T: Send + 'static> Drop for Work<T> {
    fn drop(&mut self) {
        drop(self.hand_over(false));
    }
}
