//! The pool's background task: everything that takes time and that no caller should be the one to wait for.
//!
//! It makes connections, fails waiters whose time is up, closes connections that are idle or old, tests those that are due
//! and names borrowers that hold on for long. It sleeps until the next of these is due, or until it is woken.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::counters::CloseReason;
use super::slots::{Loan, Verdict};
use super::{AcquireError, Connect, Entry, Inner, Pooled};
use crate::random;

/// Longest pause between two attempts to connect.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// The pool's end of the task.
#[derive(Default)]
pub(super) struct Driver {
    wake: Arc<Notify>,
    /// Set before the task is spawned, unset when it is dropped, before the waiters hear of it.
    is_running: AtomicBool,
}

impl Driver {
    /// Starts the task on the current runtime, unless it runs.
    pub(super) fn start<C: Connect>(&self, pool: &Arc<Inner<C>>) {
        // Looked at first, because all who acquire come by here.
        if !self.is_running.load(Ordering::Acquire) && !self.is_running.swap(true, Ordering::AcqRel) {
            let duty = Duty { pool: Arc::downgrade(pool), retry_min_size: None };
            tokio::spawn(duty.serve(Arc::clone(&self.wake)));
        }
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// What the task does. Dropped with its runtime, it lets the waiters start another one.
struct Duty<C: Connect> {
    pool: Weak<Inner<C>>,
    /// After a failure, no connection is made merely to have `min_size` before then.
    retry_min_size: Option<Instant>,
}

impl<C: Connect> Duty<C> {
    async fn serve(mut self, wake: Arc<Notify>) {
        // Dropped with this future, which ends what is being made.
        let mut errands = JoinSet::new();
        loop {
            let next = {
                let Some(pool) = self.pool.upgrade() else { return };
                if pool.slots.is_closed() {
                    return;
                }
                self.attend(&pool, &mut errands)
            };
            tokio::select! {
                () = wake.notified() => {}
                () = tokio::time::sleep_until(next) => {}
                Some(ended) = errands.join_next(), if !errands.is_empty() => {
                    // One that panicked has failed, too.
                    if ended.as_ref().map_or_else(JoinError::is_panic, |ended| matches!(ended, Errand::Failed))
                        && let Some(pool) = self.pool.upgrade()
                    {
                        self.retry_min_size = Some(Instant::now() + pool.settings.connect_delay);
                    }
                }
            }
        }
    }

    /// Does what is due, and answers when the next thing is.
    fn attend(&mut self, pool: &Arc<Inner<C>>, errands: &mut JoinSet<Errand>) -> Instant {
        let (settings, slots) = (&pool.settings, &pool.slots);
        let now = Instant::now();
        slots.expire(now, |waited, obstacle| pool.waited_in_vain(waited, obstacle));
        // Whoever comes from now on waits that long.
        let mut next = slots.next_deadline().unwrap_or(now + settings.acquire_timeout);

        let mut due = |at: Option<Instant>| {
            next = at.map_or(next, |at| next.min(at));
            at.is_some_and(|at| at <= now)
        };
        let swept = slots.sweep(|entry, size, used| {
            let idle_out = settings.idle_timeout.filter(|_| size > settings.min_size);
            if due(entry.expires) {
                Verdict::Close(CloseReason::Lifetime)
            } else if due(idle_out.map(|timeout| used + timeout)) {
                Verdict::Close(CloseReason::Idle)
            } else if due(settings.keepalive.map(|interval| entry.proven + interval)) {
                Verdict::Test
            } else {
                Verdict::Keep
            }
        });
        for loan in swept.test {
            errands.spawn(keep_alive(Pooled::new(pool, loan)));
        }
        pool.close_all(swept.unwanted);
        // What comes home later is due that much later at the soonest.
        for interval in [settings.idle_timeout, settings.keepalive, settings.max_lifetime].into_iter().flatten() {
            next = next.min(now + interval);
        }
        if let Some(age) = settings.leak_warning {
            for borrower in now.checked_sub(age).map(|since| slots.overdue(since)).into_iter().flatten() {
                tracing::warn!(
                    location = %borrower.location, age_s = borrower.since.elapsed().as_secs_f64(),
                    "a connection has been lent for long; is it forgotten?"
                );
            }
            next = next.min(slots.oldest_unwarned().unwrap_or(now) + age);
        }
        let least = match self.retry_min_size {
            Some(at) if at > now => {
                next = next.min(at);
                0
            }
            _ => settings.min_size,
        };
        while let Some((slot, generation)) = slots.reserve(least) {
            let reservation = Reservation { pool: Arc::clone(pool), slot, generation, is_open: true };
            errands.spawn(reservation.connect());
        }
        next
    }
}

impl<C: Connect> Drop for Duty<C> {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        // First: who hears that he is lost starts another one, as does who joins the queue after they heard.
        pool.driver.is_running.store(false, Ordering::Release);
        pool.slots.fail_all(|| AcquireError::DriverLost);
    }
}

/// How work of the task's ended.
enum Errand {
    Done,
    /// No connection could be made.
    Failed,
}

/// Tests an idle connection. One that fails is closed.
async fn keep_alive<C: Connect>(mut pooled: Pooled<C>) -> Errand {
    let now = Instant::now();
    let deadline = now + pooled.inner.settings.acquire_timeout;
    pooled.passes_test(deadline).await;
    Errand::Done
}

/// A slot in which a connection is being made. Dropped before, the slot is vacant again.
struct Reservation<C: Connect> {
    pool: Arc<Inner<C>>,
    slot: usize,
    generation: u64,
    is_open: bool,
}

impl<C: Connect> Reservation<C> {
    async fn connect(mut self) -> Errand {
        let settings = &self.pool.settings;
        let mut attempt = 0;
        let error = loop {
            attempt += 1;
            let error = match tokio::time::timeout(settings.acquire_timeout, self.pool.connect.connect()).await {
                Ok(Ok(connection)) => {
                    self.connected(connection);
                    return Errand::Done;
                }
                Ok(Err(error)) => error,
                Err(_) => {
                    // Nobody waits any more of those for whom it was begun: another is begun for who waits now.
                    self.pool.slots.connect_failed();
                    tracing::debug!(attempt, "making a connection outlasted the acquire timeout; it is given up");
                    return Errand::Failed;
                }
            };
            self.pool.slots.connect_failed();
            tracing::debug!(%error, attempt, "no connection could be made");
            *self.pool.last_error() = Some(error.clone());
            if attempt >= settings.connect_attempts || !self.pool.connect.is_transient(&error) {
                break error;
            }
            tokio::time::sleep(delay(settings.connect_delay, attempt)).await;
        };
        self.abandon(AcquireError::Connect(error));
        Errand::Failed
    }

