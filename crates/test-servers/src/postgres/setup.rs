//! What a server is to be like, before it starts.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::{Postgres, iam, quote, template};
use crate::account;
use crate::certificates::{Identity, write_private};
use crate::guard::{self, Guard};

/// A server's set-up: made by one of [`Postgres`]'s constructors, changed by the methods here, ended by
/// [`start`](Setup::start).
#[derive(Clone)]
#[must_use = "nothing runs before `start()`"]
pub struct Setup {
    pub(super) user: String,
    pub(super) password: Option<String>,
    pub(super) access: Access,
    pub(super) tls: Option<Identity>,
    pub(super) only_tls: bool,
    pub(super) only_socket: bool,
    pub(super) durable: bool,
    pub(super) settings: Vec<(String, String)>,
}

/// How clients prove who they are.
#[derive(Clone)]
pub(super) enum Access {
    Trust,
    Scram,
    Certificate,
    Iam(iam::Service),
}

/// Before all others, so that a test's own come last and win.
const SETTINGS: [(&str, &str); 6] = [
    // WAL files are small here (see the template), the room for them is as usual.
    ("max_wal_size", "1GB"),
    ("min_wal_size", "80MB"),
    // What a standby that starts, or a rewind, may ask for.
    ("wal_keep_size", "512MB"),
    ("log_line_prefix", "%m [%p] %q%u@%d "),
    ("log_timezone", "UTC"),
    ("timezone", "UTC"),
];

impl Setup {
    pub(super) fn new(user: &str, access: Access) -> Setup {
        Setup {
            user: user.to_owned(),
            password: None,
            access,
            tls: None,
            only_tls: false,
            only_socket: false,
            durable: false,
            settings: Vec::new(),
        }
    }

    /// A setting of `postgresql.conf`, as text: `setting("max_connections", "5")`, of which three are kept
    /// for the superuser. The last one of a name wins.
    pub fn setting(mut self, name: &str, value: &str) -> Setup {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The server offers TLS with this certificate, and takes client certificates of the same issuer.
    pub fn tls(mut self, identity: &Identity) -> Setup {
        self.tls = Some(identity.clone());
        self
    }

    /// Over TCP only TLS is let in (`hostssl`); others get "no pg_hba.conf entry", 28000.
    pub fn only_tls(mut self) -> Setup {
        self.only_tls = true;
        self
    }

    /// The server listens on its unix socket alone; [`Postgres::url`] names that.
    pub fn only_socket(mut self) -> Setup {
        self.only_socket = true;
        self
    }

    /// Data is on disk, and gets there before a commit is answered (`fsync=on`), as benchmarks need it. Else it may be
    /// in memory (`/dev/shm`), and a crash of the machine, though not of the server, would lose it.
    pub fn durable(mut self) -> Setup {
        self.durable = true;
        self
    }

    /// Starts the server and makes the role and a database of the same name that it owns. Takes about 0.2 s; the first
    /// time in a target folder 1 s more.
    ///
    /// # Panics
    ///
    /// With the server's log, when it does not start.
    pub fn start(self) -> Postgres {
        let folder = self.folder();
        template::data_folder(&folder.join("data"));
        let server = self.launch(&folder);
        let role = quote('"', &server.setup.user);
        let password = server.setup.password.as_ref();
        let password = password.map_or_else(String::new, |password| format!(" password {}", quote('\'', password)));
        server.execute(&format!("create role {role} login{password}"));
        server.execute(&format!("create database {role} owner {role}"));
        if matches!(server.setup.access, Access::Iam(_)) {
            server.execute(&format!("create role rds_iam; grant rds_iam to {role}"));
        }
        server
    }

    /// A folder for a server like this.
    pub(super) fn folder(&self) -> PathBuf {
        if self.durable { account::folder() } else { account::folder_in_memory() }
    }

    /// Starts a server on the data in `folder/data`, whatever it was made from. Another port each time that somebody
    /// else took it first.
    pub(super) fn launch(self, folder: &Path) -> Postgres {
        let data = folder.join("data");
        let mut program = vec![OsString::from("env")];
        if matches!(self.access, Access::Iam(_)) {
            program.extend(iam::environment(&data));
        }
        program.push(super::program("postgres").into());
        program.extend([OsString::from("-D"), data.clone().into()]);
        let mut server = None;
        for _ in 0..10 {
            let port = guard::free_port();
            self.configure(folder, port);
            let guard = server.get_or_insert_with(|| {
                Guard::new(folder, account::command(Path::new(guard::SHELL)), self.last_signal(), &program)
            });
            if guard.start(|| super::is_ready(&data)) {
                let guard = server.take().expect("just started");
                return Postgres { setup: self, port, folder: folder.to_owned(), guard: Mutex::new(guard) };
            }
            if !guard.log().contains("could not bind") {
                break;
            }
        }
        panic!("PostgreSQL does not start; its log:\n{}", server.map_or_else(String::new, |guard| guard.log()));
    }

    /// Ends the server at once. One with PAM is ended as an administrator does, because its sessions have folders in
    /// `/tmp` to clean up (pam_wrapper's).
    fn last_signal(&self) -> &'static str {
        if matches!(self.access, Access::Iam(_)) { "INT" } else { "QUIT" }
    }

    /// Writes the configuration into the data folder. Only relative names within it, so that a copy works elsewhere.
    pub(super) fn configure(&self, folder: &Path, port: u16) {
        let data = folder.join("data");
        let mut settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let mut set = |name: &str, value: &str| settings.push((name.to_owned(), value.to_owned()));
        set("fsync", if self.durable { "on" } else { "off" });
        set("listen_addresses", if self.only_socket { "" } else { "127.0.0.1" });
        set("port", &port.to_string());
        set("unix_socket_directories", &folder.to_string_lossy());
        if let Some(identity) = &self.tls {
            fs::write(data.join("server.crt"), identity.certificate()).expect("own folder");
            fs::write(data.join("ca.crt"), identity.issuer()).expect("own folder");
            write_private(&data.join("server.key"), identity.key());
            set("ssl", "on");
            set("ssl_ca_file", "ca.crt");
        }
        settings.extend(self.settings.iter().cloned());
        let settings: Vec<String> =
            settings.iter().map(|(name, value)| format!("{name} = {}\n", quote('\'', value))).collect();
        fs::write(data.join("postgresql.conf"), settings.concat()).expect("own folder");

        // The superuser comes in through the socket, whose folder is closed to others.
        let mut rules = "local all postgres trust\nlocal replication postgres trust\n".to_owned();
        let tcp = if self.only_tls { "hostssl" } else { "host" };
        rules += &match &self.access {
            Access::Trust => format!("local all all trust\n{tcp} all all 127.0.0.1/32 trust\n"),
            Access::Scram => {
                format!("local all all scram-sha-256\n{tcp} all all 127.0.0.1/32 scram-sha-256\n")
            }
            Access::Certificate => "hostssl all all 127.0.0.1/32 cert\n".to_owned(),
            Access::Iam(service) => {
                service.configure(&data, port);
                "hostssl all +rds_iam 127.0.0.1/32 pam pamservice=rdsiam\n\
                 hostssl all all 127.0.0.1/32 scram-sha-256\n"
                    .to_owned()
            }
        };
        fs::write(data.join("pg_hba.conf"), rules).expect("own folder");
        account::own(folder);
    }
}
