//! The readers: reading connections in a pool, each with a thread of its own for work that may take long.
//!
//! Whoever has borrowed a reader may use its connection where he is (an inline read), or send the reader, with the work, to
//! its thread. There it goes home when the work is done, whether the caller still waits or not.

use std::convert::Infallible;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::batch::Step;
use crate::command::Reply;
use crate::error::{Busy, Error, QueryErrorKind, Result};
use crate::pool::{self, AcquireError, Connect, Pool, Pooled};
use crate::row::Row;
use crate::sqlite::connection::{Connection, Opener, Role, Shape};
use crate::sqlite::failure::breaks_connection;
use crate::sqlite::mailbox::{Letters, Mailbox, mailbox};
use crate::sqlite::pinned::PinnedRequest;
use crate::sqlite::session::{Opening, SessionEnd, SessionService};
use crate::sqlite::work::{Flow, Ticket};
use crate::sqlite::{Class, no_thread};

/// Looks of the progress handler (some 20 µs each) that an inline read may take: beyond, it would hold up the other tasks
/// of the caller's thread.
const INLINE_LOOKS: u32 = 5;

/// A reader, borrowed. Dropped, it is home again; a broken one is closed instead.
pub(crate) type Lease = Pooled<Connector>;

/// A reading connection and the way to its thread.
pub(crate) struct Reader {
    /// None once it is on its way to be closed.
    connection: Option<Connection>,
    opener: Arc<Opener>,
    jobs: Mailbox<Job>,
    broken: bool,
}

/// What a reader's thread is asked to do.
pub(crate) enum Job {
    Fetch { lease: Lease, step: Step, at_most: usize, ticket: Ticket, reply: Reply<Fetched> },
    Stream { lease: Lease, step: Step, flow: Flow, ticket: Ticket, reply: Reply<Streamed> },
    Session { lease: Lease, opening: Opening },
    Pinned { lease: Lease, request: PinnedRequest },
    Close(Connection),
}

/// The answer to a fetch. A reader learns only by preparing a statement whether it reads.
pub(crate) enum Fetched {
    Rows(Vec<Row>, Shape),
    /// The statement writes: it is given back for the writer.
    Writes(Step),
    /// No reader could be had in this way: the pool's runtime is gone, and another one must be used.
    Again(Step),
}

/// How a read on the caller's thread went.
pub(crate) enum Inline {
    Done(Result<Vec<Row>>),
    /// It took more steps than it may and was stopped, or it writes.
    Elsewhere(Class),
}

/// The answer to a stream's start.
pub(crate) enum Streamed {
    Begun,
    Writes(Step),
}

/// All readers of one database.
pub(crate) struct Readers {
    pool: Pool<Connector>,
}

/// Makes readers.
pub(crate) struct Connector {
    opener: Arc<Opener>,
    max_age: Duration,
    /// Copied into each thread; whoever holds the other end learns when the last has ended. None when closed.
    alive: Mutex<Option<mpsc::Sender<Infallible>>>,
}

impl Readers {
    pub(crate) fn new(
        opener: Arc<Opener>,
        settings: pool::Settings,
        max_age: Duration,
        alive: mpsc::Sender<Infallible>,
    ) -> Self {
        let connector = Connector { opener, max_age, alive: Mutex::new(Some(alive)) };
        Readers { pool: Pool::new(connector, settings) }
    }

    pub(crate) fn pool(&self) -> &Pool<Connector> {
        &self.pool
    }

    pub(crate) async fn acquire(&self, location: &'static Location<'static>) -> Result<Lease> {
        self.pool.acquire_at(location).await.map_err(refused)
    }

    /// Runs a query that is known to read here, on the caller's thread, if a reader is free.
    ///
    /// None when no reader is free.
    pub(crate) fn try_inline(
        &self,
        step: &Step,
        at_most: usize,
        shape: Shape,
        location: &'static Location<'static>,
    ) -> Option<Inline> {
        let mut lease = match self.pool.try_acquire_at(location) {
            Ok(lease) => lease?,
            Err(error) => return Some(Inline::Done(Err(refused(error)))),
        };
        let now = lease.lent_at().into_std();
        Some(match lease.read_inline(step, at_most, shape, now) {
            Ok(Some(rows)) => Inline::Done(Ok(rows)),
            Ok(None) => Inline::Elsewhere(Class::Writes),
            Err(Error::Cancelled) => Inline::Elsewhere(Class::Slow),
            Err(error) => Inline::Done(Err(error)),
        })
    }

