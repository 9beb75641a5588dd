//! One attempt: a host's addresses, the handshakes, and what is asked of a fresh connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};
use tokio_postgres::config::{ChannelBinding, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Connection, NoTls, SimpleQueryMessage};

use super::super::settings::{self, Place, TargetSession, system_user};
use super::super::tls::{TlsFacts, TlsMode};
use super::failure::{Attempt, Failure, Gathered, takes_no_options};
use super::socket::{Address, Socket};
use super::wire::Wire;
use super::{Canceller, Dialed, Dialer, Facts, Target};
use crate::credential::{Credential, Refusal};
use crate::error::{Error, Result};
use crate::random;

/// A connection that is logged in.
struct Opened {
    client: Client,
    wire: Wire,
    reported: Reported,
    tls: Option<TlsFacts>,
}

/// What a server says of itself when it lets somebody in.
struct Reported {
    version: String,
    zone: Option<String>,
    standby: Option<bool>,
    read_only: Option<bool>,
}

/// What a fresh connection is like.
struct Condition {
    in_recovery: bool,
    read_only: bool,
    /// Whether the server has taken the time limits.
    limited: bool,
}

impl Dialer {
    /// Tries a host's addresses in turn.
    pub(super) async fn attempt(
        &self,
        target: Target,
        credential: Option<Credential>,
        wanted: TargetSession,
    ) -> Result<Dialed, Refusal<Failure>> {
        let user = match (&credential, &self.settings.user) {
            (Some(credential), _) => credential.user.clone(),
            (None, Some(user)) => user.clone(),
            (None, None) => system_user()?,
        };
        let from = credential.as_ref().and(self.settings.credentials.as_ref()).map(ToString::to_string);
        let host = target.place.shown(target.port);
        // A server takes the user's name for the database's when none is said.
        let database = target.database.as_deref().unwrap_or(&user);
        let encrypted = self.mode(&target.place) != TlsMode::Disable;
        let valid_until = credential.as_ref().and_then(|credential| credential.valid_until);
        let attempt = Attempt { host: &host, user: &user, database, encrypted, from: from.as_deref(), valid_until };
        let patience = self.settings.connect_timeout;
        let found = match timeout(patience, Address::all_of(&target.place, target.port)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                let reason = "its name cannot be resolved; is it spelled right, and does DNS work?";
                return Err(attempt.failed(reason, true, Some(Arc::new(error))));
            }
            Err(_) => {
                let reason = format!("its name was not resolved within {} s; does DNS work?", patience.as_secs());
                return Err(attempt.failed(reason, true, None));
            }
        };
        let mut gathered = Gathered::default();
        for address in self.order_addresses(found) {
            let shown = address.shown(&host);
            let attempt = Attempt { host: &shown, ..attempt };
            match self.attempt_address(&target, &address, &attempt, credential.as_ref(), wanted).await {
                Err(Refusal::Other(failure)) => {
                    let goes_on = matches!(&failure, Failure::Host(unusable) if unusable.passing);
                    gathered.push(failure)?;
                    if !goes_on {
                        break;
                    }
                }
                outcome => return outcome,
            }
        }
        // There was one address at least.
        let mut unusable = gathered.join().expect("a failed address");
        unusable.host = host;
        Err(Refusal::Other(Failure::Host(unusable)))
    }

    fn order_addresses(&self, mut found: Vec<Address>) -> Vec<Address> {
        if self.settings.load_balance {
            random::shuffle(&mut found);
        }
        found
    }

    /// PostgreSQL does no TLS over a unix socket, whatever the settings say; nor does libpq.
    fn mode(&self, place: &Place) -> TlsMode {
        match place {
            Place::Unix(_) => TlsMode::Disable,
            Place::Tcp { .. } => self.tls.mode(place.is_local()),
        }
    }

    async fn attempt_address(
        &self,
        target: &Target,
        address: &Address,
        attempt: &Attempt<'_>,
        credential: Option<&Credential>,
        wanted: TargetSession,
    ) -> Result<Dialed, Refusal<Failure>> {
        let mode = self.mode(&target.place);
        if mode == TlsMode::Disable && !address.is_local() {
            self.may_be_plain(attempt.host, credential)?;
        }
        let tls = match (&target.place, mode) {
            (Place::Tcp { name, .. }, TlsMode::VerifyCa | TlsMode::VerifyFull) => Some((name.clone(), mode)),
            _ => None,
        };
        let config = self.config(target, attempt, credential, tls.is_some());
        let patience = self.settings.connect_timeout;
        let work = async {
            let mut opened = self.open(address, attempt, &config, tls.as_ref()).await?;
            let condition = self.settle(&mut opened).await.map_err(|error| attempt.refused(error))?;
            Ok::<_, Refusal<Failure>>((opened, condition))
        };
        let (opened, condition) = match timeout(patience, work).await {
            Ok(outcome) => outcome?,
            Err(_) => {
                let reason = format!("no connection within {} s (connect_timeout)", patience.as_secs_f64());
                return Err(attempt.failed(reason, true, None));
            }
        };
        if let Some(reason) = condition.is_unwanted(wanted) {
            return Err(attempt.failed(reason, true, None));
        }
        let (host, port) = (target.place.name(), target.port);
        Ok(Dialed {
            cancel: Canceller {
                token: opened.client.cancel_token(),
                address: address.clone(),
                name: tls,
                settings: Arc::clone(&self.settings),
                tls: Arc::clone(&self.tls),
                shown: format!("postgres://{}/{}", attempt.host, attempt.database),
            },
            client: opened.client,
            wire: opened.wire,
            facts: Facts {
                host,
                port,
                database: attempt.database.to_owned(),
                server_version: opened.reported.version,
                in_recovery: condition.in_recovery,
                tls: opened.tls,
            },
            generation: credential.map_or(0, |credential| credential.generation),
            user: attempt.user.to_owned(),
            at_begin: if condition.limited { None } else { self.limits("SET LOCAL ", " TO ", "; ") },
        })
    }

    /// Whether a connection to another machine may go without TLS: only if the settings say so by name, and never for a
    /// token, which opens more than this one connection to whoever reads it.
    fn may_be_plain(&self, host: &str, credential: Option<&Credential>) -> Result<()> {
        if self.settings.tls.mode.is_none() {
            let reason =
                format!("is not said, and {host} is not this machine, as its name has it; say verify-full or disable");
            return Err(Error::config("sslmode", reason));
        }
        if credential.is_some_and(|credential| credential.valid_until.is_some()) {
            return Err(Error::config(
                "sslmode",
                format!("disable would send a token to {host} unencrypted; say verify-full"),
            ));
        }
        Ok(())
    }

    fn config(
        &self,
        target: &Target,
        attempt: &Attempt<'_>,
        credential: Option<&Credential>,
        encrypted: bool,
    ) -> Config {
        let mut config = Config::new();
        config
            .user(attempt.user)
            .application_name(&self.settings.application_name)
            .ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable })
            .channel_binding(match self.settings.channel_binding {
                settings::ChannelBinding::Disable => ChannelBinding::Disable,
                settings::ChannelBinding::Prefer => ChannelBinding::Prefer,
                settings::ChannelBinding::Require => ChannelBinding::Require,
            });
        if let Some(database) = &target.database {
            config.dbname(database);
        }
        if let Some(credential) = credential {
            // tokio-postgres keeps a copy until the log-in is over, which it does not zero.
            config.password(credential.password.expose());
        }
        config
    }

    /// Connects and logs in, once more without `options` if it is these that a pooler refuses.
    async fn open(
        &self,
        address: &Address,
        attempt: &Attempt<'_>,
        config: &Config,
        tls: Option<&(String, TlsMode)>,
    ) -> Result<Opened, Refusal<Failure>> {
        let without = self.without_options.load(Ordering::Relaxed);
        let first = self.log_in(address, attempt, config, tls, without).await?;
        match first {
            Err(error) if !without && is_about_options(&error) => {
                tracing::debug!(
                    host = attempt.host,
                    "the server, a pooler, takes no options; time limits are set otherwise"
                );
                self.without_options.store(true, Ordering::Relaxed);
                self.log_in(address, attempt, config, tls, true).await?.map_err(|error| attempt.refused(error))
            }
            outcome => outcome.map_err(|error| attempt.refused(error)),
        }
    }

    /// Connects and logs in. The inner error is the server's.
    async fn log_in(
        &self,
        address: &Address,
        attempt: &Attempt<'_>,
        config: &Config,
        tls: Option<&(String, TlsMode)>,
        without_options: bool,
    ) -> Result<Result<Opened, tokio_postgres::Error>, Refusal<Failure>> {
        let mut config = config.clone();
        let own = if without_options { None } else { Some(self.own_options()) };
        let options: Vec<_> = self.settings.options.iter().cloned().chain(own).collect();
        if !options.is_empty() {
            config.options(options.join(" "));
        }
        let handshake = match tls {
            Some((name, mode)) => Some(self.tls.handshake(name, *mode).await?),
            None => None,
        };
        let socket = address.connect(&self.settings).await.map_err(|error| attempt.unreachable(error))?;
        let enter = async {
            match handshake {
                None => {
                    let outcome = config.connect_raw(socket, NoTls).await;
                    outcome.map(|(client, carried)| Opened::new(client, carried, None))
                }
                Some(handshake) => {
                    let seen = handshake.seen();
                    let outcome = config.connect_raw(socket, handshake).await;
                    outcome.map(|(client, carried)| Opened::new(client, carried, seen.facts()))
                }
            }
        };
        let Some(end) = attempt.valid_until else { return Ok(enter.await) };
        tokio::select! {
            // Looked at first: a token is not sent in the same moment in which its end is noticed.
            biased;
            () = sleep(end.duration_since(SystemTime::now()).unwrap_or_default()) => Err(attempt.ended()),
            outcome = enter => Ok(outcome),
        }
    }

    /// What every session has, as options of the start-up message: no further way to the server and back.
    fn own_options(&self) -> String {
        let limits = self.limits("-c ", "=", " ").unwrap_or_default();
        format!("-c TimeZone=UTC {limits}").trim_end().to_owned()
    }

    /// The time limits, written as the server wants them.
    fn limits(&self, set: &str, to: &str, end: &str) -> Option<String> {
        let limits =
            [("statement_timeout", self.settings.statement_timeout), ("lock_timeout", self.settings.lock_timeout)];
        let given = limits.into_iter().filter_map(|(name, limit)| Some((name, limit?.as_millis())));
        let text: String = given.map(|(name, limit)| format!("{set}{name}{to}{limit}{end}")).collect();
        Some(text.trim_end().to_owned()).filter(|text| !text.is_empty())
    }

    /// Finds out what a fresh connection is like, and brings it into the state that it must be in. A server since
    /// version 14 has said all that when it let us in, and has heard all that we want; a pooler may not have.
    async fn settle(&self, opened: &mut Opened) -> Result<Condition, tokio_postgres::Error> {
        let Reported { zone, standby, read_only, .. } = &opened.reported;
        let is_utc = matches!(zone.as_deref(), Some("UTC" | "Etc/UTC"));
        if let (true, Some(standby), Some(read_only)) = (is_utc, standby, read_only) {
            return Ok(Condition { in_recovery: *standby, read_only: *standby || *read_only, limited: true });
        }
        let Opened { client, wire, .. } = opened;
        if !is_utc {
            wire.carry(client.batch_execute("-- settle\nSET TimeZone TO 'UTC'")).await?;
        }
        let asked = client.simple_query(
            "-- settle
             SELECT pg_catalog.pg_is_in_recovery(),
                    pg_catalog.current_setting('transaction_read_only'),
                    (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'statement_timeout'),
                    (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'lock_timeout')",
        );
        let rows = wire.carry(asked).await?;
        let row = rows.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let value = |column| row.and_then(|row| row.get(column));
        let has = |column, limit: Option<Duration>| {
            limit.is_none_or(|limit| value(column).and_then(|is| is.parse().ok()) == Some(limit.as_millis()))
        };
        Ok(Condition {
            in_recovery: value(0) == Some("t"),
            read_only: value(1) == Some("on"),
            limited: has(2, self.settings.statement_timeout) && has(3, self.settings.lock_timeout),
        })
    }
}

