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

/// Somebody who waits.
#[derive(Clone, Copy)]
pub(super) struct Waiter {
    pub(super) location: &'static Location<'static>,
    pub(super) since: Instant,
    pub(super) deadline: Instant,
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
enum Notice<T, F> {
    /// It polls; before its first poll there is no waker.
    Waker(Option<Waker>),
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
    Wake(Option<Waker>),
    Call(Callback<T, F>, Result<Loan<T>, F>),
}

impl<T, F> Serving<T, F> {
    pub(super) fn go(self) {
        match self {
            Serving::Wake(waker) => waker.into_iter().for_each(Waker::wake),
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

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn first(&self) -> Option<&Waiter> {
        match &self.places[self.first?] {
            Place::Waiting { waiter, .. } => Some(waiter),
            _ => unreachable!("the list links those who wait"),
        }
    }

    /// Puts a waiter last, and answers its place.
    pub(super) fn push(&mut self, waiter: Waiter, callback: Option<Callback<T, F>>) -> usize {
        let notice = callback.map_or(Notice::Waker(None), Notice::Callback);
        let waiting = Place::Waiting { waiter, notice, before: self.last, after: None };
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
        self.link(self.last, Some(place));
        self.last = Some(place);
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

    pub(super) fn poll(&mut self, place: usize, waker: &Waker) -> Poll<Result<Loan<T>, F>> {
        if let Place::Waiting { notice: Notice::Waker(known), .. } = &mut self.places[place] {
            match known {
                Some(known) => known.clone_from(waker),
                None => *known = Some(waker.clone()),
            }
            return Poll::Pending;
        }
        match self.vacate(place) {
            Place::Served(outcome) => Poll::Ready(outcome),
            _ => unreachable!("a waiter polls its own place, until it is served"),
        }
    }

    /// Takes a waiter out that gives up.
    pub(super) fn remove(&mut self, place: usize) -> Option<Loan<T>> {
        if self.unlink(place).is_some() {
            self.free.push(place);
            return None;
        }
        match self.vacate(place) {
            Place::Served(outcome) => outcome.ok(),
            _ => unreachable!("a waiter leaves its own place, once"),
        }
    }

    fn vacate(&mut self, place: usize) -> Place<T, F> {
        self.free.push(place);
        std::mem::replace(&mut self.places[place], Place::Free)
    }

    /// Takes a place off the list, if it is on it, and leaves it free.
    fn unlink(&mut self, place: usize) -> Option<(Waiter, Notice<T, F>)> {
        if !matches!(self.places[place], Place::Waiting { .. }) {
            return None;
        }
        let Place::Waiting { waiter, notice, before, after } = std::mem::replace(&mut self.places[place], Place::Free)
        else {
            return None;
        };
        self.link(before, after);
        if self.last == Some(place) {
            self.last = before;
        }
        self.len -= 1;
        Some((waiter, notice))
    }

    /// Makes two places neighbours; none stands for the list's ends.
    fn link(&mut self, left: Option<usize>, right: Option<usize>) {
        match left {
            None => self.first = right,
            Some(left) => {
                if let Place::Waiting { after, .. } = &mut self.places[left] {
                    *after = right;
                }
            }
        }
        if let Some(right) = right
            && let Place::Waiting { before, .. } = &mut self.places[right]
        {
            *before = left;
        }
    }
}
