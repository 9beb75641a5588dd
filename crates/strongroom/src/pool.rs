//! A pool of connections that knows no database.
//!
//! # Terms
//!
//! * **Connection**: whatever a [`Connect`] makes. **Slot**: room for one.
//! * **Checkout**: taking a connection with [`acquire`](Pool::acquire). **Return**: dropping the [`Pooled`].
//! * **Generation**: connections made under the same circumstances: the same password, the same primary.
//!
//! # What it promises
//!
//! * Waiters are served in the order of arrival, and nobody overtakes. The connection used last is lent first.
//! * A connection is made outside its waiter's future: when the waiter goes away, the connection serves the next one.
//! * A connection that is not proven clean when it comes home is closed, never lent again; so is one whose borrower
//!   panicked.
//! * No call waits longer than [`acquire_timeout`](Settings::acquire_timeout), and its error says for whom it waited.
//! * There are never more connections than [`max_size`](Settings::max_size): one is closed before another is made for it.
//! * One background task does all that takes time: connecting, tests, timeouts. It runs on the runtime of whoever came
//!   first, which must not stand still; is started anew on another when that one is shut down; and ends with the pool.
//!
//! Start from [`Pool::new`].

mod acquiring;
mod connect;
mod counters;
mod driver;
mod error;
mod pooled;
mod queue;
mod settings;
mod slots;
mod stats;
mod sync;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::Holder;

use self::acquiring::Acquiring;
pub use self::connect::Connect;
pub use self::counters::{CloseReason, Histogram};
use self::driver::Driver;
use self::driver::delay;
pub use self::error::AcquireError;
pub use self::pooled::Pooled;
use self::queue::{Notice, Waiter};
pub use self::settings::Settings;
pub(crate) use self::settings::clamp;
use self::slots::{Borrower, Loan, Obstacle, Slots, Taken, Tell, Unwanted};
pub use self::stats::Stats;
pub(crate) use self::stats::escaped;

/// A pool. Cheap to clone; all clones share the connections.
///
/// Dropped with all its clones, idle connections are closed at once, lent ones when they come home.
pub struct Pool<C: Connect> {
    inner: Arc<Inner<C>>,
}

struct Inner<C: Connect> {
    connect: C,
    settings: Settings,
    /// How many [`Pool`]s share this. With the last one the pool is closed; lent connections keep only this alive.
    handles: AtomicUsize,
    slots: Slots<Entry<C::Connection>, AcquireError<C::Error>>,
    driver: Driver,
    /// Told when the pool is paused or closed and the last connection is gone.
    quiet: Notify,
    /// Held by who has paused the pool.
    alone: Arc<tokio::sync::Mutex<()>>,
    /// Why the last attempt failed; none since one succeeded.
    last_error: Mutex<Option<C::Error>>,
}

/// A connection with what the pool knows of it.
struct Entry<T> {
    connection: T,
    /// When it was last known to live: it was made, came home, or passed a test.
    proven: Instant,
    expires: Option<Instant>,
    /// Whether nobody has had it yet.
    is_new: bool,
}