    /// Sends a query to whichever reader is free first.
    pub(crate) fn dispatch_fetch(
        &self,
        step: Step,
        at_most: usize,
        ticket: Ticket,
        location: &'static Location<'static>,
        reply: Reply<Fetched>,
    ) {
        self.pool.acquire_with(location, move |lease| match lease {
            Ok(lease) => Reader::send(lease, |lease| Job::Fetch { lease, step, at_most, ticket, reply }),
            Err(AcquireError::DriverLost) => drop(reply.send(Ok(Fetched::Again(step)))),
            Err(error) => drop(reply.send(Err(refused(error)))),
        });
    }

    /// Opens readers until there are `count`.
    pub(crate) async fn open_at_least(&self, count: usize) -> Result<()> {
        self.pool.open_at_least(count).await.map_err(refused)
    }

    /// Waits until all readers are home, up to the deadline, and closes them; whoever comes from now on is refused.
    pub(crate) async fn close(&self, patience: Duration) -> Result<()> {
        let closed = self.pool.close(patience).await;
        if let Err(error) = &closed {
            tracing::warn!(%error, "the database was closed while readers were lent");
        }
        self.dismiss();
        closed.map_err(refused)
    }

    /// For a thread with a connection of its own: closing waits until it is dropped.
    pub(crate) fn alive(&self) -> Result<mpsc::Sender<Infallible>> {
        self.pool.connector().alive().clone().ok_or(Error::Closed)
    }

    /// Closes the readers that are home now, and each other when it comes home.
    pub(crate) fn dismiss(&self) {
        self.pool.dismiss();
        *self.pool.connector().alive() = None;
    }
}

/// The pool's refusal as this crate's error.
pub(crate) fn refused(error: AcquireError<Error>) -> Error {
    match error {
        AcquireError::AllBusy { waited, size, oldest } => {
            Error::PoolExhausted { waited, busy: Busy::Readers { size, oldest }, source: None }
        }
        AcquireError::Connecting { waited, last } => {
            Error::PoolExhausted { waited, busy: Busy::Connecting, source: last.map(Arc::new) }
        }
        AcquireError::Connect(error) => error,
        AcquireError::ConnectorPanicked => Error::query(QueryErrorKind::Other, "opening a connection panicked"),
        AcquireError::Closed | AcquireError::DriverLost => Error::Closed,
    }
}

impl Reader {
    /// Sends a reader to its thread, with the work.
    pub(crate) fn send(lease: Lease, job: impl FnOnce(Lease) -> Job) {
        let jobs = lease.jobs.clone();
        jobs.send(job(lease));
    }

    fn read_inline(&mut self, step: &Step, at_most: usize, shape: Shape, now: Instant) -> Result<Option<Vec<Row>>> {
        self.opener.check_place_lately(now)?;
        let connection = self.connection();
        let limit = connection.interrupt().limit(INLINE_LOOKS);
        let outcome = connection.read(step, at_most, &mut Some(shape));
        drop(limit);
        self.settle(outcome.as_ref().err());
        outcome
    }

    pub(crate) fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("present until dropped")
    }

    /// The connection, if the file that it has open is still the database.
    fn checked_connection(&self) -> Result<&Connection> {
        self.opener.check_place().map(|()| self.connection())
    }

    /// Notes whether the connection may be used again.
    fn settle(&mut self, error: Option<&Error>) {
        self.broken |= error.is_some_and(breaks_connection);
    }
}

impl Drop for Reader {
    /// The thread closes the connection, not whoever brought it home: closing may take some milliseconds.
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.jobs.send(Job::Close(connection));
        }
    }
}

impl Connector {
    fn alive(&self) -> MutexGuard<'_, Option<mpsc::Sender<Infallible>>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connect for Connector {
    type Connection = Reader;
    type Error = Error;

    /// Starts a thread, which opens the connection.
    async fn connect(&self) -> Result<Reader> {
        let alive = self.alive().clone().ok_or(Error::Closed)?;
        let (reply, opened) = oneshot::channel();
        let (opener, max_age) = (Arc::clone(&self.opener), self.max_age);
        let work = move || {
            // Dropped last: the connection is closed by then.
            let _alive = alive;
            match opener.open(Role::Reader) {
                Err(error) => drop(reply.send(Err(error))),
                Ok(connection) => {
                    let (jobs, letters) = mailbox();
                    let reader = Reader { connection: Some(connection), opener, jobs, broken: false };
                    // When nobody takes it, it is dropped, and asks to be closed.
                    drop(reply.send(Ok(reader)));
                    serve(&letters, max_age);
                }
            }
        };
        std::thread::Builder::new()
            .name("strongroom-read".into())
            .spawn(work)
            .map_err(|error| no_thread(self.opener.name(), error))?;
        // The thread answers in either case; it is gone only if it panicked.
        opened.await.map_err(|_| Error::Closed)?
    }

    fn is_transient(&self, error: &Error) -> bool {
        matches!(error.query_kind(), Some(QueryErrorKind::Busy | QueryErrorKind::Io))
    }

