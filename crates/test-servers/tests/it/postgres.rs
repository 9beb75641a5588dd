use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use test_servers::{Ca, Fault, FaultProxy, Postgres, needs};

use crate::client::{Interactive, answer};

#[test]
fn a_plain_server_answers_and_leaves_nothing_behind() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::plain().setting("log_connections", "on").start();
    assert_eq!(answer(&server.url("app"), &[], "select 1"), Ok("1".into()));
    assert_eq!(answer(&server.socket_url("app"), &[], "select current_user"), Ok("app".into()));
    assert!(server.log().contains("connection authorized: user=app"), "{}", server.log());
    let (pid, folder) = (server.pid().unwrap(), server.socket_folder().to_owned());
    assert!(Path::new(&format!("/proc/{pid}")).exists() && folder.exists());
    drop(server);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(!folder.exists());
}

#[test]
fn a_scram_server_takes_its_password_only() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::scram("app", "p@ss:w/rd'%").start();
    assert_eq!(answer(&server.url("app"), &[], "select 1"), Ok("1".into()));
    let wrong = format!("postgres://app:wrong@{}/app", server.address());
    assert!(answer(&wrong, &[], "select 1").unwrap_err().contains("password authentication failed"));
}

#[test]
fn a_tls_server_shows_the_certificate_it_was_given() {
    if !needs::postgres() {
        return;
    }
    let (ca, other) = (Ca::new(), Ca::new());
    let verify = |ca: &Ca, url: &str| {
        let root = ca.file().to_str().unwrap().to_owned();
        answer(url, &[("PGSSLMODE", "verify-full"), ("PGSSLROOTCERT", &root)], "show ssl")
    };
    let server = Postgres::scram("app", "secret").tls(&ca.server()).only_tls().start();
    let url = server.url("app");
    assert_eq!(verify(&ca, &url), Ok("on".into()));
    assert_eq!(verify(&ca, &url.replace("127.0.0.1", "localhost")), Ok("on".into()));
    assert!(verify(&other, &url).unwrap_err().contains("certificate verify failed"));
    assert!(answer(&url, &[("PGSSLMODE", "disable")], "show ssl").unwrap_err().contains("no pg_hba.conf entry"));
}

#[test]
fn certificates_that_are_wrong_are_seen_to_be() {
    if !needs::postgres() {
        return;
    }
    let ca = Ca::new();
    let root = ca.file();
    let verified = [("PGSSLMODE", "verify-full"), ("PGSSLROOTCERT", root.to_str().unwrap())];
    let refusal = |identity| {
        let server = Postgres::plain().tls(&identity).start();
        answer(&server.url("app"), &verified, "select 1").unwrap_err()
    };
    let error = refusal(ca.expired_server());
    assert!(error.contains("certificate has expired") || error.contains("certificate verify failed"), "{error}");
    let error = refusal(ca.server_with(&["other.test"], -1..30));
    assert!(error.contains("does not match host name"), "{error}");
}

#[test]
fn a_client_certificate_is_a_log_in() {
    if !needs::postgres() {
        return;
    }
    let ca = Ca::new();
    let server = Postgres::client_certificate("app", &ca.server()).start();
    let come = |client: Option<test_servers::Identity>| {
        let files = client.map(|client| [client.certificate_file(), client.key_file()].map(Path::to_owned));
        let files =
            files.as_ref().map_or(["none", "none"], |files| [&files[0], &files[1]].map(|f| f.to_str().unwrap()));
        let environment = [("PGSSLMODE", "require"), ("PGSSLCERT", files[0]), ("PGSSLKEY", files[1])];
        answer(&server.url("app"), &environment, "select current_user")
    };
    assert_eq!(come(Some(ca.client("app"))), Ok("app".into()));
    assert!(come(Some(ca.client("other"))).unwrap_err().contains("certificate authentication failed"));
    assert!(come(Some(Ca::new().client("app"))).is_err());
    assert!(come(None).unwrap_err().contains("requires a valid client certificate"));
}

#[test]
fn a_server_on_its_socket_alone_has_no_port() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::scram("app", "secret").only_socket().start();
    assert_eq!(answer(&server.url("app"), &[], "select 1"), Ok("1".into()));
    assert!(std::net::TcpStream::connect(server.address()).is_err());
}

#[test]
fn databases_of_the_shared_server_come_and_go() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::shared();
    let database = server.create_database();
    assert_eq!(
        answer(&database.url(), &[], "create table t (a int); select count(*) from t"),
        Ok("CREATE TABLE\n0".into())
    );
    assert_eq!(database.query("select tableowner, null, '' from pg_tables where tablename = 't'"), [["app", "", ""]]);
    let exists = format!("select 1 from pg_database where datname = '{}'", database.name());
    assert_eq!(server.query(&exists).len(), 1);
    let _inside = Interactive::new(&database.url());
    drop(database);
    assert!(server.query(&exists).is_empty());
}

