//! The pool's core against a naive model of it: random operations, and after each the same answers, sizes and counters.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::SECOND;
use crate::pool::counters::CloseReason;
use crate::pool::queue::{Notice, Waiter};
use crate::pool::slots::{Loan, Sizes, Slots, Taken, Unwanted, Verdict};

/// Why a waiter got nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Expired,
    Failed,
    Lost,
    Closed,
}

/// A number in an operation chooses among what there is at that moment.
#[derive(Clone, Debug)]
enum Op {
    /// Takes, or joins the queue; `late` with the deadline of somebody who came that much earlier.
    Take {
        late: u64,
        callback: bool,
    },
    TryTake {
        fit: bool,
    },
    Poll(usize),
    Leave(usize),
    Give(usize),
    Vacate(usize),
    Reserve {
        least: usize,
    },
    Connected(usize),
    NotConnected(usize),
    Abandon(usize),
    Expire,
    Sweep {
        keep: usize,
        test: usize,
    },
    EndGeneration {
        current: bool,
    },
    Pause,
    Resume,
    LoseDriver,
    Close,
    Wait(u64),
    Overdue(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let which = 0..64_usize;
    prop_oneof![
        8 => (prop_oneof![4 => Just(0), 1 => 0..20_u64], any::<bool>()).prop_map(|(late, callback)| Op::Take { late, callback }),
        2 => any::<bool>().prop_map(|fit| Op::TryTake { fit }),
        6 => which.clone().prop_map(Op::Poll),
        3 => which.clone().prop_map(Op::Leave),
        8 => which.clone().prop_map(Op::Give),
        2 => which.clone().prop_map(Op::Vacate),
        6 => (0..3_usize).prop_map(|least| Op::Reserve { least }),
        6 => which.clone().prop_map(Op::Connected),
        1 => which.clone().prop_map(Op::NotConnected),
        2 => which.clone().prop_map(Op::Abandon),
        2 => Just(Op::Expire),
        2 => (0..4_usize, 0..4_usize).prop_map(|(keep, test)| Op::Sweep { keep, test }),
        1 => any::<bool>().prop_map(|current| Op::EndGeneration { current }),
        1 => Just(Op::Pause),
        2 => Just(Op::Resume),
        1 => Just(Op::LoseDriver),
        1 => prop_oneof![9 => Just(Op::Resume), 1 => Just(Op::Close)],
        4 => (0..20_u64).prop_map(Op::Wait),
        1 => (0..20_u64).prop_map(Op::Overdue),
    ]
}

/// Who waits, in the model.
#[derive(Clone, Debug)]
struct Waiting {
    name: usize,
    since: Instant,
    deadline: Instant,
}

/// A connection that is idle.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Idle {
    item: usize,
    used: Instant,
}

/// One that is with a borrower, or put aside.
#[derive(Clone, Debug)]
struct Out {
    item: usize,
    generation: u64,
    /// None when the pool itself has it.
    since: Option<Instant>,
    used: Instant,
    warned: bool,
}

type Answer = Result<usize, Refusal>;

/// Plain lists, no slots, and a queue that is sorted by looking at all.
#[derive(Default)]
struct Naive {
    size: usize,
    idle: Vec<Idle>,
    out: Vec<Out>,
    connecting: usize,
    queue: VecDeque<Waiting>,
    answers: Vec<(usize, Answer)>,
    generation: u64,
    paused: bool,
    closed: bool,
    created: u64,
    acquired: u64,
    released: u64,
    timeouts: u64,
    waited: Duration,
    used: Duration,
    dropped: [u64; CloseReason::ALL.len()],
}

impl Naive {
    fn total(&self) -> usize {
        self.idle.len() + self.out.len() + self.connecting
    }

    fn sizes(&self) -> Sizes {
        let lent = self.out.iter().filter(|out| out.since.is_some()).count();
        Sizes {
            idle: self.total() - lent - self.connecting,
            lent,
            connecting: self.connecting,
            waiting: self.queue.len(),
        }
    }

    fn wants_connection(&self) -> bool {
        !self.paused && !self.closed && self.queue.len() > self.connecting && self.total() < self.size
    }

    fn is_quiet(&self) -> bool {
        (self.paused || self.closed) && self.total() == 0
    }

