//! The handle: what a program holds of its database.
//!
//! Start from [`Database::connect`] or [`Config::connect`](crate::Config::connect).

use std::fmt;
use std::panic::Location;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::backup::Progress;
use crate::batch::{Answer, Step, Want};
use crate::check::Report;
use crate::config::Config;
use crate::connection::Connection;
use crate::engine::{Dialect, Engine};
use crate::error::{Busy, Error, Result};
use crate::key::KeySource;
use crate::random;
use crate::row::Row;
use crate::session::{Controller, ReadSession, Session};
use crate::statements::{reading_methods, writing_methods};
use crate::stats::Stats;
use crate::stream::RowStream;
use crate::value::Params;

/// How long [`Database::close`] waits for what is under way.
const CLOSE_DEADLINE: Duration = Duration::from_secs(30);

/// Times that [`Database::transaction`] runs the work again when another transaction was in its way.
pub(crate) const TRANSACTION_RETRIES: u32 = 5;

/// A database. Cheap to clone; all clones share the connections, which close when the last is dropped.
///
/// Methods need a Tokio runtime with its timer; the work itself is done on threads of the handle's own.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> strongroom::Result<()> {
/// use strongroom::{params, Database};
///
/// let db = Database::connect("sqlite::memory:").await?;
/// db.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL)", params![]).await?;
/// db.execute("INSERT INTO users (id, name) VALUES ($1, $2)", params![1, "alice"]).await?;
///
/// let row = db.fetch_one("SELECT name FROM users WHERE id = $1", params![1]).await?;
/// assert_eq!(row.get::<String>("name")?, "alice");
///
/// let mut session = db.session().await?;
/// session.execute("DELETE FROM users", params![]).await?;
/// drop(session); // rolled back
/// let count: Option<i64> = db.fetch_value("SELECT count(*) FROM users", params![]).await?;
/// assert_eq!(count, Some(1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    engine: OnceCell<Engine>,
    closed: AtomicBool,
}

impl Database {
    pub(crate) fn new(config: Config) -> Self {
        Database { shared: Arc::new(Shared { config, engine: OnceCell::new(), closed: AtomicBool::new(false) }) }
    }

    /// Opens the database that a URL names, with default settings: `sqlite:PATH`, `sqlite::memory:` or
    /// `postgres://USER@HOST/DATABASE`.
    ///
    /// # Errors
    ///
    /// As [`Config::from_url`](crate::Config::from_url) and [`Config::connect`](crate::Config::connect).
    pub async fn connect(url: &str) -> Result<Self> {
        Config::from_url(url)?.connect().await
    }

    reading_methods!(&);
    writing_methods!(&);

    /// Whether there is a table (or view) of this name, exact but for the case of ASCII letters.
    ///
    /// # Errors
    ///
    /// As [`fetch_all`](Self::fetch_all).
    #[track_caller]
    pub fn table_exists(&self, name: &str) -> impl Future<Output = Result<bool>> + Send {
        let (location, name) = (Location::caller(), name.to_owned());
        async move { self.engine().await?.table_exists(name, location).await }
    }

    /// Loads rows into a table, all or none, and answers how many there were. The fastest way for many: PostgreSQL's binary
    /// COPY, of which a few rows at a time are in memory; on SQLite an INSERT that is run for each.
    ///
    /// `table` and `columns` are names, not SQL: they are quoted; a dot in `table` ends the schema's name.
    ///
    /// # Errors
    ///
    /// As [`execute_many`](Self::execute_many). Nothing is stored then.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is stopped, or takes effect as a whole.
    #[track_caller]
    pub fn copy_in<R>(&self, table: &str, columns: &[&str], rows: R) -> impl Future<Output = Result<u64>> + Send
    where
        R: IntoIterator<Item = Params, IntoIter: Send + 'static>,
    {
        let (location, rows) = (Location::caller(), rows.into_iter());
        async move { self.engine().await?.copy_in(table, columns, rows, location).await }
    }

    /// Opens a read-write unit of work. It waits for its turn at the writer, in order of arrival; on PostgreSQL for a
    /// connection, and several write at once.
    ///
    /// # Errors
    ///
    /// [`PoolExhausted`](Error::PoolExhausted) when the turn does not come within the acquire timeout; it names the
    /// place in the source that holds the writer, and for how long.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the session is not opened, or rolled back.
    #[track_caller]
    pub fn session(&self) -> impl Future<Output = Result<Session>> + Send {
        self.session_at(Location::caller())
    }

