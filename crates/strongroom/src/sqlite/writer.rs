//! The writer: one thread that owns the one writing connection, and the group commit.
//!
//! Terms: a *unit* is what takes effect together (a statement, a batch, a session). A *group* is the units that share one
//! transaction and so one durable COMMIT. Each unit is a savepoint of the group: it can fail alone. A unit is *released*
//! when it has succeeded and waits for the group's COMMIT; only then is its caller answered.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Busy, Error, Holder, QueryErrorKind, Result};
use crate::sqlite::connection::{Answer, Connection, Opener, Role};
use crate::sqlite::failure::breaks_connection;
use crate::sqlite::file::Watch;
use crate::sqlite::interrupt::Interrupt;
use crate::sqlite::work::{Opening, Reply, SessionEnd, SessionService, Unit};
use crate::stats::Counters;

/// Units in one group at most: bounds what one failure makes run again, and how long the first waits for the last.
const GROUP_UNITS: usize = 512;

/// No further unit joins a group that is older: bounds how long a released unit waits for strangers' work.
const GROUP_AGE: Duration = Duration::from_millis(5);

/// Work for the writer, in the order of arrival.
pub(crate) enum Work {
    Unit(Unit),
    Session(Opening),
    /// Ends the thread after everything queued before; answered when the connection is closed.
    Close(Reply<()>),
}

/// A released unit, waiting for the group's COMMIT.
enum Released {
    Unit(Unit, Vec<Answer>),
    Session(Reply<()>),
}

/// What keeps the writer from the next unit, for those who wait in vain.
#[derive(Clone, Default)]
pub(crate) struct WriterHolder(Arc<Mutex<Holding>>);

#[derive(Clone, Copy, Default)]
enum Holding {
    #[default]
    Nobody,
    Session(Instant, &'static Location<'static>),
    OtherProcess,
}

impl WriterHolder {
    /// The error for a caller that has waited so long.
    pub(crate) fn waited_in_vain(&self, waited: Duration) -> Error {
        match self.get() {
            Holding::OtherProcess => Error::query(
                QueryErrorKind::Busy,
                format!("another process has kept the database's write lock for {:.1} s", waited.as_secs_f64()),
            ),
            Holding::Session(since, location) => {
                let holder = Holder { age: since.elapsed(), location };
                Error::PoolExhausted { waited, busy: Busy::Writer(Some(holder)) }
            }
            Holding::Nobody => Error::PoolExhausted { waited, busy: Busy::Writer(None) },
        }
    }

    fn get(&self) -> Holding {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, holding: Holding) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = holding;
    }
}

pub(crate) struct Writer {
    /// None after an I/O error in COMMIT, until it could be opened again.
    pub(crate) connection: Option<Connection>,
    pub(crate) opener: Arc<Opener>,
    pub(crate) watch: Option<Arc<Watch>>,
    pub(crate) queue: Receiver<Work>,
    pub(crate) holder: WriterHolder,
    pub(crate) session_max_age: Duration,
    pub(crate) counters: Arc<Counters>,
}

impl Writer {
    /// Serves the queue until it is closed: by [`Work::Close`], or because the last handle is gone.
    pub(crate) fn run(mut self) {
        // Taken off the queue and not begun: a session that arrived while a group was under way.
        let mut next = None;
        while let Some(work) = next.take().or_else(|| self.queue.recv().ok()) {
            match work {
                Work::Close(reply) => {
                    // Closing the last connection copies the log into the file.
                    drop(self.connection.take());
                    let _ = reply.send(Ok(()));
                    return;
                }
                work => next = self.group(work),
            }
        }
    }