impl<T> Entry<T> {
    fn is_over(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

impl<C: Connect> Pool<C> {
    /// Makes a pool, without any I/O: connections are made when the first is asked for.
    pub fn new(connect: C, mut settings: Settings) -> Self {
        settings.min_size = clamp("pool.min_size", settings.min_size, 0, settings.max_size);
        let inner = Inner {
            connect,
            slots: Slots::new(settings.max_size),
            settings,
            handles: AtomicUsize::new(1),
            driver: Driver::default(),
            quiet: Notify::new(),
            alone: Arc::default(),
            last_error: Mutex::new(None),
        };
        Pool { inner: Arc::new(inner) }
    }

    /// Takes a connection: an idle one, or one that comes home or is made while this waits in fair turn. Needs a Tokio
    /// runtime with its timer.
    ///
    /// # Errors
    ///
    /// [`AllBusy`](AcquireError::AllBusy) and [`Connecting`](AcquireError::Connecting) after the acquire timeout;
    /// [`Connect`](AcquireError::Connect) when none could be made; [`Closed`](AcquireError::Closed).
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves the queue; what was being made for it serves the next.
    #[track_caller]
    pub fn acquire(&self) -> impl Future<Output = Result<Pooled<C>, AcquireError<C::Error>>> + Send {
        self.acquire_at(Location::caller())
    }

    pub(crate) async fn acquire_at(
        &self,
        location: &'static Location<'static>,
    ) -> Result<Pooled<C>, AcquireError<C::Error>> {
        let inner = &self.inner;
        // A task that finds an idle connection each time would never let others have their turn.
        if is_nth_on_this_thread() {
            tokio::task::coop::consume_budget().await;
        }
        inner.driver.start(inner);
        let waiter = inner.waiter(location);
        let mut now = waiter.since;
        let mut refused = 0;
        loop {
            match (Acquiring { inner, waiter, now, place: None }).await {
                Ok(loan) => {
                    let mut pooled = Pooled::new(inner, loan);
                    if pooled.is_fit(now, waiter.deadline).await {
                        return Ok(pooled);
                    }
                    let is_new = pooled.entry().is_new;
                    drop(pooled);
                    now = Instant::now();
                    if is_new {
                        // As after a failed attempt: who makes connections only to refuse them must not do so all the time.
                        refused += 1;
                        let until = now + delay(inner.settings.connect_delay, refused);
                        tokio::time::sleep_until(until.min(waiter.deadline)).await;
                    }
                }
                Err(AcquireError::DriverLost) => {}
                Err(error) => return Err(error),
            }
            now = Instant::now();
            if waiter.deadline <= now {
                return Err(inner.waited_in_vain(now - waiter.since, inner.slots.timed_out()));
            }
            // The background task may have looked for the next deadline before this one was back.
            inner.driver.wake();
        }
    }

    /// Takes an idle connection, if there is one that needs no test and nobody waits for one.
    ///
    /// # Errors
    ///
    /// [`Closed`](AcquireError::Closed).
    #[track_caller]
    pub fn try_acquire(&self) -> Result<Option<Pooled<C>>, AcquireError<C::Error>> {
        self.try_acquire_at(Location::caller())
    }

    pub(crate) fn try_acquire_at(
        &self,
        location: &'static Location<'static>,
    ) -> Result<Option<Pooled<C>>, AcquireError<C::Error>> {
        let inner = &self.inner;
        loop {
            let now = Instant::now();
            let is_tested = |entry: &Entry<_>| !inner.needs_test(entry, now);
            let loan = inner.slots.try_take(location, now, is_tested).map_err(|_| AcquireError::Closed)?;
            let Some(loan) = loan else { return Ok(None) };
            let mut pooled = Pooled::new(inner, loan);
            if pooled.check_out(now) {
                return Ok(Some(pooled));
            }
        }
    }

    /// Calls `then` with a connection, here if one is idle, else by whoever brings one home. It gets no test.
    ///
    /// `then` may be called with [`DriverLost`](AcquireError::DriverLost): the caller then does this again, on another
    /// runtime.
    pub(crate) fn acquire_with(
        &self,
        location: &'static Location<'static>,
        then: impl FnOnce(Result<Pooled<C>, AcquireError<C::Error>>) + Send + 'static,
    ) {
        let inner = &self.inner;
        let waiter = inner.waiter(location);
        // The usual case, without an allocation.
        if let Ok(Some(loan)) = inner.slots.try_take(location, waiter.since, |_| true) {
            let mut pooled = Pooled::new(inner, loan);
            if pooled.check_out(waiter.since) {
                return then(Ok(pooled));
            }
        }
        inner.serve(waiter, Box::new(then));
    }

    /// Makes connections until there are `count`, at most [`max_size`](Settings::max_size), and answers when they are made.
    /// For a pool that is not in use yet: it takes as many connections, and gives them back.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// Dropped, connections that are being made are kept.
    #[track_caller]
    pub fn open_at_least(&self, count: usize) -> impl Future<Output = Result<(), AcquireError<C::Error>>> + Send {
        let location = Location::caller();
        async move {
            // All are asked for before the first is waited for, so that they are made at the same time.
            let ask = || {
                let (sender, receiver) = tokio::sync::oneshot::channel();
                self.acquire_with(location, move |served| drop(sender.send(served)));
                receiver
            };
            let asked: Vec<_> = (0..count.min(self.inner.settings.max_size)).map(|_| ask()).collect();
            let mut opened = Vec::new();
            for mut receiver in asked {
                opened.push(loop {
                    match receiver.await.unwrap_or(Err(AcquireError::Closed)) {
                        Err(AcquireError::DriverLost) => receiver = ask(),
                        served => break served?,
                    }
                });
            }
            Ok(())
        }
    }

    /// Closes connections of the generation of `pooled` and before: idle ones now, lent ones when they come home. Who
    /// finds the password changed, or the server no longer the primary, calls this; of several who find it at the same time,
    /// the first ends the generation.
    pub fn end_generation(&self, pooled: &Pooled<C>) {
        pooled.end_generation();
    }

    /// Refuses everybody from now on, and waits until all connections are home and closed.
    ///
    /// # Errors
    ///
    /// [`AllBusy`](AcquireError::AllBusy) when some are not home after `patience`; they are closed when they come.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the pool stays closed.
    pub async fn close(&self, patience: Duration) -> Result<(), AcquireError<C::Error>> {
        self.dismiss();
        self.inner.wait_until_quiet(patience).await
    }

    /// [`close`](Self::close) without waiting.
    pub(crate) fn dismiss(&self) {
        let unwanted = self.inner.slots.close(|| AcquireError::Closed);
        // Before anything that may panic: the background task ends, and what it has under way.
        self.inner.driver.wake();
        self.inner.close_all(unwanted);
    }

    /// Waits until all connections are home, and closes them; who comes meanwhile waits. When the guard is dropped, it goes
    /// on as before; so it does when this future is.
    pub(crate) async fn pause(&self, patience: Duration) -> Result<Paused<C>, AcquireError<C::Error>> {
        let began = Instant::now();
        let alone = tokio::time::timeout(patience, Arc::clone(&self.inner.alone).lock_owned()).await;
        let alone = alone.map_err(|_| self.inner.all_busy(began.elapsed()))?;
        let unwanted = self.inner.slots.pause().map_err(|_| AcquireError::Closed)?;
        let paused = Paused { inner: Arc::clone(&self.inner), _alone: alone };
        self.inner.close_all(unwanted);
        self.inner.wait_until_quiet(patience.saturating_sub(began.elapsed())).await?;
        Ok(paused)
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.inner.slots.is_closed()
    }

    /// Connections that are open or being made.
    pub fn size(&self) -> usize {
        self.inner.slots.sizes().total()
    }

    /// Numbers of this moment, and counters since the pool was made.
    pub fn stats(&self) -> Stats {
        let (sizes, oldest, counters) = self.inner.slots.numbers();
        Stats::new(sizes, oldest.map(Holder::from), counters)
    }

    pub(crate) fn connector(&self) -> &C {
        &self.inner.connect
    }
}

impl<C: Connect> Clone for Pool<C> {
    fn clone(&self) -> Self {
        // Relaxed, as for an Arc: whoever clones has one.
        self.inner.handles.fetch_add(1, Ordering::Relaxed);
        Pool { inner: Arc::clone(&self.inner) }
    }
}

impl<C: Connect> Drop for Pool<C> {
    fn drop(&mut self) {
        if self.inner.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.dismiss();
        }
    }
}

impl<C: Connect> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("sizes", &self.inner.slots.sizes()).finish_non_exhaustive()
    }
}

