//! Callers that go away: nothing goes on on the server, no transaction stays open, and connections are used on.

use std::time::Duration;

use strongroom::{Batch, Error, QueryErrorKind, params};

use super::{INSERT, NOT_IDLE, becomes_empty};
use crate::{Server, count, create_entry};

const BRIEF: Duration = Duration::from_millis(100);

#[tokio::test]
async fn whatever_is_dropped_is_stopped_on_the_server_and_its_connection_used_on() {
    let Some(server) = Server::if_there() else { return };
    let db = server.config().pool_max_size(1).connect().await.unwrap();
    create_entry(&db).await;
    let sleep = "SELECT pg_sleep(60)";
    let insert = "INSERT INTO entry (id) SELECT 1 FROM pg_sleep(60)";
    macro_rules! dropped {
        ($work:expr) => {
            assert!(tokio::time::timeout(BRIEF, $work).await.is_err());
            becomes_empty(&server, NOT_IDLE).await;
        };
    }
    dropped!(db.fetch_one(sleep, params![]));
    dropped!(db.execute(insert, params![]));
    dropped!(db.batch(Batch::new().then(INSERT, params![1, "a"]).then(insert, params![])));
    dropped!(db.execute_many("INSERT INTO entry (id) SELECT $1::int FROM pg_sleep(60)", [params![1], params![2]]));
    dropped!(db.execute_script("INSERT INTO entry (id) VALUES (1); SELECT pg_sleep(60)"));
    dropped!(async {
        let mut session = db.session().await.unwrap();
        session.execute(INSERT, params![1, "a"]).await.unwrap();
        session.fetch_one(sleep, params![]).await.unwrap();
    });
    dropped!(async {
        let mut view = db.read_session().await.unwrap();
        view.fetch("SELECT pg_sleep(60)", params![]).next().await.unwrap().unwrap();
    });
    dropped!(db.transaction(|mut session| async move {
        session.execute(INSERT, params![1, "a"]).await?;
        session.execute(insert, params![]).await
    }));
    dropped!(async {
        let mut pinned = db.connection().await.unwrap();
        pinned.execute(insert, params![]).await.unwrap();
    });
    let mut rows = db.fetch("SELECT generate_series(1, 100000000)", params![]);
    rows.next().await.unwrap().unwrap();
    drop(rows);
    becomes_empty(&server, NOT_IDLE).await;
    let rows = (0..).map(|id| {
        std::thread::sleep(Duration::from_micros(100));
        params![id, Option::<String>::None]
    });
    dropped!(db.copy_in("entry", &["id", "text"], rows));
    assert_eq!(count(&db).await, 0);
    assert_eq!(db.stats().readers.created, 1, "{:?}", db.stats());
}

