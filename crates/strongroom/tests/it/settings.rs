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

/// In the process that has the environment.
#[cfg(feature = "aws")]
const TOKENS: &str = "STRONGROOM_TEST_TOKENS";

/// Longer than logging in takes on a busy machine.
#[cfg(feature = "aws")]
const PAUSE: std::time::Duration = std::time::Duration::from_secs(3);

/// Two connections with a pause between them, at a server that tells how old a token was when it came: kept, the second's is
/// as old as the pause; by default it is a new one. The CAs come from the settings, too.
#[cfg(feature = "aws")]
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_kept_for_as_long_as_the_environment_says() {
    if std::env::var_os(TOKENS).is_some() {
        let config = Settings::new().environment("STRONGROOM_TEST").unwrap().config().unwrap();
        let db = config.pool_max_size(2).connect().await.unwrap();
        tokio::time::sleep(PAUSE).await;
        let (one, two) = (db.connection().await.unwrap(), db.connection().await.unwrap());
        drop((one, two));
        db.close().await.unwrap();
        return;
    }
    if !test_servers::needs::iam() {
        return;
    }
    let ca = test_servers::Ca::new();
    let keys = test_servers::IamKeys {
        access_key: "AKIATEST".to_owned(),
        secret_key: "secret half".to_owned(),
        session_token: None,
        region: "eu-central-1".to_owned(),
    };
    let server = test_servers::Postgres::rds_iam("app", &keys, &ca.server()).start();
    let url = format!("postgres://app@db.test:{}/app?hostaddr=127.0.0.1", server.port());
    let ages = |token_cache: &str| {
        let before = server.log().len();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "settings::a_token_is_kept_for_as_long_as_the_environment_says"])
            .env(TOKENS, "1")
            .env("AWS_ACCESS_KEY_ID", &keys.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &keys.secret_key)
            .env("AWS_REGION", &keys.region)
            .env("STRONGROOM_TEST_DB_URL", &url)
            .env("STRONGROOM_TEST_DB_CREDENTIALS", "rds-iam")
            .env("STRONGROOM_TEST_DB_POSTGRES_SSLROOTCERT", ca.file())
            .env("STRONGROOM_TEST_DB_POSTGRES_TOKEN_CACHE_S", token_cache)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let age = |line: &str| line.strip_prefix("IAM token taken: ")?.strip_suffix(" s old")?.parse::<u64>().ok();
        server.log()[before..].lines().filter_map(age).collect::<Vec<_>>()
    };
    let kept = ages("600");
    assert!(kept.len() == 2 && kept[1] >= PAUSE.as_secs(), "{kept:?}");
    let own = ages("");
    assert!(own.len() == 2 && own[1] < PAUSE.as_secs(), "{own:?}");
}
