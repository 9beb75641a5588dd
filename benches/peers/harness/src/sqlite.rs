//! SQLite: commits, point reads, a stream of all rows, opening, and bulk inserts.
//!
//! Every file is encrypted (SQLCipher 4), but for sqlx, which has no current SQLCipher and reads and writes plain ones.
//! All write with WAL and `synchronous=FULL`, have 16 MiB of page cache per connection, pages of 4 KiB, and copy the log
//! into the file after 10,000 pages; a lock is waited for up to 30 s. Statements are prepared once per connection.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::memory::Peak;
use crate::{CONNECTIONS, Measured, Operation, Run, TASKS, report, runtime, tasks};

/// Rows of `encrypted.db` and `plain.db`.
pub const ROWS: i64 = 1_000_000;
/// Of which point reads take these first; they fit the page cache.
pub const READ_ROWS: i64 = 100_000;
/// Rows of a bulk insert.
pub const BULK_ROWS: i64 = 100_000;
/// Commits are measured for so many times as long as the rest: some of them wait for seconds.
pub const COMMITTING: u32 = 3;
/// Connections that `open-10` opens.
pub const OPENED: usize = 10;
/// Page cache per connection.
pub const CACHE_KIB: u32 = 16 * 1024;
/// Pages in the log at which it is copied into the file.
pub const CHECKPOINT_PAGES: u32 = 10_000;

pub const RAW_KEY: &str = "x'2DD29CA851E7B56E4697B0E1F08507293D761A05CE4D1B628663F411A8086D99'";
pub const PASSPHRASE: &str = "correct horse battery staple";

pub const CREATE: &str = "CREATE TABLE entry (id INTEGER PRIMARY KEY, text TEXT NOT NULL)";
pub const INSERT: &str = "INSERT INTO entry (text) VALUES ($1)";
pub const INSERT_WITH_ID: &str = "INSERT INTO entry (id, text) VALUES ($1, $2)";
pub const SELECT: &str = "SELECT text FROM entry WHERE id = $1";
pub const SELECT_ALL: &str = "SELECT id, text FROM entry";
/// What a commit writes.
pub const TEXT: &str = "some text";

/// The text of a row; at least as long as a name.
pub fn text(id: i64) -> String {
    format!("the text of entry {id}")
}

/// What is to be opened.
#[derive(Clone)]
pub struct Source {
    pub path: PathBuf,
    /// None only for those that cannot encrypt.
    pub key: Option<&'static str>,
    pub connections: usize,
    /// Whether reads may run on the caller's thread, where a peer can choose.
    pub inline: bool,
}

impl Source {
    fn new(path: PathBuf, is_encrypted: bool, connections: usize) -> Self {
        Source { path, key: is_encrypted.then_some(RAW_KEY), connections, inline: true }
    }

    /// The settings as SQL, for peers that take them so.
    pub fn pragmas(&self) -> String {
        let key = match self.key {
            Some(key) if key.starts_with('x') => format!("PRAGMA key = \"{key}\";"),
            Some(key) => format!("PRAGMA key = '{key}';"),
            None => String::new(),
        };
        format!(
            "{key} PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
             PRAGMA cache_size = -{CACHE_KIB}; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};",
            crate::PATIENCE.as_millis()
        )
    }
}

impl Run {
    /// A database of [`ROWS`] rows.
    pub fn full(&self, is_encrypted: bool, connections: usize) -> Source {
        let name = if is_encrypted { "encrypted.db" } else { "plain.db" };
        Source::new(self.file(name), is_encrypted, connections)
    }

    /// A database that is not there yet.
    pub fn fresh(&self, is_encrypted: bool, connections: usize) -> Source {
        Source::new(self.fresh_file(), is_encrypted, connections)
    }

    /// A small database whose key is derived from a passphrase.
    pub fn with_passphrase(&self, connections: usize) -> Source {
        Source { key: Some(PASSPHRASE), ..Source::new(self.file("passphrase.db"), true, connections) }
    }
}

/// An asynchronous peer.
pub trait Sqlite: Sized + Send + Sync + 'static {
    /// Whether it can.
    const ENCRYPTS: bool = true;
    /// Connections for commits. More than one compete for SQLite's one write lock, which makes a peer slower.
    const WRITERS: usize = 1;

    /// Opens all connections, creating the file if need be.
    fn open(source: Source) -> impl Future<Output = Self>;

    /// Runs [`CREATE`].
    fn create(&self) -> impl Future<Output = ()>;

    /// Runs [`INSERT`] with [`TEXT`] and answers when it is committed.
    fn insert(&self) -> impl Future<Output = ()> + Send;

    /// Runs [`SELECT`] and answers the text. `turn` may choose the connection where there is no pool.
    fn read(&self, id: i64, turn: i64) -> impl Future<Output = String> + Send;

    /// Runs [`SELECT_ALL`] and answers the sum of the ids, having had each row's id and text in hand, as they come.
    fn stream(&self) -> impl Future<Output = i64> + Send {
        async { unimplemented!("it has no streams") }
    }

    /// Inserts [`BULK_ROWS`] with [`INSERT_WITH_ID`] and [`text`], in one transaction.
    fn bulk_insert(&self) -> impl Future<Output = ()> + Send;

    /// Answers when all connections are closed: a process that ends meanwhile takes SQLCipher's state away under them.
    fn close(&self) -> impl Future<Output = ()>;
}

