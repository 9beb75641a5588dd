//! One SQLite connection, set up the same way each time, and the running of statements on it.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, ToSql, ffi};
use time::OffsetDateTime;

use crate::batch::{Answer, Step, Want};
use crate::error::{Error, QueryErrorKind, Result};
use crate::row::Row;
use crate::sqlite::cipher::{FileKey, initialize, set_key};
use crate::sqlite::failure::{translate, translate_preparing};
use crate::sqlite::file::{self, Watch};
use crate::sqlite::guard::Guard;
use crate::sqlite::interrupt::Interrupt;
use crate::value::{Params, Value};

/// Prepared statements that each connection keeps.
const STATEMENT_CACHE: usize = 256;

/// Pages in the log (40 MiB) at which the writer copies it into the file. SQLite's own 1,000 would copy the same index
/// pages after each commit of a bulk load.
const CHECKPOINT_PAGES: i64 = 10_000;

/// Pause between two tries to open a file that somebody has locked.
const LOCK_POLL: Duration = Duration::from_millis(5);

/// Everything needed to open one more connection to the same database.
pub(crate) struct Opener {
    pub(crate) place: Place,
    /// How long to wait for another process's lock.
    pub(crate) busy_timeout: Duration,
    /// Page cache per connection, in KiB.
    pub(crate) cache_kib: u32,
}

pub(crate) enum Place {
    /// The path is absolute, so that nothing depends on the working directory later.
    File {
        path: PathBuf,
        file: RwLock<DatabaseFile>,
    },
    Memory,
}

/// The file at the database's path, which rekeying replaces.
pub(crate) struct DatabaseFile {
    pub(crate) key: Option<FileKey>,
    pub(crate) watch: Watch,
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Writer,
    Reader,
}

impl Opener {
    /// Opens a connection and proves that the key fits, before anything is written.
    ///
    /// Somebody else's lock is waited for without having the file open: it may be a rekey's, which puts another file there,
    /// and what had the old one open would go on with the new one's log.
    pub(crate) fn open(&self, role: Role) -> Result<Connection> {
        let began = Instant::now();
        loop {
            match self.try_open(role) {
                Err(error) if file::is_locked(&error) && began.elapsed() < self.busy_timeout => {
                    std::thread::sleep(LOCK_POLL);
                }
                outcome => return outcome,
            }
        }
    }

    fn try_open(&self, role: Role) -> Result<Connection> {
        let Place::File { path, .. } = &self.place else {
            initialize();
            return self.set_up(rusqlite::Connection::open_in_memory().map_err(translate)?, role);
        };
        let _entrance = file::Entrance::shared(path);
        self.check_place()?;
        let key = self.key();
        if let Some(key) = &key {
            file::prove_key_beside_journal(path, key)?;
        }
        let db = file::open_existing(path)?;
        if let Some(key) = &key {
            set_key(&db, key.as_bytes())?;
        }
        db.busy_timeout(Duration::ZERO).map_err(translate)?;
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
            .map_err(|error| file::first_read(path, key.is_some(), error))?;
        let connection = self.set_up(db, role)?;
        // Changing the mode lets go of the file. Reading from the log takes hold of it again, until the connection is closed:
        // otherwise another handle could put another file there, and this one would take the new one's log for its own.
        let hold = "SELECT count(*) FROM sqlite_schema";
        connection.as_engine(|| connection.db.query_row(hold, [], |_| Ok(()))).map_err(translate)?;
        // What was opened is what was looked at: nobody has put another file there meanwhile.
        self.check_place()?;
        connection.db.busy_timeout(self.busy_timeout).map_err(translate)?;
        connection.db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(translate)?;
        Ok(connection)
    }

    /// Whether the database's file is still the one that was opened first.
    pub(crate) fn check_place(&self) -> Result<()> {
        match &self.place {
            Place::File { file, .. } => file.read().unwrap_or_else(PoisonError::into_inner).watch.check(),
            Place::Memory => Ok(()),
        }
    }

    /// [`check_place`](Self::check_place), but for reads that take less time than the looking does: within some
    /// milliseconds one look serves all.
    pub(crate) fn check_place_lately(&self, now: Instant) -> Result<()> {
        match &self.place {
            Place::File { file, .. } => file.read().unwrap_or_else(PoisonError::into_inner).watch.check_lately(now),
            Place::Memory => Ok(()),
        }
    }

