//! pgbouncer in between.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use test_servers::{Postgres, needs};

use super::{Given, ask, dial, dialer, refusal, told};

/// A pgbouncer in transaction mode in front of a server.
struct Pooler {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Pooler {
    fn start(server: &Postgres, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
            path
        };
        let (user, password) = (server.user(), server.password().unwrap());
        let users = write("users", &format!("\"{user}\" \"{password}\"\n"));
        let settings = format!(
            "[databases]\n{user} = host=127.0.0.1 port={} dbname={user}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = 1\nunix_socket_dir =\n{more}\n",
            server.port(),
            users.display()
        );
        let settings = write("pgbouncer.ini", &settings);
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let child = Command::new("runuser")
            .args(["-u", "postgres", "--", "pgbouncer"])
            .arg(settings)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Pooler { child, port, _folder: folder }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        Command::new("sh")
            .args(["-c", &format!("kill $(cat /proc/{pid}/task/{pid}/children) {pid}")])
            .output()
            .unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_takes_no_options_is_connected_without_and_tells_the_limits_to_set() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::scram("app", "secret").start();
    server.execute("alter role app set timezone = 'Asia/Kolkata'");
    for (more, limits) in [("", true), ("ignore_startup_parameters = options", true)] {
        let pooler = Pooler::start(&server, more);
        let url = format!("postgres://127.0.0.1:{}/app?statement_timeout=1500&application_name=me", pooler.port);
        let dialer = dialer(&url, Given::new("app", "secret"));
        for _ in 0..3 {
            let dialed = dialer.dial().await.unwrap();
            assert_eq!(ask(&dialed, "select current_setting('TimeZone')").await, "UTC");
            assert_eq!(ask(&dialed, "select current_setting('application_name')").await, "me");
            assert_eq!(dialed.at_begin.as_deref(), limits.then_some("SET LOCAL statement_timeout TO 1500;"), "{more}");
            assert!(!dialed.facts.in_recovery && dialed.facts.server_version.len() > 1);
            let text = format!("begin; {} select 1", dialed.at_begin.as_deref().unwrap_or_default());
            dialed.client.batch_execute(&text).await.unwrap();
            assert_eq!(ask(&dialed, "select current_setting('statement_timeout')").await, "1500ms");
            dialed.client.batch_execute("commit").await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pooler_refuses_is_told_apart() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::scram("app", "secret").start();
    let pooler = Pooler::start(&server, "max_client_conn = 3");
    let port = pooler.port;
    let wrong =
        dialer(&format!("postgres://127.0.0.1:{port}/app"), Given::new("app", "wrong")).dial().await.err().unwrap();
    let (line, passing) = told(&wrong);
    assert!(line.contains("the server refused the password of app") && !passing, "{line}");
    let (line, passing) = refusal(&format!("postgres://app:secret@127.0.0.1:{port}/nothing")).await;
    assert!(line.contains("the server has no database nothing") && !passing, "{line}");
    let (line, passing) = refusal(&format!("postgres://app:secret@127.0.0.1:{port}/app?options=-c%20geqo%3Doff")).await;
    assert!(line.contains("the pooler takes no start-up options") && !passing, "{line}");
    let url = format!("postgres://app:secret@127.0.0.1:{port}/app");
    let mut held = Vec::new();
    let (line, passing) = loop {
        match dial(&url).await {
            Ok(dialed) => held.push(dialed),
            Err(error) => break told(&error),
        }
        assert!(held.len() < 10);
    };
    assert!(line.contains("no connection left") && passing, "{line}");
}
