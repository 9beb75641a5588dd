//! Import: what is counted, what is refused, and that private keys leave no trace.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use crate::certificates::{Plan, bundle, private_key};
use crate::home::{Home, Run};

#[test]
fn an_import_counts_what_is_new_known_skipped_and_refused_and_importing_again_changes_nothing() {
    let home = Home::new();
    let good = [Plan::server(1, "a.example"), Plan::server(2, "b.example")];
    home.file("in/good.pem", bundle(&good));
    home.file("in/key.pem", private_key());
    home.file("in/bad.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    let run = home.run(["import", "in"]).expect(4);
    let lines: Vec<&str> = run.stdout.lines().map(str::trim).collect();
    assert_eq!(lines, ["2  new", "0  already known, or found twice", "1  skipped: a private key", "1  refused"]);
    let refused: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with("refused: ")).collect();
    assert!(refused.len() == 1 && refused[0].contains("bad.pem: line 1: "), "{}", run.stderr);

    let again = home.run(["import", "in/good.pem", "--json"]).expect(0);
    let summary: serde_json::Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!((&summary["new"], &summary["known"]), (&0.into(), &2.into()));
    assert_eq!(home.json(["list"]).as_array().unwrap().len(), 2);
}

#[test]
fn refusals_are_listed_one_a_line_and_all_are_counted() {
    let home = Home::new();
    let bad = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".repeat(30);
    home.file("bad\u{202e}\x1b[31m.pem", bad);
    let run = home.run(["import", "bad\u{202e}\x1b[31m.pem"]).expect(4);
    assert_eq!(run.stderr.lines().filter(|line| line.starts_with("refused: bad")).count(), 20, "{}", run.stderr);
    assert!(run.stderr.contains("refused: 10 more") && run.stdout.contains("30  refused"), "{}", run.stdout);
    assert!(!run.stderr.contains('\x1b') && !run.stderr.contains('\u{202e}'), "{:?}", run.stderr);
    assert!(run.stderr.contains("\\u{202e}"));
}

#[test]
fn what_is_said_about_certificates_is_recorded_with_each() {
    let home = Home::new();
    let pem = Plan::server(1, "a.example").pem();
    let arguments =
        ["import", "-", "--source", "vault", "--owner", "web", "--tag", "b", "--tag", "a", "--category", "internal"];
    home.run_with_input(arguments, pem).expect(0);
    let record = &home.json(["list"])[0];
    assert_eq!(record["source"], "vault");
    assert_eq!(record["owner"], "web");
    assert_eq!(record["tags"], serde_json::json!(["a", "b"]));
    assert_eq!(record["category"], "internal");
}

#[test]
fn json_on_standard_input_is_searched_for_certificates() {
    let home = Home::new();
    let pem = Plan::server(1, "a.example").pem();
    let encoded = openssl::base64::encode_block(pem.as_bytes());
    let key = openssl::base64::encode_block(private_key().as_bytes());
    let secret = serde_json::json!({ "items": [{ "data": { "tls.crt": encoded, "tls.key": key } }] });
    let run = home.run_with_input(["import", "-"], secret.to_string()).expect(0);
    assert!(run.stdout.contains("1  new"), "{}", run.stdout);
}

#[test]
fn nothing_of_a_private_key_is_stored_or_shown() {
    let home = Home::new();
    home.run(["--no-key", "--db", "plain.db", "init"]).expect(0);
    let key = private_key();
    home.file("both.pem", key.clone() + &Plan::server(1, "a.example").pem());
    home.file("key.pem", &key);
    let body = key.lines().nth(1).unwrap();
    let raw = 9_u64.to_le_bytes().repeat(2);
    let open = ["--no-key", "--db", "plain.db", "-vv"];
    let run = |arguments: &[&str]| home.run(open.iter().chain(arguments));
    for run in [
        run(&["import", "both.pem"]).expect(0),
        run(&["import", "key.pem"]).expect(0),
        run(&["show", "key.pem"]).expect(1),
        run(&["revoke", "key.pem", "--yes"]).expect(1),
    ] {
        assert!(!run.stdout.contains(body) && !run.stderr.contains(body), "{run:?}");
    }
    let said = run(&["-q", "show", "key.pem"]);
    assert_eq!(said.code, 2, "-q and -vv contradict each other");
    let said = home.run(["--no-key", "--db", "plain.db", "show", "key.pem"]).expect(1);
    assert!(said.failure().contains("private key"), "{}", said.stderr);
    // The file is not encrypted, so whatever is stored can be found in it.
    let stored = fs::read(home.path("plain.db")).unwrap();
    let holds = |wanted: &[u8]| stored.windows(wanted.len()).any(|window| window == wanted);
    assert!(holds(b"a.example"), "the test can see what is stored");
    assert!(!holds(&raw) && !holds(body.as_bytes()));
}

