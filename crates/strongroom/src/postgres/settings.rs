//! Where the server is (a stand-in).

use std::str::FromStr;

/// Where the server is, and how to reach it.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) config: tokio_postgres::Config,
    pub(crate) statement_cache: bool,
}

impl Settings {
    pub(crate) fn recognises(text: &str) -> bool {
        text.starts_with("postgres://") || text.starts_with("postgresql://")
    }

    pub(crate) fn from_url(text: &str) -> Result<Self, String> {
        let config = tokio_postgres::Config::from_str(text).map_err(|error| error.to_string())?;
        Ok(Settings { config, statement_cache: true })
    }

    pub(crate) fn name(&self) -> String {
        format!("{:?}/{}", self.config.get_hosts(), self.config.get_dbname().unwrap_or_default())
    }
}
