//! `db copy`: to a server and back, through kills and faults.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use test_servers::{Fault, FaultProxy, Postgres, needs};

use crate::certificates::{Plan, bundle};
use crate::home::{Home, Run};

/// A home with a ledger of so many certificates.
fn home_with(certificates: u64) -> Home {
    let plans: Vec<Plan> =
        (1..=certificates).map(|serial| Plan::server(serial, &format!("n{serial}.example"))).collect();
    Home::with(&bundle(&plans))
}

/// The exit code is 0, and what it says of each table is that it is equal.
#[track_caller]
fn assert_equal(copied: &serde_json::Value) {
    let tables = copied["tables"].as_array().unwrap();
    assert!(copied["equal"] == true && tables.len() == 11, "{copied}");
    assert!(tables.iter().all(|table| table["source_sha256"] == table["target_sha256"]), "{copied}");
}

/// The way to a server and back to another file, each with its own key.
#[test]
fn a_ledger_moves_to_a_server_and_back() {
    if !needs::postgres() {
        return;
    }
    let (home, database) = (home_with(20), Postgres::shared().create_database());
    let url = database.url();
    home.run(["token", "create", "ci", "--role", "reader"]).expect(0);
    let run = home.run(["db", "copy", "--to", &url]).expect(0);
    assert!(run.stdout.contains("copied\n") && run.stderr.starts_with("created the ledger in "), "{run:?}");
    let again = home.run(["db", "copy", "--to", &url]).expect(0);
    assert!(again.stdout.ends_with("and was before: nothing was copied\n"), "{}", again.stdout);
    assert_eq!(again.stderr, "", "no progress without a terminal");
    let back = ["db", "copy", "--from", &url, "--to", "back.db", "--to-key-file", "back.key"];
    assert_equal(&home.json(back));
    let of_copy = ["--db", "back.db", "--key-file", "back.key"];
    for question in [&["list", "--all"][..], &["stats"], &["audit"], &["token", "list"]] {
        let first = home.json(question);
        assert_eq!(home.json([&["--db", &url], question].concat()), first);
        assert_eq!(home.json([&of_copy, question].concat()), first);
    }
}

#[test]
fn a_target_that_is_something_else_is_refused_in_one_line_and_left_as_it_is() {
    let home = home_with(3);
    let other = home.file("other.pem", Plan::root("Other", 9).pem());
    home.run(["--db", "other.db", "import", other.to_str().unwrap()]).expect(0);
    let refused = home.run(["db", "copy", "--to", "other.db"]).expect(1);
    assert!(refused.failure().contains("rows of table issuer that differ"), "{}", refused.stderr);
    assert_eq!(home.json(["--db", "other.db", "stats"])["total"], 1);
    let itself = home.run(["--db", "other.db", "db", "copy", "--to", "other.db"]).expect(2);
    assert!(itself.failure().contains("cannot be copied into itself"), "{}", itself.stderr);
    let missing = home.run(["db", "copy", "--from", "no.db", "--to", "new.db"]).expect(1);
    assert!(missing.failure().contains("there is no ledger at no.db"), "{}", missing.stderr);
    assert!(!home.path("new.db").exists(), "a target was made for a source that is not there");
    let before = fs::read(home.path("other.db")).unwrap();
    home.secret("wrong.key", "a wrong key");
    let wrong = home.run(["db", "copy", "--to", "other.db", "--to-key-file", "wrong.key"]).expect(1);
    assert!(wrong.failure().contains("the key came from"), "{}", wrong.stderr);
    assert_eq!(fs::read(home.path("other.db")).unwrap(), before);
    assert!(home.run(["--db", "a.db", "db", "copy", "--from", "b.db", "--to", "c.db"]).expect(2).stdout.is_empty());
}

