//! The handle, for threads that wait.

use std::fmt;
use std::path::PathBuf;

use crate::backup::Progress;
use crate::blocking::statements::{blocking_reading_methods, blocking_writing_methods};
use crate::blocking::{Connection, ReadSession, Session, wait};
use crate::check::Report;
use crate::database::Retries;
use crate::engine::Dialect;
use crate::error::{Error, Result};
use crate::key::KeySource;
use crate::stats::Stats;
use crate::value::Params;

/// A database: a [`Database`](crate::Database) whose methods wait. Cheap to clone; all clones share the connections, which
/// close when the last handle, of either kind, is dropped.
///
/// Any number of threads may use it, or clones of it, at once; none needs a runtime.
#[derive(Clone)]
pub struct Database {
    inner: crate::Database,
}

impl Database {
    /// Opens the database that a URL names, with default settings: `sqlite:PATH` or `sqlite::memory:`.
    ///
    /// # Errors
    ///
    /// As [`Config::from_url`](crate::Config::from_url) and
    /// [`Config::connect_blocking`](crate::Config::connect_blocking).
    pub fn connect(url: &str) -> Result<Self> {
        wait(crate::Database::connect(url)).map(Self::from)
    }

    blocking_reading_methods!(&);
    blocking_writing_methods!(&);

    /// Whether there is a table (or view) of this name, exact but for the case of ASCII letters.
    ///
    /// # Errors
    ///
    /// As [`fetch_all`](Self::fetch_all).
    #[track_caller]
    pub fn table_exists(&self, name: &str) -> Result<bool> {
        wait(self.inner.table_exists(name))
    }

    /// Loads rows into a table, all or none, and answers how many there were; see [`copy_in`](crate::Database::copy_in).
    ///
    /// # Errors
    ///
    /// As [`execute_many`](Self::execute_many). Nothing is stored then.
    #[track_caller]
    pub fn copy_in<R>(&self, table: &str, columns: &[&str], rows: R) -> Result<u64>
    where
        R: IntoIterator<Item = Params, IntoIter: Send + 'static>,
    {
        wait(self.inner.copy_in(table, columns, rows))
    }

    /// Opens a read-write unit of work. It waits for its turn at the writer, in order of arrival. Dropped without commit, the
    /// session is rolled back.
    ///
    /// # Errors
    ///
    /// [`PoolExhausted`](Error::PoolExhausted) when the turn does not come within the acquire timeout; it names the
    /// place in the source that holds the writer, and for how long.
    #[track_caller]
    pub fn session(&self) -> Result<Session> {
        wait(self.inner.session()).map(Session::new)
    }

    /// Opens a consistent snapshot to read from. The snapshot is taken before this returns.
    ///
    /// # Errors
    ///
    /// [`PoolExhausted`](Error::PoolExhausted) when no reading connection frees within the acquire timeout.
    #[track_caller]
    pub fn read_session(&self) -> Result<ReadSession> {
        wait(self.inner.read_session()).map(ReadSession::new)
    }

    /// Lends one physical connection, outside any transaction, for as long as it is held.
    ///
    /// # Errors
    ///
    /// As [`read_session`](Self::read_session).
    #[track_caller]
    pub fn connection(&self) -> Result<Connection> {
        wait(self.inner.connection()).map(Connection::new)
    }

    /// Runs `work` in a session: commits when it answers `Ok`, rolls back when it answers `Err` or panics.
    ///
    /// When another transaction was in the way, the work is done again in a new session, up to five times, after a growing,
    /// jittered pause. Nothing else is retried.
    ///
    /// ```
    /// # fn main() -> strongroom::Result<()> {
    /// # use strongroom::{blocking::Database, params};
    /// # let db = Database::connect("sqlite::memory:")?;
    /// # db.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)", params![])?;
    /// let affected = db.transaction(|session| {
    ///     session.execute("INSERT INTO users (id, name) VALUES ($1, $2)", params![1, "alice"])?;
    ///     session.execute("UPDATE users SET name = $1", params!["bob"])
    /// })?;
    /// assert_eq!(affected, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What `work` answers; and, converted into its error type, those of [`session`](Self::session) and
    /// [`Session::commit`].
    #[track_caller]
    pub fn transaction<T, E, F>(&self, mut work: F) -> Result<T, E>
    where
        F: FnMut(&mut Session) -> Result<T, E>,
        E: From<Error>,
    {
        let mut retries = Retries::default();
        loop {
            let mut session = self.session()?;
            // The work may have put another session into its place, and hold on to this one.
            let controller = session.inner.controller();
            let outcome = match work(&mut session) {
                Ok(value) => wait(controller.commit()).map(|()| value).map_err(E::from),
                Err(error) => {
                    let _ = wait(controller.rollback());
                    Err(error)
                }
            };
            match retries.pause_after(&outcome, &controller) {
                Some(pause) => std::thread::sleep(pause),
                None => return outcome,
            }
        }
    }

