//! How a PostgreSQL server is reached: hosts, user, TLS, time limits.
//!
//! Start from [`Settings::from_text`] or [`Settings::new`]. Every setting, its default and its range are listed in
//! `docs/postgres-connecting.md`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::tls::{Roots, TlsSettings};
use super::url;
use crate::credential::{CredentialProvider, Password};
use crate::error::{Error, Result};
use crate::key::Literal;
use crate::pool::clamp;

/// The port of a server that nobody named another for.
pub(crate) const DEFAULT_PORT: u16 = 5432;

/// The longest application name that the server keeps, in bytes (`NAMEDATALEN` less one).
const MAX_NAME_LEN: usize = 63;

const SECOND: Duration = Duration::from_secs(1);

/// How a server is reached.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Tried in order. Empty: what the credential says, or else this machine's unix socket.
    pub(super) hosts: Vec<Host>,
    /// The port, where a host has none of its own.
    pub(super) port: Option<u16>,
    pub(super) user: Option<String>,
    pub(super) database: Option<String>,
    pub(crate) credentials: Option<Arc<dyn CredentialProvider>>,
    pub(super) tls: TlsSettings,
    pub(super) channel_binding: ChannelBinding,
    pub(super) application_name: String,
    pub(super) options: Option<String>,
    pub(super) connect_timeout: Duration,
    pub(super) keepalive: Option<Keepalive>,
    pub(super) tcp_user_timeout: Option<Duration>,
    pub(super) statement_timeout: Option<Duration>,
    pub(super) lock_timeout: Option<Duration>,
    pub(super) target: TargetSession,
    pub(super) load_balance: bool,
    pub(super) named_statements: bool,
    /// The keys that a text has said.
    pub(super) said: Vec<String>,
}

/// One server of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(super) place: Place,
    pub(super) port: Option<u16>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A host by its name, which the certificate must bear, or by its address. With `address` the name is not looked
    /// up.
    Tcp { name: String, address: Option<IpAddr> },
    /// The folder of a unix socket.
    Unix(PathBuf),
}

/// TCP's own test of an idle connection: after `idle`, every `interval`, given up after `count` without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keepalive {
    pub(crate) idle: Duration,
    pub(crate) interval: Duration,
    pub(crate) count: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        Keepalive { idle: 60 * SECOND, interval: 10 * SECOND, count: 3 }
    }
}

/// Which of several servers will do (libpq's `target_session_attrs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetSession {
    Any,
    /// It accepts writes: no standby, and its transactions are not read-only by default.
    ReadWrite,
    /// The opposite.
    ReadOnly,
    /// It is not in recovery.
    Primary,
    /// It is in recovery.
    Standby,
    /// A standby, or else any.
    PreferStandby,
}

/// Whether the log-in is tied to the TLS connection (RFC 5929, `tls-server-end-point`), so that nobody in between can
/// use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelBinding {
    Disable,
    /// Where the server offers it.
    Prefer,
    Require,
}

impl Settings {
    /// A server by name, address or folder of its unix socket; `database` and `user` as the server knows them.
    pub(crate) fn new(host: &str, database: &str, user: &str) -> Result<Self> {
        let mut settings = Settings::default();
        settings.hosts.push(Host { place: Place::parse(host).map_err(|why| Error::config("host", why))?, port: None });
        settings.database = Some(database.to_owned());
        settings.user = Some(user.to_owned());
        Ok(settings)
    }

    /// What a `postgres://` URL, or text of keys and values, says; both are read as libpq does.
    ///
    /// # Errors
    ///
    /// [`Config`](Error::Config); it never shows the text's password, nor anything that might be a part of it.
    pub(crate) fn from_text(text: &str) -> Result<Self> {
        let (mut settings, password) = url::parse(text)?;
        if let Some(password) = password {
            tracing::warn!(
                "the URL holds a password, where logs and process lists can show it; \
                 leave it out and name its source: an environment variable, a file, a secret store"
            );
            let user = settings.user.clone().map_or_else(system_user, Ok)?;
            settings.credentials = Some(Arc::new(Password::new(user, Literal(password, "password in the URL").into())));
        }
        Ok(settings)
    }

    /// Who opens each connection. It overrides a password in the URL.
    pub(crate) fn credentials(mut self, provider: Arc<dyn CredentialProvider>) -> Self {
        self.credentials = Some(provider);
        self
    }