impl<C: Connect> Inner<C> {
    fn tell(&self, tell: Tell) {
        if tell.connect {
            self.driver.wake();
        }
        if tell.quiet {
            self.quiet.notify_waiters();
        }
    }

    /// Somebody who comes now.
    fn waiter(&self, location: &'static Location<'static>) -> Waiter {
        let since = Instant::now();
        Waiter { location, since, deadline: since + self.settings.acquire_timeout }
    }

    /// Calls `then` with a connection, now or later.
    fn serve(self: &Arc<Self>, waiter: Waiter, then: Then<C>) {
        let mut then = Some(then);
        let notice = || {
            let (inner, then) = (Arc::clone(self), then.take().expect("it is asked for once"));
            Notice::Callback(Box::new(move |served| inner.served(waiter, served, then)))
        };
        let taken = self.slots.take(waiter, Instant::now(), notice);
        match (taken, then) {
            (Ok(Taken::Queued(_, tell)), _) => {
                self.driver.start(self);
                self.tell(tell);
            }
            (Ok(Taken::Loan(loan)), Some(then)) => self.served(waiter, Ok(loan), then),
            (Err(_), Some(then)) => then(Err(AcquireError::Closed)),
            (_, None) => unreachable!("it is taken away only when it is queued"),
        }
    }

    fn served(self: &Arc<Self>, waiter: Waiter, served: Served<C>, then: Then<C>) {
        let loan = match served {
            Ok(loan) => loan,
            Err(error) => return then(Err(error)),
        };
        let now = Instant::now();
        let mut pooled = Pooled::new(self, loan);
        if pooled.check_out(now) {
            return then(Ok(pooled));
        }
        let is_new = pooled.entry().is_new;
        drop(pooled);
        // Nobody pauses here, so that new connections must not be refused one after the other.
        if is_new || waiter.deadline <= now {
            return then(Err(self.waited_in_vain(now - waiter.since, self.slots.timed_out())));
        }
        self.serve(waiter, then);
        self.driver.wake();
    }

