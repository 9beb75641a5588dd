//! moto: a server that answers as AWS does (Secrets Manager, KMS, RDS, STS and others).

use std::ffi::OsString;
use std::io::{self, Read, Write};
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

    /// Makes `value` the current version of Secrets Manager's secret `id` in `region`, and the secret if there is none.
    ///
    /// # Panics
    ///
    /// With its answer, when that is an error.
    pub fn put_secret(&self, region: &str, id: &str, value: &str) {
        let (id, value) = (json(id), json(value));
        let call = |operation: &str, body: String| {
            let answer = self.call(region, &format!("secretsmanager.{operation}"), &body);
            answer.unwrap_or_else(|error| panic!("moto does not answer: {error}"))
        };
        let put = call("PutSecretValue", format!("{{\"SecretId\":{id},\"SecretString\":{value}}}"));
        if is_success(&put) {
            return;
        }
        assert!(put.contains("ResourceNotFoundException"), "{put}");
        let created = call("CreateSecret", format!("{{\"Name\":{id},\"SecretString\":{value}}}"));
        assert!(is_success(&created), "{created}");
    }

    /// Calls an operation of a service with a JSON protocol; answers status line, header and body. moto looks into the
    /// signature for service and region alone.
    fn call(&self, region: &str, target: &str, body: &str) -> io::Result<String> {
        let service = target.split('.').next().unwrap_or_default();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        write!(
            stream,
            "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/x-amz-json-1.1\r\n\
             X-Amz-Target: {target}\r\nContent-Length: {}\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=AKIDADMIN/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

fn is_success(answer: &str) -> bool {
    answer.split(' ').nth(1) == Some("200")
}

/// A string as JSON has it.
fn json(text: &str) -> String {
    let escaped = text.chars().map(|character| match character {
        '"' | '\\' => format!("\\{character}"),
        control if control < ' ' => format!("\\u{:04x}", u32::from(control)),
        other => other.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}