#[test]
fn a_transaction_left_open_is_seen() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::plain().start();
    let mut client = Interactive::new(&server.url("app"));
    assert_eq!(client.ask("begin; select 7"), "7");
    let sessions = server.sessions();
    assert_eq!((sessions.len(), &*sessions[0].state), (1, "idle in transaction"), "{sessions:?}");
    assert_eq!((&*sessions[0].user, &*sessions[0].database, &*sessions[0].application), ("app", "app", "psql"));
}

/// Both ways down, and data that was acknowledged.
#[test]
fn a_server_starts_again_on_its_port() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::plain().setting("max_connections", "7").start();
    let url = server.url("app");
    answer(&url, &[], "create table t as select 1 as a").unwrap();
    for end in [Postgres::stop, Postgres::kill] {
        end(&server);
        assert_eq!(server.pid(), None);
        assert!(answer(&url, &[], "select 1").unwrap_err().contains("refused"));
        server.restart();
        assert_eq!(answer(&url, &[], "select a from t"), Ok("1".into()));
    }
    assert_eq!(answer(&url, &[], "show max_connections"), Ok("7".into()));
}

/// The primary dies, its standby takes over with all that was acknowledged, and the dead one comes back behind it.
#[test]
fn a_standby_takes_over_and_the_dead_primary_rejoins() {
    if !needs::postgres() {
        return;
    }
    let one = Postgres::scram("app", "secret").tls(&Ca::new().server()).start();
    let two = one.standby();
    answer(&one.url("app"), &[], "create table t as select 1 as a").unwrap();
    assert_eq!(answer(&two.url("app"), &[], "select a from t"), Ok("1".into()));
    assert!(answer(&two.url("app"), &[], "drop table t").unwrap_err().contains("read-only transaction"));
    one.kill();
    two.promote();
    answer(&two.url("app"), &[], "insert into t values (2)").unwrap();
    one.rejoin(&two);
    assert_eq!(one.query("select pg_is_in_recovery()"), [["t"]]);
    answer(&two.url("app"), &[], "insert into t values (3)").unwrap();
    assert_eq!(answer(&one.url("app"), &[], "select sum(a) from t"), Ok("6".into()));
}

/// What the proxy does to a COMMIT is what its names say, on a real server.
#[test]
fn a_commit_is_lost_before_or_after_it_is_done() {
    if !needs::postgres() {
        return;
    }
    let server = Postgres::plain().start();
    answer(&server.url("app"), &[], "create table t (a int)").unwrap();
    let proxy = FaultProxy::in_front_of(server.address());
    for (fault, rows) in [(Fault::LoseRequest(b"COMMIT".to_vec()), "0"), (Fault::LoseAnswer(b"COMMIT".to_vec()), "1")] {
        let mut client = Interactive::new(&server.url_at(proxy.address(), "app"));
        assert_eq!(client.ask("BEGIN; INSERT INTO t VALUES (1) RETURNING a"), "1");
        proxy.set(fault);
        assert_eq!(client.ask("COMMIT"), "");
        assert_eq!(answer(&server.url("app"), &[], "select count(*) from t"), Ok(rows.into()));
    }
}

/// Run by [`a_killed_test_leaves_no_server`] in a process of its own, which it kills.
#[test]
#[ignore = "runs until it is killed"]
fn a_test_that_hangs() {
    let server = Postgres::plain().start();
    println!("\nserver {} {}", server.pid().unwrap(), server.socket_folder().display());
    thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_killed_test_leaves_no_server() {
    if !needs::postgres() {
        return;
    }
    let mut hanging = Command::new(std::env::current_exe().unwrap());
    hanging.args(["--ignored", "--exact", "--nocapture", "postgres::a_test_that_hangs"]).stdout(Stdio::piped());
    let mut hanging = hanging.spawn().unwrap();
    let mut lines = BufReader::new(hanging.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.starts_with("server ")).unwrap();
    let [_, pid, folder] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let process = format!("/proc/{pid}");
    assert!(Path::new(&process).exists() && Path::new(folder).exists());
    hanging.kill().unwrap();
    hanging.wait().unwrap();
    let begun = Instant::now();
    while Path::new(&process).exists() || Path::new(folder).exists() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the server outlives its test");
        thread::sleep(Duration::from_millis(10));
    }
}
