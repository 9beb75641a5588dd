//! The writer: one thread that owns the one writing connection, and the group commit.
//!
//! Terms: a *unit* is what takes effect together (a statement, a batch, a session). A *group* is the units that share one
//! transaction and so one durable COMMIT. The first unit of a group is the whole transaction so far; each further one is a
//! savepoint and can fail alone, unless it is large. A unit that is *settled* waits for the group's COMMIT; only then is its caller answered,
//! even when it failed, because what it failed of may be another unit's row that is not stored yet.

use std::panic::Location;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::batch::{Answer, Step};
use crate::command::Reply;
use crate::error::{Busy, Error, Holder, QueryErrorKind, Result};
use crate::sqlite::connection::{Connection, Opener, Role};
use crate::sqlite::failure::{breaks_connection, leaves_commit_open};
use crate::sqlite::interrupt::stopped_at;
use crate::sqlite::session::{Opening, SessionEnd, SessionService};
use crate::sqlite::work::{Ticket, Unit};
use crate::stats::Counters;

/// Units in one group at most: bounds what one failure makes run again, and how long the first waits for the last.
const GROUP_UNITS: usize = 512;

/// No further unit joins a group that is older: bounds how long a settled unit waits for strangers' work.
const GROUP_AGE: Duration = Duration::from_millis(5);

/// A unit of more executions than this is large and gets no savepoint: within one, SQLite walks the list of all pages
/// changed so far at the end of every statement, so that a large unit would take quadratic time.
const LARGE_UNIT: usize = 64;

/// Large units in one group at most. They share it with each other only, whatever its age, so that pages which all of
/// them change are encrypted and written once; when one fails, the others are run again.
const LARGE_TOGETHER: usize = 4;

/// Four times the length, in bytes, at which the log is copied into the file: something keeps it from being reused.
const LONG_LOG: u64 = 160 * 1024 * 1024;

const BETWEEN_LOOKS_AT_THE_LOG: Duration = Duration::from_secs(10);

/// Work for the writer, in the order of arrival.
pub(crate) enum Work {
    Unit(Unit),
    Session(Opening),
    Alone(Alone),
    /// Ends the thread after everything queued before.
    Close,
}

/// Work that has the writer to itself, outside any transaction.
pub(crate) struct Alone {
    pub(crate) ticket: Ticket,
    pub(crate) location: &'static Location<'static>,
    pub(crate) work: AloneWork,
}

/// It gets the writer, or why there is none.
pub(crate) type AloneWork = Box<dyn FnOnce(Result<&mut Writer>) + Send>;

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
        Error::PoolExhausted { waited, busy: Busy::Writer(holder), source: None }
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
    /// When the log's length was looked at last.
    pub(crate) log_seen: Instant,
}

impl Writer {
    /// Serves the queue until it is closed: by [`Work::Close`], or because the last handle is gone.
    pub(crate) fn run(mut self) {
        // Taken off the queue and not begun: work that must not join the group before it.
        let mut next = None;
        while let Some(work) = next.take().or_else(|| self.wait()) {
            next = match work {
                Work::Close => return,
                Work::Alone(alone) => {
                    self.alone(alone);
                    None
                }
                work => self.group(work),
            };
        }
    }

