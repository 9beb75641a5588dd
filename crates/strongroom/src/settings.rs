//! Settings from files and the environment.
//!
//! Start from [`Settings`]. `layer` lists the keys; `toml` and `yaml` bring a file's section `db` into one form (`value`),
//! which `file` goes through, as `environment` does through variables.

mod cipher;
mod credentials;
mod environment;
mod file;
mod layer;
mod nearest;
mod place;
mod postgres;
mod toml;
mod value;
mod yaml;

use std::ffi::OsString;
use std::path::Path;

use self::environment::Unknown;
use self::layer::Layer;
use self::place::Place;
use crate::config::Config;
use crate::error::{Error, Result};

/// Settings of a database from files and the environment: section `db` of a program's own settings.
///
/// The defaults count least, then each file and environment in the order in which they are read, and what is set on the
/// [`Config`] afterwards counts most. Nothing is opened before [`Config::open`].
///
/// ```no_run
/// # async fn example() -> strongroom::Result<()> {
/// use strongroom::Settings;
///
/// // app.toml, then variables such as APP_DB_POOL_MAX_SIZE, then the program.
/// let db = Settings::new().file("app.toml")?.environment("APP")?.config()?.create(false).connect().await?;
/// # Ok(())
/// # }
/// ```
///
/// # The file
///
/// TOML 1.1 when its name ends in `.toml`, YAML 1.2 when it ends in `.yaml` or `.yml`; UTF-8, at most 1 MiB. Only section
/// `db` is read; the others are the program's.
///
/// ```toml
/// [db]
/// url = "sqlite:app.db"
///
/// [db.pool]
/// max_size = 4
/// acquire_timeout_s = 2.5
///
/// [db.cipher]
/// key_env = "APP_DB_KEY"
/// ```
///
/// ```yaml
/// db:
///   url: sqlite:app.db
///   pool: {max_size: 4, acquire_timeout_s: 2.5}
///   cipher:
///     key_env: APP_DB_KEY
/// ```
///
/// # Keys
///
/// | key below `db` | unit | default | range | what it does |
/// |---|---|---|---|---|
/// | `url` | `sqlite:PATH`, `sqlite::memory:` or `postgres://HOST/DATABASE` | none | | Which database. |
/// | `credentials` | `rds-iam`, `dsql`, `dsql-admin`, `aws-secret:ID`, `env:NAME`, `file:PATH`, `sops:FILE#NAME` or `command:LINE` | what the URL says | | How to log in to a server; asked for each connection. A command's answer is kept for 300 s. |
/// | `create` | true or false | true | | Whether a missing file is created; else connecting fails. |
/// | `session_max_age_s` | seconds | 60 | 1 to 3600 | A session, stream or statement that takes longer is rolled back. |
/// | `cache_kib` | KiB | 16384 | 64 to 4194304 | Decrypted pages that each connection keeps in memory until it was idle for 10 s. |
/// | `inline_reads` | true or false | true | | Whether a quick read runs on the caller's thread; see [`Config::inline_reads`]. |
/// | `pool.min_size` | connections | 1 | 0 to 10 | Opened at once and kept, the writer included. |
/// | `pool.max_size` | connections | 10 | 1 to 100 | More callers than this wait. |
/// | `pool.acquire_timeout_s` | seconds | 30 | 1 to 300 | Whoever waits longer gets [`PoolExhausted`](Error::PoolExhausted). |
/// | `pool.max_lifetime_s` | seconds, or false | false; on PostgreSQL 1500 | 1 to 86400 | An older connection is replaced. |
/// | `pool.idle_timeout_s` | seconds, or false | 600 | 1 to 86400 | One idle for longer is closed, down to `pool.min_size`. |
/// | `pool.keepalive_s` | seconds, or false | false | 1 to 86400 | An idle connection is tested this often; a file needs none and gets none. |
/// | `pool.test_after_idle_s` | seconds, or false | 1 | 0 to 86400 | One idle for longer is tested before it is lent; a file needs none and gets none. |
/// | `pool.leak_warning_s` | seconds, or false | false | 1 to 86400 | One lent for longer is logged, with the line that borrowed it. |
/// | `retry.attempts` | attempts | 3 | 1 to 10 | So often opening a further connection is tried before a waiter is told why there is none. |
/// | `retry.delay_s` | seconds | 0.5 | 0.1 to 60 | Pause before the second attempt, doubled for each further one. |
/// | `cipher.enabled` | true or false | whether a source is named | | `true`: without a source it is an error. `false`: the file is plain. |
/// | `cipher.key_source` | `env`, `file`, `sops`, `command` or `aws-secret` | the first that is named, in this order | | Which source is used when several are named. |
/// | `cipher.key_env` | a variable's name | none | | The key is that variable's content. |
/// | `cipher.key_file` | a path | none | | The key is that file's content; mode 0600. |
/// | `cipher.sops_path` | a path | none | | The key stands in that SOPS file; see [`Sops`](crate::Sops). |
/// | `cipher.sops_key` | a name, with dots into maps | `db_key`; a binary file's content | | Which value of that file it is. |
/// | `cipher.key_command` | a command line | none | | The key is what that command prints; see [`KeySource::command`](crate::KeySource::command). |
/// | `cipher.aws_secret` | a name or ARN | none | | The key is that secret of AWS Secrets Manager; needs feature `aws`. |
/// | `cipher.aws_secret_field` | a name | none | | The key is that field of the secret, which is a JSON object. |
/// | `postgres.statement_timeout_s` | seconds; 0 or false | false | 0.001 to 86400 | The server ends a longer statement. |
/// | `postgres.lock_timeout_s` | seconds; 0 or false | false | 0.001 to 86400 | The server ends a longer wait for one lock. |
/// | `postgres.connect_timeout_s` | seconds | 10 | 1 to 300 | Longest time for one of the server's addresses: TCP, TLS and log-in. |
/// | `postgres.application_name` | a text | the program's name | 63 bytes | What `pg_stat_activity` shows. |
/// | `postgres.named_statements` | true or false | true | | False for a pooler that knows no prepared statements; see [`Config::named_statements`]. |
/// | `postgres.sslrootcert` | a path, or `system` | `system` | | The CAs that are trusted: a PEM file's, and no others. |
/// | `postgres.token_cache_s` | seconds; 0 or false | false | 1 to 870 | A token of `rds-iam`, `dsql` or `dsql-admin` is kept for so long, less up to a tenth. False: each connection signs its own. |
///
/// - A relative path in a file is relative to that file's folder; in a variable, to the working directory.
/// - Seconds may have a fraction; false is never. A number out of its range is moved to the nearest bound, and a warning is
///   logged; a negative one, infinity and NaN are refused.
/// - A key that is not in the table, is given twice or has the wrong type is refused, with line and column.
/// - The key of a file never stands in the settings, only where it comes from. No value is shown in an error.
/// - A later file or environment wins over an earlier one: its `cipher.enabled = false` takes back their key, and a source
///   that it names is used instead of theirs. Within one, `enabled = false` and a source contradict each other and are
///   refused; of two sources, the first in the order above is used. A source that is used and has nothing is an error.
/// - What a server's URL says itself wins over section `postgres` of the same place and of earlier ones; a later `postgres`
///   wins over the URL. Beside a database that is not on a server a key of that section is refused.
/// - In YAML, a text that ends in a colon, as `'sqlite::memory:'` does, needs quotes; an alias (`*name`) or tag (`!name`)
///   is refused as a value in section `db`, and a file is one document.
///
/// # The environment
///
/// A variable is the key in capitals, `.` as `_`, after `PREFIX_DB_`: `db.pool.max_size` is `APP_DB_POOL_MAX_SIZE`. One
/// that is empty counts as not set. One that begins with `PREFIX_DB_` and is none of these is refused, unless
/// `cipher.key_env` names it.
#[derive(Debug, Default)]
pub struct Settings {
    layer: Layer,
    /// How many files and environments have been read.
    turns: usize,
    unknown: Vec<Unknown>,
    /// Every variable that was named for a key, also by a place that was overridden.
    key_variables: Vec<String>,
}

