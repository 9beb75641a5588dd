//! The writer: one thread that owns the one writing connection, and the group commit.
//!
//! Terms: a *unit* is what takes effect together (a statement, a batch, a session). A *group* is the units that share one
//! transaction and so one durable COMMIT. Each unit is a savepoint of the group: it can fail alone. A unit that is
//! *settled* waits for the group's COMMIT; only then is its caller answered, even when it failed, because what it failed
//! of may be another unit's row that is not stored yet.

use std::panic::Location;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Busy, Error, Holder, QueryErrorKind, Result};
use crate::sqlite::connection::{Answer, Connection, Opener, Role};
use crate::sqlite::failure::breaks_connection;
use crate::sqlite::session::{Opening, SessionEnd, SessionService};
use crate::sqlite::work::{Reply, Unit};
use crate::stats::Counters;

/// Units in one group at most: bounds what one failure makes run again, and how long the first waits for the last.
const GROUP_UNITS: usize = 512;

/// No further unit joins a group that is older: bounds how long a settled unit waits for strangers' work.
const GROUP_AGE: Duration = Duration::from_millis(5);

/// Work for the writer, in the order of arrival.
pub(crate) enum Work {
    Unit(Unit),
    Session(Opening),
    /// Ends the thread after everything queued before.
    Close,
}

/// A unit that waits for the group's COMMIT.
enum Settled {
    Unit(Unit, Result<Vec<Answer>>),
    Session(Reply<()>),
}

/// What keeps the writer from the next unit, for those who wait in vain.
#[derive(Clone, Default)]
pub(crate) struct WriterHolder(Arc<Mutex<Holding>>);

#[derive(Clone, Copy, Default)]
enum Holding {
    #[default]
    Nobody,
    Caller(Instant, &'static Location<'static>),
    OtherProcess,
}

impl WriterHolder {
    /// The error for a caller that has waited so long.
    pub(crate) fn waited_in_vain(&self, waited: Duration) -> Error {
        let holder = match self.get() {
            Holding::OtherProcess => {
                let waited = waited.as_secs_f64();
                return Error::query(
                    QueryErrorKind::Busy,
                    format!("another process has kept the database's write lock for {waited:.1} s"),
                );
            }
            Holding::Caller(since, location) => Some(Holder { age: since.elapsed(), location }),
            Holding::Nobody => None,
        };
        Error::PoolExhausted { waited, busy: Busy::Writer(holder) }
    }

    /// Whether a caller's work is under way.
    pub(crate) fn is_held(&self) -> bool {
        !matches!(self.get(), Holding::Nobody)
    }

    fn get(&self) -> Holding {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, holding: Holding) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = holding;
    }
}

pub(crate) struct Writer {
    /// None after it met a disk error or a damaged page, until it could be opened again.
    pub(crate) connection: Option<Connection>,
    pub(crate) opener: Arc<Opener>,
    pub(crate) queue: Receiver<Work>,
    pub(crate) holder: WriterHolder,
    /// Longest time that a statement or batch may take.
    pub(crate) unit_max_age: Duration,
    pub(crate) counters: Arc<Counters>,
}

impl Writer {
    /// Serves the queue until it is closed: by [`Work::Close`], or because the last handle is gone.
    pub(crate) fn run(mut self) {
        // Taken off the queue and not begun: work that must not join the group before it.
        let mut next = None;
        while let Some(work) = next.take().or_else(|| self.queue.recv().ok()) {
            next = match work {
                Work::Close => return,
                Work::Session(opening) => {
                    self.session_group(opening);
                    None
                }
                Work::Unit(unit) => self.group(unit),
            };
        }
    }

    /// A group that a session begins: it lasts as long as its holder thinks, so nothing is before it in its group.
    fn session_group(&mut self, opening: Opening) {
        if let Err(error) = self.begin() {
            if opening.ticket.take() {
                let _ = opening.opened.send(Err(error));
            }
            return;
        }
        let settled = self.session(opening).map(Settled::Session);
        if self.in_transaction() {
            self.commit(settled.into_iter().collect());
        }
    }

    /// Runs a group of statements and batches, beginning with `first`, and commits it. Gives back work that must not
    /// join it.
    fn group(&mut self, first: Unit) -> Option<Work> {
        if let Err(error) = self.begin() {
            if first.ticket.take() {
                let _ = first.reply.send(Err(error));
            }
            return None;
        }
        let began = Instant::now();
        let mut settled = Vec::new();
        let mut current = Some(first);
        let mut next = None;
        while let Some(unit) = current.take() {
            if unit.ticket.take() {
                let outcome = self.unit(&unit);
                if !self.in_transaction() {
                    // The unit is at fault, and has taken the others' work along.
                    self.counters.unit_failed();
                    let _ = unit.reply.send(outcome);
                    self.run_again(settled);
                    return None;
                }
                if outcome.is_err() {
                    self.counters.unit_failed();
                }
                settled.push(Settled::Unit(unit, outcome));
            }
            if settled.len() >= GROUP_UNITS || began.elapsed() >= GROUP_AGE {
                break;
            }
            match self.queue.try_recv() {
                Ok(Work::Unit(unit)) => current = Some(unit),
                other => next = other.ok(),
            }
        }
        self.commit(settled);
        next
    }

