//! Migrations: bringing a database's schema to what the program needs, one recorded step at a time.
//!
//! Start from [`Migrations`]. Terms: a *migration* has a version and a file of *steps*, each one statement. A step and the
//! note that it is done are one transaction, which first looks what is to be done next. So an interrupted migration goes on
//! where it stopped, and several processes may migrate at once: SQLite's write lock, and on PostgreSQL that of the one row of
//! `strongroom_migration_lock`, which each step changes, put their steps in a row. Whoever crashes holds no lock any more.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::batch::{Step, Want};
use crate::engine::{Dialect, Engine};
use crate::error::{Error, Result};
use crate::rights::{RIGHTS, Rights};
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

const SERVER_HISTORY: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS strongroom_migration (
        version INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        checksum TEXT NOT NULL,
        steps INTEGER NOT NULL,
        steps_done INTEGER NOT NULL,
        begun_at TIMESTAMPTZ NOT NULL,
        finished_at TIMESTAMPTZ
    )",
    "CREATE TABLE IF NOT EXISTS strongroom_migration_lock (id INTEGER PRIMARY KEY, steps BIGINT NOT NULL)",
    "INSERT INTO strongroom_migration_lock (id, steps) VALUES (1, 0) ON CONFLICT (id) DO NOTHING",
];

/// A step waits for another process's for as long as that takes, whatever limits the settings have for the program's work.
const SERVER_LIMITS: &str = "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0";

/// Waits for the step that another process does, if one does: whoever comes second fails with a conflict, and looks anew.
const SERVER_LOCK: &str = "UPDATE strongroom_migration_lock SET steps = steps + 1 WHERE id = 1";

/// Tries to do one step, each after another process has done one; and to make the history's tables.
const TRIES: u32 = 1_000;

/// Pause between two of them.
const PAUSE: Duration = Duration::from_millis(10);

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
    postgres: Option<&'static str>,
}

impl Migration {
    /// A migration: its version (from 1, without gaps), a name for people, and its steps. Each step begins with a line
    /// `-- step: what it does` and holds one statement.
    pub const fn new(version: u32, name: &'static str, sql: &'static str) -> Self {
        Migration { version, name, sql, postgres: None }
    }

    /// The text for PostgreSQL, where that differs: [`new`](Self::new)'s is SQLite's then. Version and name are the same. Where
    /// one of the two needs no change, its text is empty.
    ///
    /// ```
    /// # use strongroom::Migration;
    /// const INITIAL: Migration = Migration::new(1, "initial", "-- step: t\nCREATE TABLE t (id BLOB PRIMARY KEY)")
    ///     .on_postgres("-- step: t\nCREATE TABLE t (id uuid PRIMARY KEY)");
    /// ```
    pub const fn on_postgres(mut self, sql: &'static str) -> Self {
        self.postgres = Some(sql);
        self
    }

