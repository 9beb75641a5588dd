//! The ledger and the service on it: the real program, in processes of its own.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tempfile::TempDir;
use test_servers::Postgres;

use crate::client::{Client, Request};

/// A ledger of its own: an encrypted file, or a database on a server of its own.
pub(crate) struct Ledger {
    folder: TempDir,
    server: Option<Postgres>,
}

impl Ledger {
    pub(crate) fn on_file() -> Ledger {
        Ledger { folder: folder(), server: None }
    }

    /// On a PostgreSQL server whose commits reach the disk.
    pub(crate) fn on_server() -> Ledger {
        let server = Postgres::plain().durable().setting("max_connections", "300").start();
        Ledger { folder: folder(), server: Some(server) }
    }

    /// Where it is.
    pub(crate) fn name(&self) -> &'static str {
        if self.server.is_some() { "PostgreSQL" } else { "an encrypted file" }
    }

    /// The program with this ledger and no other environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trust-ledger"));
        command.env_clear().env("HOME", self.folder.path()).current_dir(self.folder.path()).stdin(Stdio::null());
        if let Some(server) = &self.server {
            command.args(["--db", &server.url(server.user())]);
        }
        command.args(arguments);
        command
    }

    /// What the program writes; it must end well.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("the program is built");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("the program writes UTF-8")
    }

    pub(crate) fn token(&self, name: &str, role: &str) -> String {
        let created = self.run(&["token", "create", name, "--role", role, "--json"]);
        let created: serde_json::Value = serde_json::from_str(&created).expect("--json writes JSON");
        created["token"].as_str().expect("a token").to_owned()
    }

    /// The records of a source, one after the other.
    pub(crate) fn records(&self, source: &str, mut each: impl FnMut(Record)) {
        let mut list = self.command(&["list", "--source", source, "--json"]);
        let mut list = list.stdout(Stdio::piped()).spawn().expect("the program is built");
        let lines = BufReader::new(list.stdout.take().expect("it is piped")).lines();
        for line in lines.map(|line| line.expect("the program writes UTF-8")) {
            // An array with a record on each line.
            if line.starts_with('{') {
                each(serde_json::from_str(line.trim_end_matches(',')).expect("a record"));
            }
        }
        assert!(list.wait().expect("it was started").success());
    }
}

/// What is looked at of a record.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) serial: String,
    pub(crate) status: String,
    pub(crate) note: Option<String>,
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("the temporary folder can be written")
}

/// `serve` under way; killed when dropped.
pub(crate) struct Served {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From its start until it was ready.
    pub(crate) started_in: Duration,
    log: Option<JoinHandle<()>>,
    faults: Arc<Mutex<Vec<String>>>,
    lines: Arc<AtomicU64>,
}

impl Served {
    /// Starts it and waits until it is ready.
    pub(crate) async fn start(ledger: &Ledger) -> Served {
        let began = Instant::now();
        let mut child =
            ledger.command(&["serve", "--listen", "127.0.0.1:0"]).stderr(Stdio::piped()).spawn().expect("it is built");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let (tell, told) = mpsc::channel();
        let (faults, lines) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicU64>::default());
        let log = std::thread::spawn({
            let (faults, lines) = (faults.clone(), lines.clone());
            move || {
                for line in stderr.lines().map_while(io::Result::ok) {
                    lines.fetch_add(1, Ordering::Relaxed);
                    if line.contains("\"url\":") {
                        let _ = tell.send(line);
                    } else if line.contains("\"level\":\"ERROR\"") || line.contains("panicked at") {
                        faults.lock().expect("nobody panics with it").push(line);
                    }
                }
            }
        });
        let listening = told.recv_timeout(Duration::from_secs(30)).expect("the service says where it listens");
        let listening: serde_json::Value = serde_json::from_str(&listening).expect("the log is JSON");
        let address = listening["url"].as_str().and_then(|url| url.strip_prefix("http://")).expect("a URL");
        let address = address.parse().expect("an address");
        let mut client = Client::connect(address).await.expect("it listens");
        while client.ask(&Request::get("/readyz", "")).await.expect("it answers").status != 200 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Served { child, address, started_in: began.elapsed(), log: Some(log), faults, lines }
    }

    /// Memory of the process now, in MB.
    pub(crate) fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells it");
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * 1024.0 / 1e6
    }

    /// Processor time that it has used so far. Unlike a rate, it hardly depends on what else the machine does.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        // The name, in parentheses, may hold anything; user and system time are the 14th and 15th field.
        let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace().skip(11).take(2);
        // Linux counts in hundredths of a second, whatever the machine.
        fields.map(|ticks| Duration::from_millis(10 * ticks.parse::<u64>().expect("a number"))).sum()
    }

    /// Lines of its log so far.
    pub(crate) fn log_lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Ends it with SIGTERM: it must end with 0, and must have logged no error.
    pub(crate) fn terminate(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        let status = self.child.wait().expect("it was started");
        if let Some(log) = self.log.take() {
            log.join().expect("the log is read to its end");
        }
        let faults = self.faults.lock().expect("nobody panics with it");
        assert!(faults.is_empty(), "the service logged errors: {faults:#?}");
        assert_eq!(status.code(), Some(0), "SIGTERM ends it well");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
