//! Revocations: asked for, recorded, lifted and listed for a CRL.

use crate::certificates::{Plan, bundle};
use crate::home::Home;

fn home() -> Home {
    Home::with(&bundle(&[
        Plan::root("Example CA", 1),
        Plan::server(10, "ten.example"),
        Plan::server(16, "sixteen.example"),
        Plan::server(0x1a2b, "www.example.com"),
    ]))
}

#[test]
fn a_revocation_is_recorded_and_says_that_the_ca_was_not_told() {
    let home = home();
    let run = home.run(["revoke", "0x1a2b", "--reason", "key-compromise", "--at", "2024-05-06", "--yes"]).expect(0);
    assert!(run.stdout.contains("recorded here only; your CA was not told"), "{}", run.stdout);
    assert!(run.stdout.contains("2024-05-06 00:00:00 UTC, keyCompromise"), "{}", run.stdout);
    let record = home.json(["show", "0x1a2b"]);
    assert_eq!(record["status"], "revoked");
    assert_eq!(record["revocation_reason"], "keyCompromise");
    assert_eq!(record["revoked_at"], "2024-05-06T00:00:00Z");

    let again = home.run(["revoke", "0x1a2b", "--reason", "superseded", "--yes"]).expect(0);
    assert!(again.stdout.contains("already revoked") && again.stdout.contains("keyCompromise"), "{}", again.stdout);
    let json = home.json(["revoke", "0x1a2b", "--yes"]);
    assert_eq!(json["outcome"], "already-revoked");
    assert_eq!(json["revoked_at"], "2024-05-06T00:00:00Z");
    assert_eq!(json["note"], "recorded here only; your CA was not told");
}

#[test]
fn without_a_terminal_yes_must_be_said_and_nothing_is_done() {
    let home = home();
    let run = home.run(["revoke", "0x1a2b"]).expect(2);
    assert!(run.failure().contains("--yes"), "{}", run.stderr);
    assert_eq!(home.json(["show", "0x1a2b"])["status"], "valid");
}

#[test]
fn reasons_are_names_in_either_spelling_or_codes() {
    let home = home();
    for (argument, reason) in
        [("keyCompromise", "keyCompromise"), ("4", "superseded"), ("ca-compromise", "cACompromise")]
    {
        let fresh = Home::with(&Plan::server(5, "a.example").pem());
        assert_eq!(fresh.json(["revoke", "0x5", "--reason", argument, "--yes"])["reason"], reason, "{argument}");
    }
    for wrong in ["7", "8", "removeFromCRL", "boredom"] {
        home.run(["revoke", "0x1a2b", "--reason", wrong, "--yes"]).expect(2);
    }
}

#[test]
fn what_is_not_in_the_ledger_is_not_found_and_a_name_is_no_target() {
    let home = home();
    home.run(["revoke", "0x99", "--yes"]).expect(3).failure();
    let named = home.run(["revoke", "www.example.com", "--yes"]).expect(3);
    assert!(named.failure().contains("no id, fingerprint, serial or file"), "{}", named.stderr);
    let ambiguous = home.run(["revoke", "10", "--yes"]).expect(2);
    assert!(ambiguous.stderr.contains("can mean 2 certificates"), "{}", ambiguous.stderr);
    home.run(["revoke", "0x1a2b", "--at", "2999-01-01", "--yes"]).expect(1).failure();
    for serial in ["0x1a2b", "0xa", "0x10"] {
        assert_eq!(home.json(["show", serial])["status"], "valid");
    }
}

#[test]
fn a_serial_without_certificate_is_revoked_when_its_issuer_is_named() {
    let home = home();
    let unclear = home.run(["revoke", "77", "--issuer", "Example CA", "--yes"]).expect(2);
    assert!(unclear.failure().contains("0x4d") && unclear.failure().contains("0x77"), "{}", unclear.stderr);
    let json = home.json(["revoke", "0x77", "--issuer", "Example CA", "--reason", "6", "--yes"]);
    assert_eq!((&json["outcome"], &json["id"]), (&"revoked".into(), &serde_json::Value::Null));
    let shown = home.json(["show", "0x77", "--issuer", "Example CA"]);
    assert_eq!(shown["revocation"]["reason"], "certificateHold");
    assert_eq!(home.json(["lift-hold", "0x77", "--issuer", "Example CA"])["outcome"], "lifted");
    home.run(["show", "0x77", "--issuer", "Example CA"]).expect(3);
}

#[test]
fn a_hold_is_lifted_and_a_revocation_is_not() {
    let home = home();
    home.run(["revoke", "0xa", "--reason", "certificate-hold", "--yes"]).expect(0);
    assert_eq!(home.json(["show", "0xa"])["status"], "on-hold");
    home.run(["lift-hold", "0xa"]).expect(0);
    assert_eq!(home.json(["show", "0xa"])["status"], "valid");
    assert!(home.run(["lift-hold", "0xa"]).expect(1).failure().contains("not on hold"));
    home.run(["revoke", "0xa", "--yes"]).expect(0);
    assert!(home.run(["lift-hold", "0xa"]).expect(1).failure().contains("revoked for good"));
    home.run(["lift-hold", "0x99"]).expect(3);
}

#[test]
fn the_entries_of_a_crl_are_what_is_revoked_and_unexpired_and_what_expired_since_the_last() {
    let home = home();
    let expired = Plan::server(0xee, "old.example").valid("20200101000000Z", "20210101000000Z");
    home.run_with_input(["import", "-"], expired.pem()).expect(0);
    home.run(["revoke", "0xee", "--at", "2020-05-01", "--yes"]).expect(0);
    home.run(["revoke", "0xa", "--reason", "1", "--at", "2024-05-01", "--invalidity-date", "2024-04-01", "--yes"])
        .expect(0);
    let serials = |arguments: &[&str]| -> Vec<String> {
        let entries = home.json(["crl-entries", "--issuer", "Example CA"].iter().chain(arguments));
        entries.as_array().unwrap().iter().map(|entry| entry["serial"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(serials(&[]), ["a"]);
    assert_eq!(serials(&["--last-crl", "2020-12-01"]), ["ee", "a"]);
    assert_eq!(serials(&["--since", "2025-01-01"]), Vec::<String>::new());
    assert_eq!(serials(&["--revoked-within", "1h"]), Vec::<String>::new());
    let csv = home.run(["crl-entries", "--issuer", "Example CA", "--csv"]).expect(0);
    assert_eq!(
        csv.stdout,
        "serial,revoked_at,reason,invalidity_date,checked\na,2024-05-01T00:00:00Z,keyCompromise,2024-04-01T00:00:00Z,true\n"
    );
    let table = home.run(["crl-entries", "--issuer", "Example CA"]).expect(0);
    assert!(table.stdout.starts_with("SERIAL  REVOKED AT") && table.stdout.lines().count() == 2, "{}", table.stdout);
    home.run(["crl-entries", "--issuer", "nobody"]).expect(3);
    home.run(["crl-entries"]).expect(2);
}
