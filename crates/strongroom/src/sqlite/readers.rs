//! The readers: threads that own one reading connection each, lent to one caller at a time.

use std::collections::BTreeMap;
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
use crate::sqlite::file::Watch;
use crate::sqlite::interrupt::Interrupt;
use crate::sqlite::work::{Flow, Opening, Reply, SessionEnd, SessionService};
use crate::stats::Counters;

/// What a reader is asked to do. The lease comes along, so that the reader goes home when the work is done, whether the
/// caller still waits or not.
pub(crate) enum Job {
    Fetch {
        step: Step,
        at_most: usize,
        reply: Reply<Fetched>,
        lease: Lease,
    },
    Stream {
        step: Step,
        flow: Flow,
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
    watch: Arc<Watch>,
    permits: Arc<Semaphore>,
    state: Mutex<State>,
    size: usize,
    acquire_timeout: Duration,
    session_max_age: Duration,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct State {
    /// The most recently used last: it is lent next, its caches are warm.
    idle: Vec<Reader>,
    leases: BTreeMap<u64, (Instant, &'static Location<'static>)>,
    next_lease: u64,
    open: usize,
}

/// The near end of one reader thread.
struct Reader {
    jobs: mpsc::Sender<Job>,
    interrupt: Interrupt,
    broken: Arc<AtomicBool>,
}

impl Readers {
    pub(crate) fn new(
        opener: Arc<Opener>,
        watch: Arc<Watch>,
        size: usize,
        acquire_timeout: Duration,
        session_max_age: Duration,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        Arc::new(Readers {
            opener,
            watch,
            permits: Arc::new(Semaphore::new(size)),
            state: Mutex::default(),
            size,
            acquire_timeout,
            session_max_age,
            counters,
        })
    }

    /// Opens readers until there are `count`.
    pub(crate) async fn open_at_least(self: &Arc<Self>, count: usize) -> Result<()> {
        let mut opening = Vec::new();
        for _ in 0..count.min(self.size) {
            let lease = self.acquire(Location::caller()).await?;
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
                let reader = self.spawn()?;
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

    /// Refuses whoever comes from now on, and waits until all readers are home, up to the deadline.
    pub(crate) async fn close(&self, deadline: Duration) {
        let all = u32::try_from(self.size).unwrap_or(u32::MAX);
        let home = tokio::time::timeout(deadline, self.permits.acquire_many(all)).await;
        if home.is_err() {
            tracing::warn!(busy = %self.busy(), "the database was closed while readers were lent");
        }
        self.permits.close();
        let mut state = self.lock();
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

    fn busy(&self) -> Busy {
        let oldest = self.lock().leases.first_key_value().map(|(_, (since, location))| (*since, *location));
        let oldest = oldest.map(|(since, location)| Holder { age: since.elapsed(), location });
        Busy::Readers { size: self.size, oldest }
    }

    fn spawn(&self) -> Result<Reader> {
        let (jobs, queue) = mpsc::channel();
        let interrupt = Interrupt::new();
        let broken = Arc::new(AtomicBool::new(false));
        let thread = ReaderThread {
            opener: Arc::clone(&self.opener),
            watch: Arc::clone(&self.watch),
            session_max_age: self.session_max_age,
            interrupt: interrupt.clone(),
            broken: Arc::clone(&broken),
        };
        std::thread::Builder::new().name("strongroom-read".into()).spawn(move || thread.run(&queue)).map_err(
            |error| Error::Connection {
                database: self.opener.name(),
                reason: "no thread for a further reader could be started".into(),
                source: Some(Arc::new(error)),
            },
        )?;
        Ok(Reader { jobs, interrupt, broken })
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
    /// Sends the reader to work; the switch stops it.
    pub(crate) fn dispatch(self, job: impl FnOnce(Lease) -> Job) -> Result<Switch> {
        let Some(reader) = &self.reader else { return Err(Error::Closed) };
        let (jobs, interrupt) = (reader.jobs.clone(), reader.interrupt.clone());
        let job_number = interrupt.begin();
        jobs.send(job(self)).map_err(|_| Error::Closed)?;
        Ok(Switch { interrupt, job_number, armed: true })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.readers.lock();
        state.leases.remove(&self.id);
        if let Some(reader) = self.reader.take() {
            if reader.broken.load(Ordering::Acquire) || self.readers.permits.is_closed() {
                state.open -= 1;
            } else {
                state.idle.push(reader);
            }
        }
    }
}

/// Stops the job when dropped, unless it is disarmed: a caller that goes away takes its query along.
pub(crate) struct Switch {
    interrupt: Interrupt,
    job_number: u64,
    armed: bool,
}

impl Switch {
    pub(crate) fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        if self.armed {
            self.interrupt.stop(self.job_number);
        }
    }
}

struct ReaderThread {
    opener: Arc<Opener>,
    watch: Arc<Watch>,
    session_max_age: Duration,
    interrupt: Interrupt,
    broken: Arc<AtomicBool>,
}

impl ReaderThread {
    fn run(self, queue: &mpsc::Receiver<Job>) {
        let mut connection = None;
        for job in queue {
            if connection.is_none() {
                match self.opener.open(Role::Reader, self.interrupt.clone()) {
                    Ok(opened) => connection = Some(opened),
                    Err(error) => {
                        self.broken.store(true, Ordering::Release);
                        job.refuse(error);
                        return;
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
        if let Err(error) = self.watch.check() {
            return job.refuse(error);
        }
        match job {
            Job::Open { reply, lease } => {
                drop(lease);
                let _ = reply.send(Ok(()));
            }
            Job::Fetch { step, at_most, reply, lease } => {
                let outcome = match connection.is_read_only(&step.sql) {
                    Err(error) => Err(error),
                    Ok(false) => Ok(Fetched::Writes(step)),
                    Ok(true) => connection.run(&step, Want::Rows { at_most }).map(|answer| Fetched::Rows(answer.rows)),
                };
                self.settle(connection, outcome.as_ref().err());
                drop(lease);
                let _ = reply.send(outcome);
            }
            Job::Stream { step, flow, reply, lease } => {
                match connection.is_read_only(&step.sql) {
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
                        if reply.send(Ok(Streamed::Begun)).is_ok() {
                            let error = flow.pump(connection, &step, None);
                            self.settle(connection, error.as_ref());
                        }
                        drop(lease);
                    }
                };
            }
            Job::Session { opening, lease } => {
                self.session(connection, opening);
                drop(lease);
            }
        }
    }

    fn session(&self, connection: &Connection, opening: Opening) {
        let Opening { ticket, opened, request } = opening;
        if !ticket.take() {
            return;
        }
        // BEGIN alone takes no snapshot: the first read does.
        let begun = connection.control("BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1");
        self.settle_begin(begun.as_ref().err());
        let failed = begun.is_err();
        if opened.send(begun).is_ok() && !failed {
            let end = SessionService::new(connection, request, self.session_max_age).serve();
            let rolled_back = if connection.in_transaction() { connection.control("ROLLBACK") } else { Ok(()) };
            if let SessionEnd::Commit(reply) | SessionEnd::Rollback(Some(reply)) = end {
                let _ = reply.send(rolled_back);
            }
        } else if connection.in_transaction()
            && let Err(error) = connection.control("ROLLBACK")
        {
            tracing::warn!(error = %error, "a reading connection could not end its transaction and is replaced");
        }
        self.settle(connection, None);
    }

    fn settle_begin(&self, error: Option<&Error>) {
        if error.is_some_and(breaks_connection) {
            self.broken.store(true, Ordering::Release);
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
