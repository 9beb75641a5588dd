//! The start-up check: can this database be used, and if not, what is to be done?

use std::fmt;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use crate::database::Database;
use crate::engine::{Dialect, Engine};
use crate::error::{Error, QueryErrorKind, Result};
use crate::params;
use crate::rights::{RIGHTS, Rights};

/// Beyond it tokens, and certificates just issued, are refused. AWS signs for five minutes.
const CLOCK_TOLERANCE: time::Duration = time::Duration::minutes(5);

/// How many tables and views there are to be seen.
const VISIBLE: &str = "SELECT count(*) FROM pg_catalog.pg_class \
     WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND pg_catalog.pg_table_is_visible(oid) \
     AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)";

/// What [`Database::check`](crate::Database::check) found, step by step, up to the first failure.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The steps that were tried, in order.
    pub steps: Vec<Checked>,
}

/// One step of the check.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Checked {
    /// What was tried, such as `connection`.
    pub name: &'static str,
    /// What was found, for people; or the failure.
    pub outcome: Result<String>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Whether every step succeeded.
    pub fn is_ok(&self) -> bool {
        self.failure().is_none()
    }

    /// The failure that ended the check.
    pub fn failure(&self) -> Option<&Error> {
        self.steps.iter().find_map(|step| step.outcome.as_ref().err())
    }
}

/// One line a step.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match &step.outcome {
                Ok(found) => writeln!(f, "ok      {:<12} {found} ({:.1?})", step.name, step.took)?,
                Err(error) => writeln!(f, "failed  {:<12} {error}", step.name)?,
            }
        }
        Ok(())
    }
}

pub(crate) async fn run(database: &Database) -> Report {
    let mut report = Report { steps: Vec::new() };
    let _ = report.fill(database).await;
    report
}

impl Report {
    /// Of a check that could not even begin.
    pub(crate) fn not_begun(error: Error) -> Self {
        Report { steps: vec![Checked { name: "connection", outcome: Err(error), took: Duration::ZERO }] }
    }

    /// Stops at the first failure, which is then the last step.
    async fn fill(&mut self, database: &Database) -> Option<()> {
        let began = Instant::now();
        let connected = database.ensure_connected().await;
        // The source is not asked a second time: a command may want somebody to type or touch something.
        if let Some((name, source)) = database.config().settings().secret() {
            match &connected {
                Err(error @ Error::Credential { .. }) => self.note(name, began, Err(error.clone()))?,
                // It was not asked, or that is not known.
                Err(Error::Closed | Error::PoolExhausted { .. } | Error::Config { .. }) => {}
                _ => self.note(name, began, Ok(format!("{source} answered")))?,
            }
        }
        self.step("connection", async {
            connected?;
            let server = match database.engine().await? {
                Engine::Sqlite(_) => String::new(),
                Engine::Postgres(postgres) => format!(", to {}", postgres.describe().await?),
            };
            Ok(format!("{} open{server}", database.pool_size()))
        })
        .await?;
        if database.engine().await.is_ok_and(|engine| engine.dialect() == Dialect::Postgres) {
            self.fill_for_server(database).await?;
        } else {
            self.fill_for_file(database).await?;
        }
        self.step("schema", async {
            match database.config().schema() {
                Some((migrations, _)) => {
                    migrations.ensure(database.engine().await?, false, false).await?;
                    Ok(format!("version {}, up to date", migrations.version()))
                }
                None => Ok("not managed here".to_owned()),
            }
        })
        .await
    }

    async fn fill_for_file(&mut self, database: &Database) -> Option<()> {
        self.step("encryption", async {
            if !database.is_encrypted() {
                return Ok("none: anyone who reads the file reads the data".to_owned());
            }
            Ok(format!("SQLCipher {}", crate::sqlcipher_version()?))
        })
        .await?;
        self.step("session", async {
            let mut session = database.session().await?;
            session.execute("CREATE TABLE strongroom_check (id INTEGER)", params![]).await?;
            session.rollback().await?;
            Ok("writes and rolls back".to_owned())
        })
        .await?;
        self.step("snapshot", async {
            let mut session = database.read_session().await?;
            let pages: i64 = session.fetch_value("PRAGMA page_count", params![]).await?.unwrap_or(0);
            Ok(format!("reads; {pages} pages"))
        })
        .await
    }

    async fn fill_for_server(&mut self, database: &Database) -> Option<()> {
        self.step("encryption", async {
            match database.engine().await? {
                Engine::Postgres(postgres) => postgres.describe_encryption().await,
                Engine::Sqlite(_) => Ok(String::new()),
            }
        })
        .await?;
        self.step("session", async {
            let mut session = database.session().await?;
            let rights = Rights::from_row(&session.fetch_one(RIGHTS, params![]).await?)?;
            session.rollback().await?;
            if rights.is_read_only {
                return Err(Error::query(
                    QueryErrorKind::ReadOnly,
                    "the server takes no writes: it is a standby, or set to read-only; name the primary, \
                     or all hosts with target_session_attrs=read-write",
                ));
            }
            let schema = rights.schema().map_err(|reason| Error::query(QueryErrorKind::Other, reason))?;
            let may = if rights.creation().is_ok() { "may" } else { "may not" };
            Ok(format!("writes, as role {}, which {may} create tables in schema {schema}", rights.role))
        })
        .await?;
        self.step("snapshot", async {
            let mut session = database.read_session().await?;
            let relations: i64 = session.fetch_value(VISIBLE, params![]).await?.unwrap_or(0);
            Ok(format!("reads; {relations} tables and views"))
        })
        .await?;
        self.step("clock", async {
            let asked = OffsetDateTime::now_utc();
            let server: Option<OffsetDateTime> = database.fetch_value("SELECT clock_timestamp()", params![]).await?;
            let answered = OffsetDateTime::now_utc();
            // The server looked at its clock somewhere between the two.
            let here = asked + (answered - asked) / 2;
            let ahead = here - server.unwrap_or(here);
            let off = format!("{:.3} s", ahead.as_seconds_f64().abs());
            if ahead.abs() > CLOCK_TOLERANCE {
                return Err(Error::Connection {
                    database: database.config().settings().name(),
                    reason: format!("this machine's clock and the server's differ by {off}; set both by NTP"),
                    passing: false,
                    source: None,
                });
            }
            Ok(format!("{off} {} the server's", if ahead.is_negative() { "behind" } else { "ahead of" }))
        })
        .await
    }

    async fn step(&mut self, name: &'static str, work: impl Future<Output = Result<String>>) -> Option<()> {
        let began = Instant::now();
        let outcome = work.await;
        self.note(name, began, outcome)
    }

    fn note(&mut self, name: &'static str, began: Instant, outcome: Result<String>) -> Option<()> {
        let took = began.elapsed();
        let took_ms = (took.as_secs_f64() * 1e6).round() / 1e3;
        match &outcome {
            Ok(found) => tracing::info!(step = name, found, took_ms, "check"),
            Err(error) => tracing::error!(step = name, error = %error, took_ms, "check"),
        }
        let succeeded = outcome.is_ok();
        self.steps.push(Checked { name, outcome, took });
        succeeded.then_some(())
    }
}