    fn waited_in_vain(&self, waited: Duration, obstacle: Obstacle) -> AcquireError<C::Error> {
        match obstacle {
            Obstacle::Busy { size, oldest } => AcquireError::AllBusy { waited, size, oldest: oldest.map(Holder::from) },
            Obstacle::Connecting => AcquireError::Connecting { waited, last: self.last_error().clone() },
        }
    }

    async fn wait_until_quiet(&self, patience: Duration) -> Result<(), AcquireError<C::Error>> {
        let began = Instant::now();
        let quiet = async {
            loop {
                // Listening begins before looking, so that nothing is missed in between.
                let told = self.quiet.notified();
                if self.slots.is_quiet() {
                    return;
                }
                told.await;
            }
        };
        tokio::time::timeout(patience, quiet).await.map_err(|_| self.all_busy(began.elapsed()))
    }

    fn all_busy(&self, waited: Duration) -> AcquireError<C::Error> {
        let (sizes, oldest, _) = self.slots.numbers();
        AcquireError::AllBusy { waited, size: sizes.total(), oldest: oldest.map(Holder::from) }
    }

    /// Gives a connection, new or lent until now, to who is next.
    fn give(&self, loan: Loan<Entry<C::Connection>>, now: Instant) {
        if let Err(unwanted) = self.slots.give(loan, now) {
            drop(self.closing(unwanted));
        }
    }

    fn close_all(&self, unwanted: Vec<Unwanted<Entry<C::Connection>>>) {
        // Collected first, so that none is forgotten when dropping one of them panics.
        let closing: Vec<_> = unwanted.into_iter().map(|unwanted| self.closing(unwanted)).collect();
        drop(closing);
    }

    fn closing(&self, unwanted: Unwanted<Entry<C::Connection>>) -> Closing<'_, C> {
        let Unwanted { slot, reason, item } = unwanted;
        Closing { entry: item, vacating: Vacating { inner: self, slot, reason: Some(reason) } }
    }

    fn needs_test(&self, entry: &Entry<C::Connection>, now: Instant) -> bool {
        let idle = now.saturating_duration_since(entry.proven);
        self.settings.test_after_idle.is_some_and(|after| idle > after)
    }

    fn last_error(&self) -> std::sync::MutexGuard<'_, Option<C::Error>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is closed when this is dropped, and its slot vacated then.
struct Closing<'p, C: Connect> {
    // Fields are dropped in this order, and the second one even when dropping the first panics.
    entry: Entry<C::Connection>,
    vacating: Vacating<'p, C>,
}

struct Vacating<'p, C: Connect> {
    inner: &'p Inner<C>,
    slot: usize,
    /// None when the connection is kept after all.
    reason: Option<CloseReason>,
}

impl<C: Connect> Drop for Vacating<'_, C> {
    fn drop(&mut self) {
        if self.reason.is_none() {
            return;
        }
        self.inner.tell(self.inner.slots.vacate(self.slot, self.reason, Instant::now()));
        // There may be fewer connections now than there should be.
        self.inner.driver.wake();
    }
}

/// Whether this is one of every sixteenth checkouts. Of Tokio's budget, 128 steps in a row, one is spent for so many: a checkout
/// takes much less time than the steps that it is meant for, and giving way costs as much as some fifty of them.
fn is_nth_on_this_thread() -> bool {
    thread_local! {
        static CHECKOUTS: Cell<u8> = const { Cell::new(0) };
    }
    CHECKOUTS.with(|checkouts| {
        checkouts.set(checkouts.get().wrapping_add(1));
        checkouts.get() % 16 == 0
    })
}

impl From<Borrower> for Holder {
    fn from(borrower: Borrower) -> Self {
        Holder { age: borrower.since.elapsed(), location: borrower.location }
    }
}

type Served<C> = Result<Loan<Entry<<C as Connect>::Connection>>, AcquireError<<C as Connect>::Error>>;

/// What is to be done with a connection.
type Then<C> = Box<dyn FnOnce(Result<Pooled<C>, AcquireError<<C as Connect>::Error>>) + Send>;

/// Nothing is lent while this lives.
pub(crate) struct Paused<C: Connect> {
    inner: Arc<Inner<C>>,
    _alone: tokio::sync::OwnedMutexGuard<()>,
}

impl<C: Connect> Drop for Paused<C> {
    fn drop(&mut self) {
        self.inner.tell(self.inner.slots.resume());
        self.inner.driver.wake();
    }
}
