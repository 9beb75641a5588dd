//! The migration runner: complete, resumable, and never over a schema it does not know.

use strongroom::{Config, Error, Migration, Migrations, params};

use crate::{Place, Server};

static ONE: Migrations = Migrations::new(&[Migration::new(1, "initial", STEPS)]);
static TWO: Migrations = Migrations::new(&[
    Migration::new(1, "initial", STEPS),
    Migration::new(2, "more", "-- step: third\nCREATE TABLE third (id INTEGER)"),
]);
static EDITED: Migrations = Migrations::new(&[Migration::new(1, "initial", "-- step: other\nCREATE TABLE other (id)")]);
static BROKEN: Migrations = Migrations::new(&[
    Migration::new(1, "initial", STEPS),
    Migration::new(
        2,
        "breaks",
        "-- step: good\nCREATE TABLE good (id INTEGER);\n-- step: bad\nINSERT INTO obstacle (id) VALUES (1);\n\
         -- step: last\nCREATE TABLE last (id INTEGER);",
    ),
]);

const STEPS: &str = "A file's own comment.
-- step: first
CREATE TABLE first (id INTEGER PRIMARY KEY, text TEXT);

-- step: a trigger is one statement
CREATE TRIGGER first_insert AFTER INSERT ON first BEGIN
    UPDATE first SET text = 'seen' WHERE id = new.id;
    UPDATE first SET text = text || '!' WHERE id = new.id;
END;
";

#[tokio::test]
async fn connecting_brings_the_schema_up_to_date_once() {
    let place = Place::new();
    let db = place.config().migrations(&ONE).connect().await.unwrap();
    db.execute("INSERT INTO first (id) VALUES (1)", params![]).await.unwrap();
    assert_eq!(db.fetch_value::<String>("SELECT text FROM first", params![]).await.unwrap().as_deref(), Some("seen!"));
    drop(db);
    let db = place.config().migrations(&TWO).connect().await.unwrap();
    assert!(db.table_exists("third").await.unwrap());
    assert_eq!(db.fetch_value::<i64>("SELECT count(*) FROM first", params![]).await.unwrap(), Some(1));
}

#[tokio::test]
async fn a_newer_schema_and_an_edited_migration_are_refused() {
    let place = Place::new();
    place.config().migrations(&TWO).connect().await.unwrap();
    let newer = place.config().migrations(&ONE).connect().await.unwrap_err();
    assert!(newer.to_string().contains("migration 2 (more), which this program does not know"), "{newer}");
    let place = Place::new();
    place.config().migrations(&ONE).connect().await.unwrap();
    let edited = place.config().migrations(&EDITED).connect().await.unwrap_err();
    assert!(edited.to_string().contains("their texts differ"), "{edited}");
}

#[tokio::test]
async fn switched_off_a_missing_migration_is_an_error_and_nothing_is_changed() {
    let place = Place::new();
    let error = place.config().migrations(&ONE).migrate(false).connect().await.unwrap_err();
    assert!(error.to_string().contains("lacks 1 of the 1 migrations"), "{error}");
    let db = place.open().await;
    assert!(!db.table_exists("first").await.unwrap() && !db.table_exists("strongroom_migration").await.unwrap());
    place.config().migrations(&ONE).connect().await.unwrap();
    place.config().migrations(&ONE).migrate(false).connect().await.unwrap();
}

#[tokio::test]
async fn an_interrupted_migration_goes_on_at_the_step_that_failed() {
    let place = Place::new();
    let error = place.config().migrations(&BROKEN).connect().await.unwrap_err();
    assert_eq!(error.to_string(), "migration 2 (breaks), step 2 (bad) failed");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("no such table: obstacle"), "{cause}");
    let db = place.open().await;
    assert!(db.table_exists("good").await.unwrap() && !db.table_exists("last").await.unwrap());
    // Running the first step again would fail: the table is there.
    db.execute("CREATE TABLE obstacle (id INTEGER)", params![]).await.unwrap();
    drop(db);
    let db = place.config().migrations(&BROKEN).connect().await.unwrap();
    assert!(db.table_exists("last").await.unwrap());
    assert_eq!(db.fetch_value::<i64>("SELECT count(*) FROM obstacle", params![]).await.unwrap(), Some(1));
}

