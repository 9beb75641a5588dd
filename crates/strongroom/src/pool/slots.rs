//! The pool's core: who has which connection, and who is next. One lock, no waiting, no I/O.
//!
//! A *slot* is room for one connection. A *loan* is a connection out of its slot: it is given back with
//! [`give`](Slots::give), or its slot is emptied with [`vacate`](Slots::vacate). A *waiter* is served in the order of
//! arrival, and nobody overtakes: a connection that comes home goes straight to the first waiter.
//!
//! Wakers and callbacks are run, and connections dropped, outside the lock. This file uses nothing of the crate but its
//! neighbours, so that the model check (`tests/model`) can compile it with loom's lock.

use std::collections::VecDeque;
use std::panic::Location;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::counters::{CloseReason, Counters};
use super::queue::{Queue, Serving, Waiter};
use super::sync::{Instant, Mutex, MutexGuard, PoisonError};

/// `T` is a connection, `F` says why a waiter got none.
pub(crate) struct Slots<T, F> {
    state: Mutex<State<T, F>>,
}

struct State<T, F> {
    slots: Vec<Slot<T>>,
    /// The one used last is at the back and is lent next: its caches are warm.
    idle: VecDeque<usize>,
    vacant: Vec<usize>,
    connecting: usize,
    queue: Queue<T, F>,
    /// Connections of an older generation are closed when they come home.
    generation: u64,
    /// Somebody wants the database to himself: nothing is lent.
    paused: bool,
    closed: bool,
    counters: Counters,
}

enum Slot<T> {
    /// Becomes `Connecting` when reserved.
    Vacant,
    /// A connection is being made. Becomes `Idle`, or `Lent` to a waiter, with it; `Vacant` without.
    Connecting,
    /// Becomes `Lent` when taken, `Vacant` when closed.
    Idle(T),
    /// Becomes `Idle` when given back, `Lent` to the next when somebody waits, `Vacant` when destroyed.
    Lent(Borrower),
}

/// Who has a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Borrower {
    pub(crate) location: &'static Location<'static>,
    pub(crate) since: Instant,
    /// Whether the leak warning has been given, or is not to be.
    warned: bool,
    /// Whether it is the pool itself, for a test: not counted.
    is_pool: bool,
}

/// A connection out of its slot.
#[derive(Debug)]
pub(crate) struct Loan<T> {
    pub(crate) slot: usize,
    pub(crate) generation: u64,
    pub(crate) item: T,
}

/// Called, outside the lock, when a waiter's turn comes.
pub(crate) type Callback<T, F> = Box<dyn FnOnce(Result<Loan<T>, F>) + Send>;

/// The answer to who wants a connection.
pub(crate) enum Taken<T> {
    Loan(Loan<T>),
    /// In the queue: wait with [`Slots::poll`], give up with [`Slots::leave`].
    Queued(usize, Tell),
}

/// The pool is closed.
#[derive(Debug)]
pub(crate) struct Closed;

/// Who must hear of a change.
#[must_use]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tell {
    /// A connection should be made.
    pub(crate) connect: bool,
    /// The pool is paused or closed, and nothing is lent or being made any more.
    pub(crate) quiet: bool,
}

/// What to do with an idle connection.
pub(crate) enum Verdict {
    Keep,
    Close(CloseReason),
    /// Take it out, to be tested and given back.
    Test,
}

/// What a [`sweep`](Slots::sweep) has taken out.
pub(crate) struct Swept<T> {
    pub(crate) closed: Vec<T>,
    pub(crate) test: Vec<Loan<T>>,
    pub(crate) tell: Tell,
}

/// A moment's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) idle: usize,
    pub(crate) lent: usize,
    pub(crate) connecting: usize,
    pub(crate) waiting: usize,
}

impl<T, F> Slots<T, F> {
    pub(crate) fn new(size: usize) -> Self {
        Slots {
            state: Mutex::new(State {
                slots: (0..size).map(|_| Slot::Vacant).collect(),
                idle: VecDeque::with_capacity(size),
                vacant: (0..size).rev().collect(),
                connecting: 0,
                queue: Queue::default(),
                generation: 0,
                paused: false,
                closed: false,
                counters: Counters::default(),
            }),
        }
    }

