//! The SQLite engine: one writer thread with group commit, and reader threads beside it.
//!
//! `file` and `cipher` settle what must be known before SQLite opens the file; `connection` opens and runs statements,
//! with `guard` and `interrupt` installed; `work` is what callers send; `writer` and `readers` own the threads.

mod backup;
mod cipher;
mod connection;
mod failure;
mod file;
mod guard;
mod interrupt;
mod mailbox;
mod maintenance;
mod pinned;
mod pump;
mod readers;
mod rekey;
mod session;
mod work;
mod writer;

use std::collections::HashMap;
use std::convert::Infallible;
use std::panic::Location;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::batch::{Answer, Step, Want};
use crate::command::Fate;
use crate::config::{Settings, Target};
use crate::error::{EncryptionProblem, Error, QueryErrorKind, Result};
use crate::key::Key;
use crate::pool;
use crate::row::Row;
use crate::stats::{Counters, Stats};
use crate::stream::Rows;

use self::cipher::FileKey;
use self::connection::{Connection, DatabaseFile, Opener, Place, Role, Shape};
use self::file::{Found, Watch};
use self::pinned::{PinnedRequest, Turns};
use self::readers::{Fetched, Inline, Job, Reader, Readers, Streamed};
pub(crate) use self::session::Order;
use self::session::{Opening, SessionRequest};
pub(crate) use self::work::{FlowReader, flow};

use self::work::{Ticket, Unit, Wanted};
use self::writer::{Alone, Work, Writer, WriterHolder};

/// Statements whose class is remembered; beyond it the memory starts anew.
const REMEMBERED_STATEMENTS: usize = 1_000;

/// Without work for so long, a connection keeps no pages in memory.
const IDLE: Duration = Duration::from_secs(10);

/// Pause between two looks whether the threads have ended.
const CLOSE_POLL: Duration = Duration::from_millis(1);

/// Longest time that dropping the last handle waits for idle connections to close.
const DROP_PATIENCE: Duration = Duration::from_secs(1);

/// Tries to open a file that another process is creating at the same moment.
const CREATION_TRIES: u32 = 50;

/// Pause between two of them.
const CREATION_PAUSE: Duration = Duration::from_millis(10);

/// An open database. Dropped, its threads finish what is queued and end.
pub(crate) struct Sqlite {
    /// None once dropping has begun.
    writer: Option<mpsc::Sender<Work>>,
    holder: WriterHolder,
    /// None for a database in memory: its one connection is the writer's.
    readers: Option<Readers>,
    /// What queries have turned out to be.
    classes: RwLock<HashMap<Arc<str>, Class>>,
    inline_reads: bool,
    acquire_timeout: Duration,
    session_max_age: Duration,
    counters: Arc<Counters>,
    opener: Arc<Opener>,
    writer_open: Arc<AtomicUsize>,
    reader_threads: Threads,
    writer_thread: Threads,
    /// As many as there are sessions and pinned connections that somebody holds, and one.
    held: Arc<Held>,
}

/// What a query is, learnt when it is run first.
#[derive(Clone)]
pub(crate) enum Class {
    /// It reads, and was quick so far.
    Quick(Shape),
    /// It reads, and once took too long to be run on the caller's thread.
    Slow,
    /// It writes although it answers rows.
    Writes,
}

/// What a session or pinned connection holds on to. It has the thread of a connection without a pool, whose end is waited
/// for when it is dropped, as when the last handle of a database is.
#[derive(Debug)]
struct Held(Option<Threads>);

impl Drop for Held {
    fn drop(&mut self) {
        if self.0.as_ref().is_some_and(|thread| !thread.have_ended(DROP_PATIENCE)) {
            tracing::debug!("a connection is still being closed");
        }
    }
}

/// Threads that have ended when the channel is disconnected: each holds a sender until its connection is closed.
///
/// Readers are to end before the writer does: of connections that close at the same moment, none may find itself the
/// last, and the log would be left behind.
#[derive(Debug)]
struct Threads(Mutex<mpsc::Receiver<Infallible>>);