    /// The file's key; none when it is plain, or no file.
    pub(crate) fn key(&self) -> Option<FileKey> {
        match &self.place {
            Place::File { file, .. } => file.read().unwrap_or_else(PoisonError::into_inner).key.clone(),
            Place::Memory => None,
        }
    }

    /// Length of the write-ahead log; 0 when there is none.
    pub(crate) fn log_bytes(&self) -> u64 {
        match &self.place {
            Place::File { path, .. } => file::length_beside(path, "-wal"),
            Place::Memory => 0,
        }
    }

    /// Another file has come to the database's path: further connections are opened to that.
    pub(crate) fn replace_file(&self, replacement: DatabaseFile) {
        if let Place::File { file, .. } = &self.place {
            *file.write().unwrap_or_else(PoisonError::into_inner) = replacement;
        }
    }

    fn set_up(&self, mut db: rusqlite::Connection, role: Role) -> Result<Connection> {
        let pragma = |name: &str, value: &dyn ToSql| db.pragma_update(None, name, value).map_err(translate);
        pragma("foreign_keys", &"ON")?;
        pragma("trusted_schema", &"OFF")?;
        pragma("cell_size_check", &"ON")?;
        pragma("cache_size", &-i64::from(self.cache_kib))?;
        match role {
            Role::Writer => {
                let mode: String = db
                    .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
                    .map_err(|error| self.first_write(error))?;
                if mode != "wal" && mode != "memory" {
                    let reason = format!(
                        "its journal mode stays {mode} and cannot be made WAL: used by another process in that mode, or \
                         on a network file system"
                    );
                    return Err(Error::connection(self.name(), reason));
                }
                pragma("synchronous", &"FULL")?;
                pragma("wal_autocheckpoint", &CHECKPOINT_PAGES)?;
            }
            Role::Reader => pragma("query_only", &"ON")?,
        }
        // A plan goes by a statement's text alone. Else SQLite parses a statement anew whenever a parameter that a partial index
        // or a pattern might look at is bound to another value: a third of a point read's time.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(translate)?;
        db.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
        let (guard, interrupt) = (Guard::default(), Interrupt::default());
        guard.install(&mut db).map_err(translate)?;
        interrupt.install(&mut db).map_err(translate)?;
        Ok(Connection { db, guard, interrupt, busy_timeout: self.busy_timeout })
    }

    /// The first write to a file: a folder without write permission shows here, and in a new file the first page of
    /// another process that was faster, with a salt of its own.
    fn first_write(&self, error: rusqlite::Error) -> Error {
        match &self.place {
            Place::File { path, .. } => file::first_read(path, self.key().is_some(), error),
            Place::Memory => translate(error),
        }
    }

    pub(crate) fn name(&self) -> String {
        match &self.place {
            Place::File { path, .. } => path.display().to_string(),
            Place::Memory => ":memory:".to_owned(),
        }
    }
}

/// A connection that runs callers' statements.
pub(crate) struct Connection {
    db: rusqlite::Connection,
    guard: Guard,
    interrupt: Interrupt,
    busy_timeout: Duration,
}

impl Connection {
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Whether a transaction is open.
    pub(crate) fn in_transaction(&self) -> bool {
        !self.db.is_autocommit()
    }

    /// Lets a reader write, as durably as the writer does. Copying the log into the file stays the writer's work.
    pub(crate) fn lift_query_only(&self) -> Result<()> {
        self.guard.allow_temporary(true);
        self.control("PRAGMA query_only = OFF; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0")
    }

    /// Ends what [`lift_query_only`](Self::lift_query_only) began.
    ///
    /// # Errors
    ///
    /// When it holds TEMP objects, which the next borrower must not see.
    pub(crate) fn become_reader_again(&self) -> Result<()> {
        self.guard.allow_temporary(false);
        if self.guard.take_temporary() {
            return Err(Error::transaction("the connection holds TEMP objects"));
        }
        self.control("PRAGMA query_only = ON")
    }

