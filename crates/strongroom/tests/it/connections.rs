//! Pinned connections, a single connection, and where reads run.

use std::time::Duration;

use strongroom::{Config, Database, Error, KeySource, QueryErrorKind, params};

use crate::{Place, RAW_KEY, both, count, create_entry};

const INSERT: &str = "INSERT INTO entry (id, text) VALUES ($1, $2)";

#[tokio::test]
async fn a_pinned_connection_writes_outside_any_transaction_and_keeps_its_temp_tables() {
    let place = Place::new();
    let db = place.open().await;
    create_entry(&db).await;
    let mut pinned = db.connection().await.unwrap();
    pinned.execute("CREATE TEMP TABLE draft (id INTEGER)", params![]).await.unwrap();
    pinned.execute("INSERT INTO draft (id) VALUES ($1)", params![7]).await.unwrap();
    pinned.execute("INSERT INTO entry (id) SELECT id FROM draft", params![]).await.unwrap();
    assert_eq!(count(&db).await, 1, "durable and seen by others at once");
    // The writer is free in between.
    db.execute(INSERT, params![8, "b"]).await.unwrap();
    assert_eq!(pinned.fetch_value::<i64>("SELECT count(*) FROM entry", params![]).await.unwrap(), Some(2));
    let error = pinned.execute_many(INSERT, [params![9, "c"], params![8, "d"]]).await.unwrap_err();
    assert!(error.is_unique_violation(), "{error}");
    assert_eq!(count(&db).await, 2, "a batch takes effect as a whole or not at all");
    assert!(matches!(pinned.execute("BEGIN", params![]).await, Err(Error::Transaction { .. })));
    pinned.close().await.unwrap();
    let error = db.fetch_all("SELECT id FROM draft", params![]).await.unwrap_err();
    assert_eq!(error.query_kind(), Some(QueryErrorKind::Syntax), "the next borrower does not see it: {error}");
}

#[tokio::test]
async fn pinned_writes_wait_for_a_session_in_turn_and_name_its_place() {
    let place = Place::new();
    let db = place.config().acquire_timeout(Duration::from_secs(1)).connect().await.unwrap();
    create_entry(&db).await;
    let mut pinned = db.connection().await.unwrap();
    let session = db.session().await.unwrap();
    let error = pinned.execute(INSERT, params![1, "a"]).await.unwrap_err();
    assert!(error.to_string().contains("connections.rs"), "{error}");
    drop(session);
    pinned.execute(INSERT, params![1, "a"]).await.unwrap();
    // Reads wait for nobody.
    let _session = db.session().await.unwrap();
    assert_eq!(pinned.fetch_value::<i64>("SELECT count(*) FROM entry", params![]).await.unwrap(), Some(1));
}

#[tokio::test]
async fn in_memory_everybody_waits_for_a_pinned_connection() {
    let db = Database::connect("sqlite::memory:").await.unwrap();
    create_entry(&db).await;
    let mut pinned = db.connection().await.unwrap();
    pinned.execute(INSERT, params![1, "a"]).await.unwrap();
    let waiting = db.execute(INSERT, params![2, "b"]);
    assert!(tokio::time::timeout(Duration::from_millis(50), waiting).await.is_err());
    let mut rows = pinned.fetch("INSERT INTO entry (id) VALUES (3), (4) RETURNING id", params![]);
    let mut ids = Vec::new();
    while let Some(row) = rows.next().await {
        ids.push(row.unwrap().get::<i64>(0).unwrap());
    }
    drop(rows);
    assert_eq!(ids, [3, 4]);
    drop(pinned);
    assert_eq!(count(&db).await, 3, "whoever gave up waiting did not write");
}

