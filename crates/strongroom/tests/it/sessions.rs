//! Sessions, savepoints, snapshots and transactions: the session rules.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use strongroom::{Config, Error, QueryErrorKind, params};

use crate::{Place, all, both, count, create_entry};

const INSERT: &str = "INSERT INTO entry (id, text) VALUES ($1, $2)";

#[tokio::test]
async fn a_session_takes_effect_at_its_commit_and_not_before() {
    let place = Place::new();
    let db = place.open().await;
    create_entry(&db).await;
    let mut session = db.session().await.unwrap();
    session.execute(INSERT, params![1, "a"]).await.unwrap();
    assert_eq!(session.fetch_value::<i64>("SELECT count(*) FROM entry", params![]).await.unwrap(), Some(1));
    assert_eq!(count(&db).await, 0);
    session.commit().await.unwrap();
    assert_eq!(count(&db).await, 1);
}

#[tokio::test]
async fn a_session_that_is_dropped_or_rolled_back_leaves_nothing() {
    for (db, _place) in all().await {
        let mut session = db.session().await.unwrap();
        session.execute(INSERT, params![1, "a"]).await.unwrap();
        drop(session);
        let mut session = db.session().await.unwrap();
        session.execute(INSERT, params![2, "b"]).await.unwrap();
        session.rollback().await.unwrap();
        assert_eq!(count(&db).await, 0);
    }
}

#[tokio::test]
async fn a_task_that_panics_or_is_aborted_in_a_session_leaves_nothing() {
    for (db, _place) in all().await {
        for abort in [false, true] {
            let inner = db.clone();
            let task = tokio::spawn(async move {
                let mut session = inner.session().await.unwrap();
                session.execute(INSERT, params![1, "a"]).await.unwrap();
                if abort {
                    std::future::pending::<()>().await;
                }
                panic!("as planned");
            });
            if abort {
                tokio::time::sleep(Duration::from_millis(50)).await;
                task.abort();
            }
            assert!(task.await.is_err());
            assert_eq!(count(&db).await, 0);
        }
    }
}

#[tokio::test]
async fn a_savepoint_is_taken_back_alone_when_dropped_and_kept_when_released() {
    for (db, _place) in all().await {
        let mut session = db.session().await.unwrap();
        session.execute(INSERT, params![1, "a"]).await.unwrap();
        let mut point = session.savepoint().await.unwrap();
        point.execute(INSERT, params![2, "b"]).await.unwrap();
        drop(point);
        let mut point = session.savepoint().await.unwrap();
        point.execute(INSERT, params![3, "c"]).await.unwrap();
        let mut inner = point.savepoint().await.unwrap();
        inner.execute(INSERT, params![4, "d"]).await.unwrap();
        inner.rollback().await.unwrap();
        point.release().await.unwrap();
        session.commit().await.unwrap();
        let ids = db.fetch_all("SELECT id FROM entry ORDER BY id", params![]).await.unwrap();
        let ids: Vec<i64> = ids.iter().map(|row| row.get(0).unwrap()).collect();
        assert_eq!(ids, [1, 3]);
    }
}

#[tokio::test]
async fn after_a_failed_statement_a_session_refuses_everything_until_a_savepoint_is_rolled_back() {
    for (db, _place) in all().await {
        let mut session = db.session().await.unwrap();
        session.execute(INSERT, params![1, "a"]).await.unwrap();
        let mut point = session.savepoint().await.unwrap();
        assert!(point.execute(INSERT, params![1, "again"]).await.unwrap_err().is_unique_violation());
        let refused = point.execute(INSERT, params![2, "b"]).await.unwrap_err();
        assert!(matches!(&refused, Error::Transaction { source: Some(cause), .. } if cause.is_unique_violation()));
        assert!(point.release().await.is_err());
        session.execute(INSERT, params![3, "c"]).await.unwrap();
        session.commit().await.unwrap();
        assert_eq!(count(&db).await, 2);

        let mut session = db.session().await.unwrap();
        session.execute(INSERT, params![4, "d"]).await.unwrap();
        assert!(session.execute(INSERT, params![1, "again"]).await.is_err());
        assert!(matches!(session.commit().await, Err(Error::Transaction { .. })));
        assert_eq!(count(&db).await, 2);
    }
}

