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
    assert_eq!(from_file.place, Place::File(config.join("from-file.db")));
    assert_eq!(from_file.key, Key::File(config.join("from-file.key")));

    let environment = [("TRUST_LEDGER_DB", "from-env.db"), ("TRUST_LEDGER_KEY_ENV", "FROM_ENV")];
    let from_environment = read(&Global::default(), &environment);
    assert_eq!(from_environment.place, Place::File("from-env.db".into()));
    assert_eq!(from_environment.key, Key::Variable("FROM_ENV".into()));

    let global = Global { db: Some("given.db".into()), key_file: Some("given.key".into()), ..Global::default() };
    let given = read(&global, &environment);
    assert_eq!(given.place, Place::File("given.db".into()));
    assert_eq!(
        given.key,
        Key::File("given.key".into()),
        "a file on the command line beats a variable's name elsewhere"
    );
    assert!(given.is_named);

    // Each setting alone: the ledger of the command line with the key of the file.
    let mixed = read(&Global { db: Some("given.db".into()), ..Global::default() }, &[]);
    assert_eq!((mixed.place, mixed.key), (Place::File("given.db".into()), Key::File(config.join("from-file.key"))));
}

#[test]
fn without_settings_ledger_and_key_are_in_the_users_folders() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings_in(&Global::default(), &[], Some((folder.path(), Path::new("/data")))).unwrap();
    let expected = Settings {
        place: Place::File("/data/ledger.db".into()),
        is_named: false,
        key: Key::Default(folder.path().join("ledger.key")),
    };
    assert_eq!(settings, expected);
}

#[test]
fn a_key_handed_over_by_the_service_manager_comes_after_all_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("db_key"), "secret").unwrap();
    let directory = ("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap());
    let global = Global { db: Some("a.db".into()), ..Global::default() };
    assert_eq!(settings(&global, &[directory]).unwrap().key, Key::File(folder.path().join("db_key")));
    let said = settings(&global, &[directory, ("TRUST_LEDGER_KEY_FILE", "other")]).unwrap();
    assert_eq!(said.key, Key::File("other".into()));
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
    let unknown = refused("[db]\nurl = \"a.db\"\n\n[db.cipher]\n  key_fiel = \"x\"\n");
    assert!(unknown.contains("line 5, column 3") && unknown.contains("`key_fiel`"), "{unknown}");
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
fn a_ledger_is_a_path_or_a_sqlite_url_and_no_password_is_shown() {
    for (text, expected) in [
        ("ledger.db", Place::File("ledger.db".into())),
        ("sqlite:ledger.db", Place::File("ledger.db".into())),
        ("sqlite:///srv/ledger.db", Place::File("/srv/ledger.db".into())),
        ("./odd:name", Place::File("./odd:name".into())),
        (r"C:\ledger.db", Place::File(r"C:\ledger.db".into())),
        ("sqlite::memory:", Place::Memory),
    ] {
        assert_eq!(place(text), Ok(expected), "{text}");
    }
    let postgres = place("postgres://user:canary@host/db").unwrap_err();
    assert!(postgres.contains("SQLite") && !postgres.contains("canary"), "{postgres}");
    assert!(!place("mysql://user:canary@host/db").unwrap_err().contains("canary"));
    assert!(place("").is_err() && place("sqlite:").is_err());
}

#[test]
fn without_a_home_folder_the_missing_option_is_named() {
    assert!(settings(&Global::default(), &[]).unwrap_err().to_string().contains("--db"));
    let global = Global { db: Some("a.db".into()), ..Global::default() };
    assert!(settings(&global, &[]).unwrap_err().to_string().contains("--key-file"));
}
