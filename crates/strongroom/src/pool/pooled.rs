//! A connection in its borrower's hands.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use tokio::time::Instant;

use super::counters::CloseReason;
use super::slots::Loan;
use super::{Closing, Connect, Entry, Inner, Vacating};

/// A connection, lent. Dropped, it goes home, or is closed when it is not proven clean.
pub struct Pooled<C: Connect> {
    pub(super) inner: Arc<Inner<C>>,
    /// None only while it is dropped.
    pub(super) entry: Option<Entry<C::Connection>>,
    pub(super) slot: usize,
    pub(super) generation: u64,
    /// What has shown it unfit to be lent, or is under way and may.
    pub(super) unfit: Option<CloseReason>,
    /// When it got into its borrower's hands. Until then it goes home as it came.
    pub(super) lent_at: Option<Instant>,
}

impl<C: Connect> Pooled<C> {
    pub(super) fn new(inner: &Arc<Inner<C>>, loan: Loan<Entry<C::Connection>>) -> Self {
        let Loan { slot, generation, item } = loan;
        Pooled { inner: Arc::clone(inner), entry: Some(item), slot, generation, unfit: None, lent_at: None }
    }

    /// [`Pool::end_generation`](super::Pool::end_generation), for who has the connection and not the pool.
    pub(crate) fn end_generation(&self) {
        let unwanted = self.inner.slots.end_generation(self.generation);
        self.inner.close_all(unwanted);
    }

    /// When it was lent, which saves a look at the clock.
    pub(crate) fn lent_at(&self) -> Instant {
        self.lent_at.unwrap_or_else(Instant::now)
    }

    /// Whether it may be lent: tested when it was idle for long. When not, and when this is dropped, it is closed.
    pub(super) async fn is_fit(&mut self, now: Instant, deadline: Instant) -> bool {
        (!self.inner.needs_test(self.entry(), now) || self.passes_test(deadline).await) && self.check_out(now)
    }

    pub(super) async fn passes_test(&mut self, deadline: Instant) -> bool {
        self.unfit = Some(CloseReason::TestFailed);
        let inner = Arc::clone(&self.inner);
        match tokio::time::timeout_at(deadline, inner.connect.test(&mut *self)).await {
            Ok(Ok(())) => {
                self.unfit = None;
                self.entry.as_mut().expect("present until dropped").proven = Instant::now();
            }
            Ok(Err(error)) => tracing::debug!(%error, "an idle connection failed its test and is closed"),
            Err(_) => tracing::debug!("an idle connection's test outlasted the acquire timeout; it is closed"),
        }
        self.unfit.is_none()
    }

    pub(super) fn check_out(&mut self, now: Instant) -> bool {
        let entry = self.entry.as_mut().expect("present until dropped");
        if entry.is_over(now) {
            self.unfit = Some(CloseReason::Lifetime);
            return false;
        }
        // What it is until it is asked, and what it stays when asking panics.
        self.unfit = Some(CloseReason::TestFailed);
        if self.inner.connect.check_out(&mut entry.connection) {
            entry.is_new = false;
            self.unfit = None;
            self.lent_at = Some(now);
        }
        self.lent_at.is_some()
    }

    pub(super) fn entry(&self) -> &Entry<C::Connection> {
        self.entry.as_ref().expect("present until dropped")
    }
}

impl<C: Connect> Deref for Pooled<C> {
    type Target = C::Connection;

    fn deref(&self) -> &C::Connection {
        &self.entry().connection
    }
}

impl<C: Connect> DerefMut for Pooled<C> {
    fn deref_mut(&mut self) -> &mut C::Connection {
        &mut self.entry.as_mut().expect("present until dropped").connection
    }
}

impl<C: Connect> Drop for Pooled<C> {
    fn drop(&mut self) {
        let Some(entry) = self.entry.take() else { return };
        let now = Instant::now();
        // Whatever returns or panics before it is known to be clean closes it.
        let reason = self.unfit.or(Some(CloseReason::Unclean));
        let mut closing = Closing { entry, vacating: Vacating { inner: &self.inner, slot: self.slot, reason } };
        if self.unfit.is_some() {
            return;
        }
        if self.lent_at.is_some() {
            // Whoever panics may have been in the middle of anything.
            if std::thread::panicking() || !self.inner.connect.check_in(&mut closing.entry.connection) {
                return;
            }
            closing.entry.proven = now;
        }
        if closing.entry.is_over(now) {
            closing.vacating.reason = Some(CloseReason::Lifetime);
            return;
        }
        closing.vacating.reason = None;
        let Closing { entry, .. } = closing;
        self.inner.give(Loan { slot: self.slot, generation: self.generation, item: entry }, now);
    }
}

impl<C: Connect> fmt::Debug for Pooled<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pooled").field("slot", &self.slot).field("generation", &self.generation).finish_non_exhaustive()
    }
}
