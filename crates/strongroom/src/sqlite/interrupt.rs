//! Stopping a running statement: because its caller is gone, or its time is up.
//!
//! SQLite calls the connection's progress handler every few thousand steps of its virtual machine; the handler looks
//! whether whoever wants the running statement still does. `sqlite3_interrupt` could not do that: it hits whatever
//! statement runs when it arrives, which may be the next caller's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::error::{Error, QueryErrorKind};
use crate::sqlite::work::Ticket;

/// Virtual machine steps between two looks, some 20 µs.
const STEPS_BETWEEN_LOOKS: i32 = 4_000;

/// The error of a statement or batch that was stopped: at the deadline it is that its time was up.
pub(crate) fn stopped_at(deadline: Instant, error: Error) -> Error {
    match error {
        Error::Cancelled if Instant::now() >= deadline => Error::query(
            QueryErrorKind::Timeout,
            "it ran longer than session_max_age allows and was stopped; divide the work",
        ),
        other => other,
    }
}

/// One connection's progress handler, as seen from outside.
#[derive(Clone, Default)]
pub(crate) struct Interrupt {
    watched: Arc<Mutex<Option<Watched>>>,
}

enum Watched {
    Caller {
        ticket: Ticket,
        deadline: Option<Instant>,
    },
    /// So many looks are left.
    Limit(u32),
}

impl Interrupt {
    pub(crate) fn install(&self, db: &mut rusqlite::Connection) -> rusqlite::Result<()> {
        let interrupt = self.clone();
        db.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || interrupt.is_due()))
    }

    /// Stops statements from now on when nobody wants the ticket's work any more, or at the deadline; until the guard is
    /// dropped.
    pub(crate) fn watch(&self, ticket: &Ticket, deadline: Option<Instant>) -> Watching<'_> {
        self.begin(Watched::Caller { ticket: ticket.clone(), deadline })
    }

    /// Stops statements after so many looks; until the guard is dropped.
    pub(crate) fn limit(&self, looks: u32) -> Watching<'_> {
        self.begin(Watched::Limit(looks))
    }

    fn begin(&self, watched: Watched) -> Watching<'_> {
        *self.lock() = Some(watched);
        Watching(self)
    }

    fn is_due(&self) -> bool {
        match &mut *self.lock() {
            None => false,
            Some(Watched::Caller { ticket, deadline }) => {
                ticket.is_gone() || deadline.is_some_and(|deadline| Instant::now() >= deadline)
            }
            Some(Watched::Limit(looks)) => {
                *looks = looks.saturating_sub(1);
                *looks == 0
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Watching<'i>(&'i Interrupt);

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}