/// Work of every kind, dropped after each of many times: no session is left in a transaction, no connection is lost, and
/// what is stored is stored as a whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn futures_dropped_at_any_time_leave_no_transaction_open() {
    let Some(server) = Server::if_there() else { return };
    let db = server.config().pool_max_size(4).connect().await.unwrap();
    create_entry(&db).await;
    for round in 0..150_i64 {
        let id = round * 10;
        let work = async {
            let mut session = db.session().await?;
            session.execute(INSERT, params![id, format!("{id}")]).await?;
            let mut point = session.savepoint().await?;
            point.execute_many(INSERT, (1..4).map(|n| params![id + n, Option::<String>::None])).await?;
            point.release().await?;
            let mut rows = session.fetch("SELECT id FROM entry", params![]);
            while rows.next().await.is_some() {}
            drop(rows);
            session.commit().await
        };
        let batch =
            Batch::new().then(INSERT, params![id + 5, "x"]).then("DELETE FROM entry WHERE text = 'x'", params![]);
        let patience = Duration::from_micros(40 * round as u64);
        let _ = tokio::join!(
            tokio::time::timeout(patience, work),
            tokio::time::timeout(patience, db.batch(batch)),
            tokio::time::timeout(patience, db.read_session()),
            tokio::time::timeout(patience, db.fetch_all("SELECT * FROM entry", params![])),
        );
    }
    becomes_empty(&server, NOT_IDLE).await;
    let torn = "SELECT id / 10 FROM entry GROUP BY id / 10 HAVING count(*) <> 4";
    assert_eq!(db.fetch_all(torn, params![]).await.unwrap().len(), 0);
    let is_home = || db.stats().readers.active == 0;
    for _ in 0..100 {
        if is_home() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(is_home(), "{:?}", db.stats());
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_session_that_is_forgotten_is_rolled_back_at_its_age_and_its_holder_told() {
    let Some(server) = Server::if_there() else { return };
    let db = server.config().session_max_age(Duration::from_secs(1)).connect().await.unwrap();
    create_entry(&db).await;
    let mut session = db.session().await.unwrap();
    session.execute(INSERT, params![1, "a"]).await.unwrap();
    let mut view = db.read_session().await.unwrap();
    let mut stream = db.fetch("SELECT generate_series(1, 10000000)", params![]);
    stream.next().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    becomes_empty(&server, NOT_IDLE).await;
    assert!(matches!(session.execute(INSERT, params![2, "b"]).await, Err(Error::SessionExpired { .. })));
    assert!(matches!(session.commit().await, Err(Error::SessionExpired { .. })));
    assert!(matches!(view.fetch_one("SELECT 1", params![]).await, Err(Error::SessionExpired { .. })));
    let end = loop {
        match stream.next().await {
            Some(Ok(_)) => {}
            other => break other,
        }
    };
    assert!(matches!(end, Some(Err(Error::SessionExpired { .. }))), "{end:?}");
    assert_eq!(count(&db).await, 0);
    assert_eq!(db.stats().readers.active, 0);
}

#[tokio::test]
async fn what_runs_too_long_is_stopped_at_the_age_and_stores_nothing() {
    let Some(server) = Server::if_there() else { return };
    let db = server.config().session_max_age(Duration::from_secs(1)).connect().await.unwrap();
    create_entry(&db).await;
    let insert = "INSERT INTO entry (id) SELECT 1 FROM pg_sleep(60)";
    let timeout = Some(QueryErrorKind::Timeout);
    assert_eq!(db.execute(insert, params![]).await.unwrap_err().query_kind(), timeout);
    let batch = Batch::new().then(INSERT, params![1, "a"]).then(insert, params![]);
    assert_eq!(db.batch(batch).await.unwrap_err().query_kind(), timeout);
    let mut session = db.session().await.unwrap();
    assert!(matches!(session.execute(insert, params![]).await, Err(Error::SessionExpired { .. })));
    let mut pinned = db.connection().await.unwrap();
    assert_eq!(pinned.execute(insert, params![]).await.unwrap_err().query_kind(), timeout);
    assert_eq!(pinned.fetch_value("SELECT 1", params![]).await.unwrap(), Some(1));
    assert_eq!(count(&db).await, 0);
}

#[tokio::test]
async fn the_servers_own_limits_are_timeout_and_busy() {
    let Some(server) = Server::if_there() else { return };
    let limit = Some(Duration::from_millis(200));
    let db = server.config().statement_timeout(limit).connect().await.unwrap();
    let error = db.fetch_one("SELECT pg_sleep(60)", params![]).await.unwrap_err();
    assert_eq!(error.query_kind(), Some(QueryErrorKind::Timeout));
    let db = server.config().lock_timeout(limit).connect().await.unwrap();
    create_entry(&db).await;
    db.execute(INSERT, params![1, "a"]).await.unwrap();
    let mut holder = db.session().await.unwrap();
    holder.execute("UPDATE entry SET text = 'b'", params![]).await.unwrap();
    let error = db.execute("UPDATE entry SET text = 'c'", params![]).await.unwrap_err();
    assert_eq!(error.query_kind(), Some(QueryErrorKind::Busy));
}

#[tokio::test]
async fn a_stream_keeps_a_bounded_number_of_rows_and_goes_at_its_consumers_pace() {
    let Some(server) = Server::if_there() else { return };
    let db = server.open().await;
    // 2 GiB, of which the server can have sent only what the sockets hold.
    let mut rows = db.fetch("SELECT repeat('x', 100000) FROM generate_series(1, 20000)", params![]);
    rows.next().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let waiting = "select wait_event from pg_stat_activity where query like '%generate_series(1, 20000)%' \
                   and pid <> pg_backend_pid()";
    assert_eq!(server.query(waiting), [["ClientWrite"]]);
    for _ in 0..50 {
        assert_eq!(rows.next().await.unwrap().unwrap().get::<String>(0).unwrap().len(), 100_000);
    }
}