#[tokio::test]
async fn a_read_session_sees_the_moment_of_its_opening() {
    let place = Place::new();
    let db = place.open().await;
    create_entry(&db).await;
    let mut view = db.read_session().await.unwrap();
    db.execute(INSERT, params![1, "a"]).await.unwrap();
    assert_eq!(view.fetch_value::<i64>("SELECT count(*) FROM entry", params![]).await.unwrap(), Some(0));
    let mut rows = view.fetch("SELECT id FROM entry", params![]);
    assert!(rows.next().await.is_none());
    drop(rows);
    drop(view);
    assert_eq!(count(&db).await, 1);
}

#[tokio::test]
async fn a_read_session_refuses_to_write() {
    for (db, _place) in all().await {
        let mut view = db.read_session().await.unwrap();
        let error = view.fetch_all("DELETE FROM entry RETURNING id", params![]).await.unwrap_err();
        assert_eq!(error.query_kind(), Some(QueryErrorKind::ReadOnly), "{error}");
    }
}

#[tokio::test]
async fn a_stream_within_a_session_sees_its_writes_and_leaves_it_usable() {
    for (db, _place) in all().await {
        let mut session = db.session().await.unwrap();
        session.execute_many("INSERT INTO entry (id) VALUES ($1)", (0..5000).map(|id| params![id])).await.unwrap();
        let mut rows = session.fetch("SELECT id FROM entry", params![]);
        for _ in 0..3 {
            rows.next().await.unwrap().unwrap();
        }
        drop(rows);
        session.execute(INSERT, params![9999, "last"]).await.unwrap();
        session.commit().await.unwrap();
        assert_eq!(count(&db).await, 5001);
    }
}

#[tokio::test]
async fn a_session_older_than_its_maximum_age_is_rolled_back_and_says_so() {
    for config in [Place::new().config(), Config::memory()] {
        let place = Place::new();
        let config = if format!("{config:?}").contains("Memory") { config } else { place.config() };
        let db = config.session_max_age(Duration::from_secs(1)).connect().await.unwrap();
        create_entry(&db).await;
        let mut session = db.session().await.unwrap();
        session.execute(INSERT, params![1, "a"]).await.unwrap();
        // Another writer gets its turn although the holder never ends.
        db.execute(INSERT, params![2, "b"]).await.unwrap();
        assert!(matches!(session.execute(INSERT, params![3, "c"]).await, Err(Error::SessionExpired { .. })));
        assert!(matches!(session.commit().await, Err(Error::SessionExpired { .. })));
        assert_eq!(count(&db).await, 1);
    }
}

#[tokio::test]
async fn a_statement_that_outlives_its_session_is_stopped() {
    let place = Place::new();
    let db = place.config().session_max_age(Duration::from_secs(1)).connect().await.unwrap();
    let mut session = db.session().await.unwrap();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    assert!(matches!(session.fetch_one(endless, params![]).await, Err(Error::SessionExpired { .. })));
}

#[tokio::test]
async fn waiting_for_the_writer_in_vain_names_the_holders_place_and_age() {
    for (db, place) in both().await {
        drop(db);
        let config = place.as_ref().map_or_else(Config::memory, Place::config);
        let db = config.acquire_timeout(Duration::from_secs(1)).connect().await.unwrap();
        let held = db.session().await.unwrap();
        let line = line!() - 1;
        let error = db.execute("CREATE TABLE t (id INTEGER)", params![]).await.unwrap_err();
        assert!(matches!(error, Error::PoolExhausted { .. }));
        assert!(error.to_string().contains(&format!("sessions.rs:{line}")), "{error}");
        assert!(db.session().await.is_err());
        drop(held);
        db.execute("CREATE TABLE t (id INTEGER)", params![]).await.unwrap();
        assert_eq!(db.stats().timeouts, 2);
    }
}