impl Settings {
    /// Settings that say nothing: the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads section `db` of a file, which overrides what was read before. A file without one says nothing. Blocks while it
    /// reads.
    ///
    /// # Errors
    ///
    /// [`Config`](Error::Config) when the file cannot be read, has another extension than `.toml`, `.yaml` or `.yml`, or
    /// says something that cannot be used: with line and column.
    pub fn file(mut self, path: impl AsRef<Path>) -> Result<Self> {
        self.turns += 1;
        file::read(&mut self.layer, path.as_ref(), self.turns)?;
        self.note_key_variable();
        Ok(self)
    }

    /// [`file`](Self::file), if there is one at this path.
    ///
    /// # Errors
    ///
    /// As [`file`](Self::file), but for a file that is not there.
    pub fn file_if_there(self, path: impl AsRef<Path>) -> Result<Self> {
        match std::fs::exists(&path) {
            Ok(false) => Ok(self),
            // What cannot be looked for is an error when it is read.
            _ => self.file(path),
        }
    }

    /// Reads the environment variables that begin with `{prefix}_DB_`, which override what was read before.
    ///
    /// # Errors
    ///
    /// [`Config`](Error::Config) when the prefix has other characters than letters, digits and `_`, or a variable's value
    /// cannot be used. Variables that belong to no setting are refused when all has been read, by [`config`](Self::config)
    /// and [`over`](Self::over).
    pub fn environment(self, prefix: &str) -> Result<Self> {
        self.variables(prefix, std::env::vars_os())
    }

