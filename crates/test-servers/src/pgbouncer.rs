//! pgbouncer in transaction mode: what stands between applications and many servers, RDS Proxy among them.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::account;
use crate::certificates::{Identity, write_private};
use crate::guard::{self, Guard};
use crate::postgres::Postgres;

/// Where Debian and Ubuntu have it; `/usr/sbin` is not in everybody's `PATH`.
pub(crate) const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// A running pgbouncer; dropped, it ends at once and leaves nothing.
pub struct PgBouncer<'a> {
    server: &'a Postgres,
    port: u16,
    guard: Mutex<Guard>,
}

/// What a pgbouncer is to be like, before it starts.
#[must_use = "nothing runs before `start()`"]
pub struct PgBouncerSetup<'a> {
    server: &'a Postgres,
    tls: Option<Identity>,
    settings: Vec<(String, String)>,
}

impl PgBouncer<'_> {
    /// In front of all databases of a server made by [`Postgres::plain`] or [`Postgres::scram`], in transaction mode.
    /// Clients come in as they would there: the same role, with the same password if it has one.
    pub fn in_front_of(server: &Postgres) -> PgBouncerSetup<'_> {
        PgBouncerSetup { server, tls: None, settings: Vec::new() }
    }

    /// Address of its TCP port.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// URL of one of the server's databases through it; see [`Postgres::url`].
    pub fn url(&self, database: &str) -> String {
        self.server.url_at(self.address(), database)
    }

    /// All that it has logged so far.
    pub fn log(&self) -> String {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner).log()
    }
}

impl<'a> PgBouncerSetup<'a> {
    /// A setting of `pgbouncer.ini`, section `pgbouncer`, as text. The last one of a name wins.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Clients who are idle for this long are sent away, FATAL 08P01, as RDS Proxy does after 1,800 s.
    pub fn client_idle_timeout(self, after: Duration) -> Self {
        self.setting("client_idle_timeout", &after.as_secs_f64().to_string())
    }

    /// Clients have to use TLS, and see this certificate.
    pub fn tls(mut self, identity: &Identity) -> Self {
        self.tls = Some(identity.clone());
        self
    }

    /// Starts it.
    ///
    /// # Panics
    ///
    /// With its log, when it does not start.
    pub fn start(self) -> PgBouncer<'a> {
        let folder = account::folder();
        let ini = folder.join("pgbouncer.ini");
        let program = [OsString::from(PROGRAM), ini.into()];
        let mut guard = Guard::new(&folder, account::command(Path::new(guard::SHELL)), "KILL", &program);
        for _ in 0..10 {
            let port = guard::free_port();
            self.configure(&folder, port);
            // It is up when it has written its process id, after it has taken the port.
            let pid_file = folder.join("pid");
            if guard.start(|| pid_file.exists()) {
                return PgBouncer { server: self.server, port, guard: Mutex::new(guard) };
            }
            if !guard.log().contains("in use") {
                break;
            }
        }
        panic!("pgbouncer does not start; its log:\n{}", guard.log());
    }

    fn configure(&self, folder: &Path, port: u16) {
        let password = self.server.password();
        let mut settings: Vec<(String, String)> = Vec::new();
        let mut set = |name: &str, value: &str| settings.push((name.to_owned(), value.to_owned()));
        set("pool_mode", "transaction");
        set("listen_addr", "127.0.0.1");
        set("listen_port", &port.to_string());
        set("unix_socket_dir", "");
        set("pidfile", &folder.join("pid").to_string_lossy());
        set("auth_type", if password.is_some() { "scram-sha-256" } else { "trust" });
        set("auth_file", &folder.join("users").to_string_lossy());
        if let Some(identity) = &self.tls {
            let (certificate, key) = (folder.join("server.crt"), folder.join("server.key"));
            fs::write(&certificate, identity.certificate()).expect("own folder");
            write_private(&key, identity.key());
            set("client_tls_sslmode", "require");
            set("client_tls_cert_file", &certificate.to_string_lossy());
            set("client_tls_key_file", &key.to_string_lossy());
        }
        settings.extend(self.settings.iter().cloned());
        let settings: String = settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
        let server = (self.server.socket_folder().display(), self.server.port());
        let ini = format!("[databases]\n* = host={} port={}\n\n[pgbouncer]\n{settings}", server.0, server.1);
        fs::write(folder.join("pgbouncer.ini"), ini).expect("own folder");
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let users = format!("{} {}\n", quoted(self.server.user()), quoted(password.unwrap_or_default()));
        write_private(&folder.join("users"), &users);
        account::own(folder);
    }
}
