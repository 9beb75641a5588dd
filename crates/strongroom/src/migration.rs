//! Migrations: bringing a database's schema to what the program needs, one recorded step at a time.
//!
//! Start from [`Migrations`]. Terms: a *migration* has a version and a file of *steps*, each one statement. A step and the
//! note that it is done are committed together, so that an interrupted migration goes on where it stopped. A *lease* in the
//! database keeps other processes away meanwhile; it runs out by itself when its holder dies.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::batch::Step;
use crate::error::{Error, Result};
use crate::row::Row;
use crate::session::Session;
use crate::sqlite::Sqlite;
use crate::value::Params;

/// How long a lease lasts without being renewed; each step renews it.
const LEASE: Duration = Duration::from_secs(60);

/// The pause between two tries to get the lease.
const LEASE_RETRY: Duration = Duration::from_millis(100);

/// The line that begins a step in a migration's file.
const STEP_MARK: &str = "-- step:";

/// The schema that a program needs: its migrations in order of their versions.
///
/// ```
/// use strongroom::{Migration, Migrations};
///
/// static MIGRATIONS: Migrations = Migrations::new(&[Migration::new(
///     1,
///     "initial",
///     "-- step: users
///      CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
///      -- step: find users by name
///      CREATE INDEX users_name ON users (name);",
/// )]);
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> strongroom::Result<()> {
/// let db = strongroom::Config::memory().migrations(&MIGRATIONS).connect().await?;
/// assert!(db.table_exists("users").await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Migrations {
    list: &'static [Migration],
}

/// One change of the schema. Once released it is never edited: a database that has it refuses another text of it.
#[derive(Debug)]
pub struct Migration {
    version: u32,
    name: &'static str,
    sql: &'static str,
}

impl Migration {
    /// A migration: its version (from 1, without gaps), a name for people, and its steps. Each step begins with a line
    /// `-- step: what it does` and holds one statement.
    pub const fn new(version: u32, name: &'static str, sql: &'static str) -> Self {
        Migration { version, name, sql }
    }

    fn steps(&self) -> Vec<(&'static str, &'static str)> {
        self.sql
            .split(STEP_MARK)
            .skip(1)
            .map(|step| {
                let (name, sql) = step.split_once('\n').unwrap_or((step, ""));
                (name.trim(), sql.trim())
            })
            .collect()
    }

    fn checksum(&self) -> String {
        Sha256::digest(self.sql.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn describe(&self) -> String {
        format!("migration {} ({})", self.version, self.name)
    }
}

/// What the database's record says of one migration.
struct Recorded {
    version: u32,
    name: String,
    checksum: String,
    steps: u32,
    steps_done: u32,
}

impl Migrations {
    /// The migrations in order.
    pub const fn new(list: &'static [Migration]) -> Self {
        Migrations { list }
    }

    /// The newest version; 0 without any migration.
    pub fn version(&self) -> u32 {
        self.list.last().map_or(0, |migration| migration.version)
    }

    /// Compares the database with the program and, if told so, brings it up to date.
    pub(crate) async fn ensure(&self, engine: &Sqlite, migrate: bool) -> Result<()> {
        let missing = self.missing(&recorded(engine).await?)?;
        if missing == 0 {
            return Ok(());
        }
        if !migrate {
            return Err(Error::migration(format!(
                "the database lacks {missing} of the {} migrations that this program needs, and migrating is switched off; \
                 migrate it with the program that manages it",
                self.list.len()
            )));
        }
        self.apply(engine).await
    }

    /// How many migrations are missing or unfinished.
    ///
    /// # Errors
    ///
    /// [`Migration`](Error::Migration) when the database has one that this program does not know, or knows otherwise.
    fn missing(&self, recorded: &[Recorded]) -> Result<usize> {
        for record in recorded {
            let Some(migration) = self.list.iter().find(|migration| migration.version == record.version) else {
                return Err(Error::migration(format!(
                    "the database has migration {} ({}), which this program does not know (its newest is {}): \
                     it was written by a newer version; use that one",
                    record.version,
                    record.name,
                    self.version()
                )));
            };
            if migration.checksum() != record.checksum {
                return Err(Error::migration(format!(
                    "{} in the database is not the one in this program: their texts differ; a released migration must \
                     never be edited",
                    migration.describe()
                )));
            }
        }
        let finished = recorded.iter().filter(|record| record.steps_done == record.steps).count();
        Ok(self.list.len() - finished)
    }

    async fn apply(&self, engine: &Sqlite) -> Result<()> {
        for sql in [
            "CREATE TABLE IF NOT EXISTS strongroom_migration (
                 version INTEGER PRIMARY KEY,
                 name TEXT NOT NULL,
                 checksum TEXT NOT NULL, -- SHA-256 of the migration's text
                 steps INTEGER NOT NULL,
                 steps_done INTEGER NOT NULL,
                 begun_at INTEGER NOT NULL,
                 finished_at INTEGER
             )",
            "CREATE TABLE IF NOT EXISTS strongroom_migration_lease (
                 id INTEGER PRIMARY KEY CHECK (id = 1),
                 holder BLOB NOT NULL,
                 expires_at INTEGER NOT NULL
             )",
        ] {
            engine.unit(vec![Step::one(sql, Params::default())], crate::sqlite::Want::Count).await?;
        }
        let holder = Uuid::now_v7();
        loop {
            let mut session = open(engine).await?;
            if renew_lease(&mut session, holder).await? {
                session.commit().await?;
                break;
            }
            session.rollback().await?;
            tracing::info!("another process migrates this database; waiting for it");
            tokio::time::sleep(LEASE_RETRY).await;
        }
        let outcome = self.apply_missing(engine, holder).await;
        // Without it the lease would run out by itself; the outcome matters more than this error.
        let release = Step::one("DELETE FROM strongroom_migration_lease WHERE holder = $1", crate::params![holder]);
        if let Err(error) = engine.unit(vec![release], crate::sqlite::Want::Count).await {
            tracing::warn!(error = %error, "the migration lease could not be given back; it runs out in {LEASE:?}");
        }
        outcome
    }

