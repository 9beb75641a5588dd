//! Sessions, at the engine's end: what a holder asks for, and how its commands are served on the connection.

use std::panic::Location;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::batch::{Answer, Step, Want};
use crate::command::{Command, Fate, Reply};
use crate::error::{Error, QueryErrorKind, Result};
use crate::sqlite::connection::Connection;
use crate::sqlite::failure::breaks_connection;
use crate::sqlite::work::{Flow, Ticket};

/// A caller that waits for a session to be opened.
pub(crate) struct Opening {
    pub(crate) ticket: Ticket,
    pub(crate) opened: Reply<()>,
    pub(crate) request: SessionRequest,
}

/// A caller that wants to run statements one by one, inside one transaction.
pub(crate) struct SessionRequest {
    pub(crate) commands: mpsc::Receiver<Order>,
    /// Gone when the holder has dropped the session: what runs then is stopped.
    pub(crate) holder: Ticket,
    pub(crate) fate: Fate,
    pub(crate) location: &'static Location<'static>,
    pub(crate) max_age: Duration,
    pub(crate) reads_only: bool,
}

/// What a session's holder asks of its thread.
pub(crate) enum Order {
    Command(Command),
    Stream { step: Step, flow: Flow },
}

/// How a session's service ended.
pub(crate) enum SessionEnd {
    /// The holder asked for a commit; it is answered when the commit is durable.
    Commit(Reply<()>),
    /// To be rolled back: by the holder's wish, because the holder is gone, or because its time was up.
    Rollback(Option<Reply<()>>),
    /// SQLite has rolled the whole transaction back under it.
    Lost,
    /// A statement met a damaged page or a disk error: the connection must not be used again.
    Broken,
}

/// Serves a session's commands on the connection whose transaction (or savepoint) is open, until it ends.
pub(crate) struct SessionService<'c> {
    connection: &'c Connection,
    request: SessionRequest,
    deadline: Instant,
    depth: u32,
    /// The depth at which a statement failed and its error: nothing runs until a rollback to there or above.
    failed: Option<(u32, Arc<Error>)>,
}

impl<'c> SessionService<'c> {
    pub(crate) fn new(connection: &'c Connection, request: SessionRequest) -> Self {
        let deadline = Instant::now() + request.max_age;
        SessionService { connection, request, deadline, depth: 0, failed: None }
    }

    pub(crate) fn serve(mut self) -> SessionEnd {
        let watching = self.connection.interrupt().watch(&self.request.holder, Some(self.deadline));
        let end = loop {
            let remaining = self.deadline.saturating_duration_since(Instant::now());
            let end = match self.request.commands.recv_timeout(remaining) {
                Ok(Order::Command(command)) => self.obey(command),
                Ok(Order::Stream { step, flow }) => {
                    let outcome = self.stream(&step, flow);
                    self.end_after(outcome.err().as_ref())
                }
                Err(mpsc::RecvTimeoutError::Timeout) => Some(self.expire()),
                Err(mpsc::RecvTimeoutError::Disconnected) => Some(SessionEnd::Rollback(None)),
            };
            if let Some(end) = end {
                break end;
            }
        };
        drop(watching);
        end
    }

