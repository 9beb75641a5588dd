//! Tokens against botocore; secrets, keys and roles against moto, which plays AWS; faults and metadata services against
//! small servers of our own.

mod faults;
mod identity;
mod kms;
mod login;
mod secret;
mod token;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use zeroize::Zeroizing;

use super::json::{Object, quoted};
use super::signature::Keys;
use super::{Account, AwsSecret, Operation};
use crate::error::Error;

const REGION: &str = "eu-central-1";

/// The password that must appear nowhere but in the answer.
const CANARY: &str = "canary-7Jq\"\\/ü";

fn keys() -> Keys {
    Keys {
        id: "AKIDEXAMPLE".to_owned(),
        secret: Zeroizing::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
        session_token: Some(Zeroizing::new("session+/=".repeat(70))),
        end: Some(SystemTime::now() + Duration::from_secs(3600)),
    }
}

fn account(url: &str) -> Account {
    Account::default().region(REGION.to_owned()).endpoint(url.to_owned()).with_keys(keys())
}

fn secret_at(url: &str, id: &str) -> AwsSecret {
    AwsSecret::new(id).account(|_| account(url))
}

/// An error with its causes, as a program prints them.
fn chain(error: &Error) -> String {
    let mut text = format!("{error} | {error:?}");
    let mut cause = std::error::Error::source(error);
    while let Some(found) = cause {
        text.push_str(&format!(" <- {found} | {found:?}"));
        cause = found.source();
    }
    assert!(!text.contains("canary"), "{text}");
    assert!(!text.contains("wJalr") && !text.contains("session+/="), "{text}");
    text
}

/// The interpreter that has moto, botocore and freezegun; see CONTRIBUTING.md, "Judges".
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("TRUST_LEDGER_PYTHON").filter(|value| !value.is_empty());
    if python.is_none() {
        let is_set = |name, wanted| std::env::var_os(name).is_some_and(|value| value == wanted);
        let required = is_set("TRUST_LEDGER_REQUIRE_JUDGES", "1") || is_set("CI", "true");
        assert!(!required, "needs TRUST_LEDGER_PYTHON");
        println!("skipped: needs TRUST_LEDGER_PYTHON");
    }
    python.map(PathBuf::from)
}

/// Runs moto until standard input ends, as it does when this process is gone.
const MOTO: &str = "
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto.server import main
main(['-H', '127.0.0.1', '-p', sys.argv[1]])
";

/// AWS on this machine. It accepts every signature.
struct Moto {
    _process: Child,
    url: String,
}

impl Moto {
    /// The one that all tests share, each with secrets of its own; `None` when there is no Python to run it.
    fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Moto> = OnceLock::new();
        let python = python()?;
        Some(SHARED.get_or_init(|| Moto::start(&python)))
    }

    fn start(python: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(python);
        command.args(["-I", "-c", MOTO, &port.to_string()]).stdin(Stdio::piped());
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "moto does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Moto { _process: process, url: format!("http://127.0.0.1:{port}") }
    }

    /// Calls an operation, as an administrator would.
    async fn call(&self, service: &'static str, target: &'static str, body: &str) -> Object {
        let operation = Operation { service, variable: "", target, permission: "" };
        let answer = account(&self.url).call(&"the test", &operation, body.as_bytes()).await.unwrap();
        Object::parse(&answer).unwrap()
    }

    async fn create(&self, id: &str, value: &str) {
        let body = format!(
            "{{\"Name\":{},\"SecretString\":{},\"ClientRequestToken\":\"{}\"}}",
            quoted(id),
            quoted(value),
            token()
        );
        self.call("secretsmanager", "secretsmanager.CreateSecret", &body).await;
    }

    async fn put(&self, id: &str, value: &str) {
        let body = format!(
            "{{\"SecretId\":{},\"SecretString\":{},\"ClientRequestToken\":\"{}\"}}",
            quoted(id),
            quoted(value),
            token()
        );
        self.call("secretsmanager", "secretsmanager.PutSecretValue", &body).await;
    }
}

fn token() -> uuid::Uuid {
    uuid::Uuid::now_v7()
}

/// What the small server does with a request.
#[derive(Clone)]
enum Reply {
    /// Status, further header lines, body.
    Says(u16, String, String),
    /// Never answers.
    Hangs,
    /// Closes in the middle of the answer.
    Breaks,
}

impl Reply {
    fn json(status: u16, body: impl Into<String>) -> Self {
        Reply::Says(status, String::new(), body.into())
    }
}

/// A small HTTP server, which answers each request, named by method and path, as it is told.
struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    answer: Arc<Mutex<Answer>>,
}

type Answer = Box<dyn Fn(&str, &str) -> Reply + Send>;

impl Server {
    fn start(answer: impl Fn(&str, &str) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Box::new(answer)));
        let requests = Arc::new(AtomicUsize::new(0));
        let (answers, count) = (Arc::clone(&answer), Arc::clone(&requests));
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answers, count) = (Arc::clone(&answers), Arc::clone(&count));
                std::thread::spawn(move || serve(stream, &answers, &count));
            }
        });
        Server { address, requests, answer }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn now_answers(&self, answer: impl Fn(&str, &str) -> Reply + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, answer: &Mutex<Answer>, count: &AtomicUsize) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).unwrap();
    count.fetch_add(1, Ordering::SeqCst);
    let request = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    let reply = answer.lock().unwrap()(&request, &head);
    match reply {
        Reply::Says(status, headers, body) => {
            let _ = write!(
                stream,
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
                body.len()
            );
        }
        Reply::Hangs => std::thread::sleep(Duration::from_secs(60)),
        Reply::Breaks => {
            let _ = write!(stream, "HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{{\"Secret");
        }
    }
}
