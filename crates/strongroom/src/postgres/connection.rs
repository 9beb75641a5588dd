//! One connection to the server: its prepared statements, what it is in the middle of, and the running of statements on it.

use std::sync::Arc;

use futures_util::future::join;
use tokio_postgres::Client;

use super::dial::{Closed, Dialed, Facts, Wire};
use super::failure::{is_cancelled, is_stale_statement, translate};
use super::sql::{self, Class};
use super::statement::{Prepared, Statements};
use super::value::Parameter;
use super::work::{Stage, Watch};
use crate::batch::Step;
use crate::error::{Error, QueryErrorKind, Result};
use crate::value::Params;

/// How transactions begin. With less than REPEATABLE READ, code that was tested on SQLite would lose updates.
const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ";
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A connection that is logged in.
pub(crate) struct Connection {
    pub(super) client: Client,
    /// Dropped, it closes the connection: what is under way is not waited for.
    pub(super) wire: Wire,
    pub(super) facts: Facts,
    pub(super) user: String,
    begin_write: Arc<str>,
    begin_read: Arc<str>,
    /// Whether `DISCARD ALL` brings it back to what it was when it was made. Behind some poolers it does not.
    can_be_cleaned: bool,
    /// As messages name the server.
    pub(super) server: Arc<str>,
    pub(super) statements: Statements,
    /// Whether statements are kept, under names. A pooler that lends a server's connection for one transaction loses them.
    pub(super) keeps_statements: bool,
    pub(super) watch: Arc<Watch>,
    /// Sent together with what is run next.
    begin: Option<Arc<str>>,
    in_transaction: bool,
    /// Something was sent whose end is not known.
    pub(super) is_busy: bool,
    /// Something may have been left behind that the next borrower must not see.
    is_stateful: bool,
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Write,
    Read,
}

/// What somebody may do on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tenure {
    /// For one statement or unit.
    Passing,
    /// Until he gives it back: what is left behind is his.
    Own,
}

impl Connection {
    pub(crate) fn new(dialed: Dialed, server: Arc<str>, keeps_statements: bool) -> Self {
        let Dialed { client, wire, cancel, facts, at_begin, generation, user } = dialed;
        tracing::debug!(%server, host = facts.host, port = facts.port, user, generation, "connected");
        let limits = at_begin.as_ref().map(|sql| format!("; {sql}")).unwrap_or_default();
        Connection {
            client,
            wire,
            facts,
            user,
            begin_write: format!("{BEGIN_WRITE}{limits}").into(),
            begin_read: format!("{BEGIN_READ}{limits}").into(),
            can_be_cleaned: at_begin.is_none(),
            server,
            statements: Statements::default(),
            keeps_statements,
            watch: Arc::new(Watch::new(cancel)),
            begin: None,
            in_transaction: false,
            is_busy: false,
            is_stateful: false,
        }
    }

    pub(crate) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Says why the connection is closed, if it is.
    pub(crate) fn log_if_closed(&mut self) {
        if let Some(Closed(reason)) = self.wire.look() {
            let reason = reason.as_ref().map_or_else(|| "no reason was given".to_owned(), |error| error.to_string());
            tracing::debug!(server = %self.server, reason, "an idle connection was closed by the server or on the way");
        }
    }

    /// Whether a transaction is open, or will be with the next statement.
    pub(crate) fn in_transaction(&self) -> bool {
        self.in_transaction || self.begin.is_some()
    }

    /// Whether nothing is under way or left behind.
    pub(crate) fn is_clean(&mut self) -> bool {
        self.begin = None;
        // Of one that is closed it is still asked what it was in the middle of.
        !self.is_busy && !self.in_transaction && !self.is_stateful && !self.is_closed() && self.watch.settle()
    }

    /// Asks for a sign of life.
    pub(crate) async fn ping(&mut self) -> Result<()> {
        self.control("").await
    }

    /// Begins a transaction, together with what is run next.
    pub(crate) fn begin(&mut self, access: Access) {
        self.begin = Some(Arc::clone(match access {
            Access::Write => &self.begin_write,
            Access::Read => &self.begin_read,
        }));
    }

    /// Runs the engine's own commands, without parameters and rows, in one trip.
    pub(crate) async fn control(&mut self, sql: &str) -> Result<()> {
        self.is_busy = true;
        let sent = match self.take_begin() {
            Some(begin) => self.wire.carry(self.client.batch_execute(&format!("{begin}; {sql}"))).await,
            None => self.wire.carry(self.client.batch_execute(sql)).await,
        };
        self.settle(sent)
    }

