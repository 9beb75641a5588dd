//! The settings themselves: each key, what it may be, and the builder method that it ends in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cipher::{Cipher, Kind, Verdict};
use super::credentials::Credentials;
use super::place::{Place, Said};
use super::postgres::{Postgres, roots};
use super::value::Value;
use crate::config::{self, Config, Target};
use crate::error::{Error, Result};

/// What files and variables have said so far; None where they have said nothing.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub(super) url: Option<Said<Target>>,
    credentials: Option<Credentials>,
    create: Option<bool>,
    session_max_age: Option<Duration>,
    cache_kib: Option<u32>,
    inline_reads: Option<bool>,
    pool_min_size: Option<usize>,
    pool_max_size: Option<usize>,
    acquire_timeout: Option<Duration>,
    pool_max_lifetime: Option<Option<Duration>>,
    pool_idle_timeout: Option<Option<Duration>>,
    pool_keepalive: Option<Option<Duration>>,
    pool_test_after_idle: Option<Option<Duration>>,
    pool_leak_warning: Option<Option<Duration>>,
    connect_attempts: Option<u32>,
    connect_delay: Option<Duration>,
    pub(super) cipher: Cipher,
    postgres: Postgres,
}

/// Where a value comes from.
pub(super) struct Origin<'o> {
    pub(super) place: Place,
    /// What a relative path is relative to.
    pub(super) folder: &'o Path,
    /// Counts files and environments in the order in which they are read: the later one wins.
    pub(super) turn: usize,
}

/// A key below section `db`.
pub(super) struct Key {
    /// Such as `pool.max_size`.
    pub(super) path: &'static str,
    /// Takes a value down, or says why it cannot be used.
    pub(super) take: Take,
}

