//! SQLite's result codes, sorted into this crate's errors.

use std::sync::Arc;

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::error::{Error, QueryErrorKind};

/// Translates an error of a running statement.
pub(crate) fn translate(error: rusqlite::Error) -> Error {
    let error = match error {
        // It would show the statement's text, and literals in it may be secret.
        rusqlite::Error::SqlInputError { error, msg, offset, .. } => {
            rusqlite::Error::SqliteFailure(error, Some(format!("{msg}, at byte {offset} of the statement")))
        }
        other => other,
    };
    let (kind, code, message) = match &error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            if failure.code == ErrorCode::OperationInterrupted {
                return Error::Cancelled;
            }
            let message = message.clone().unwrap_or_else(|| failure.to_string());
            (kind_of(failure), Some(failure.extended_code), message)
        }
        rusqlite::Error::MultipleStatement => {
            (QueryErrorKind::Syntax, None, "more than one statement; use a Batch".to_owned())
        }
        rusqlite::Error::NulError(_) => (QueryErrorKind::Syntax, None, "a NUL byte in the statement".to_owned()),
        other => (QueryErrorKind::Other, None, other.to_string()),
    };
    Error::Query { kind, code, message, source: Some(Arc::new(error)) }
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
        ErrorCode::Unknown if failure.extended_code == ffi::SQLITE_ERROR => QueryErrorKind::Syntax,
        _ => QueryErrorKind::Other,
    }
}

/// Whether the connection that answered this should not be used again.
pub(crate) fn breaks_connection(error: &Error) -> bool {
    matches!(error.query_kind(), Some(QueryErrorKind::Corrupt | QueryErrorKind::Io))
        || matches!(error, Error::CommitUnknown { .. } | Error::Connection { .. })
}