#[tokio::test]
async fn handles_that_migrate_at_once_do_it_once() {
    let place = Place::new();
    place.open().await.close().await.unwrap();
    let tasks: Vec<_> = (0..6).map(|_| tokio::spawn(place.config().migrations(&TWO).connect())).collect();
    for task in tasks {
        assert!(task.await.unwrap().unwrap().table_exists("third").await.unwrap());
    }
}

#[tokio::test]
async fn a_migration_that_tries_transaction_control_is_refused() {
    static CONTROL: Migrations = Migrations::new(&[Migration::new(1, "control", "-- step: begin\nBEGIN")]);
    let error = Config::memory().migrations(&CONTROL).connect().await.unwrap_err();
    assert!(matches!(error, Error::Migration { .. }));
}

#[tokio::test]
async fn a_list_out_of_order_and_a_migration_without_steps_are_refused_before_anything_is_opened() {
    static GAP: Migrations = Migrations::new(&[Migration::new(2, "second", STEPS)]);
    static NOTHING: Migrations = Migrations::new(&[Migration::new(1, "nothing", "CREATE TABLE t (id) -- step: no")]);
    static EMPTY: Migrations = Migrations::new(&[Migration::new(1, "empty", "-- step: one\n\n-- step: two\nSELECT 1")]);
    for (migrations, expected) in [
        (&GAP, "migration 2 (second) stands where version 1 is expected"),
        (&NOTHING, "migration 1 (nothing) has no line `-- step: …`"),
        (&EMPTY, "migration 1 (empty), step one, is empty"),
    ] {
        let place = Place::new();
        let error = place.config().migrations(migrations).connect().await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!place.path().exists());
    }
}

#[tokio::test]
async fn a_migration_may_concern_one_engine_only() {
    static ELSEWHERE: Migrations = Migrations::new(&[
        Migration::new(1, "first", "-- step: t\nCREATE TABLE t (id INTEGER)"),
        Migration::new(2, "server's", "").on_postgres("-- step: u\nCREATE TABLE u (id INTEGER)"),
        Migration::new(3, "file's", "-- step: v\nCREATE TABLE v (id INTEGER)").on_postgres(""),
    ]);
    let (place, server) = (Place::new(), Server::if_there());
    for config in [Some(place.config()), server.as_ref().map(Server::config)].into_iter().flatten() {
        let db = config.clone().migrations(&ELSEWHERE).connect().await.unwrap();
        let on_server = config.dialect() == strongroom::Dialect::Postgres;
        for table in ["t", "u", "v"] {
            let exists = db.table_exists(table).await.unwrap();
            assert_eq!(exists, table == "t" || (table == "u") == on_server, "{table}");
        }
        db.close().await.unwrap();
        // Nothing is missing, so nothing is to be done.
        let again = config.migrations(&ELSEWHERE).migrate(false).connect().await.unwrap();
        assert!(again.check().await.is_ok());
    }
    static NEITHER: Migrations = Migrations::new(&[Migration::new(1, "nobody's", "").on_postgres(" ")]);
    let error = Config::memory().migrations(&NEITHER).connect().await.unwrap_err();
    assert!(error.to_string().contains("has no line"), "{error}");
}

#[tokio::test]
async fn a_step_that_takes_longer_than_a_session_may_is_not_cut_off() {
    static SLOW: Migrations = Migrations::new(&[Migration::new(
        1,
        "slow",
        "-- step: slow
         CREATE TABLE slow AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000000)
         SELECT count(*) AS n FROM n",
    )]);
    let place = Place::new();
    let config = place.config().session_max_age(std::time::Duration::from_secs(1)).migrations(&SLOW);
    let db = config.connect().await.unwrap();
    assert!(db.table_exists("slow").await.unwrap());
}

#[tokio::test]
async fn another_programs_database_is_refused_and_untouched() {
    let place = Place::new();
    let db = place.open().await;
    db.execute("CREATE TABLE theirs (id INTEGER)", params![]).await.unwrap();
    db.close().await.unwrap();
    let before = std::fs::read(place.path()).unwrap();
    let error = place.config().migrations(&ONE).connect().await.unwrap_err();
    assert!(error.to_string().contains("another program's"), "{error}");
    assert_eq!(std::fs::read(place.path()).unwrap(), before);
}
