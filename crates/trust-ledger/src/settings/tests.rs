//! The cascade, with environment and folders given.

use std::collections::HashMap;
use std::fs;

use super::*;

fn settings(global: &Global, environment: &[(&str, &str)]) -> Result<Settings> {
    settings_in(global, environment, None)
}

fn settings_in(global: &Global, environment: &[(&str, &str)], folders: Option<(&Path, &Path)>) -> Result<Settings> {
    let environment: HashMap<&str, &str> = environment.iter().copied().collect();
    resolve(global, &|name| environment.get(name).map(OsString::from), folders)
}

/// The ledger and its key, as `check` shows them.
fn shown(settings: &Settings) -> (String, String) {
    (settings.config.to_string(), settings.key.shown())
}

fn absolute(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
}

#[test]
fn each_setting_is_taken_from_the_first_place_that_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path();
    fs::write(
        config.join("settings.toml"),
        "[db]\nurl = \"sqlite:from-file.db\"\n[db.cipher]\nkey_file = \"from-file.key\"\n",
    )
    .unwrap();
    let folders = Some((config, Path::new("/data")));
    let read = |global: &Global, environment: &[(&str, &str)]| settings_in(global, environment, folders).unwrap();

    let from_file = read(&Global::default(), &[]);
    assert_eq!(shown(&from_file), (absolute(config.join("from-file.db")), absolute(config.join("from-file.key"))));

    let environment = [("TRUST_LEDGER_DB", "from-env.db"), ("TRUST_LEDGER_KEY_ENV", "FROM_ENV")];
    let from_environment = read(&Global::default(), &environment);
    assert_eq!(shown(&from_environment), ("from-env.db".into(), "the environment variable FROM_ENV".into()));

    let global = Global { db: Some("given.db".into()), key_file: Some("given.key".into()), ..Global::default() };
    let given = read(&global, &environment);
    // A file on the command line beats a variable's name elsewhere.
    assert_eq!(shown(&given), ("given.db".into(), "given.key".into()));
    assert!(given.is_named);

    // Each setting alone: the ledger of the command line with the key of the file.
    let mixed = read(&Global { db: Some("given.db".into()), ..Global::default() }, &[]);
    assert_eq!(shown(&mixed), ("given.db".into(), absolute(config.join("from-file.key"))));

    // What the command line says of the key holds against all that the file says of it.
    fs::write(config.join("settings.toml"), "[db.cipher]\nkey_source = \"env\"\nkey_env = \"K\"\n").unwrap();
    let key = |name: &str| read(&Global { key_file: Some(name.into()), ..Global::default() }, &[]).key.shown();
    assert_eq!(key("given.key"), "given.key");
    fs::write(config.join("settings.toml"), "[db.cipher]\nenabled = false\n").unwrap();
    assert_eq!(key("given.key"), "given.key");
    assert!(matches!(read(&Global::default(), &[]).key, Key::None));
}

#[test]
fn of_several_sources_of_the_key_in_one_place_the_first_in_order_is_used() {
    let key = |environment: &[(&str, &str)]| {
        let global = Global { db: Some("a.db".into()), ..Global::default() };
        settings(&global, environment).unwrap().key.shown()
    };
    let all = [
        ("TRUST_LEDGER_KEY_ENV", "K", "the environment variable K"),
        ("TRUST_LEDGER_KEY_FILE", "/k", "/k"),
        ("TRUST_LEDGER_KEY_SOPS", "/s.yaml#a.b", "the SOPS file /s.yaml, key a.b"),
        ("TRUST_LEDGER_KEY_COMMAND", "pass show db", "the command pass"),
        ("TRUST_LEDGER_KEY_AWS_SECRET", "app/db#key", "the AWS secret app/db, field key"),
    ];
    for first in 0..all.len() {
        let environment: Vec<_> = all[first..].iter().rev().map(|&(name, value, _)| (name, value)).collect();
        assert_eq!(key(&environment), all[first].2);
    }
    assert_eq!(key(&[("TRUST_LEDGER_KEY_SOPS", "/s.yaml")]), "the SOPS file /s.yaml");
    assert_eq!(key(&[("TRUST_LEDGER_KEY_AWS_SECRET", "app/db")]), "the AWS secret app/db");
}

