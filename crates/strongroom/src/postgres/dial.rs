//! Physical connections (a stand-in).

use tokio_postgres::{CancelToken, Client, NoTls};

use super::settings::Settings;
use crate::error::{Error, Result};

pub(crate) struct Dialer {
    settings: Settings,
}

/// A connection that is logged in.
pub(crate) struct Dialed {
    pub(crate) client: Client,
    pub(crate) task: tokio::task::JoinHandle<()>,
    pub(crate) cancel: Cancel,
}

pub(crate) struct Cancel(CancelToken);

impl Dialer {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        Ok(Dialer { settings: settings.clone() })
    }

    pub(crate) async fn dial(&self) -> Result<Dialed> {
        let (client, connection) = self.settings.config.connect(NoTls).await.map_err(|error| Error::Connection {
            database: self.settings.name(),
            reason: "cannot connect".into(),
            source: Some(std::sync::Arc::new(error)),
        })?;
        let cancel = Cancel(client.cancel_token());
        let task = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Dialed { client, task, cancel })
    }
}

impl Cancel {
    pub(crate) async fn cancel(&self) -> Result<()> {
        let sent = self.0.cancel_query(NoTls).await;
        sent.map_err(|error| Error::config("cancel", error.to_string()))
    }
}
