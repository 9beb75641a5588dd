//! Every call of SQLite's fails in its turn: each caller is told the truth, nothing acknowledged is lost, and the handle
//! goes on.

use rusqlite::ffi;
use strongroom::{Database, Error, QueryErrorKind, Result, params};

use crate::config;
use crate::disk::{Call, Disk, Fault, Image, Part};
use crate::ledger::{CREATE, Findings, Ledger, Shape};
use crate::random::Random;

/// Calls that change the disk: one that fails may have done its work all the same.
const CHANGES: [Call; 4] = [Call::Write, Call::Sync, Call::Truncate, Call::Delete];

/// Calls that find something out, or share the log's index with other connections.
const OTHERS: [Call; 7] =
    [Call::Open, Call::Access, Call::Read, Call::Size, Call::Lock, Call::MapIndex, Call::LockIndex];

#[tokio::test]
async fn a_failed_change_of_the_disk_is_told_truly() {
    for call in CHANGES {
        let fault = Fault::io(call);
        sweep(&[fault, fault.lasting(), fault.taking_effect()]).await;
    }
}

#[tokio::test]
async fn a_failed_call_of_another_kind_is_told_truly() {
    for call in OTHERS {
        let fault = Fault::io(call);
        sweep(&[fault, fault.lasting()]).await;
    }
}

/// Of SQLite's calls only a write answers that the disk is full; its VFS makes an I/O error of it everywhere else.
#[tokio::test]
async fn a_full_disk_is_told_truly() {
    let fault = Fault::new(Call::Write, ffi::SQLITE_FULL);
    sweep(&[fault, fault.lasting()]).await;
}

/// Goal: no call that fails while a database is created leaves a file that nobody can use. Method: each fails in its turn;
/// then the same handle, and after it another one, does what was to be done.
#[tokio::test]
async fn a_creation_that_failed_at_any_call_succeeds_when_it_is_tried_again() {
    for fault in CHANGES.into_iter().chain(OTHERS).map(Fault::io).flat_map(|fault| [fault, fault.lasting()]) {
        for fault in (0..).map(|calls_before| fault.after(calls_before)) {
            let disk = Disk::new();
            disk.fail(fault);
            let db = open(&disk);
            let first = db.execute(CREATE, params![]).await;
            if disk.heal().is_none() {
                first.unwrap();
                break;
            }
            db.execute(CREATE, params![]).await.unwrap_or_else(|error| panic!("{fault:?}: tried again: {error}"));
            db.close().await.unwrap();
            assert_eq!(Ledger::default().compare(&open(&disk)).await.unwrap(), Findings::default(), "{fault:?}");
        }
    }
}

/// Runs the same life again and again, and lets the first call fail, then the second, and so on, until none is left.
async fn sweep(faults: &[Fault]) {
    let image = begun().await;
    for fault in faults {
        for calls_before in (0..).step_by(4) {
            // Four at a time, on a disk each: a life is mostly spent waiting for threads that end.
            let [a, b, c, d] = [0, 1, 2, 3].map(|further| meets(&image, fault.after(calls_before + further)));
            let struck = <[bool; 4]>::from(tokio::join!(a, b, c, d));
            assert!(calls_before > 0 || struck[0], "{fault:?} strikes nothing");
            if struck.contains(&false) {
                break;
            }
        }
    }
}

/// One life with one fault: what callers are told, what the handle holds once the fault is over, what a power cut then
/// leaves, and what is there after closing. Answers whether the fault struck.
async fn meets(image: &Image, fault: Fault) -> bool {
    let (disk, ledger) = (Disk::holding(image), Ledger::default());
    disk.fail(fault);
    let (db, answers) = live(&disk, &ledger).await;
    let Some(struck) = disk.heal() else { return false };
    let failures = answers.iter().filter_map(|(shape, answer)| Some((*shape, answer.as_ref().err()?)));
    for (index, (shape, error)) in failures.enumerate() {
        let is_first = index == 0;
        assert!(
            is_true(fault, struck, shape, is_first, error),
            "{fault:?} in {struck:?}: {shape:?} answered {error:?}"
        );
    }

    ledger.write(&db, Shape::Statement).await.unwrap_or_else(|error| panic!("{fault:?}: afterwards {error}"));
    let what = format!("{fault:?} in {struck:?}: {answers:?}");
    assert_eq!(ledger.compare(&db).await.unwrap(), Findings::default(), "on the handle, {what}");
    let cut = disk.image(&mut Random::new(0), 0);
    assert_eq!(ledger.inspect(&cut).await, Findings::default(), "after a power cut, {what}");
    db.close().await.unwrap();
    let closed = disk.image(&mut Random::new(0), 256);
    assert_eq!(ledger.inspect(&closed).await, Findings::default(), "after closing, {what}");
    true
}

/// A database as it is opened, written by one caller, closed, opened again and written by several at once.
async fn live(disk: &Disk, ledger: &Ledger) -> (Database, Vec<(Shape, Result<()>)>) {
    let mut answers = Vec::new();
    let db = open(disk);
    for shape in [Shape::Statement, Shape::Session, Shape::Large, Shape::Violation, Shape::Rollback, Shape::Batch] {
        answers.push((shape, ledger.write(&db, shape).await));
    }
    db.close().await.unwrap();
    let db = open(disk);
    // Connects, so that the units are queued in their order; a failure is not the last try.
    let _ = db.table_exists("part").await;
    let shapes = [Shape::Statement, Shape::Violation, Shape::Session, Shape::Batch];
    let [one, two, three, four] = shapes.map(|shape| ledger.write(&db, shape));
    let together = tokio::join!(one, two, three, four);
    answers.extend(shapes.into_iter().zip([together.0, together.1, together.2, together.3]));
    (db, answers)
}

/// The smallest cache, so that a large unit is written before its COMMIT.
fn open(disk: &Disk) -> Database {
    config(disk).cache_kib(64).pool_max_size(2).open().unwrap()
}

/// A database with its table.
async fn begun() -> Image {
    let disk = Disk::new();
    let db = open(&disk);
    db.execute(CREATE, params![]).await.unwrap();
    db.close().await.unwrap();
    disk.image(&mut Random::new(0), 0)
}

/// Whether an error is what this fault should be told as.
fn is_true(fault: Fault, struck: Part, shape: Shape, is_first: bool, error: &Error) -> bool {
    let is_full = fault.code == ffi::SQLITE_FULL;
    // But for large units the log is written in a COMMIT, which has then not simply failed. What comes after may find that
    // the database cannot be opened again.
    let in_commit =
        is_first && struck == Part::Log && shape != Shape::Large && matches!(fault.call, Call::Write | Call::Sync);
    match error {
        Error::Connection { .. } => !in_commit,
        Error::CommitUnknown { .. } => !is_full,
        Error::Query { kind: QueryErrorKind::Full, .. } => is_full,
        Error::Query { kind: QueryErrorKind::Io, .. } => !is_full && !in_commit,
        // Its group was rolled back as a whole, and the engine cannot run a session again.
        Error::Query { kind: QueryErrorKind::Serialization, .. } => shape == Shape::Session,
        // SQLCipher takes a file whose salt it cannot read for a new one, with another salt.
        Error::Encryption { .. } => fault.call == Call::Read,
        _ => false,
    }
}