    /// Does what the holder asks; answers how the session ended if it did.
    fn obey(&mut self, command: Command) -> Option<SessionEnd> {
        match command {
            Command::Run { steps, want, reply } => {
                let outcome = self.run(&steps, want);
                let end = self.end_after(outcome.as_ref().err());
                let _ = reply.send(outcome);
                end
            }
            Command::Savepoint { depth, reply } => {
                let outcome = self.unless_failed(|connection| connection.control(&format!("SAVEPOINT point_{depth}")));
                if outcome.is_ok() {
                    self.depth = depth;
                }
                let _ = reply.send(outcome);
                None
            }
            Command::Release { depth, reply } => {
                let outcome = self.unless_failed(|connection| connection.control(&format!("RELEASE point_{depth}")));
                if outcome.is_ok() {
                    self.depth = depth - 1;
                }
                let _ = reply.send(outcome);
                None
            }
            Command::RollbackTo { depth, reply } => {
                let outcome = self.connection.control(&format!("ROLLBACK TO point_{depth}; RELEASE point_{depth}"));
                if outcome.is_ok() {
                    self.depth = depth - 1;
                    self.failed.take_if(|(failed_at, _)| *failed_at >= depth);
                }
                if let Some(reply) = reply {
                    let _ = reply.send(outcome);
                }
                None
            }
            Command::Commit { reply } => match self.refused() {
                Some(error) => {
                    let _ = reply.send(Err(error));
                    Some(SessionEnd::Rollback(None))
                }
                None => Some(SessionEnd::Commit(reply)),
            },
            Command::Rollback { reply } => Some(SessionEnd::Rollback(Some(reply))),
        }
    }

    fn run(&mut self, steps: &[Step], want: Want) -> Result<Vec<Answer>> {
        if let Some(error) = self.refused() {
            return Err(error);
        }
        let outcome: Result<Vec<_>> = steps
            .iter()
            .map(|step| {
                self.writes(step)?;
                self.connection.run(step, want)
            })
            .collect();
        outcome.map_err(|error| self.fail(error))
    }

    fn stream(&mut self, step: &Step, flow: Flow) -> Result<()> {
        if let Some(error) = self.refused() {
            return flow.refuse(error);
        }
        let outcome = match self.writes(step) {
            Err(error) => flow.refuse(error),
            Ok(true) => flow.run(self.connection, step),
            Ok(false) => flow.pump(self.connection, step, self.deadline, self.expired()),
        };
        outcome.map_err(|error| self.fail(error))
    }

    /// Whether the statement writes; an error when this session may not.
    fn writes(&self, step: &Step) -> Result<bool> {
        let writes = !self.connection.is_read_only(step)?;
        if writes && self.request.reads_only {
            return Err(Error::query(
                QueryErrorKind::ReadOnly,
                "the statement writes and this is a read session; use Database::session",
            ));
        }
        Ok(writes)
    }

    /// Notes a statement's failure.
    fn fail(&mut self, error: Error) -> Error {
        let error = match error {
            Error::Cancelled if Instant::now() >= self.deadline => self.expired(),
            other => other,
        };
        self.failed = Some((self.depth, Arc::new(error.clone())));
        error
    }

    /// The answer to anything but a rollback after a statement has failed: the same on both engines, because
    /// PostgreSQL aborts the transaction there, and would turn its COMMIT into a silent ROLLBACK.
    fn refused(&self) -> Option<Error> {
        self.failed.as_ref().map(|(_, error)| Error::Transaction {
            reason: "a statement of this session has failed before; roll the session back, \
                     or put statements that may fail into a savepoint"
                .into(),
            source: Some(Arc::clone(error)),
        })
    }

    fn unless_failed(&self, work: impl FnOnce(&Connection) -> Result<()>) -> Result<()> {
        self.refused().map_or_else(|| work(self.connection), Err)
    }

    /// How the session ended by a statement, if it did.
    fn end_after(&self, error: Option<&Error>) -> Option<SessionEnd> {
        let error = error?;
        if breaks_connection(error) {
            self.request.fate.end(error.clone());
            return Some(SessionEnd::Broken);
        }
        if !self.connection.in_transaction() {
            self.request.fate.end(error.clone());
            return Some(SessionEnd::Lost);
        }
        matches!(error, Error::SessionExpired { .. }).then(|| self.expire())
    }

    fn expired(&self) -> Error {
        Error::SessionExpired { age: self.request.max_age }
    }

    fn expire(&self) -> SessionEnd {
        tracing::warn!(
            age_s = self.request.max_age.as_secs_f64(),
            location = %self.request.location,
            "a session was rolled back because it lived longer than session_max_age"
        );
        self.request.fate.end(self.expired());
        SessionEnd::Rollback(None)
    }
}