type Take = fn(&mut Layer, &Value, &Origin<'_>) -> Result<(), String>;

/// The sections below `db`.
pub(super) const SECTIONS: [&str; 4] = ["pool", "retry", "cipher", "postgres"];

pub(super) const KEYS: [Key; 32] = [
    key("url", |layer, value, origin| put(&mut layer.url, said(database(value, origin), origin))),
    key("credentials", |layer, value, origin| {
        put(&mut layer.credentials, value.text().and_then(|text| Credentials::parse(text, origin.folder)))
    }),
    key("create", |layer, value, _| put(&mut layer.create, value.flag())),
    key("session_max_age_s", |layer, value, _| put(&mut layer.session_max_age, value.seconds())),
    key("cache_kib", |layer, value, _| put(&mut layer.cache_kib, value.count(u32::MAX))),
    key("inline_reads", |layer, value, _| put(&mut layer.inline_reads, value.flag())),
    key("pool.min_size", |layer, value, _| put(&mut layer.pool_min_size, value.count(usize::MAX))),
    key("pool.max_size", |layer, value, _| put(&mut layer.pool_max_size, value.count(usize::MAX))),
    key("pool.acquire_timeout_s", |layer, value, _| put(&mut layer.acquire_timeout, value.seconds())),
    key("pool.max_lifetime_s", |layer, value, _| put(&mut layer.pool_max_lifetime, value.seconds_or_never())),
    key("pool.idle_timeout_s", |layer, value, _| put(&mut layer.pool_idle_timeout, value.seconds_or_never())),
    key("pool.keepalive_s", |layer, value, _| put(&mut layer.pool_keepalive, value.seconds_or_never())),
    key("pool.test_after_idle_s", |layer, value, _| put(&mut layer.pool_test_after_idle, value.seconds_or_never())),
    key("pool.leak_warning_s", |layer, value, _| put(&mut layer.pool_leak_warning, value.seconds_or_never())),
    key("retry.attempts", |layer, value, _| put(&mut layer.connect_attempts, value.count(u32::MAX))),
    key("retry.delay_s", |layer, value, _| put(&mut layer.connect_delay, value.seconds())),
    key("cipher.enabled", |layer, value, origin| put(&mut layer.cipher.enabled, said(value.flag(), origin))),
    key("cipher.key_source", |layer, value, origin| put(&mut layer.cipher.key_source, said(Kind::of(value), origin))),
    key("cipher.key_env", |layer, value, origin| put(&mut layer.cipher.key_env, said(variable(value), origin))),
    key("cipher.key_file", |layer, value, origin| put(&mut layer.cipher.key_file, said(path(value, origin), origin))),
    key("cipher.sops_path", |layer, value, origin| put(&mut layer.cipher.sops_path, said(path(value, origin), origin))),
    key("cipher.sops_key", |layer, value, origin| {
        put(&mut layer.cipher.sops_key, said(value.text().map(str::to_owned), origin))
    }),
    key("cipher.key_command", |layer, value, origin| {
        put(&mut layer.cipher.key_command, said(value.text().map(str::to_owned), origin))
    }),
    key("cipher.aws_secret", |layer, value, origin| {
        put(&mut layer.cipher.aws_secret, said(value.text().map(str::to_owned), origin))
    }),
    key("cipher.aws_secret_field", |layer, value, origin| {
        put(&mut layer.cipher.aws_secret_field, said(value.text().map(str::to_owned), origin))
    }),
    key("postgres.statement_timeout_s", |layer, value, origin| {
        put(&mut layer.postgres.statement_timeout, said(seconds_or_none(value), origin))
    }),
    key("postgres.lock_timeout_s", |layer, value, origin| {
        put(&mut layer.postgres.lock_timeout, said(seconds_or_none(value), origin))
    }),
    key("postgres.connect_timeout_s", |layer, value, origin| {
        put(&mut layer.postgres.connect_timeout, said(value.seconds(), origin))
    }),
    key("postgres.application_name", |layer, value, origin| {
        put(&mut layer.postgres.application_name, said(value.text().map(str::to_owned), origin))
    }),
    key("postgres.named_statements", |layer, value, origin| {
        put(&mut layer.postgres.named_statements, said(value.flag(), origin))
    }),
    key("postgres.sslrootcert", |layer, value, origin| {
        put(&mut layer.postgres.sslrootcert, said(roots(value, origin.folder), origin))
    }),
    key("postgres.token_cache_s", |layer, value, origin| {
        put(&mut layer.postgres.token_cache, said(seconds_or_none(value), origin))
    }),
];

impl Layer {
    /// Sets what was said; the rest of the configuration stays as it is. Bounds are the builder methods' concern.
    pub(super) fn apply(self, config: Config) -> Result<Config> {
        let config = match self.cipher.verdict()? {
            Verdict::Unsaid => config,
            Verdict::Plain => config.without_key(),
            Verdict::Key(source) => config.key(source),
            Verdict::KeyOfProgram(_) if config.settings().key.is_some() => config,
            Verdict::KeyOfProgram(place) => {
                return Err(Error::config(
                    "db.cipher.enabled",
                    format!(
                        "{place}: it is true and nothing says where the key comes from; expected key_env, key_file or another source beside it"
                    ),
                ));
            }
        };
        let url_turn = self.url.as_ref().map_or(0, |url| url.turn);
        let config = with(config, self.url, |config, url| config.target(url.value));
        let config = self.postgres.apply(config, self.credentials, url_turn)?;
        let config = with(config, self.create, Config::create);
        let config = with(config, self.session_max_age, Config::session_max_age);
        let config = with(config, self.cache_kib, Config::cache_kib);
        let config = with(config, self.pool_min_size, Config::pool_min_size);
        let config = with(config, self.pool_max_size, Config::pool_max_size);
        let config = with(config, self.acquire_timeout, Config::acquire_timeout);
        let config = with(config, self.inline_reads, Config::inline_reads);
        let config = with(config, self.pool_max_lifetime, Config::pool_max_lifetime);
        let config = with(config, self.pool_idle_timeout, Config::pool_idle_timeout);
        let config = with(config, self.pool_keepalive, Config::pool_keepalive);
        let config = with(config, self.pool_test_after_idle, Config::pool_test_after_idle);
        let config = with(config, self.pool_leak_warning, Config::pool_leak_warning);
        let config = with(config, self.connect_attempts, Config::connect_attempts);
        let config = with(config, self.connect_delay, Config::connect_delay);
        Ok(config)
    }
}

const fn key(path: &'static str, take: Take) -> Key {
    Key { path, take }
}

fn with<T>(config: Config, said: Option<T>, set: fn(Config, T) -> Config) -> Config {
    match said {
        Some(value) => set(config, value),
        None => config,
    }
}

fn put<T>(slot: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    *slot = Some(value?);
    Ok(())
}

fn said<T>(value: Result<T, String>, origin: &Origin<'_>) -> Result<Said<T>, String> {
    value.map(|value| Said { value, place: origin.place.clone(), turn: origin.turn })
}

fn database(value: &Value, origin: &Origin<'_>) -> Result<Target, String> {
    Ok(match config::target(value.text()?)? {
        Target::File(path) => Target::File(origin.folder.join(path)),
        target => target,
    })
}

/// Seconds; 0, as PostgreSQL has it, and false are none.
fn seconds_or_none(value: &Value) -> Result<Option<Duration>, String> {
    Ok(value.seconds_or_never()?.filter(|seconds| !seconds.is_zero()))
}

fn path(value: &Value, origin: &Origin<'_>) -> Result<PathBuf, String> {
    value.text().map(|path| origin.folder.join(path))
}

/// A variable's name. It is shown when the variable is not set, so the key itself must not pass for one.
fn variable(value: &Value) -> Result<String, String> {
    let name = value.text()?;
    let is_name = name.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit());
    match is_name {
        true => Ok(name.to_owned()),
        false => Err("expected the name of an environment variable (letters, digits and _), not the key".to_owned()),
    }
}