    /// What stands between callers' SQL and the connection.
    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Drops the TEMP objects that a session has made, if it made any.
    pub(crate) fn drop_temporary(&self) -> Result<()> {
        if !self.guard.take_temporary() {
            return Ok(());
        }
        self.guard.engine(|| {
            let mut list = self
                .db
                .prepare("SELECT type, name FROM sqlite_temp_schema WHERE type IN ('table', 'view', 'trigger') AND name NOT LIKE 'sqlite_%' ORDER BY type = 'table'")?;
            let objects = list.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
            let objects: Vec<_> = objects.collect::<rusqlite::Result<_>>()?;
            drop(list);
            for (kind, name) in objects {
                // `kind` is one of the three above; the name is quoted.
                self.db.execute_batch(&format!("DROP {kind} IF EXISTS temp.\"{}\"", name.replace('"', "\"\"")))?;
            }
            Ok(())
        })
        .map_err(translate)
    }

    /// Runs a statement of the engine's own: transaction control and the like.
    pub(crate) fn control(&self, sql: &str) -> Result<()> {
        self.guard.engine(|| self.db.execute_batch(sql)).map_err(translate)
    }

    /// Forgets the pages that it keeps in memory, but those that are in use.
    pub(crate) fn give_memory_back(&self) {
        // What cannot be given back is kept; nothing else depends on it.
        let _ = self.control("PRAGMA shrink_memory");
    }

