//! The readers: threads that own one reading connection each, lent to one caller at a time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::batch::Step;
use crate::error::{Busy, Error, Holder, Result};
use crate::row::Row;
use crate::sqlite::connection::{Connection, Opener, Role, Want};
use crate::sqlite::failure::breaks_connection;
use crate::sqlite::session::{Opening, SessionEnd, SessionService};
use crate::sqlite::work::{Flow, Reply, Ticket};
use crate::stats::Counters;

/// What a reader is asked to do. The lease comes along, so that the reader goes home when the work is done, whether the
/// caller still waits or not.
pub(crate) enum Job {
    Fetch {
        step: Step,
        at_most: usize,
        ticket: Ticket,
        reply: Reply<Fetched>,
        lease: Lease,
    },
    Stream {
        step: Step,
        flow: Flow,
        ticket: Ticket,
        reply: Reply<Streamed>,
        lease: Lease,
    },
    Session {
        opening: Opening,
        lease: Lease,
    },
    /// Only opens the connection.
    Open {
        reply: Reply<()>,
        lease: Lease,
    },
}

/// The answer to a fetch. A reader learns only by preparing a statement whether it reads.
pub(crate) enum Fetched {
    Rows(Vec<Row>),
    /// The statement writes: it is given back for the writer.
    Writes(Step),
}

/// The answer to a stream's start.
pub(crate) enum Streamed {
    Begun,
    Writes(Step),
}

/// All readers of one database.
pub(crate) struct Readers {
    opener: Arc<Opener>,
    permits: Arc<Semaphore>,
    state: Mutex<State>,
    size: usize,
    acquire_timeout: Duration,
    max_age: Duration,
    counters: Arc<Counters>,
}

struct State {
    /// The most recently used last: it is lent next, its caches are warm.
    idle: Vec<Reader>,
    leases: BTreeMap<u64, (Instant, &'static Location<'static>)>,
    next_lease: u64,
    open: usize,
    /// Copied into each thread; whoever holds the other end learns when the last has ended. None when closed.
    alive: Option<mpsc::Sender<Infallible>>,
}

/// The near end of one reader thread.
struct Reader {
    jobs: mpsc::Sender<Job>,
    broken: Arc<AtomicBool>,
}

impl Readers {
    pub(crate) fn new(
        opener: Arc<Opener>,
        size: usize,
        acquire_timeout: Duration,
        max_age: Duration,
        counters: Arc<Counters>,
        alive: mpsc::Sender<Infallible>,
    ) -> Arc<Self> {
        let state = State { idle: Vec::new(), leases: BTreeMap::new(), next_lease: 0, open: 0, alive: Some(alive) };
        Arc::new(Readers {
            opener,
            permits: Arc::new(Semaphore::new(size)),
            state: Mutex::new(state),
            size,
            acquire_timeout,
            max_age,
            counters,
        })
    }

    /// Opens readers until there are `count`.
    pub(crate) async fn open_at_least(self: &Arc<Self>, count: usize) -> Result<()> {
        // All are taken before the first is sent to work: one that is home again would be taken twice.
        let mut leases = Vec::new();
        for _ in 0..count.min(self.size) {
            leases.push(self.acquire(Location::caller()).await?);
        }
        let mut opening = Vec::new();
        for lease in leases {
            let (reply, answer) = oneshot::channel();
            lease.dispatch(|lease| Job::Open { reply, lease })?;
            opening.push(answer);
        }
        for answer in opening {
            answer.await.map_err(|_| Error::Closed)??;
        }
        Ok(())
    }