impl Threads {
    fn have_ended(&self, patience: Duration) -> bool {
        let ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ended.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Disconnected)
    }
}

impl Sqlite {
    /// Opens the database: key, file, writer, and as many readers as the least size asks for.
    pub(crate) async fn open(settings: &Settings) -> Result<Self> {
        let key = settings.ask_for_key().await?;
        let counters = Arc::new(Counters::default());
        let holder = WriterHolder::default();
        let writer_open = Arc::new(AtomicUsize::new(0));
        let (reader_alive, reader_threads) = mpsc::channel();
        let (writer_alive, writer_thread) = mpsc::channel();
        let (writer, queue) = mpsc::channel();
        let (reply, opened) = oneshot::channel();
        let thread = {
            let (settings, counters, holder) = (settings.clone(), Arc::clone(&counters), holder.clone());
            let writer_open = Arc::clone(&writer_open);
            move || {
                // Dropped last: the connection is closed by then.
                let _alive = writer_alive;
                match open_writer(&settings, key.as_ref()) {
                    Err(error) => {
                        let _ = reply.send(Err(error));
                    }
                    Ok((connection, opener)) => {
                        writer_open.store(1, Ordering::Relaxed);
                        if reply.send(Ok(Arc::clone(&opener))).is_ok() {
                            let unit_max_age = settings.session_max_age;
                            let (connection, log_seen) = (Some(connection), Instant::now());
                            Writer { connection, opener, queue, holder, unit_max_age, counters, log_seen }.run();
                        }
                        writer_open.store(0, Ordering::Relaxed);
                    }
                }
            }
        };
        std::thread::Builder::new()
            .name("strongroom-write".into())
            .spawn(thread)
            .map_err(|error| no_thread(settings.name(), error))?;
        // The thread answers in either case; it is gone only if it panicked.
        let opener = opened.await.map_err(|_| Error::Closed)??;
        let session_max_age = settings.session_max_age;
        let least = settings.pool.min_size.saturating_sub(1);
        let readers = matches!(opener.place, Place::File { .. }).then(|| {
            let pool = pool::Settings {
                min_size: least,
                max_size: settings.pool.max_size.saturating_sub(1).max(1),
                // A file needs no test: each use of it looks whether it is still there. Instead, readers give memory back.
                test_after_idle: None,
                keepalive: Some(IDLE),
                ..settings.pool.clone()
            };
            Readers::new(Arc::clone(&opener), pool, session_max_age, reader_alive)
        });
        let sqlite = Sqlite {
            writer: Some(writer),
            holder,
            readers,
            classes: RwLock::default(),
            inline_reads: settings.inline_reads,
            acquire_timeout: settings.pool.acquire_timeout,
            session_max_age,
            counters,
            opener,
            writer_open,
            reader_threads: Threads(Mutex::new(reader_threads)),
            writer_thread: Threads(Mutex::new(writer_thread)),
            held: Arc::new(Held(None)),
        };
        if let Some(readers) = &sqlite.readers {
            readers.open_at_least(least).await?;
        }
        Ok(sqlite)
    }

    /// Runs statements as one unit, durable when this returns.
    pub(crate) async fn unit(
        &self,
        steps: Vec<Step>,
        want: Want,
        location: &'static Location<'static>,
    ) -> Result<Vec<Answer>> {
        let ticket = Ticket::new();
        let wanted = Wanted(ticket.clone());
        let (reply, answer) = oneshot::channel();
        self.send(Work::Unit(Unit { steps, want, ticket, location, reply }))?;
        self.wait_for_writer(&wanted, answer).await
    }

    /// Runs a query and answers its first rows.
    ///
    /// One that is known to be quick is run here, on the caller's thread, when a reader is free; else on a reader's.
    pub(crate) async fn fetch(
        &self,
        step: Step,
        at_most: usize,
        location: &'static Location<'static>,
    ) -> Result<Vec<Row>> {
        if let Some(readers) = &self.readers
            && self.inline_reads
            && let Some(Class::Quick(shape)) = self.class(&step.sql)
        {
            // A task that only reads like this would never let others have their turn.
            tokio::task::coop::consume_budget().await;
            match readers.try_inline(&step, at_most, shape, location) {
                Some(Inline::Done(outcome)) => return outcome,
                Some(Inline::Elsewhere(class)) => self.learn(&step.sql, class),
                None => {}
            }
        }
        // Boxed, so that the future of a quick read, which is moved several times, stays small.
        Box::pin(self.fetch_on_thread(step, at_most, location)).await
    }

