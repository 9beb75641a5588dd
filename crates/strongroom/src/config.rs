//! Settings of a database handle.
//!
//! Start from [`Config::sqlite`], [`Config::from_url`] or [`Config::from_file`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::connection::Connection;
use crate::credential::CredentialProvider;
use crate::database::Database;
use crate::engine::Dialect;
use crate::error::{Error, Result};
use crate::key::KeySource;
use crate::link::SessionLink;
use crate::migration::Migrations;
use crate::pool::{self, clamp};
use crate::postgres;

/// Below the 1,800 s after which RDS Proxy cuts an idle connection, and most firewalls forget it.
const SERVER_MAX_LIFETIME: Duration = Duration::from_secs(1_500);

/// What a database handle opens, and how.
///
/// | setting | default | least | most |
/// |---|---|---|---|
/// | [`pool_min_size`](Self::pool_min_size) | 1 | 0 | 10 |
/// | [`pool_max_size`](Self::pool_max_size) | 10 | 1 | 100 |
/// | [`acquire_timeout`](Self::acquire_timeout) | 30 s | 1 s | 300 s |
/// | [`connect_attempts`](Self::connect_attempts) | 3 | 1 | 10 |
/// | [`connect_delay`](Self::connect_delay) | 0.5 s | 0.1 s | 60 s |
/// | [`pool_idle_timeout`](Self::pool_idle_timeout) | 10 min | 1 s | 1 day |
/// | [`pool_max_lifetime`](Self::pool_max_lifetime) | none; on PostgreSQL 1,500 s | 1 s | 1 day |
/// | [`pool_leak_warning`](Self::pool_leak_warning) | none | 1 s | 1 day |
/// | [`session_max_age`](Self::session_max_age) | 60 s | 1 s | 3600 s |
/// | [`cache_kib`](Self::cache_kib) | 16,384 | 64 | 4,194,304 |
///
/// A value outside is moved to the nearest bound, and a warning is logged.
///
/// ```no_run
/// # async fn example() -> strongroom::Result<()> {
/// use strongroom::{Config, KeySource};
///
/// let db = Config::sqlite("app.db").key(KeySource::env("APP_DB_KEY")).connect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    settings: Settings,
    migrations: Option<&'static Migrations>,
    migrate: bool,
    /// What a builder method could not use.
    refused: Option<Error>,
}

/// What is to be opened, and how.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) target: Target,
    pub(crate) key: Option<KeySource>,
    pub(crate) create: bool,
    /// Sizes count SQLite's writer.
    pub(crate) pool: pool::Settings,
    pub(crate) session_max_age: Duration,
    pub(crate) cache_kib: u32,
    pub(crate) inline_reads: bool,
}

/// Where the database is.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    File(PathBuf),
    Memory,
    Server(Box<postgres::Settings>),
}

impl Settings {
    /// What is secret about opening it, and who gives that, for people.
    pub(crate) fn secret(&self) -> Option<(&'static str, String)> {
        match &self.target {
            Target::Server(server) => server.credentials.as_ref().map(|provider| ("credential", provider.to_string())),
            Target::File(_) | Target::Memory => self.key.as_ref().map(|source| ("key", source.to_string())),
        }
    }

    /// The database's name in messages.
    pub(crate) fn name(&self) -> String {
        match &self.target {
            Target::File(path) => path.display().to_string(),
            Target::Memory => ":memory:".to_owned(),
            Target::Server(settings) => settings.shown(),
        }
    }
}