    /// Runs one unit inside the open group. After an error the group is as it was before, or gone as a whole, which
    /// [`in_transaction`](Self::in_transaction) tells.
    fn unit(&mut self, unit: &Unit) -> Result<Vec<Answer>> {
        self.holder.set(Holding::Caller(Instant::now(), unit.location));
        let outcome = self.connection().and_then(|connection| {
            let deadline = Instant::now() + self.unit_max_age;
            let watching = connection.interrupt().watch(&unit.ticket, Some(deadline));
            connection.control("SAVEPOINT unit")?;
            let answers: Result<Vec<_>> = unit.steps.iter().map(|step| connection.run(step, unit.want)).collect();
            drop(watching);
            match answers.and_then(|answers| release(connection).map(|()| answers)) {
                Err(Error::Cancelled) if Instant::now() >= deadline => Err(Error::query(
                    QueryErrorKind::Timeout,
                    "it ran longer than session_max_age allows and was stopped; divide the work",
                )),
                outcome => outcome,
            }
        });
        self.holder.set(Holding::Nobody);
        if let Err(error) = &outcome {
            self.take_back_unit(breaks_connection(error));
        }
        outcome
    }

    /// Serves a session inside the open group. Gives back whom to answer after the COMMIT, if it is to be committed.
    fn session(&mut self, opening: Opening) -> Option<Reply<()>> {
        let Opening { ticket, opened, request } = opening;
        if !ticket.take() {
            return None;
        }
        let connection = match self.connection().and_then(|connection| {
            connection.control("SAVEPOINT unit")?;
            Ok(connection)
        }) {
            Ok(connection) => connection,
            Err(error) => {
                let _ = opened.send(Err(error));
                return None;
            }
        };
        self.holder.set(Holding::Caller(Instant::now(), request.location));
        let end = match opened.send(Ok(())) {
            Ok(()) => SessionService::new(connection, request).serve(),
            Err(_) => SessionEnd::Rollback(None),
        };
        self.holder.set(Holding::Nobody);
        match end {
            SessionEnd::Commit(reply) => match release(connection) {
                Ok(()) => return Some(reply),
                Err(error) => {
                    self.take_back_unit(breaks_connection(&error));
                    let _ = reply.send(Err(error));
                }
            },
            SessionEnd::Rollback(reply) => {
                self.take_back_unit(false);
                if let Some(reply) = reply {
                    let _ = reply.send(Ok(()));
                }
            }
            SessionEnd::Lost => {}
            SessionEnd::Broken => self.take_back_unit(true),
        }
        None
    }

    /// Undoes the unit that has just failed: to its savepoint, or, when that is not possible, with its whole group.
    fn take_back_unit(&mut self, broken: bool) {
        if broken {
            // SQLCipher stays in its error state once it has met a damaged page: only a new connection is good.
            self.connection = None;
        } else if self.in_transaction() {
            let undone = self.connection().and_then(|connection| connection.control("ROLLBACK TO unit; RELEASE unit"));
            if let Err(error) = undone {
                tracing::error!(error = %error, "a failed unit could not be taken back alone; its group is run again");
                self.roll_back();
            }
        }
    }

    fn begin(&mut self) -> Result<()> {
        if self.connection.is_none() {
            self.connection = Some(self.opener.open(Role::Writer)?);
        }
        self.opener.check_place()?;
        self.holder.set(Holding::OtherProcess);
        let begun = self.connection()?.control("BEGIN IMMEDIATE");
        self.holder.set(Holding::Nobody);
        if begun.as_ref().is_err_and(breaks_connection) {
            self.connection = None;
        }
        begun
    }

    /// Commits the group and answers its units.
    fn commit(&mut self, settled: Vec<Settled>) {
        let outcome = self.opener.check_place().and_then(|()| self.connection()?.control("COMMIT"));
        let error = match outcome {
            Ok(()) => {
                self.counters.group_committed(settled.iter().filter(|settled| settled.has_succeeded()).count());
                return settled.into_iter().for_each(|settled| settled.answer(Ok(())));
            }
            Err(error) if error.query_kind() == Some(QueryErrorKind::Io) => {
                // The log may or may not hold the commit, and the connection does not know it either.
                tracing::error!(error = %error, "a commit failed with a disk error: its outcome is unknown");
                self.connection = None;
                Error::CommitUnknown { source: Some(Arc::new(error)) }
            }
            Err(error) => {
                self.roll_back();
                // A file that was moved away will not come back for one unit alone.
                if settled.len() > 1 && !matches!(error, Error::Connection { .. }) {
                    return self.run_again(settled);
                }
                error
            }
        };
        for settled in settled {
            settled.answer(Err(error.clone()));
        }
    }

    /// After the whole group was rolled back for one unit's fault: the others get a transaction each.
    ///
    /// A session cannot be run again by the engine; its holder is told that the same work may succeed.
    fn run_again(&mut self, settled: Vec<Settled>) {
        for settled in settled {
            match settled {
                Settled::Session(reply) => {
                    let _ = reply.send(Err(Error::query(
                        QueryErrorKind::Serialization,
                        "another unit of the same commit made the engine roll it back as a whole",
                    )));
                }
                Settled::Unit(unit, _) => match self.begin() {
                    Ok(()) => {
                        let outcome = self.unit(&unit);
                        if self.in_transaction() {
                            self.commit(vec![Settled::Unit(unit, outcome)]);
                        } else {
                            let _ = unit.reply.send(outcome);
                        }
                    }
                    Err(error) => {
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

impl Settled {
    fn has_succeeded(&self) -> bool {
        !matches!(self, Settled::Unit(_, Err(_)))
    }

    /// Answers with the commit's outcome, or with the unit's own error. A caller that has gone meanwhile does not hear of
    /// it; the write stays.
    fn answer(self, committed: Result<()>) {
        match self {
            Settled::Unit(unit, outcome) => {
                let _ = unit.reply.send(committed.and(outcome));
            }
            Settled::Session(reply) => {
                let _ = reply.send(committed);
            }
        }
    }
}
