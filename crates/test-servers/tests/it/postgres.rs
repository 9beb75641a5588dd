use std::path::Path;

use test_servers::{Ca, Postgres, needs};

use crate::client::answer;

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