    fn variables(mut self, prefix: &str, variables: impl Iterator<Item = (OsString, OsString)>) -> Result<Self> {
        self.turns += 1;
        self.unknown.extend(environment::read(&mut self.layer, prefix, variables, self.turns)?);
        self.note_key_variable();
        Ok(self)
    }

    /// Takes settings from one more place, such as the options of a command line; they override what was read before. Each is
    /// a key of the table, such as `cipher.key_file`, its value, written as a variable's would be, and how errors name it,
    /// such as `--key-file`.
    ///
    /// # Errors
    ///
    /// [`Config`](Error::Config) when there is no such key, or a value cannot be used.
    pub fn options<'o>(mut self, options: impl IntoIterator<Item = (&'o str, OsString, &'o str)>) -> Result<Self> {
        self.turns += 1;
        for (key, value, name) in options {
            environment::take(&mut self.layer, key, value, Place::Option(name.to_owned()), self.turns)?;
        }
        self.note_key_variable();
        Ok(self)
    }

    /// Whether something that was read names the database.
    pub fn names_database(&self) -> bool {
        self.layer.url.is_some()
    }

    /// Whether something that was read says where the key comes from, or that there is none.
    pub fn speaks_of_key(&self) -> bool {
        self.layer.cipher.speaks()
    }

    /// The configuration that was read. What is set on it afterwards overrides it.
    ///
    /// # Errors
    ///
    /// [`Config`](Error::Config) when nothing names the database, a variable belongs to no setting, or what was said
    /// about encryption does not fit together.
    pub fn config(mut self) -> Result<Config> {
        match &self.layer.url {
            Some(url) => {
                let named = Config::at(url.value.clone());
                self.over(named)
            }
            None => {
                self.refuse_unknown()?;
                Err(Error::config(
                    "db.url",
                    "nothing names the database; expected sqlite:PATH, sqlite::memory: or postgres://HOST/DATABASE",
                ))
            }
        }
    }

    /// The program's own defaults, overridden by what was read: for a program that knows its database, or its key.
    ///
    /// ```no_run
    /// # fn example() -> strongroom::Result<()> {
    /// use strongroom::{Config, KeySource, Settings};
    ///
    /// let defaults = Config::sqlite("/var/lib/app/app.db").key(KeySource::file("/etc/app/key"));
    /// let config = Settings::new().file_if_there("/etc/app/app.toml")?.over(defaults)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`config`](Self::config), but that the database is named already.
    pub fn over(mut self, defaults: Config) -> Result<Config> {
        self.refuse_unknown()?;
        self.layer.apply(defaults)
    }

    fn note_key_variable(&mut self) {
        self.key_variables.extend(self.layer.cipher.key_env.as_ref().map(|name| name.value.clone()));
    }

    fn refuse_unknown(&mut self) -> Result<()> {
        self.unknown.retain(|unknown| !self.key_variables.contains(&unknown.name));
        match self.unknown.is_empty() {
            true => Ok(()),
            false => Err(self.unknown.swap_remove(0).into()),
        }
    }
}

/// What to do with a key that was about to be written into the settings.
const NO_KEY_HERE: &str = "a key does not belong into the settings: put it into an environment variable or a file with \
                           mode 0600, and name that in db.cipher.key_env or db.cipher.key_file";

/// Whether a setting of this name would be a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    let last = name.rsplit('_').next().unwrap_or_default();
    matches!(last, "key" | "passphrase" | "password" | "passwd" | "pass" | "pwd" | "secret" | "token")
}

/// An unknown name as an error shows it: a terminal is not driven by it, and no line is longer than can be read.
fn shown(name: &str) -> String {
    const MOST: usize = 80;
    let shown: String = name.chars().take(MOST).flat_map(char::escape_debug).collect();
    if name.chars().count() > MOST { shown + "…" } else { shown }
}

#[cfg(test)]
mod tests;
