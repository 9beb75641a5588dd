//! Settings from a file and the process's environment, up to an open database.

use std::process::Command;

use strongroom::{Config, EncryptionProblem, Error, KeySource, Settings, params};

use crate::{Place, RAW_KEY};

/// The path of the settings file, in the process that has the environment.
const CHILD: &str = "STRONGROOM_TEST_SETTINGS";

/// A process of its own with variables set, since this one's are shared by all tests: file, environment and builder
/// together open an encrypted database that another key does not open.
#[tokio::test]
async fn file_environment_and_builder_open_an_encrypted_database() {
    let place = Place::new();
    if let Some(file) = std::env::var_os(CHILD) {
        let config = Settings::new().file(file).unwrap().environment("STRONGROOM_TEST").unwrap().config().unwrap();
        let db = config.pool_max_size(2).connect().await.unwrap();
        assert!(db.is_encrypted());
        db.execute("CREATE TABLE t (a INTEGER) STRICT", params![]).await.unwrap();
        db.close().await.unwrap();
        return;
    }
    let file = place.folder.path().join("app.toml");
    std::fs::write(&file, "[db]\nurl = 'sqlite:wrong.db'\n[db.cipher]\nkey_env = 'STRONGROOM_TEST_DB_KEY'\n").unwrap();
    let child = |url: &str| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "settings::file_environment_and_builder_open_an_encrypted_database"])
            .env(CHILD, &file)
            .env("STRONGROOM_TEST_DB_URL", url)
            .env("STRONGROOM_TEST_DB_KEY", RAW_KEY)
            .env("STRONGROOM_TEST_DB_CACHE_KIB", "1024")
            .output()
            .unwrap()
    };
    let output = child(&format!("sqlite:{}", place.path().display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(!place.folder.path().join("wrong.db").exists());

    let db = Config::sqlite(place.path()).key(KeySource::literal(RAW_KEY)).connect().await.unwrap();
    assert!(db.table_exists("t").await.unwrap());
    let other = Config::sqlite(place.path()).key(KeySource::literal("other")).connect().await.unwrap_err();
    assert!(matches!(other, Error::Encryption { problem: EncryptionProblem::WrongKeyOrDamaged, .. }), "{other}");
}

#[tokio::test]
async fn a_yaml_file_alone_opens_a_database_beside_itself() {
    let place = Place::new();
    let file = place.folder.path().join("app.yaml");
    std::fs::write(&file, "server:\n  port: 80\ndb:\n  url: sqlite:test.db\n").unwrap();
    let db = Config::from_file(&file).unwrap().connect().await.unwrap();
    db.execute("CREATE TABLE t (a INTEGER) STRICT", params![]).await.unwrap();
    assert!(place.path().exists() && !db.is_encrypted());
}
