//! Errors: one enum, split where the person who reads it acts differently.
//!
//! Start from [`Error`]. A cause is in `source()` and not repeated in the message; no message holds a key, a password, a
//! parameter's content or a literal of a statement.

use std::fmt;
use std::panic::Location;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A cause, shared because one failed commit answers several callers.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// Everything that can go wrong between a call and its answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The database cannot be reached: no such file, no right to it, moved away while open; a server that does not answer,
    /// cannot prove who it is, or lets nobody in.
    Connection {
        /// The database as the settings name it, without user and password.
        database: String,
        /// What was seen, and what to do.
        reason: String,
        /// Whether another attempt may succeed: the server is out of reach, starting up, or full.
        passing: bool,
        /// The cause.
        source: Option<Cause>,
    },
    /// Key and file do not belong together. The file has not been touched.
    Encryption {
        /// The database file.
        database: PathBuf,
        /// What does not fit.
        problem: EncryptionProblem,
    },
    /// A key or password could not be had from its source.
    Credential {
        /// The source by name, such as `environment variable APP_DB_KEY`; never the secret.
        from: String,
        /// What was seen, and what to do.
        reason: String,
        /// Whether the source may answer when it is asked again: it is out of reach, slow, or asked too often.
        passing: bool,
        /// The cause.
        source: Option<Cause>,
    },
    /// A setting is unusable.
    Config {
        /// The setting's name.
        setting: String,
        /// What was seen and what was expected.
        reason: String,
    },
    /// No connection became free within the acquire timeout.
    PoolExhausted {
        /// How long this caller waited.
        waited: Duration,
        /// Who holds what was waited for.
        busy: Busy,
        /// Why no further connection could be made, if that was tried.
        source: Option<Arc<Error>>,
    },
    /// A statement failed.
    Query {
        /// What kind of failure, for code that acts on it.
        kind: QueryErrorKind,
        /// The engine's own code.
        code: Option<Code>,
        /// The engine's own words.
        message: String,
        /// The cause.
        source: Option<Cause>,
    },
    /// [`fetch_one`](crate::Database::fetch_one) found no row.
    NoRow,
    /// A column is not of the type it was read as.
    Decode {
        /// The column's name or position.
        column: String,
        /// The type that was asked for.
        expected: &'static str,
        /// What is there; never the content of texts and bytes.
        found: String,
    },
    /// The use of a transaction is not allowed, or the session has failed before.
    Transaction {
        /// What was refused and what to call instead.
        reason: String,
        /// The statement's error that the session failed with earlier.
        source: Option<Arc<Error>>,
    },
    /// The connection was lost, or the disk failed, in the middle of a commit: the writes may be there or not.
    ///
    /// Read before writing again.
    CommitUnknown {
        /// The cause.
        source: Option<Cause>,
    },
    /// The session was committed or rolled back before this call.
    SessionEnded,
    /// The session, or stream, lived longer than [`session_max_age`](crate::Config::session_max_age) and was ended; what
    /// it had written is rolled back.
    SessionExpired {
        /// The age at which it was ended.
        age: Duration,
    },
    /// The schema is not what this program expects, or could not be brought there.
    Migration {
        /// What was seen, what was expected, what to do.
        reason: String,
        /// The cause.
        source: Option<Arc<Error>>,
    },
    /// [`close`](crate::Database::close) was called on the database.
    Closed,
    /// The operation was stopped because nobody waited for it any more.
    Cancelled,
    /// A call of [`blocking`](crate::blocking) inside an asynchronous task would have held up the task's runtime. Nothing
    /// was done.
    BlockingInTask,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Connection { database, reason, .. } => write!(f, "{database}: {reason}"),
            Error::Encryption { database, problem } => write!(f, "{}: {problem}", database.display()),
            Error::Credential { from, reason, .. } => write!(f, "{from}: {reason}"),
            Error::Config { setting, reason } => write!(f, "setting {setting}: {reason}"),
            Error::PoolExhausted { waited, busy, .. } => write!(f, "no connection within {}: {busy}", Seconds(*waited)),
            Error::Query { kind, message, .. } => write!(f, "{kind}: {message}"),
            Error::NoRow => f.write_str("the query answered no row where one was expected"),
            Error::Decode { column, expected, found } => {
                write!(f, "column {column}: expected {expected}, found {found}")
            }
            Error::Transaction { reason, .. } | Error::Migration { reason, .. } => f.write_str(reason),
            Error::CommitUnknown { .. } => f.write_str(
                "the commit's outcome is unknown: the writes may or may not be stored; read before writing again",
            ),
            Error::SessionEnded => f.write_str("this session has ended: it was committed or rolled back before"),
            Error::SessionExpired { age } => {
                let age = Seconds(*age);
                write!(f, "ended after {age}: no session or stream may live longer (session_max_age)")
            }
            Error::Closed => f.write_str("the database handle is closed"),
            Error::Cancelled => f.write_str("the operation was cancelled"),
            Error::BlockingInTask => f.write_str(
                "a blocking call inside an asynchronous task: await the asynchronous handle's, or move it into spawn_blocking",
            ),
        }
    }
}