#[tokio::test]
async fn waiting_for_a_reader_in_vain_names_the_longest_holder() {
    let place = Place::new();
    let db = place.config().pool_max_size(2).acquire_timeout(Duration::from_secs(1)).connect().await.unwrap();
    let held = db.read_session().await.unwrap();
    let line = line!() - 1;
    let error = db.fetch_one("SELECT 1", params![]).await.unwrap_err();
    assert!(error.to_string().contains("all 1 readers are busy"), "{error}");
    assert!(error.to_string().contains(&format!("sessions.rs:{line}")), "{error}");
    drop(held);
    db.fetch_one("SELECT 1", params![]).await.unwrap();
}

#[tokio::test]
async fn transaction_commits_on_ok_and_rolls_back_on_err() {
    for (db, _place) in all().await {
        let value = db
            .transaction(|mut session| async move {
                session.execute(INSERT, params![1, "a"]).await?;
                Ok::<_, Error>("done")
            })
            .await
            .unwrap();
        assert_eq!(value, "done");
        let failed = db
            .transaction(|mut session| async move {
                session.execute(INSERT, params![2, "b"]).await?;
                Err::<(), _>(Error::NoRow)
            })
            .await;
        assert!(matches!(failed, Err(Error::NoRow)));
        assert_eq!(count(&db).await, 1);
    }
}

#[tokio::test]
async fn a_session_kept_beyond_its_transaction_answers_session_ended() {
    for (db, _place) in all().await {
        let mut kept = db
            .transaction(|mut session| async move {
                session.execute(INSERT, params![1, "a"]).await?;
                Ok::<_, Error>(session)
            })
            .await
            .unwrap();
        assert!(matches!(kept.execute(INSERT, params![2, "b"]).await, Err(Error::SessionEnded)));
        assert_eq!(count(&db).await, 1);
    }
}

#[tokio::test]
async fn transaction_takes_effect_once_beside_work_that_rolls_back_and_is_not_done_again_for_an_ordinary_error() {
    // Whatever stands next to a transaction in the writer's queue, each one takes effect once.
    let place = Place::new();
    let db = place.open().await;
    create_entry(&db).await;
    db.execute(INSERT, params![0, "taken"]).await.unwrap();
    for round in 0..200 {
        let spoiler = db.clone();
        let spoil = tokio::spawn(async move {
            spoiler.execute("INSERT OR ROLLBACK INTO entry (id, text) VALUES (0, 'again')", params![]).await
        });
        db.transaction(move |mut session| async move {
            session.execute(INSERT, params![round + 1, format!("{round}")]).await
        })
        .await
        .unwrap();
        assert!(spoil.await.unwrap().unwrap_err().is_unique_violation());
    }
    assert_eq!(count(&db).await, 201);

    let failures = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&failures);
    let outcome = db
        .transaction(move |mut session| {
            seen.fetch_add(1, Ordering::Relaxed);
            async move { session.execute(INSERT, params![1, "taken"]).await }
        })
        .await;
    assert!(outcome.unwrap_err().is_unique_violation());
    assert_eq!(failures.load(Ordering::Relaxed), 1);
}