    /// Runs one group, beginning with `first`, and commits it. Gives back work that must not join it.
    fn group(&mut self, first: Work) -> Option<Work> {
        if let Err(error) = self.begin() {
            refuse(first, error);
            return None;
        }
        let began = Instant::now();
        let mut released: Vec<Released> = Vec::new();
        let mut current = Some(first);
        let mut carried = None;
        while let Some(work) = current.take() {
            match work {
                // A session lasts as long as its holder thinks: whoever was released before does not wait for it.
                Work::Session(_) | Work::Close(_) if !released.is_empty() => {
                    carried = Some(work);
                    break;
                }
                Work::Close(_) => {
                    carried = Some(work);
                    break;
                }
                Work::Unit(unit) => {
                    if unit.ticket.take() {
                        match self.unit(&unit) {
                            Ok(answers) => released.push(Released::Unit(unit, answers)),
                            Err(error) => {
                                let aborted = !self.in_transaction();
                                self.counters.unit_failed();
                                let _ = unit.reply.send(Err(error));
                                if aborted {
                                    self.run_again(released);
                                    return None;
                                }
                            }
                        }
                    }
                }
                Work::Session(opening) => {
                    if let Some(reply) = self.session(opening) {
                        released.push(Released::Session(reply));
                    }
                    if !self.in_transaction() {
                        self.run_again(released);
                        return None;
                    }
                }
            }
            if released.len() >= GROUP_UNITS || began.elapsed() >= GROUP_AGE {
                break;
            }
            current = self.queue.try_recv().ok();
        }
        self.commit(released);
        carried
    }

    /// Runs one unit inside the open group. On an error the group is as it was before, unless SQLite has rolled the
    /// whole transaction back, which [`in_transaction`](Self::in_transaction) tells.
    fn unit(&self, unit: &Unit) -> Result<Vec<Answer>> {
        let connection = self.connection()?;
        connection.control("SAVEPOINT unit")?;
        let outcome = unit
            .steps
            .iter()
            .map(|step| connection.run(step, unit.want))
            .collect::<Result<Vec<_>>>()
            .and_then(|answers| release(connection).map(|()| answers));
        if outcome.is_err() && connection.in_transaction() {
            connection.control("ROLLBACK TO unit; RELEASE unit")?;
        }
        outcome
    }

    /// Serves a session inside the open group. Gives back whom to answer after the COMMIT, if it is to be committed.
    fn session(&self, opening: Opening) -> Option<Reply<()>> {
        let Opening { ticket, opened, request } = opening;
        if !ticket.take() {
            return None;
        }
        let connection =
            match self.connection().and_then(|connection| connection.control("SAVEPOINT unit").map(|()| connection)) {
                Ok(connection) => connection,
                Err(error) => {
                    let _ = opened.send(Err(error));
                    return None;
                }
            };
        self.holder.set(Holding::Session(Instant::now(), request.location));
        let end = match opened.send(Ok(())) {
            Ok(()) => SessionService::new(connection, request, self.session_max_age).serve(),
            Err(_) => SessionEnd::Rollback(None),
        };
        self.holder.set(Holding::Nobody);
        let roll_back = || {
            if !connection.in_transaction() {
                return Ok(());
            }
            connection.control("ROLLBACK TO unit; RELEASE unit")
        };
        match end {
            SessionEnd::Commit(reply) => match release(connection) {
                Ok(()) => Some(reply),
                Err(error) => {
                    let error = roll_back().err().unwrap_or(error);
                    let _ = reply.send(Err(error));
                    None
                }
            },
            SessionEnd::Rollback(reply) => {
                let outcome = roll_back();
                if let Some(reply) = reply {
                    let _ = reply.send(outcome);
                }
                None
            }
            SessionEnd::Lost => None,
        }
    }

    fn begin(&mut self) -> Result<()> {
        if self.connection.is_none() {
            self.connection = Some(self.opener.open(Role::Writer, Interrupt::new())?);
        }
        if let Some(watch) = &self.watch {
            watch.check()?;
        }
        self.holder.set(Holding::OtherProcess);
        let begun = self.connection()?.control("BEGIN IMMEDIATE");
        self.holder.set(Holding::Nobody);
        if begun.as_ref().is_err_and(breaks_connection) {
            self.connection = None;
        }
        begun
    }

