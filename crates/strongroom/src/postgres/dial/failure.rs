//! Why a connection could not be opened, in one line that says what to do.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_postgres::error::{DbError, SqlState};

use super::super::tls;
use crate::credential::Refusal;
use crate::error::{Cause, Error};

/// Why one host will not do.
pub(super) enum Failure {
    /// Another one may.
    Host(Unusable),
    /// No other one would.
    Final(Error),
}

pub(super) struct Unusable {
    /// The host and its port.
    pub(super) host: String,
    pub(super) reason: String,
    pub(super) passing: bool,
    pub(super) cause: Option<Cause>,
}

/// What an attempt was, for messages.
pub(super) struct Attempt<'a> {
    pub(super) host: &'a str,
    pub(super) user: &'a str,
    pub(super) database: &'a str,
    pub(super) encrypted: bool,
    /// The source of the password; `None` without one.
    pub(super) from: Option<&'a str>,
    /// Until when that may be sent.
    pub(super) valid_until: Option<SystemTime>,
}

/// What was seen of the hosts that will not do.
#[derive(Default)]
pub(super) struct Gathered(Vec<Unusable>);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Final(error)
    }
}

impl From<Error> for Refusal<Failure> {
    fn from(error: Error) -> Self {
        Refusal::Other(Failure::Final(error))
    }
}

impl Gathered {
    pub(super) fn push(&mut self, failure: Failure) -> Result<(), Error> {
        match failure {
            Failure::Host(unusable) => self.0.push(unusable),
            Failure::Final(error) => return Err(error),
        }
        Ok(())
    }

    /// One failure of several, of the addresses of one host or the hosts of a list.
    pub(super) fn join(mut self) -> Option<Unusable> {
        let mut last = self.0.pop()?;
        let passing = last.passing || self.0.iter().any(|other| other.passing);
        if self.0.iter().any(|other| other.reason != last.reason) {
            self.0.push(last);
            let each = self.0.iter().map(|other| format!("{}: {}", other.host, other.reason));
            let reason = format!("none will do: {}", each.collect::<Vec<_>>().join("; "));
            // As there is one cause only, it is that of one which may pass.
            let of = self.0.iter().rposition(|other| other.passing == passing).unwrap_or_default();
            last = self.0.swap_remove(of);
            last.reason = reason;
        }
        Some(Unusable { passing, ..last })
    }

    /// The error of them all. `database` names the servers.
    pub(super) fn error(self, database: String) -> Error {
        match self.join() {
            Some(Unusable { reason, passing, cause, .. }) => {
                Error::Connection { database, reason, passing, source: cause }
            }
            None => Error::connection(database, "there is no host to try"),
        }
    }
}