#[test]
fn without_settings_ledger_and_key_are_in_the_users_folders() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings_in(&Global::default(), &[], Some((folder.path(), Path::new("/data")))).unwrap();
    assert_eq!(shown(&settings), ("/data/ledger.db".into(), absolute(folder.path().join("ledger.key"))));
    assert!(!settings.is_named && matches!(settings.key, Key::Default(_)));
}

#[test]
fn a_key_handed_over_by_the_service_manager_comes_after_all_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("db_key"), "secret").unwrap();
    let directory = ("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap());
    let global = Global { db: Some("a.db".into()), ..Global::default() };
    let key = settings(&global, &[directory]).unwrap().key;
    assert_eq!(key.shown(), absolute(folder.path().join("db_key")));
    assert!(matches!(key, Key::Named(_)), "it is not made when it is missing");
    let said = settings(&global, &[directory, ("TRUST_LEDGER_KEY_FILE", "other")]).unwrap();
    assert_eq!(said.key.shown(), "other");
}

#[test]
fn an_unknown_or_wrong_key_of_the_file_is_refused_by_name_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.toml");
    let refused = |text: &str| {
        fs::write(&path, text).unwrap();
        let global = Global { settings: Some(path.clone()), db: Some("a.db".into()), ..Global::default() };
        settings_in(&global, &[], Some((folder.path(), folder.path()))).unwrap_err().to_string()
    };
    let unknown = refused("[db]\nurl = \"sqlite:a.db\"\n\n[db.cipher]\n  key_fiel = \"x\"\n");
    assert!(unknown.contains("line 5, column 3") && unknown.contains("db.cipher.key_fiel:"), "{unknown}");
    assert!(!unknown.contains('\n'), "{unknown}");
    let section = refused("[server]\n");
    assert!(section.contains("line 1, column 2") && section.contains("`server`"), "{section}");
    let kind = refused("[db]\nurl = 7\n");
    assert!(kind.contains("line 2, column 7"), "{kind}");
    let syntax = refused("[db\n");
    assert!(syntax.contains("line 1, column"), "{syntax}");
}

#[test]
fn a_settings_file_that_was_named_must_be_there() {
    let global =
        Global { settings: Some("/nowhere/settings.toml".into()), db: Some("a.db".into()), ..Global::default() };
    let error = settings(&global, &[]).unwrap_err().to_string();
    assert!(error.contains("/nowhere/settings.toml"), "{error}");
}

#[test]
fn a_ledger_is_a_path_or_a_url_and_no_password_is_shown() {
    let ledger = |db: &str| {
        let global = Global { db: Some(db.into()), no_key: true, ..Global::default() };
        settings(&global, &[]).map(|settings| settings.config.to_string()).map_err(|failure| failure.to_string())
    };
    for (text, expected) in [
        ("ledger.db", "ledger.db"),
        ("sqlite:ledger.db", "ledger.db"),
        ("sqlite:///srv/ledger.db", "/srv/ledger.db"),
        ("./odd:name", "./odd:name"),
        (r"C:\ledger.db", r"C:\ledger.db"),
        ("sqlite::memory:", ":memory:"),
    ] {
        assert_eq!(ledger(text).unwrap(), expected, "{text}");
    }
    let unknown = ledger("mysql://user:canary@host/db").unwrap_err();
    assert!(unknown.contains("--db: scheme mysql is not known") && !unknown.contains("canary"), "{unknown}");
    assert!(ledger("").is_err() && ledger("sqlite:").is_err());
}

#[test]
fn without_a_home_folder_the_missing_option_is_named() {
    assert!(settings(&Global::default(), &[]).unwrap_err().to_string().contains("--db"));
    let global = Global { db: Some("a.db".into()), ..Global::default() };
    assert!(settings(&global, &[]).unwrap_err().to_string().contains("--key-file"));
}
