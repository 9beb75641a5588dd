//! Units that share a COMMIT, at the moments that matter: the disk holds the writer in a call until they are all there.

use std::pin::Pin;
use std::task::Poll;

use rusqlite::ffi;
use strongroom::{Batch, Config, Database, Error, Params, QueryErrorKind, Result, params};

use crate::config;
use crate::disk::{Call, Disk, Fault, Part};
use crate::random::Random;

const INSERT: &str = "INSERT INTO entry (id) VALUES ($1)";
const INSERT_A_MEBIBYTE: &str = "INSERT INTO entry (id, filling) VALUES ($1, zeroblob(1048576))";

/// Room in the log for small units, in bytes, and for no mebibyte.
const ROOM: u64 = 256 * 1024;

/// Executions that make a unit large. Up to four large units share a COMMIT however long they take.
const LARGE: i64 = 65;

type Unit<'db> = Pin<Box<dyn Future<Output = Result<u64>> + 'db>>;

fn unit<'db>(db: &'db Database, sql: &'db str, params: Params) -> Unit<'db> {
    Box::pin(db.execute(sql, params))
}

/// A large unit: rows from this id on.
fn large(db: &Database, first: i64) -> Unit<'_> {
    Box::pin(db.execute_many(INSERT, (first..first + LARGE).map(|id| params![id])))
}

async fn database(config: Config) -> Database {
    let db = config.connect().await.unwrap();
    db.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, filling BLOB)", params![]).await.unwrap();
    let child = "CREATE TABLE child (parent INTEGER REFERENCES entry (id) DEFERRABLE INITIALLY DEFERRED)";
    db.execute(child, params![]).await.unwrap();
    db
}

/// The smallest cache, so that a mebibyte is written before its COMMIT.
fn with_a_small_cache(disk: &Disk) -> Config {
    config(disk).cache_kib(64)
}

async fn ids(db: &Database) -> Vec<i64> {
    let rows = db.fetch_all("SELECT id FROM entry ORDER BY id", params![]).await.unwrap();
    rows.iter().map(|row| row.get(0).unwrap()).collect()
}

/// Hands a unit to the writer: the first poll does.
async fn hand_over(unit: &mut Unit<'_>) {
    let poll = std::future::poll_fn(|context| Poll::Ready(unit.as_mut().poll(context))).await;
    assert!(poll.is_pending(), "answered before its turn: {poll:?}");
}

