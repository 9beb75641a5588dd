//! The pool's core: who has which connection, and who is next. One lock, no waiting, no I/O.
//!
//! A *slot* is room for one connection. A *loan* is a connection out of its slot: it is given back with
//! [`give`](Slots::give), or dropped and its slot emptied with [`vacate`](Slots::vacate), in this order, so that there are
//! never more connections than slots. A *waiter* is served in the order of arrival, and nobody overtakes: a connection that
//! comes home goes straight to the first waiter.
//!
//! Wakers and callbacks are run, and connections and wakers dropped, outside the lock. This file uses nothing of the crate
//! but its neighbours, so that the model check (`tests/model`) can compile it with loom's lock.

use std::collections::VecDeque;
use std::panic::Location;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::counters::{CloseReason, Counters};
use super::queue::{Left, Notice, Queue, Serving, Waiter};
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
    lent: usize,
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
    /// Nobody has used it since then. Becomes `Lent` when taken, `Aside` when swept.
    Idle(T, Instant),
    /// Taken out of idleness by the pool itself, to be tested or closed. Becomes `Idle` again, in its old place, or `Lent`
    /// to a waiter, when given back; `Vacant` when closed.
    Aside(Instant),
    /// Becomes `Idle` when given back, `Lent` to the next when somebody waits, `Vacant` when closed.
    Lent(Borrower),
}

/// Who has a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Borrower {
    pub(crate) location: &'static Location<'static>,
    pub(crate) since: Instant,
    /// Whether the leak warning has been given.
    warned: bool,
}

/// A connection out of its slot.
#[derive(Debug)]
pub(crate) struct Loan<T> {
    pub(crate) slot: usize,
    pub(crate) generation: u64,
    pub(crate) item: T,
}

/// A connection out of its slot that is to be dropped, and its slot [vacated](Slots::vacate) then.
#[must_use]
#[derive(Debug)]
pub(crate) struct Unwanted<T> {
    pub(crate) slot: usize,
    pub(crate) reason: CloseReason,
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

/// Why somebody waits, or has waited in vain.
pub(crate) enum Obstacle {
    /// Every slot has a connection, and none came home.
    Busy {
        size: usize,
        oldest: Option<Borrower>,
    },
    Connecting,
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
    pub(crate) unwanted: Vec<Unwanted<T>>,
    pub(crate) test: Vec<Loan<T>>,
}

/// A moment's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// With nobody: to be lent, or just now tested or closed by the pool itself.
    pub(crate) idle: usize,
    pub(crate) lent: usize,
    pub(crate) connecting: usize,
    pub(crate) waiting: usize,
}

impl Sizes {
    /// Connections that exist or are being made.
    pub(crate) fn total(self) -> usize {
        self.idle + self.lent + self.connecting
    }
}

impl<T, F> Slots<T, F> {
    pub(crate) fn new(size: usize) -> Self {
        Slots {
            state: Mutex::new(State {
                slots: (0..size).map(|_| Slot::Vacant).collect(),
                idle: VecDeque::with_capacity(size),
                vacant: (0..size).rev().collect(),
                connecting: 0,
                lent: 0,
                queue: Queue::default(),
                generation: 0,
                paused: false,
                closed: false,
                counters: Counters::default(),
            }),
        }
    }

    /// Takes an idle connection, if the one used last is `fit`. When somebody waits already, none is idle.
    pub(crate) fn try_take(
        &self,
        location: &'static Location<'static>,
        now: Instant,
        fit: impl FnOnce(&T) -> bool,
    ) -> Result<Option<Loan<T>>, Closed> {
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        let loan = state.last_idle().is_some_and(fit).then(|| state.take(location, now, Duration::ZERO));
        Ok(loan.flatten())
    }

    /// Takes an idle connection, or joins the queue. Only then is `notice` called.
    pub(crate) fn take(
        &self,
        waiter: Waiter,
        now: Instant,
        notice: impl FnOnce() -> Notice<T, F>,
    ) -> Result<Taken<T>, Closed> {
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        let waited = now.saturating_duration_since(waiter.since);
        if let Some(loan) = state.take(waiter.location, now, waited) {
            return Ok(Taken::Loan(loan));
        }
        let place = state.queue.push(waiter, notice());
        Ok(Taken::Queued(place, state.tell()))
    }

    /// Whether the waiter's turn has come. Once it has, there is no such waiter any more.
    pub(crate) fn poll(&self, place: usize, waker: &Waker) -> Poll<Result<Loan<T>, F>> {
        // Declared first: dropped after the lock is.
        let mut old = None;
        self.lock().queue.poll(place, waker, &mut old)
    }

    /// Takes a waiter out of the queue. A connection that it was served meanwhile is the caller's to give back.
    pub(crate) fn leave(&self, place: usize) -> Option<Loan<T>> {
        let left = self.lock().queue.remove(place);
        match left {
            Left::Waiting { .. } => None,
            Left::Served(outcome) => outcome.ok(),
        }
    }