impl Attempt<'_> {
    pub(super) fn failed(&self, reason: impl Into<String>, passing: bool, cause: Option<Cause>) -> Refusal<Failure> {
        let (host, reason) = (self.host.to_owned(), reason.into());
        Refusal::Other(Failure::Host(Unusable { host, reason, passing, cause }))
    }

    /// The credential's end has come.
    pub(super) fn ended(&self) -> Refusal<Failure> {
        let from = self.from.unwrap_or_default();
        let reason = format!("connecting outlasted the token of {}, from {from}, which was not sent", self.user);
        let host = self.host.to_owned();
        Refusal::Ended(Failure::Host(Unusable { host, reason, passing: true, cause: None }))
    }

    /// The socket could not be connected.
    pub(super) fn unreachable(&self, error: io::Error) -> Refusal<Failure> {
        let reason = match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                "the connection was refused; is a server running, and on this port?".to_owned()
            }
            io::ErrorKind::NotFound => {
                "there is no such socket; is a server running, and is this its folder?".to_owned()
            }
            io::ErrorKind::PermissionDenied => "this user has no right to the socket".to_owned(),
            io::ErrorKind::TimedOut => "nobody answered; is a firewall in between?".to_owned(),
            other => format!("it cannot be reached ({other})"),
        };
        self.failed(reason, true, Some(Arc::new(error)))
    }

    /// The server, or TLS on the way to it, said no.
    pub(super) fn refused(&self, error: tokio_postgres::Error) -> Refusal<Failure> {
        if let Some(refusal) = error.as_db_error() {
            let is_credential = self.from.is_some() && is_about_the_credential(refusal);
            let (reason, passing) = self.explain(refusal);
            let cause: Cause = Arc::new(error);
            return match is_credential {
                true => {
                    let database = format!("postgres://{}/{}", self.host, self.database);
                    Refusal::Credential(Error::Connection { database, reason, passing: false, source: Some(cause) })
                }
                false => self.failed(reason, passing, Some(cause)),
            };
        }
        let source = std::error::Error::source(&error);
        if let Some(failure) = source.and_then(|source| source.downcast_ref::<tls::Failure>()) {
            return self.failed(failure.reason.clone(), failure.passing, failure.cause.clone());
        }
        // tokio-postgres tells these apart by their texts only.
        let text = source.map(ToString::to_string).unwrap_or_default();
        let (reason, passing) = match text.as_str() {
            "server does not support TLS" => {
                ("the server does no TLS; switch it on there (ssl = on), or say sslmode=disable".to_owned(), false)
            }
            "password missing" => {
                (format!("the server asks for the password of {}, and no source of one is named", self.user), false)
            }
            "server did not use channel binding" => (
                "the server offers no channel binding, which channel_binding=require wants; it needs TLS and SCRAM"
                    .to_owned(),
                false,
            ),
            _ if source.is_some_and(|source| source.is::<io::Error>()) || error.is_closed() => {
                let cut = source.and_then(|source| source.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref());
                match cut.and_then(tls::refusal) {
                    Some(reason) => (reason, false),
                    None => ("the server closed the connection".to_owned(), true),
                }
            }
            _ => ("logging in failed; its cause says of what".to_owned(), false),
        };
        self.failed(reason, passing, Some(Arc::new(error)))
    }

    /// What a server's refusal means, and whether it may pass.
    fn explain(&self, refusal: &DbError) -> (String, bool) {
        let (user, database) = (self.user, self.database);
        let code = meant(refusal);
        let reason = match &code {
            &SqlState::INVALID_PASSWORD => match self.from {
                Some(from) => format!("the server refused the password of {user}, which came from: {from}"),
                None => format!("the server wants a password of {user}"),
            },
            code @ &SqlState::INVALID_AUTHORIZATION_SPECIFICATION => match is_about_the_address(refusal) {
                true => {
                    let how = if self.encrypted { "with TLS" } else { "without TLS" };
                    format!(
                        "the server's pg_hba.conf lets {user} not into {database} from here {how} ({})",
                        code.code()
                    )
                }
                false => match self.from {
                    Some(from) => {
                        format!("the server does not let {user} log in with what came from: {from} ({})", code.code())
                    }
                    None => format!("the server does not let {user} log in ({}); is there such a role?", code.code()),
                },
            },
            &SqlState::INVALID_CATALOG_NAME => {
                format!("the server has no database {database}; create it, or name another")
            }
            &SqlState::TOO_MANY_CONNECTIONS => {
                "the server has no connection left; lower pool_max_size, or raise its max_connections".to_owned()
            }
            &SqlState::CANNOT_CONNECT_NOW => "the server is starting up, shutting down or recovering".to_owned(),
            &SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN => "the server is being shut down".to_owned(),
            &SqlState::PROTOCOL_VIOLATION if takes_no_options(refusal) => {
                return ("the pooler takes no start-up options; leave options out of the settings".to_owned(), false);
            }
            &SqlState::PROTOCOL_VIOLATION if refusal.message() == "SSL required" => {
                return ("the pooler wants TLS; say sslmode=verify-full".to_owned(), false);
            }
            // A pooler has no other code, and what it says is all there is.
            code => format!("the server refused the connection: {} ({})", one_line(refusal.message()), code.code()),
        };
        (reason, is_passing(&code))
    }
}

/// Whether another credential might do. What a pooler or a foreign server means by 28000 is not known: then it might.
fn is_about_the_credential(refusal: &DbError) -> bool {
    match meant(refusal) {
        SqlState::INVALID_PASSWORD => true,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION => !is_about_the_address(refusal),
        _ => false,
    }
}

/// The code that is meant. pgbouncer has 08P01 for everything, in older versions a wrong password as well; its texts
/// are always in English.
fn meant(refusal: &DbError) -> SqlState {
    if refusal.code() == &SqlState::PROTOCOL_VIOLATION {
        let text = refusal.message();
        if text.contains("authentication failed") {
            return SqlState::INVALID_PASSWORD;
        }
        if text.starts_with("no such database") || text.starts_with("database ") && text.ends_with("does not exist") {
            return SqlState::INVALID_CATALOG_NAME;
        }
        if text.starts_with("no more connections allowed") {
            return SqlState::TOO_MANY_CONNECTIONS;
        }
    }
    refusal.code().clone()
}

/// Whether a pooler refuses the start-up parameter `options`, or what is in it.
pub(super) fn takes_no_options(refusal: &DbError) -> bool {
    refusal.message().contains("unsupported startup parameter")
}

/// Whether pg_hba.conf has no entry for the client, or one that rejects it. The server's text may be in any language;
/// the name of its function is not, and this one comes before any password is looked at.
fn is_about_the_address(refusal: &DbError) -> bool {
    refusal.routine() == Some("ClientAuthentication")
}

fn is_passing(code: &SqlState) -> bool {
    // 53: too many connections, of the server, a role or a database. 57: shut down, starting up. 08: a pooler whose
    // server is away. 58: the server's own disk.
    matches!(code.code().get(..2), Some("53" | "57" | "08" | "58"))
}

fn one_line(text: &str) -> String {
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