/// The three places where a transaction's future must be `Send`: a spawned task, a handler behind a `Send` bound, and a
/// trait's method that answers a boxed `Send` future.
#[tokio::test]
async fn a_transaction_compiles_in_a_spawned_task_a_handler_and_a_trait_object() {
    type Boxed<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
    trait Store {
        fn store(&self, id: i64) -> Boxed<'_, strongroom::Result<u64>>;
    }
    impl Store for strongroom::Database {
        fn store(&self, id: i64) -> Boxed<'_, strongroom::Result<u64>> {
            Box::pin(
                self.transaction(move |mut session| async move { session.execute(INSERT, params![id, "a"]).await }),
            )
        }
    }
    async fn handler<F: Future<Output = ()> + Send>(work: F) {
        work.await;
    }
    for (db, _place) in all().await {
        let spawned = db.clone();
        tokio::spawn(async move {
            spawned
                .transaction(|mut session| async move {
                    session.execute(INSERT, params![1, "spawned"]).await?;
                    let mut point = session.savepoint().await?;
                    point.execute(INSERT, params![2, "point"]).await?;
                    point.release().await
                })
                .await
                .unwrap();
        })
        .await
        .unwrap();
        handler(async {
            db.transaction(|mut session| async move { session.execute(INSERT, params![3, "handler"]).await })
                .await
                .unwrap();
        })
        .await;
        let store: &(dyn Store + Sync) = &db;
        store.store(4).await.unwrap();
        assert_eq!(count(&db).await, 4);
    }
}

#[tokio::test]
async fn a_future_dropped_at_any_poll_leaves_no_transaction_and_no_lost_connection() {
    for (db, _place) in all().await {
        for polls in 0..12 {
            let work = async {
                let mut session = db.session().await?;
                session.execute(INSERT, params![1, "a"]).await?;
                let mut point = session.savepoint().await?;
                point.execute(INSERT, params![2, "b"]).await?;
                point.release().await?;
                let mut view = session.fetch("SELECT id FROM entry", params![]);
                view.next().await;
                drop(view);
                session.rollback().await
            };
            drop_after(polls, work).await;
            drop_after(polls, db.read_session()).await;
            drop_after(polls, db.fetch_all("SELECT id FROM entry", params![])).await;
        }
        assert_eq!(count(&db).await, 0);
        db.execute(INSERT, params![1, "a"]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(db.stats().readers.active, 0);
    }
}

/// Polls the future so many times, letting the engine's threads answer in between, and drops it.
async fn drop_after<F: Future>(polls: u32, future: F) {
    let mut future = Box::pin(future);
    for _ in 0..polls {
        let poll = std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context))).await;
        if poll.is_ready() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_write_whose_caller_is_gone_before_its_turn_is_not_run() {
    for (db, _place) in both().await {
        let session = db.session().await.unwrap();
        let write = db.execute(INSERT, params![1, "gone"]);
        assert!(tokio::time::timeout(Duration::from_millis(20), write).await.is_err());
        drop(session);
        assert_eq!(count(&db).await, 0);
    }
}

#[tokio::test]
async fn a_stream_in_a_session_follows_the_rules_of_its_statements() {
    for (db, _place) in both().await {
        db.execute(INSERT, params![0, "taken"]).await.unwrap();
        // A failure fails the session.
        let mut session = db.session().await.unwrap();
        let failing = "INSERT INTO entry (id) VALUES (0) RETURNING id";
        assert!(session.fetch(failing, params![]).next().await.unwrap().unwrap_err().is_unique_violation());
        assert!(matches!(session.commit().await, Err(Error::Transaction { .. })));
        // One that rolls the whole transaction back ends the session, and nothing runs outside of it.
        let mut session = db.session().await.unwrap();
        session.execute(INSERT, params![1, "a"]).await.unwrap();
        let rolling_back = "INSERT OR ROLLBACK INTO entry (id) VALUES (0) RETURNING id";
        assert!(session.fetch(rolling_back, params![]).next().await.unwrap().is_err());
        assert!(session.execute(INSERT, params![2, "b"]).await.is_err());
        assert!(session.commit().await.is_err());
        assert_eq!(count(&db).await, 1);
        // A write is run to its end although only its first row is read.
        let mut session = db.session().await.unwrap();
        let mut rows = session.fetch("INSERT INTO entry (id) VALUES (3), (4), (5) RETURNING id", params![]);
        assert_eq!(rows.next().await.unwrap().unwrap().get::<i64>(0).unwrap(), 3);
        drop(rows);
        session.commit().await.unwrap();
        assert_eq!(count(&db).await, 4);
        // A read session refuses it.
        let mut view = db.read_session().await.unwrap();
        let error = view.fetch("DELETE FROM entry RETURNING id", params![]).next().await.unwrap().unwrap_err();
        assert_eq!(error.query_kind(), Some(QueryErrorKind::ReadOnly));
        drop(view);
        assert_eq!(count(&db).await, 4);
    }
}