    /// Copies the database, as it is at one moment, into a new file, encrypted with the same key, while others read and
    /// write; see [`backup`](crate::Database::backup). `on_progress` is called about every 4 MiB, on another thread.
    ///
    /// # Errors
    ///
    /// [`Connection`](Error::Connection) when the file exists already or cannot be written; [`Query`](Error::Query) when
    /// reading fails or the disk is full. Then there is no such file.
    #[track_caller]
    pub fn backup(&self, to: impl Into<PathBuf>, on_progress: impl FnMut(Progress) + Send + 'static) -> Result<()> {
        wait(self.inner.backup(to, on_progress))
    }

    /// Gives the encrypted file another key (and salt); see [`rekey`](crate::Database::rekey).
    ///
    /// # Errors
    ///
    /// [`Config`](Error::Config) when the file is not encrypted; [`PoolExhausted`](Error::PoolExhausted) when a reader does
    /// not come home; [`Query`](Error::Query) `Busy` when another process uses the file, `Full` when the disk is. The file
    /// is as it was then; with [`CommitUnknown`](Error::CommitUnknown) either key may be the one that fits.
    #[track_caller]
    pub fn rekey(&self, key: KeySource, on_progress: impl FnMut(Progress) + Send + 'static) -> Result<()> {
        wait(self.inner.rekey(key, on_progress))
    }

    /// Encrypts a plain file; see [`encrypt`](crate::Database::encrypt).
    ///
    /// # Errors
    ///
    /// As [`rekey`](Self::rekey); [`Config`](Error::Config) when the file is encrypted already.
    #[track_caller]
    pub fn encrypt(&self, key: KeySource) -> Result<()> {
        wait(self.inner.encrypt(key))
    }

    /// Builds the file anew, without the space that deleted rows have left. Needs up to twice the file's size on the disk
    /// meanwhile, and writers wait.
    ///
    /// # Errors
    ///
    /// [`Query`](Error::Query): the disk is full; another process reads.
    #[track_caller]
    pub fn vacuum(&self) -> Result<()> {
        wait(self.inner.vacuum())
    }

    /// Lets SQLite gather what it needs to choose good plans, where it finds that worth while. To be called now and then,
    /// such as once a day, or before closing.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    #[track_caller]
    pub fn optimize(&self) -> Result<()> {
        wait(self.inner.optimize())
    }

    /// Copies the write-ahead log into the file and empties it. Answers `false` when a snapshot that somebody holds keeps a
    /// part of the log; see [`checkpoint`](crate::Database::checkpoint).
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    #[track_caller]
    pub fn checkpoint(&self) -> Result<bool> {
        wait(self.inner.checkpoint())
    }

    /// Proves that the database can be used: connects, writes and rolls back, reads, compares the schema. Each step is
    /// logged with its time.
    ///
    /// # Errors
    ///
    /// None of its own: the report holds the first failure, after which no further step is tried.
    pub fn check(&self) -> Report {
        let report = wait(async { Ok::<_, Error>(self.inner.check().await) });
        report.unwrap_or_else(Report::not_begun)
    }

    /// Counters and sizes of this moment; all zero before the first connection.
    pub fn stats(&self) -> Stats {
        self.inner.stats()
    }

    /// Which SQL this database understands. Known before the first connection.
    pub fn dialect(&self) -> Dialect {
        self.inner.dialect()
    }

    /// Whether the file is encrypted: a key is configured. Before the first connection this tells the intention.
    pub fn is_encrypted(&self) -> bool {
        self.inner.is_encrypted()
    }

    /// Open physical connections, the writer included.
    pub fn pool_size(&self) -> usize {
        self.inner.pool_size()
    }

    /// Refuses new work with [`Closed`](Error::Closed), waits until what is under way has ended (30 s at most) and closes
    /// the connections; the last one copies the write-ahead log into the file. Called again, it waits for the same.
    ///
    /// # Errors
    ///
    /// [`PoolExhausted`](Error::PoolExhausted) when something still holds a connection at the deadline.
    pub fn close(&self) -> Result<()> {
        wait(self.inner.close())
    }
}

/// A second handle on the same connections.
impl From<crate::Database> for Database {
    fn from(inner: crate::Database) -> Self {
        Database { inner }
    }
}

/// A second handle on the same connections.
impl From<Database> for crate::Database {
    fn from(database: Database) -> Self {
        database.inner
    }
}

/// Names the database; never the key.
impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