    fn lend(&mut self, item: usize, now: Instant, waited: Duration) {
        self.out.push(Out { item, generation: self.generation, since: Some(now), used: now, warned: false });
        self.acquired += 1;
        self.waited += waited;
    }

    fn queue(&mut self, waiting: Waiting) {
        self.queue.push_back(waiting);
        // Stable: who has the same deadline stays behind who came first.
        self.queue.make_contiguous().sort_by_key(|waiting| waiting.deadline);
    }

    fn come_back(&mut self, out: &Out, now: Instant) {
        if let Some(since) = out.since {
            self.released += 1;
            self.used += now - since;
        }
    }

    /// Whether a connection is kept, and if not, why.
    fn give(&mut self, item: usize, generation: u64, used: Instant, now: Instant) {
        if let Some(first) = self.queue.pop_front() {
            self.lend(item, now, now - first.since);
            self.answers.push((first.name, Ok(item)));
            return;
        }
        assert_eq!(generation, self.generation);
        self.idle.push(Idle { item, used });
        self.idle.sort_by_key(|idle| idle.used);
    }

    fn unwelcome(&self, generation: u64) -> Option<CloseReason> {
        match () {
            () if self.closed => Some(CloseReason::PoolClosed),
            () if self.paused => Some(CloseReason::Paused),
            () if generation < self.generation => Some(CloseReason::Generation),
            () => None,
        }
    }

