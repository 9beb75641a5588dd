//! The server's refusals, sorted into this crate's errors.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;

use tokio_postgres::error::{DbError, ErrorPosition, Severity};

use crate::engine::quoted;
use crate::error::{Code, Error, QueryErrorKind};

/// What the server says of a failure beside its code and message. It is the [`source`](std::error::Error::source) of
/// [`Error::Query`].
///
/// The server's DETAIL, which may quote rows, is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerError {
    /// `ERROR`, `FATAL` or `PANIC`, in the server's language.
    pub severity: String,
    /// The SQLSTATE, such as `23505`.
    pub sqlstate: String,
    /// The schema of the table that is concerned.
    pub schema: Option<String>,
    /// The table that is concerned.
    pub table: Option<String>,
    /// The column that is concerned.
    pub column: Option<String>,
    /// The constraint that is violated.
    pub constraint: Option<String>,
    /// Where in the statement, in characters from 1.
    pub position: Option<u32>,
    /// The server's function that refused, such as `_bt_check_unique`.
    pub routine: Option<String>,
}

/// Such as `ERROR 23505, table entry, constraint entry_text_key, in _bt_check_unique`.
impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.severity, self.sqlstate)?;
        let named =
            [("table", &self.table), ("column", &self.column), ("constraint", &self.constraint), ("in", &self.routine)];
        for (what, name) in named {
            if let Some(name) = name {
                write!(f, ", {what} {name}")?;
            }
        }
        self.position.map_or(Ok(()), |position| write!(f, ", at character {position} of the statement"))
    }
}

impl std::error::Error for ServerError {}

impl From<&DbError> for ServerError {
    fn from(error: &DbError) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        ServerError {
            severity: error.severity().to_owned(),
            sqlstate: error.code().code().to_owned(),
            schema: owned(error.schema()),
            table: owned(error.table()),
            column: owned(error.column()),
            constraint: owned(error.constraint()),
            position: match error.position() {
                Some(ErrorPosition::Original(position)) => Some(*position),
                _ => None,
            },
            routine: owned(error.routine()),
        }
    }
}

/// Translates an error of a running statement. `database` names the server, `role` who is logged in.
pub(crate) fn translate(error: tokio_postgres::Error, database: &str, role: &str) -> Error {
    if let Some(refusal) = error.as_db_error() {
        return of_server(refusal, database, role);
    }
    if is_lost(&error) {
        return lost(database, error);
    }
    // Only a parameter's or a column's conversion is left; its cause is the message.
    let message = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let kind = if message.starts_with("parameter $") { QueryErrorKind::Parameters } else { QueryErrorKind::Other };
    Error::query(kind, message)
}

/// The connection is gone.
pub(crate) fn lost(database: &str, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Connection {
        database: database.to_owned(),
        reason: "the connection to the server was lost".into(),
        passing: true,
        source: Some(Arc::new(cause)),
    }
}

fn is_lost(error: &tokio_postgres::Error) -> bool {
    // The kind of an error is not shown; what is neither of these is a conversion, whose cause is a text.
    error.is_closed() || error.source().is_some_and(|cause| cause.is::<std::io::Error>()) || error.source().is_none()
}

fn of_server(refusal: &DbError, database: &str, role: &str) -> Error {
    let sqlstate = refusal.code().code();
    if ends_connection(refusal) {
        return lost_for_reason(refusal, database);
    }
    let code = <[u8; 5]>::try_from(sqlstate.as_bytes()).ok().map(Code::SqlState);
    Error::Query {
        kind: kind_of(sqlstate),
        code,
        message: match sqlstate {
            "42501" => with_grant(refusal.message(), role),
            _ => without_values(sqlstate, refusal.message()),
        },
        source: Some(Arc::new(ServerError::from(refusal))),
    }
}

/// Whether the server, or a pooler before it, gives the connection up with this: 57P01 for a shutdown, 08P01 for having been
/// idle too long, and others. The same codes can be a statement's failure, which ends nothing.
fn ends_connection(refusal: &DbError) -> bool {
    match refusal.parsed_severity() {
        Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
        // Not every pooler says it in the form that is not translated.
        None => matches!(refusal.severity(), "FATAL" | "PANIC"),
    }
}

fn lost_for_reason(refusal: &DbError, database: &str) -> Error {
    Error::Connection {
        database: database.to_owned(),
        reason: format!("the server ended the connection: {}", refusal.message()),
        passing: true,
        source: Some(Arc::new(ServerError::from(refusal))),
    }
}

fn kind_of(sqlstate: &str) -> QueryErrorKind {
    use QueryErrorKind as Kind;
    match sqlstate {
        "23505" => Kind::Unique,
        "23503" => Kind::ForeignKey,
        "23514" => Kind::Check,
        "23502" => Kind::NotNull,
        "40001" | "40P01" => Kind::Serialization,
        "55P03" | "55006" => Kind::Busy,
        "53100" => Kind::Full,
        "57014" => Kind::Timeout,
        "25006" => Kind::ReadOnly,
        // A script's statement with a placeholder, for which there is nothing.
        "08P01" => Kind::Parameters,
        "58030" => Kind::Io,
        "XX001" | "XX002" => Kind::Corrupt,
        "P0001" => Kind::Constraint,
        "42501" | "42939" => Kind::Other,
        _ => match &sqlstate[..sqlstate.len().min(2)] {
            "22" | "23" | "44" => Kind::Constraint,
            "42" => Kind::Syntax,
            _ => Kind::Other,
        },
    }
}

