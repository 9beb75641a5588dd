//! PostgreSQL servers.

mod database;
pub(crate) mod iam;
mod setup;
mod standby;
mod template;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

pub use database::TestDatabase;
pub use iam::IamKeys;
use setup::Access;
pub use setup::Setup;

use crate::account;
use crate::certificates::Identity;
use crate::guard::Guard;

/// A running server, on a free port of 127.0.0.1 and a unix socket; dropped, it ends at once and leaves nothing.
///
/// It has the role it was made for, who is no superuser, and a database of the same name that the role owns. The
/// superuser works through [`execute`](Postgres::execute) and [`query`](Postgres::query).
pub struct Postgres {
    setup: Setup,
    port: u16,
    folder: PathBuf,
    guard: Mutex<Guard>,
}

/// A client's session on the server, as `pg_stat_activity` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Process id of its backend.
    pub pid: u32,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// What the client calls itself, or empty.
    pub application: String,
    /// `active`, `idle`, `idle in transaction`, `idle in transaction (aborted)`, …; empty before it is logged in.
    pub state: String,
    /// The statement it runs, or ran last.
    pub query: String,
}

impl Postgres {
    /// The role `app` comes in without a password.
    pub fn plain() -> Setup {
        Setup::new("app", Access::Trust)
    }

    /// `user` comes in with `password`, by SCRAM-SHA-256, over TCP and over the socket.
    pub fn scram(user: &str, password: &str) -> Setup {
        let mut setup = Setup::new(user, Access::Scram);
        setup.password = Some(password.to_owned());
        setup
    }

    /// `user` comes in with a client certificate of the server's issuer ([`Ca::client`](crate::Ca::client)), over TLS.
    pub fn client_certificate(user: &str, server: &Identity) -> Setup {
        Setup::new(user, Access::Certificate).tls(server)
    }