    async fn fetch_on_thread(
        &self,
        mut step: Step,
        at_most: usize,
        location: &'static Location<'static>,
    ) -> Result<Vec<Row>> {
        while let Some(readers) = &self.readers {
            let class = self.class(&step.sql);
            if matches!(class, Some(Class::Writes)) {
                break;
            }
            let unknown = class.is_none().then(|| Arc::clone(&step.sql));
            let ticket = Ticket::new();
            let _wanted = Wanted(ticket.clone());
            let (reply, answer) = oneshot::channel();
            readers.dispatch_fetch(step, at_most, ticket, location, reply);
            match answer.await.map_err(|_| Error::Closed)?? {
                Fetched::Rows(rows, shape) => {
                    unknown.iter().for_each(|sql| self.learn(sql, Class::Quick(shape.clone())));
                    return Ok(rows);
                }
                Fetched::Writes(returned) => {
                    self.learn(&returned.sql, Class::Writes);
                    step = returned;
                }
                Fetched::Again(returned) => step = returned,
            }
        }
        let answers = self.unit(vec![step], Want::Rows { at_most }, location).await?;
        Ok(answers.into_iter().flat_map(|answer| answer.rows).collect())
    }

    /// Begins to stream a query's rows. A statement that writes, and any query of a database in memory, is run to its end
    /// first.
    pub(crate) async fn stream(&self, step: Step, location: &'static Location<'static>) -> Result<Rows> {
        let step = match &self.readers {
            Some(readers) if !matches!(self.class(&step.sql), Some(Class::Writes)) => {
                let lease = readers.acquire(location).await?;
                let ticket = Ticket::new();
                let (flow, reader) = flow(Some(Wanted(ticket.clone())));
                let (reply, answer) = oneshot::channel();
                Reader::send(lease, |lease| Job::Stream { lease, step, flow, ticket, reply });
                match answer.await.map_err(|_| Error::Closed)?? {
                    Streamed::Begun => return Ok(Rows::Flowing(reader)),
                    Streamed::Writes(step) => {
                        self.learn(&step.sql, Class::Writes);
                        step
                    }
                }
            }
            _ => step,
        };
        let answers = self.unit(vec![step], Want::Rows { at_most: usize::MAX }, location).await?;
        Ok(Rows::Buffered(answers.into_iter().flat_map(|answer| answer.rows).collect()))
    }

    /// Opens a session: on the writer, or, when it only reads, on a reader. It ends at `max_age`, by default the
    /// settings'.
    pub(crate) async fn session(
        &self,
        reads_only: bool,
        max_age: Option<Duration>,
        location: &'static Location<'static>,
    ) -> Result<SessionLink> {
        let (link, commands, holder) = self.link();
        let (opened, answer) = oneshot::channel();
        let ticket = Ticket::new();
        let max_age = max_age.unwrap_or(self.session_max_age);
        let request = SessionRequest { commands, holder, fate: link.fate.clone(), location, max_age, reads_only };
        let wanted = Wanted(ticket.clone());
        let opening = Opening { ticket, opened, request };
        match &self.readers {
            Some(readers) if reads_only => {
                let lease = readers.acquire(location).await?;
                Reader::send(lease, |lease| Job::Session { lease, opening });
                answer.await.map_err(|_| Error::Closed)??;
            }
            _ => {
                self.send(Work::Session(opening))?;
                self.wait_for_writer(&wanted, answer).await?;
            }
        }
        Ok(link)
    }

