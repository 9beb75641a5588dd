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

mod counters;
mod driver;
mod queue;
mod settings;
mod slots;
mod stats;
mod sync;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::Holder;

pub use self::counters::{CloseReason, Histogram};
use self::driver::Driver;
use self::driver::delay;
use self::queue::{Notice, Waiter};
pub use self::settings::Settings;
pub(crate) use self::settings::clamp;
use self::slots::{Borrower, Loan, Obstacle, Slots, Taken, Tell, Unwanted};
pub use self::stats::Stats;
pub(crate) use self::stats::escaped;

/// Makes, tests and judges connections for a [`Pool`].
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

/// Why no connection was lent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AcquireError<E> {
    /// All connections were lent for the whole acquire timeout.
    AllBusy {
        /// How long this caller waited.
        waited: Duration,
        /// How many connections there are; from [`Pool::close`], how many are not home yet.
        size: usize,
        /// The borrower that has held one longest.
        oldest: Option<Holder>,
    },
    /// Connections were being made or tested for the whole acquire timeout.
    Connecting {
        /// How long this caller waited.
        waited: Duration,
        /// Why the last attempt failed, if one did.
        last: Option<E>,
    },
    /// No connection could be made, after all attempts.
    Connect(E),
    /// The connector panicked; its message is in the panic hook's output.
    ConnectorPanicked,
    /// The pool was closed.
    Closed,
    /// The runtime that the background task ran on was shut down. [`Pool::acquire`] waits again and never answers this.
    #[doc(hidden)]
    DriverLost,
}

impl<E> fmt::Display for AcquireError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcquireError::AllBusy { waited, size, oldest } => {
                write!(f, "all {size} connections are busy and none came home within {waited:.1?}")?;
                oldest.iter().try_for_each(|holder| write!(f, "; the longest is held by {holder}"))
            }
            AcquireError::Connecting { waited, .. } => write!(f, "no connection could be made within {waited:.1?}"),
            AcquireError::Connect(_) => f.write_str("no connection could be made"),
            AcquireError::ConnectorPanicked => f.write_str("making a connection panicked"),
            AcquireError::Closed => f.write_str("the pool is closed"),
            AcquireError::DriverLost => f.write_str("the runtime of the pool's background task was shut down"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for AcquireError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AcquireError::Connecting { last, .. } => last.as_ref().map(|last| last as _),
            AcquireError::Connect(error) => Some(error),
            _ => None,
        }
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
        tokio::task::coop::consume_budget().await;
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
        let unwanted = self.inner.slots.end_generation(pooled.generation);
        self.inner.close_all(unwanted);
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

impl From<Borrower> for Holder {
    fn from(borrower: Borrower) -> Self {
        Holder { age: borrower.since.elapsed(), location: borrower.location }
    }
}

type Served<C> = Result<Loan<Entry<<C as Connect>::Connection>>, AcquireError<<C as Connect>::Error>>;

/// What is to be done with a connection.
type Then<C> = Box<dyn FnOnce(Result<Pooled<C>, AcquireError<<C as Connect>::Error>>) + Send>;

/// Takes an idle connection, or waits for its turn.
struct Acquiring<'p, C: Connect> {
    inner: &'p Arc<Inner<C>>,
    waiter: Waiter,
    now: Instant,
    /// The place in the queue, while it has one.
    place: Option<usize>,
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

/// A connection, lent. Dropped, it goes home, or is closed when it is not proven clean.
pub struct Pooled<C: Connect> {
    inner: Arc<Inner<C>>,
    /// None only while it is dropped.
    entry: Option<Entry<C::Connection>>,
    slot: usize,
    generation: u64,
    /// What has shown it unfit to be lent, or is under way and may.
    unfit: Option<CloseReason>,
    /// When it got into its borrower's hands. Until then it goes home as it came.
    lent_at: Option<Instant>,
}

impl<C: Connect> Pooled<C> {
    fn new(inner: &Arc<Inner<C>>, loan: Loan<Entry<C::Connection>>) -> Self {
        let Loan { slot, generation, item } = loan;
        Pooled { inner: Arc::clone(inner), entry: Some(item), slot, generation, unfit: None, lent_at: None }
    }

    /// When it was lent, which saves a look at the clock.
    pub(crate) fn lent_at(&self) -> Instant {
        self.lent_at.unwrap_or_else(Instant::now)
    }

    /// Whether it may be lent: tested when it was idle for long. When not, and when this is dropped, it is closed.
    async fn is_fit(&mut self, now: Instant, deadline: Instant) -> bool {
        (!self.inner.needs_test(self.entry(), now) || self.passes_test(deadline).await) && self.check_out(now)
    }

    async fn passes_test(&mut self, deadline: Instant) -> bool {
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

    fn check_out(&mut self, now: Instant) -> bool {
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

    fn entry(&self) -> &Entry<C::Connection> {
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
