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
//! * One background task does all that takes time: connecting, tests, timeouts. It runs on the runtime of whoever waited
//!   first, is started anew on another when that one is shut down, and ends with the pool.
//!
//! Start from [`Pool::new`].

mod counters;
mod driver;
mod queue;
mod settings;
mod slots;
mod stats;
mod sync;

use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::Holder;

pub use self::counters::{CloseReason, Histogram};
use self::driver::Driver;
pub use self::settings::Settings;
pub(crate) use self::settings::clamp;
use self::slots::{Borrower, Callback, Loan, Slots, Taken, Tell};
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
    /// Dropped at any await when the pool is closed or the runtime shut down; nothing may stay behind.
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

    /// Called before a connection is lent; answering `false` closes it, and another one is lent. Must not block.
    /// Default: `true`.
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
    /// When it came home last, or was made or tested.
    idle_since: Instant,
    expires: Option<Instant>,
}

/// Why no connection was lent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AcquireError<E> {
    /// All connections were lent for the whole acquire timeout.
    AllBusy {
        /// How long this caller waited.
        waited: Duration,
        /// How many connections there are.
        size: usize,
        /// The borrower that has held one longest.
        oldest: Option<Holder>,
    },
    /// Connections were being made for the whole acquire timeout.
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
    /// Makes a pool, without any I/O: connections are made when they are asked for.
    pub fn new(connect: C, settings: Settings) -> Self {
        let inner = Inner {
            connect,
            slots: Slots::new(settings.max_size),
            settings,
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
        let mut now = Instant::now();
        let deadline = now + inner.settings.acquire_timeout;
        loop {
            let taken = inner.slots.take(location, now, deadline, &mut None).map_err(|_| AcquireError::Closed)?;
            let loan = match taken {
                Taken::Loan(loan) => loan,
                Taken::Queued(waiter, tell) => {
                    inner.tell(tell);
                    match (Waiting { inner, waiter: Some(waiter) }).await {
                        Err(AcquireError::DriverLost) => {
                            now = Instant::now();
                            continue;
                        }
                        served => served?,
                    }
                }
            };
            let mut pooled = Pooled::new(inner, loan);
            if pooled.is_fit(now, deadline).await {
                return Ok(pooled);
            }
            drop(pooled);
            now = Instant::now();
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
        let now = Instant::now();
        let loan = self.inner.slots.try_take(location, now).map_err(|_| AcquireError::Closed)?;
        let pooled = loan.map(|loan| Pooled::new(&self.inner, loan));
        Ok(pooled
            .filter(|pooled| !pooled.needs_test(now))
            .and_then(|mut pooled| pooled.check_out(now).then_some(pooled)))
    }

    /// Calls `then` with a connection, here if one is idle, else by whoever brings one home. It gets no test.
    pub(crate) fn acquire_with(
        &self,
        location: &'static Location<'static>,
        then: impl FnOnce(Result<Pooled<C>, AcquireError<C::Error>>) + Send + 'static,
    ) {
        let now = Instant::now();
        match self.inner.slots.try_take(location, now) {
            Ok(Some(loan)) => return then(Ok(Pooled::untested(&self.inner, loan))),
            Ok(None) => {}
            Err(_) => return then(Err(AcquireError::Closed)),
        }
        let inner = Arc::clone(&self.inner);
        let callback: Callback<_, _> = Box::new(move |served: Result<Loan<_>, _>| {
            then(served.map(|loan| Pooled::untested(&inner, loan)));
        });
        let mut callback = Some(callback);
        let deadline = now + self.inner.settings.acquire_timeout;
        match (self.inner.slots.take(location, now, deadline, &mut callback), callback) {
            (Ok(Taken::Loan(loan)), Some(callback)) => callback(Ok(loan)),
            (Ok(Taken::Queued(_, tell)), _) => {
                self.inner.start_driver();
                self.inner.tell(tell);
            }
            (Err(_), Some(callback)) => callback(Err(AcquireError::Closed)),
            (_, None) => unreachable!("the callback is taken away only when it is queued"),
        }
    }

    /// Makes connections until there are `count`, and answers when they are made.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    #[track_caller]
    pub fn open_at_least(&self, count: usize) -> impl Future<Output = Result<(), AcquireError<C::Error>>> + Send {
        let location = Location::caller();
        async move {
            let mut held = Vec::new();
            for _ in 0..count.min(self.inner.settings.max_size) {
                // All are asked for before the first is waited for, so that they are made at the same time.
                let (sender, receiver) = tokio::sync::oneshot::channel();
                self.acquire_with(location, move |served| drop(sender.send(served)));
                held.push(receiver);
            }
            let mut opened = Vec::new();
            for receiver in held {
                opened.push(receiver.await.unwrap_or(Err(AcquireError::Closed))?);
            }
            Ok(())
        }
    }

    /// Closes connections of the generation of `pooled` and before: idle ones now, lent ones when they come home. Who
    /// finds the password changed, or the server no longer the primary, calls this; of several who find it at the same time,
    /// the first ends the generation.
    pub fn end_generation(&self, pooled: &Pooled<C>) {
        let swept = self.inner.slots.end_generation(pooled.generation);
        self.inner.tell(swept.tell);
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
        let swept = self.inner.slots.close(|| AcquireError::Closed);
        self.inner.tell(swept.tell);
        self.inner.driver.wake();
    }

    /// Waits until all connections are home, and closes them; who comes meanwhile waits. When the guard is dropped, it goes
    /// on as before.
    pub(crate) async fn pause(&self, patience: Duration) -> Result<Paused<C>, AcquireError<C::Error>> {
        let began = Instant::now();
        let alone = tokio::time::timeout(patience, Arc::clone(&self.inner.alone).lock_owned()).await;
        let alone = alone.map_err(|_| self.inner.all_busy(began.elapsed()))?;
        let swept = self.inner.slots.pause().map_err(|_| AcquireError::Closed)?;
        let paused = Paused { inner: Arc::clone(&self.inner), _alone: alone };
        self.inner.tell(swept.tell);
        drop(swept.closed);
        self.inner.wait_until_quiet(patience.saturating_sub(began.elapsed())).await?;
        Ok(paused)
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.inner.slots.is_closed()
    }

    /// Connections that are open or being made.
    pub fn size(&self) -> usize {
        let sizes = self.inner.slots.sizes();
        sizes.idle + sizes.lent + sizes.connecting
    }

    /// Numbers of this moment, and counters since the pool was made.
    pub fn stats(&self) -> Stats {
        let counters = self.inner.slots.counters(|counters| counters.clone());
        Stats::new(self.inner.slots.sizes(), self.inner.slots.oldest().map(Holder::from), counters)
    }

    pub(crate) fn connector(&self) -> &C {
        &self.inner.connect
    }
}

impl<C: Connect> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Pool { inner: Arc::clone(&self.inner) }
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

    /// Makes sure of the background task, on the runtime of whoever calls.
    fn start_driver(self: &Arc<Self>) {
        self.driver.start(self);
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
        let oldest = self.slots.oldest().map(Holder::from);
        AcquireError::AllBusy { waited, size: self.settings.max_size, oldest }
    }

    /// A connection comes home.
    fn come_home(
        &self,
        slot: usize,
        generation: u64,
        entry: Entry<C::Connection>,
        reason: Option<CloseReason>,
        now: Instant,
    ) {
        let is_over = entry.expires.is_some_and(|expires| expires <= now);
        let reason = reason.or(is_over.then_some(CloseReason::Lifetime));
        if reason.is_some() {
            // Closed before its slot is vacant: there are never more connections than slots.
            drop(entry);
            return self.tell(self.slots.vacate(slot, reason, now));
        }
        let (unwelcome, tell) = self.slots.give(Loan { slot, generation, item: entry }, now);
        drop(unwelcome);
        self.tell(tell);
    }

    fn last_error(&self) -> std::sync::MutexGuard<'_, Option<C::Error>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Connect> Drop for Inner<C> {
    fn drop(&mut self) {
        // The background task ends when it finds nobody to work for.
        self.driver.wake();
    }
}