/// By hand, so that `source()` is the cause itself and can be downcast; a derived one would give the `Arc` around it.
impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Connection { source, .. }
            | Error::Credential { source, .. }
            | Error::Query { source, .. }
            | Error::CommitUnknown { source } => source.as_deref().map(|cause| cause as _),
            Error::Transaction { source, .. }
            | Error::Migration { source, .. }
            | Error::PoolExhausted { source, .. } => source.as_deref().map(|cause| cause as _),
            _ => None,
        }
    }
}

/// Why key and file do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncryptionProblem {
    /// The file is encrypted (or no SQLite database at all) and no key was given.
    KeyMissing,
    /// The file is a plain SQLite database and a key was given.
    NotEncrypted,
    /// The key is wrong, or the file's first page is damaged, or the file is something else: they look the same.
    WrongKeyOrDamaged,
    /// The file's length, in bytes, cannot be a database's.
    BadLength(u64),
}

impl fmt::Display for EncryptionProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyMissing => {
                f.write_str("the file is encrypted, or no database, and no key was given; name the key's source")
            }
            Self::NotEncrypted => {
                f.write_str("the file is a plain SQLite database and a key was given; open it without a key")
            }
            Self::WrongKeyOrDamaged => {
                f.write_str("wrong key, or the file's first page is damaged (the two cannot be told apart)")
            }
            Self::BadLength(length) => write!(
                f,
                "the file is {length} bytes long, which no encrypted database is (a multiple of 4096): cut off or no database"
            ),
        }
    }
}

/// An engine's own code of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// SQLite's extended result code, such as 2067 for a unique constraint. <https://www.sqlite.org/rescode.html>
    Sqlite(i32),
    /// PostgreSQL's SQLSTATE, such as 23505 for a unique constraint.
    /// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
    SqlState([u8; 5]),
}

impl Code {
    /// The five characters of a SQLSTATE.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Code::SqlState(code) => std::str::from_utf8(code).ok(),
            Code::Sqlite(_) => None,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Code::Sqlite(code) => write!(f, "{code}"),
            Code::SqlState(_) => f.write_str(self.sqlstate().unwrap_or("?????")),
        }
    }
}

/// What a failed statement failed of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueryErrorKind {
    /// A UNIQUE or PRIMARY KEY constraint.
    Unique,
    /// A FOREIGN KEY constraint, immediate or deferred.
    ForeignKey,
    /// A CHECK constraint.
    Check,
    /// A NOT NULL constraint.
    NotNull,
    /// Another constraint: a trigger's RAISE, a data type.
    Constraint,
    /// Another transaction was in the way: the same work may succeed when it is done again.
    Serialization,
    /// Another process holds the lock, or (on PostgreSQL) another transaction for longer than `lock_timeout`.
    Busy,
    /// The disk, or the database's allowed size, is full.
    Full,
    /// Reading from or writing to the disk failed.
    Io,
    /// The database file is damaged.
    Corrupt,
    /// A write to something that is read-only: the file, the folder, a read session.
    ReadOnly,
    /// The statement took too long.
    Timeout,
    /// The statement cannot be understood, or names a table or column that is not there.
    Syntax,
    /// The parameters do not fit the statement.
    Parameters,
    /// Anything else; see the code and the message.
    Other,
}

impl fmt::Display for QueryErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unique => "unique constraint",
            Self::ForeignKey => "foreign key constraint",
            Self::Check => "check constraint",
            Self::NotNull => "not-null constraint",
            Self::Constraint => "constraint",
            Self::Serialization => "conflict with another transaction, do the same work again",
            Self::Busy => "locked by another process",
            Self::Full => "disk full",
            Self::Io => "disk error",
            Self::Corrupt => "damaged database file",
            Self::ReadOnly => "read-only",
            Self::Timeout => "timeout",
            Self::Syntax => "statement not understood",
            Self::Parameters => "parameters",
            Self::Other => "database error",
        })
    }
}