/// The server's message without what it quotes of parameters and literals. In most messages quotes hold the names of tables
/// and constraints; in those of data exceptions and syntax errors they hold what was not understood.
fn without_values(sqlstate: &str, message: &str) -> String {
    if !(sqlstate.starts_with("22") || sqlstate == "42601") {
        return message.to_owned();
    }
    match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last => format!("{}\"…\"{}", &message[..first], &message[last + 1..]),
        (Some(first), _) => format!("{}\"…", &message[..first]),
        _ => message.to_owned(),
    }
}

/// The server's message about a right that `role` lacks, with the statement that gives it. Of what it is a right is known
/// from English words only; in other languages, and where it is no single right, the message stands alone.
fn with_grant(message: &str, role: &str) -> String {
    let about = message.strip_prefix("permission denied for ").and_then(|about| about.split_once(' '));
    let role = quoted(role);
    let grant = match about {
        Some(("schema", name)) => {
            let name = quoted(name);
            format!("GRANT USAGE ON SCHEMA {name} TO {role}, and GRANT CREATE if tables are to be made there")
        }
        Some(("table" | "view", name)) => {
            format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {role}, or what of it is needed", quoted(name))
        }
        Some(("sequence", name)) => format!("GRANT USAGE ON SEQUENCE {} TO {role}", quoted(name)),
        _ => return message.to_owned(),
    };
    format!("{message}; let its owner run {grant}")
}

/// Whether this failure says that the server, or all of the generation's connections, are not what they were: shut down,
/// cut off, or no longer the primary.
pub(crate) fn ends_generation(error: &Error) -> bool {
    matches!(error, Error::Connection { .. } | Error::CommitUnknown { .. })
        || error.query_kind() == Some(QueryErrorKind::ReadOnly)
}

/// What a COMMIT that failed of this has done: with a connection lost in it, and where the server itself does not know, it
/// may have taken effect.
pub(crate) fn of_commit(error: Error) -> Error {
    let unknown = match &error {
        Error::Connection { .. } => true,
        other => matches!(other.code(), Some(code) if matches!(code.sqlstate(), Some("40003" | "08007"))),
    };
    if unknown { Error::CommitUnknown { source: Some(Arc::new(error)) } } else { error }
}

/// Whether the connection's prepared statement is no longer what it was when it was prepared, and was not run: 0A000 for a
/// table whose columns have changed, 26000 behind a pooler that has put another connection in its place.
pub(crate) fn is_stale_statement(error: &Error) -> bool {
    match error.code() {
        Some(code) if code.sqlstate() == Some("26000") => true,
        Some(code) if code.sqlstate() == Some("0A000") => {
            matches!(error, Error::Query { source: Some(source), .. }
                if source.downcast_ref::<ServerError>().is_some_and(|error| error.routine.as_deref() == Some("RevalidateCachedQuery")))
        }
        _ => false,
    }
}

/// Whether a table was not there, or no longer.
pub(crate) fn is_missing_table(error: &Error) -> bool {
    error.code().is_some_and(|code| code.sqlstate() == Some("42P01"))
}

/// Whether a statement was stopped on somebody's request.
pub(crate) fn is_cancelled(error: &Error) -> bool {
    error.code().is_some_and(|code| code.sqlstate() == Some("57014"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_quotes_a_value_loses_it_and_one_that_quotes_a_name_keeps_it() {
        let quoted = "invalid input syntax for type integer: \"canary \"x\"\"";
        assert_eq!(without_values("22P02", quoted), "invalid input syntax for type integer: \"…\"");
        assert_eq!(
            without_values("42601", "unterminated string at or near \"'canary"),
            "unterminated string at or near \"…"
        );
        let named = "duplicate key value violates unique constraint \"entry_text_key\"";
        assert_eq!(without_values("23505", named), named);
    }

    #[test]
    fn a_missing_right_comes_with_the_grant_where_it_is_known() {
        let about = |message: &str| with_grant(message, "a\"b");
        assert_eq!(
            about("permission denied for sequence My Seq"),
            "permission denied for sequence My Seq; let its owner run GRANT USAGE ON SEQUENCE \"My Seq\" TO \"a\"\"b\""
        );
        for other in ["must be owner of table t", "permission denied for materialized view m", "keine Berechtigung"] {
            assert_eq!(about(other), other);
        }
    }

    #[test]
    fn a_commit_that_lost_its_connection_is_unknown_and_one_that_was_refused_is_not() {
        let lost = lost("db", std::io::Error::other("gone"));
        assert!(matches!(of_commit(lost), Error::CommitUnknown { .. }));
        let refused = Error::query(QueryErrorKind::ForeignKey, "deferred");
        assert!(matches!(of_commit(refused), Error::Query { .. }));
    }
}