    /// Longest time to connect to one address and log in. Default 10 s, 1 s to 300 s.
    pub(crate) fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = clamp("connect_timeout", timeout, SECOND, 300 * SECOND);
        self
    }

    /// Longest time that what was sent may stay unacknowledged. Default 60 s, 1 s to a day; `None` leaves it to the
    /// system.
    pub(crate) fn tcp_user_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.tcp_user_timeout = timeout.map(|timeout| clamp("tcp_user_timeout", timeout, SECOND, 86_400 * SECOND));
        self
    }

    /// How an idle connection is tested. Default after 60 s, every 10 s, 3 times; each at least 1; `None` switches it
    /// off.
    pub(crate) fn keepalive(mut self, keepalive: Option<Keepalive>) -> Self {
        self.keepalive = keepalive.map(|Keepalive { idle, interval, count }| Keepalive {
            idle: clamp("keepalives_idle", idle, SECOND, 86_400 * SECOND),
            interval: clamp("keepalives_interval", interval, SECOND, 3600 * SECOND),
            count: clamp("keepalives_count", count, 1, 100),
        });
        self
    }

    /// Longest run of one statement, ended by the server. Default none, 1 ms to a day.
    pub(crate) fn statement_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.statement_timeout = timeout.map(|timeout| server_timeout("statement_timeout", timeout));
        self
    }

    /// Longest wait for one lock, ended by the server. Default none, 1 ms to a day.
    pub(crate) fn lock_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.lock_timeout = timeout.map(|timeout| server_timeout("lock_timeout", timeout));
        self
    }

    /// What the server shows as the client's name. Default the program's; cut off at 63 bytes, and what is not
    /// printable ASCII becomes `?`, as the server has it.
    pub(crate) fn application_name(mut self, name: &str) -> Self {
        let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
        self.application_name = name.chars().map(printable).take(MAX_NAME_LEN).collect();
        self
    }

    /// Whether statements are prepared by name. A pooler in transaction mode that does not know them (pgbouncer before
    /// 1.21, or with `max_prepared_statements = 0`) needs `false`.
    pub(crate) fn named_statements(&self) -> bool {
        self.named_statements
    }

    /// See [`named_statements`](Self::named_statements).
    pub(crate) fn with_named_statements(mut self, named: bool) -> Self {
        self.named_statements = named;
        self
    }

    /// Which CAs are trusted. Default: the system's.
    pub(crate) fn roots(mut self, roots: Roots) -> Self {
        self.tls.roots = Some(roots);
        self
    }

    /// Whether the text that these settings were read from says this key, such as `connect_timeout`.
    pub(crate) fn text_says(&self, key: &str) -> bool {
        self.said.iter().any(|said| said == key)
    }

    /// The servers without user and password, for messages: `postgres://a:5432,b:5432/app`.
    pub(crate) fn shown(&self) -> String {
        let port = self.port.unwrap_or(DEFAULT_PORT);
        let hosts: Vec<_> = self.hosts.iter().map(|host| host.place.shown(host.port.unwrap_or(port))).collect();
        format!("postgres://{}/{}", hosts.join(","), self.database.as_deref().unwrap_or_default())
    }
}

impl Default for Settings {
    fn default() -> Self {
        let program = std::env::args_os().next().map(PathBuf::from);
        let program = program.as_ref().and_then(|path| path.file_name()).unwrap_or_default().to_string_lossy();
        Settings {
            hosts: Vec::new(),
            port: None,
            user: None,
            database: None,
            credentials: None,
            tls: TlsSettings::default(),
            channel_binding: ChannelBinding::Prefer,
            application_name: String::new(),
            options: None,
            connect_timeout: 10 * SECOND,
            keepalive: Some(Keepalive::default()),
            tcp_user_timeout: Some(60 * SECOND),
            statement_timeout: None,
            lock_timeout: None,
            target: TargetSession::Any,
            load_balance: false,
            named_statements: true,
            said: Vec::new(),
        }
        .application_name(&program)
    }
}

/// Without secrets: of the credentials only the source's name.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("hosts", &self.hosts)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("credentials", &self.credentials.as_ref().map(ToString::to_string))
            .field("tls", &self.tls)
            .field("application_name", &self.application_name)
            .field("connect_timeout", &self.connect_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .field("target", &self.target)
            .field("named_statements", &self.named_statements)
            .finish_non_exhaustive()
    }
}

impl Place {
    /// A name, an address, or the folder of a unix socket, which begins with `/`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.as_bytes() {
            [b'/', ..] if cfg!(unix) => Ok(Place::Unix(text.into())),
            [] => Err("is empty; expected a host's name or address, or the folder of a unix socket".to_owned()),
            [b'@', ..] => {
                Err("begins with @: abstract unix sockets are not supported; name the socket's folder".to_owned())
            }
            _ if text.contains(|c: char| c.is_whitespace() || c.is_control() || "/@".contains(c)) => {
                Err("holds a character that no host name has".to_owned())
            }
            _ => Ok(Place::Tcp { name: text.to_owned(), address: text.parse().ok() }),
        }
    }

    /// Whether nothing that is sent there leaves this machine, as far as the settings tell.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Place::Unix(_) => true,
            Place::Tcp { name, address: None } => name.eq_ignore_ascii_case("localhost"),
            Place::Tcp { address: Some(address), .. } => address.is_loopback(),
        }
    }

    /// The host's name, address or folder.
    pub(super) fn name(&self) -> String {
        match self {
            Place::Tcp { name, .. } => name.clone(),
            Place::Unix(folder) => folder.display().to_string(),
        }
    }

    pub(super) fn shown(&self, port: u16) -> String {
        match self {
            Place::Tcp { name, .. } if name.contains(':') => format!("[{name}]:{port}"),
            Place::Tcp { name, .. } => format!("{name}:{port}"),
            Place::Unix(folder) => format!("{}:{port}", folder.display()),
        }
    }
}

/// The user that this program runs as, which libpq takes when none is named.
pub(super) fn system_user() -> Result<String> {
    whoami::username().map_err(|error| {
        Error::config("user", format!("is not named, and the system does not tell who runs this program ({error})"))
    })
}

fn server_timeout(setting: &str, timeout: Duration) -> Duration {
    clamp(setting, timeout, Duration::from_millis(1), 86_400 * SECOND)
}