    /// Copies the log into the file and empties it; `false` when a snapshot that somebody reads keeps part of it.
    pub(crate) fn checkpoint(&self) -> Result<bool> {
        let timeout = self.busy_timeout;
        // A reader is not waited for: it may hold its snapshot for long, and the writer would stand still.
        self.db.busy_timeout(Duration::ZERO).map_err(translate)?;
        let busy: rusqlite::Result<bool> =
            self.guard.engine(|| self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)));
        self.db.busy_timeout(timeout).map_err(translate)?;
        busy.map(|busy| !busy).map_err(translate)
    }

    /// Violations of deferred foreign keys in the open transaction: a COMMIT would fail of them.
    pub(crate) fn deferred_violations(&self) -> Result<bool> {
        let (mut current, mut high) = (0, 0);
        // SAFETY: the handle is open for as long as `self.db` is, and both pointers are to live integers.
        let code = unsafe {
            ffi::sqlite3_db_status(self.db.handle(), ffi::SQLITE_DBSTATUS_DEFERRED_FKS, &mut current, &mut high, 0)
        };
        match code {
            ffi::SQLITE_OK => Ok(current != 0),
            code => Err(translate(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))),
        }
    }

    /// Whether the statement only reads. A script is taken to write.
    pub(crate) fn is_read_only(&self, step: &Step) -> Result<bool> {
        Ok(!step.is_script() && self.prepare(&step.sql)?.readonly())
    }

    /// Runs a query if it only reads; None when it writes. `shape` is what an earlier run found, and is looked for when it
    /// is none.
    pub(crate) fn read(&self, step: &Step, at_most: usize, shape: &mut Option<Shape>) -> Result<Option<Vec<Row>>> {
        if step.is_script() {
            return Ok(None);
        }
        let mut statement = self.prepare(&step.sql)?;
        if !statement.readonly() {
            return Ok(None);
        }
        let shape = match shape {
            Some(shape) => shape,
            None => shape.insert(Shape { binding: Binding::of(&statement)?, columns: None }),
        };
        let mut found = Vec::new();
        for params in step.params.as_slice() {
            shape.binding.bind(&mut statement, params)?;
            let mut rows = statement.raw_query();
            let mut is_first = true;
            while found.len() < at_most
                && let Some(row) = rows.next().map_err(|error| self.stopped(error))?
            {
                // SQLite may have prepared it anew in this step, for a table that has changed.
                if std::mem::take(&mut is_first) && !shape.columns.as_ref().is_some_and(|known| are_named(row, known)) {
                    shape.columns = None;
                }
                found.push(read_row(row, &mut shape.columns)?);
            }
        }
        Ok(Some(found))
    }

    /// Runs a statement with each of its parameter sets.
    pub(crate) fn run(&self, step: &Step, want: Want) -> Result<Answer> {
        if step.is_script() {
            return self.run_script(&step.sql).map(|()| Answer::default());
        }
        self.run_prepared(self.prepare(&step.sql)?, step, want)
    }

    fn run_prepared(&self, mut statement: CachedStatement<'_>, step: &Step, want: Want) -> Result<Answer> {
        let binding = Binding::of(&statement)?;
        let mut answer = Answer::default();
        let read_only = statement.readonly();
        for params in step.params.as_slice() {
            let before = self.db.total_changes();
            binding.bind(&mut statement, params)?;
            let mut columns = None;
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next().map_err(|error| self.stopped(error))? {
                if let Want::Rows { at_most } = want
                    && answer.rows.len() < at_most
                {
                    answer.rows.push(read_row(row, &mut columns)?);
                    if read_only && answer.rows.len() == at_most {
                        break;
                    }
                }
            }
            drop(rows);
            // `changes` keeps the count of the last INSERT, UPDATE or DELETE; any other statement leaves it alone.
            if self.db.total_changes() != before {
                answer.affected += self.db.changes();
            }
        }
        Ok(answer)
    }

    fn run_script(&self, sql: &str) -> Result<()> {
        let mut script = rusqlite::Batch::new(&self.db, sql);
        while let Some(mut statement) = script.next().map_err(|error| self.refusal(error))? {
            if statement.parameter_count() > 0 {
                let reason = "a statement of the script has parameters; use execute, or a Batch";
                return Err(Error::query(QueryErrorKind::Parameters, reason));
            }
            let mut rows = statement.raw_query();
            while rows.next().map_err(|error| self.stopped(error))?.is_some() {}
        }
        Ok(())
    }

    /// Runs a query and hands over each row as it comes, until `sink` says `false`.
    pub(crate) fn each_row(&self, step: &Step, mut sink: impl FnMut(Row) -> bool) -> Result<()> {
        let mut statement = self.prepare(&step.sql)?;
        let binding = Binding::of(&statement)?;
        for params in step.params.as_slice() {
            binding.bind(&mut statement, params)?;
            let mut columns = None;
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next().map_err(|error| self.stopped(error))? {
                if !sink(read_row(row, &mut columns)?) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>> {
        self.db.prepare_cached(sql).map_err(|error| self.refusal(error))
    }

    /// The error of a statement that could not be prepared.
    fn refusal(&self, error: rusqlite::Error) -> Error {
        self.guards_refusal(&error).unwrap_or_else(|| translate_preparing(error))
    }

    /// The error of a statement that was running. SQLite prepares it anew when the schema has changed, and the guard is
    /// asked again.
    fn stopped(&self, error: rusqlite::Error) -> Error {
        self.guards_refusal(&error).unwrap_or_else(|| translate(error))
    }

    fn guards_refusal(&self, error: &rusqlite::Error) -> Option<Error> {
        let denied = error.sqlite_error_code() == Some(rusqlite::ErrorCode::AuthorizationForStatementDenied);
        denied.then(|| self.guard.take_refusal()).flatten()
    }

    /// Runs work of the engine's own, which may do what callers' SQL may not.
    pub(crate) fn as_engine<T>(&self, work: impl FnOnce() -> T) -> T {
        self.guard.engine(work)
    }

    /// The connection itself, for such work.
    pub(crate) fn raw(&self) -> &rusqlite::Connection {
        &self.db
    }
}

/// What a query's text says of its parameters and columns, so that it is not asked each time.
#[derive(Clone)]
pub(crate) struct Shape {
    binding: Binding,
    columns: Option<Arc<[String]>>,
}

fn are_named(row: &rusqlite::Row<'_>, columns: &[String]) -> bool {
    let statement: &rusqlite::Statement<'_> = row.as_ref();
    statement.column_count() == columns.len()
        && columns.iter().enumerate().all(|(index, name)| statement.column_name(index).is_ok_and(|known| known == name))
}

/// Which parameter goes where: `$1` is a *named* parameter to SQLite, numbered by first appearance.
#[derive(Clone)]
struct Binding(Arc<[usize]>);

impl Binding {
    fn of(statement: &CachedStatement<'_>) -> Result<Self> {
        let refused = |reason: String| Err(Error::query(QueryErrorKind::Parameters, reason));
        let count = statement.parameter_count();
        let mut numbers = Vec::with_capacity(count);
        // Distinct names have distinct indices, so without a gap the numbers are 1 to the count, each once.
        let mut used = vec![false; count];
        for index in 1..=count {
            let name = statement.parameter_name(index).unwrap_or("?");
            let digits = name.strip_prefix('$').filter(|digits| !digits.starts_with(['0', '+']));
            let Some(number) = digits.and_then(|digits| digits.parse::<usize>().ok()) else {
                return refused(format!("placeholder {name}; expected $1, $2 and so on"));
            };
            if let Some(used) = used.get_mut(number - 1) {
                *used = true;
            }
            numbers.push(number);
        }
        if let Some(gap) = used.iter().position(|used| !used) {
            let highest = numbers.iter().copied().max().unwrap_or(0);
            let gap = gap + 1;
            return refused(format!("the statement has ${highest} and no ${gap}; expected every number from $1 on"));
        }
        Ok(Binding(numbers.into()))
    }

    fn bind(&self, statement: &mut CachedStatement<'_>, params: &Params) -> Result<()> {
        if params.len() != self.0.len() {
            return Err(Error::query(
                QueryErrorKind::Parameters,
                format!("{} given and {} expected", params.len(), self.0.len()),
            ));
        }
        for (index, number) in self.0.iter().enumerate() {
            statement.raw_bind_parameter(index + 1, &params.0[number - 1]).map_err(translate)?;
        }
        Ok(())
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Bool(value) => ValueRef::Integer(i64::from(*value)),
            Value::Int(value) => ValueRef::Integer(*value),
            Value::Float(value) => ValueRef::Real(*value),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
            Value::Uuid(uuid) => ValueRef::Blob(uuid.as_bytes()),
            Value::Timestamp(time) => ValueRef::Integer(microseconds(*time)?),
            Value::Array(_) => {
                let reason = "SQLite has no arrays; run the statement once for each value (execute_many)";
                return Err(rusqlite::Error::ToSqlConversionFailure(reason.into()));
            }
        }))
    }
}