impl Config {
    /// A SQLite database in a file. With a [`key`](Self::key) it is encrypted (SQLCipher 4), without one it is plain.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self::at(Target::File(path.into()))
    }

    /// A SQLite database in memory: one connection, on which sessions and reads take turns. It is gone with the handle.
    pub fn memory() -> Self {
        Self::at(Target::Memory)
    }

    /// A database on a PostgreSQL server: the host's name or address (or the folder of its unix socket), the database's name
    /// and the user's. TLS with the system's roots; host name and certificate are verified, unless the host is this machine.
    ///
    /// The password is the [`credentials`](Self::credentials)' to give. Ports, several hosts, client certificates, a CA of your
    /// own and whatever else libpq knows can be said by [`from_url`](Self::from_url).
    ///
    /// ```no_run
    /// # async fn example() -> strongroom::Result<()> {
    /// use strongroom::{Config, KeySource, Password};
    ///
    /// let password = Password::new("app_user", KeySource::env("APP_DB_PASSWORD"));
    /// let db = Config::postgres("db.example.com", "app", "app_user").credentials(password).connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn postgres(host: &str, database: &str, user: &str) -> Self {
        match postgres::Settings::new(host, database, user) {
            Ok(server) => Self::at(Target::Server(Box::new(server))),
            // Said when it is opened, as all that does not fit.
            Err(error) => Config { refused: Some(error), ..Self::at(Target::Memory) },
        }
    }

    /// The database that a URL names: `sqlite:PATH`, relative or absolute; `sqlite::memory:`;
    /// `postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full` and what else libpq reads, also its `key=value` text.
    ///
    /// # Errors
    ///
    /// [`Config`](Error::Config) when the URL has another scheme or no path, or says something that is not understood. No
    /// password is shown.
    pub fn from_url(url: &str) -> Result<Self> {
        target(url).map(Self::at).map_err(|reason| Error::config("url", reason))
    }

    /// What section `db` of a TOML or YAML file says; the keys are listed at [`Settings`](crate::Settings). What is set on
    /// the `Config` afterwards overrides the file.
    ///
    /// # Errors
    ///
    /// [`Config`](Error::Config) when the file cannot be read or understood, or names no database.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        crate::Settings::new().file(path)?.config()
    }

    pub(crate) fn at(target: Target) -> Self {
        let max_lifetime = matches!(target, Target::Server(_)).then_some(SERVER_MAX_LIFETIME);
        Config {
            settings: Settings {
                target,
                key: None,
                create: true,
                pool: pool::Settings::default().max_lifetime(max_lifetime),
                session_max_age: Duration::from_secs(60),
                cache_kib: 16 * 1024,
                inline_reads: true,
            },
            migrations: None,
            migrate: true,
            refused: None,
        }
    }

    /// Where the key comes from. It is asked once, when the database is opened; further connections use what was derived
    /// from it.
    pub fn key(mut self, key: impl Into<KeySource>) -> Self {
        self.settings.key = Some(key.into());
        self
    }

    /// Where the key comes from, if there is one.
    pub fn key_source(&self) -> Option<&KeySource> {
        self.settings.key.as_ref()
    }

    /// Which SQL the database understands.
    pub fn dialect(&self) -> Dialect {
        match self.settings.target {
            Target::File(_) | Target::Memory => Dialect::Sqlite,
            Target::Server(_) => Dialect::Postgres,
        }
    }

    /// The database's file; `None` when it is not in a file.
    pub fn path(&self) -> Option<&Path> {
        match &self.settings.target {
            Target::File(path) => Some(path),
            Target::Memory | Target::Server(_) => None,
        }
    }

    /// Who logs in to the server: asked for each physical connection. It overrides a password in the URL. PostgreSQL only.
    pub fn credentials(self, provider: impl CredentialProvider) -> Self {
        self.on_server("credentials", |server| server.credentials(Arc::new(provider)))
    }

    /// What the server shows as the client's name, in `pg_stat_activity` and its log. Default: the program's. PostgreSQL only.
    pub fn application_name(self, name: &str) -> Self {
        self.on_server("application_name", |server| server.application_name(name))
    }

    /// Longest time to connect to one of the server's addresses and log in. Default 10 s, 1 s to 300 s. PostgreSQL only.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.on_server("connect_timeout", |server| server.connect_timeout(timeout))
    }

    /// Longest run of one statement, ended by the server: `Timeout`. Default none beside
    /// [`session_max_age`](Self::session_max_age), 1 ms to a day. PostgreSQL only.
    pub fn statement_timeout(self, timeout: Option<Duration>) -> Self {
        self.on_server("statement_timeout", |server| server.statement_timeout(timeout))
    }

    /// Longest wait for another transaction's lock, ended by the server: `Busy`. Default none, 1 ms to a day. PostgreSQL
    /// only.
    pub fn lock_timeout(self, timeout: Option<Duration>) -> Self {
        self.on_server("lock_timeout", |server| server.lock_timeout(timeout))
    }

    /// Whether statements are prepared once for each connection, under a name. Default: yes. PostgreSQL only.
    ///
    /// A pooler that lends a server's connection for one transaction does not keep them: pgbouncer in transaction mode before
    /// 1.21, or with `max_prepared_statements = 0`. Without names, each statement is sent with its text and understood anew,
    /// and parameters go as text, which the server reads as it reads a literal: it then takes `5` for a `text`, too. Columns
    /// of types that are not built in must be cast to text.
    pub fn named_statements(self, named: bool) -> Self {
        self.on_server("named_statements", |server| server.with_named_statements(named))
    }

    /// Which CAs the server's certificate may be from.
    pub(crate) fn roots(self, roots: postgres::Roots) -> Self {
        self.on_server("sslrootcert", |server| server.roots(roots))
    }

    /// Whether the server's URL says this key itself.
    pub(crate) fn url_says(&self, key: &str) -> bool {
        matches!(&self.settings.target, Target::Server(server) if server.text_says(key))
    }

    fn on_server(mut self, setting: &str, change: impl FnOnce(postgres::Settings) -> postgres::Settings) -> Self {
        match &mut self.settings.target {
            Target::Server(server) => **server = change((**server).clone()),
            _ if self.refused.is_none() => {
                self.refused = Some(Error::config(setting, "it is a server's, and the database is not on one"));
            }
            _ => {}
        }
        self
    }

    /// Whether a missing file is created. Default: yes, with mode 0600. On a server: whether a database that has none of the
    /// [`migrations`](Self::migrations) gets them; without, such a one is refused.
    pub fn create(mut self, create: bool) -> Self {
        self.settings.create = create;
        self
    }

    /// Physical connections opened at once and kept, the writer included. Default 1, 0 to 10; SQLite's writer is always
    /// open.
    pub fn pool_min_size(mut self, size: usize) -> Self {
        self.settings.pool = self.settings.pool.min_size(size);
        self
    }

    /// Most physical connections, the writer included. Default 10, 1 to 100. SQLite has always one writer, and in a file
    /// at least one reader.
    pub fn pool_max_size(mut self, size: usize) -> Self {
        self.settings.pool = self.settings.pool.max_size(size);
        self
    }

    /// Longest time to wait for a connection, the writer's turn, or another process's lock. Default 30 s, 1 s to 300 s.
    /// Then [`PoolExhausted`](Error::PoolExhausted), or `locked by another process`.
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.settings.pool = self.settings.pool.acquire_timeout(timeout);
        self
    }

    /// Attempts to open a further connection before a waiter is told why there is none. Default 3, 1 to 10. The first
    /// connection, whose key or file may be wrong, is tried once.
    pub fn connect_attempts(mut self, attempts: u32) -> Self {
        self.settings.pool = self.settings.pool.connect_attempts(attempts);
        self
    }

    /// Pause before the second attempt, doubled for each further one. Default 0.5 s, 0.1 s to 60 s.
    pub fn connect_delay(mut self, delay: Duration) -> Self {
        self.settings.pool = self.settings.pool.connect_delay(delay);
        self
    }

    /// Idle for longer than this, a connection above the least size is closed. Default 10 min, 1 s to a day; `None` keeps
    /// it.
    pub fn pool_idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.settings.pool = self.settings.pool.idle_timeout(timeout);
        self
    }

    /// Older than this, less up to a tenth, a connection is replaced (on SQLite a reading one). Default none, on PostgreSQL
    /// 1,500 s; 1 s to a day.
    pub fn pool_max_lifetime(mut self, lifetime: Option<Duration>) -> Self {
        self.settings.pool = self.settings.pool.max_lifetime(lifetime);
        self
    }

    /// How often an idle connection is tested. Default none, 1 s to a day. A file needs none and gets none.
    pub fn pool_keepalive(mut self, interval: Option<Duration>) -> Self {
        self.settings.pool = self.settings.pool.keepalive(interval);
        self
    }

    /// Idle for longer than this, a connection is tested before it is lent. Default 1 s, 0 to a day; `None` never. A file
    /// needs none and gets none: each use looks whether it is still there.
    pub fn pool_test_after_idle(mut self, idle: Option<Duration>) -> Self {
        self.settings.pool = self.settings.pool.test_after_idle(idle);
        self
    }

    /// A reading connection that is lent for longer is named in a warning, with the borrower's place in the source. Default
    /// none, 1 s to a day.
    pub fn pool_leak_warning(mut self, age: Option<Duration>) -> Self {
        self.settings.pool = self.settings.pool.leak_warning(age);
        self
    }

    /// Whether a query that was quick so far is run on the caller's thread when a reading connection is free. Default: yes.
    ///
    /// It saves the way to another thread and back, many times what a point read takes. Beyond some 100 µs of SQLite's
    /// work it is stopped and run again on a thread, then and from then on. Pages that are not in memory are read from the
    /// disk meanwhile: on an SSD 0.1 ms in the middle and 0.5 to 2 ms at most (of 3,000 reads of a file that no cache
    /// held). Where the disk is slow, and other tasks of the runtime must not wait for it, switch it off.
    pub fn inline_reads(mut self, inline: bool) -> Self {
        self.settings.inline_reads = inline;
        self
    }

    /// Longest life of a session or stream, and longest run of a statement or batch. Default 60 s, 1 s to 3600 s. Then it
    /// is stopped and rolled back, and its holder gets [`SessionExpired`](Error::SessionExpired), a statement or batch
    /// `timeout`. Migrations are exempt.
    pub fn session_max_age(mut self, age: Duration) -> Self {
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(3600));
        self.settings.session_max_age = clamp("session_max_age", age, least, most);
        self
    }

    /// Decrypted pages that each connection keeps, in KiB, until it was idle for 10 s. Default 16,384 (16 MiB), 64 to 4,194,304
    /// (4 GiB).
    pub fn cache_kib(mut self, kib: u32) -> Self {
        self.settings.cache_kib = clamp("cache_kib", kib, 64, 4 * 1024 * 1024);
        self
    }

    /// The schema that the program needs.
    pub fn migrations(mut self, migrations: &'static Migrations) -> Self {
        self.migrations = Some(migrations);
        self
    }

    /// Whether connecting brings the schema up to date. Default: yes; a database that holds something else than what
    /// migrations made is refused, untouched. Without, a schema managed elsewhere is only
    /// compared: one that is older or newer than the program's is a [`Migration`](Error::Migration) error.
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Makes a handle without any I/O: the first use connects. Settings are checked.
    ///
    /// A relative path is resolved now, so that a later change of the working directory makes no difference.
    ///
    /// # Errors
    ///
    /// [`Config`](Error::Config) when the settings do not fit together, or a migration is malformed.
    pub fn open(mut self) -> Result<Database> {
        self.validate()?;
        Ok(Database::new(self))
    }

    fn validate(&mut self) -> Result<()> {
        if let Some(error) = self.refused.take() {
            return Err(error);
        }
        if let Target::File(path) = &mut self.settings.target {
            if path.as_os_str() == ":memory:" {
                return Err(Error::config("path", ":memory: is no file; use Config::memory or sqlite::memory:"));
            }
            *path = std::path::absolute(&path).map_err(|error| {
                Error::config("path", format!("{} cannot be made absolute ({})", path.display(), error.kind()))
            })?;
        } else if self.settings.key.is_some() {
            return Err(Error::config("key", "there is no file to encrypt; leave the key out"));
        }
        if let Some(migrations) = self.migrations {
            migrations.validate()?;
        }
        Ok(())
    }

    /// Makes a handle and connects: the key is asked for, the file opened, the schema brought up to date.
    ///
    /// # Errors
    ///
    /// [`Credential`](Error::Credential), [`Connection`](Error::Connection), [`Encryption`](Error::Encryption),
    /// [`Migration`](Error::Migration); a file whose key does not fit is left untouched.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the opening ends in the background; a migration stops after its current step and goes on at the next
    /// connect.
    pub async fn connect(self) -> Result<Database> {
        let database = self.open()?;
        database.ensure_connected().await?;
        Ok(database)
    }

    /// Opens one connection without a pool: no writer's thread, no readers, no group commit. For a program that does one
    /// thing after another, such as a command line tool. The schema is neither migrated nor looked at.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect); [`Config`](Error::Config) with [`migrations`](Self::migrations), which need a
    /// [`Database`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, the opening ends in the background.
    pub async fn connect_one(mut self) -> Result<Connection> {
        if self.migrations.is_some() {
            return Err(Error::config("migrations", "one connection does not migrate; use Config::connect"));
        }
        self.validate()?;
        let link = match &self.settings.target {
            Target::File(_) | Target::Memory => SessionLink::Sqlite(crate::sqlite::connect_one(&self.settings).await?),
            Target::Server(server) => SessionLink::Postgres(postgres::connect_one(server, &self.settings).await?),
        };
        Ok(Connection::new(link))
    }

    pub(crate) fn target(mut self, target: Target) -> Self {
        self.settings.target = target;
        self
    }

    /// Takes the key back: the file is plain.
    pub fn without_key(mut self) -> Self {
        self.settings.key = None;
        self
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn schema(&self) -> Option<(&'static Migrations, bool)> {
        self.migrations.map(|migrations| (migrations, self.migrate))
    }
}