    fn sql(&self, dialect: Dialect) -> &'static str {
        match (dialect, self.postgres) {
            (Dialect::Postgres, Some(sql)) => sql,
            _ => self.sql,
        }
    }

    /// Whether it has a text for this dialect.
    fn concerns(&self, dialect: Dialect) -> bool {
        !self.sql(dialect).trim().is_empty()
    }

    /// Name and statement of each step.
    fn steps(&self, dialect: Dialect) -> Vec<(&'static str, &'static str)> {
        let text = self.sql(dialect);
        let mut begins: Vec<usize> = Vec::new();
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            if line.trim_start().starts_with(STEP_MARK) {
                begins.push(at);
            }
            at += line.len();
        }
        let ends = begins.iter().skip(1).copied().chain([text.len()]);
        begins
            .iter()
            .zip(ends)
            .map(|(begin, end)| {
                let step = text[*begin..end].trim_start();
                let (name, sql) = step.split_once('\n').unwrap_or((step, ""));
                (name[STEP_MARK.len()..].trim(), sql.trim())
            })
            .collect()
    }

    fn checksum(&self, dialect: Dialect) -> String {
        Sha256::digest(self.sql(dialect).as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
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
            let dialects = [Dialect::Sqlite, Dialect::Postgres];
            let concerns_one = dialects.iter().any(|dialect| migration.concerns(*dialect));
            for dialect in dialects {
                let steps = migration.steps(dialect);
                if steps.is_empty() && (migration.concerns(dialect) || !concerns_one) {
                    return refused(format!("{} has no line `{STEP_MARK} …`", migration.describe()));
                }
                if let Some((name, _)) = steps.iter().find(|(_, sql)| sql.is_empty()) {
                    return refused(format!("{}, step {name}, is empty", migration.describe()));
                }
            }
        }
        Ok(())
    }

    /// Compares the database with the program and, if told so, brings it up to date.
    ///
    /// Without `create` a server's database that has none of the migrations gets none: it may be the wrong one.
    pub(crate) async fn ensure(&self, engine: &Engine, migrate: bool, create: bool) -> Result<()> {
        let recorded = recorded(engine).await?;
        let missing = self.missing(&recorded, engine.dialect())?;
        if missing == 0 {
            return Ok(());
        }
        let rights = rights(engine).await?;
        if let Some(rights) = &rights {
            // Without a schema, tables that are there look as if they were missing.
            rights.schema().map_err(Error::migration)?;
        }
        if !migrate {
            return Err(Error::migration(format!(
                "the database lacks {missing} of the {} migrations that this program needs, and migrating is switched off; \
                 migrate it with the program that manages it",
                self.needed(engine.dialect())
            )));
        }
        if recorded.is_empty() && !create && engine.dialect() == Dialect::Postgres {
            return Err(Error::migration(
                "the database does not hold this program's tables, and they are not to be created here (Config::create)",
            ));
        }
        if recorded.is_empty() && is_foreign(engine).await? {
            return Err(Error::migration(
                "the database holds tables that no migration of this program made: it is another program's; nothing was \
                 changed",
            ));
        }
        if let Some(rights) = &rights {
            rights.creation().map_err(Error::migration)?;
        }
        match engine.dialect() {
            Dialect::Sqlite => make_history(engine, HISTORY).await?,
            Dialect::Postgres => {
                for sql in SERVER_HISTORY {
                    make_history(engine, sql).await?;
                }
            }
        }
        let mut tries = 0;
        loop {
            match self.do_next_step(engine, recorded.is_empty()).await {
                Ok(true) => tries = 0,
                Ok(false) => return Ok(()),
                Err(error) if error.is_retryable() && tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// How many there are for this engine.
    fn needed(&self, dialect: Dialect) -> usize {
        self.list.iter().filter(|migration| migration.concerns(dialect)).count()
    }

    /// How many migrations are missing or unfinished.
    ///
    /// # Errors
    ///
    /// [`Migration`](Error::Migration) when the database has one that this program does not know, or knows otherwise.
    fn missing(&self, recorded: &[Recorded], dialect: Dialect) -> Result<usize> {
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
            if migration.checksum(dialect) != record.checksum {
                return Err(Error::migration(format!(
                    "{} in the database is not the one in this program: their texts differ; a released migration must \
                     never be edited",
                    migration.describe()
                )));
            }
        }
        let finished = recorded.iter().filter(|record| record.steps_done == record.steps).count();
        Ok(self.needed(dialect) - finished)
    }

    /// Does the first step that is not done; `false` when there is none left. In a database that is new a step takes no time and
    /// is no news.
    async fn do_next_step(&self, engine: &Engine, is_new: bool) -> Result<bool> {
        let mut session = Session::new(engine.session(false, Some(STEP_MAX_AGE), Location::caller()).await?);
        let dialect = engine.dialect();
        if dialect == Dialect::Postgres {
            session.execute_script(SERVER_LIMITS).await?;
            session.execute(SERVER_LOCK, Params::default()).await?;
        }
        // Read under the lock: another process may have done steps meanwhile.
        let rows = session.fetch_all(RECORDED, Params::default()).await?;
        let recorded: Vec<Recorded> = rows.iter().map(Recorded::from_row).collect::<Result<_>>()?;
        self.missing(&recorded, dialect)?;
        let next = self.list.iter().find_map(|migration| {
            let record = recorded.iter().find(|record| record.version == migration.version);
            let done = record.map_or(0, |record| record.steps_done as usize);
            let steps = migration.steps(dialect);
            steps.get(done).map(|(name, sql)| (migration, done, steps.len(), *name, *sql))
        });
        let Some((migration, done, steps, name, sql)) = next else {
            session.rollback().await?;
            return Ok(false);
        };
        if is_new {
            tracing::debug!(version = migration.version, migration = migration.name, step = name, "migrating");
        } else {
            tracing::info!(version = migration.version, migration = migration.name, step = name, "migrating");
        }
        let stepped = async {
            session.execute(sql, Params::default()).await?;
            migration.note(&mut session, done + 1, steps, dialect).await?;
            session.commit().await
        };
        stepped.await.map(|()| true).map_err(|error| match error.is_retryable() {
            true => error,
            false => Error::Migration {
                reason: format!("{}, step {} ({name}) failed", migration.describe(), done + 1),
                source: Some(Arc::new(error)),
            },
        })
    }
}

impl Migration {
    /// Notes how many steps are done.
    async fn note(&self, session: &mut Session, done: usize, steps: usize, dialect: Dialect) -> Result<()> {
        let now = OffsetDateTime::now_utc();
        let finished = (done == steps).then_some(now);
        session
            .execute(
                "INSERT INTO strongroom_migration (version, name, checksum, steps, steps_done, begun_at, finished_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (version) DO UPDATE SET
                     steps_done = excluded.steps_done, finished_at = excluded.finished_at",
                crate::params![
                    self.version,
                    self.name,
                    self.checksum(dialect),
                    steps as i64,
                    done as i64,
                    now,
                    finished
                ],
            )
            .await
            .map(drop)
    }
}

/// Makes a part of the history, which another process may be making too. The server lets `IF NOT EXISTS` fail then.
async fn make_history(engine: &Engine, sql: &'static str) -> Result<()> {
    let mut tries = 0;
    loop {
        let step = vec![Step::one(sql, Params::default())];
        match engine.unit(step, Want::Count, Location::caller()).await {
            Ok(_) => return Ok(()),
            Err(error) if met_another_process(&error) && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether somebody else made the same table at the same moment: a conflict, or what the server finds there already, which
/// is the table (42P07), its type (42710), or the key of either in the catalogue (23505), depending on how far both were.
fn met_another_process(error: &Error) -> bool {
    let sqlstate = error.code().and_then(|code| code.sqlstate().map(str::to_owned));
    error.is_retryable() || matches!(sqlstate.as_deref(), Some("42P07" | "42710" | "23505"))
}

/// What the role may do, on a server.
async fn rights(engine: &Engine) -> Result<Option<Rights>> {
    match engine.dialect() {
        Dialect::Sqlite => Ok(None),
        Dialect::Postgres => {
            let rows = engine.fetch(Step::one(RIGHTS, Params::default()), 1, Location::caller()).await?;
            rows.first().map(Rights::from_row).transpose()
        }
    }
}

/// Whether there is anything in the database that this runner has not begun.
async fn is_foreign(engine: &Engine) -> Result<bool> {
    let sql = match engine.dialect() {
        Dialect::Sqlite => {
            "SELECT 1 FROM sqlite_schema \
             WHERE NOT EXISTS (SELECT 1 FROM sqlite_schema AS own WHERE own.name = 'strongroom_migration')"
        }
        Dialect::Postgres => {
            "SELECT 1 FROM pg_catalog.pg_class AS found \
             JOIN pg_catalog.pg_namespace ON pg_namespace.oid = found.relnamespace \
             WHERE nspname = current_schema() AND relkind IN ('r', 'p', 'v', 'm', 'f') \
             AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_class AS own \
                             WHERE own.relname = 'strongroom_migration' AND own.relnamespace = found.relnamespace) LIMIT 1"
        }
    };
    Ok(!engine.fetch(Step::one(sql, Params::default()), 1, Location::caller()).await?.is_empty())
}

/// What the database records of its migrations; nothing when it has none.
async fn recorded(engine: &Engine) -> Result<Vec<Recorded>> {
    let fetch = |sql| engine.fetch(Step::one(sql, Params::default()), usize::MAX, Location::caller());
    if !engine.table_exists("strongroom_migration".to_owned(), Location::caller()).await? {
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
