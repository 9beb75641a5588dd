//! The start-up check: can this database be used, and if not, what is to be done?

use std::fmt;
use std::time::{Duration, Instant};

use crate::database::Database;
use crate::error::{Error, Result};
use crate::params;

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
        if let Some(source) = database.config().key_source() {
            let answered = match &connected {
                Err(error @ Error::Credential { .. }) => Err(error.clone()),
                _ => Ok(format!("{source} answered")),
            };
            self.note("key", began, answered)?;
        }
        self.note("connection", began, connected.map(|()| format!("{} open", database.pool_size())))?;
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
        .await?;
        self.step("schema", async {
            match database.config().schema() {
                Some((migrations, _)) => {
                    migrations.ensure(database.engine().await?, false).await?;
                    Ok(format!("version {}, up to date", migrations.version()))
                }
                None => Ok("not managed here".to_owned()),
            }
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
        match &outcome {
            Ok(found) => tracing::info!(step = name, found, took_ms = took.as_secs_f64() * 1e3, "check"),
            Err(error) => tracing::error!(step = name, error = %error, took_ms = took.as_secs_f64() * 1e3, "check"),
        }
        let succeeded = outcome.is_ok();
        self.steps.push(Checked { name, outcome, took });
        succeeded.then_some(())
    }
}