    /// Waits for a reader in fair turn, up to the acquire timeout.
    pub(crate) async fn acquire(self: &Arc<Self>, location: &'static Location<'static>) -> Result<Lease> {
        let permits = Arc::clone(&self.permits);
        let permit = match Arc::clone(&permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let began = Instant::now();
                match tokio::time::timeout(self.acquire_timeout, permits.acquire_owned()).await {
                    Ok(permit) => permit.map_err(|_| Error::Closed)?,
                    Err(_) => {
                        self.counters.timed_out();
                        return Err(Error::PoolExhausted { waited: began.elapsed(), busy: self.busy() });
                    }
                }
            }
        };
        let mut state = self.lock();
        let reader = match state.idle.pop() {
            Some(reader) => reader,
            None => {
                let reader = self.spawn(state.alive.clone().ok_or(Error::Closed)?)?;
                state.open += 1;
                reader
            }
        };
        let id = state.next_lease;
        state.next_lease += 1;
        state.leases.insert(id, (Instant::now(), location));
        drop(state);
        Ok(Lease { reader: Some(reader), readers: Arc::clone(self), id, _permit: permit })
    }

    /// Waits until all readers are home, up to the deadline, and closes them; whoever comes from now on is refused.
    pub(crate) async fn close(&self, deadline: Duration) {
        let all = u32::try_from(self.size).unwrap_or(u32::MAX);
        let home = tokio::time::timeout(deadline, self.permits.acquire_many(all)).await;
        if home.is_err() {
            tracing::warn!(busy = %self.busy(), "the database was closed while readers were lent");
        }
        self.dismiss();
    }

    /// Closes the readers that are home now, and each other when it comes home.
    pub(crate) fn dismiss(&self) {
        self.permits.close();
        let mut state = self.lock();
        state.alive = None;
        state.open -= state.idle.len();
        state.idle.clear();
    }

    /// Open reading connections.
    pub(crate) fn open(&self) -> usize {
        self.lock().open
    }

    /// Readers that are lent now.
    pub(crate) fn lent(&self) -> usize {
        self.lock().leases.len()
    }

    /// How long the reader has been lent that is longest.
    pub(crate) fn oldest_lease(&self) -> Option<Duration> {
        self.lock().leases.first_key_value().map(|(_, (since, _))| since.elapsed())
    }

    fn busy(&self) -> Busy {
        let oldest = self.lock().leases.first_key_value().map(|(_, (since, location))| (*since, *location));
        let oldest = oldest.map(|(since, location)| Holder { age: since.elapsed(), location });
        Busy::Readers { size: self.size, oldest }
    }

    fn spawn(&self, alive: mpsc::Sender<Infallible>) -> Result<Reader> {
        let (jobs, queue) = mpsc::channel();
        let broken = Arc::new(AtomicBool::new(false));
        let (opener, max_age, flag) = (Arc::clone(&self.opener), self.max_age, Arc::clone(&broken));
        let thread = move || {
            // Dropped last: the connection is closed by then.
            let _alive = alive;
            ReaderThread { opener, max_age, broken: flag }.run(&queue);
        };
        std::thread::Builder::new().name("strongroom-read".into()).spawn(thread).map_err(|error| {
            Error::Connection {
                database: self.opener.name(),
                reason: "no thread for a further reader could be started".into(),
                source: Some(Arc::new(error)),
            }
        })?;
        Ok(Reader { jobs, broken })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader, lent. Dropped, it is home again; a broken one is closed instead.
pub(crate) struct Lease {
    reader: Option<Reader>,
    readers: Arc<Readers>,
    id: u64,
    /// Dropped after the reader is back among the idle, so that whoever gets the permit finds it.
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// Sends the reader to work.
    pub(crate) fn dispatch(self, job: impl FnOnce(Lease) -> Job) -> Result<()> {
        let jobs = self.reader.as_ref().ok_or(Error::Closed)?.jobs.clone();
        jobs.send(job(self)).map_err(|_| Error::Closed)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.readers.lock();
        state.leases.remove(&self.id);
        if let Some(reader) = self.reader.take() {
            // A reader that panics in its work is not known to be clean.
            let unusable = reader.broken.load(Ordering::Acquire) || std::thread::panicking();
            if unusable || self.readers.permits.is_closed() {
                state.open -= 1;
            } else {
                state.idle.push(reader);
            }
        }
    }
}

struct ReaderThread {
    opener: Arc<Opener>,
    max_age: Duration,
    broken: Arc<AtomicBool>,
}

impl ReaderThread {
    fn run(self, queue: &mpsc::Receiver<Job>) {
        let mut connection = None;
        for job in queue {
            if let Err(error) = self.opener.check_place() {
                job.refuse(error);
                continue;
            }
            if connection.is_none() {
                match self.opener.open(Role::Reader) {
                    Ok(opened) => connection = Some(opened),
                    Err(error) => {
                        self.broken.store(true, Ordering::Release);
                        return job.refuse(error);
                    }
                }
            }
            if let Some(connection) = &connection {
                self.work(connection, job);
            }
            if self.broken.load(Ordering::Acquire) {
                return;
            }
        }
    }

    /// Does one job. The lease must be dropped after the connection is known to be clean or broken, and before the
    /// caller is answered, so that a caller's next request finds the reader at home.
    fn work(&self, connection: &Connection, job: Job) {
        match job {
            Job::Open { reply, lease } => {
                drop(lease);
                let _ = reply.send(Ok(()));
            }
            Job::Fetch { step, at_most, ticket, reply, lease } => {
                let outcome = self.fetch(connection, step, at_most, &ticket);
                self.settle(connection, outcome.as_ref().err());
                drop(lease);
                let _ = reply.send(outcome);
            }
            Job::Stream { step, flow, ticket, reply, lease } => match connection.is_read_only(&step.sql) {
                Err(error) => {
                    self.settle(connection, Some(&error));
                    drop(lease);
                    let _ = reply.send(Err(error));
                }
                Ok(false) => {
                    drop(lease);
                    let _ = reply.send(Ok(Streamed::Writes(step)));
                }
                Ok(true) => {
                    if ticket.take() && reply.send(Ok(Streamed::Begun)).is_ok() {
                        let deadline = Instant::now() + self.max_age;
                        let watching = connection.interrupt().watch(&ticket, Some(deadline));
                        let outcome =
                            flow.pump(connection, &step, deadline, Error::SessionExpired { age: self.max_age });
                        drop(watching);
                        self.settle(connection, outcome.as_ref().err());
                    }
                    drop(lease);
                }
            },
            Job::Session { opening, lease } => {
                self.session(connection, opening, lease);
            }
        }
    }

    fn fetch(&self, connection: &Connection, step: Step, at_most: usize, ticket: &Ticket) -> Result<Fetched> {
        if !ticket.take() {
            return Err(Error::Cancelled);
        }
        if !connection.is_read_only(&step.sql)? {
            return Ok(Fetched::Writes(step));
        }
        let watching = connection.interrupt().watch(ticket, None);
        let answer = connection.run(&step, Want::Rows { at_most })?;
        drop(watching);
        Ok(Fetched::Rows(answer.rows))
    }

    fn session(&self, connection: &Connection, opening: Opening, lease: Lease) {
        let Opening { ticket, opened, request } = opening;
        if !ticket.take() {
            return drop(lease);
        }
        // BEGIN alone takes no snapshot: the first read does.
        let begun = connection.control("BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1");
        let failed = begun.as_ref().err().cloned();
        let end = match (opened.send(begun), &failed) {
            (Ok(()), None) => SessionService::new(connection, request).serve(),
            _ => SessionEnd::Rollback(None),
        };
        let mut outcome = failed.map_or(Ok(()), Err);
        if connection.in_transaction() {
            outcome = outcome.and(connection.control("ROLLBACK"));
        }
        if matches!(end, SessionEnd::Broken) {
            self.broken.store(true, Ordering::Release);
        }
        self.settle(connection, outcome.as_ref().err());
        drop(lease);
        if let SessionEnd::Commit(reply) | SessionEnd::Rollback(Some(reply)) = end {
            let _ = reply.send(outcome);
        }
    }

    /// A connection goes home only when it is proven clean.
    fn settle(&self, connection: &Connection, error: Option<&Error>) {
        if connection.in_transaction() || error.is_some_and(breaks_connection) {
            self.broken.store(true, Ordering::Release);
        }
    }
}

impl Job {
    fn refuse(self, error: Error) {
        match self {
            Job::Fetch { reply, lease, .. } => {
                drop(lease);
                let _ = reply.send(Err(error));
            }
            Job::Stream { reply, lease, .. } => {
                drop(lease);
                let _ = reply.send(Err(error));
            }
            Job::Session { opening, lease } => {
                drop(lease);
                if opening.ticket.take() {
                    let _ = opening.opened.send(Err(error));
                }
            }
            Job::Open { reply, lease } => {
                drop(lease);
                let _ = reply.send(Err(error));
            }
        }
    }
}
