//! Statements, parameters, rows and streams.

use strongroom::{Batch, Database, Error, QueryErrorKind, Value, params};
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

use crate::{Place, all, both, count};

#[tokio::test]
async fn every_kind_of_value_reads_back_as_it_was_written() {
    let id = Uuid::now_v7();
    let moment = datetime!(9999-12-31 23:59:59.123456 UTC);
    for (db, _place) in both().await {
        let row = db
            .fetch_one(
                "SELECT $1 AS n, $2 AS b, $3 AS i, $4 AS f, $5 AS t, $6 AS y, $7 AS u, $8 AS m",
                params![Option::<i64>::None, true, i64::MIN, 0.1, "grüße", vec![0_u8, 255], id, moment],
            )
            .await
            .unwrap();
        assert_eq!(row.get::<Option<String>>("n").unwrap(), None);
        assert!(row.get::<bool>("b").unwrap());
        assert_eq!(row.get::<i64>("i").unwrap(), i64::MIN);
        assert_eq!(row.get::<f64>("f").unwrap(), 0.1);
        assert_eq!(row.get::<String>("t").unwrap(), "grüße");
        assert_eq!(row.get::<Vec<u8>>("y").unwrap(), [0, 255]);
        assert_eq!(row.get::<Uuid>("u").unwrap(), id);
        assert_eq!(row.get::<OffsetDateTime>("m").unwrap(), moment);
    }
}

#[tokio::test]
async fn a_timestamp_before_1970_and_one_with_an_offset_are_stored_as_utc_microseconds() {
    let db = Database::connect("sqlite::memory:").await.unwrap();
    let moment = datetime!(1950-01-01 01:00:00.5 +1);
    let micros: Option<i64> = db.fetch_value("SELECT $1", params![moment]).await.unwrap();
    assert_eq!(micros, Some(-631_151_999_500_000));
}

