//! The SQLite engine: one writer thread with group commit, and reader threads beside it.
//!
//! `file` and `cipher` settle what must be known before SQLite opens the file; `connection` opens and runs statements,
//! with `guard` and `interrupt` installed; `work` is what callers send; `writer` and `readers` own the threads.

mod cipher;
mod connection;
mod failure;
mod file;
mod guard;
mod interrupt;
mod readers;
mod work;
mod writer;

use std::collections::HashSet;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::batch::Step;
use crate::error::{EncryptionProblem, Error, QueryErrorKind, Result};
use crate::key::KeySource;
use crate::row::Row;
use crate::stats::{Counters, Stats};

use self::cipher::FileKey;
pub(crate) use self::connection::{Answer, Want};
use self::connection::{Opener, Place, Role};
use self::file::{Found, Watch};
use self::interrupt::Interrupt;
use self::readers::{Fetched, Job, Readers, Streamed};
pub(crate) use self::work::{Command, Fate, Flow, FlowReader};
use self::work::{Opening, SessionRequest, Ticket, Unit};
use self::writer::{Work, Writer, WriterHolder};

/// Statements whose class is remembered; beyond it the memory starts anew.
const REMEMBERED_STATEMENTS: usize = 1_000;

/// What the engine is to open, validated.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) place: SettingsPlace,
    pub(crate) key: Option<KeySource>,
    pub(crate) create: bool,
    pub(crate) min_size: usize,
    pub(crate) max_size: usize,
    pub(crate) acquire_timeout: Duration,
    pub(crate) session_max_age: Duration,
    pub(crate) cache_kib: u32,
}

#[derive(Clone, Debug)]
pub(crate) enum SettingsPlace {
    File(PathBuf),
    Memory,
}

/// An open database. Dropped, its threads finish what is queued and end.
pub(crate) struct Sqlite {
    writer: mpsc::Sender<Work>,
    holder: WriterHolder,
    /// None for a database in memory: its one connection is the writer's.
    readers: Option<Arc<Readers>>,
    /// Statements that have turned out to write although they answer rows.
    writing: RwLock<HashSet<Arc<str>>>,
    acquire_timeout: Duration,
    counters: Arc<Counters>,
    encrypted: bool,
    writer_open: Arc<AtomicUsize>,
}

impl Sqlite {
    /// Opens the database: key, file, writer, and as many readers as the least size asks for.
    pub(crate) async fn open(settings: &Settings) -> Result<Self> {
        let counters = Arc::new(Counters::default());
        let holder = WriterHolder::default();
        let writer_open = Arc::new(AtomicUsize::new(0));
        let (writer, queue) = mpsc::channel();
        let (reply, opened) = oneshot::channel();
        let thread = {
            let (settings, counters, holder) = (settings.clone(), Arc::clone(&counters), holder.clone());
            let writer_open = Arc::clone(&writer_open);
            move || match open_writer(&settings) {
                Err(error) => {
                    let _ = reply.send(Err(error));
                }
                Ok((connection, opener, watch)) => {
                    writer_open.store(1, Ordering::Relaxed);
                    if reply.send(Ok((Arc::clone(&opener), watch.clone()))).is_ok() {
                        let session_max_age = settings.session_max_age;
                        let connection = Some(connection);
                        Writer { connection, opener, watch, queue, holder, session_max_age, counters }.run();
                    }
                    writer_open.store(0, Ordering::Relaxed);
                }
            }
        };
        std::thread::Builder::new().name("strongroom-write".into()).spawn(thread).map_err(|error| {
            Error::Connection {
                database: settings.name(),
                reason: "no thread for the writer could be started".into(),
                source: Some(Arc::new(error)),
            }
        })?;
        // The thread answers in either case; it is gone only if it panicked.
        let (opener, watch) = opened.await.map_err(|_| Error::Closed)??;
        let encrypted = matches!(&opener.place, Place::File { key: Some(_), .. });
        let readers = watch.map(|watch| {
            let size = settings.max_size.saturating_sub(1).max(1);
            let (acquire_timeout, max_age) = (settings.acquire_timeout, settings.session_max_age);
            Readers::new(opener, watch, size, acquire_timeout, max_age, Arc::clone(&counters))
        });
        if let Some(readers) = &readers {
            readers.open_at_least(settings.min_size.saturating_sub(1)).await?;
        }
        let (writing, acquire_timeout) = (RwLock::default(), settings.acquire_timeout);
        Ok(Sqlite { writer, holder, readers, writing, acquire_timeout, counters, encrypted, writer_open })
    }