    /// Called when it was idle for [`IDLE`](super::IDLE), and again and again while it is: that many readers can work is no
    /// reason to keep the pages of each for good. Takes some milliseconds for a full cache of 64 MiB.
    async fn test(&self, reader: &mut Reader) -> Result<()> {
        reader.connection().give_memory_back();
        Ok(())
    }

    fn check_in(&self, reader: &mut Reader) -> bool {
        !reader.broken && !reader.connection().in_transaction()
    }
}

/// A reader's thread, until it is told to close. A lease is dropped after its connection is known to be clean or broken, and
/// before the caller is answered, so that a caller's next request finds the reader at home.
fn serve(letters: &Letters<Job>, max_age: Duration) {
    // Kept since a connection was pinned: the writer, which that one outlives when the handle is gone, is to end last.
    let mut _writer = None;
    loop {
        match letters.receive() {
            Job::Fetch { mut lease, step, at_most, ticket, reply } => {
                let outcome = fetch(&lease, step, at_most, &ticket);
                lease.settle(outcome.as_ref().err());
                drop(lease);
                let _ = reply.send(outcome);
            }
            Job::Stream { lease, step, flow, ticket, reply } => stream(lease, step, flow, &ticket, reply, max_age),
            Job::Session { lease, opening } => session(lease, opening),
            Job::Pinned { lease, request } => {
                _writer = request.turns.as_ref().map(|turns| turns.queue.clone());
                pinned(lease, request);
            }
            Job::Close(connection) => return drop(connection),
        }
    }
}

fn stream(mut lease: Lease, step: Step, flow: Flow, ticket: &Ticket, reply: Reply<Streamed>, max_age: Duration) {
    let begun = lease.checked_connection().and_then(|connection| connection.is_read_only(&step));
    lease.settle(begun.as_ref().err());
    match begun {
        Err(error) => {
            drop(lease);
            let _ = reply.send(Err(error));
        }
        Ok(false) => {
            drop(lease);
            let _ = reply.send(Ok(Streamed::Writes(step)));
        }
        Ok(true) => {
            if ticket.take() && reply.send(Ok(Streamed::Begun)).is_ok() {
                let deadline = Instant::now() + max_age;
                let watching = lease.connection().interrupt().watch(ticket, Some(deadline));
                let expired = Error::SessionExpired { age: max_age };
                let outcome = flow.pump(lease.connection(), &step, deadline, expired);
                drop(watching);
                lease.settle(outcome.as_ref().err());
            }
        }
    }
}

fn fetch(reader: &Reader, step: Step, at_most: usize, ticket: &Ticket) -> Result<Fetched> {
    if !ticket.take() {
        return Err(Error::Cancelled);
    }
    reader.opener.check_place_lately(Instant::now())?;
    let connection = reader.connection();
    let watching = connection.interrupt().watch(ticket, None);
    let mut shape = None;
    let read = connection.read(&step, at_most, &mut shape)?;
    drop(watching);
    Ok(match (read, shape) {
        (Some(rows), Some(shape)) => Fetched::Rows(rows, shape),
        _ => Fetched::Writes(step),
    })
}

fn session(mut lease: Lease, opening: Opening) {
    let Opening { ticket, opened, request } = opening;
    if !ticket.take() {
        return;
    }
    let connection = lease.connection();
    // BEGIN alone takes no snapshot: the first read does.
    let begin = |connection: &Connection| connection.control("BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1");
    let begun = lease.checked_connection().and_then(begin);
    let failed = begun.as_ref().err().cloned();
    let end = match (opened.send(begun), &failed) {
        (Ok(()), None) => SessionService::new(connection, request).serve(),
        _ => SessionEnd::Rollback(None),
    };
    let mut outcome = failed.map_or(Ok(()), Err);
    if connection.in_transaction() {
        outcome = outcome.and(connection.control("ROLLBACK"));
    }
    lease.broken |= matches!(end, SessionEnd::Broken);
    lease.settle(outcome.as_ref().err());
    drop(lease);
    if let SessionEnd::Commit(reply) | SessionEnd::Rollback(Some(reply)) = end {
        let _ = reply.send(outcome);
    }
}

/// Serves a pinned connection. It may have been written to, and is lent again only as the reader that it was.
fn pinned(mut lease: Lease, request: PinnedRequest) {
    let connection = lease.connection();
    let fate = request.fate.clone();
    let served = connection.lift_query_only().and_then(|()| request.serve(connection));
    let restored = served.as_ref().map_err(Error::clone).and_then(|_| connection.become_reader_again());
    lease.broken |= restored.is_err();
    drop(lease);
    match served {
        Ok(Some(reply)) => drop(reply.send(Ok(()))),
        Ok(None) => {}
        Err(error) => fate.end(error),
    }
}