    /// Commits the group and answers its units.
    fn commit(&mut self, released: Vec<Released>) {
        let moved = self.watch.as_ref().and_then(|watch| watch.check().err());
        let outcome = match (moved, self.connection()) {
            (None, Ok(connection)) => connection.control("COMMIT"),
            (Some(error), _) | (_, Err(error)) => Err(error),
        };
        match outcome {
            Ok(()) => {
                self.counters.group_committed(released.len());
                for released in released {
                    released.answer(Ok(()));
                }
            }
            Err(error) if error.query_kind() == Some(QueryErrorKind::Io) => {
                // The log may or may not hold the commit, and the connection does not know it either.
                tracing::error!(error = %error, "a commit failed with a disk error: its outcome is unknown");
                self.connection = None;
                let unknown = Error::CommitUnknown { source: Some(Arc::new(error)) };
                for released in released {
                    released.answer(Err(unknown.clone()));
                }
            }
            Err(error) => {
                self.roll_back();
                // A file that was moved away will not come back for one unit alone.
                if released.len() > 1 && !matches!(error, Error::Connection { .. }) {
                    return self.run_again(released);
                }
                for released in released {
                    released.answer(Err(error.clone()));
                }
            }
        }
    }

    /// After the whole group was rolled back for one unit's fault: the others get a transaction each.
    ///
    /// A session cannot be run again by the engine; its holder is told that the same work may succeed.
    fn run_again(&mut self, released: Vec<Released>) {
        if self.in_transaction() {
            self.roll_back();
        }
        let mut again: VecDeque<Released> = released.into();
        while let Some(released) = again.pop_front() {
            match released {
                Released::Session(reply) => {
                    let _ = reply.send(Err(Error::query(
                        QueryErrorKind::Serialization,
                        "another unit of the same commit made the engine roll it back as a whole",
                    )));
                }
                Released::Unit(unit, _) => match self.begin().and_then(|()| self.unit(&unit)) {
                    Ok(answers) => self.commit(vec![Released::Unit(unit, answers)]),
                    Err(error) => {
                        if self.in_transaction() {
                            self.roll_back();
                        }
                        let _ = unit.reply.send(Err(error));
                    }
                },
            }
        }
    }

    fn roll_back(&mut self) {
        let outcome = self.connection().and_then(|connection| connection.control("ROLLBACK"));
        if let Err(error) = outcome
            && self.in_transaction()
        {
            // A connection that cannot even roll back is not used again; closing it does.
            tracing::error!(error = %error, "the writing connection could not roll back and is replaced");
            self.connection = None;
        }
    }

    fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or(Error::Closed)
    }

    fn in_transaction(&self) -> bool {
        self.connection.as_ref().is_some_and(Connection::in_transaction)
    }
}

/// Ends a unit's savepoint, if nothing in it would make the group's COMMIT fail.
fn release(connection: &Connection) -> Result<()> {
    if connection.deferred_violations()? {
        return Err(Error::query(
            QueryErrorKind::ForeignKey,
            "FOREIGN KEY constraint failed: a deferred reference has no target at the end of the unit",
        ));
    }
    connection.control("RELEASE unit")
}

impl Released {
    fn answer(self, outcome: Result<()>) {
        // A caller that has gone meanwhile does not hear of it; the write stays.
        match self {
            Released::Unit(unit, answers) => {
                let _ = unit.reply.send(outcome.map(|()| answers));
            }
            Released::Session(reply) => {
                let _ = reply.send(outcome);
            }
        }
    }
}

fn refuse(work: Work, error: Error) {
    match work {
        Work::Unit(unit) => {
            if unit.ticket.take() {
                let _ = unit.reply.send(Err(error));
            }
        }
        Work::Session(opening) => {
            if opening.ticket.take() {
                let _ = opening.opened.send(Err(error));
            }
        }
        Work::Close(reply) => {
            let _ = reply.send(Ok(()));
        }
    }
}
