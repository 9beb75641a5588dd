//! Section `db.postgres`, and `db.credentials`: how a server is used, beside what its URL says.

use std::path::Path;
use std::time::Duration;

use super::credentials::Credentials;
use super::place::{Place, Said};
use super::value::Value;
use crate::config::Config;
use crate::engine::Dialect;
use crate::error::{Error, Result};
use crate::postgres::Roots;

/// What was said about the server.
#[derive(Debug, Default)]
pub(super) struct Postgres {
    pub(super) statement_timeout: Option<Said<Option<Duration>>>,
    pub(super) lock_timeout: Option<Said<Option<Duration>>>,
    pub(super) connect_timeout: Option<Said<Duration>>,
    pub(super) application_name: Option<Said<String>>,
    pub(super) named_statements: Option<Said<bool>>,
    pub(super) sslrootcert: Option<Said<Roots>>,
    pub(super) token_cache: Option<Said<Option<Duration>>>,
}

impl Postgres {
    /// Sets what was said on a server's configuration. Its URL was said at `url_turn`, 0 if by the program: what the URL
    /// says itself is overridden only by what was said later.
    pub(super) fn apply(self, config: Config, credentials: Option<Credentials>, url_turn: usize) -> Result<Config> {
        if config.dialect() != Dialect::Postgres
            && let Some((key, place)) = self.first()
        {
            let reason = format!("it is a server's, and the database, {config}, is not on one; leave it out");
            return Err(error(key, place, &reason));
        }
        let config = log_in(config, credentials, self.token_cache)?;
        let config = with(config, url_turn, "statement_timeout", self.statement_timeout, Config::statement_timeout);
        let config = with(config, url_turn, "lock_timeout", self.lock_timeout, Config::lock_timeout);
        let config = with(config, url_turn, "connect_timeout", self.connect_timeout, Config::connect_timeout);
        let config = with(config, url_turn, "named_statements", self.named_statements, Config::named_statements);
        let config = with(config, url_turn, "sslrootcert", self.sslrootcert, Config::roots);
        Ok(with(config, url_turn, "application_name", self.application_name, |config, name| {
            config.application_name(&name)
        }))
    }

    /// The first key that was said, in the order of the table.
    fn first(&self) -> Option<(&'static str, &Place)> {
        fn said<'s, T>(key: &'static str, said: &'s Option<Said<T>>) -> Option<(&'static str, &'s Place)> {
            said.as_ref().map(|said| (key, &said.place))
        }
        let all = [
            said("statement_timeout_s", &self.statement_timeout),
            said("lock_timeout_s", &self.lock_timeout),
            said("connect_timeout_s", &self.connect_timeout),
            said("application_name", &self.application_name),
            said("named_statements", &self.named_statements),
            said("sslrootcert", &self.sslrootcert),
            said("token_cache_s", &self.token_cache),
        ];
        all.into_iter().flatten().next()
    }
}

/// The CAs that a value names.
pub(super) fn roots(value: &Value, folder: &Path) -> Result<Roots, String> {
    Ok(match value.text()? {
        "system" => Roots::System,
        path => Roots::File(folder.join(path)),
    })
}

/// `key` is what a URL calls it.
fn with<T>(
    config: Config,
    url_turn: usize,
    key: &str,
    said: Option<Said<T>>,
    set: impl FnOnce(Config, T) -> Config,
) -> Config {
    match said {
        Some(said) if said.turn > url_turn || !config.url_says(key) => set(config, said.value),
        _ => config,
    }
}

fn log_in(
    config: Config,
    credentials: Option<Credentials>,
    token_cache: Option<Said<Option<Duration>>>,
) -> Result<Config> {
    let keep = token_cache.as_ref().and_then(|said| Some((said.value?, &said.place)));
    match (credentials, keep) {
        (None, None) => Ok(config),
        (Some(credentials), None) => Ok(config.credentials(credentials.provider())),
        (Some(Credentials::Token(token)), Some((keep, _))) => Ok(config.credentials(token.kept(keep))),
        (other, Some((_, place))) => {
            let seen = other.map_or("is not set".to_owned(), |other| format!("is another one, {other:?}"));
            let reason = format!(
                "only tokens are kept, those of rds-iam, dsql and dsql-admin, and db.credentials {seen}; leave it out, or \
                 say false"
            );
            Err(error("token_cache_s", place, &reason))
        }
    }
}

fn error(key: &str, place: &Place, reason: &str) -> Error {
    Error::config(format!("db.postgres.{key}"), format!("{place}: {reason}"))
}
