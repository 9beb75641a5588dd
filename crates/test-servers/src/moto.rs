//! moto: a server that answers as AWS does (Secrets Manager, KMS, RDS, STS and others).

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use crate::guard::{self, Guard};

/// A running moto server with an account of its own, empty; dropped, it ends at once. It takes any credentials.
pub struct Moto {
    port: u16,
    _guard: Guard,
}

impl Moto {
    /// Starts it with the interpreter that [`needs::moto`](crate::needs::moto) found. Takes about 1.5 s.
    ///
    /// # Panics
    ///
    /// With its output, when it does not start.
    pub fn start(python: &Path) -> Moto {
        let mut log = String::new();
        for _ in 0..10 {
            let folder = tempfile::Builder::new().prefix("ts-moto-").tempdir().expect("a temporary folder").keep();
            let port = guard::free_port();
            let mut program = vec![OsString::from(python)];
            program.extend(["-m", "moto.server", "-H", "127.0.0.1", "-p"].map(OsString::from));
            program.push(port.to_string().into());
            let mut guard = Guard::new(&folder, Command::new(guard::SHELL), "KILL", &program);
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            if guard.start(|| TcpStream::connect(address).is_ok()) {
                return Moto { port, _guard: guard };
            }
            log = guard.log();
            if !log.contains("in use") {
                break;
            }
        }
        panic!("moto does not start; it says:\n{log}");
    }

    /// What an SDK wants as `endpoint_url`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