    /// Runs statements as one unit, durable when this returns.
    pub(crate) async fn unit(&self, steps: Vec<Step>, want: Want) -> Result<Vec<Answer>> {
        let ticket = Ticket::new();
        let (reply, answer) = oneshot::channel();
        self.send(Work::Unit(Unit { steps, want, ticket: ticket.clone(), reply }))?;
        self.wait_for_writer(ticket, answer).await
    }

    /// Runs a query and answers its first rows.
    pub(crate) async fn fetch(
        &self,
        step: Step,
        at_most: usize,
        location: &'static Location<'static>,
    ) -> Result<Vec<Row>> {
        let step = match &self.readers {
            Some(readers) if !self.known_to_write(&step.sql) => {
                let lease = readers.acquire(location).await?;
                let (reply, answer) = oneshot::channel();
                let mut switch = lease.dispatch(|lease| Job::Fetch { step, at_most, reply, lease })?;
                let outcome = answer.await;
                switch.disarm();
                match outcome.map_err(|_| Error::Closed)?? {
                    Fetched::Rows(rows) => return Ok(rows),
                    Fetched::Writes(step) => self.remember_that_it_writes(step),
                }
            }
            _ => step,
        };
        let answers = self.unit(vec![step], Want::Rows { at_most }).await?;
        Ok(answers.into_iter().flat_map(|answer| answer.rows).collect())
    }

    /// Begins to stream a query's rows. A statement that writes, and any query of a database in memory, is run to its end
    /// first.
    pub(crate) async fn stream(&self, step: Step, location: &'static Location<'static>) -> Result<Rows> {
        let step = match &self.readers {
            Some(readers) if !self.known_to_write(&step.sql) => {
                let lease = readers.acquire(location).await?;
                let (flow, reader) = Flow::new();
                let (reply, answer) = oneshot::channel();
                let mut switch = lease.dispatch(|lease| Job::Stream { step, flow, reply, lease })?;
                match answer.await.map_err(|_| Error::Closed)?? {
                    Streamed::Begun => return Ok(Rows::Flowing { reader, switch: Some(switch) }),
                    Streamed::Writes(step) => {
                        switch.disarm();
                        self.remember_that_it_writes(step)
                    }
                }
            }
            _ => step,
        };
        let answers = self.unit(vec![step], Want::Rows { at_most: usize::MAX }).await?;
        Ok(Rows::Buffered(answers.into_iter().flat_map(|answer| answer.rows).collect()))
    }

    /// Opens a session: on the writer, or, when it only reads, on a reader.
    pub(crate) async fn session(&self, reads_only: bool, location: &'static Location<'static>) -> Result<SessionLink> {
        let (commands, receiver) = mpsc::channel();
        let (opened, answer) = oneshot::channel();
        let (fate, ticket) = (Fate::default(), Ticket::new());
        let request = SessionRequest { commands: receiver, fate: fate.clone(), location, reads_only };
        let opening = Opening { ticket: ticket.clone(), opened, request };
        match &self.readers {
            Some(readers) if reads_only => {
                let lease = readers.acquire(location).await?;
                // A session ends by its command channel, not by the switch.
                lease.dispatch(|lease| Job::Session { opening, lease })?.disarm();
                answer.await.map_err(|_| Error::Closed)??;
            }
            _ => {
                self.send(Work::Session(opening))?;
                self.wait_for_writer(ticket, answer).await?;
            }
        }
        Ok(SessionLink { commands, fate })
    }

    pub(crate) async fn close(&self, deadline: Duration) -> Result<()> {
        if let Some(readers) = &self.readers {
            readers.close(deadline).await;
        }
        let (reply, closed) = oneshot::channel();
        self.send(Work::Close(reply))?;
        match tokio::time::timeout(deadline, closed).await {
            Ok(answer) => answer.map_err(|_| Error::Closed)?,
            Err(_) => Err(self.holder.waited_in_vain(deadline)),
        }
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    pub(crate) fn connections(&self) -> usize {
        self.writer_open.load(Ordering::Relaxed) + self.readers.as_ref().map_or(0, |readers| readers.open())
    }

    pub(crate) fn stats(&self) -> Stats {
        self.counters.snapshot(self.connections(), self.readers.as_ref().map_or(0, |readers| readers.lent()))
    }

    fn send(&self, work: Work) -> Result<()> {
        self.writer.send(work).map_err(|_| Error::Closed)
    }

    /// Waits in the writer's queue up to the acquire timeout; once the work has begun, to its end. Dropped before, the
    /// work is never begun.
    async fn wait_for_writer<T>(&self, ticket: Ticket, mut answer: oneshot::Receiver<Result<T>>) -> Result<T> {
        let _abandon = AbandonOnDrop(&ticket);
        let began = Instant::now();
        let outcome = match tokio::time::timeout(self.acquire_timeout, &mut answer).await {
            Ok(outcome) => outcome,
            Err(_) if ticket.abandon() => {
                self.counters.timed_out();
                return Err(self.holder.waited_in_vain(began.elapsed()));
            }
            Err(_) => answer.await,
        };
        outcome.map_err(|_| Error::Closed)?
    }

    fn known_to_write(&self, sql: &str) -> bool {
        self.writing.read().unwrap_or_else(PoisonError::into_inner).contains(sql)
    }

    fn remember_that_it_writes(&self, step: Step) -> Step {
        let mut writing = self.writing.write().unwrap_or_else(PoisonError::into_inner);
        if writing.len() >= REMEMBERED_STATEMENTS {
            writing.clear();
        }
        writing.insert(Arc::clone(&step.sql));
        step
    }
}

/// The rows of a query, as they come or all at once.
pub(crate) enum Rows {
    Flowing { reader: FlowReader, switch: Option<readers::Switch> },
    Buffered(std::collections::VecDeque<Row>),
}

/// The holder's end of a session.
pub(crate) struct SessionLink {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) fate: Fate,
}