impl From<Borrower> for Holder {
    fn from(borrower: Borrower) -> Self {
        Holder { age: borrower.since.elapsed(), location: borrower.location }
    }
}

/// A place in the queue.
struct Waiting<'p, C: Connect> {
    inner: &'p Arc<Inner<C>>,
    waiter: Option<usize>,
}

impl<C: Connect> Future for Waiting<'_, C> {
    type Output = Result<Loan<Entry<C::Connection>>, AcquireError<C::Error>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let waiter = self.waiter.expect("it is not polled after it was ready");
        let served = self.inner.slots.poll(waiter, context.waker());
        if served.is_ready() {
            self.waiter = None;
        } else {
            self.inner.start_driver();
        }
        served
    }
}

impl<C: Connect> Drop for Waiting<'_, C> {
    fn drop(&mut self) {
        let served = self.waiter.and_then(|waiter| self.inner.slots.leave(waiter));
        if let Some(loan) = served {
            self.inner.come_home(loan.slot, loan.generation, loan.item, None, Instant::now());
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
    /// Whether it got as far as its borrower's hands. Until then it goes home as it came.
    is_lent: bool,
}

impl<C: Connect> Pooled<C> {
    fn new(inner: &Arc<Inner<C>>, loan: Loan<Entry<C::Connection>>) -> Self {
        let Loan { slot, generation, item } = loan;
        Pooled { inner: Arc::clone(inner), entry: Some(item), slot, generation, unfit: None, is_lent: false }
    }

    fn untested(inner: &Arc<Inner<C>>, loan: Loan<Entry<C::Connection>>) -> Self {
        let mut pooled = Self::new(inner, loan);
        pooled.is_lent = true;
        pooled
    }

    /// Whether it may be lent: tested when it was idle for long. When not, and when this is dropped, it is closed.
    async fn is_fit(&mut self, now: Instant, deadline: Instant) -> bool {
        (!self.needs_test(now) || self.passes_test(deadline).await) && self.check_out(now)
    }

    async fn passes_test(&mut self, deadline: Instant) -> bool {
        self.unfit = Some(CloseReason::TestFailed);
        let inner = Arc::clone(&self.inner);
        match tokio::time::timeout_at(deadline, inner.connect.test(&mut *self)).await {
            Ok(Ok(())) => {
                self.unfit = None;
                self.entry.as_mut().expect("present until dropped").idle_since = Instant::now();
            }
            Ok(Err(error)) => tracing::debug!(%error, "an idle connection failed its test and is closed"),
            Err(_) => tracing::debug!("an idle connection's test outlasted the acquire timeout; it is closed"),
        }
        self.unfit.is_none()
    }

    fn needs_test(&self, now: Instant) -> bool {
        let idle = now.saturating_duration_since(self.entry().idle_since);
        self.inner.settings.test_after_idle.is_some_and(|after| idle > after)
    }

    fn check_out(&mut self, now: Instant) -> bool {
        let entry = self.entry.as_mut().expect("present until dropped");
        if entry.expires.is_some_and(|expires| expires <= now) {
            self.unfit = Some(CloseReason::Lifetime);
        } else if !self.inner.connect.check_out(&mut entry.connection) {
            self.unfit = Some(CloseReason::TestFailed);
        }
        self.is_lent = self.unfit.is_none();
        self.is_lent
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
        let Some(mut entry) = self.entry.take() else { return };
        let now = Instant::now();
        let mut reason = self.unfit;
        if self.is_lent {
            // Whoever panics may have been in the middle of anything.
            if std::thread::panicking() || !self.inner.connect.check_in(&mut entry.connection) {
                reason = Some(CloseReason::Unclean);
            }
            entry.idle_since = now;
        }
        self.inner.come_home(self.slot, self.generation, entry, reason, now);
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
    }
}