#[tokio::test]
async fn placeholders_bind_by_their_number_in_any_order_and_repeated() {
    for (db, _place) in both().await {
        let row = db.fetch_one("SELECT $2, $1, $2, $3", params![1, 2, 3]).await.unwrap();
        assert_eq!(row.values(), [Value::Int(2), Value::Int(1), Value::Int(2), Value::Int(3)]);
        let row = db
            .fetch_one("SELECT $10, $9, $1, $2, $3, $4, $5, $6, $7, $8", params![1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
            .await
            .unwrap();
        assert_eq!(row.values()[0], Value::Int(10));
    }
}

#[tokio::test]
async fn a_gap_a_wrong_count_and_a_foreign_placeholder_are_refused() {
    for (db, _place) in both().await {
        for (sql, params, expected) in [
            ("SELECT $1, $3", params![1, 2, 3], "the statement has $3 and no $2"),
            ("SELECT $1, $2", params![1], "1 given and 2 expected"),
            ("SELECT $1", params![1, 2], "2 given and 1 expected"),
            ("SELECT ?", params![1], "placeholder ?; expected $1"),
            ("SELECT :name", params![1], "placeholder :name; expected $1"),
            ("SELECT $0", params![1], "placeholder $0; expected $1"),
            ("SELECT $1, $01", params![1, 2], "placeholder $01; expected $1"),
        ] {
            let error = db.fetch_all(sql, params).await.unwrap_err();
            assert_eq!(error.query_kind(), Some(QueryErrorKind::Parameters), "{sql}");
            assert!(error.to_string().contains(expected), "{sql}: {error}");
        }
    }
}

#[tokio::test]
async fn fetch_one_answers_no_row_and_fetch_optional_none() {
    for (db, _place) in all().await {
        let none = "SELECT id FROM entry WHERE id = $1";
        assert!(matches!(db.fetch_one(none, params![1]).await, Err(Error::NoRow)));
        assert!(db.fetch_optional(none, params![1]).await.unwrap().is_none());
        assert_eq!(db.fetch_value::<i64>(none, params![1]).await.unwrap(), None);
        assert_eq!(db.fetch_value::<i64>("SELECT NULL", params![]).await.unwrap(), None);
    }
}

#[tokio::test]
async fn execute_answers_the_rows_it_changed_and_not_those_of_an_earlier_statement() {
    for (db, _place) in all().await {
        assert_eq!(db.execute("INSERT INTO entry (id) VALUES ($1), ($2)", params![1, 2]).await.unwrap(), 2);
        assert_eq!(db.execute("CREATE TABLE other (id INTEGER)", params![]).await.unwrap(), 0);
        assert_eq!(db.execute("UPDATE entry SET text = 'x' WHERE id = $1", params![9]).await.unwrap(), 0);
        let kept = db.execute("INSERT INTO entry (id) VALUES ($1) ON CONFLICT DO NOTHING", params![1]).await.unwrap();
        assert_eq!(kept, 0);
        assert_eq!(db.execute("DELETE FROM entry", params![]).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn a_statement_that_returns_rows_and_writes_is_committed_whichever_fetch_runs_it() {
    for (db, place) in both().await {
        let insert = "INSERT INTO entry (id) VALUES ($1), ($2) RETURNING id";
        assert_eq!(db.fetch_one(insert, params![1, 2]).await.unwrap().get::<i64>(0).unwrap(), 1);
        assert_eq!(db.fetch_all(insert, params![3, 4]).await.unwrap().len(), 2);
        let mut stream = db.fetch(insert, params![5, 6]);
        assert_eq!(stream.next().await.unwrap().unwrap().get::<i64>(0).unwrap(), 5);
        drop(stream);
        assert_eq!(db.execute(insert, params![7, 8]).await.unwrap(), 2);
        db.close().await.unwrap();
        if let Some(place) = place {
            assert_eq!(count(&place.open().await).await, 8);
        }
    }
}

#[tokio::test]
async fn a_batch_takes_effect_whole_or_not_at_all() {
    for (db, _place) in all().await {
        let good = Batch::new()
            .then("INSERT INTO entry (id, text) VALUES ($1, $2)", params![1, "a"])
            .then_many("INSERT INTO entry (id) VALUES ($1)", [params![2], params![3]]);
        assert_eq!(db.batch(good).await.unwrap(), [1, 2]);
        let bad = Batch::new()
            .then("DELETE FROM entry", params![])
            .then("INSERT INTO entry (id) VALUES ($1), ($1)", params![4]);
        assert!(db.batch(bad).await.unwrap_err().is_unique_violation());
        assert_eq!(count(&db).await, 3);
        assert_eq!(db.batch(Batch::new()).await.unwrap(), [0_u64; 0]);
    }
}

#[tokio::test]
async fn execute_many_takes_effect_whole_or_not_at_all() {
    for (db, _place) in all().await {
        let insert = "INSERT INTO entry (id) VALUES ($1)";
        assert_eq!(db.execute_many(insert, (0..1000).map(|id| params![id])).await.unwrap(), 1000);
        assert!(db.execute_many(insert, [params![5000], params![7]]).await.is_err());
        assert_eq!(count(&db).await, 1000);
    }
}

#[tokio::test]
async fn a_stream_gives_every_row_in_order() {
    for (db, _place) in all().await {
        db.execute_many("INSERT INTO entry (id) VALUES ($1)", (0..10_000).map(|id| params![id])).await.unwrap();
        let mut stream = db.fetch("SELECT id FROM entry ORDER BY id", params![]);
        let mut expected = 0;
        while let Some(row) = stream.next().await {
            assert_eq!(row.unwrap().get::<i64>(0).unwrap(), expected);
            expected += 1;
        }
        assert_eq!(expected, 10_000);
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn a_stream_that_fails_in_the_middle_ends_with_its_error() {
    let place = Place::new();
    let db = place.open().await;
    db.execute("CREATE TABLE number (n INTEGER)", params![]).await.unwrap();
    db.execute_many("INSERT INTO number (n) VALUES ($1)", (0..5000_i64).map(|n| params![n])).await.unwrap();
    // The integer overflows at the last row only.
    let sql = "SELECT abs(CASE WHEN n = 4999 THEN -9223372036854775808 ELSE n END) FROM number";
    let mut stream = db.fetch(sql, params![]);
    let mut rows = 0;
    let error = loop {
        match stream.next().await.expect("the error comes before the end") {
            Ok(_) => rows += 1,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("integer overflow"), "{error}");
    assert!(rows >= 4000, "{rows} rows came before the error");
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_slow_consumer_of_a_stream_holds_a_bounded_number_of_rows() {
    let place = Place::new();
    let db = place.open().await;
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000000) SELECT i FROM n";
    let mut stream = db.fetch(sql, params![]);
    stream.next().await.unwrap().unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(db.stats().readers.active, 1);
    // Ten million rows take seconds; that the reader is home at once shows that the query was stopped.
    drop(stream);
    let waited = std::time::Instant::now();
    while db.stats().readers.active != 0 {
        assert!(waited.elapsed().as_secs() < 2, "the query goes on without its consumer");
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_query_whose_future_is_dropped_is_stopped_and_the_next_one_is_not() {
    let place = Place::new();
    let db = place.config().pool_max_size(2).connect().await.unwrap();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    for _ in 0..20 {
        let query = db.fetch_one(endless, params![]);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(10), query).await.is_err());
        // There is one reader: it has to come home for this.
        assert_eq!(db.fetch_value::<i64>("SELECT 1", params![]).await.unwrap(), Some(1));
    }
}

#[tokio::test]
async fn errors_say_their_kind_and_keep_their_cause() {
    for (db, _place) in both().await {
        db.execute("CREATE TABLE strict (id INTEGER NOT NULL CHECK (id > 0), parent REFERENCES entry (id))", params![])
            .await
            .unwrap();
        db.execute("INSERT INTO entry (id) VALUES (1)", params![]).await.unwrap();
        for (sql, kind) in [
            ("INSERT INTO strict (id) VALUES (NULL)", QueryErrorKind::NotNull),
            ("INSERT INTO strict (id) VALUES (0)", QueryErrorKind::Check),
            ("INSERT INTO strict (id, parent) VALUES (1, 77)", QueryErrorKind::ForeignKey),
            ("INSERT INTO nowhere (id) VALUES (1)", QueryErrorKind::Syntax),
            ("SELEKT 'canary'", QueryErrorKind::Syntax),
            ("SELECT 'canary", QueryErrorKind::Syntax),
            ("", QueryErrorKind::Syntax),
            ("-- nothing", QueryErrorKind::Syntax),
            ("UPDATE entry SET text = json_extract('{}', 'canary')", QueryErrorKind::Other),
            ("DELETE FROM entry; DELETE FROM strict", QueryErrorKind::Syntax),
        ] {
            let error = db.execute(sql, params![]).await.unwrap_err();
            assert_eq!(error.query_kind(), Some(kind), "{sql}: {error}");
            assert!(sql.len() < 12 || std::error::Error::source(&error).is_some(), "{sql}");
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
    }
}

#[tokio::test]
async fn an_error_shows_no_parameter() {
    for (db, _place) in all().await {
        db.execute("INSERT INTO entry (id, text) VALUES (1, 'canary')", params![]).await.unwrap();
        let error = db.execute("INSERT INTO entry (text) VALUES ($1)", params!["canary"]).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}

#[tokio::test]
async fn transaction_control_and_pragmas_are_refused_and_the_method_to_use_is_named() {
    for (db, _place) in both().await {
        for (sql, expected) in [
            ("BEGIN", "Database::session"),
            ("COMMIT", "Database::session"),
            ("END", "Database::session"),
            ("ROLLBACK", "Database::session"),
            ("SAVEPOINT unit", "Session::savepoint"),
            ("RELEASE unit", "Session::savepoint"),
            ("ATTACH 'other.db' AS other", "open the other file"),
            ("VACUUM", "VACUUM"),
            ("PRAGMA synchronous = OFF", "see Config"),
            ("PRAGMA key = 'canary'", "see Config"),
            ("PRAGMA rekey = 'canary'", "see Config"),
            ("PRAGMA query_only = OFF", "see Config"),
            ("PRAGMA journal_mode = DELETE", "see Config"),
            ("CREATE TEMP TABLE t (id INTEGER)", "TEMP"),
        ] {
            for error in
                [db.execute(sql, params![]).await.unwrap_err(), db.fetch_all(sql, params![]).await.unwrap_err()]
            {
                assert!(error.to_string().contains(expected), "{sql}: {error}");
                assert!(!format!("{error:?}").contains("canary"));
            }
        }
        let mode: Option<String> = db.fetch_value("PRAGMA journal_mode", params![]).await.unwrap();
        assert!(matches!(mode.as_deref(), Some("wal" | "memory")));
        assert_eq!(db.fetch_value::<String>("PRAGMA integrity_check", params![]).await.unwrap().as_deref(), Some("ok"));
    }
}

#[tokio::test]
async fn durability_is_full_on_the_writer() {
    let place = Place::new();
    let db = place.open().await;
    let mut session = db.session().await.unwrap();
    assert_eq!(session.fetch_value::<i64>("PRAGMA synchronous", params![]).await.unwrap(), Some(2));
    assert_eq!(session.fetch_value::<i64>("PRAGMA foreign_keys", params![]).await.unwrap(), Some(1));
}

#[tokio::test]
async fn a_read_sees_every_write_acknowledged_before_it_began() {
    let place = Place::new();
    let db = place.open().await;
    crate::create_entry(&db).await;
    for id in 0..300 {
        db.execute("INSERT INTO entry (id) VALUES ($1)", params![id]).await.unwrap();
        assert_eq!(count(&db).await, id + 1);
    }
}

#[tokio::test]
async fn table_exists_knows_tables_and_views() {
    for (db, _place) in all().await {
        assert!(db.table_exists("ENTRY").await.unwrap());
        assert!(!db.table_exists("entr_").await.unwrap());
        db.execute("CREATE VIEW view_of_it AS SELECT id FROM entry", params![]).await.unwrap();
        assert!(db.table_exists("view_of_it").await.unwrap());
    }
}

#[tokio::test]
async fn a_cached_query_of_a_table_that_changed_names_its_columns_anew() {
    for (db, _place) in all().await {
        db.execute("CREATE TABLE pair (a TEXT, b TEXT)", params![]).await.unwrap();
        db.execute("INSERT INTO pair (a, b) VALUES ('A', 'B')", params![]).await.unwrap();
        let all = "SELECT * FROM pair";
        assert_eq!(db.fetch_one(all, params![]).await.unwrap().get::<String>("a").unwrap(), "A");
        db.execute("DROP TABLE pair", params![]).await.unwrap();
        db.execute("CREATE TABLE pair (b TEXT, a TEXT)", params![]).await.unwrap();
        db.execute("INSERT INTO pair (a, b) VALUES ('A', 'B')", params![]).await.unwrap();
        let row = db.fetch_one(all, params![]).await.unwrap();
        assert_eq!((row.get::<String>("a").unwrap(), row.get::<String>("b").unwrap()), ("A".into(), "B".into()));
        db.execute("ALTER TABLE pair DROP COLUMN b", params![]).await.unwrap();
        assert_eq!(db.fetch_one(all, params![]).await.unwrap().columns(), ["a"]);
    }
}

#[tokio::test]
async fn closing_ends_every_thread_and_leaves_no_log() {
    let place = Place::new();
    for _ in 0..20 {
        let db = place.config().pool_min_size(5).connect().await.unwrap();
        db.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER)", params![]).await.unwrap();
        db.fetch_all("SELECT id FROM t", params![]).await.unwrap();
        db.close().await.unwrap();
        assert_eq!(db.pool_size(), 0);
        let left: Vec<_> = std::fs::read_dir(place.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["test.db"]);
    }
}

#[tokio::test]
async fn a_close_that_is_given_up_goes_on_and_is_waited_for_by_the_next() {
    let place = Place::new();
    let db = place.open().await;
    let session = db.session().await.unwrap();
    let brief = std::time::Duration::from_millis(50);
    assert!(tokio::time::timeout(brief, db.close()).await.is_err());
    assert!(tokio::time::timeout(brief, db.close()).await.is_err(), "a session is still open");
    session.commit().await.unwrap();
    db.close().await.unwrap();
    assert_eq!(db.pool_size(), 0);
}

#[tokio::test]
async fn closing_a_handle_that_is_being_opened_leaves_nothing_open() {
    for _ in 0..20 {
        let place = Place::new();
        let db = place.config().open().unwrap();
        let opening = tokio::spawn({
            let db = db.clone();
            async move { db.execute("CREATE TABLE t (id INTEGER)", params![]).await }
        });
        tokio::task::yield_now().await;
        db.close().await.unwrap();
        // Either it was acknowledged before, or it is refused; nothing is acknowledged afterwards.
        let _ = opening.await.unwrap();
        assert_eq!(db.pool_size(), 0);
        assert!(matches!(db.fetch_one("SELECT 1", params![]).await, Err(Error::Closed)));
    }
}

#[tokio::test]
async fn a_closed_handle_answers_closed() {
    for (db, _place) in all().await {
        let clone = db.clone();
        db.close().await.unwrap();
        assert!(matches!(clone.execute("DELETE FROM entry", params![]).await, Err(Error::Closed)));
        assert!(matches!(clone.fetch("SELECT 1", params![]).next().await, Some(Err(Error::Closed))));
        db.close().await.unwrap();
    }
}

#[tokio::test]
async fn the_check_reports_each_step_and_stops_at_the_first_failure() {
    for (db, _place) in both().await {
        let report = db.check().await;
        assert!(report.is_ok(), "{report}");
        let names: Vec<_> = report.steps.iter().map(|step| step.name).collect();
        let key: &[_] = if db.is_encrypted() { &["key"] } else { &[] };
        assert_eq!(names, [key, &["connection", "encryption", "session", "snapshot", "schema"]].concat());
        db.close().await.unwrap();
        let report = db.check().await;
        assert!(matches!(report.failure(), Some(Error::Closed)));
        assert_eq!(report.steps.len(), 1);
    }
}