    async fn apply_missing(&self, engine: &Sqlite, holder: Uuid) -> Result<()> {
        // Read again: another process may have finished the work while this one waited.
        let recorded = recorded(engine).await?;
        self.missing(&recorded)?;
        for migration in self.list {
            let record = recorded.iter().find(|record| record.version == migration.version);
            let steps = migration.steps();
            let done = record.map_or(0, |record| record.steps_done as usize);
            if record.is_some() && done == steps.len() {
                continue;
            }
            tracing::info!(version = migration.version, name = migration.name, "migrating");
            for (index, (name, sql)) in steps.iter().enumerate().skip(done) {
                migration.apply_step(engine, holder, index, steps.len(), sql).await.map_err(|error| {
                    Error::Migration {
                        reason: format!("{}, step {} ({name}) failed", migration.describe(), index + 1),
                        source: Some(Arc::new(error)),
                    }
                })?;
            }
        }
        Ok(())
    }
}

impl Migration {
    /// Runs one step and notes it, in one commit.
    async fn apply_step(&self, engine: &Sqlite, holder: Uuid, index: usize, steps: usize, sql: &str) -> Result<()> {
        let mut session = open(engine).await?;
        if !renew_lease(&mut session, holder).await? {
            return Err(Error::migration("the lease was lost to another process, which took longer than its time"));
        }
        session.execute(sql, Params::default()).await?;
        let now = OffsetDateTime::now_utc();
        let finished = (index + 1 == steps).then_some(now);
        session
            .execute(
                "INSERT INTO strongroom_migration (version, name, checksum, steps, steps_done, begun_at, finished_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (version) DO UPDATE SET steps_done = excluded.steps_done, finished_at = excluded.finished_at",
                crate::params![
                    self.version,
                    self.name,
                    self.checksum(),
                    steps as i64,
                    index as i64 + 1,
                    now,
                    finished
                ],
            )
            .await?;
        session.commit().await
    }
}

async fn open(engine: &Sqlite) -> Result<Session> {
    Ok(Session::new(engine.session(false, Location::caller()).await?))
}

/// Takes the lease if it is free or this holder's; `false` when it is another's.
async fn renew_lease(session: &mut Session, holder: Uuid) -> Result<bool> {
    let now = OffsetDateTime::now_utc();
    let affected = session
        .execute(
            "INSERT INTO strongroom_migration_lease (id, holder, expires_at) VALUES (1, $1, $2)
             ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
             WHERE strongroom_migration_lease.holder = $1 OR strongroom_migration_lease.expires_at < $3",
            crate::params![holder, now + LEASE, now],
        )
        .await?;
    Ok(affected == 1)
}

/// What the database records of its migrations; nothing when it has none.
async fn recorded(engine: &Sqlite) -> Result<Vec<Recorded>> {
    let fetch = |sql| engine.fetch(Step::one(sql, Params::default()), usize::MAX, Location::caller());
    if fetch("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'strongroom_migration'").await?.is_empty() {
        return Ok(Vec::new());
    }
    let rows =
        fetch("SELECT version, name, checksum, steps, steps_done FROM strongroom_migration ORDER BY version").await?;
    rows.iter().map(Recorded::from_row).collect()
}

impl Recorded {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Recorded {
            version: row.get(0)?,
            name: row.get(1)?,
            checksum: row.get(2)?,
            steps: row.get(3)?,
            steps_done: row.get(4)?,
        })
    }
}
