//! `serve` and `token`: the service as its operator and its clients meet it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::certificates::Plan;
use crate::home::{Home, Run};

/// `serve` under way; killed when dropped.
struct Serving {
    child: Child,
    /// `host:port`.
    address: String,
    log: mpsc::Receiver<String>,
}

impl Serving {
    fn start(home: &Home, arguments: &[&str]) -> Serving {
        let mut command = home.command(["serve", "--listen", "127.0.0.1:0"]);
        Serving::spawn(command.args(arguments))
    }

    fn spawn(command: &mut Command) -> Serving {
        let child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, log) = mpsc::channel();
        // From here on it is killed, whatever happens.
        let mut serving = Serving { child, address: String::new(), log };
        let stderr = BufReader::new(serving.child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut said = Vec::new();
        while serving.address.is_empty() {
            let line = serving.log.recv_timeout(Duration::from_secs(20));
            let line = line.unwrap_or_else(|_| panic!("not listening: {said:#?}"));
            let told: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(url) = told["url"].as_str() {
                serving.address = url.split_once("://").unwrap().1.to_owned();
            }
            said.push(line);
        }
        serving
    }

    fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> String {
        ask(&self.address, method, path, token, body)
    }

    /// Sends SIGTERM; the exit code, and what was logged since the start.
    fn terminate(mut self) -> (Option<i32>, Vec<String>) {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
        let code = self.child.wait().unwrap().code();
        (code, self.log.iter().collect())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks once; the answer with its head.
fn ask(address: &str, method: &str, path: &str, token: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: application/x-pem-file\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn token(home: &Home, name: &str, role: &str) -> String {
    home.json(["token", "create", name, "--role", role])["token"].as_str().unwrap().to_owned()
}

#[test]
fn a_token_is_shown_once_listed_without_its_secret_and_revoked_by_name() {
    let home = Home::new();
    home.run(["init"]).expect(0);
    let created = home.json(["token", "create", "ci", "--role", "registrar", "--expires", "30d"]);
    let text = created["token"].as_str().unwrap();
    assert_eq!((&created["name"], &created["role"]), (&"ci".into(), &"registrar".into()));
    let run = home.run(["token", "create", "ops", "--role", "admin", "--expires", "never"]).expect(0);
    assert!(run.stdout.starts_with("tl_") && run.stdout.trim_end().len() == 79, "{}", run.stdout);
    assert!(run.stderr.contains("shown once") && run.stderr.contains("does not expire"), "{}", run.stderr);

    let list = home.json(["token", "list"]);
    let names: Vec<_> = list.as_array().unwrap().iter().map(|token| token["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["ops", "ci"]);
    let secret = text.splitn(3, '_').nth(2).unwrap();
    assert!(!list.to_string().contains(secret));
    let table = home.run(["token", "list"]).expect(0).stdout;
    assert!(table.starts_with("NAME  ROLE       STATE  EXPIRES") && table.lines().count() == 3, "{table}");

    let run = home.run(["token", "create", "ci", "--role", "reader"]).expect(1);
    assert!(run.failure().contains("is named \"ci\""), "{}", run.stderr);
    home.run(["token", "create", "x", "--role", "king"]).expect(2);
    home.run(["token", "create", "x", "--role", "reader", "--expires", "0d"]).expect(1).failure();
    home.run(["token", "create", "", "--role", "reader"]).expect(1).failure();
    assert_eq!(home.run(["token", "revoke", "ci"]).expect(0).stdout.split(' ').nth(1), Some("ci"));
    home.run(["token", "revoke", "ci"]).expect(3).failure();
    let id = created["id"].as_str().unwrap();
    assert!(home.json(["token", "revoke", id])["revoked_at"].is_string());
    home.run(["token", "create", "ci", "--role", "reader"]).expect(0);
    let events = home.json(["audit", "--limit", "10"]);
    let actions: Vec<_> = events.as_array().unwrap().iter().map(|event| event["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["token.created", "token.revoked", "token.created", "token.created"]);
}

/// A certificate comes in by the service and is found by the command line, which also tells who sent it. The service logs
/// JSON, and no token; SIGTERM ends it with 0 and everything in the one file.
#[test]
fn the_service_and_the_command_line_share_the_ledger() {
    let home = Home::new();
    home.run(["init"]).expect(0);
    let token = token(&home, "ci", "registrar");
    let serving = Serving::start(&home, &[]);
    let pem = Plan::server(7, "a.example").pem();
    let answer = serving.ask("POST", "/v1/certificates?owner=web", &token, &pem);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(serving.ask("GET", "/v1/audit", &token, "").starts_with("HTTP/1.1 403"));
    assert!(serving.ask("GET", "/readyz", "", "").starts_with("HTTP/1.1 200"));
    let listed = home.json(["list", "a.example"]);
    assert_eq!(listed[0]["owner"], "web");
    let request = answer.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
    let events = home.json(["audit", "--request", request]);
    assert_eq!((&events[0]["actor"], &events[0]["origin"]), (&"ci".into(), &"127.0.0.1".into()));
    let table = home.run(["audit"]).expect(0).stdout;
    assert!(table.lines().next().unwrap().contains("ORIGIN") && table.contains("127.0.0.1"), "{table}");

    let (code, log) = serving.terminate();
    assert_eq!(code, Some(0), "{log:#?}");
    let secret = token.splitn(3, '_').nth(2).unwrap();
    for line in &log {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(!line.contains(secret), "{line}");
    }
    assert!(log.iter().any(|line| line.contains(request) && line.contains("\"status\":201")), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("stopping")), "{log:#?}");
    let beside: Vec<_> = std::fs::read_dir(home.ledger().parent().unwrap()).unwrap().collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
    assert!(home.json(["token", "list"])[0]["last_used_at"].is_string());
}

/// Goal: whoever gets hold of the ledger, of a backup or of a log has no token. Method: everything that making, using and
/// revoking one leaves, on a plain file with all logs, is searched for any eight characters in a row of its secret.
#[test]
fn a_secret_of_a_token_is_in_no_log_and_in_no_ledger_not_even_in_a_plain_one() {
    let home = Home::new();
    let traced = |arguments: &[&str]| {
        let mut command = home.command([arguments, &["--db", "plain.db", "--no-key"]].concat());
        command.env("RUST_LOG", "trace");
        command
    };
    let run = |arguments: &[&str]| Run::of(&mut traced(arguments)).expect(0);
    run(&["init"]);
    let created = run(&["token", "create", "ci", "--role", "admin"]);
    let token = created.stdout.trim();
    let serving = Serving::spawn(&mut traced(&["serve", "--listen", "127.0.0.1:0"]));
    let mut left = vec![created.stderr];
    for (method, path, body) in [
        ("POST", "/v1/certificates", Plan::server(7, "a.example").pem()),
        ("POST", "/v1/certificates", "no certificate".to_owned()),
        ("GET", "/v1/audit", String::new()),
        ("GET", "/metrics", String::new()),
    ] {
        left.push(serving.ask(method, path, token, &body));
    }
    assert!(left[1].starts_with("HTTP/1.1 201"), "{}", left[1]);
    let (code, log) = serving.terminate();
    assert_eq!(code, Some(0), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("\"DEBUG\"")), "there is a log to look at: {log:#?}");
    left.extend(log);
    for run in [run(&["token", "list", "--json"]), run(&["token", "revoke", "ci"]), run(&["audit", "--json"])] {
        left.extend([run.stdout, run.stderr]);
    }
    let written = std::fs::read(home.path("plain.db")).unwrap();
    assert!(written.starts_with(b"SQLite format 3"));
    left.push(String::from_utf8_lossy(&written).into_owned());

    let secret = token.splitn(3, '_').nth(2).unwrap();
    for piece in secret.as_bytes().windows(8).map(|piece| std::str::from_utf8(piece).unwrap()) {
        for text in &left {
            assert!(!text.contains(piece), "{piece} is in {text}");
        }
    }
}

/// kill -9 in the middle of requests: what was answered is there.
#[test]
fn what_the_service_has_answered_survives_its_death() {
    let home = Home::new();
    home.run(["init"]).expect(0);
    let token = token(&home, "ci", "registrar");
    let mut serving = Serving::start(&home, &[]);
    let mut answered = 0;
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        let (address, token) = (&serving.address, &token);
        for task in 0..4 {
            let sender = sender.clone();
            scope.spawn(move || {
                for number in 0..25 {
                    let pem = Plan::server(task * 100 + number + 1, "a.example").pem();
                    assert!(ask(address, "POST", "/v1/certificates", token, &pem).starts_with("HTTP/1.1 201"));
                    let _ = sender.send(());
                }
            });
        }
        drop(sender);
        answered = receiver.iter().count();
    });
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
    assert_eq!(home.json(["list"]).as_array().unwrap().len(), answered);
    assert_eq!(answered, 100);
}

#[test]
fn what_keeps_the_service_from_starting_is_one_line() {
    let home = Home::new();
    home.run(["init"]).expect(0);
    let serve = |arguments: &[&str]| {
        let run = Run::of(home.command(["serve", "--quiet"]).args(arguments)).expect(1);
        run.failure().to_owned()
    };
    let said = serve(&["--listen", "0.0.0.0:0"]);
    assert!(said.contains("TLS is needed"), "{said}");
    let said = serve(&["--tls-cert", "nowhere.pem", "--tls-key", "nowhere.key"]);
    assert!(said.contains("nowhere.pem: cannot be read"), "{said}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let said = serve(&["--listen", &taken.local_addr().unwrap().to_string()]);
    assert!(said.contains("cannot be listened on") && said.contains("in use"), "{said}");
    home.run(["serve", "--tls-cert", "a.pem"]).expect(2);
    home.run(["serve", "--prune-every", "1d"]).expect(2);
    home.run(["serve", "--listen", "localhost"]).expect(2);
    let run = home.run(["serve", "--quiet", "--db", "nowhere.db"]).expect(1);
    assert!(run.failure().contains("there is no ledger at nowhere.db"), "{}", run.stderr);
    // A ledger that cannot be written is told before anybody is let in.
    std::fs::write(home.ledger(), "damaged ".repeat(4096)).unwrap();
    let said = serve(&["--listen", "127.0.0.1:0"]);
    assert!(said.contains("ledger.db"), "{said}");
}

/// What expired long ago goes by itself, and the trail says who did it.
#[test]
fn the_service_prunes_on_its_schedule() {
    let home = Home::with(
        &(Plan::server(1, "old.example").valid_days(-200, -150).pem() + &Plan::server(2, "new.example").pem()),
    );
    let serving = Serving::start(&home, &["--prune-expired-before", "90d"]);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while home.json(["list"]).as_array().unwrap().len() > 1 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(200));
    }
    let events = home.json(["audit", "--action", "certificate.deleted"]);
    assert_eq!(events[0]["actor"], "trust-ledger serve");
    assert_eq!(serving.terminate().0, Some(0));
}

/// As a systemd unit of type notify: told when it is ready, and when it stops.
#[test]
fn a_service_manager_is_told_when_it_is_ready_and_when_it_stops() {
    let home = Home::new();
    home.run(["init"]).expect(0);
    let socket = home.path("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut command = home.command(["serve", "--listen", "127.0.0.1:0"]);
    let serving = Serving::spawn(command.env("NOTIFY_SOCKET", &socket));
    let mut told = [0; 256];
    let length = manager.recv(&mut told).unwrap();
    assert_eq!(&told[..length], b"READY=1\n");
    assert_eq!(serving.terminate().0, Some(0));
    let length = manager.recv(&mut told).unwrap();
    assert_eq!(&told[..length], b"STOPPING=1\n");
}
