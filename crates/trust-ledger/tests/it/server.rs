//! A ledger on a PostgreSQL server: who makes its tables, and what is left when that is cut short.

use std::process::Stdio;
use std::time::Duration;

use test_servers::{Postgres, needs};

use crate::certificates::Plan;
use crate::home::Home;

/// A command that only looks makes nothing in a database that may be the wrong one; `init` does, once.
#[test]
fn only_init_and_import_make_the_tables() {
    if !needs::postgres() {
        return;
    }
    let (home, database) = (Home::new(), Postgres::shared().create_database());
    let url = database.url();
    let tables = || database.query("select tablename from pg_tables where schemaname = 'public'").len();
    for command in [&["list"][..], &["expiring"], &["db", "migrate"]] {
        let run = home.run([&["--db", &url], command].concat()).expect(1);
        assert!(run.failure().contains("there is no ledger at postgres://"), "{}", run.stderr);
        assert_eq!(tables(), 0);
    }
    let first = home.json(["--db", &url, "init"]);
    assert_eq!(first["created"], true);
    let made = tables();
    assert!(made > 5);
    assert!(home.run(["--db", &url, "init"]).expect(0).stdout.contains("exists already"));
    home.run(["--db", &url, "list"]).expect(0);
    assert_eq!(tables(), made);
}

/// Another program's database is refused as it is, by the commands that would make tables, too.
#[test]
fn a_foreign_database_is_left_alone() {
    if !needs::postgres() {
        return;
    }
    let (home, database) = (Home::new(), Postgres::shared().create_database());
    database.query("create table mine (id int)");
    let certificate = home.file("a.pem", Plan::server(1, "a.example").pem());
    for command in [&["init"][..], &["import", certificate.to_str().unwrap()]] {
        let run = home.run([&["--db", &database.url()], command].concat()).expect(1);
        assert!(run.failure().contains("another program's; nothing was changed"), "{}", run.stderr);
    }
    let tables = database.query("select tablename from pg_tables where schemaname = 'public'");
    assert_eq!(tables, [["mine"]]);
}

/// `init` is killed at different moments: the next one completes what it left, and the ledger is usable.
#[test]
fn an_init_that_was_killed_is_completed_by_the_next() {
    if !needs::postgres() {
        return;
    }
    let home = Home::new();
    for moment in 0..12 {
        let database = Postgres::shared().create_database();
        let url = database.url();
        let mut command = home.command(["--db", &url, "init"]);
        let mut init = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(10 * moment));
        // It may have ended before.
        let _ = init.kill();
        init.wait().unwrap();
        home.run(["--db", &url, "init"]).expect(0);
        assert_eq!(home.json(["--db", &url, "check"])["ok"], true, "killed after {} ms", 10 * moment);
    }
}

/// Three processes start at once where there are no tables yet: one makes them, none is refused.
#[test]
fn processes_that_start_at_once_make_the_tables_together() {
    if !needs::postgres() {
        return;
    }
    let home = Home::new();
    for _ in 0..4 {
        let database = Postgres::shared().create_database();
        let url = database.url();
        let start =
            |_| home.command(["--db", &url, "init"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        for process in (0..3).map(start).collect::<Vec<_>>() {
            let output = process.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        assert_eq!(home.json(["--db", &url, "check"])["ok"], true);
    }
}
