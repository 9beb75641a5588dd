//! Opening physical connections to a server.
//!
//! Start from [`Dialer`]: it goes through the hosts, asks for a credential for each log-in, and answers a connection
//! that is ready for work: encrypted as the settings want it, in UTC and UTF-8, and of the wanted kind (primary,
//! standby).

mod attempt;
mod cancel;
mod failure;
mod socket;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio_postgres::Client;

pub(crate) use self::cancel::Canceller;
use self::failure::{Failure, Gathered};
pub(crate) use self::wire::{Closed, Wire};
use super::settings::{ChannelBinding, DEFAULT_PORT, Host, Place, Settings, TargetSession};
use super::tls::{Tls, TlsFacts, TlsMode};
use crate::credential::{Credential, LogIn, Login, Refusal};
use crate::error::{Error, Result};
use crate::random;

/// Opens connections to the servers of some [`Settings`].
pub(crate) struct Dialer {
    settings: Arc<Settings>,
    tls: Arc<Tls>,
    log_in: Option<LogIn>,
    /// A pooler has refused the start-up parameter `options`: it is not sent again, and what it holds is set otherwise.
    without_options: AtomicBool,
    /// Where in the list the last primary was found; `usize::MAX` before.
    last_primary: AtomicUsize,
}

/// A connection that is ready for work.
pub(crate) struct Dialed {
    pub(crate) client: Client,
    /// Carries the client's messages; tells when the connection ends, and why.
    pub(crate) wire: Wire,
    /// Stops the statement that runs.
    pub(crate) cancel: Canceller,
    pub(crate) facts: Facts,
    /// That of the credential which opened it; 0 without one.
    pub(crate) generation: u64,
    /// Who is logged in.
    pub(crate) user: String,
    /// What must be run at the beginning of each transaction, because a pooler did not take the time limits at the start:
    /// `SET LOCAL …`. A session's `SET` would outlive it there, in somebody else's.
    pub(crate) at_begin: Option<String>,
}

/// What is known about a connection's server.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// As the settings name it.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: String,
    /// Such as `15.18`.
    pub(crate) server_version: String,
    /// It is a standby, and takes no writes.
    pub(crate) in_recovery: bool,
    /// `None` without TLS.
    pub(crate) tls: Option<TlsFacts>,
}

/// Where one attempt goes.
struct Target {
    place: Place,
    port: u16,
    database: Option<String>,
}

impl Dialer {
    /// Does no I/O: files are read by the first [`dial`](Self::dial).
    ///
    /// # Errors
    ///
    /// [`Config`](Error::Config) when the settings do not fit together.
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let mut tls = settings.tls.clone();
        let bound = settings.channel_binding == ChannelBinding::Require;
        match tls.mode {
            None if bound => tls.mode = Some(TlsMode::VerifyFull),
            Some(TlsMode::Disable) if bound => {
                return Err(Error::config("channel_binding", "is required, which needs TLS, and sslmode is disable"));
            }
            _ => {}
        }
        Ok(Dialer {
            settings: Arc::new(settings.clone()),
            tls: Arc::new(Tls::new(tls)),
            log_in: settings.credentials.clone().map(LogIn::new),
            without_options: AtomicBool::new(false),
            last_primary: AtomicUsize::new(usize::MAX),
        })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Opens a connection to the first host that will do.
    ///
    /// # Errors
    ///
    /// [`Connection`](Error::Connection), which says why of each host; it is [passing](Error::is_passing) when another
    /// attempt may succeed with one of them. [`Credential`](Error::Credential) when there is none, or the breaker is
    /// open; [`Config`](Error::Config) when a file of TLS's cannot be used.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the connection under way is closed.
    pub(crate) async fn dial(&self) -> Result<Dialed> {
        let mut gathered = Gathered::default();
        let rounds: &[TargetSession] = match self.settings.target {
            TargetSession::PreferStandby => &[TargetSession::Standby, TargetSession::Any],
            _ => std::slice::from_ref(&self.settings.target),
        };
        for &wanted in rounds {
            for (index, host) in self.order() {
                match self.dial_host(host, wanted).await {
                    Ok(dialed) => {
                        self.last_primary.store(index, Ordering::Relaxed);
                        return Ok(dialed);
                    }
                    Err(Refusal::Credential(error)) => return Err(error),
                    Err(Refusal::Ended(failure) | Refusal::Other(failure)) => gathered.push(failure)?,
                }
            }
        }
        Err(gathered.error(self.settings.shown()))
    }

    /// The hosts in the order in which they are tried, with their places in the list. `None`: nobody named one.
    ///
    /// There is one primary. It is looked for first where it was last, so that a host before it that is dead and does
    /// not even refuse costs its time limit once and not at each connection.
    fn order(&self) -> Vec<(usize, Option<&Host>)> {
        if self.settings.hosts.is_empty() {
            return vec![(0, None)];
        }
        let mut hosts: Vec<_> = self.settings.hosts.iter().map(Some).enumerate().collect();
        if self.settings.load_balance {
            random::shuffle(&mut hosts);
        }
        if let TargetSession::Primary | TargetSession::ReadWrite = self.settings.target {
            let last = self.last_primary.load(Ordering::Relaxed);
            hosts.sort_by_key(|(index, _)| *index != last);
        }
        hosts
    }

    async fn dial_host(&self, host: Option<&Host>, wanted: TargetSession) -> Result<Dialed, Refusal<Failure>> {
        let port = host.and_then(|host| host.port).or(self.settings.port);
        let place = host.map(|host| &host.place);
        let Some(log_in) = &self.log_in else {
            let place = place.cloned().unwrap_or_else(local_socket);
            let database = self.settings.database.clone();
            return self.attempt(Target { place, port: port.unwrap_or(DEFAULT_PORT), database }, None, wanted).await;
        };
        let name = place.map(Place::name).unwrap_or_default();
        let login = Login::new(name, port.unwrap_or(DEFAULT_PORT), self.settings.user.clone());
        let attempt = |credential: Credential| async move {
            let server = &credential.server;
            let place = match (place, &server.host) {
                (Some(place), _) => place.clone(),
                (None, Some(host)) => Place::parse(host).map_err(|why| {
                    let provider = self.settings.credentials.as_ref().map(ToString::to_string).unwrap_or_default();
                    Refusal::Other(Error::credential(&provider, format!("names a host that {why}")).into())
                })?,
                (None, None) => local_socket(),
            };
            let port = port.or(server.port).unwrap_or(DEFAULT_PORT);
            let database = self.settings.database.clone().or_else(|| server.database.clone());
            self.attempt(Target { place, port, database }, Some(credential), wanted).await
        };
        log_in.connect(&login, attempt).await
    }
}

/// Where this machine's server has its socket: the first folder that is there, of Debian's and PostgreSQL's own
/// defaults.
fn local_socket() -> Place {
    let folders = ["/var/run/postgresql", "/run/postgresql", "/tmp"];
    let there = folders.into_iter().find(|folder| std::path::Path::new(folder).is_dir());
    Place::Unix(there.unwrap_or("/tmp").into())
}
