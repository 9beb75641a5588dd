//! SQLite's result codes, sorted into this crate's errors.

use std::sync::Arc;

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::error::{Code, Error, QueryErrorKind};

/// Translates an error of a running statement.
pub(crate) fn translate(error: rusqlite::Error) -> Error {
    let error = without_literals(error);
    let (kind, code, message) = match &error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            if failure.code == ErrorCode::OperationInterrupted {
                return Error::Cancelled;
            }
            if failure.code == ErrorCode::ApiMisuse {
                return Error::query(QueryErrorKind::Syntax, "the statement is empty");
            }
            let message = message.clone().unwrap_or_else(|| failure.to_string());
            (kind_of(failure), Some(Code::Sqlite(failure.extended_code)), message)
        }
        rusqlite::Error::MultipleStatement => {
            (QueryErrorKind::Syntax, None, "more than one statement; use a Batch".to_owned())
        }
        // Of binding: a value that SQLite has no form for.
        rusqlite::Error::ToSqlConversionFailure(reason) => (QueryErrorKind::Parameters, None, reason.to_string()),
        rusqlite::Error::NulError(_) => (QueryErrorKind::Syntax, None, "a NUL byte in the statement".to_owned()),
        other => (QueryErrorKind::Other, None, other.to_string()),
    };
    Error::Query { kind, code, message, source: Some(Arc::new(error)) }
}

/// Translates an error of preparing a statement, where SQLite's plain "error" means that it does not understand it.
pub(crate) fn translate_preparing(error: rusqlite::Error) -> Error {
    match translate(error) {
        Error::Query {
            kind: QueryErrorKind::Other,
            code: code @ Some(Code::Sqlite(ffi::SQLITE_ERROR)),
            message,
            source,
        } => Error::Query { kind: QueryErrorKind::Syntax, code, message, source },
        other => other,
    }
}

/// Takes the statement's text and quoted pieces out of an error: literals and JSON paths in them may be secret.
fn without_literals(error: rusqlite::Error) -> rusqlite::Error {
    let (failure, message) = match error {
        rusqlite::Error::SqlInputError { error, msg, offset, .. } => {
            (error, format!("{msg}, at byte {offset} of the statement"))
        }
        rusqlite::Error::SqliteFailure(error, Some(message)) => (error, message),
        other => return other,
    };
    let message = match (message.find('\''), message.rfind('\'')) {
        (Some(first), Some(last)) => format!("{}'…'{}", &message[..first], &message[last + 1..]),
        _ => message,
    };
    // A literal without its closing quote: what follows the only quote is the literal.
    let message = match message.split_once("unrecognized token: ") {
        Some((before, _)) => format!("{before}unrecognized token"),
        None => message,
    };
    rusqlite::Error::SqliteFailure(failure, Some(message))
}

fn kind_of(failure: &ffi::Error) -> QueryErrorKind {
    match failure.extended_code {
        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            return QueryErrorKind::Unique;
        }
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => return QueryErrorKind::ForeignKey,
        ffi::SQLITE_CONSTRAINT_CHECK => return QueryErrorKind::Check,
        ffi::SQLITE_CONSTRAINT_NOTNULL => return QueryErrorKind::NotNull,
        ffi::SQLITE_BUSY_SNAPSHOT => return QueryErrorKind::Serialization,
        _ => {}
    }
    match failure.code {
        ErrorCode::ConstraintViolation => QueryErrorKind::Constraint,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => QueryErrorKind::Busy,
        ErrorCode::DiskFull => QueryErrorKind::Full,
        ErrorCode::SystemIoFailure | ErrorCode::CannotOpen => QueryErrorKind::Io,
        // SQLCipher answers "not a database" for a page whose authentication code does not match.
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => QueryErrorKind::Corrupt,
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => QueryErrorKind::ReadOnly,
        ErrorCode::ParameterOutOfRange => QueryErrorKind::Parameters,
        _ => QueryErrorKind::Other,
    }
}

/// Whether a COMMIT that failed of this may be on the disk all the same. Only what SQLite finds before the last page is in
/// the log is sure to have stored nothing.
pub(crate) fn leaves_commit_open(error: &Error) -> bool {
    use QueryErrorKind as Kind;
    match error.query_kind() {
        None => false,
        Some(kind) => !matches!(
            kind,
            Kind::Full
                | Kind::Busy
                | Kind::Serialization
                | Kind::Constraint
                | Kind::ForeignKey
                | Kind::Unique
                | Kind::NotNull
                | Kind::Check
                | Kind::ReadOnly
        ),
    }
}

/// Whether the connection that answered this should not be used again.
pub(crate) fn breaks_connection(error: &Error) -> bool {
    matches!(error.query_kind(), Some(QueryErrorKind::Corrupt | QueryErrorKind::Io))
        || matches!(error, Error::CommitUnknown { .. } | Error::Connection { .. })
}