    /// Takes an idle connection, unless somebody waits for one already.
    pub(crate) fn try_take(
        &self,
        location: &'static Location<'static>,
        now: Instant,
    ) -> Result<Option<Loan<T>>, Closed> {
        self.lock().take(location, now)
    }

    /// Takes an idle connection, or joins the queue. Only then is `callback`, if there is one, taken away.
    pub(crate) fn take(
        &self,
        location: &'static Location<'static>,
        now: Instant,
        deadline: Instant,
        callback: &mut Option<Callback<T, F>>,
    ) -> Result<Taken<T>, Closed> {
        let mut state = self.lock();
        if let Some(loan) = state.take(location, now)? {
            return Ok(Taken::Loan(loan));
        }
        let waiter = state.queue.push(Waiter { location, since: now, deadline }, callback.take());
        let tell = state.tell();
        Ok(Taken::Queued(waiter, tell))
    }

    /// Whether the waiter's turn has come. Once it has, there is no such waiter any more.
    pub(crate) fn poll(&self, waiter: usize, waker: &Waker) -> Poll<Result<Loan<T>, F>> {
        self.lock().queue.poll(waiter, waker)
    }

    /// Takes a waiter out of the queue. A connection that it was served meanwhile is the caller's to give back.
    pub(crate) fn leave(&self, waiter: usize) -> Option<Loan<T>> {
        self.lock().queue.remove(waiter)
    }

    /// Gives a connection, new or lent until now, to the first waiter, or lays it idle. When the pool is paused or closed,
    /// or the connection's generation over, its slot becomes vacant and it is answered, to be dropped.
    pub(crate) fn give(&self, loan: Loan<T>, now: Instant) -> (Option<T>, Tell) {
        let mut state = self.lock();
        state.leave_slot(loan.slot, now);
        if let Some(reason) = state.unwelcome(loan.generation) {
            state.empty(loan.slot, Some(reason));
            return (Some(loan.item), state.tell());
        }
        let Some((ahead, turn)) = state.queue.pop() else {
            state.slots[loan.slot] = Slot::Idle(loan.item);
            state.idle.push_back(loan.slot);
            return (None, state.tell());
        };
        state.lend(loan.slot, ahead.location, now, now.saturating_duration_since(ahead.since));
        let serving = state.queue.serve(turn, Ok(loan));
        drop(state);
        serving.go();
        (None, Tell::default())
    }

    /// Empties the slot of a connection that is no more, or (without a reason) could not be made.
    pub(crate) fn vacate(&self, slot: usize, reason: Option<CloseReason>, now: Instant) -> Tell {
        let mut state = self.lock();
        state.leave_slot(slot, now);
        state.empty(slot, reason);
        state.tell()
    }

    /// Reserves a slot for a connection that should be made: for a waiter that none is being made for, or to have `least`.
    /// Answers the slot and the connection's generation.
    pub(crate) fn reserve(&self, least: usize) -> Option<(usize, u64)> {
        let mut state = self.lock();
        let is_short = state.size() < least && !state.paused && !state.closed;
        if !is_short && !state.tell().connect {
            return None;
        }
        let slot = state.vacant.pop()?;
        state.slots[slot] = Slot::Connecting;
        state.connecting += 1;
        Some((slot, state.generation))
    }

    /// Fails everybody who waits.
    pub(crate) fn fail_all(&self, failure: impl Fn() -> F) {
        let mut state = self.lock();
        let failed = state.fail_all(failure);
        drop(state);
        failed.into_iter().for_each(Serving::go);
    }

    /// Fails the first waiter: no connection could be made for it.
    pub(crate) fn fail_first(&self, failure: F) {
        let mut state = self.lock();
        let serving = state.queue.pop().map(|(_, turn)| state.queue.serve(turn, Err(failure)));
        drop(state);
        serving.into_iter().for_each(Serving::go);
    }

    /// Fails the waiters whose time is up. `failure` gets how long one has waited, the sizes and the oldest loan.
    pub(crate) fn expire(&self, now: Instant, failure: impl Fn(Duration, Sizes, Option<Borrower>) -> F) {
        loop {
            let mut state = self.lock();
            if state.queue.first().is_none_or(|waiter| waiter.deadline > now) {
                return;
            }
            let (sizes, oldest) = (state.sizes(), state.oldest());
            let serving = state.queue.pop().map(|(waiter, turn)| {
                state.counters.timed_out();
                state.queue.serve(turn, Err(failure(now.saturating_duration_since(waiter.since), sizes, oldest)))
            });
            drop(state);
            serving.into_iter().for_each(Serving::go);
        }
    }