    /// Lends a connection for as long as its holder likes, outside any transaction. A database in memory has one only: it is
    /// lent like a session, up to the sessions' age.
    pub(crate) async fn connection(&self, location: &'static Location<'static>) -> Result<SessionLink> {
        let (link, commands, holder) = self.link();
        let request = PinnedRequest {
            commands,
            holder,
            fate: link.fate.clone(),
            opener: Arc::clone(&self.opener),
            turns: None,
            unit_max_age: self.session_max_age,
            deadline: None,
        };
        let Some(readers) = &self.readers else {
            let (opened, answer) = oneshot::channel();
            let ticket = Ticket::new();
            let wanted = Wanted(ticket.clone());
            let work =
                Box::new(move |writer: Result<&mut Writer>| match writer.and_then(|writer| writer.connection()) {
                    Ok(connection) => {
                        if opened.send(Ok(())).is_ok() {
                            lend_memory(connection, request);
                        }
                    }
                    Err(error) => drop(opened.send(Err(error))),
                });
            self.send(Work::Alone(Alone { ticket, location, work }))?;
            self.wait_for_writer(&wanted, answer).await?;
            return Ok(link);
        };
        let lease = readers.acquire(location).await?;
        let queue = self.writer.clone().ok_or(Error::Closed)?;
        let turns = Turns {
            queue,
            writer: self.holder.clone(),
            patience: self.acquire_timeout,
            longest: self.session_max_age,
            location,
        };
        let request = PinnedRequest { turns: Some(turns), ..request };
        Reader::send(lease, |lease| Job::Pinned { lease, request });
        Ok(link)
    }

    /// Makes the holder's end of a session, with its commands and its ticket for who serves it.
    fn link(&self) -> (SessionLink, mpsc::Receiver<Order>, Ticket) {
        let (orders, receiver) = mpsc::channel();
        let holder = Ticket::new();
        // Taken at once: only whether the holder is gone is asked.
        holder.take();
        let (fate, held) = (Fate::default(), Arc::clone(&self.held));
        let link = SessionLink { orders, fate, _holder: Arc::new(Wanted(holder.clone())), _held: held };
        (link, receiver, holder)
    }

    /// Runs work on the writer when its turn comes, outside any transaction. The work is given the ticket of its caller, to
    /// stop when that is gone.
    async fn alone<T: Send + 'static>(
        &self,
        location: &'static Location<'static>,
        work: impl FnOnce(&mut Writer, &Ticket) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let ticket = Ticket::new();
        let wanted = Wanted(ticket.clone());
        let (reply, answer) = oneshot::channel();
        let work = {
            let ticket = ticket.clone();
            Box::new(move |writer: Result<&mut Writer>| {
                let _ = reply.send(writer.and_then(|writer| work(writer, &ticket)));
            })
        };
        self.send(Work::Alone(Alone { ticket, location, work }))?;
        self.wait_for_writer(&wanted, answer).await
    }

    /// Ends the threads after what is under way, and waits for them, up to the deadline.
    pub(crate) async fn close(&self, patience: Duration) -> Result<()> {
        let began = Instant::now();
        if let Some(readers) = &self.readers {
            readers.close(patience).await?;
        }
        self.wait_for(&self.reader_threads, began, patience).await?;
        // Refused when the writer has ended before, by an earlier call whose future was dropped.
        let _ = self.send(Work::Close);
        self.wait_for(&self.writer_thread, began, patience).await
    }

    async fn wait_for(&self, threads: &Threads, began: Instant, patience: Duration) -> Result<()> {
        while !threads.have_ended(Duration::ZERO) {
            if began.elapsed() >= patience {
                return Err(self.holder.waited_in_vain(began.elapsed()));
            }
            tokio::time::sleep(CLOSE_POLL).await;
        }
        Ok(())
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.opener.key().is_some()
    }

    pub(crate) fn connections(&self) -> usize {
        self.writer_open.load(Ordering::Relaxed) + self.readers.as_ref().map_or(0, |readers| readers.pool().size())
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.counters.snapshot();
        stats.connections = self.connections();
        if let Some(readers) = &self.readers {
            stats.readers = readers.pool().stats();
        }
        stats.log_bytes = self.opener.log_bytes();
        stats
    }

    fn send(&self, work: Work) -> Result<()> {
        self.writer.as_ref().ok_or(Error::Closed)?.send(work).map_err(|_| Error::Closed)
    }

    /// Waits in the writer's queue up to the acquire timeout; once the work has begun, to its end.
    async fn wait_for_writer<T>(&self, wanted: &Wanted, mut answer: oneshot::Receiver<Result<T>>) -> Result<T> {
        let began = Instant::now();
        let outcome = match tokio::time::timeout(self.acquire_timeout, &mut answer).await {
            Ok(outcome) => outcome,
            Err(_) if wanted.0.abandon() => {
                self.counters.timed_out();
                return Err(self.holder.waited_in_vain(began.elapsed()));
            }
            Err(_) => answer.await,
        };
        outcome.map_err(|_| Error::Closed)?
    }

    fn class(&self, sql: &str) -> Option<Class> {
        self.classes.read().unwrap_or_else(PoisonError::into_inner).get(sql).cloned()
    }

    fn learn(&self, sql: &Arc<str>, class: Class) {
        let mut classes = self.classes.write().unwrap_or_else(PoisonError::into_inner);
        if classes.len() >= REMEMBERED_STATEMENTS {
            classes.clear();
        }
        classes.insert(Arc::clone(sql), class);
    }
}