#[test]
fn a_path_that_is_not_there_is_an_error_before_anything_is_read() {
    let home = Home::new();
    home.file("a.pem", Plan::server(1, "a.example").pem());
    let run = home.run(["import", "a.pem", "missing.pem"]).expect(1);
    assert!(run.stderr.contains("missing.pem cannot be read"), "{}", run.stderr);
    assert_eq!(home.json(["list"]).as_array().unwrap().len(), 0);
    home.run(["import", "-", "-"]).expect(2);
    home.run(["import"]).expect(2);
}

#[test]
fn every_commit_is_reported_when_asked_and_nothing_is_when_silence_is() {
    let home = Home::new();
    home.file("a.pem", bundle(&[Plan::server(1, "a.example"), Plan::server(2, "b.example")]));
    let quiet = home.run(["import", "-q", "a.pem"]).expect(0);
    assert_eq!(quiet.stderr, "");
    let verbose = home.run(["import", "-v", "a.pem"]).expect(0);
    assert!(verbose.stderr.lines().any(|line| line == "committed 2 certificates"), "{}", verbose.stderr);
}

#[test]
fn certificates_that_were_known_keep_what_was_said_and_the_summary_says_so() {
    let home = Home::with(&Plan::server(1, "a.example").pem());
    home.file("both.pem", bundle(&[Plan::server(1, "a.example"), Plan::server(2, "b.example")]));
    let run = home.run(["import", "both.pem", "--owner", "web"]).expect(0);
    assert!(run.stdout.contains("they keep their owner, tags and category (trust-ledger annotate"), "{}", run.stdout);
    assert!(home.json(["show", "0x1"])["owner"].is_null());
    assert_eq!(home.json(["show", "0x2"])["owner"], "web");
    let plain = home.run(["import", "both.pem"]).expect(0);
    assert!(!plain.stdout.contains("annotate"), "{}", plain.stdout);
}

#[test]
fn one_is_not_many() {
    let home = Home::with(&Plan::root("Example CA", 1).pem());
    home.file("index.txt", "R\t991231235959Z\t240601000000Z,holdInstruction\t05\tunknown\t/CN=a.example\n");
    let run = home.run(["import", "index.txt", "--issuer", "Example CA"]).expect(0);
    assert!(run.stdout.contains("1  revocation recorded\n"), "{}", run.stdout);
    let again = home.run(["import", "index.txt", "--issuer", "Example CA"]).expect(0);
    assert!(again.stdout.contains("1  revocation already known\n"), "{}", again.stdout);
}

/// The file size limit stands in for a full disk: both fail the write. More is given when something went in.
#[test]
fn what_went_in_before_the_disk_was_full_is_told_before_the_error() {
    let home = Home::new();
    home.run(["init"]).expect(0);
    let some = |serials: std::ops::Range<u64>| -> String {
        let plans: Vec<Plan> = serials.map(|serial| Plan::server(serial, "a.example")).collect();
        bundle(&plans)
    };
    // 25 is SIGXFSZ, which would end the program; blocks are of 512 bytes.
    let line = format!("trap '' 25; ulimit -f 60000; exec {} import -v -", env!("CARGO_BIN_EXE_trust-ledger"));
    let mut command = Command::new("sh");
    command.args(["-c", &line]).env_clear().env("HOME", home.path("")).current_dir(home.path(""));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    // More than what is under way at once, so that something is committed before the rest is there.
    input.write_all(some(1..12_001).as_bytes()).unwrap();
    said.find(|line| line.starts_with("committed ")).expect("a chunk is committed");
    // The program may end before it has read all of it.
    let _ = input.write_all(some(12_001..30_001).as_bytes());
    drop(input);
    let failed = said.last().unwrap();
    let run = Run::from(child.wait_with_output().unwrap()).expect(1);
    assert!(failed.starts_with("trust-ledger: the import stopped: "), "{failed}");
    let new = run.stdout.lines().find_map(|line| line.trim().strip_suffix("  new")).expect("a summary");
    let new: u64 = new.replace(',', "").parse().unwrap();
    assert!((3_000..30_000).contains(&new), "{}", run.stdout);
    assert_eq!(home.json(["stats"])["total"], new, "what was told is what there is");
}
