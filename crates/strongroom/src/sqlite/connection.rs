//! One SQLite connection, set up the same way each time, and the running of statements on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, OpenFlags, ToSql, ffi};
use time::OffsetDateTime;

use crate::batch::Step;
use crate::error::{EncryptionProblem, Error, QueryErrorKind, Result};
use crate::row::Row;
use crate::sqlite::cipher::FileKey;
use crate::sqlite::failure::translate;
use crate::sqlite::guard::Guard;
use crate::sqlite::interrupt::Interrupt;
use crate::value::{Params, Value};

/// Prepared statements that each connection keeps.
const STATEMENT_CACHE: usize = 256;

/// Everything needed to open one more connection to the same database.
pub(crate) struct Opener {
    pub(crate) place: Place,
    /// How long to wait for another process's lock.
    pub(crate) busy_timeout: Duration,
    /// Page cache per connection, in KiB.
    pub(crate) cache_kib: u32,
}

pub(crate) enum Place {
    File { path: PathBuf, key: Option<FileKey> },
    Memory,
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Writer,
    Reader,
}

impl Opener {
    /// Opens a connection and proves that the key fits, before anything is written.
    pub(crate) fn open(&self, role: Role, interrupt: Interrupt) -> Result<Connection> {
        match &self.place {
            Place::Memory => self.set_up(rusqlite::Connection::open_in_memory().map_err(translate)?, role, interrupt),
            Place::File { path, key } => {
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let db = rusqlite::Connection::open_with_flags(path, flags).map_err(|error| opening(path, error))?;
                // Until the key has proven right, closing must not copy a log that is there into the file.
                db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(translate)?;
                if let Some(key) = key {
                    // Otherwise a wrong key is also printed to standard error.
                    db.pragma_update(None, "cipher_log_level", "NONE").map_err(translate)?;
                    set_key(&db, key)?;
                }
                db.busy_timeout(self.busy_timeout).map_err(translate)?;
                db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(|error| match error {
                    rusqlite::Error::SqliteFailure(failure, _) if failure.code == rusqlite::ErrorCode::NotADatabase => {
                        let problem = match key {
                            Some(_) => EncryptionProblem::WrongKeyOrDamaged,
                            None => EncryptionProblem::KeyMissing,
                        };
                        Error::Encryption { database: path.clone(), problem }
                    }
                    other => opening(path, other),
                })?;
                let connection = self.set_up(db, role, interrupt)?;
                connection.db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(translate)?;
                Ok(connection)
            }
        }
    }

    fn set_up(&self, mut db: rusqlite::Connection, role: Role, interrupt: Interrupt) -> Result<Connection> {
        let pragma = |name: &str, value: &dyn ToSql| db.pragma_update(None, name, value).map_err(translate);
        pragma("foreign_keys", &"ON")?;
        pragma("trusted_schema", &"OFF")?;
        pragma("cell_size_check", &"ON")?;
        pragma("cache_size", &-i64::from(self.cache_kib))?;
        match role {
            Role::Writer => {
                let mode: String = db
                    .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
                    .map_err(|error| self.write_ahead_log_failed(error))?;
                if mode != "wal" && mode != "memory" {
                    return Err(Error::Connection {
                        database: self.name(),
                        reason: format!(
                            "its journal mode stays {mode} and cannot be made WAL: used by another process in that mode, \
                             or on a network file system"
                        ),
                        source: None,
                    });
                }
                pragma("synchronous", &"FULL")?;
            }
            Role::Reader => pragma("query_only", &"ON")?,
        }
        db.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
        let guard = Guard::default();
        guard.install(&mut db).map_err(translate)?;
        interrupt.install(&mut db).map_err(translate)?;
        Ok(Connection { db, guard, interrupt })
    }

    /// The first write to an existing file: a folder without write permission shows here.
    fn write_ahead_log_failed(&self, error: rusqlite::Error) -> Error {
        let Place::File { path, .. } = &self.place else { return translate(error) };
        opening(path, error)
    }

    pub(crate) fn name(&self) -> String {
        match &self.place {
            Place::File { path, .. } => path.display().to_string(),
            Place::Memory => ":memory:".to_owned(),
        }
    }
}

fn opening(path: &Path, error: rusqlite::Error) -> Error {
    let reason = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly) => {
            "cannot be opened for writing; the file and its folder (for the -wal and -shm files) must be writable by this user"
        }
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            "is locked by another process; wait for it, or stop it"
        }
        Some(rusqlite::ErrorCode::DiskFull) => "cannot be opened, the disk is full",
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => "is damaged; restore it from a backup",
        _ => "cannot be opened",
    };
    Error::Connection { database: path.display().to_string(), reason: reason.into(), source: Some(Arc::new(error)) }
}