/// Who holds what a caller waited for in vain.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Busy {
    /// The one writer is taken.
    Writer(Option<Holder>),
    /// The database is still being opened: its key, its file or its lock takes long.
    Opening,
    /// A further connection is still being made.
    Connecting,
    /// All connections to the server are taken.
    Connections {
        /// How many there are.
        size: usize,
        /// The one that has been held longest.
        oldest: Option<Holder>,
    },
    /// All reading connections are taken.
    Readers {
        /// How many there are.
        size: usize,
        /// The one that has been held longest.
        oldest: Option<Holder>,
    },
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Busy::Opening => f.write_str("the database is still being opened"),
            Busy::Connecting => f.write_str("a further connection is still being made"),
            Busy::Writer(None) => f.write_str("the writer is busy"),
            Busy::Writer(Some(holder)) => write!(f, "the writer is held by {holder}"),
            Busy::Connections { size, oldest: None } => write!(f, "all {size} connections are busy"),
            Busy::Connections { size, oldest: Some(holder) } => {
                write!(f, "all {size} connections are busy, the longest held by {holder}")
            }
            Busy::Readers { size, oldest: None } => write!(f, "all {size} readers are busy"),
            Busy::Readers { size, oldest: Some(holder) } => {
                write!(f, "all {size} readers are busy, the longest held by {holder}")
            }
        }
    }
}

/// A borrower: since when, and where in the source.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    /// How long it has held on when this was recorded.
    pub age: Duration,
    /// The place in the caller's source that took it.
    pub location: &'static Location<'static>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.location, Seconds(self.age))
    }
}

impl Error {
    /// A [`Credential`](Self::Credential) error of a provider's own. `from` names the source, as its `Display` does; neither it
    /// nor `reason` may hold a secret.
    pub fn credential(from: &(impl fmt::Display + ?Sized), reason: impl Into<String>) -> Self {
        Error::Credential { from: from.to_string(), reason: reason.into(), passing: false, source: None }
    }

    /// Marks a [`Credential`](Self::Credential) or [`Connection`](Self::Connection) error as one that may pass: the same may
    /// succeed when it is tried again.
    pub fn passing(mut self) -> Self {
        if let Error::Credential { passing, .. } | Error::Connection { passing, .. } = &mut self {
            *passing = true;
        }
        self
    }

    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Error::Credential { passing: true, .. } | Error::Connection { passing: true, .. })
    }

    /// Gives an error that has room for it its cause.
    pub fn caused_by(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        if let Error::Connection { source, .. }
        | Error::Credential { source, .. }
        | Error::Query { source, .. }
        | Error::CommitUnknown { source } = &mut self
        {
            *source = Some(Arc::new(cause));
        }
        self
    }

    /// The engine's own code of a failed statement, if this is one and has one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Query { code, .. } => *code,
            _ => None,
        }
    }

    /// The kind of a failed statement, if this is one.
    pub fn query_kind(&self) -> Option<QueryErrorKind> {
        match self {
            Error::Query { kind, .. } => Some(*kind),
            _ => None,
        }
    }

    /// Whether a UNIQUE or PRIMARY KEY constraint refused the row.
    pub fn is_unique_violation(&self) -> bool {
        self.query_kind() == Some(QueryErrorKind::Unique)
    }

    /// Whether the same work may succeed when the whole session is done again.
    pub fn is_retryable(&self) -> bool {
        self.query_kind() == Some(QueryErrorKind::Serialization)
    }

    /// A failed statement without a code or cause of the engine's.
    pub(crate) fn query(kind: QueryErrorKind, message: impl Into<String>) -> Self {
        Error::Query { kind, code: None, message: message.into(), source: None }
    }

    /// A database that cannot be reached. `database` names it without user and password.
    pub(crate) fn connection(database: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::Connection { database: database.into(), reason: reason.into(), passing: false, source: None }
    }

    pub(crate) fn config(setting: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::Config { setting: setting.into(), reason: reason.into() }
    }

    pub(crate) fn transaction(reason: impl Into<String>) -> Self {
        Error::Transaction { reason: reason.into(), source: None }
    }

    pub(crate) fn migration(reason: impl Into<String>) -> Self {
        Error::Migration { reason: reason.into(), source: None }
    }
}

/// A duration as people read it: `12 ms`, `1.5 s`.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(1) {
            write!(f, "{} ms", self.0.as_millis())
        } else {
            write!(f, "{:.1} s", self.0.as_secs_f64())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_cause_is_in_the_source_and_not_in_the_message() {
        let error = Error::CommitUnknown { source: Some(Arc::new(std::io::Error::other("EIO in fsync"))) };
        assert!(!error.to_string().contains("fsync"));
        let source = error.source().unwrap();
        assert!(source.downcast_ref::<std::io::Error>().is_some_and(|cause| cause.to_string() == "EIO in fsync"));
    }

    #[test]
    fn an_exhausted_pool_says_who_holds_the_writer_and_for_how_long() {
        let location = Location::caller();
        let holder = Holder { age: Duration::from_millis(2500), location };
        let error =
            Error::PoolExhausted { waited: Duration::from_secs(1), busy: Busy::Writer(Some(holder)), source: None };
        let expected = format!("no connection within 1.0 s: the writer is held by {location} for 2.5 s");
        assert_eq!(error.to_string(), expected);
    }
}
