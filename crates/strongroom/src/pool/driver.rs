//! The pool's background task: everything that takes time and that no caller should be the one to wait for.
//!
//! It makes connections, fails waiters whose time is up, closes connections that are idle or old, tests those that are due
//! and names borrowers that hold on for long. It sleeps until the next of these is due, or until it is woken.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::counters::CloseReason;
use super::slots::{Borrower, Loan, Sizes, Verdict};
use super::{AcquireError, Connect, Entry, Inner, Pooled};
use crate::error::Holder;

/// Longest pause between two attempts to connect.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// The pool's end of the task.
#[derive(Default)]
pub(super) struct Driver {
    wake: Arc<Notify>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Driver {
    /// Starts the task on the current runtime, unless it runs. It is gone when the pool was never waited for, and when its
    /// runtime was shut down.
    pub(super) fn start<C: Connect>(&self, pool: &Arc<Inner<C>>) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            let duty = Duty { pool: Arc::downgrade(pool), retry_min_size: None };
            *task = Some(tokio::spawn(duty.serve(Arc::clone(&self.wake))));
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
                    if let Ok(Errand::Failed) = ended
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
        slots.expire(now, |waited, sizes, oldest| pool.waited_in_vain(waited, sizes, oldest));
        // Whoever comes from now on waits that long.
        let mut next = slots.next_deadline().unwrap_or(now + settings.acquire_timeout);

        let mut due = |at: Option<Instant>| {
            next = at.map_or(next, |at| next.min(at));
            at.is_some_and(|at| at <= now)
        };
        let swept = slots.sweep(Location::caller(), now, |entry, size| {
            let idle_out = settings.idle_timeout.filter(|_| size > settings.min_size);
            if due(entry.expires) {
                Verdict::Close(CloseReason::Lifetime)
            } else if due(idle_out.map(|timeout| entry.idle_since + timeout)) {
                Verdict::Close(CloseReason::Idle)
            } else if due(settings.keepalive.map(|interval| entry.idle_since + interval)) {
                Verdict::Test
            } else {
                Verdict::Keep
            }
        });
        drop(swept.closed);
        for loan in swept.test {
            errands.spawn(keep_alive(Pooled::new(pool, loan)));
        }
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
            _ => settings.min_size.min(settings.max_size),
        };
        while let Some((slot, generation)) = slots.reserve(least) {
            let reservation = Reservation { pool: Arc::downgrade(pool), slot, generation, is_open: true };
            errands.spawn(reservation.connect());
        }
        // An instant that has passed meanwhile comes at once, and never without a pause for the runtime.
        next
    }
}

impl<C: Connect> Drop for Duty<C> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade()
            && !pool.slots.is_closed()
        {
            pool.slots.fail_all(|| AcquireError::DriverLost);
        }
    }
}

impl<C: Connect> Inner<C> {
    fn waited_in_vain(&self, waited: Duration, sizes: Sizes, oldest: Option<Borrower>) -> AcquireError<C::Error> {
        if sizes.lent >= self.settings.max_size {
            let oldest = oldest.map(Holder::from);
            return AcquireError::AllBusy { waited, size: self.settings.max_size, oldest };
        }
        AcquireError::Connecting { waited, last: self.last_error().clone() }
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
    pool: Weak<Inner<C>>,
    slot: usize,
    generation: u64,
    is_open: bool,
}

impl<C: Connect> Reservation<C> {
    async fn connect(mut self) -> Errand {
        let Some(pool) = self.pool.upgrade() else { return Errand::Done };
        let settings = &pool.settings;
        let mut attempt = 0;
        let error = loop {
            attempt += 1;
            let error = match pool.connect.connect().await {
                Ok(connection) => {
                    self.is_open = false;
                    pool.connected(self.slot, self.generation, connection);
                    return Errand::Done;
                }
                Err(error) => error,
            };
            pool.slots.counters(|counters| counters.connect_errors += 1);
            tracing::debug!(%error, attempt, "no connection could be made");
            *pool.last_error() = Some(error.clone());
            if attempt >= settings.connect_attempts || !pool.connect.is_transient(&error) {
                break error;
            }
            tokio::time::sleep(delay(settings.connect_delay, attempt)).await;
        };
        // The waiter hears of it before its slot can be reserved again for the same one.
        pool.slots.fail_first(AcquireError::Connect(error));
        Errand::Failed
    }
}

impl<C: Connect> Drop for Reservation<C> {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade().filter(|_| self.is_open) else { return };
        if std::thread::panicking() {
            pool.slots.fail_first(AcquireError::ConnectorPanicked);
        }
        pool.tell(pool.slots.vacate(self.slot, None, Instant::now()));
    }
}

impl<C: Connect> Inner<C> {
    fn connected(&self, slot: usize, generation: u64, connection: C::Connection) {
        let now = Instant::now();
        self.slots.counters(|counters| counters.created += 1);
        *self.last_error() = None;
        let expires = self.settings.max_lifetime.map(|lifetime| now + less_up_to(lifetime, 10));
        let item = Entry { connection, idle_since: now, expires };
        let (unwelcome, tell) = self.slots.give(Loan { slot, generation, item }, now);
        drop(unwelcome);
        self.tell(tell);
    }
}

/// The pause after the `attempt`th failure.
fn delay(first: Duration, attempt: u32) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(attempt - 1).unwrap_or(u32::MAX));
    less_up_to(doubled.min(LONGEST_DELAY), 4)
}

/// The duration less a random part of its `part`th.
fn less_up_to(duration: Duration, part: u32) -> Duration {
    // A new hasher's keys are random: enough to keep connections from ending together.
    let random = RandomState::new().build_hasher().finish() as u32;
    duration - (duration / part).mul_f64(f64::from(random) / f64::from(u32::MAX))
}