    /// One server for the whole test process, made by the first call: for tests that need a database and don't touch
    /// the server. Role `app` without password; 300 connections.
    pub fn shared() -> &'static Postgres {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        // It is never dropped: its guard ends it with this process.
        SHARED.get_or_init(|| Postgres::plain().setting("max_connections", "300").start())
    }

    /// Address of its TCP port.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Its TCP port; the socket's file carries the same number.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Folder of its unix socket, closed to other users.
    pub fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// The role it was made for.
    pub fn user(&self) -> &str {
        &self.setup.user
    }

    /// That role's password, if it has one.
    pub fn password(&self) -> Option<&str> {
        self.setup.password.as_deref()
    }

    /// URL of one of its databases for its role, with the password: `postgres://app:secret@127.0.0.1:5433/app`.
    pub fn url(&self, database: &str) -> String {
        if self.setup.only_socket { self.socket_url(database) } else { self.url_at(self.address(), database) }
    }

    /// The same by way of another address: a proxy's, a pooler's.
    pub fn url_at(&self, address: SocketAddr, database: &str) -> String {
        format!("postgres://{}@{address}/{}", self.log_in(), escape(database))
    }

    /// The same through the unix socket.
    pub fn socket_url(&self, database: &str) -> String {
        let folder = escape(&self.folder.to_string_lossy());
        format!("postgres://{}@{folder}:{}/{}", self.log_in(), self.port, escape(database))
    }

    /// A fresh database that the server's role owns, dropped when it is dropped.
    pub fn create_database(&self) -> TestDatabase<'_> {
        TestDatabase::new(self)
    }

    /// Runs SQL as superuser, in the database `postgres`. Several statements are one transaction, as in libpq.
    ///
    /// # Panics
    ///
    /// With the server's error.
    pub fn execute(&self, sql: &str) {
        self.query(sql);
    }

    /// Runs SQL as superuser, in the database `postgres`, and tells the rows as text; NULL is an empty text.
    ///
    /// # Panics
    ///
    /// With the server's error.
    pub fn query(&self, sql: &str) -> Vec<Vec<String>> {
        self.query_in("postgres", sql)
    }

    /// [`Postgres::query`] in another database.
    ///
    /// # Panics
    ///
    /// With the server's error.
    pub fn query_in(&self, database: &str, sql: &str) -> Vec<Vec<String>> {
        let (host, port) = (self.folder.to_string_lossy(), self.port.to_string());
        // Separators that no text of a test has.
        let arguments = ["-X", "-q", "-A", "-t", "-F", "\x1f", "-R", "\x1e", "-U", "postgres", "-h", &host];
        let out = tool("psql", &[&arguments[..], &["-p", &port, "-d", database, "-c", sql]].concat());
        let out = out.strip_suffix('\n').unwrap_or(&out);
        let rows = out.split('\x1e').filter(|row| !row.is_empty());
        rows.map(|row| row.split('\x1f').map(str::to_owned).collect()).collect()
    }

    /// The clients' sessions, but for the one that asks. For "nobody is left `idle in transaction`".
    pub fn sessions(&self) -> Vec<Session> {
        let rows = self.query(
            "select pid, usename, datname, application_name, state, query from pg_stat_activity \
             where backend_type = 'client backend' and pid <> pg_backend_pid() order by pid",
        );
        let session = |row: Vec<String>| -> Option<Session> {
            let [pid, user, database, application, state, query] = row.try_into().ok()?;
            Some(Session { pid: pid.parse().ok()?, user, database, application, state, query })
        };
        rows.into_iter().map(|row| session(row).expect("six columns, the first a process id")).collect()
    }

    /// All that the server has logged so far.
    pub fn log(&self) -> String {
        self.guard().log()
    }

    /// Process id of the postmaster, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.guard().pid()
    }

    /// Ends the server as an administrator does (fast shutdown): clients are told, 57P01, and the data is in order.
    pub fn stop(&self) {
        self.guard().end("INT");
    }

    /// Ends the server at once (immediate shutdown), as a crash would: the next start recovers.
    pub fn kill(&self) {
        self.guard().end("QUIT");
    }

    /// Starts it again on the same port, after ending it ([`stop`](Postgres::stop)) if it runs.
    ///
    /// # Panics
    ///
    /// When it does not start, because somebody took the port meanwhile or for another reason that the log tells.
    pub fn restart(&self) {
        let mut guard = self.guard();
        guard.end("INT");
        let data = self.folder.join("data");
        assert!(guard.start(|| is_ready(&data)), "PostgreSQL does not start again; its log:\n{}", guard.log());
    }

    /// A panic in one test is no reason to fail the others that share the server.
    fn guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// User, and password if there is one, as they stand in a URL.
    fn log_in(&self) -> String {
        let password = self.password().map_or_else(String::new, |password| format!(":{}", escape(password)));
        escape(self.user()) + &password
    }
}

/// Folder of PostgreSQL's programs: the newest version of Debian's, else where `postgres` is found in `PATH`.
pub(crate) fn programs() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let versions = Path::new("/usr/lib/postgresql").read_dir().into_iter().flatten().flatten();
        let newest = versions
            .filter(|version| version.path().join("bin/initdb").exists())
            .max_by_key(|version| version.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
        let in_path = || std::env::split_paths(&std::env::var_os("PATH")?).find(|at| at.join("initdb").exists());
        newest.map(|version| version.path().join("bin")).or_else(in_path)
    };
    FOLDER.get_or_init(find).as_deref()
}

/// Path of one of PostgreSQL's programs.
fn program(name: &str) -> PathBuf {
    programs().expect("`needs::postgres()` was asked: PostgreSQL is installed").join(name)
}

/// Runs one of PostgreSQL's programs as the server's user to its end and tells what it wrote.
fn tool(name: &str, arguments: &[&str]) -> String {
    let output = account::command(&program(name)).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{name} fails ({}): {}", output.status, text(&output.stderr).trim());
    text(&output.stdout)
}

/// Whether the server on `data` takes connections: the eighth line of its lock file says so, for `pg_ctl`.
fn is_ready(data: &Path) -> bool {
    let lock = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    lock.lines().nth(7).is_some_and(|status| status.trim() == "ready")
}

/// A name or a literal as SQL and configuration files have it: quotes within are doubled.
fn quote(mark: char, text: &str) -> String {
    format!("{mark}{}{mark}", text.replace(mark, &format!("{mark}{mark}")))
}

/// Percent-encoding of all but RFC 3986's unreserved characters.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
