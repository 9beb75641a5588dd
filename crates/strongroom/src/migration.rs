//! Migrations: bringing a database's schema to what the program needs, one recorded step at a time.
//!
//! Start from [`Migrations`]. Terms: a *migration* has a version and a file of *steps*, each one statement. A step and the
//! note that it is done are one transaction, which first looks what is to be done next. So an interrupted migration goes on
//! where it stopped, and several processes may migrate at once: SQLite's write lock puts their steps in a row.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::batch::{Step, Want};
use crate::engine::{Dialect, Engine};
use crate::error::{Error, Result};
use crate::row::Row;
use crate::session::Session;
use crate::value::Params;

/// The line that begins a step in a migration's file.
const STEP_MARK: &str = "-- step:";

/// A step may rewrite a large table, and nothing else is to be done before it has.
const STEP_MAX_AGE: Duration = Duration::from_secs(24 * 3600);

const HISTORY: &str = "CREATE TABLE IF NOT EXISTS strongroom_migration (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL, -- SHA-256 of the migration's text
    steps INTEGER NOT NULL,
    steps_done INTEGER NOT NULL,
    begun_at INTEGER NOT NULL,
    finished_at INTEGER -- NULL until the last step is done
)";

const RECORDED: &str = "SELECT version, name, checksum, steps, steps_done FROM strongroom_migration ORDER BY version";

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

    /// Name and statement of each step.
    fn steps(&self) -> Vec<(&'static str, &'static str)> {
        let mut begins: Vec<usize> = Vec::new();
        let mut at = 0;
        for line in self.sql.split_inclusive('\n') {
            if line.trim_start().starts_with(STEP_MARK) {
                begins.push(at);
            }
            at += line.len();
        }
        let ends = begins.iter().skip(1).copied().chain([self.sql.len()]);
        begins
            .iter()
            .zip(ends)
            .map(|(begin, end)| {
                let step = self.sql[*begin..end].trim_start();
                let (name, sql) = step.split_once('\n').unwrap_or((step, ""));
                (name[STEP_MARK.len()..].trim(), sql.trim())
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

    /// Refuses a list that is not in order, and a migration without steps.
    pub(crate) fn validate(&self) -> Result<()> {
        for (migration, expected) in self.list.iter().zip(1..) {
            let refused = |reason: String| Err(Error::config("migrations", reason));
            if migration.version != expected {
                return refused(format!("{} stands where version {expected} is expected", migration.describe()));
            }
            let steps = migration.steps();
            if steps.is_empty() {
                return refused(format!("{} has no line `{STEP_MARK} …`", migration.describe()));
            }
            if let Some((name, _)) = steps.iter().find(|(_, sql)| sql.is_empty()) {
                return refused(format!("{}, step {name}, is empty", migration.describe()));
            }
        }
        Ok(())
    }

    /// Compares the database with the program and, if told so, brings it up to date.
    pub(crate) async fn ensure(&self, engine: &Engine, migrate: bool) -> Result<()> {
        let recorded = recorded(engine).await?;
        let missing = self.missing(&recorded)?;
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
        if recorded.is_empty() && is_foreign(engine).await? {
            return Err(Error::migration(
                "the database holds tables that no migration of this program made: it is another program's; nothing was \
                 changed",
            ));
        }
        let history = vec![Step::one(HISTORY, Params::default())];
        engine.unit(history, Want::Count, Location::caller()).await?;
        while self.do_next_step(engine).await? {}
        Ok(())
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

    /// Does the first step that is not done; `false` when there is none left.
    async fn do_next_step(&self, engine: &Engine) -> Result<bool> {
        let mut session = Session::new(engine.session(false, Some(STEP_MAX_AGE), Location::caller()).await?);
        // Read under the write lock: another process may have done steps meanwhile.
        let rows = session.fetch_all(RECORDED, Params::default()).await?;
        let recorded: Vec<Recorded> = rows.iter().map(Recorded::from_row).collect::<Result<_>>()?;
        self.missing(&recorded)?;
        let next = self.list.iter().find_map(|migration| {
            let record = recorded.iter().find(|record| record.version == migration.version);
            let done = record.map_or(0, |record| record.steps_done as usize);
            let steps = migration.steps();
            steps.get(done).map(|(name, sql)| (migration, done, steps.len(), *name, *sql))
        });
        let Some((migration, done, steps, name, sql)) = next else {
            session.rollback().await?;
            return Ok(false);
        };
        tracing::info!(version = migration.version, migration = migration.name, step = name, "migrating");
        let stepped = async {
            session.execute(sql, Params::default()).await?;
            migration.note(&mut session, done + 1, steps).await?;
            session.commit().await
        };
        stepped.await.map(|()| true).map_err(|error| Error::Migration {
            reason: format!("{}, step {} ({name}) failed", migration.describe(), done + 1),
            source: Some(Arc::new(error)),
        })
    }
}

impl Migration {
    /// Notes how many steps are done.
    async fn note(&self, session: &mut Session, done: usize, steps: usize) -> Result<()> {
        let now = OffsetDateTime::now_utc();
        let finished = (done == steps).then_some(now);
        session
            .execute(
                "INSERT INTO strongroom_migration (version, name, checksum, steps, steps_done, begun_at, finished_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (version) DO UPDATE SET
                     steps_done = excluded.steps_done, finished_at = excluded.finished_at",
                crate::params![self.version, self.name, self.checksum(), steps as i64, done as i64, now, finished],
            )
            .await
            .map(drop)
    }
}

/// Whether there is anything in the database that this runner has not begun.
async fn is_foreign(engine: &Engine) -> Result<bool> {
    let sql = "SELECT 1 FROM sqlite_schema \
               WHERE NOT EXISTS (SELECT 1 FROM sqlite_schema AS own WHERE own.name = 'strongroom_migration')";
    Ok(!engine.fetch(Step::one(sql, Params::default()), 1, Location::caller()).await?.is_empty())
}

/// What the database records of its migrations; nothing when it has none.
async fn recorded(engine: &Engine) -> Result<Vec<Recorded>> {
    let fetch = |sql| engine.fetch(Step::one(sql, Params::default()), usize::MAX, Location::caller());
    if fetch("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'strongroom_migration'").await?.is_empty() {
        return Ok(Vec::new());
    }
    let rows = fetch(RECORDED).await?;
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
