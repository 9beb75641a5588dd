//! Group commit: units share a COMMIT, and each fails alone.

use strongroom::{Batch, Database, Error, params};

use crate::faults::SmallDisk;
use crate::{Place, count, create_entry};

/// Queues `work` behind an open session, so that all of it is there when the writer becomes free: one group.
async fn in_one_group<T: Send + 'static>(
    db: &Database,
    work: Vec<std::pin::Pin<Box<dyn Future<Output = T> + Send>>>,
) -> Vec<T> {
    let holder = db.session().await.unwrap();
    let mut tasks = Vec::new();
    for future in work {
        tasks.push(tokio::spawn(future));
        // In order: each is queued before the next.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    holder.rollback().await.unwrap();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}

type Write = std::pin::Pin<Box<dyn Future<Output = strongroom::Result<u64>> + Send>>;

fn write(db: &Database, sql: &'static str, params: strongroom::Params) -> Write {
    let db = db.clone();
    Box::pin(async move { db.execute(sql, params).await })
}

const INSERT: &str = "INSERT INTO entry (id) VALUES ($1)";

async fn database(place: &Place) -> Database {
    let db = place.open().await;
    create_entry(&db).await;
    db.execute("CREATE TABLE child (parent INTEGER REFERENCES entry (id) DEFERRABLE INITIALLY DEFERRED)", params![])
        .await
        .unwrap();
    db.execute(INSERT, params![0]).await.unwrap();
    db
}

#[tokio::test]
async fn units_that_wait_together_share_one_commit() {
    let place = Place::new();
    let db = database(&place).await;
    let before = db.stats();
    let writes = (1..=50).map(|id| write(&db, INSERT, params![id])).collect();
    assert!(in_one_group(&db, writes).await.iter().all(|outcome| matches!(outcome, Ok(1))));
    let after = db.stats();
    assert_eq!(after.units_committed - before.units_committed, 50);
    assert!(after.commits - before.commits <= 3, "{} commits", after.commits - before.commits);
}

#[tokio::test]
async fn a_statement_that_fails_fails_alone() {
    let place = Place::new();
    let db = database(&place).await;
    let writes = vec![
        write(&db, INSERT, params![1]),
        write(&db, INSERT, params![0]),
        write(&db, "INSERT OR FAIL INTO entry (id) VALUES (2), (0), (3)", params![]),
        write(&db, INSERT, params![4]),
    ];
    let outcomes = in_one_group(&db, writes).await;
    assert!(outcomes[0].is_ok() && outcomes[3].is_ok());
    assert!(outcomes[1].as_ref().is_err_and(Error::is_unique_violation));
    assert!(outcomes[2].as_ref().is_err_and(Error::is_unique_violation));
    // OR FAIL keeps the rows before the failing one, which a unit must not: 0, 1 and 4 are there.
    assert_eq!(count(&db).await, 3);
}

#[tokio::test]
async fn a_deferred_foreign_key_fails_its_own_unit_only() {
    let place = Place::new();
    let db = database(&place).await;
    let writes = vec![
        write(&db, INSERT, params![1]),
        write(&db, "INSERT INTO child (parent) VALUES ($1)", params![777]),
        write(&db, "INSERT INTO child (parent) VALUES ($1)", params![1]),
        write(&db, INSERT, params![2]),
    ];
    let outcomes = in_one_group(&db, writes).await;
    let kinds: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().err().and_then(Error::query_kind)).collect();
    assert_eq!(kinds, [None, Some(strongroom::QueryErrorKind::ForeignKey), None, None]);
    // Within one unit the order does not matter.
    let batch = Batch::new()
        .then("INSERT INTO child (parent) VALUES ($1)", params![50])
        .then("INSERT INTO entry (id) VALUES ($1)", params![50]);
    db.batch(batch).await.unwrap();
}

#[tokio::test]
async fn a_session_with_a_violated_deferred_foreign_key_fails_at_its_commit() {
    let place = Place::new();
    let db = database(&place).await;
    let mut session = db.session().await.unwrap();
    session.execute("INSERT INTO child (parent) VALUES ($1)", params![777]).await.unwrap();
    let error = session.commit().await.unwrap_err();
    assert_eq!(error.query_kind(), Some(strongroom::QueryErrorKind::ForeignKey));
    db.execute(INSERT, params![1]).await.unwrap();
}

#[tokio::test]
async fn or_rollback_fails_its_own_unit_and_the_others_are_run_again() {
    let place = Place::new();
    let db = database(&place).await;
    let mut writes: Vec<Write> = (1..=10).map(|id| write(&db, INSERT, params![id])).collect();
    writes.push(write(&db, "INSERT OR ROLLBACK INTO entry (id) VALUES (0)", params![]));
    writes.extend((11..=20).map(|id| write(&db, INSERT, params![id])));
    let outcomes = in_one_group(&db, writes).await;
    for (index, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.is_err(), index == 10, "{index}: {outcome:?}");
    }
    assert_eq!(count(&db).await, 21);
}