    /// Gives a connection, new or lent until now, to the first waiter, or lays it idle. When the pool is paused or closed,
    /// or the connection's generation over, it comes back, with its slot as it was.
    pub(crate) fn give(&self, loan: Loan<T>, now: Instant) -> Result<(), Unwanted<T>> {
        let mut state = self.lock();
        if let Some(reason) = state.unwelcome(loan.generation) {
            return Err(Unwanted { slot: loan.slot, reason, item: loan.item });
        }
        let used = state.leave_slot(loan.slot, true, now);
        let Some((ahead, turn)) = state.queue.pop() else {
            state.lay_idle(loan, used);
            return Ok(());
        };
        state.lend(loan.slot, ahead.location, now, now.saturating_duration_since(ahead.since));
        let serving = state.queue.serve(turn, Ok(loan));
        drop(state);
        serving.go();
        Ok(())
    }

    /// Empties the slot of a connection that is no more, or (without a reason) was not made.
    pub(crate) fn vacate(&self, slot: usize, reason: Option<CloseReason>, now: Instant) -> Tell {
        let mut state = self.lock();
        state.empty(slot, reason, now);
        state.tell()
    }

    /// Empties the slot of a connection that could not be made. The first waiter fails, unless others are being made for
    /// all who wait.
    pub(crate) fn abandon(&self, slot: usize, now: Instant, failure: F) -> Tell {
        let mut state = self.lock();
        state.empty(slot, None, now);
        let mut serving = None;
        if state.queue.len() > state.connecting
            && let Some((_, turn)) = state.queue.pop()
        {
            serving = Some(state.queue.serve(turn, Err(failure)));
        }
        let tell = state.tell();
        drop(state);
        serving.into_iter().for_each(Serving::go);
        tell
    }

    /// Reserves a slot for a connection that should be made: for a waiter that none is being made for, or to have `least`.
    /// Answers the slot and the connection's generation.
    pub(crate) fn reserve(&self, least: usize) -> Option<(usize, u64)> {
        let mut state = self.lock();
        let is_short = state.size() < least && !state.is_stopped();
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

    /// Fails the waiters whose time is up. `failure` gets how long one has waited, and the state of the pool.
    pub(crate) fn expire(&self, now: Instant, failure: impl Fn(Duration, Obstacle) -> F) {
        loop {
            let mut state = self.lock();
            if state.queue.first().is_none_or(|waiter| waiter.deadline > now) {
                return;
            }
            let obstacle = state.obstacle();
            let serving = state.queue.pop().map(|(waiter, turn)| {
                state.counters.timeouts += 1;
                state.queue.serve(turn, Err(failure(now.saturating_duration_since(waiter.since), obstacle)))
            });
            drop(state);
            serving.into_iter().for_each(Serving::go);
        }
    }

    /// Counts a timeout of somebody who is not in the queue.
    pub(crate) fn timed_out(&self) -> Obstacle {
        let mut state = self.lock();
        state.counters.timeouts += 1;
        state.obstacle()
    }

    /// Until when the first waiter waits.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.lock().queue.first().map(|waiter| waiter.deadline)
    }