struct AbandonOnDrop<'t>(&'t Ticket);

impl Drop for AbandonOnDrop<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Settings {
    pub(crate) fn name(&self) -> String {
        match &self.place {
            SettingsPlace::File(path) => path.display().to_string(),
            SettingsPlace::Memory => ":memory:".to_owned(),
        }
    }
}

type Opened = (connection::Connection, Arc<Opener>, Option<Arc<Watch>>);

/// Asks for the key, derives the file's key from it, and opens the writer. Blocks; runs on the writer's thread.
fn open_writer(settings: &Settings) -> Result<Opened> {
    let opener = |place| Opener { place, busy_timeout: settings.acquire_timeout, cache_kib: settings.cache_kib };
    let path = match &settings.place {
        SettingsPlace::Memory => {
            let opener = opener(Place::Memory);
            let connection = opener.open(Role::Writer, Interrupt::new())?;
            return Ok((connection, Arc::new(opener), None));
        }
        SettingsPlace::File(path) => path,
    };
    let key = settings.key.as_ref().map(KeySource::resolve).transpose()?;
    // A second time only if another process has created the file meanwhile, with a salt of its own.
    for last_try in [false, true] {
        let found = file::examine(path, settings.create, key.is_some())?;
        let file_key = match (&key, &found) {
            (None, _) => None,
            (Some(key), Found::Encrypted { salt }) => Some(derive(path, key, *salt)?),
            (Some(key), Found::Empty | Found::Plain) => Some(derive(path, key, new_salt(path)?)?),
        };
        let opener = opener(Place::File { path: path.clone(), key: file_key });
        match opener.open(Role::Writer, Interrupt::new()) {
            Err(error) if matches!(found, Found::Empty) && !last_try && may_be_a_foreign_salt(&error) => {}
            Err(error) => return Err(error),
            Ok(connection) => {
                let watch = Watch::new(path)?;
                tracing::debug!(database = %path.display(), encrypted = key.is_some(), "opened");
                return Ok((connection, Arc::new(opener), Some(Arc::new(watch))));
            }
        }
    }
    Err(Error::Encryption { database: path.clone(), problem: EncryptionProblem::WrongKeyOrDamaged })
}

fn may_be_a_foreign_salt(error: &Error) -> bool {
    matches!(error, Error::Encryption { .. }) || error.query_kind() == Some(QueryErrorKind::Corrupt)
}

fn derive(path: &Path, key: &crate::key::Key, salt: [u8; cipher::SALT_LEN]) -> Result<FileKey> {
    FileKey::derive(key, salt).map_err(|error| cryptography_failed(path, error))
}

fn new_salt(path: &Path) -> Result<[u8; cipher::SALT_LEN]> {
    let mut salt = [0; cipher::SALT_LEN];
    openssl::rand::rand_bytes(&mut salt).map_err(|error| cryptography_failed(path, error))?;
    Ok(salt)
}

fn cryptography_failed(path: &Path, error: openssl::error::ErrorStack) -> Error {
    Error::Connection {
        database: path.display().to_string(),
        reason: "the cryptography library failed".into(),
        source: Some(Arc::new(error)),
    }
}

/// The version of SQLCipher that is built in, such as `4.19.0 community`.
pub(crate) fn sqlcipher_version() -> Result<String> {
    let db = rusqlite::Connection::open_in_memory().map_err(failure::translate)?;
    db.query_row("PRAGMA cipher_version", [], |row| row.get(0)).map_err(failure::translate)
}