#[tokio::test]
async fn a_session_kept_by_work_that_failed_cannot_be_committed() {
    for (db, _place) in all().await {
        let kept = Arc::new(std::sync::Mutex::new(None));
        let keep = Arc::clone(&kept);
        let failed = db
            .transaction(move |mut session| {
                let keep = Arc::clone(&keep);
                async move {
                    session.execute(INSERT, params![1, "a"]).await?;
                    *keep.lock().unwrap() = Some(session);
                    Err::<(), _>(Error::NoRow)
                }
            })
            .await;
        assert!(matches!(failed, Err(Error::NoRow)));
        let session = kept.lock().unwrap().take().unwrap();
        assert!(matches!(session.commit().await, Err(Error::SessionEnded)));
        assert_eq!(count(&db).await, 0);
    }
}

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

#[tokio::test]
async fn whatever_runs_for_a_caller_that_goes_away_is_stopped() {
    for (db, _place) in all().await {
        let insert = format!("INSERT INTO entry (id) {ENDLESS}");
        let brief = Duration::from_millis(50);
        assert!(tokio::time::timeout(brief, db.fetch_one(ENDLESS, params![])).await.is_err());
        assert!(tokio::time::timeout(brief, db.execute(&insert, params![])).await.is_err());
        let in_session = async {
            let mut session = db.session().await?;
            session.fetch_one(ENDLESS, params![]).await
        };
        assert!(tokio::time::timeout(brief, in_session).await.is_err());
        let transaction =
            db.transaction(|mut session| async move { session.fetch_one(ENDLESS, params![]).await.map(drop) });
        assert!(tokio::time::timeout(brief, transaction).await.is_err());
        // Would wait for 30 s, and then name the holder, if one of them still ran.
        let free = tokio::time::timeout(Duration::from_secs(5), db.execute(INSERT, params![1, "a"])).await;
        free.expect("the writer is free").unwrap();
        assert_eq!(count(&db).await, 1);
    }
}

#[tokio::test]
async fn a_statement_that_runs_longer_than_allowed_is_stopped_and_named_to_who_waits() {
    for (db, place) in both().await {
        drop(db);
        let config = place.as_ref().map_or_else(Config::memory, Place::config);
        let second = Duration::from_secs(1);
        let db = config.acquire_timeout(second).session_max_age(Duration::from_secs(2)).connect().await.unwrap();
        let endless = db.clone();
        let create = format!("CREATE TABLE t AS {ENDLESS}");
        let endless = tokio::spawn(async move { (line!(), endless.execute(&create, params![]).await) });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let waiting = db.execute("CREATE TABLE other (id INTEGER)", params![]).await.unwrap_err();
        let (line, outcome) = endless.await.unwrap();
        assert!(waiting.to_string().contains(&format!("sessions.rs:{line}")), "{waiting}");
        assert_eq!(outcome.unwrap_err().query_kind(), Some(QueryErrorKind::Timeout));
    }
}

#[tokio::test]
async fn a_stream_that_is_forgotten_ends_at_the_maximum_age_and_gives_its_reader_back() {
    let place = Place::new();
    let db = place.config().session_max_age(Duration::from_secs(1)).connect().await.unwrap();
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000000) SELECT i FROM n";
    let mut forgotten = db.fetch(sql, params![]);
    forgotten.next().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(db.stats().readers.oldest.unwrap().age > Duration::from_millis(400));
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!((db.stats().readers.active, db.stats().readers.oldest.is_none()), (0, true));
    let error = loop {
        if let Err(error) = forgotten.next().await.expect("the error comes before the end") {
            break error;
        }
    };
    assert!(matches!(error, Error::SessionExpired { .. }), "{error}");
}
