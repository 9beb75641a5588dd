//! The PostgreSQL engine: connections to a server in a pool, and what runs on them.
//!
//! `dial` makes a connection that is logged in; `connection`, `run` and `pipeline` run statements on it; `work` brings to an
//! end what was begun when its caller is gone; `session` and `flow` are the tasks behind sessions and streams.

mod connection;
mod connector;
mod copy;
mod dial;
mod failure;
mod flow;
mod pipeline;
mod run;
mod session;
mod settings;
mod sql;
mod statement;
mod tls;
mod url;
mod value;
mod work;

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::batch::{Answer, ParamSets, Step, Want};
use crate::config;
use crate::database::{TRANSACTION_RETRIES, back_off};
use crate::engine::{qualified, quoted};
use crate::error::Result;
use crate::pool::Pool;
use crate::row::Row;
use crate::stats::{Counters, Stats};
use crate::stream::Rows;
use crate::value::Params;

use self::connection::{Access, Tenure};
use self::connector::{Connector, Lease, refused};
use self::dial::Dialer;
pub use self::failure::ServerError;
use self::failure::{ends_generation, is_missing_table};
pub(crate) use self::flow::flow;
use self::session::Kind;
pub(crate) use self::session::{Order, SessionLink};
pub(crate) use self::settings::Settings;
pub(crate) use self::tls::Roots;
use self::work::Work;

/// Whether there is a table or view of a name; relations that the search path does not reach are not seen.
pub(crate) const TABLE_EXISTS: &str = "SELECT 1 FROM pg_catalog.pg_class \
     WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND lower(relname) = lower($1) AND pg_catalog.pg_table_is_visible(oid)";

/// How often `ANALYZE` begins anew when a table has been dropped while it ran.
const MAINTENANCE_TRIES: u32 = 20;

/// An open database on a server.
pub(crate) struct Postgres {
    pool: Pool<Connector>,
    session_max_age: Duration,
    counters: Arc<Counters>,
}

impl Postgres {
    /// Opens the first connections.
    pub(crate) async fn open(server: &Settings, settings: &config::Settings) -> Result<Self> {
        let connector = Connector { dialer: Dialer::new(server)?, server: server.shown().into() };
        let pool = Pool::new(connector, settings.pool.clone());
        pool.open_at_least(settings.pool.min_size.max(1)).await.map_err(refused)?;
        Ok(Postgres { pool, session_max_age: settings.session_max_age, counters: Arc::default() })
    }

    /// Runs statements as one unit, durable when this returns: one by itself, several in a transaction.
    pub(crate) async fn unit(
        &self,
        steps: Vec<Step>,
        want: Want,
        location: &'static Location<'static>,
    ) -> Result<Vec<Answer>> {
        let mut lease = self.acquire(location).await?;
        let counters = Arc::clone(&self.counters);
        self.work(lease_watch(&lease), lease_deadline(&lease, self.session_max_age), async move {
            let outcome = lease.run_unit(&steps, want, Tenure::Passing).await;
            count(&counters, &outcome);
            go_home(lease, outcome)
        })
        .await
    }

    /// Runs a query and answers its first rows.
    pub(crate) async fn fetch(
        &self,
        step: Step,
        at_most: usize,
        location: &'static Location<'static>,
    ) -> Result<Vec<Row>> {
        let mut lease = self.acquire(location).await?;
        self.work(lease_watch(&lease), lease_deadline(&lease, self.session_max_age), async move {
            let outcome = lease.run_alone(&step, Want::Rows { at_most }, Tenure::Passing).await;
            go_home(lease, outcome).map(|answer| answer.rows)
        })
        .await
    }

    /// Begins to stream a query's rows. A statement that writes is run to its end, and committed, first.
    pub(crate) async fn stream(&self, step: Step, location: &'static Location<'static>) -> Result<Rows> {
        let lease = self.acquire(location).await?;
        let (flow, reader) = flow();
        let deadline = lease_deadline(&lease, self.session_max_age);
        tokio::spawn(flow.serve(lease, step, deadline, self.session_max_age));
        Ok(Rows::Pumped(reader))
    }