    /// Judges each idle connection, the one that is idle longest first. `judge` also gets how many connections there would
    /// be without those to be closed, and since when it was not used.
    pub(crate) fn sweep(&self, mut judge: impl FnMut(&T, usize, Instant) -> Verdict) -> Swept<T> {
        let mut state = self.lock();
        let (mut unwanted, mut test) = (Vec::new(), Vec::new());
        for slot in std::mem::take(&mut state.idle) {
            let size = state.size() - unwanted.len();
            let Slot::Idle(item, used) = &state.slots[slot] else {
                unreachable!("the list of idle slots holds idle ones only")
            };
            match judge(item, size, *used) {
                Verdict::Keep => state.idle.push_back(slot),
                Verdict::Close(reason) => unwanted.push(state.put_aside(slot).unwanted(reason)),
                Verdict::Test => test.push(state.put_aside(slot)),
            }
        }
        Swept { unwanted, test }
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
    /// they come home, idle ones at once.
    pub(crate) fn end_generation(&self, old: u64) -> Vec<Unwanted<T>> {
        let mut state = self.lock();
        if state.generation != old {
            return Vec::new();
        }
        state.generation += 1;
        state.clear_idle(CloseReason::Generation)
    }

    /// Lends nothing until [`resume`](Self::resume). Who comes joins the queue.
    pub(crate) fn pause(&self) -> Result<Vec<Unwanted<T>>, Closed> {
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        state.paused = true;
        Ok(state.clear_idle(CloseReason::Paused))
    }

    pub(crate) fn resume(&self) -> Tell {
        let mut state = self.lock();
        state.paused = false;
        state.tell()
    }

    /// Refuses everybody from now on, those who wait with `failure`.
    pub(crate) fn close(&self, failure: impl Fn() -> F) -> Vec<Unwanted<T>> {
        let mut state = self.lock();
        state.closed = true;
        let unwanted = state.clear_idle(CloseReason::PoolClosed);
        let failed = state.fail_all(failure);
        drop(state);
        failed.into_iter().for_each(Serving::go);
        unwanted
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

    pub(crate) fn connect_failed(&self) {
        self.lock().counters.connect_errors += 1;
    }

    /// Everything that can be counted, of one moment.
    pub(crate) fn numbers(&self) -> (Sizes, Option<Borrower>, Counters) {
        let state = self.lock();
        (state.sizes(), state.oldest(), state.counters.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State<T, F>> {
        // Nothing panics under the lock but a broken invariant, and then each slot is still in one state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, F> State<T, F> {
    fn last_idle(&self) -> Option<&T> {
        match &self.slots[*self.idle.back()?] {
            Slot::Idle(item, _) => Some(item),
            _ => unreachable!("the list of idle slots holds idle ones only"),
        }
    }

    /// When somebody waits, and while the pool is paused, nothing is idle: so nobody is overtaken.
    fn take(&mut self, location: &'static Location<'static>, now: Instant, waited: Duration) -> Option<Loan<T>> {
        let slot = self.idle.pop_back()?;
        let loan = self.put_aside(slot);
        self.lend(slot, location, now, waited);
        Some(loan)
    }

    fn lend(&mut self, slot: usize, location: &'static Location<'static>, now: Instant, waited: Duration) {
        self.slots[slot] = Slot::Lent(Borrower { location, since: now, warned: false });
        self.lent += 1;
        self.counters.acquired(waited);
    }

    /// The connection of an idle slot that is off the list.
    fn put_aside(&mut self, slot: usize) -> Loan<T> {
        let Slot::Idle(_, used) = self.slots[slot] else { unreachable!("the list of idle slots holds idle ones only") };
        match std::mem::replace(&mut self.slots[slot], Slot::Aside(used)) {
            Slot::Idle(item, _) => Loan { slot, generation: self.generation, item },
            _ => unreachable!("it was looked at a line above"),
        }
    }

    /// What comes to its end in a slot that is about to get its next state: a loan, or the making of a connection. Answers
    /// when its connection was used last.
    fn leave_slot(&mut self, slot: usize, is_made: bool, now: Instant) -> Instant {
        match &self.slots[slot] {
            Slot::Lent(borrower) => {
                self.counters.released(now.saturating_duration_since(borrower.since));
                self.lent -= 1;
            }
            Slot::Connecting => {
                self.counters.created += u64::from(is_made);
                self.connecting -= 1;
            }
            Slot::Aside(used) => return *used,
            Slot::Vacant | Slot::Idle(..) => unreachable!("a connection comes home to its own slot, once"),
        }
        now
    }

    /// The connection used last is lent next.
    fn lay_idle(&mut self, loan: Loan<T>, used: Instant) {
        let is_later = |&slot: &usize| matches!(self.slots[slot], Slot::Idle(_, other) if other > used);
        let later = self.idle.iter().rev().take_while(|&slot| is_later(slot)).count();
        self.idle.insert(self.idle.len() - later, loan.slot);
        self.slots[loan.slot] = Slot::Idle(loan.item, used);
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

    fn empty(&mut self, slot: usize, reason: Option<CloseReason>, now: Instant) {
        self.leave_slot(slot, reason.is_some(), now);
        self.slots[slot] = Slot::Vacant;
        self.vacant.push(slot);
        reason.into_iter().for_each(|reason| self.counters.closed(reason));
    }

    fn clear_idle(&mut self, reason: CloseReason) -> Vec<Unwanted<T>> {
        let idle = std::mem::take(&mut self.idle);
        idle.into_iter().map(|slot| self.put_aside(slot).unwanted(reason)).collect()
    }

    /// Whether nothing is lent for now, or ever again.
    fn is_stopped(&self) -> bool {
        self.paused || self.closed
    }

    fn tell(&self) -> Tell {
        Tell {
            connect: !self.is_stopped() && self.queue.len() > self.connecting && !self.vacant.is_empty(),
            quiet: self.is_stopped() && self.size() == 0,
        }
    }

    fn obstacle(&self) -> Obstacle {
        // While the pool is paused, it is lent as a whole.
        if self.paused || self.connecting == 0 && self.vacant.is_empty() {
            Obstacle::Busy { size: self.size(), oldest: self.oldest() }
        } else {
            Obstacle::Connecting
        }
    }

    /// Connections that exist or are being made.
    fn size(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    fn sizes(&self) -> Sizes {
        let (lent, connecting) = (self.lent, self.connecting);
        Sizes { idle: self.size() - lent - connecting, lent, connecting, waiting: self.queue.len() }
    }

    /// Who holds a connection longest.
    fn oldest(&self) -> Option<Borrower> {
        self.slots.iter().filter_map(Slot::lent).min_by_key(|borrower| borrower.since).copied()
    }
}

impl<T> Loan<T> {
    fn unwanted(self, reason: CloseReason) -> Unwanted<T> {
        Unwanted { slot: self.slot, reason, item: self.item }
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