#[tokio::test]
async fn a_full_disk_fails_the_unit_that_is_too_large_and_keeps_the_others() {
    let Some(disk) = SmallDisk::mount("8m") else { return };
    let db = disk.config().connect().await.unwrap();
    db.execute("CREATE TABLE blob (content BLOB)", params![]).await.unwrap();
    let (kib, mib) = (vec![7_u8; 1024], vec![7_u8; 20 * 1024 * 1024]);
    let insert = "INSERT INTO blob (content) VALUES ($1)";
    let writes = vec![
        write(&db, insert, params![kib.clone()]),
        write(&db, insert, params![mib]),
        write(&db, insert, params![kib]),
    ];
    let outcomes = in_one_group(&db, writes).await;
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    assert_eq!(outcomes[1].as_ref().unwrap_err().query_kind(), Some(strongroom::QueryErrorKind::Full));
    assert_eq!(db.fetch_value::<i64>("SELECT count(*) FROM blob", params![]).await.unwrap(), Some(2));
    db.close().await.unwrap();
}

#[tokio::test]
async fn an_error_that_comes_from_a_neighbours_row_is_answered_only_if_that_row_is_stored() {
    let Some(disk) = SmallDisk::mount("4m") else { return };
    let db = disk.config().connect().await.unwrap();
    db.execute("CREATE TABLE blob (id INTEGER PRIMARY KEY, content BLOB)", params![]).await.unwrap();
    // The first one's row fits into memory and not onto the disk; the second one collides with it, as long as it is there.
    let insert = "INSERT INTO blob (id, content) VALUES ($1, $2)";
    let writes = vec![
        write(&db, insert, params![1, vec![7_u8; 6 * 1024 * 1024]]),
        write(&db, insert, params![1, vec![7_u8; 10]]),
    ];
    let outcomes = in_one_group(&db, writes).await;
    assert_eq!(outcomes[0].as_ref().unwrap_err().query_kind(), Some(strongroom::QueryErrorKind::Full));
    assert!(outcomes[1].is_ok(), "{outcomes:?}");
    assert_eq!(db.fetch_value::<i64>("SELECT count(*) FROM blob", params![]).await.unwrap(), Some(1));
    db.close().await.unwrap();
}

/// A unit that was stopped in mid-write takes the whole transaction with it. The others are run again; it is not, since its
/// time would run out again.
#[tokio::test]
async fn a_unit_whose_time_ran_out_is_not_run_again_with_the_others() {
    let place = Place::new();
    let db = place.config().session_max_age(std::time::Duration::from_secs(1)).connect().await.unwrap();
    create_entry(&db).await;
    let endless =
        "INSERT INTO entry (id) WITH RECURSIVE n (i) AS (SELECT $1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    let began = std::time::Instant::now();
    let writes =
        vec![write(&db, INSERT, params![1]), write(&db, endless, params![1_000_000]), write(&db, INSERT, params![2])];
    let outcomes = in_one_group(&db, writes).await;
    let kinds: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().err().and_then(Error::query_kind)).collect();
    assert_eq!(kinds, [None, Some(strongroom::QueryErrorKind::Timeout), None]);
    assert_eq!(count(&db).await, 2);
    // Each run takes its whole second.
    assert!(began.elapsed() < std::time::Duration::from_millis(1_950), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_large_batch_that_fails_takes_no_other_large_one_along() {
    let place = Place::new();
    let db = database(&place).await;
    let batch = |first: i64| {
        let db = db.clone();
        let rows: Vec<_> = (first..first + 500).map(|id| params![id]).collect();
        Box::pin(async move { db.execute_many(INSERT, rows).await }) as Write
    };
    // The second begins with a row that the first has, the last is small.
    let work = vec![batch(1), batch(500), batch(2000), write(&db, INSERT, params![5000])];
    let outcomes = in_one_group(&db, work).await;
    assert!(outcomes[1].as_ref().is_err_and(Error::is_unique_violation), "{outcomes:?}");
    assert_eq!([&outcomes[0], &outcomes[2], &outcomes[3]].map(|outcome| *outcome.as_ref().unwrap()), [500, 500, 1]);
    assert_eq!(count(&db).await, 1002);
}

#[tokio::test]
async fn many_callers_at_once_lose_and_double_nothing() {
    let place = Place::new();
    let db = database(&place).await;
    let tasks: Vec<_> = (0..64_i64)
        .map(|task| {
            let db = db.clone();
            tokio::spawn(async move {
                for i in 0..25 {
                    let id = 1 + task * 25 + i;
                    match i % 3 {
                        0 => drop(db.execute(INSERT, params![id]).await.unwrap()),
                        1 => drop(db.batch(Batch::new().then(INSERT, params![id])).await.unwrap()),
                        _ => {
                            let mut session = db.session().await.unwrap();
                            session.execute(INSERT, params![id]).await.unwrap();
                            session.commit().await.unwrap();
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(count(&db).await, 64 * 25 + 1);
}