impl Drop for Sqlite {
    /// Waits until the connections are closed, some milliseconds: a process that ends meanwhile would take SQLCipher's state
    /// away under them. That includes those whose sessions were dropped before and are being rolled back; sessions that
    /// live on are not waited for.
    fn drop(&mut self) {
        if let Some(readers) = &self.readers {
            readers.dismiss();
        }
        let is_busy = Arc::strong_count(&self.held) > 1;
        let mut closed = is_busy || self.reader_threads.have_ended(DROP_PATIENCE);
        self.writer = None;
        closed = closed && (is_busy || self.writer_thread.have_ended(DROP_PATIENCE));
        if !closed {
            tracing::debug!("connections are still being closed");
        }
    }
}

/// The holder's end of a session.
#[derive(Clone, Debug)]
pub(crate) struct SessionLink {
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) fate: Fate,
    _holder: Arc<Wanted>,
    /// Dropped last: by then the thread knows that nobody holds the session.
    _held: Arc<Held>,
}

impl Settings {
    async fn ask_for_key(&self) -> Result<Option<Key>> {
        match &self.key {
            Some(source) => source.key().await.map(Some),
            None => Ok(None),
        }
    }
}

/// Lends the one connection of a database in memory, from now on and up to the sessions' age.
fn lend_memory(connection: &Connection, request: PinnedRequest) {
    let request = PinnedRequest { deadline: Some(Instant::now() + request.unit_max_age), ..request };
    connection.guard().allow_temporary(true);
    // The holder has been told what went wrong, and in memory nothing breaks a connection.
    let served = request.serve(connection);
    connection.guard().allow_temporary(false);
    let cleared = connection.drop_temporary();
    if let Ok(Some(reply)) = served {
        let _ = reply.send(cleared);
    }
}

/// Opens one connection that belongs to one caller, on a thread of its own.
pub(crate) async fn connect_one(settings: &Settings) -> Result<SessionLink> {
    let key = settings.ask_for_key().await?;
    let (orders, receiver) = mpsc::channel();
    let (fate, holder) = (Fate::default(), Ticket::new());
    holder.take();
    let wanted = Arc::new(Wanted(holder.clone()));
    let (alive, ended) = mpsc::channel();
    let unit_max_age = settings.session_max_age;
    let (reply, opened) = oneshot::channel();
    let thread = {
        let (settings, fate) = (settings.clone(), fate.clone());
        move || {
            // Dropped last: the connection is closed by then.
            let _alive = alive;
            match open_writer(&settings, key.as_ref()) {
                Err(error) => drop(reply.send(Err(error))),
                Ok((connection, opener)) => {
                    connection.guard().allow_temporary(true);
                    if reply.send(Ok(())).is_err() {
                        return;
                    }
                    let commands = receiver;
                    let request =
                        PinnedRequest { commands, holder, fate, opener, turns: None, unit_max_age, deadline: None };
                    // The holder has been told what went wrong; the connection is closed in either case.
                    let served = request.serve(&connection);
                    drop(connection);
                    if let Ok(Some(reply)) = served {
                        let _ = reply.send(Ok(()));
                    }
                }
            }
        }
    };
    std::thread::Builder::new()
        .name("strongroom-one".into())
        .spawn(thread)
        .map_err(|error| no_thread(settings.name(), error))?;
    opened.await.map_err(|_| Error::Closed)??;
    let held = Arc::new(Held(Some(Threads(Mutex::new(ended)))));
    Ok(SessionLink { orders, fate, _holder: wanted, _held: held })
}

