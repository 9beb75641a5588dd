//! The engine behind a handle: which of the two serves it.

use std::panic::Location;
use std::path::PathBuf;
use std::time::Duration;

use crate::backup::OnProgress;
use crate::batch::{Answer, Step, Want};
use crate::config::{Settings, Target};
use crate::error::{Error, Result};
use crate::key::KeySource;
use crate::link::SessionLink;
use crate::postgres::Postgres;
use crate::row::Row;
use crate::sqlite::Sqlite;
use crate::stats::Stats;
use crate::stream::Rows;
use crate::value::Params;

/// An open database.
pub(crate) enum Engine {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// Which SQL an engine understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite's.
    Sqlite,
    /// PostgreSQL's.
    Postgres,
}

impl Engine {
    pub(crate) async fn open(settings: &Settings) -> Result<Self> {
        match &settings.target {
            Target::File(_) | Target::Memory => Sqlite::open(settings).await.map(Engine::Sqlite),
            Target::Server(server) => Postgres::open(server, settings).await.map(Engine::Postgres),
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Engine::Sqlite(_) => Dialect::Sqlite,
            Engine::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs statements as one unit, durable when this returns.
    pub(crate) async fn unit(
        &self,
        steps: Vec<Step>,
        want: Want,
        location: &'static Location<'static>,
    ) -> Result<Vec<Answer>> {
        match self {
            Engine::Sqlite(sqlite) => sqlite.unit(steps, want, location).await,
            Engine::Postgres(postgres) => Box::pin(postgres.unit(steps, want, location)).await,
        }
    }

    /// Runs a query and answers its first rows.
    pub(crate) async fn fetch(
        &self,
        step: Step,
        at_most: usize,
        location: &'static Location<'static>,
    ) -> Result<Vec<Row>> {
        match self {
            Engine::Sqlite(sqlite) => sqlite.fetch(step, at_most, location).await,
            // Boxed, so that the future of SQLite's quick read, which is moved several times, stays small.
            Engine::Postgres(postgres) => Box::pin(postgres.fetch(step, at_most, location)).await,
        }
    }

    pub(crate) async fn stream(&self, step: Step, location: &'static Location<'static>) -> Result<Rows> {
        match self {
            Engine::Sqlite(sqlite) => sqlite.stream(step, location).await,
            Engine::Postgres(postgres) => postgres.stream(step, location).await,
        }
    }

    /// Opens a session. It ends at `max_age`, by default the settings'.
    pub(crate) async fn session(
        &self,
        reads_only: bool,
        max_age: Option<Duration>,
        location: &'static Location<'static>,
    ) -> Result<SessionLink> {
        match self {
            Engine::Sqlite(sqlite) => sqlite.session(reads_only, max_age, location).await.map(SessionLink::Sqlite),
            Engine::Postgres(postgres) => {
                postgres.session(reads_only, max_age, location).await.map(SessionLink::Postgres)
            }
        }
    }

    pub(crate) async fn connection(&self, location: &'static Location<'static>) -> Result<SessionLink> {
        match self {
            Engine::Sqlite(sqlite) => sqlite.connection(location).await.map(SessionLink::Sqlite),
            Engine::Postgres(postgres) => postgres.connection(location).await.map(SessionLink::Postgres),
        }
    }

    /// Loads rows into a table, all or none.
    pub(crate) async fn copy_in(
        &self,
        table: &str,
        columns: &[&str],
        rows: impl Iterator<Item = Params> + Send + 'static,
        location: &'static Location<'static>,
    ) -> Result<u64> {
        match self {
            Engine::Sqlite(sqlite) => {
                let step = Step::many(&insert_into(table, columns), rows.collect());
                let answers = sqlite.unit(vec![step], Want::Count, location).await?;
                Ok(answers.iter().map(|answer| answer.affected).sum())
            }
            Engine::Postgres(postgres) => postgres.copy_in(table, columns, rows, location).await,
        }
    }

    pub(crate) async fn table_exists(&self, name: String, location: &'static Location<'static>) -> Result<bool> {
        let sql = match self {
            Engine::Sqlite(_) => {
                "SELECT 1 FROM sqlite_schema WHERE type IN ('table', 'view') AND name = $1 COLLATE NOCASE"
            }
            Engine::Postgres(_) => crate::postgres::TABLE_EXISTS,
        };
        Ok(!self.fetch(Step::one(sql, crate::params![name]), 1, location).await?.is_empty())
    }

    pub(crate) async fn backup(
        &self,
        to: PathBuf,
        on_progress: OnProgress,
        location: &'static Location<'static>,
    ) -> Result<()> {
        self.sqlite("backup", "use pg_basebackup or pg_dump")?.backup(to, on_progress, location).await
    }

    pub(crate) async fn rekey(
        &self,
        encrypted: bool,
        key: KeySource,
        on_progress: OnProgress,
        location: &'static Location<'static>,
    ) -> Result<()> {
        let what_else = "a server's files are encrypted by its own means";
        self.sqlite(if encrypted { "rekey" } else { "encrypt" }, what_else)?
            .rekey(encrypted, key, on_progress, location)
            .await
    }

    pub(crate) async fn vacuum(&self, location: &'static Location<'static>) -> Result<()> {
        match self {
            Engine::Sqlite(sqlite) => sqlite.vacuum(location).await,
            Engine::Postgres(postgres) => postgres.maintain("VACUUM", location).await,
        }
    }

    pub(crate) async fn optimize(&self, location: &'static Location<'static>) -> Result<()> {
        match self {
            Engine::Sqlite(sqlite) => sqlite.optimize(location).await,
            Engine::Postgres(postgres) => postgres.maintain("ANALYZE", location).await,
        }
    }

    /// A server empties its log by itself; a client has no part in it.
    pub(crate) async fn checkpoint(&self, location: &'static Location<'static>) -> Result<bool> {
        match self {
            Engine::Sqlite(sqlite) => sqlite.checkpoint(location).await,
            Engine::Postgres(_) => Ok(true),
        }
    }

    pub(crate) async fn close(&self, patience: Duration) -> Result<()> {
        match self {
            Engine::Sqlite(sqlite) => sqlite.close(patience).await,
            Engine::Postgres(postgres) => postgres.close(patience).await,
        }
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self, Engine::Sqlite(sqlite) if sqlite.is_encrypted())
    }

    pub(crate) fn connections(&self) -> usize {
        match self {
            Engine::Sqlite(sqlite) => sqlite.connections(),
            Engine::Postgres(postgres) => postgres.connections(),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        match self {
            Engine::Sqlite(sqlite) => sqlite.stats(),
            Engine::Postgres(postgres) => postgres.stats(),
        }
    }

    fn sqlite(&self, method: &str, what_else: &str) -> Result<&Sqlite> {
        match self {
            Engine::Sqlite(sqlite) => Ok(sqlite),
            Engine::Postgres(_) => {
                Err(Error::config(method, format!("it is for a database file, and this is a server: {what_else}")))
            }
        }
    }
}

/// The statement that inserts one row.
fn insert_into(table: &str, columns: &[&str]) -> String {
    let names: Vec<_> = columns.iter().map(|column| quoted(column)).collect();
    let values: Vec<_> = (1..=columns.len()).map(|number| format!("${number}")).collect();
    format!("INSERT INTO {} ({}) VALUES ({})", qualified(table), names.join(", "), values.join(", "))
}

/// A table's name as SQL, each part quoted: `public.entry` has two.
pub(crate) fn qualified(table: &str) -> String {
    table.split('.').map(quoted).collect::<Vec<_>>().join(".")
}

/// A name as SQL: exactly this, whatever letters are in it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