    pub(crate) async fn commit(&mut self) -> Result<()> {
        if self.begin.take().is_some() {
            return Ok(());
        }
        self.watch.enter(Stage::Committing);
        let committed = self.control("COMMIT").await.map_err(super::failure::of_commit);
        if !matches!(committed, Err(Error::CommitUnknown { .. })) {
            // A COMMIT that is refused has rolled back.
            self.in_transaction = false;
        }
        self.watch.enter(Stage::Open);
        committed
    }

    pub(crate) async fn roll_back(&mut self) -> Result<()> {
        if self.begin.take().is_some() || !self.in_transaction {
            return Ok(());
        }
        self.control("ROLLBACK").await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Removes what its holder has left behind: settings, TEMP objects, locks.
    pub(crate) async fn clean_up(&mut self) -> Result<()> {
        self.roll_back().await?;
        if self.is_stateful && self.can_be_cleaned {
            self.control("DISCARD ALL").await?;
            self.statements.clear();
            self.is_stateful = false;
        }
        Ok(())
    }

    /// Notes that something may be left behind.
    pub(crate) fn become_stateful(&mut self) {
        self.is_stateful = true;
    }

    /// Lets a statement through, or says why not, and notes what it means for the connection.
    pub(super) fn admit(&mut self, class: Class, tenure: Tenure) -> Result<()> {
        if class == Class::Stateful {
            if tenure == Tenure::Passing {
                return Err(sql::belongs_to_a_connection());
            }
            self.is_stateful = true;
        }
        if !self.in_transaction() && class != Class::Reads {
            self.watch.enter(Stage::Changing);
        }
        Ok(())
    }

    pub(super) async fn prepare(&mut self, sql: &Arc<str>) -> Result<Arc<Prepared>> {
        let class = Class::of(sql)?;
        check_text(sql)?;
        self.is_busy = true;
        let begin = self.take_begin();
        let prepared = join(begin_if_due(&self.client, &self.watch, begin), self.client.prepare(sql));
        let (begun, statement) = self.wire.carry(prepared).await;
        let statement = self.settle(begun.and(statement))?;
        let prepared = Arc::new(Prepared::new(statement, class));
        if self.keeps_statements {
            self.statements.keep(sql, &prepared);
        }
        Ok(prepared)
    }

    pub(super) fn take_begin(&mut self) -> Option<Arc<str>> {
        let begin = self.begin.take();
        self.in_transaction |= begin.is_some();
        begin
    }

    /// Translates an outcome, and notes what it says of the connection.
    pub(super) fn settle<T>(&mut self, outcome: Result<T, tokio_postgres::Error>) -> Result<T> {
        let outcome = outcome.map_err(|error| {
            let error = translate(error, &self.server, &self.user);
            if self.watch.is_stopping() && is_cancelled(&error) { Error::Cancelled } else { error }
        });
        // What was sent behind a failed statement is answered before anything that is sent from now on.
        self.is_busy = matches!(outcome, Err(Error::Connection { .. }));
        outcome
    }

    pub(super) fn settle_statement<T>(&mut self, outcome: Result<T, tokio_postgres::Error>, step: &Step) -> Result<T> {
        let outcome = self.settle(outcome);
        if outcome.as_ref().is_err_and(is_stale_statement) {
            self.statements.forget(&step.sql);
        }
        outcome
    }
}

/// Sends the BEGIN that is due, if one is.
pub(super) async fn begin_if_due(
    client: &Client,
    watch: &Watch,
    begin: Option<Arc<str>>,
) -> Result<(), tokio_postgres::Error> {
    let Some(sql) = begin else { return Ok(()) };
    watch.note_beginning(true);
    let begun = client.batch_execute(&sql).await;
    watch.note_beginning(false);
    begun
}

pub(super) fn parameters(params: &Params) -> impl ExactSizeIterator<Item = Parameter<'_>> {
    params.0.iter().enumerate().map(|(index, value)| Parameter { number: index + 1, value })
}

pub(super) fn check_count(params: &Params, expected: usize) -> Result<()> {
    if params.len() == expected {
        return Ok(());
    }
    let message = format!("{} given and {expected} expected", params.len());
    Err(Error::query(QueryErrorKind::Parameters, message))
}

pub(super) fn check_text(sql: &str) -> Result<()> {
    if sql.contains('\0') {
        return Err(Error::query(QueryErrorKind::Syntax, "a NUL byte in the statement"));
    }
    Ok(())
}
