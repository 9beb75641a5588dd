//! What is different on a terminal. Method: `script` of util-linux, which every Debian has, lends one.

use std::process::Command;

use crate::certificates::Plan;
use crate::home::{Home, Run};

/// Runs the program on a terminal of 100 columns, with this typed in. Both streams arrive on standard output.
fn on_terminal(home: &Home, arguments: &str, environment: &[(&str, &str)], typed: &str) -> Run {
    let typed = home.file("typed", typed);
    let line = format!("stty cols 100; exec {} {arguments}", env!("CARGO_BIN_EXE_trust-ledger"));
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).env_clear().current_dir(home.path(""));
    command
        .env("HOME", home.path(""))
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", "xterm")
        .envs(environment.iter().copied());
    Run::of(command.stdin(std::fs::File::open(typed).unwrap()))
}

#[test]
fn revoke_asks_and_takes_no_for_an_answer() {
    let home = Home::with(&Plan::server(0x1a2b, "www.example.com").pem());
    let status = || home.json(["show", "0x1a2b"])["status"].as_str().unwrap().to_owned();
    let no = on_terminal(&home, "revoke 0x1a2b", &[], "n\n").expect(1);
    assert!(no.stdout.contains("Revoke www.example.com (serial 1a2b") && no.stdout.contains("[y/N]"), "{}", no.stdout);
    assert!(no.stdout.contains("nothing was done"), "{}", no.stdout);
    assert_eq!(status(), "valid");
    on_terminal(&home, "revoke 0x1a2b", &[], "\n").expect(1);
    assert_eq!(status(), "valid");
    on_terminal(&home, "revoke 0x1a2b", &[], "y\n").expect(0);
    assert_eq!(status(), "revoked");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let home = Home::with(&Plan::server(0x1a2b, "www.example.com").pem());
    let coloured = on_terminal(&home, "list", &[], "").expect(0);
    assert!(coloured.stdout.contains("\x1b[32mvalid\x1b[0m"), "{:?}", coloured.stdout);
    for plain in [[("NO_COLOR", "1")], [("TERM", "dumb")]] {
        let run = on_terminal(&home, "list", &plain, "").expect(0);
        assert!(run.stdout.contains("valid") && !run.stdout.contains("\x1b["), "{:?}", run.stdout);
    }
    assert!(!home.run(["list"]).expect(0).stdout.contains('\x1b'));
}

#[test]
fn der_is_not_written_to_a_terminal() {
    let home = Home::with(&Plan::server(0x1a2b, "www.example.com").pem());
    let run = on_terminal(&home, "export --der", &[], "").expect(2);
    assert!(run.stdout.contains("no text for a terminal"), "{}", run.stdout);
}