/// A password in a URL gets into no output, be it of a copy or of a refusal.
#[test]
fn passwords_and_keys_are_not_shown() {
    if !needs::postgres() {
        return;
    }
    let (home, database) = (home_with(2), Postgres::shared().create_database());
    let with_password = |url: &str| url.replacen('@', ":canary-5up3r@", 1);
    let url = with_password(&database.url());
    assert!(url.contains("canary"));
    let runs = [
        home.run(["db", "copy", "--to", &url]).expect(0),
        home.run(["db", "copy", "--to", &url, "--json", "-vv"]).expect(0),
        home.run(["db", "copy", "--from", &url, "--to", &with_password("postgres://x@127.0.0.1:1/x")]).expect(1),
    ];
    let key = fs::read_to_string(home.key()).unwrap();
    for run in runs {
        for text in [run.stdout, run.stderr] {
            assert!(!text.contains("canary") && !text.contains(&key[2..66]), "{text}");
        }
    }
}

/// Goal: whenever a copy is killed, the same command completes it. Method: SIGKILL at moments spread over the time a whole copy
/// takes, several in a row on one target; then it is run to its end, which proves that both are equal.
#[test]
fn a_copy_that_is_killed_is_completed_by_the_same_command() {
    if !needs::postgres() {
        return;
    }
    let home = home_with(12_000);
    let database = Postgres::shared().create_database();
    let server = database.url();
    killed_and_completed(&home, &["db", "copy", "--to", &server]);
    killed_and_completed(&home, &["db", "copy", "--from", &server, "--to", "back.db"]);
    killed_and_completed(&home, &["db", "copy", "--to", "third.db"]);
}

fn killed_and_completed(home: &Home, arguments: &[&str]) {
    let mut killed = 0;
    for moment in [20, 150, 400, 700, 1_000, 1_300] {
        let mut copy = home.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(moment));
        // It may have ended before.
        let _ = copy.kill();
        killed += u32::from(!copy.wait().unwrap().success());
    }
    assert!(killed >= 3, "{arguments:?}: only {killed} were killed");
    assert_equal(&home.json(arguments));
    assert_eq!(home.json(arguments)["rows_copied"], 0);
}

/// The connection is cut in the middle: one line says so, and the same command goes on, in either direction.
#[test]
fn a_copy_whose_connection_is_cut_goes_on() {
    if !needs::postgres() {
        return;
    }
    let home = home_with(8_000);
    let server = Postgres::shared();
    let database = server.create_database();
    let proxy = FaultProxy::in_front_of(server.address());
    let url = server.url_at(proxy.address(), database.name());
    // Patterns of statements in the middle of a copy.
    for (arguments, statement, side) in [
        (
            &["db", "copy", "--to", &url][..],
            "SELECT name, not_before, certificate FROM unnest(",
            "the ledger to copy into failed: ",
        ),
        (
            &["db", "copy", "--from", &url, "--to", "back.db"],
            "FROM certificate WHERE (id) > ($1)",
            "the ledger to copy failed: ",
        ),
    ] {
        proxy.set(Fault::LoseRequest(statement.into()));
        let run = home.run(arguments).expect(1);
        assert_eq!(proxy.fault(), Fault::Pass, "the connection was not cut");
        assert!(run.stderr.lines().last().unwrap().contains(side), "{}", run.stderr);
        let copied = home.json(arguments);
        assert_equal(&copied);
        let rows: u64 =
            copied["tables"].as_array().unwrap().iter().map(|table| table["source_rows"].as_u64().unwrap()).sum();
        assert!(copied["rows_copied"].as_u64().unwrap() < rows - 1_000, "it began anew: {copied}");
    }
}

/// The file size limit stands in for a full disk: both fail the write.
#[test]
fn a_copy_that_met_a_full_disk_goes_on_when_there_is_room() {
    let home = home_with(6_000);
    // 25 is SIGXFSZ, which would end the program; blocks are of 512 bytes.
    let line = format!("trap '' 25; ulimit -f 6000; exec {} db copy --to copy.db", env!("CARGO_BIN_EXE_trust-ledger"));
    let mut command = Command::new("sh");
    command.args(["-c", &line]).env_clear().env("HOME", home.path("")).current_dir(home.path(""));
    let run = Run::of(&mut command).expect(1);
    let said = run.stderr.lines().last().unwrap();
    assert!(said.starts_with("trust-ledger: the ledger to copy into failed: "), "{}", run.stderr);
    let copied = home.json(["db", "copy", "--to", "copy.db"]);
    assert_equal(&copied);
}
