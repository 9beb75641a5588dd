//! What is PostgreSQL's own: types, errors, cancellation on the server, lost connections, COPY, poolers.

mod cancelling;
mod failover;
mod faults;
mod rights;
mod values;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use strongroom::{
    Batch, BoxFuture, Config, Credential, CredentialProvider, Error, Login, Migration, Migrations, QueryErrorKind,
    Secret, ServerError, params,
};

use crate::{Server, all, count, create_entry};

const INSERT: &str = "INSERT INTO entry (id, text) VALUES ($1, $2)";

/// Waits until the server's answer to this query is empty, or fails after some seconds.
async fn becomes_empty(server: &Server, sql: &str) {
    let mut found = Vec::new();
    for _ in 0..250 {
        found = server.query(sql);
        if found.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("still there: {found:?}");
}

/// Sessions of this database that hold a transaction open, or run something.
const NOT_IDLE: &str = "select state, query from pg_stat_activity \
     where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle'";

#[tokio::test]
async fn errors_are_sorted_by_their_sqlstate_and_quote_no_values() {
    let Some(server) = Server::if_there() else { return };
    let db = server.open().await;
    create_entry(&db).await;
    db.execute_script(
        "CREATE TABLE strict (id INTEGER NOT NULL CHECK (id > 0), parent INTEGER REFERENCES entry (id), name varchar(3));
         INSERT INTO entry (id, text) VALUES (1, 'canary');",
    )
    .await
    .unwrap();
    for (sql, kind, sqlstate) in [
        ("INSERT INTO entry (id, text) VALUES (2, 'canary')", QueryErrorKind::Unique, "23505"),
        ("INSERT INTO strict (id) VALUES (NULL)", QueryErrorKind::NotNull, "23502"),
        ("INSERT INTO strict (id) VALUES (0)", QueryErrorKind::Check, "23514"),
        ("INSERT INTO strict (id, parent) VALUES (1, 77)", QueryErrorKind::ForeignKey, "23503"),
        ("INSERT INTO strict (id, name) VALUES (1, 'canary')", QueryErrorKind::Constraint, "22001"),
        ("INSERT INTO nowhere (id) VALUES (1)", QueryErrorKind::Syntax, "42P01"),
        ("SELECT 'canary'::int", QueryErrorKind::Constraint, "22P02"),
        ("SELEKT 'canary'", QueryErrorKind::Syntax, "42601"),
        ("SELECT 'canary", QueryErrorKind::Syntax, "42601"),
        ("SELECT 1; SELECT 2", QueryErrorKind::Syntax, "42601"),
        ("SELECT 1 / 0", QueryErrorKind::Constraint, "22012"),
    ] {
        let error = db.execute(sql, params![]).await.unwrap_err();
        assert_eq!(error.query_kind(), Some(kind), "{sql}: {error}");
        assert_eq!(error.code().unwrap().sqlstate(), Some(sqlstate), "{sql}");
        let cause = std::error::Error::source(&error).unwrap();
        assert!(cause.is::<ServerError>());
        assert!(!format!("{error} {error:?} {cause} {cause:?}").contains("canary"), "{error:?}");
    }
    let error = db.execute(INSERT, params![2, "canary"]).await.unwrap_err();
    assert!(error.to_string().contains("entry_text_key"), "{error}");
    let Error::Query { source: Some(cause), .. } = &error else { panic!("{error:?}") };
    assert_eq!(cause.downcast_ref::<ServerError>().unwrap().constraint.as_deref(), Some("entry_text_key"));
}

#[tokio::test]
async fn what_would_change_the_connection_for_others_is_refused_and_the_method_to_use_named() {
    let Some(server) = Server::if_there() else { return };
    let db = server.open().await;
    for (sql, expected) in [
        ("BEGIN", "Database::session"),
        ("/* now */ commit", "Database::session"),
        ("; END", "Database::session"),
        ("SAVEPOINT unit", "Session::savepoint"),
        ("SET TRANSACTION READ ONLY", "Database::session"),
        ("SET search_path = other", "SET LOCAL"),
        ("LISTEN news", "Database::connection"),
        ("CREATE TEMP TABLE t (id INTEGER)", "TEMP"),
        ("DISCARD ALL", "by itself"),
        ("DEALLOCATE ALL", "by itself"),
        ("COPY entry FROM STDIN", "copy_in"),
    ] {
        let errors = [
            db.execute(sql, params![]).await.unwrap_err(),
            db.fetch_all(sql, params![]).await.unwrap_err(),
            db.fetch(sql, params![]).next().await.unwrap().unwrap_err(),
            db.execute_script(&format!("SELECT 1; {sql}")).await.unwrap_err(),
            db.batch(Batch::new().then("SELECT 1", params![]).then(sql, params![])).await.unwrap_err(),
        ];
        for error in errors {
            assert!(error.to_string().contains(expected), "{sql}: {error}");
        }
    }
    assert_eq!(db.fetch_value("SELECT 1", params![]).await.unwrap(), Some(1));
    assert_eq!(db.stats().readers.created, 1, "none of them cost the connection");
}

#[tokio::test]
async fn what_a_session_or_pinned_connection_leaves_behind_is_gone_for_the_next() {
    let Some(server) = Server::if_there() else { return };
    let db = server.config().pool_max_size(1).connect().await.unwrap();
    let zone = "SELECT current_setting('TimeZone')";
    let before: Option<String> = db.fetch_value(zone, params![]).await.unwrap();
    let mut pinned = db.connection().await.unwrap();
    pinned.execute("SET TimeZone = 'Asia/Tokyo'", params![]).await.unwrap();
    pinned.execute("CREATE TEMP TABLE draft (id INTEGER)", params![]).await.unwrap();
    assert_eq!(pinned.execute("INSERT INTO draft (id) VALUES (1), (2)", params![]).await.unwrap(), 2);
    assert_eq!(pinned.fetch_value::<String>(zone, params![]).await.unwrap().as_deref(), Some("Asia/Tokyo"));
    pinned.close().await.unwrap();
    let mut session = db.session().await.unwrap();
    session.execute("CREATE TEMP TABLE draft (id INTEGER)", params![]).await.unwrap();
    session.commit().await.unwrap();
    assert!(!db.table_exists("draft").await.unwrap());
    assert_eq!(db.fetch_value(zone, params![]).await.unwrap(), before);
    assert_eq!(db.stats().readers.created, 1, "it is the same connection all the time");
}

#[tokio::test]
async fn concurrent_increments_in_transactions_lose_no_update() {
    let Some(server) = Server::if_there() else { return };
    let db = server.open().await;
    db.execute("CREATE TABLE counter (n BIGINT NOT NULL)", params![]).await.unwrap();
    db.execute("INSERT INTO counter (n) VALUES (0)", params![]).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let db = db.clone();
        tasks.spawn(async move {
            let mut done = 0;
            while done < 10 {
                let outcome = db
                    .transaction(|mut session| async move {
                        let n: Option<i64> = session.fetch_value("SELECT n FROM counter", params![]).await?;
                        session.execute("UPDATE counter SET n = $1", params![n.unwrap() + 1]).await
                    })
                    .await;
                match outcome {
                    Ok(_) => done += 1,
                    // Five times done again, and each time somebody was faster.
                    Err(error) => assert!(error.is_retryable(), "{error}"),
                }
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(db.fetch_value("SELECT n FROM counter", params![]).await.unwrap(), Some(40_i64));
}

#[tokio::test]
async fn batches_that_conflict_are_done_again_by_the_handle() {
    let Some(server) = Server::if_there() else { return };
    let db = server.open().await;
    create_entry(&db).await;
    db.execute(INSERT, params![1, "0"]).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let db = db.clone();
        tasks.spawn(async move {
            for _ in 0..10 {
                // Reads its snapshot first, so that an update in between is a conflict.
                let batch = Batch::new()
                    .then("SELECT count(*) FROM entry", params![])
                    .then("UPDATE entry SET text = (text::int + 1)::text WHERE id = 1", params![]);
                match db.batch(batch).await {
                    Ok(affected) => assert_eq!(affected, [0, 1]),
                    Err(error) => assert!(error.is_retryable(), "{error}"),
                }
            }
        });
    }
    tasks.join_all().await;
    let sum: Option<String> = db.fetch_value("SELECT text FROM entry", params![]).await.unwrap();
    assert!(sum.unwrap().parse::<u32>().unwrap() > 10, "nearly all were done in the end");
}

#[tokio::test]
async fn a_stream_of_a_statement_that_writes_is_committed_before_its_first_row() {
    let Some(server) = Server::if_there() else { return };
    let db = server.open().await;
    create_entry(&db).await;
    for (id, sql) in [
        (1, "INSERT INTO entry (id) VALUES ($1) RETURNING id"),
        (2, "WITH made AS (INSERT INTO entry (id) VALUES ($1) RETURNING id) SELECT id FROM made"),
    ] {
        let mut rows = db.fetch(sql, params![id]);
        assert_eq!(rows.next().await.unwrap().unwrap().get::<i64>(0).unwrap(), id);
        assert_eq!(count(&db).await, id);
    }
}

#[tokio::test]
async fn copy_in_loads_rows_of_every_kind_whole_or_not_at_all() {
    for (db, keep) in all().await {
        db.execute("CREATE TABLE \"a \"\"b\" (id INTEGER PRIMARY KEY, \"Text\" TEXT)", params![]).await.unwrap();
        let rows = (0..5_000).map(|id| params![id, if id % 2 == 0 { Some(format!("row {id}")) } else { None }]);
        assert_eq!(db.copy_in("a \"b", &["id", "Text"], rows).await.unwrap(), 5_000);
        let sum: Option<i64> = db.fetch_value("SELECT count(\"Text\") FROM \"a \"\"b\"", params![]).await.unwrap();
        assert_eq!(sum, Some(2_500));
        let twice = [params![9_000, "a"], params![9_000, "b"]];
        assert!(db.copy_in("a \"b", &["id", "Text"], twice).await.unwrap_err().is_unique_violation());
        let misfit = [params![9_001, "a"], params![9_002]];
        let error = db.copy_in("a \"b", &["id", "Text"], misfit).await.unwrap_err();
        assert_eq!(error.query_kind(), Some(QueryErrorKind::Parameters), "{error}");
        let left: Option<i64> = db.fetch_value("SELECT count(*) FROM \"a \"\"b\"", params![]).await.unwrap();
        assert_eq!(left, Some(5_000));
        if keep.is_postgres() {
            let wrong = [params!["no number", "a"]];
            let error = db.copy_in("a \"b", &["id", "Text"], wrong).await.unwrap_err();
            assert!(error.to_string().contains("parameter $1: text given, and the server expects int4"), "{error}");
            let nowhere = db.copy_in("nowhere", &["id"], [params![1]]).await.unwrap_err();
            assert_eq!(nowhere.query_kind(), Some(QueryErrorKind::Syntax), "{nowhere}");
            assert_eq!(db.stats().readers.created, 1);
        }
    }
}

#[tokio::test]
async fn without_named_statements_everything_works_the_same() {
    let Some(server) = Server::if_there() else { return };
    let db = server.config().named_statements(false).connect().await.unwrap();
    create_entry(&db).await;
    db.execute(INSERT, params![1, "a"]).await.unwrap();
    db.execute_many(INSERT, (2..600).map(|id| params![id, format!("t{id}")])).await.unwrap();
    assert!(db.execute(INSERT, params![1, "again"]).await.unwrap_err().is_unique_violation());
    let mut session = db.session().await.unwrap();
    let mut point = session.savepoint().await.unwrap();
    assert!(point.execute(INSERT, params![1, "again"]).await.is_err());
    drop(point);
    session.execute("DELETE FROM entry WHERE id = ANY($1)", params![vec![2_i64, 3]]).await.unwrap();
    session.commit().await.unwrap();
    assert_eq!(count(&db).await, 597);
    let mut rows = db.fetch("SELECT id FROM entry WHERE text = $1", params!["a"]);
    assert_eq!(rows.next().await.unwrap().unwrap().get::<i32>("id").unwrap(), 1);
    db.copy_in("entry", &["id", "text"], (1_000..1_010).map(|id| params![id, format!("t{id}")])).await.unwrap();
    let prepared = "SELECT count(*) FROM pg_prepared_statements";
    assert_eq!(db.fetch_value(prepared, params![]).await.unwrap(), Some(0_i64));
}

#[tokio::test]
async fn a_transaction_pooler_works_without_named_statements() {
    if !test_servers::needs::pgbouncer() {
        return;
    }
    let server = Server::new();
    let pooler = test_servers::PgBouncer::in_front_of(server.server()).start();
    let config = Config::from_url(&pooler.url(server.name())).unwrap();
    let db = config.named_statements(false).pool_max_size(8).connect().await.unwrap();
    create_entry(&db).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8_i64 {
        let db = db.clone();
        tasks.spawn(async move {
            for round in 0..20 {
                let id = task * 100 + round;
                db.transaction(move |mut session| async move {
                    session.execute(INSERT, params![id, format!("{id}")]).await?;
                    session.fetch_value::<i64>("SELECT count(*) FROM entry WHERE id = $1", params![id]).await
                })
                .await
                .unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(count(&db).await, 160);
}

static SCHEMA: Migrations = Migrations::new(&[
    Migration::new(1, "initial", "-- step: t\nCREATE TABLE t (id BLOB PRIMARY KEY)").on_postgres(
        "-- step: t\nCREATE TABLE t (id uuid PRIMARY KEY);\n-- step: i\nCREATE INDEX t_id ON t (id);\n\
         -- step: slow\nINSERT INTO t (id) SELECT gen_random_uuid() FROM generate_series(1, 100), pg_sleep(0.001)",
    ),
    Migration::new(2, "more", "-- step: u\nCREATE TABLE u (id INTEGER PRIMARY KEY)"),
]);

#[tokio::test]
async fn migrations_of_three_processes_that_start_at_once_are_done_once() {
    let Some(server) = Server::if_there() else { return };
    let mut starting = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let config = server.config().migrations(&SCHEMA);
        starting.spawn(async move { config.connect().await });
    }
    for db in starting.join_all().await {
        let db = db.unwrap();
        assert_eq!(db.fetch_value("SELECT count(*) FROM t", params![]).await.unwrap(), Some(100_i64));
        assert!(db.check().await.is_ok());
    }
    assert_eq!(
        server.query("select steps, steps_done from strongroom_migration order by version"),
        [["3", "3"], ["1", "1"]]
    );
    let older = Migrations::new(&[]);
    let older: &'static Migrations = Box::leak(Box::new(older));
    let refused = server.config().migrations(older).connect().await.unwrap_err();
    assert!(refused.to_string().contains("newer version"), "{refused}");
    let foreign = Server::new();
    foreign.query("create table somebody_elses (id int)");
    let refused = foreign.config().migrations(&SCHEMA).connect().await.unwrap_err();
    assert!(refused.to_string().contains("another program's"), "{refused}");
}

/// Whoever makes a table at the same moment finds it, its type, or its key in the catalogue, a moment earlier or later: each
/// time there is another database, and there are many who try.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_of_many_that_start_at_once_fail_for_none() {
    for _ in 0..12 {
        let Some(server) = Server::if_there() else { return };
        let mut starting = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let config = server.config().migrations(&SCHEMA);
            starting.spawn(async move { config.connect().await.map(drop) });
        }
        for started in starting.join_all().await {
            started.unwrap();
        }
        assert_eq!(server.query("select count(*) from t"), [["100"]]);
    }
}

#[tokio::test]
async fn the_check_tells_server_encryption_rights_and_clock() {
    let Some(server) = Server::if_there() else { return };
    let db = server.open().await;
    let report = db.check().await;
    assert!(report.is_ok(), "{report}");
    let names: Vec<_> = report.steps.iter().map(|step| step.name).collect();
    assert_eq!(names, ["connection", "encryption", "session", "snapshot", "clock", "schema"]);
    let shown = report.to_string();
    for part in ["primary", "role app, which may create tables in schema public", "none: whoever is on the way"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[tokio::test]
async fn what_is_a_files_alone_is_refused_and_what_a_server_has_too_works() {
    let Some(server) = Server::if_there() else { return };
    let db = server.open().await;
    create_entry(&db).await;
    db.vacuum().await.unwrap();
    db.optimize().await.unwrap();
    assert!(db.checkpoint().await.unwrap());
    assert!(!db.is_encrypted());
    let error = db.backup("/tmp/never", drop).await.unwrap_err();
    assert!(error.to_string().contains("pg_basebackup"), "{error}");
    assert!(matches!(db.encrypt(strongroom::KeySource::literal("k")).await, Err(Error::Config { .. })));
    let error = Config::memory().application_name("x").open().unwrap_err();
    assert!(error.to_string().contains("application_name"), "{error}");
    let error = server.config().key(strongroom::KeySource::literal("k")).open().unwrap_err();
    assert!(error.to_string().contains("no file to encrypt"), "{error}");
}

#[test]
fn a_blocking_handle_works_on_a_server() {
    let Some(server) = Server::if_there() else { return };
    let db = strongroom::blocking::Database::connect(&server.url()).unwrap();
    db.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY)", params![]).unwrap();
    db.transaction(|session| session.execute("INSERT INTO entry (id) VALUES (1)", params![])).unwrap();
    let session = db.session().unwrap();
    drop(session);
    assert_eq!(db.fetch("SELECT id FROM entry", params![]).count(), 1);
    db.close().unwrap();
}

/// A provider that counts: it is asked once by each physical connection, and by nobody who finds one that is open.
#[tokio::test]
async fn a_checkout_that_finds_an_open_connection_asks_no_provider() {
    let Some(server) = Server::if_there() else { return };
    let asked = Arc::new(AtomicUsize::new(0));
    let config = server.config().credentials(Counting(Arc::clone(&asked)));
    let db = config.pool_max_size(2).connect().await.unwrap();
    for _ in 0..100 {
        db.fetch_all("SELECT 1", params![]).await.unwrap();
        db.session().await.unwrap().rollback().await.unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), db.pool_size());
    let (one, two) = (db.session().await.unwrap(), db.session().await.unwrap());
    assert_eq!((asked.load(Ordering::Relaxed), db.pool_size()), (2, 2));
    drop((one, two));
}

struct Counting(Arc<AtomicUsize>);

impl std::fmt::Display for Counting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("counting provider")
    }
}

impl CredentialProvider for Counting {
    fn credential<'a>(&'a self, login: &'a Login) -> BoxFuture<'a, strongroom::Result<Credential>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let user = login.user.clone().unwrap_or_default();
        Box::pin(async { Ok(Credential::new(user, Secret::new("unused"), 1)) })
    }
}