#[tokio::test]
async fn a_session_may_use_temp_tables_and_nobody_sees_them_afterwards() {
    for (db, _place) in both().await {
        for commit in [true, false] {
            let mut session = db.session().await.unwrap();
            session
                .execute_script(
                    "CREATE TEMP TABLE draft (id INTEGER PRIMARY KEY);
                     CREATE TEMP VIEW doubled AS SELECT 2 * id AS id FROM draft;
                     CREATE TEMP TRIGGER copy AFTER INSERT ON draft BEGIN INSERT INTO entry (id) VALUES (new.id); END;",
                )
                .await
                .unwrap();
            session.execute("INSERT INTO draft (id) VALUES ($1)", params![if commit { 1 } else { 2 }]).await.unwrap();
            if commit {
                assert_eq!(session.fetch_value("SELECT id FROM doubled", params![]).await.unwrap(), Some(2_i64));
                session.commit().await.unwrap();
            } else {
                session.rollback().await.unwrap();
            }
            let left: Option<i64> = db
                .session()
                .await
                .unwrap()
                .fetch_value("SELECT count(*) FROM sqlite_temp_schema", params![])
                .await
                .unwrap();
            assert_eq!(left, Some(0));
        }
        assert_eq!(count(&db).await, 1);
        // Nor does a statement that a session has prepared get past the refusal.
        let create = "CREATE TEMP TABLE stray (id INTEGER)";
        for commit in [true, false] {
            let mut session = db.session().await.unwrap();
            session.execute(create, params![]).await.unwrap();
            if commit {
                session.commit().await.unwrap()
            } else {
                session.rollback().await.unwrap()
            }
            let error = db.execute(create, params![]).await.unwrap_err();
            assert!(error.to_string().contains("Database::session"), "{error}");
        }
    }
}

#[tokio::test]
async fn one_connection_without_a_pool_reads_writes_and_closes() {
    let place = Place::new();
    let mut one = place.config().connect_one().await.unwrap();
    one.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, text TEXT UNIQUE)", params![]).await.unwrap();
    one.execute(INSERT, params![1, "a"]).await.unwrap();
    one.close().await.unwrap();
    let db = place.open().await;
    assert_eq!(count(&db).await, 1);
    let mut beside = place.config().connect_one().await.unwrap();
    beside.execute(INSERT, params![2, "b"]).await.unwrap();
    assert_eq!(count(&db).await, 2);
    let wrong = Config::sqlite(place.path()).key(KeySource::literal("wrong")).connect_one().await.unwrap_err();
    assert!(matches!(wrong, Error::Encryption { .. }), "{wrong}");
}

/// Inline reads do not hold up the caller's thread: one that takes long is stopped and goes to a thread, with the same
/// answer, while other tasks of the same thread go on.
#[tokio::test(flavor = "current_thread")]
async fn a_read_that_turns_out_slow_is_run_again_on_a_thread() {
    const COUNT: &str =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) SELECT count(*) FROM n";
    for inline in [true, false] {
        let place = Place::new();
        let db = place.config().inline_reads(inline).connect().await.unwrap();
        for limit in [10_i64, 10, 10, 3_000_000, 10, 1_000_000] {
            let ticks = tokio::spawn(async {
                let mut ticks = 0_u32;
                loop {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    ticks += 1;
                    TICKS.store(ticks, std::sync::atomic::Ordering::Relaxed);
                }
            });
            TICKS.store(0, std::sync::atomic::Ordering::Relaxed);
            let counted: Option<i64> = db.fetch_value(COUNT, params![limit]).await.unwrap();
            ticks.abort();
            assert_eq!(counted, Some(limit));
            if limit > 1_000 {
                assert!(TICKS.load(std::sync::atomic::Ordering::Relaxed) > 5, "the caller's thread stood still");
            }
        }
    }
}

static TICKS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// On one thread: a task that does nothing but quick reads, or checkouts, and a timer beside it.
#[tokio::test(flavor = "current_thread")]
async fn a_task_that_only_reads_lets_others_have_their_turn() {
    let place = Place::new();
    let db = place.open().await;
    create_entry(&db).await;
    assert_eq!(count(&db).await, 0);
    let reading = tokio::spawn(async move {
        loop {
            count(&db).await;
        }
    });
    let ticking = async {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ticking).await.expect("the timer's task has its turns");
    reading.abort();
}