    /// Until when the first waiter waits.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.lock().queue.first().map(|waiter| waiter.deadline)
    }

    /// Judges each idle connection, the one that is idle longest first. `judge` also gets how many connections there are.
    pub(crate) fn sweep(
        &self,
        location: &'static Location<'static>,
        now: Instant,
        mut judge: impl FnMut(&T, usize) -> Verdict,
    ) -> Swept<T> {
        let mut state = self.lock();
        let (mut closed, mut test) = (Vec::new(), Vec::new());
        for _ in 0..state.idle.len() {
            let Some((slot, item)) = state.idle.pop_front().and_then(|slot| state.take_idle(slot)) else { break };
            match judge(&item, state.size()) {
                Verdict::Keep => {
                    state.slots[slot] = Slot::Idle(item);
                    state.idle.push_back(slot);
                }
                Verdict::Close(reason) => {
                    closed.push(item);
                    state.empty(slot, Some(reason));
                }
                Verdict::Test => {
                    state.slots[slot] = Slot::Lent(Borrower { location, since: now, warned: true, is_pool: true });
                    test.push(Loan { slot, generation: state.generation, item });
                }
            }
        }
        let tell = state.tell();
        Swept { closed, test, tell }
    }

    /// Who has held a connection since before `since`; each is named once.
    pub(crate) fn overdue(&self, since: Instant) -> Vec<Borrower> {
        let mut state = self.lock();
        let borrowers = state.slots.iter_mut().filter_map(Slot::borrower);
        let overdue = borrowers.filter(|borrower| !borrower.warned && borrower.since <= since);
        overdue
            .map(|borrower| {
                borrower.warned = true;
                *borrower
            })
            .collect()
    }

    /// When the first of those not yet warned borrowed.
    pub(crate) fn oldest_unwarned(&self) -> Option<Instant> {
        let state = self.lock();
        state.slots.iter().filter_map(Slot::lent).filter(|borrower| !borrower.warned).map(|lent| lent.since).min()
    }

    /// Begins a new generation, unless a newer one than `old` has begun already: connections of older ones are closed when
    /// they come home, idle ones are answered to be dropped.
    pub(crate) fn end_generation(&self, old: u64) -> Swept<T> {
        let mut state = self.lock();
        let mut closed = Vec::new();
        if state.generation == old {
            state.generation += 1;
            closed = state.empty_idle(CloseReason::Generation);
        }
        let tell = state.tell();
        Swept { closed, test: Vec::new(), tell }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Lends nothing until [`resume`](Self::resume), and answers what was idle, to be dropped. Who comes joins the queue.
    pub(crate) fn pause(&self) -> Result<Swept<T>, Closed> {
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        state.paused = true;
        let closed = state.empty_idle(CloseReason::Paused);
        let tell = state.tell();
        Ok(Swept { closed, test: Vec::new(), tell })
    }

    pub(crate) fn resume(&self) -> Tell {
        let mut state = self.lock();
        state.paused = false;
        state.tell()
    }

    /// Refuses everybody from now on, those who wait with `failure`; answers what was idle, to be dropped.
    pub(crate) fn close(&self, failure: impl Fn() -> F) -> Swept<T> {
        let mut state = self.lock();
        state.closed = true;
        let closed = state.empty_idle(CloseReason::PoolClosed);
        let failed = state.fail_all(failure);
        let tell = state.tell();
        drop(state);
        failed.into_iter().for_each(Serving::go);
        Swept { closed, test: Vec::new(), tell }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Whether the pool is paused or closed and nothing is lent or being made.
    pub(crate) fn is_quiet(&self) -> bool {
        self.lock().tell().quiet
    }

    pub(crate) fn sizes(&self) -> Sizes {
        self.lock().sizes()
    }

    /// Who holds a connection longest.
    pub(crate) fn oldest(&self) -> Option<Borrower> {
        self.lock().oldest()
    }

    /// The counters, to be read or added to.
    pub(crate) fn counters<R>(&self, look: impl FnOnce(&mut Counters) -> R) -> R {
        look(&mut self.lock().counters)
    }

    fn lock(&self) -> MutexGuard<'_, State<T, F>> {
        // Nothing panics under the lock but a broken invariant, and then each slot is still in one state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, F> State<T, F> {
    fn take(&mut self, location: &'static Location<'static>, now: Instant) -> Result<Option<Loan<T>>, Closed> {
        if self.closed {
            return Err(Closed);
        }
        // When somebody waits, and while the pool is paused, nothing is idle: so nobody is overtaken.
        let Some((slot, item)) = self.idle.pop_back().and_then(|slot| self.take_idle(slot)) else { return Ok(None) };
        self.lend(slot, location, now, Duration::ZERO);
        Ok(Some(Loan { slot, generation: self.generation, item }))
    }

    fn lend(&mut self, slot: usize, location: &'static Location<'static>, now: Instant, waited: Duration) {
        self.slots[slot] = Slot::Lent(Borrower { location, since: now, warned: false, is_pool: false });
        self.counters.acquired(waited);
    }

    /// The connection of an idle slot, which the caller gives its next state.
    fn take_idle(&mut self, slot: usize) -> Option<(usize, T)> {
        match std::mem::replace(&mut self.slots[slot], Slot::Vacant) {
            Slot::Idle(item) => Some((slot, item)),
            _ => unreachable!("the list of idle slots holds idle ones only"),
        }
    }

    /// What comes to its end in a slot that is about to get its next state: a loan, or the making of a connection.
    fn leave_slot(&mut self, slot: usize, now: Instant) {
        match &self.slots[slot] {
            Slot::Lent(Borrower { is_pool: true, .. }) => {}
            Slot::Lent(borrower) => self.counters.released(now.saturating_duration_since(borrower.since)),
            Slot::Connecting => self.connecting -= 1,
            Slot::Vacant | Slot::Idle(_) => unreachable!("a connection comes home to its own slot, once"),
        }
    }

    /// Why a connection that comes home is not kept.
    fn unwelcome(&self, generation: u64) -> Option<CloseReason> {
        if self.closed {
            Some(CloseReason::PoolClosed)
        } else if self.paused {
            Some(CloseReason::Paused)
        } else {
            (generation < self.generation).then_some(CloseReason::Generation)
        }
    }

    fn fail_all(&mut self, failure: impl Fn() -> F) -> Vec<Serving<T, F>> {
        let mut failed = Vec::new();
        while let Some((_, turn)) = self.queue.pop() {
            failed.push(self.queue.serve(turn, Err(failure())));
        }
        failed
    }

    fn empty(&mut self, slot: usize, reason: Option<CloseReason>) {
        self.slots[slot] = Slot::Vacant;
        self.vacant.push(slot);
        if let Some(reason) = reason {
            self.counters.closed(reason);
        }
    }

    fn empty_idle(&mut self, reason: CloseReason) -> Vec<T> {
        let mut items = Vec::new();
        while let Some((slot, item)) = self.idle.pop_front().and_then(|slot| self.take_idle(slot)) {
            self.empty(slot, Some(reason));
            items.push(item);
        }
        items
    }

    fn tell(&self) -> Tell {
        let is_stopped = self.paused || self.closed;
        Tell {
            connect: !is_stopped && self.queue.len() > self.connecting && !self.vacant.is_empty(),
            quiet: is_stopped && self.size() == 0,
        }
    }

    /// Connections that exist or are being made.
    fn size(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    fn sizes(&self) -> Sizes {
        let (idle, connecting) = (self.idle.len(), self.connecting);
        Sizes { idle, connecting, lent: self.size() - idle - connecting, waiting: self.queue.len() }
    }

    fn oldest(&self) -> Option<Borrower> {
        self.slots.iter().filter_map(Slot::lent).min_by_key(|borrower| borrower.since).copied()
    }
}

impl<T> Slot<T> {
    fn lent(&self) -> Option<&Borrower> {
        match self {
            Slot::Lent(borrower) => Some(borrower),
            _ => None,
        }
    }

    fn borrower(&mut self) -> Option<&mut Borrower> {
        match self {
            Slot::Lent(borrower) => Some(borrower),
            _ => None,
        }
    }
}
