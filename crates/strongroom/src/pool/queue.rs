//! Who waits for a connection, first come, first served.
//!
//! A doubly linked list in a vector, so that a waiter that gives up leaves from the middle at once, and nobody allocates
//! once the vector has grown.

use std::panic::Location;
use std::task::{Poll, Waker};

use super::slots::{Callback, Loan};
use super::sync::Instant;

pub(super) struct Queue<T, F> {
    places: Vec<Place<T, F>>,
    free: Vec<usize>,
    first: Option<usize>,
    last: Option<usize>,
    len: usize,
}

/// Somebody who wants a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) location: &'static Location<'static>,
    pub(crate) since: Instant,
    pub(crate) deadline: Instant,
}

enum Place<T, F> {
    /// Becomes `Waiting`.
    Free,
    /// Becomes `Served` when its turn comes (`Free` with a callback), `Free` when it leaves.
    Waiting { waiter: Waiter, notice: Notice<T, F>, before: Option<usize>, after: Option<usize> },
    /// Out of the list; what it got is here until it looks. Then `Free`.
    Served(Result<Loan<T>, F>),
}

/// How a waiter hears that its turn has come.
pub(crate) enum Notice<T, F> {
    /// It polls.
    Waker(Waker),
    Callback(Callback<T, F>),
}

/// A waiter that was taken off the list and is to be served.
pub(super) struct Turn<T, F> {
    place: usize,
    notice: Notice<T, F>,
}

/// A waiter that was served and must hear of it, outside the lock.
#[must_use]
pub(super) enum Serving<T, F> {
    Wake(Waker),
    Call(Callback<T, F>, Result<Loan<T>, F>),
}

/// What a waiter that gave up leaves behind, to be dropped outside the lock.
pub(super) enum Left<T, F> {
    Waiting { _notice: Notice<T, F> },
    Served(Result<Loan<T>, F>),
}

impl<T, F> Serving<T, F> {
    pub(super) fn go(self) {
        match self {
            Serving::Wake(waker) => waker.wake(),
            Serving::Call(callback, outcome) => callback(outcome),
        }
    }
}

impl<T, F> Default for Queue<T, F> {
    fn default() -> Self {
        Queue { places: Vec::new(), free: Vec::new(), first: None, last: None, len: 0 }
    }
}

impl<T, F> Queue<T, F> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn first(&self) -> Option<&Waiter> {
        self.first.map(|place| self.waiter(place).0)
    }

    /// Puts a waiter behind all whose time is up no later, and answers its place. That is the end, unless it was served in
    /// vain and comes back.
    pub(super) fn push(&mut self, waiter: Waiter, notice: Notice<T, F>) -> usize {
        let is_first = self.first().is_none_or(|first| waiter.deadline < first.deadline);
        let mut before = if is_first { None } else { self.last };
        while let Some((other, ahead)) = before.map(|place| self.waiter(place))
            && waiter.deadline < other.deadline
        {
            before = ahead;
        }
        let after = match before.map(|place| &self.places[place]) {
            Some(Place::Waiting { after, .. }) => *after,
            _ => self.first,
        };
        let waiting = Place::Waiting { waiter, notice, before, after };
        let place = match self.free.pop() {
            Some(place) => {
                self.places[place] = waiting;
                place
            }
            None => {
                self.places.push(waiting);
                self.places.len() - 1
            }
        };
        self.link(before, Some(place));
        self.link(Some(place), after);
        self.len += 1;
        place
    }

    /// Takes the first waiter off the list, to be [served](Self::serve).
    pub(super) fn pop(&mut self) -> Option<(Waiter, Turn<T, F>)> {
        let place = self.first?;
        self.unlink(place).map(|(waiter, notice)| (waiter, Turn { place, notice }))
    }

    pub(super) fn serve(&mut self, turn: Turn<T, F>, outcome: Result<Loan<T>, F>) -> Serving<T, F> {
        match turn.notice {
            Notice::Waker(waker) => {
                self.places[turn.place] = Place::Served(outcome);
                Serving::Wake(waker)
            }
            Notice::Callback(callback) => {
                self.free.push(turn.place);
                Serving::Call(callback, outcome)
            }
        }
    }

    /// Whether the waiter's turn has come. If not, and it has a new waker, the old one is put into `old`.
    pub(super) fn poll(&mut self, place: usize, waker: &Waker, old: &mut Option<Waker>) -> Poll<Result<Loan<T>, F>> {
        if let Place::Waiting { notice: Notice::Waker(known), .. } = &mut self.places[place] {
            if !known.will_wake(waker) {
                *old = Some(std::mem::replace(known, waker.clone()));
            }
            return Poll::Pending;
        }
        match self.vacate(place) {
            Place::Served(outcome) => Poll::Ready(outcome),
            _ => unreachable!("a waiter polls its own place, until it is served"),
        }
    }

    /// Takes a waiter out that gives up.
    pub(super) fn remove(&mut self, place: usize) -> Left<T, F> {
        if let Some((_, notice)) = self.unlink(place) {
            self.free.push(place);
            return Left::Waiting { _notice: notice };
        }
        match self.vacate(place) {
            Place::Served(outcome) => Left::Served(outcome),
            _ => unreachable!("a waiter leaves its own place, once"),
        }
    }

    /// The waiter in a place that is on the list, and the place before it.
    fn waiter(&self, place: usize) -> (&Waiter, Option<usize>) {
        match &self.places[place] {
            Place::Waiting { waiter, before, .. } => (waiter, *before),
            _ => unreachable!("the list links those who wait"),
        }
    }

    fn vacate(&mut self, place: usize) -> Place<T, F> {
        self.free.push(place);
        std::mem::replace(&mut self.places[place], Place::Free)
    }

    /// Takes a place off the list, if it is on it, and leaves it free.
    fn unlink(&mut self, place: usize) -> Option<(Waiter, Notice<T, F>)> {
        match std::mem::replace(&mut self.places[place], Place::Free) {
            Place::Waiting { waiter, notice, before, after } => {
                self.link(before, after);
                self.len -= 1;
                Some((waiter, notice))
            }
            other => {
                self.places[place] = other;
                None
            }
        }
    }

    /// Makes two places neighbours; none stands for the list's ends.
    fn link(&mut self, left: Option<usize>, right: Option<usize>) {
        match left.map(|left| &mut self.places[left]) {
            Some(Place::Waiting { after, .. }) => *after = right,
            _ => self.first = right,
        }
        match right.map(|right| &mut self.places[right]) {
            Some(Place::Waiting { before, .. }) => *before = left,
            _ => self.last = left,
        }
    }
}