    fn fail_all(&mut self, refusal: Refusal) {
        for waiting in std::mem::take(&mut self.queue) {
            self.answers.push((waiting.name, Err(refusal)));
        }
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A waiter of the real core: its place, or where its callback writes.
struct Asking {
    name: usize,
    place: Option<usize>,
    bell: Arc<Bell>,
}

type Called = Arc<Mutex<Vec<(usize, Result<Loan<usize>, Refusal>)>>>;

/// The real core and the naive one, side by side.
struct Pair {
    slots: Slots<usize, Refusal>,
    naive: Naive,
    now: Instant,
    names: usize,
    asking: Vec<Asking>,
    called: Called,
    loans: Vec<Loan<usize>>,
    reserved: Vec<(usize, u64)>,
    made: usize,
}

const TIMEOUT: Duration = Duration::from_secs(30);

impl Pair {
    fn new(size: usize) -> Self {
        Pair {
            slots: Slots::new(size),
            naive: Naive { size, ..Naive::default() },
            now: Instant::now(),
            names: 0,
            asking: Vec::new(),
            called: Called::default(),
            loans: Vec::new(),
            reserved: Vec::new(),
            made: 0,
        }
    }

    fn name(&mut self) -> usize {
        self.names += 1;
        self.names
    }

    /// Idle ones, as the model says, that are now to be closed.
    fn close_idle(&mut self, unwanted: Vec<Unwanted<usize>>, reason: CloseReason) {
        let idle = std::mem::take(&mut self.naive.idle);
        let expected: Vec<_> = idle.iter().map(|idle| (idle.item, reason)).collect();
        let found: Vec<_> = unwanted.iter().map(|unwanted| (unwanted.item, unwanted.reason)).collect();
        assert_eq!(found, expected);
        for unwanted in unwanted {
            self.naive.dropped[reason as usize] += 1;
            let _ = self.slots.vacate(unwanted.slot, Some(reason), self.now);
        }
    }

    fn pick<T>(list: &mut Vec<T>, choice: usize) -> Option<T> {
        (!list.is_empty()).then(|| list.remove(choice % list.len()))
    }

    fn out(&mut self, item: usize) -> Out {
        let index = self.naive.out.iter().position(|out| out.item == item).expect("the model lent it, too");
        self.naive.out.remove(index)
    }

    /// A connection goes home in both.
    fn give(&mut self, loan: Loan<usize>) {
        let (slot, item, generation) = (loan.slot, loan.item, loan.generation);
        let out = self.out(item);
        assert_eq!(out.generation, generation);
        let given = self.slots.give(loan, self.now);
        self.naive.come_back(&out, self.now);
        match (self.naive.unwelcome(generation), given) {
            (None, Ok(())) => {
                let used = if out.since.is_some() { self.now } else { out.used };
                self.naive.give(item, generation, used, self.now);
            }
            (Some(reason), Err(unwanted)) => {
                assert_eq!((unwanted.reason, unwanted.slot, unwanted.item), (reason, slot, item));
                self.naive.dropped[reason as usize] += 1;
                let tell = self.slots.vacate(slot, Some(reason), self.now);
                assert_eq!((tell.connect, tell.quiet), (self.naive.wants_connection(), self.naive.is_quiet()));
            }
            (expected, given) => panic!("expected {expected:?}, got {given:?}"),
        }
    }

    fn step(&mut self, op: Op) {
        let (now, place) = (self.now, Location::caller());
        match op {
            Op::Wait(seconds) => self.now += u32::try_from(seconds).unwrap() * SECOND,
            Op::Take { late, callback } => {
                let since = now - Duration::from_secs(late);
                let waiter = Waiter { location: place, since, deadline: since + TIMEOUT };
                let (name, bell) = (self.name(), Arc::<Bell>::default());
                let (called, waker) = (Arc::clone(&self.called), Waker::from(Arc::clone(&bell)));
                let taken = self.slots.take(waiter, now, || {
                    if callback {
                        Notice::Callback(Box::new(move |served| called.lock().unwrap().push((name, served))))
                    } else {
                        Notice::Waker(waker)
                    }
                });
                match (taken, self.naive.closed, self.naive.idle.pop()) {
                    (Err(_), true, None) => {}
                    (Ok(Taken::Loan(loan)), false, Some(idle)) => {
                        assert_eq!(loan.item, idle.item);
                        self.naive.lend(idle.item, now, now - since);
                        self.loans.push(loan);
                    }
                    (Ok(Taken::Queued(place, tell)), false, None) => {
                        self.naive.queue(Waiting { name, since, deadline: since + TIMEOUT });
                        assert_eq!((tell.connect, tell.quiet), (self.naive.wants_connection(), self.naive.is_quiet()));
                        self.asking.push(Asking { name, place: (!callback).then_some(place), bell });
                    }
                    _ => panic!("taken otherwise than by the model"),
                }
            }
            Op::TryTake { fit } => {
                let taken = self.slots.try_take(place, now, |_| fit);
                let expected = if fit { self.naive.idle.pop() } else { None };
                assert_eq!(taken.is_err(), self.naive.closed);
                let loan = taken.ok().flatten();
                assert_eq!(loan.as_ref().map(|loan| loan.item), expected.as_ref().map(|idle| idle.item));
                if let Some(loan) = loan {
                    self.naive.lend(loan.item, now, Duration::ZERO);
                    self.loans.push(loan);
                }
            }
            Op::Poll(choice) => {
                let Some(asking) = Self::pick(&mut self.asking, choice) else { return };
                let Some(place) = asking.place else { return self.asking.push(asking) };
                let answer = self.naive.answers.iter().position(|(name, _)| *name == asking.name);
                // With another waker, each time.
                let bell = Arc::<Bell>::default();
                match (self.slots.poll(place, &Waker::from(Arc::clone(&bell))), answer) {
                    (Poll::Pending, None) => self.asking.push(Asking { bell, ..asking }),
                    (Poll::Ready(served), Some(index)) => {
                        assert_eq!(asking.bell.0.load(Ordering::Relaxed), 1, "he was not woken, or not once");
                        self.answered(served, index);
                    }
                    (polled, answer) => panic!("{polled:?}, but the model says {answer:?}"),
                }
            }
            Op::Leave(choice) => {
                let Some(asking) = Self::pick(&mut self.asking, choice) else { return };
                let Some(place) = asking.place else { return self.asking.push(asking) };
                let left = self.slots.leave(place);
                let answer = self.naive.answers.iter().position(|(name, _)| *name == asking.name);
                match answer.map(|index| self.naive.answers.remove(index).1) {
                    None => {
                        assert!(left.is_none());
                        self.naive.queue.retain(|waiting| waiting.name != asking.name);
                    }
                    Some(answer) => {
                        assert_eq!(left.as_ref().map(|loan| loan.item), answer.ok());
                        left.into_iter().for_each(|loan| self.give(loan));
                    }
                }
            }
            Op::Give(choice) => {
                let Some(loan) = Self::pick(&mut self.loans, choice) else { return };
                self.give(loan);
            }
            Op::Vacate(choice) => {
                let Some(loan) = Self::pick(&mut self.loans, choice) else { return };
                let out = self.out(loan.item);
                self.naive.come_back(&out, now);
                self.naive.dropped[CloseReason::Unclean as usize] += 1;
                let tell = self.slots.vacate(loan.slot, Some(CloseReason::Unclean), now);
                assert_eq!((tell.connect, tell.quiet), (self.naive.wants_connection(), self.naive.is_quiet()));
            }
            Op::Reserve { least } => {
                let is_short = self.naive.total() < least.min(self.naive.size);
                let is_wanted = is_short && !self.naive.paused && !self.naive.closed || self.naive.wants_connection();
                let reserved = self.slots.reserve(least);
                assert_eq!(reserved.is_some(), is_wanted);
                if let Some((slot, generation)) = reserved {
                    assert_eq!(generation, self.naive.generation);
                    self.naive.connecting += 1;
                    self.reserved.push((slot, generation));
                }
            }
            Op::Connected(choice) => {
                let Some((slot, generation)) = Self::pick(&mut self.reserved, choice) else { return };
                let item = self.made;
                self.made += 1;
                self.naive.connecting -= 1;
                self.naive.created += 1;
                let given = self.slots.give(Loan { slot, generation, item }, now);
                match (self.naive.unwelcome(generation), given) {
                    (None, Ok(())) => self.naive.give(item, generation, now, now),
                    (Some(reason), Err(unwanted)) => {
                        assert_eq!((unwanted.reason, unwanted.slot), (reason, slot));
                        self.naive.dropped[reason as usize] += 1;
                        let _ = self.slots.vacate(slot, Some(reason), now);
                    }
                    (expected, given) => panic!("expected {expected:?}, got {given:?}"),
                }
            }
            Op::NotConnected(choice) => {
                let Some((slot, _)) = Self::pick(&mut self.reserved, choice) else { return };
                self.naive.connecting -= 1;
                let tell = self.slots.vacate(slot, None, now);
                assert_eq!((tell.connect, tell.quiet), (self.naive.wants_connection(), self.naive.is_quiet()));
            }
            Op::Abandon(choice) => {
                let Some((slot, _)) = Self::pick(&mut self.reserved, choice) else { return };
                self.naive.connecting -= 1;
                if self.naive.queue.len() > self.naive.connecting {
                    let first = self.naive.queue.pop_front().unwrap();
                    self.naive.answers.push((first.name, Err(Refusal::Failed)));
                }
                let tell = self.slots.abandon(slot, now, Refusal::Failed);
                assert_eq!((tell.connect, tell.quiet), (self.naive.wants_connection(), self.naive.is_quiet()));
            }
            Op::Expire => {
                let waits = Mutex::new(Vec::new());
                self.slots.expire(now, |waited, _| {
                    waits.lock().unwrap().push(waited);
                    Refusal::Expired
                });
                let mut expected = Vec::new();
                while self.naive.queue.front().is_some_and(|waiting| waiting.deadline <= now) {
                    let first = self.naive.queue.pop_front().unwrap();
                    expected.push(now - first.since);
                    self.naive.timeouts += 1;
                    self.naive.answers.push((first.name, Err(Refusal::Expired)));
                }
                assert_eq!(waits.into_inner().unwrap(), expected);
            }
            Op::Sweep { keep, test } => {
                // The first ones, that is the coldest, are closed; some of the others tested.
                let size = self.naive.total();
                let swept = self.slots.sweep(|item, left, _| match () {
                    () if left > keep => Verdict::Close(CloseReason::Idle),
                    () if item % 4 < test => Verdict::Test,
                    () => Verdict::Keep,
                });
                let closed = size.saturating_sub(keep).min(self.naive.idle.len());
                let rest = self.naive.idle.split_off(closed);
                self.close_idle(swept.unwanted, CloseReason::Idle);
                let (tested, kept): (Vec<_>, Vec<_>) = rest.into_iter().partition(|idle| idle.item % 4 < test);
                self.naive.idle = kept;
                let found: Vec<_> = swept.test.iter().map(|loan| loan.item).collect();
                assert_eq!(found, tested.iter().map(|idle| idle.item).collect::<Vec<_>>());
                for Idle { item, used } in tested {
                    let generation = self.naive.generation;
                    self.naive.out.push(Out { item, generation, since: None, used, warned: true });
                }
                self.loans.extend(swept.test);
            }
            Op::EndGeneration { current } => {
                let old = if current { self.naive.generation } else { self.naive.generation.wrapping_sub(1) };
                let unwanted = self.slots.end_generation(old);
                if current {
                    self.naive.generation += 1;
                    self.close_idle(unwanted, CloseReason::Generation);
                } else {
                    assert!(unwanted.is_empty());
                }
            }
            Op::Pause => match self.slots.pause() {
                Ok(unwanted) => {
                    assert!(!self.naive.closed);
                    self.naive.paused = true;
                    self.close_idle(unwanted, CloseReason::Paused);
                }
                Err(_) => assert!(self.naive.closed),
            },
            Op::Resume => {
                self.naive.paused = false;
                let tell = self.slots.resume();
                assert_eq!((tell.connect, tell.quiet), (self.naive.wants_connection(), self.naive.is_quiet()));
            }
            Op::LoseDriver => {
                self.slots.fail_all(|| Refusal::Lost);
                self.naive.fail_all(Refusal::Lost);
            }
            Op::Close => {
                let unwanted = self.slots.close(|| Refusal::Closed);
                self.naive.closed = true;
                self.naive.fail_all(Refusal::Closed);
                self.close_idle(unwanted, CloseReason::PoolClosed);
            }
            Op::Overdue(seconds) => {
                let since = now - Duration::from_secs(seconds);
                let mut expected = Vec::new();
                for out in self.naive.out.iter_mut().filter(|out| !out.warned) {
                    if let Some(lent) = out.since.filter(|lent| *lent <= since) {
                        out.warned = true;
                        expected.push(lent);
                    }
                }
                let mut found: Vec<_> = self.slots.overdue(since).iter().map(|borrower| borrower.since).collect();
                expected.sort();
                found.sort();
                assert_eq!(found, expected);
            }
        }
    }

    /// Compares what one who asked has got.
    fn answered(&mut self, served: Result<Loan<usize>, Refusal>, index: usize) {
        let (_, expected) = self.naive.answers.remove(index);
        match (served, expected) {
            (Ok(loan), Ok(item)) => {
                assert_eq!(loan.item, item);
                self.loans.push(loan);
            }
            (Err(refusal), Err(expected)) => assert_eq!(refusal, expected),
            (served, expected) => panic!("{served:?} instead of {expected:?}"),
        }
    }

    fn compare(&mut self) {
        let called = std::mem::take(&mut *self.called.lock().unwrap());
        for (name, served) in called {
            let index =
                self.naive.answers.iter().position(|(other, _)| *other == name).expect("he was not to be called");
            self.asking.retain(|asking| asking.name != name);
            self.answered(served, index);
        }
        let is_called = |name: usize| self.asking.iter().any(|asking| asking.name == name && asking.place.is_none());
        assert!(!self.naive.answers.iter().any(|(name, _)| is_called(*name)), "a callback was not called");
        let (sizes, oldest, counters) = self.slots.numbers();
        assert_eq!(sizes, self.naive.sizes());
        assert_eq!(oldest.map(|oldest| oldest.since), self.naive.out.iter().filter_map(|out| out.since).min());
        assert_eq!((self.slots.is_closed(), self.slots.is_quiet()), (self.naive.closed, self.naive.is_quiet()));
        assert_eq!(self.slots.next_deadline(), self.naive.queue.front().map(|waiting| waiting.deadline));
        let unwarned = self.naive.out.iter().filter(|out| !out.warned).filter_map(|out| out.since).min();
        assert_eq!(self.slots.oldest_unwarned(), unwarned);
        let found = (counters.created, counters.acquired, counters.released, counters.timeouts, counters.closed);
        let naive = &self.naive;
        assert_eq!(found, (naive.created, naive.acquired, naive.released, naive.timeouts, naive.dropped));
        assert_eq!((counters.waits.count(), counters.waits.total()), (naive.acquired, naive.waited));
        assert_eq!((counters.uses.count(), counters.uses.total()), (naive.released, naive.used));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_operations_do_what_the_naive_model_does(size in 1..4_usize, ops in prop::collection::vec(op(), 1..200)) {
        let mut pair = Pair::new(size);
        for op in ops {
            pair.step(op);
            pair.compare();
        }
    }
}