#[tokio::test]
async fn a_read_sees_every_write_acknowledged_before_it() {
    for inline in [true, false] {
        let place = Place::new();
        let db = place.config().inline_reads(inline).connect().await.unwrap();
        create_entry(&db).await;
        for id in 0..200_i64 {
            db.execute(INSERT, params![id, id.to_string()]).await.unwrap();
            assert_eq!(count(&db).await, id + 1);
        }
    }
}

#[tokio::test]
async fn reindex_and_analyze_go_to_the_writer() {
    for (db, _place) in both().await {
        db.execute(INSERT, params![1, "a"]).await.unwrap();
        db.execute("REINDEX", params![]).await.unwrap();
        db.fetch_all("REINDEX entry", params![]).await.unwrap();
        db.fetch_all("ANALYZE", params![]).await.unwrap();
        assert_eq!(count(&db).await, 1);
    }
}

#[tokio::test]
async fn connections_that_are_idle_too_long_or_too_old_are_closed() {
    let place = Place::new();
    let db = place.config().pool_idle_timeout(Some(Duration::from_secs(1))).connect().await.unwrap();
    create_entry(&db).await;
    let (a, b) = (db.read_session().await.unwrap(), db.read_session().await.unwrap());
    drop((a, b));
    assert_eq!(db.pool_size(), 3);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(db.pool_size(), 1);
    assert_eq!(db.stats().readers.closed(strongroom::pool::CloseReason::Idle), 2);
    assert_eq!(count(&db).await, 0);
    let raw = Config::sqlite(place.path()).key(KeySource::literal(RAW_KEY));
    assert_eq!(count(&raw.connect().await.unwrap()).await, 0);
}

#[tokio::test]
async fn in_memory_a_pinned_connection_has_temp_tables_too_and_takes_them_along() {
    let db = Database::connect("sqlite::memory:").await.unwrap();
    let mut pinned = db.connection().await.unwrap();
    pinned.execute("CREATE TEMP TABLE draft (id INTEGER)", params![]).await.unwrap();
    pinned.execute("INSERT INTO draft (id) VALUES (7)", params![]).await.unwrap();
    pinned.close().await.unwrap();
    let mut session = db.session().await.unwrap();
    let left = session.fetch_value::<i64>("SELECT count(*) FROM sqlite_temp_schema", params![]).await.unwrap();
    assert_eq!(left, Some(0));
}

/// What would be written to a file that is no longer there would be lost, and is refused, whoever writes.
#[cfg(unix)]
#[tokio::test]
async fn a_connection_writes_no_more_when_its_file_was_moved_away() {
    let place = Place::new();
    let db = place.open().await;
    create_entry(&db).await;
    let pinned = db.connection().await.unwrap();
    let one = place.config().connect_one().await.unwrap();
    std::fs::rename(place.path(), place.folder.path().join("moved.db")).unwrap();
    for mut connection in [pinned, one] {
        let error = connection.execute(INSERT, params![1, "a"]).await.unwrap_err();
        assert!(matches!(&error, Error::Connection { reason, .. } if reason.contains("moved")), "{error}");
    }
}

#[tokio::test]
async fn a_pinned_connection_that_is_dropped_while_it_waits_for_its_turn_goes_home_at_once() {
    let place = Place::new();
    let db = place.open().await;
    create_entry(&db).await;
    let mut pinned = db.connection().await.unwrap();
    let session = db.session().await.unwrap();
    let waiting = pinned.execute(INSERT, params![1, "a"]);
    assert!(tokio::time::timeout(Duration::from_millis(50), waiting).await.is_err());
    drop(pinned);
    let began = std::time::Instant::now();
    while db.stats().readers.active > 0 {
        assert!(began.elapsed() < Duration::from_secs(5), "the reader waits for a turn that nobody wants");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(session);
    assert_eq!(count(&db).await, 0, "nobody waited for the write any more");
}