    pub(crate) async fn session_at(&self, location: &'static Location<'static>) -> Result<Session> {
        Ok(Session::new(self.engine().await?.session(false, None, location).await?))
    }

    /// Opens a consistent snapshot to read from. The snapshot is taken before this returns.
    ///
    /// # Errors
    ///
    /// [`PoolExhausted`](Error::PoolExhausted) when no reading connection frees within the acquire timeout.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the session is not opened, or ended.
    #[track_caller]
    pub fn read_session(&self) -> impl Future<Output = Result<ReadSession>> + Send {
        self.read_session_at(Location::caller())
    }

    pub(crate) async fn read_session_at(&self, location: &'static Location<'static>) -> Result<ReadSession> {
        Ok(ReadSession::new(self.engine().await?.session(true, None, location).await?))
    }

    /// Lends one physical connection, outside any transaction, for as long as it is held.
    ///
    /// # Errors
    ///
    /// As [`read_session`](Self::read_session).
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing is lent.
    #[track_caller]
    pub fn connection(&self) -> impl Future<Output = Result<Connection>> + Send {
        let location = Location::caller();
        async move { Ok(Connection::new(self.engine().await?.connection(location).await?)) }
    }

    /// Runs `work` in a session: commits when it answers `Ok`, rolls back when it answers `Err`, panics or is dropped.
    ///
    /// When another transaction was in the way (a serialization failure, seen by the engine whatever error `work` makes
    /// of it), the work is done again in a new session, up to five times, after a growing, jittered pause. Nothing
    /// else is retried.
    ///
    /// The session is given away, so that the future is `Send` wherever it is used; there is no need to give it back. It
    /// ends with the transaction: kept beyond, it answers [`SessionEnded`](Error::SessionEnded).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> strongroom::Result<()> {
    /// # use strongroom::{params, Database};
    /// # let db = Database::connect("sqlite::memory:").await?;
    /// # db.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)", params![]).await?;
    /// let affected = db
    ///     .transaction(|mut session| async move {
    ///         session.execute("INSERT INTO users (id, name) VALUES ($1, $2)", params![1, "alice"]).await?;
    ///         session.execute("UPDATE users SET name = $1", params!["bob"]).await
    ///     })
    ///     .await?;
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
    pub fn transaction<T, E, F, Fut>(&self, work: F) -> impl Future<Output = Result<T, E>> + Send
    where
        F: Fn(Session) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: From<Error> + Send,
    {
        let location = Location::caller();
        async move {
            let mut retries = Retries::default();
            loop {
                let session = Session::new(self.engine().await?.session(false, None, location).await?);
                let controller = session.controller();
                let outcome = match work(session).await {
                    Ok(value) => controller.commit().await.map(|()| value).map_err(E::from),
                    Err(error) => {
                        // The work may have kept its session. What the rollback meets, it has met by itself.
                        let _ = controller.rollback().await;
                        Err(error)
                    }
                };
                match retries.pause_after(&outcome, &controller) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return outcome,
                }
            }
        }
    }

    /// Copies the database, as it is at one moment, into a new file, encrypted with the same key, while others read and write.
    /// The copy is read back and checked before it appears under its name, readable by its owner only. The key is not in
    /// it.
    ///
    /// `on_progress` is called about every 4 MiB.
    ///
    /// # Errors
    ///
    /// [`Connection`](Error::Connection) when the file exists already or cannot be written; [`Query`](Error::Query) when
    /// reading fails or the disk is full. Then there is no such file. [`Config`](Error::Config) on PostgreSQL.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is stopped, and there is no such file unless the copy was complete at that moment.
    #[track_caller]
    pub fn backup(
        &self,
        to: impl Into<PathBuf>,
        on_progress: impl FnMut(Progress) + Send + 'static,
    ) -> impl Future<Output = Result<()>> + Send {
        let (location, to) = (Location::caller(), to.into());
        async move { self.engine().await?.backup(to, Box::new(on_progress), location).await }
    }

    /// Gives the encrypted file another key (and salt). Readers are waited for, up to the acquire timeout; writers wait
    /// meanwhile. Needs as much space as the file takes: a copy is written, read back and put in its place, so that after a
    /// crash at any point the file is whole and one of the keys fits.
    ///
    /// # Errors
    ///
    /// [`Config`](Error::Config) when the file is not encrypted, or on a server; [`PoolExhausted`](Error::PoolExhausted) when a reader does
    /// not come home; [`Query`](Error::Query) `Busy` when another process uses the file, `Full` when the disk is. The file
    /// is as it was then. [`CommitUnknown`](Error::CommitUnknown) when the new file was put in its place and could not be synced
    /// there or opened again: either key may be the one that fits, so both are to be kept.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is stopped, or takes effect as a whole.
    #[track_caller]
    pub fn rekey(
        &self,
        key: KeySource,
        on_progress: impl FnMut(Progress) + Send + 'static,
    ) -> impl Future<Output = Result<()>> + Send {
        let location = Location::caller();
        async move { self.engine().await?.rekey(true, key, Box::new(on_progress), location).await }
    }

    /// Encrypts a plain file, in the way of [`rekey`](Self::rekey). What the plain file held stays on the disk, in space
    /// that is free now, until it is overwritten.
    ///
    /// # Errors
    ///
    /// As [`rekey`](Self::rekey); [`Config`](Error::Config) when the file is encrypted already.
    ///
    /// # Cancel safety
    ///
    /// As [`rekey`](Self::rekey).
    #[track_caller]
    pub fn encrypt(&self, key: KeySource) -> impl Future<Output = Result<()>> + Send {
        let location = Location::caller();
        async move { self.engine().await?.rekey(false, key, Box::new(drop), location).await }
    }

    /// Builds the file anew, without the space that deleted rows have left. Needs up to twice the file's size on the disk
    /// meanwhile, and writers wait. On PostgreSQL `VACUUM`, which frees that space for new rows and holds nobody up.
    ///
    /// # Errors
    ///
    /// [`Query`](Error::Query): the disk is full; another process reads.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is stopped, and the file is as it was.
    #[track_caller]
    pub fn vacuum(&self) -> impl Future<Output = Result<()>> + Send {
        let location = Location::caller();
        async move { self.engine().await?.vacuum(location).await }
    }

    /// Lets SQLite gather what it needs to choose good plans, where it finds that worth while; on PostgreSQL `ANALYZE`. To be called now and then,
    /// such as once a day, or before closing.
    ///
    /// <https://www.sqlite.org/pragma.html#pragma_optimize>
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is stopped.
    #[track_caller]
    pub fn optimize(&self) -> impl Future<Output = Result<()>> + Send {
        let location = Location::caller();
        async move { self.engine().await?.optimize(location).await }
    }

    /// Copies the write-ahead log into the file and empties it. The writer does that by itself from time to time; this is
    /// for who wants the file alone, or its log small, now. Answers `false` when a snapshot that somebody holds keeps a part
    /// of the log. A server does this by itself: there it does nothing.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    ///
    /// # Cancel safety
    ///
    /// Dropped before its turn, nothing is done; later, it goes on.
    #[track_caller]
    pub fn checkpoint(&self) -> impl Future<Output = Result<bool>> + Send {
        let location = Location::caller();
        async move { self.engine().await?.checkpoint(location).await }
    }

    /// Proves that the database can be used: connects, writes and rolls back, reads, compares the schema. Each step is
    /// logged with its time.
    ///
    /// # Errors
    ///
    /// None of its own: the report holds the first failure, after which no further step is tried.
    pub async fn check(&self) -> Report {
        crate::check::run(self).await
    }

    /// Counters and sizes of this moment; all zero before the first connection.
    pub fn stats(&self) -> Stats {
        self.shared.engine.get().map(Engine::stats).unwrap_or_default()
    }

    /// Which SQL this database understands. Known before the first connection.
    pub fn dialect(&self) -> Dialect {
        self.shared.config.dialect()
    }

    /// Whether the file is encrypted: a key is configured. Before the first connection this tells the intention. `false` on
    /// PostgreSQL, whose files are the server's concern; how the way there is encrypted, [`check`](Self::check) tells.
    pub fn is_encrypted(&self) -> bool {
        self.shared.engine.get().map_or(self.shared.config.settings().key.is_some(), Engine::is_encrypted)
    }

    /// Open physical connections, the writer included.
    pub fn pool_size(&self) -> usize {
        self.shared.engine.get().map_or(0, Engine::connections)
    }

    /// Refuses new work with [`Closed`](Error::Closed), waits until what is under way has ended (30 s at most) and closes
    /// the connections; the last one copies the write-ahead log into the file. Called again, it waits for the same.
    ///
    /// # Errors
    ///
    /// [`PoolExhausted`](Error::PoolExhausted) when something still holds a connection at the deadline.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the closing goes on in the background; a further call waits for it.
    pub async fn close(&self) -> Result<()> {
        self.shared.closed.store(true, Ordering::Release);
        let shared = Arc::clone(&self.shared);
        // A task of its own, which goes on when this future is dropped.
        let closing = tokio::spawn(async move {
            // An opening that is under way is waited for, so that nothing is opened behind the closing's back.
            match shared.engine.get_or_try_init(|| async { Err(Error::Closed) }).await {
                Ok(engine) => engine.close(CLOSE_DEADLINE).await,
                Err(_) => Ok(()),
            }
        });
        closing.await.unwrap_or(Err(Error::Closed))
    }

    pub(crate) async fn ensure_connected(&self) -> Result<()> {
        self.open_engine().await.map(drop)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The engine, opened by whoever needs it first. Who comes meanwhile waits, up to the acquire timeout; when the first
    /// goes away or fails, the next one opens it.
    pub(crate) async fn engine(&self) -> Result<&Engine> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        if let Some(engine) = self.shared.engine.get() {
            return Ok(engine);
        }
        let waited = self.shared.config.settings().pool.acquire_timeout;
        // Boxed, so that the futures of all methods, which hold this one, stay small.
        let opened = tokio::time::timeout(waited, Box::pin(self.open_engine())).await;
        opened.unwrap_or(Err(Error::PoolExhausted { waited, busy: Busy::Opening, source: None }))
    }

    async fn open_engine(&self) -> Result<&Engine> {
        let open = || async {
            if self.shared.closed.load(Ordering::Acquire) {
                return Err(Error::Closed);
            }
            let engine = Engine::open(self.shared.config.settings()).await?;
            if let Some((migrations, migrate)) = self.shared.config.schema() {
                migrations.ensure(&engine, migrate, self.shared.config.settings().create).await?;
            }
            Ok(engine)
        };
        let engine = self.shared.engine.get_or_try_init(open).await?;
        if self.shared.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(engine) }
    }

    async fn rows(&self, step: Step, at_most: usize, location: &'static Location<'static>) -> Result<Vec<Row>> {
        self.engine().await?.fetch(step, at_most, location).await
    }

    async fn answers(&self, steps: Vec<Step>, location: &'static Location<'static>) -> Result<Vec<Answer>> {
        self.engine().await?.unit(steps, Want::Count, location).await
    }

    fn row_stream(&self, step: Step, location: &'static Location<'static>) -> RowStream<'_> {
        RowStream::new(async move { self.engine().await?.stream(step, location).await })
    }
}

/// Names the database; never the key.
impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("database", &self.shared.config.settings().name())
            .field("connections", &self.pool_size())
            .finish_non_exhaustive()
    }
}

/// How often a transaction was done again.
#[derive(Default)]
pub(crate) struct Retries {
    done: u32,
}

impl Retries {
    /// The pause before the work is done again; `None` when this is its outcome.
    pub(crate) fn pause_after<T, E>(&mut self, outcome: &Result<T, E>, session: &Controller) -> Option<Duration> {
        if outcome.is_ok() || self.done == TRANSACTION_RETRIES || !session.met_conflict() {
            return None;
        }
        self.done += 1;
        tracing::debug!(attempt = self.done, "a transaction is done again: another one was in its way");
        Some(back_off(self.done))
    }
}

/// 5 ms doubled at each attempt, of which a random half is taken off.
pub(crate) fn back_off(attempt: u32) -> Duration {
    let most = Duration::from_millis(5) * 2_u32.pow(attempt);
    most - random::up_to(most / 2)
}