    /// Opens a session. A read session has its snapshot when this returns; a write session sends nothing yet.
    pub(crate) async fn session(
        &self,
        reads_only: bool,
        max_age: Option<Duration>,
        location: &'static Location<'static>,
    ) -> Result<SessionLink> {
        let mut lease = self.acquire(location).await?;
        let max_age = max_age.unwrap_or(self.session_max_age);
        let deadline = lease_deadline(&lease, max_age);
        if reads_only {
            lease = self
                .work(lease_watch(&lease), deadline, async move {
                    lease.begin(Access::Read);
                    // BEGIN alone takes no snapshot: the first read does.
                    let begun = lease.control("SELECT 1").await;
                    match begun {
                        Ok(()) => Ok(lease),
                        Err(error) => go_home(lease, Err(error)),
                    }
                })
                .await?;
        } else {
            lease.begin(Access::Write);
        }
        let kind = if reads_only { Kind::Reads } else { Kind::Writes };
        Ok(session::open(lease, kind, Some((deadline, max_age)), max_age, location, Arc::clone(&self.counters)))
    }

    /// Lends a connection for as long as its holder likes, outside any transaction.
    pub(crate) async fn connection(&self, location: &'static Location<'static>) -> Result<SessionLink> {
        let lease = self.acquire(location).await?;
        Ok(session::open(lease, Kind::Pinned, None, self.session_max_age, location, Arc::clone(&self.counters)))
    }

    /// Loads rows into a table.
    pub(crate) async fn copy_in(
        &self,
        table: &str,
        columns: &[&str],
        rows: impl Iterator<Item = Params> + Send + 'static,
        location: &'static Location<'static>,
    ) -> Result<u64> {
        let table = qualified(table);
        let columns = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
        let mut lease = self.acquire(location).await?;
        let counters = Arc::clone(&self.counters);
        self.work(lease_watch(&lease), lease_deadline(&lease, self.session_max_age), async move {
            let outcome = lease.copy_in(&table, &columns, rows).await;
            count(&counters, &outcome);
            go_home(lease, outcome)
        })
        .await
    }

    /// Runs a command that takes no part in transactions.
    pub(crate) async fn maintain(&self, sql: &str, location: &'static Location<'static>) -> Result<()> {
        let step = Step::one(sql, Params::default());
        let mut tries = 0;
        loop {
            tries += 1;
            match self.unit(vec![step.clone()], Want::Count, location).await {
                // It lists all tables first, and one of them, perhaps another session's TEMP table, was dropped since.
                Err(error) if is_missing_table(&error) && tries < MAINTENANCE_TRIES => {}
                outcome => return outcome.map(drop),
            }
        }
    }

    /// Waits until what is under way has ended, up to the deadline, and closes all connections.
    pub(crate) async fn close(&self, patience: Duration) -> Result<()> {
        let closed = self.pool.close(patience).await;
        if let Err(error) = &closed {
            tracing::warn!(%error, "the database was closed while connections were lent");
        }
        closed.map_err(refused)
    }

    pub(crate) fn connections(&self) -> usize {
        self.pool.size()
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.counters.snapshot();
        stats.readers = self.pool.stats();
        stats.connections = stats.readers.size();
        stats.timeouts = stats.readers.timeouts;
        stats
    }

    /// The server, in words: where it is and its version.
    #[track_caller]
    pub(crate) fn describe(&self) -> impl Future<Output = Result<String>> + Send {
        let location = Location::caller();
        async move {
            let lease = self.acquire(location).await?;
            let facts = &lease.facts;
            let kind = if facts.in_recovery { "standby" } else { "primary" };
            let (host, port, database, user) = (&facts.host, facts.port, &facts.database, &lease.user);
            Ok(format!(
                "database {database} on {host}, port {port}, as {user}: PostgreSQL {}, {kind}",
                facts.server_version
            ))
        }
    }

