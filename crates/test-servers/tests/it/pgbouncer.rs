use std::time::Duration;

use test_servers::{Ca, PgBouncer, Postgres, needs};

use crate::client::{Interactive, answer};

#[test]
fn pgbouncer_lets_in_whom_the_server_would() {
    if !needs::pgbouncer() {
        return;
    }
    let plain = Postgres::plain().start();
    assert_eq!(answer(&PgBouncer::in_front_of(&plain).start().url("app"), &[], "select 1"), Ok("1".into()));

    let ca = Ca::new();
    let scram = Postgres::scram("app", "sec\"ret").start();
    let pooler = PgBouncer::in_front_of(&scram).tls(&ca.server()).start();
    let verified = [("PGSSLMODE", "verify-full"), ("PGSSLROOTCERT", ca.file().to_str().unwrap())];
    assert_eq!(answer(&pooler.url("app"), &verified, "select current_user"), Ok("app".into()));
    let wrong = format!("postgres://app:wrong@{}/app", pooler.address());
    assert!(answer(&wrong, &verified, "select 1").unwrap_err().contains("authentication failed"), "{}", pooler.log());
    assert!(answer(&pooler.url("app"), &[("PGSSLMODE", "disable")], "select 1").is_err());
}

/// Two transactions of one client may run on different sessions of the server: `set` is not kept for it.
#[test]
fn sessions_are_shared_and_idle_clients_are_sent_away() {
    if !needs::pgbouncer() {
        return;
    }
    let server = Postgres::plain().start();
    let pooler = PgBouncer::in_front_of(&server).client_idle_timeout(Duration::from_secs(1)).start();
    let (mut one, mut two) = (Interactive::new(&pooler.url("app")), Interactive::new(&pooler.url("app")));
    assert_eq!(one.ask("select pg_backend_pid()"), two.ask("select pg_backend_pid()"));
    assert_eq!(server.sessions().len(), 1);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(one.ask("select 1"), "");
    assert!(pooler.log().contains("client_idle_timeout"), "{}", pooler.log());
}
