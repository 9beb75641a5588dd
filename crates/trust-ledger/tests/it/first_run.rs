//! Ledger and key: made on the first run, never made anew, and what is said when they do not fit.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::certificates::Plan;
use crate::home::{Home, Run};

#[test]
fn a_failed_check_is_told_once_and_fits_the_width() {
    let home = Home::new();
    home.run(["init"]).expect(0);
    home.secret("other.key", "something else");
    let mut command = home.command(["check", "--key-file", "other.key"]);
    let run = Run::of(command.env("COLUMNS", "60")).expect(1);
    assert_eq!(run.stderr, "");
    assert!(run.stdout.lines().all(|line| line.chars().count() <= 60), "{}", run.stdout);
    let said: String = run.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("wrong key, or the file's first page is damaged"), "{said}");
    assert!(said.ends_with("the key came from other.key"), "{said}");
}

#[test]
fn the_first_run_creates_ledger_and_key_and_says_where_they_are() {
    // Goal: one command on an empty home is enough, and nobody can miss that there is a key to keep.
    let home = Home::new();
    let run = home.run(["list"]).expect(0);
    assert_eq!(run.stdout, "");
    for path in [home.ledger(), home.key()] {
        assert!(run.stderr.contains(path.to_str().unwrap()), "{}", run.stderr);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    assert!(run.stderr.contains("Without the key the ledger is lost"), "{}", run.stderr);
    let key = fs::read_to_string(home.key()).unwrap();
    let digits = key.strip_prefix("x'").unwrap().strip_suffix("'\n").unwrap();
    assert!(digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    assert!(!run.stderr.contains(digits));
    assert!(!fs::read(home.ledger()).unwrap().starts_with(b"SQLite format 3"), "the ledger is not encrypted");
    // The second run has nothing to say.
    assert!(!home.run(["list"]).expect(0).stderr.contains("created"));
}

#[test]
fn xdg_folders_are_honoured() {
    let home = Home::new();
    let mut command = home.command(["init", "--json"]);
    command.env("XDG_DATA_HOME", home.path("data")).env("XDG_CONFIG_HOME", home.path("config"));
    crate::home::Run::of(&mut command).expect(0);
    assert!(home.path("data/trust-ledger/ledger.db").exists());
    assert!(home.path("config/trust-ledger/ledger.key").exists());
}

#[test]
fn init_creates_once_and_says_so_the_second_time() {
    let home = Home::new();
    let first = home.json(["init"]);
    assert_eq!(first["created"], true);
    assert_eq!(first["ledger"], home.ledger().to_str().unwrap());
    assert_eq!(first["key_file"], home.key().to_str().unwrap());
    let key = fs::read(home.key()).unwrap();
    let second = home.run(["init"]).expect(0);
    assert!(second.stdout.contains("exists already"), "{}", second.stdout);
    assert_eq!(home.json(["init"])["created"], false);
    assert_eq!(fs::read(home.key()).unwrap(), key);
}

#[test]
fn a_ledger_without_its_key_file_gets_no_new_one_and_is_untouched() {
    let home = Home::new();
    home.run(["init"]).expect(0);
    let before = fs::read(home.ledger()).unwrap();
    fs::remove_file(home.key()).unwrap();
    for command in [["list"], ["init"], ["stats"], ["check"]] {
        let run = home.run(command).expect(1);
        let said = run.stdout.clone() + &run.stderr;
        assert!(said.contains(home.ledger().to_str().unwrap()), "{said}");
        assert!(said.contains(home.key().to_str().unwrap()), "{said}");
        assert!(!home.key().exists());
    }
    assert_eq!(fs::read(home.ledger()).unwrap(), before);
}

#[test]
fn a_wrong_key_is_said_to_be_wrong_with_its_origin_and_the_file_is_untouched() {
    let home = Home::new();
    home.run(["init"]).expect(0);
    let before = fs::read(home.ledger()).unwrap();
    let wrong = home.secret("wrong.key", "not this one");
    let run = home.run(["list", "--key-file", wrong.to_str().unwrap()]).expect(1);
    assert!(run.failure().contains("wrong key"), "{}", run.stderr);
    assert!(run.failure().contains(wrong.to_str().unwrap()), "{}", run.stderr);
    assert!(!run.stderr.contains("not this one"));
    assert_eq!(fs::read(home.ledger()).unwrap(), before);
}

#[test]
fn a_key_file_that_others_may_read_is_refused() {
    let home = Home::new();
    home.run(["init"]).expect(0);
    fs::set_permissions(home.key(), fs::Permissions::from_mode(0o644)).unwrap();
    let run = home.run(["list"]).expect(1);
    assert!(run.failure().contains("0644") && run.failure().contains("chmod 600"), "{}", run.stderr);
}

#[test]
fn a_plain_file_opens_only_with_no_key_and_an_encrypted_one_only_with_its_key() {
    let home = Home::new();
    home.run(["--db", "plain.db", "--no-key", "init"]).expect(0);
    assert!(fs::read(home.path("plain.db")).unwrap().starts_with(b"SQLite format 3\0"));
    let before = fs::read(home.path("plain.db")).unwrap();
    let without = home.run(["--db", "plain.db", "list"]).expect(2);
    assert!(without.failure().contains("--no-key"), "{}", without.stderr);
    let key = home.secret("a.key", "secret");
    let keyed = home.run(["--db", "plain.db", "--key-file", key.to_str().unwrap(), "list"]).expect(1);
    assert!(keyed.failure().contains("--no-key"), "{}", keyed.stderr);
    assert_eq!(fs::read(home.path("plain.db")).unwrap(), before);
    home.run(["list", "--no-key", "--db", "sqlite:plain.db"]).expect(0);
    assert!(!home.key().exists(), "nobody needed a key");

    home.run(["init"]).expect(0);
    let plain = home.run(["list", "--no-key"]).expect(1);
    assert!(plain.failure().contains("encrypted"), "{}", plain.stderr);
}

#[test]
fn a_named_ledger_is_created_by_init_and_import_only_and_takes_the_users_key() {
    let home = Home::new();
    let run = home.run(["list", "--db", "other.db"]).expect(1);
    assert!(run.failure().contains("trust-ledger init"), "{}", run.stderr);
    assert!(!home.path("other.db").exists() && !home.key().exists());
    home.run(["init", "--db", "other.db"]).expect(0);
    let key = fs::read(home.key()).unwrap();
    let file = home.file("a.pem", Plan::server(1, "a.example").pem());
    home.run(["--db", "third.db", "import", file.to_str().unwrap()]).expect(0);
    assert_eq!(fs::read(home.key()).unwrap(), key, "one key for all of the user's ledgers");
    assert_eq!(home.json(["list", "--db", "third.db"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_damaged_ledger_and_one_that_is_no_ledger_are_refused_and_untouched() {
    let home = Home::new();
    home.run(["init"]).expect(0);
    let good = fs::read(home.ledger()).unwrap();
    for damaged in [good[..good.len() - 100].to_vec(), vec![7; 100], vec![0x55; 8192]] {
        fs::write(home.ledger(), &damaged).unwrap();
        home.run(["list"]).expect(1).failure();
        assert_eq!(fs::read(home.ledger()).unwrap(), damaged);
    }
}

#[test]
fn a_folder_without_the_right_to_write_is_named() {
    let home = Home::new();
    let folder = home.path("readonly");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write anywhere but where nobody may: a file system that is read-only, or the kernel's.
    let mut mounted = false;
    let folder = if fs::write(folder.join("probe"), "").is_ok() {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "ro", "tmpfs"]).arg(&folder).output();
        mounted = mount.is_ok_and(|output| output.status.success());
        if mounted { folder } else { "/sys".into() }
    } else {
        folder
    };
    let ledger = folder.join("ledger.db");
    let run = home.run(["init", "--db", ledger.to_str().unwrap()]);
    if mounted {
        assert!(Command::new("umount").arg(&folder).status().unwrap().success());
    }
    let run = run.expect(1);
    assert!(run.stderr.contains(ledger.to_str().unwrap()), "{}", run.stderr);
    let denied = ["permission denied", "read-only", "not permitted"];
    assert!(denied.iter().any(|word| run.stderr.to_lowercase().contains(word)), "{}", run.stderr);
}

#[test]
fn settings_come_from_command_line_environment_and_file_in_this_order() {
    let home = Home::new();
    for (name, key) in [("file", "key of file"), ("environment", "key of environment"), ("line", "key of line")] {
        let key = home.secret(&format!("{name}.key"), key);
        let db = format!("{name}.db");
        home.run(["--db", &db, "--key-file", key.to_str().unwrap(), "init"]).expect(0);
    }
    let file = "[db]\nurl = \"sqlite:../../file.db\"\n[db.cipher]\nkey_file = \"../../file.key\"\n";
    home.file(".config/trust-ledger/settings.toml", file);
    let ledger = |command: &mut std::process::Command| {
        let run = crate::home::Run::of(command).expect(0);
        let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        report["steps"][0]["message"].as_str().unwrap().to_owned()
    };
    let in_file = ledger(&mut home.command(["check", "--json"]));
    assert!(in_file.contains("file.db") && in_file.contains("file.key"), "{in_file}");
    let environment = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env("TRUST_LEDGER_DB", "environment.db").env("TRUST_LEDGER_KEY_FILE", "environment.key");
        command
    };
    let in_environment = ledger(&mut environment(&["check", "--json"]));
    assert!(in_environment.contains("environment.db"), "{in_environment}");
    let arguments = ["check", "--db", "line.db", "--json", "--key-env", "LINE"];
    let on_line = ledger(environment(&arguments).env("LINE", "key of line"));
    assert!(on_line.contains("line.db") && on_line.contains("LINE"), "{on_line}");
}

#[test]
fn an_unknown_setting_is_refused_by_name_line_and_column() {
    let home = Home::new();
    let file = home.file("my.toml", "[db]\nurl = \"sqlite:a.db\"\n[db.cypher]\nkey_env = \"X\"\n");
    let run = home.run(["--settings", file.to_str().unwrap(), "list"]).expect(2);
    let said = "setting db.cypher: ";
    assert!(run.failure().contains(said) && run.failure().contains("my.toml, line 3, column 5"), "{}", run.stderr);
}

#[test]
fn a_url_of_another_database_is_refused_in_one_line_without_its_password() {
    let home = Home::new();
    for url in ["mysql://user:canary@host/db", "postgres://user:canary@host:port/db"] {
        let run = home.run(["list", "--db", url]).expect(2);
        assert!(run.failure().contains("--db") && !run.stderr.contains("canary"), "{}", run.stderr);
    }
}

#[test]
fn a_key_handed_over_by_systemd_is_used() {
    let home = Home::new();
    let key = home.secret("credentials/db_key", "from the service manager");
    let mut command = home.command(["--db", "a.db", "init", "--json"]);
    let run = crate::home::Run::of(command.env("CREDENTIALS_DIRECTORY", home.path("credentials"))).expect(0);
    let outcome: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(outcome["key_file"], key.to_str().unwrap());
    assert!(!home.key().exists());
    home.run(["--db", "a.db", "--key-file", key.to_str().unwrap(), "list"]).expect(0);
}

#[test]
fn check_reports_each_step_and_creates_nothing() {
    let home = Home::new();
    let missing = home.run(["check"]).expect(1);
    assert!(missing.stdout.contains("there is no ledger"), "{}", missing.stdout);
    assert!(!home.ledger().exists() && !home.key().exists());
    home.run(["init"]).expect(0);
    let report = home.json(["check"]);
    assert_eq!(report["ok"], true);
    let steps: Vec<&str> =
        report["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(steps, ["settings", "key", "connection", "encryption", "session", "snapshot", "schema"]);
    let wrong = home.secret("wrong.key", "wrong");
    let failed = home.run(["check", "--key-file", wrong.to_str().unwrap()]).expect(1);
    assert!(failed.stdout.contains("failed") && failed.stdout.contains("wrong key"), "{}", failed.stdout);
}

#[test]
fn the_key_is_copied_to_a_new_file_and_nowhere_else() {
    let home = Home::new();
    home.run(["init"]).expect(0);
    let run = home.run(["key", "export", "copy.key"]).expect(0);
    let key = fs::read_to_string(home.key()).unwrap();
    assert_eq!(fs::read_to_string(home.path("copy.key")).unwrap(), key);
    assert_eq!(fs::metadata(home.path("copy.key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!(run.stdout + &run.stderr).contains(&key[2..60]));
    home.run(["list", "--key-file", "copy.key"]).expect(0);
    home.run(["key", "export", "copy.key"]).expect(2).failure();
    home.run(["key", "export", "-"]).expect(2).failure();
    let wrong = home.secret("wrong.key", "wrong");
    home.run(["key", "export", "second.key", "--key-file", wrong.to_str().unwrap()]).expect(1);
    assert!(!home.path("second.key").exists(), "a key that does not fit is not worth a copy");
}