    /// How the connection is encrypted, and for how long the server's certificate is good.
    #[track_caller]
    pub(crate) fn describe_encryption(&self) -> impl Future<Output = Result<String>> + Send {
        let location = Location::caller();
        async move {
            let lease = self.acquire(location).await?;
            let Some(tls) = &lease.facts.tls else {
                return Ok("none: whoever is on the way reads and changes what is sent".to_owned());
            };
            let days = (tls.not_after - time::OffsetDateTime::now_utc()).whole_days();
            let (protocol, cipher, peer) = (&tls.protocol, &tls.cipher, &tls.peer_name);
            Ok(format!("{protocol}, {cipher}, with {peer}, whose certificate is good for {days} days"))
        }
    }

    async fn acquire(&self, location: &'static Location<'static>) -> Result<Lease> {
        self.pool.acquire_at(location).await.map_err(refused)
    }

    async fn work<T: Send + 'static>(
        &self,
        watch: Arc<work::Watch>,
        deadline: Instant,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        Work::new(watch, work).until(deadline).await
    }
}

/// Opens one connection that belongs to one caller.
pub(crate) async fn connect_one(server: &Settings, settings: &config::Settings) -> Result<SessionLink> {
    let pool = settings.pool.clone().min_size(0).max_size(1);
    let postgres = Postgres::open(server, &config::Settings { pool, ..settings.clone() }).await?;
    postgres.connection(Location::caller()).await
}

fn lease_watch(lease: &Lease) -> Arc<work::Watch> {
    Arc::clone(lease.watch())
}

fn lease_deadline(lease: &Lease, max_age: Duration) -> Instant {
    lease.lent_at() + max_age
}

/// Counts a unit that has ended.
fn count<T>(counters: &Counters, outcome: &Result<T>) {
    match outcome {
        Ok(_) => counters.group_committed(1),
        Err(_) => counters.unit_failed(),
    }
}

/// Brings a connection home, before its borrower is told the outcome; when that says that all connections of its generation
/// are not what they were, those are closed.
fn go_home<T>(lease: Lease, outcome: Result<T>) -> Result<T> {
    if outcome.as_ref().is_err_and(ends_generation) {
        lease.end_generation();
    }
    drop(lease);
    outcome
}

impl connection::Connection {
    /// Runs statements that take effect together. They are known as a whole, so a conflict with another transaction is no
    /// concern of the caller's: they are done again.
    async fn run_unit(&mut self, steps: &[Step], want: Want, tenure: Tenure) -> Result<Vec<Answer>> {
        let mut tries = 0;
        loop {
            match self.try_unit(steps, want, tenure).await {
                Err(error) if error.is_retryable() && tries < TRANSACTION_RETRIES && !self.watch().is_stopping() => {
                    tries += 1;
                    tokio::time::sleep(back_off(tries)).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn try_unit(&mut self, steps: &[Step], want: Want, tenure: Tenure) -> Result<Vec<Answer>> {
        if let [step] = steps
            && matches!(step.params, ParamSets::One(_))
        {
            return self.run_alone(step, want, tenure).await.map(|answer| vec![answer]);
        }
        self.begin(Access::Write);
        let outcome = match self.run(steps, want, tenure).await {
            Ok(_) if self.watch().is_stopping() => Err(crate::Error::Cancelled),
            outcome => outcome,
        };
        match outcome {
            Ok(answers) => self.commit().await.map(|()| answers),
            Err(error) => {
                // The connection is closed when it cannot roll back.
                if let Err(undoing) = self.roll_back().await {
                    tracing::debug!(error = %undoing, "a unit could not be rolled back; its connection is closed");
                }
                Err(error)
            }
        }
    }
}