    /// The next work; None when there will be none. A writer without any for a while gives its page cache back, which a bulk
    /// load has filled and single writes do without.
    fn wait(&self) -> Option<Work> {
        match self.queue.recv_timeout(super::IDLE) {
            Ok(work) => return Some(work),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(connection) = &self.connection {
            connection.give_memory_back();
        }
        self.queue.recv().ok()
    }

    fn alone(&mut self, alone: Alone) {
        let Alone { ticket, location, work } = alone;
        if !ticket.take() {
            return;
        }
        if let Err(error) = self.reopen() {
            return work(Err(error));
        }
        let holder = self.holder.clone();
        holder.set(Holding::Caller(Instant::now(), location));
        work(Ok(self));
        holder.set(Holding::Nobody);
        self.roll_back();
    }

    /// Runs a group that begins with `first`, and commits it. Gives back work that must not join it.
    fn group(&mut self, first: Work) -> Option<Work> {
        if let Err(error) = self.begin() {
            first.refuse(error);
            return None;
        }
        let began = Instant::now();
        let mut settled = Vec::new();
        let mut current = Some(first);
        let mut next = None;
        while let Some(work) = current.take() {
            match work {
                Work::Unit(unit) if unit.ticket.take() => {
                    let outcome = self.unit(&unit, settled.is_empty() || unit.is_large());
                    if outcome.is_err() {
                        self.counters.unit_failed();
                    }
                    if !self.in_transaction() {
                        // It has taken the others' work along, perhaps because of a row of theirs. Each by itself, it
                        // will show; but time that has run out is nobody else's fault, and would run out again.
                        if settled.is_empty() || was_stopped(&outcome) {
                            let _ = unit.reply.send(outcome);
                        } else {
                            settled.push(Settled::Unit(unit, outcome));
                        }
                        self.run_again(settled);
                        return None;
                    }
                    settled.push(Settled::Unit(unit, outcome));
                }
                Work::Session(opening) => {
                    settled.extend(self.session(opening).map(Settled::Session));
                    if !self.in_transaction() {
                        return None;
                    }
                }
                Work::Unit(_) | Work::Alone(_) | Work::Close => {}
            }
            let holds_large = settled.iter().any(Settled::is_large);
            let is_full = settled.len() >= GROUP_UNITS || began.elapsed() >= GROUP_AGE;
            match self.queue.try_recv() {
                Ok(Work::Unit(unit)) if unit.is_large() => {
                    let joins = settled.iter().all(Settled::is_large) && settled.len() < LARGE_TOGETHER;
                    let work = Some(Work::Unit(unit));
                    if joins { current = work } else { next = work }
                }
                Ok(Work::Unit(unit)) if !holds_large && !is_full => current = Some(Work::Unit(unit)),
                // A session lasts as long as its holder thinks: whoever was settled before does not wait for it.
                other => next = other.ok(),
            }
        }
        self.commit(settled);
        next
    }

    /// Runs one unit inside the open group. After an error the group is as it was before, or gone as a whole, which
    /// [`in_transaction`](Self::in_transaction) tells.
    fn unit(&mut self, unit: &Unit, without_savepoint: bool) -> Result<Vec<Answer>> {
        self.holder.set(Holding::Caller(Instant::now(), unit.location));
        let outcome = self.connection().and_then(|connection| {
            let deadline = Instant::now() + self.unit_max_age;
            let watching = connection.interrupt().watch(&unit.ticket, Some(deadline));
            if !without_savepoint {
                connection.control("SAVEPOINT unit")?;
            }
            let answers: Result<Vec<_>> = unit.steps.iter().map(|step| connection.run(step, unit.want)).collect();
            drop(watching);
            let answers = answers.map_err(|error| stopped_at(deadline, error))?;
            check_deferred(connection)?;
            if !without_savepoint {
                connection.control("RELEASE unit")?;
            }
            Ok(answers)
        });
        self.holder.set(Holding::Nobody);
        match &outcome {
            // SQLCipher stays in its error state once it has met a damaged page: only a new connection is good.
            Err(error) if breaks_connection(error) => self.connection = None,
            Err(_) if without_savepoint => self.roll_back(),
            Err(_) if self.in_transaction() => {
                let undone =
                    self.connection().and_then(|connection| connection.control("ROLLBACK TO unit; RELEASE unit"));
                if let Err(error) = undone {
                    tracing::error!(error = %error, "a failed unit could not be taken back alone; its group is run again");
                    self.roll_back();
                }
            }
            _ => {}
        }
        outcome
    }

    /// Serves a session as the first unit of the open group. Gives back whom to answer after the COMMIT, if it is to be
    /// committed; else nothing of it is left, and no transaction is open.
    fn session(&mut self, opening: Opening) -> Option<Reply<()>> {
        let Opening { ticket, opened, request } = opening;
        let end = match self.connection() {
            Ok(connection) if ticket.take() && opened.send(Ok(())).is_ok() => {
                self.holder.set(Holding::Caller(Instant::now(), request.location));
                connection.guard().allow_temporary(true);
                let end = SessionService::new(connection, request).serve();
                connection.guard().allow_temporary(false);
                self.holder.set(Holding::Nobody);
                end
            }
            _ => SessionEnd::Rollback(None),
        };
        let (reply, outcome) = match end {
            SessionEnd::Commit(reply) => match self.connection().and_then(before_commit) {
                Ok(()) => return Some(reply),
                Err(error) => (Some(reply), Err(error)),
            },
            SessionEnd::Rollback(reply) => (reply, Ok(())),
            SessionEnd::Lost => (None, Ok(())),
            SessionEnd::Broken => {
                self.connection = None;
                (None, Ok(()))
            }
        };
        self.roll_back();
        if let Some(reply) = reply {
            let _ = reply.send(outcome);
        }
        None
    }

    /// Makes sure of a connection to the database that is at its place.
    pub(crate) fn reopen(&mut self) -> Result<()> {
        if self.connection.is_none() {
            let connection = self.opener.open(Role::Writer)?;
            // What a failed sync was for is in the log and may never reach the disk, though it can be read: to the system
            // it is no longer unwritten. Copied into the file, it is written once more, and what is committed from here on
            // begins the log anew. Else it would follow a gap, and be lost with the power.
            connection.checkpoint()?;
            self.connection = Some(connection);
        }
        self.opener.check_place()
    }

    fn begin(&mut self) -> Result<()> {
        self.reopen()?;
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
                settled.into_iter().for_each(|settled| settled.answer(Ok(())));
                return self.look_at_the_log();
            }
            Err(error) if leaves_commit_open(&error) => {
                // The log may or may not hold the commit, and the connection does not know it either.
                tracing::error!(error = %error, "a commit failed in such a way that its outcome is unknown");
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

    /// A snapshot that is held for long keeps the log from being reused, and it grows with each commit.
    fn look_at_the_log(&mut self) {
        if self.log_seen.elapsed() < BETWEEN_LOOKS_AT_THE_LOG {
            return;
        }
        self.log_seen = Instant::now();
        let log_bytes = self.opener.log_bytes();
        if log_bytes > LONG_LOG {
            tracing::warn!(
                database = %self.opener.name(), log_bytes,
                "the write-ahead log is long: a read session or stream is held for long, see Stats::readers for whose"
            );
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
                        let outcome = self.unit(&unit, true);
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

    /// Undoes the open transaction, if there is one.
    fn roll_back(&mut self) {
        if !self.in_transaction() {
            return;
        }
        let outcome = self.connection().and_then(|connection| connection.control("ROLLBACK"));
        if let Err(error) = outcome
            && self.in_transaction()
        {
            // A connection that cannot even roll back is not used again; closing it does.
            tracing::error!(error = %error, "the writing connection could not roll back and is replaced");
            self.connection = None;
        }
    }

    pub(crate) fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or(Error::Closed)
    }

    fn in_transaction(&self) -> bool {
        self.connection.as_ref().is_some_and(Connection::in_transaction)
    }
}

/// Whether a unit was stopped, because its caller is gone or its time was up.
fn was_stopped<T>(outcome: &Result<T>) -> bool {
    let error = outcome.as_ref().err();
    error.is_some_and(|error| matches!(error, Error::Cancelled) || error.query_kind() == Some(QueryErrorKind::Timeout))
}

/// What a session must go through before its work can be committed: nobody else is to see its TEMP objects.
fn before_commit(connection: &Connection) -> Result<()> {
    connection.drop_temporary()?;
    check_deferred(connection)
}

/// A deferred foreign key that is still violated would make the group's COMMIT fail for everyone.
pub(crate) fn check_deferred(connection: &Connection) -> Result<()> {
    if connection.deferred_violations()? {
        return Err(Error::query(
            QueryErrorKind::ForeignKey,
            "FOREIGN KEY constraint failed: a deferred reference has no target at the end of the unit",
        ));
    }
    Ok(())
}

impl Work {
    fn refuse(self, error: Error) {
        match self {
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
            Work::Alone(alone) => {
                if alone.ticket.take() {
                    (alone.work)(Err(error));
                }
            }
            Work::Close => {}
        }
    }
}

impl Unit {
    fn is_large(&self) -> bool {
        // What a script does is not known before it is run.
        self.steps.iter().any(Step::is_script)
            || self.steps.iter().map(|step| step.params.as_slice().len()).sum::<usize>() > LARGE_UNIT
    }
}

impl Settled {
    fn is_large(&self) -> bool {
        matches!(self, Settled::Unit(unit, _) if unit.is_large())
    }

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