/// Measures a peer.
pub fn run<S: Sqlite>(run: &Run) {
    let runtime = runtime();
    // Some peers need it also where they are dropped.
    let _entered = runtime.enter();
    let open = |source| Arc::new(runtime.block_on(S::open(source)));
    let fresh = |connections| {
        let database = open(run.fresh(S::ENCRYPTS, connections));
        runtime.block_on(database.create());
        database
    };
    let close = |database: Arc<S>| runtime.block_on(database.close());
    let reads = |inline, count| {
        let database = open(Source { inline, ..run.full(S::ENCRYPTS, CONNECTIONS) });
        report(&run.workload, tasks(&runtime, count, run.time, Read(Arc::clone(&database))).per_second());
        close(database);
    };
    match run.workload.as_str() {
        "commits-64" => {
            let database = fresh(S::WRITERS);
            report_commits(&tasks(&runtime, TASKS, COMMITTING * run.time, Insert(Arc::clone(&database))));
            close(database);
        }
        "read-1" => reads(true, 1),
        "read-64" => reads(true, TASKS),
        "read-hop-1" => reads(false, 1),
        "read-hop-64" => reads(false, TASKS),
        "stream" => {
            let database = open(run.full(S::ENCRYPTS, CONNECTIONS));
            let streaming = Arc::clone(&database);
            report_stream(|| in_a_task(&runtime, async move { streaming.stream().await }));
            close(database);
        }
        "open-10" => close(report_opening(|| open(run.with_passphrase(OPENED)))),
        "bulk-insert" => {
            let database = fresh(S::WRITERS);
            let inserting = Arc::clone(&database);
            report_bulk_insert(|| in_a_task(&runtime, async move { inserting.bulk_insert().await }));
            close(database);
        }
        _ => run.is_unknown(),
    }
}

/// Reports what was recorded of commits, in [`COMMITTING`] times the time of a run.
pub fn report_commits(commits: &Measured) {
    report("commits-64", commits.per_second());
    report("commits-64-p99", millis(commits.recorded_at(990)));
}

/// Measures a stream; `sum` is [`Sqlite::stream`].
pub fn report_stream(sum: impl FnOnce() -> i64) {
    let peak = Peak::watch();
    let began = Instant::now();
    let sum = sum();
    let time = began.elapsed();
    assert_eq!(sum, ROWS * (ROWS - 1) / 2, "all rows came");
    report("stream", ROWS as f64 / time.as_secs_f64());
    if let Some(growth) = peak.and_then(|peak| peak.growth()) {
        report("stream-memory", growth);
    }
}

/// Measures an opening.
pub fn report_opening<T>(open: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let opened = open();
    report("open-10", millis(began.elapsed()));
    opened
}

/// Measures a bulk insert.
pub fn report_bulk_insert(insert: impl FnOnce()) {
    let began = Instant::now();
    insert();
    report("bulk-insert", BULK_ROWS as f64 / began.elapsed().as_secs_f64());
}

/// Where a peer's user would be: on one of the runtime's threads, not in `block_on`.
fn in_a_task<T: Send + 'static>(runtime: &Runtime, work: impl Future<Output = T> + Send + 'static) -> T {
    runtime.block_on(runtime.spawn(work)).expect("no panic")
}

struct Insert<S>(Arc<S>);

impl<S: Sqlite> Operation for Insert<S> {
    async fn run(&self, _: i64) -> Option<Duration> {
        let began = Instant::now();
        self.0.insert().await;
        Some(began.elapsed())
    }
}

struct Read<S>(Arc<S>);

impl<S: Sqlite> Operation for Read<S> {
    async fn run(&self, turn: i64) -> Option<Duration> {
        let id = id_of(turn);
        assert!(self.0.read(id, turn).await.starts_with("the text"));
        None
    }
}

/// The row that a turn reads: all over the table, and not one after the other.
pub fn id_of(turn: i64) -> i64 {
    (turn * 7_919) % READ_ROWS
}

fn millis(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}