/// The error for a thread that the system does not give.
fn no_thread(database: String, error: std::io::Error) -> Error {
    Error::connection(database, "no thread could be started").caused_by(error)
}

/// Derives the file's key, and opens the writer. Blocks; runs on the writer's thread.
fn open_writer(settings: &Settings, key: Option<&Key>) -> Result<(Connection, Arc<Opener>)> {
    let opener = |place| Opener { place, busy_timeout: settings.pool.acquire_timeout, cache_kib: settings.cache_kib };
    let Target::File(path) = &settings.target else {
        let opener = opener(Place::Memory);
        return Ok((opener.open(Role::Writer)?, Arc::new(opener)));
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let found = file::examine(path, settings.create, key.is_some())?;
        let file_key = match (key, &found) {
            (None, _) => None,
            (Some(key), Found::Encrypted { salt }) => Some(derive(path, key, *salt)?),
            (Some(key), Found::Empty | Found::Plain) => Some(derive(path, key, new_salt(path)?)?),
        };
        let file = RwLock::new(DatabaseFile { key: file_key, watch: Watch::new(path)? });
        let opener = opener(Place::File { path: path.clone(), file });
        match opener.open(Role::Writer) {
            Ok(connection) => {
                tracing::debug!(database = %path.display(), encrypted = key.is_some(), "opened");
                return Ok((connection, Arc::new(opener)));
            }
            // Another process may be creating the file at this moment, with a salt of its own.
            Err(error) if found == Found::Empty && tries < CREATION_TRIES && may_be_a_foreign_creation(&error) => {
                std::thread::sleep(CREATION_PAUSE);
            }
            // It was given another key between the two looks: its salt is another one.
            Err(error) if file::examine(path, settings.create, key.is_some()).is_ok_and(|now| now != found) => {
                tracing::debug!(%error, "the file was replaced while it was opened");
            }
            Err(error) => return Err(error),
        }
    }
}

fn may_be_a_foreign_creation(error: &Error) -> bool {
    match error {
        Error::Encryption { problem, .. } => *problem == EncryptionProblem::WrongKeyOrDamaged,
        other => file::is_locked(other) || other.query_kind() == Some(QueryErrorKind::Corrupt),
    }
}

fn derive(path: &Path, key: &Key, salt: [u8; cipher::SALT_LEN]) -> Result<FileKey> {
    FileKey::derive(key, salt).map_err(|error| cryptography_failed(path, error))
}

fn new_salt(path: &Path) -> Result<[u8; cipher::SALT_LEN]> {
    let mut salt = [0; cipher::SALT_LEN];
    openssl::rand::rand_bytes(&mut salt).map_err(|error| cryptography_failed(path, error))?;
    Ok(salt)
}

fn cryptography_failed(path: &Path, error: openssl::error::ErrorStack) -> Error {
    Error::connection(path.display().to_string(), "the cryptography library failed").caused_by(error)
}

/// The version of SQLCipher that is built in, such as `4.19.0 community`.
pub(crate) fn sqlcipher_version() -> Result<String> {
    cipher::initialize();
    let db = rusqlite::Connection::open_in_memory().map_err(failure::translate)?;
    db.query_row("PRAGMA cipher_version", [], |row| row.get(0)).map_err(failure::translate)
}