/// Names the database as errors do: its file, `:memory:`, or a server's URL without a password.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.settings.name())
    }
}

/// What a URL, or libpq's text of keys and values, names, or why it names nothing. The text after the scheme may hold a
/// password and is not shown.
pub(crate) fn target(url: &str) -> Result<Target, String> {
    if names_a_server(url) {
        return match postgres::Settings::from_text(url) {
            Ok(settings) => Ok(Target::Server(Box::new(settings))),
            Err(Error::Config { reason, .. }) => Err(reason),
            Err(other) => Err(other.to_string()),
        };
    }
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    match (scheme, rest) {
        ("sqlite", ":memory:") => Ok(Target::Memory),
        ("sqlite", rest) if rest.contains('?') => {
            Err("parameters after ? are not known; expected sqlite:PATH, settings go into Config".to_owned())
        }
        ("sqlite", rest) => match rest.strip_prefix("//").unwrap_or(rest) {
            "" => Err("sqlite: names no file; expected sqlite:PATH".to_owned()),
            path => Ok(Target::File(path.into())),
        },
        ("", _) => Err(format!("it has no scheme; expected {EXPECTED}")),
        (scheme, _) => Err(format!("scheme {scheme} is not known; expected {EXPECTED}")),
    }
}

/// Whether this is a server's URL, or libpq's text of keys and values: one that begins with a key.
fn names_a_server(text: &str) -> bool {
    let is_key = |key: &str| key.trim().bytes().all(|letter| letter.is_ascii_lowercase() || letter == b'_');
    text.starts_with("postgres:")
        || text.starts_with("postgresql:")
        || text.split_once('=').is_some_and(|(key, _)| is_key(key))
}

const EXPECTED: &str = "sqlite:PATH, sqlite::memory: or postgres://HOST/DATABASE";