impl Opened {
    fn new<T>(client: Client, carried: Connection<Socket, T>, tls: Option<TlsFacts>) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let text = |name| carried.parameter(name).map(str::to_owned);
        let flag = |name| carried.parameter(name).map(|value| value == "on");
        let reported = Reported {
            version: text("server_version").unwrap_or_default(),
            zone: text("TimeZone"),
            standby: flag("in_hot_standby"),
            read_only: flag("default_transaction_read_only"),
        };
        Opened { client, wire: Wire::new(carried), reported, tls }
    }
}

impl Condition {
    /// Why a server of this condition is not wanted, if it is not.
    fn is_unwanted(&self, wanted: TargetSession) -> Option<&'static str> {
        match wanted {
            TargetSession::ReadWrite if self.read_only => Some("it is read-only, and read-write is wanted"),
            TargetSession::ReadOnly if !self.read_only => Some("it takes writes, and read-only is wanted"),
            TargetSession::Primary if self.in_recovery => Some("it is a standby, and a primary is wanted"),
            TargetSession::Standby if !self.in_recovery => Some("it is a primary, and a standby is wanted"),
            _ => None,
        }
    }
}

/// Whether it is the start-up parameter `options` that is refused: pgbouncer says 08P01 for everything, and names the
/// parameter; RDS Proxy says 0A000.
fn is_about_options(error: &tokio_postgres::Error) -> bool {
    let Some(refusal) = error.as_db_error() else { return false };
    match *refusal.code() {
        SqlState::FEATURE_NOT_SUPPORTED => true,
        SqlState::PROTOCOL_VIOLATION => takes_no_options(refusal),
        _ => false,
    }
}