/// Hands the key over as bytes, so that it is in no SQL text that a trace, a log or an error could show.
fn set_key(db: &rusqlite::Connection, key: &FileKey) -> Result<()> {
    let key = key.as_bytes();
    // SAFETY: the handle is open for as long as `db` is borrowed, the database name is a NUL-terminated literal, and
    // SQLCipher copies the `key.len()` bytes (99, so the cast holds) before it returns.
    let code = unsafe {
        ffi::sqlite3_key_v2(db.handle(), c"main".as_ptr(), key.as_ptr().cast(), key.len() as std::ffi::c_int)
    };
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(translate(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))),
    }
}

/// A connection that runs callers' statements.
pub(crate) struct Connection {
    db: rusqlite::Connection,
    guard: Guard,
    interrupt: Interrupt,
}

/// Which of a statement's rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// None, only the count of rows changed.
    Count,
    /// The first so many. A statement that writes is run to its end all the same.
    Rows { at_most: usize },
}

/// What one statement did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// Rows inserted, updated or deleted by the statement itself (not by triggers).
    pub(crate) affected: u64,
    pub(crate) rows: Vec<Row>,
}

impl Connection {
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Whether a transaction is open.
    pub(crate) fn in_transaction(&self) -> bool {
        !self.db.is_autocommit()
    }

    /// Runs a statement of the engine's own: transaction control and the like.
    pub(crate) fn control(&self, sql: &str) -> Result<()> {
        self.guard.engine(|| self.db.execute_batch(sql)).map_err(translate)
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

    /// Whether the statement only reads.
    pub(crate) fn is_read_only(&self, sql: &str) -> Result<bool> {
        Ok(self.prepare(sql)?.readonly())
    }

    /// Runs a statement with each of its parameter sets.
    pub(crate) fn run(&self, step: &Step, want: Want) -> Result<Answer> {
        let mut statement = self.prepare(&step.sql)?;
        let binding = Binding::of(&statement)?;
        let mut answer = Answer::default();
        let read_only = statement.readonly();
        for params in step.params.as_slice() {
            let before = self.db.total_changes();
            binding.bind(&mut statement, params)?;
            let columns = columns(&statement);
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next().map_err(|error| self.failure(error))? {
                if let Want::Rows { at_most } = want
                    && answer.rows.len() < at_most
                {
                    answer.rows.push(read_row(row, &columns)?);
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

    /// Runs a query and hands over each row as it comes, until `sink` says `false`.
    pub(crate) fn each_row(&self, step: &Step, mut sink: impl FnMut(Row) -> bool) -> Result<()> {
        let mut statement = self.prepare(&step.sql)?;
        let binding = Binding::of(&statement)?;
        for params in step.params.as_slice() {
            binding.bind(&mut statement, params)?;
            let columns = columns(&statement);
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next().map_err(|error| self.failure(error))? {
                if !sink(read_row(row, &columns)?) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>> {
        self.db.prepare_cached(sql).map_err(|error| self.failure(error))
    }

    fn failure(&self, error: rusqlite::Error) -> Error {
        if error.sqlite_error_code() == Some(rusqlite::ErrorCode::AuthorizationForStatementDenied)
            && let Some(refusal) = self.guard.take_refusal()
        {
            return refusal;
        }
        translate(error)
    }
}

/// Which parameter goes where: `$1` is a *named* parameter to SQLite, numbered by first appearance.
struct Binding(Vec<usize>);

impl Binding {
    fn of(statement: &CachedStatement<'_>) -> Result<Self> {
        let count = statement.parameter_count();
        let mut numbers = Vec::with_capacity(count);
        for index in 1..=count {
            let name = statement.parameter_name(index).unwrap_or("?");
            let number = name.strip_prefix('$').and_then(|digits| digits.parse().ok()).filter(|number| *number > 0);
            numbers.push(number.ok_or_else(|| {
                Error::query(QueryErrorKind::Parameters, format!("placeholder {name}; expected $1, $2 and so on"))
            })?);
        }
        let highest = numbers.iter().copied().max().unwrap_or(0);
        if let Some(gap) = (1..=highest).find(|number| !numbers.contains(number)) {
            return Err(Error::query(
                QueryErrorKind::Parameters,
                format!("the statement has ${highest} and no ${gap}; expected every number from $1 on"),
            ));
        }
        Ok(Binding(numbers))
    }

    fn bind(&self, statement: &mut CachedStatement<'_>, params: &Params) -> Result<()> {
        // Distinct names have distinct indices, and there is no gap: the count is the highest number.
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
            Value::Timestamp(time) => ValueRef::Integer(microseconds(*time)),
        }))
    }
}

fn microseconds(time: OffsetDateTime) -> i64 {
    // The years -9999 to 9999 that the type holds are less than 2^59 microseconds from 1970.
    time.unix_timestamp() * 1_000_000 + i64::from(time.microsecond())
}

fn columns(statement: &CachedStatement<'_>) -> Arc<[String]> {
    statement.column_names().map(str::to_owned).collect()
}

fn read_row(row: &rusqlite::Row<'_>, columns: &Arc<[String]>) -> Result<Row> {
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