/// Runs units that wait together, in their order: they are handed over while the writer is in the COMMIT of row 0.
async fn together<const N: usize>(disk: &Disk, db: &Database, mut units: [Unit<'_>; N]) -> [Result<u64>; N] {
    let mut gate = disk.hold(Call::Sync, Part::Log);
    let mut first = unit(db, INSERT, params![0]);
    hand_over(&mut first).await;
    gate.reached().await;
    for unit in &mut units {
        hand_over(unit).await;
    }
    drop(gate);
    first.await.unwrap();
    let mut answers = [const { Ok(0) }; N];
    for (unit, answer) in units.into_iter().zip(&mut answers) {
        *answer = unit.await;
    }
    answers
}

fn kinds<const N: usize>(answers: &[Result<u64>; N]) -> [Option<QueryErrorKind>; N] {
    std::array::from_fn(|index| {
        let error = answers[index].as_ref().err()?;
        Some(error.query_kind().unwrap_or_else(|| panic!("not a failed statement: {error}")))
    })
}

#[tokio::test]
async fn a_statement_a_deferred_foreign_key_and_or_rollback_each_fail_alone() {
    let cases = [
        ("INSERT OR FAIL INTO entry (id) VALUES (10), (0)", QueryErrorKind::Unique),
        ("INSERT INTO child (parent) VALUES (777)", QueryErrorKind::ForeignKey),
        ("INSERT OR ROLLBACK INTO entry (id) VALUES (10), (0)", QueryErrorKind::Unique),
    ];
    for (culprit, expected) in cases {
        let disk = Disk::new();
        let db = database(config(&disk)).await;
        let units = [
            unit(&db, INSERT, params![1]),
            unit(&db, culprit, params![]),
            unit(&db, INSERT, params![2]),
            large(&db, 100),
        ];
        let answers = together(&disk, &db, units).await;
        assert_eq!(kinds(&answers), [None, Some(expected), None, None], "{culprit}");
        assert_eq!(ids(&db).await, [0, 1, 2].into_iter().chain(100..100 + LARGE).collect::<Vec<_>>(), "{culprit}");
    }
}

/// Goal: what fails alone does not make the COMMIT fail, after which a session could not be run again. Method: the unit
/// joins the COMMIT of a session that it waited for.
#[tokio::test]
async fn a_unit_that_fails_alone_costs_a_session_before_it_nothing() {
    let disk = Disk::new();
    let db = database(config(&disk)).await;
    for (id, culprit, expected) in [
        (1, "INSERT OR FAIL INTO entry (id) VALUES (10), (1)", QueryErrorKind::Unique),
        (2, "INSERT INTO child (parent) VALUES (777)", QueryErrorKind::ForeignKey),
    ] {
        let mut session = db.session().await.unwrap();
        session.execute(INSERT, params![id]).await.unwrap();
        let mut culprit = unit(&db, culprit, params![]);
        hand_over(&mut culprit).await;
        session.commit().await.unwrap();
        assert_eq!(kinds(&[culprit.await]), [Some(expected)]);
    }
    assert_eq!(ids(&db).await, [1, 2]);
}

/// Goal: who does not fit is told, the others are stored. Method: the log has room for all but one, whose pages are
/// written in the COMMIT, or, with a small cache, before.
#[tokio::test]
async fn a_full_disk_before_and_in_a_commit_fails_the_unit_that_does_not_fit_and_no_other() {
    for config in [config, with_a_small_cache] {
        let disk = Disk::new();
        let db = database(config(&disk)).await;
        disk.fail(Fault::new(Call::Write, ffi::SQLITE_FULL).on(Part::Log).beyond(ROOM).lasting());
        let units =
            [unit(&db, INSERT, params![1]), unit(&db, INSERT_A_MEBIBYTE, params![2]), unit(&db, INSERT, params![3])];
        let answers = together(&disk, &db, units).await;
        assert_eq!(kinds(&answers), [None, Some(QueryErrorKind::Full), None]);
        assert_eq!(disk.heal(), Some(Part::Log));
        db.execute(INSERT_A_MEBIBYTE, params![4]).await.unwrap();
        assert_eq!(ids(&db).await, [0, 1, 3, 4]);
    }
}

#[tokio::test]
async fn an_io_error_before_the_commit_fails_its_own_unit_and_no_other() {
    let disk = Disk::new();
    let db = database(with_a_small_cache(&disk)).await;
    disk.fail(Fault::io(Call::Write).on(Part::Log).beyond(ROOM).lasting());
    let units =
        [unit(&db, INSERT, params![1]), unit(&db, INSERT_A_MEBIBYTE, params![2]), unit(&db, INSERT, params![3])];
    let answers = together(&disk, &db, units).await;
    assert_eq!(kinds(&answers), [None, Some(QueryErrorKind::Io), None]);
    assert_eq!(disk.heal(), Some(Part::Log));
    db.execute(INSERT_A_MEBIBYTE, params![4]).await.unwrap();
    assert_eq!(ids(&db).await, [0, 1, 3, 4]);
}

/// Goal: nobody is told that a unit has failed which may be stored. Method: the sync of the COMMIT that three units share
/// fails, without and with effect; what they are told is compared with what is there then and after a power cut.
#[tokio::test]
async fn an_io_error_in_the_commit_leaves_the_outcome_of_each_of_its_units_unknown() {
    // The first sync is that of row 0.
    let fault = Fault::io(Call::Sync).on(Part::Log).after(1);
    for fault in [fault, fault.lasting(), fault.taking_effect()] {
        let disk = Disk::new();
        let db = database(config(&disk)).await;
        disk.fail(fault);
        let answers = together(&disk, &db, [large(&db, 100), large(&db, 200), large(&db, 300)]).await;
        assert!(answers.iter().all(|answer| matches!(answer, Err(Error::CommitUnknown { .. }))), "{answers:?}");
        assert_eq!(disk.heal(), Some(Part::Log));

        db.execute(INSERT, params![1]).await.unwrap();
        let without = vec![0, 1];
        let with = [0, 1].into_iter().chain([100, 200, 300].into_iter().flat_map(|first| first..first + LARGE));
        let with: Vec<_> = with.collect();
        let there = ids(&db).await;
        assert!(there == without || there == with, "{there:?}");
        let after = Disk::holding(&disk.image(&mut Random::new(0), 0));
        assert_eq!(ids(&config(&after).connect().await.unwrap()).await, there);
    }
}

#[tokio::test]
async fn a_unit_whose_caller_is_gone_before_its_turn_is_not_run() {
    let disk = Disk::new();
    let db = database(config(&disk)).await;
    let mut gate = disk.hold(Call::Sync, Part::Log);
    let mut units = [1, 2, 3].map(|id| unit(&db, INSERT, params![id]));
    hand_over(&mut units[0]).await;
    gate.reached().await;
    hand_over(&mut units[1]).await;
    hand_over(&mut units[2]).await;
    let [first, gone, last] = units;
    drop(gone);
    drop(gate);
    first.await.unwrap();
    last.await.unwrap();
    assert_eq!(ids(&db).await, [1, 3]);
}

#[tokio::test]
async fn a_unit_whose_caller_goes_while_it_runs_is_stopped_and_leaves_nothing() {
    let disk = Disk::new();
    let db = database(with_a_small_cache(&disk)).await;
    // Its pages do not fit into the cache: it comes to the gate long before its end.
    let many = "WITH RECURSIVE n (i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
                INSERT INTO entry (id, filling) SELECT i, zeroblob(1000) FROM n";
    let mut gate = disk.hold(Call::Write, Part::Log);
    let mut gone = unit(&db, many, params![]);
    let mut neighbour = unit(&db, INSERT, params![1]);
    hand_over(&mut gone).await;
    gate.reached().await;
    hand_over(&mut neighbour).await;
    drop(gone);
    drop(gate);
    neighbour.await.unwrap();
    assert_eq!(ids(&db).await, [1]);
}

#[tokio::test]
async fn a_unit_whose_caller_goes_in_its_commit_stays_and_is_whole() {
    let disk = Disk::new();
    let db = database(config(&disk)).await;
    let batch = (1..=3).fold(Batch::new(), |batch, id| batch.then(INSERT, params![id]));
    let mut gate = disk.hold(Call::Sync, Part::Log);
    let mut gone: Unit<'_> = Box::pin(async { db.batch(batch).await.map(|_| 3) });
    hand_over(&mut gone).await;
    gate.reached().await;
    drop(gone);
    drop(gate);
    db.execute(INSERT, params![4]).await.unwrap();
    assert_eq!(ids(&db).await, [1, 2, 3, 4]);
}