    fn connected(&mut self, connection: C::Connection) {
        self.is_open = false;
        let now = Instant::now();
        *self.pool.last_error() = None;
        let expires = self.pool.settings.max_lifetime.map(|lifetime| now + less_up_to(lifetime, 10));
        let item = Entry { connection, proven: now, expires, is_new: true };
        self.pool.give(Loan { slot: self.slot, generation: self.generation, item }, now);
    }

    fn abandon(&mut self, failure: AcquireError<C::Error>) {
        self.is_open = false;
        self.pool.tell(self.pool.slots.abandon(self.slot, Instant::now(), failure));
    }
}

impl<C: Connect> Drop for Reservation<C> {
    fn drop(&mut self) {
        if !self.is_open {
        } else if std::thread::panicking() {
            self.abandon(AcquireError::ConnectorPanicked);
        } else {
            self.pool.tell(self.pool.slots.vacate(self.slot, None, Instant::now()));
        }
    }
}

/// The pause after the `attempt`th failure.
pub(super) fn delay(first: Duration, attempt: u32) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(attempt - 1).unwrap_or(u32::MAX));
    less_up_to(doubled.min(LONGEST_DELAY), 4)
}

/// The duration less a random part of its `part`th.
fn less_up_to(duration: Duration, part: u32) -> Duration {
    duration - random::up_to(duration / part)
}
