//! The ledger as a database: backup, another key, encryption, schema.

use std::fs;

use crate::certificates::{Plan, bundle};
use crate::home::Home;

fn filled() -> Home {
    Home::with(&bundle(&[Plan::server(1, "a.example"), Plan::server(2, "b.example")]))
}

/// Everything else in the folder of this file whose name begins like it.
fn beside(path: &std::path::Path) -> Vec<std::path::PathBuf> {
    let name = path.file_name().unwrap().to_str().unwrap();
    let entries = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|entry| entry != path && entry.file_name().unwrap().to_str().unwrap().starts_with(name)).collect()
}

#[test]
fn a_backup_is_a_ledger_with_the_same_key_and_never_replaces_a_file() {
    let home = filled();
    let run = home.run(["db", "backup", "copy.db"]).expect(0);
    assert!(run.stdout.contains("read back and sound"), "{}", run.stdout);
    assert!(run.stderr.contains("The key is not in the backup"), "{}", run.stderr);
    let key = home.key();
    let of_copy = ["--db", "copy.db", "--key-file", key.to_str().unwrap(), "stats"];
    assert_eq!(home.json(of_copy)["total"], 2);
    let before = fs::read(home.path("copy.db")).unwrap();
    let again = home.run(["db", "backup", "copy.db"]).expect(1);
    assert!(again.failure().contains("exists already"), "{}", again.stderr);
    assert_eq!(fs::read(home.path("copy.db")).unwrap(), before);
    let json = home.json(["db", "backup", "second.db"]);
    assert_eq!((&json["encrypted"], json["bytes"].as_u64()), (&true.into(), Some(before.len() as u64)));
    let missing = home.run(["--db", "no.db", "db", "backup", "third.db"]).expect(1);
    assert!(missing.failure().contains("there is no ledger at no.db"), "{}", missing.stderr);
}

#[test]
fn rekey_puts_a_new_key_in_the_key_files_place_and_keeps_the_old_one_for_old_backups() {
    let home = filled();
    home.run(["db", "backup", "copy.db"]).expect(0);
    let old_key = fs::read(home.key()).unwrap();
    let run = home.run(["db", "rekey"]).expect(0);
    assert_ne!(fs::read(home.key()).unwrap(), old_key);
    assert_eq!(home.json(["stats"])["total"], 2);
    let kept = beside(&home.key());
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(fs::read(&kept[0]).unwrap(), old_key);
    assert!(run.stdout.contains(kept[0].to_str().unwrap()), "{}", run.stdout);
    let kept = kept[0].to_str().unwrap();
    assert_eq!(home.json(["--db", "copy.db", "--key-file", kept, "stats"])["total"], 2);
    let refused = home.run(["--key-file", kept, "stats"]).expect(1);
    assert!(refused.failure().contains("wrong key"), "{}", refused.stderr);
    for text in [run.stdout, run.stderr] {
        assert!(!text.contains(std::str::from_utf8(&old_key[2..66]).unwrap()), "a key was shown");
    }
}

#[test]
fn rekey_takes_a_key_from_a_file_or_a_variable_and_makes_a_file_that_is_not_there() {
    let home = filled();
    home.run(["db", "rekey", "--new-key-file", "made.key"]).expect(0);
    assert_eq!(home.json(["--key-file", "made.key", "stats"])["total"], 2);
    let run =
        |variable: &str, arguments: &[&str]| crate::home::Run::of(home.command(arguments).env("NEW_KEY", variable));
    run("a passphrase", &["--key-file", "made.key", "db", "rekey", "--new-key-env", "NEW_KEY"]).expect(0);
    run("a passphrase", &["--key-env", "NEW_KEY", "stats"]).expect(0);
    let refused = run("a passphrase", &["--key-env", "NEW_KEY", "db", "rekey"]).expect(2);
    assert!(refused.failure().contains("--new-key-file"), "{}", refused.stderr);
}

#[test]
fn a_rekey_that_was_cut_short_is_named_and_nothing_is_changed() {
    let home = filled();
    let mut left_over = home.key().into_os_string();
    left_over.push(".new");
    fs::write(&left_over, "left over").unwrap();
    let before = fs::read(home.key()).unwrap();
    let run = home.run(["db", "rekey"]).expect(1);
    assert!(run.failure().contains("ledger.key.new is there"), "{}", run.stderr);
    assert_eq!(fs::read(home.key()).unwrap(), before);
    assert_eq!(fs::read(&left_over).unwrap(), b"left over");
    assert_eq!(home.json(["stats"])["total"], 2);
}

/// As after a crash between the ledger's change of key and the key file's.
#[test]
fn a_ledger_whose_new_key_was_not_put_in_place_says_where_it_is() {
    let home = filled();
    let old = fs::read_to_string(home.key()).unwrap();
    home.run(["db", "rekey"]).expect(0);
    let mut new = home.key().into_os_string();
    new.push(".new");
    fs::rename(home.key(), &new).unwrap();
    home.secret(".config/trust-ledger/ledger.key", &old);
    let run = home.run(["stats"]).expect(1);
    assert!(run.failure().contains("try --key-file") && run.failure().contains("ledger.key.new"), "{}", run.stderr);
    assert_eq!(home.json(["--key-file", new.to_str().unwrap(), "stats"])["total"], 2);
}

#[test]
fn a_plain_ledger_can_be_encrypted_once() {
    let home = Home::new();
    let file = home.file("given.pem", bundle(&[Plan::server(1, "a.example")]));
    home.run(["--db", "plain.db", "--no-key", "import", file.to_str().unwrap()]).expect(0);
    assert!(fs::read(home.path("plain.db")).unwrap().starts_with(b"SQLite format 3\0"));
    home.run(["--db", "plain.db", "--no-key", "db", "encrypt", "--new-key-file", "made.key"]).expect(0);
    assert!(!fs::read(home.path("plain.db")).unwrap().starts_with(b"SQLite format 3\0"));
    assert_eq!(home.json(["--db", "plain.db", "--key-file", "made.key", "stats"])["total"], 1);
    for (arguments, help) in [
        (&["--db", "plain.db", "--no-key", "db", "encrypt"][..], "leave out --no-key"),
        (&["--db", "plain.db", "--key-file", "made.key", "db", "encrypt"], "db rekey"),
    ] {
        let run = home.run(arguments);
        assert!(run.code != 0 && run.failure().contains(help), "{}", run.stderr);
    }
    let plain = home.run(["--db", "other.db", "--no-key", "init"]).expect(0);
    assert!(plain.stderr.contains("not encrypted"), "{}", plain.stderr);
    let run = home.run(["--db", "other.db", "--no-key", "db", "rekey"]).expect(2);
    assert!(run.failure().contains("db encrypt"), "{}", run.stderr);
}

#[test]
fn migrate_says_the_schemas_version() {
    let home = filled();
    assert!(home.run(["db", "migrate"]).expect(0).stdout.contains("the schema is at version "));
    assert!(home.json(["db", "migrate"])["schema_version"].as_u64().unwrap() >= 1);
}