/// Fails for the years beyond 9999 that the type can be built to hold.
fn microseconds(time: OffsetDateTime) -> rusqlite::Result<i64> {
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000))
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// Detaches a row. The columns' names are those of the statement after its first step: SQLite may have prepared it anew
/// in that step, for a table that has changed.
fn read_row(row: &rusqlite::Row<'_>, columns: &mut Option<Arc<[String]>>) -> Result<Row> {
    let statement: &rusqlite::Statement<'_> = row.as_ref();
    let columns = columns.get_or_insert_with(|| statement.column_names().map(str::to_owned).collect());
    let mut values = Vec::with_capacity(columns.len());
    for index in 0..columns.len() {
        values.push(match row.get_ref(index).map_err(translate)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(value) => Value::Int(value),
            ValueRef::Real(value) => Value::Float(value),
            ValueRef::Text(text) => match std::str::from_utf8(text) {
                Ok(text) => Value::Text(text.to_owned()),
                Err(_) => {
                    return Err(Error::Decode {
                        column: columns[index].clone(),
                        expected: "text",
                        found: format!("text of {} bytes that is not UTF-8", text.len()),
                    });
                }
            },
            ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        });
    }
    Ok(Row::new(Arc::clone(columns), values))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes some megabytes, which stay in memory until they are given back.
    #[test]
    fn memory_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        std::fs::File::create(&path).unwrap();
        let file = RwLock::new(DatabaseFile { key: None, watch: Watch::new(&path).unwrap() });
        let opener = Opener { place: Place::File { path, file }, busy_timeout: Duration::ZERO, cache_kib: 16 * 1024 };
        let connection = opener.open(Role::Writer).unwrap();
        connection.control("CREATE TABLE a (b BLOB); INSERT INTO a VALUES (randomblob(8000000))").unwrap();
        let held = || {
            let (mut held, mut high) = (0, 0);
            // SAFETY: the handle is open for as long as the connection is, and both pointers are to live integers.
            let code = unsafe {
                let handle = connection.db.handle();
                ffi::sqlite3_db_status(handle, ffi::SQLITE_DBSTATUS_CACHE_USED, &mut held, &mut high, 0)
            };
            assert_eq!(code, ffi::SQLITE_OK);
            held
        };
        assert!(held() > 7_000_000, "{}", held());
        connection.give_memory_back();
        assert!(held() < 500_000, "{}", held());
    }
}
