//! rusqlite without anything around it: a prepared statement in a plain loop, on the caller's thread.

use std::time::Instant;

use harness::sqlite::{
    BULK_ROWS, COMMITTING, CREATE, INSERT, INSERT_WITH_ID, SELECT, SELECT_ALL, Source, TEXT, id_of, report_bulk_insert,
    report_commits, report_opening, report_stream, text,
};
use harness::{Measured, Run, report, threads};
use rusqlite::Connection;

pub(crate) fn run(run: &Run) {
    match run.workload.as_str() {
        "commits-64" => report_commits(&commits(run, 1)),
        "read-1" => {
            let source = run.full(true, 1);
            let reads = threads(1, run.time, move || {
                let mut select = leak(open(&source)).prepare(SELECT).expect("a statement");
                move |turn| {
                    let text: String = select.query_row([id_of(turn)], |row| row.get(0)).expect("a row");
                    assert!(text.starts_with("the text"));
                    None
                }
            });
            report("read-1", reads.per_second());
        }
        "stream" => {
            let db = open(&run.full(true, 1));
            report_stream(|| {
                let mut select = db.prepare(SELECT_ALL).expect("a statement");
                let mut rows = select.query([]).expect("rows");
                let mut sum = 0;
                while let Some(row) = rows.next().expect("a row") {
                    let (id, text): (i64, String) = (row.get(0).expect("an id"), row.get(1).expect("a text"));
                    assert!(!text.is_empty());
                    sum += id;
                }
                sum
            });
        }
        // One: what a key derivation costs.
        "open-10" => report_opening(|| {
            let db = open(&run.with_passphrase(1));
            db.query_row("SELECT count(*) FROM entry", [], |_| Ok(())).expect("the key fits");
            db
        })
        .close()
        .expect("nothing is under way"),
        "bulk-insert" => {
            let mut db = open(&run.fresh(true, 1));
            db.execute_batch(CREATE).expect("a table");
            report_bulk_insert(|| {
                let transaction = db.transaction().expect("a transaction");
                let mut insert = transaction.prepare(INSERT_WITH_ID).expect("a statement");
                for id in 0..BULK_ROWS {
                    insert.execute((id, text(id))).expect("a row");
                }
                drop(insert);
                transaction.commit().expect("a commit");
            });
        }
        _ => run.is_unknown(),
    }
}

/// 16 connections that compete for the write lock; each waits for it with `busy_timeout`.
pub(crate) fn run_competing(run: &Run) {
    match run.workload.as_str() {
        "commits-64" => report_commits(&commits(run, 16)),
        _ => run.is_unknown(),
    }
}

fn commits(run: &Run, connections: u64) -> Measured {
    let source = run.fresh(true, 1);
    open(&source).execute_batch(CREATE).expect("a table");
    threads(connections, COMMITTING * run.time, move || {
        let mut insert = leak(open(&source)).prepare(INSERT).expect("a statement");
        move |_| {
            let began = Instant::now();
            insert.execute([TEXT]).expect("a row");
            Some(began.elapsed())
        }
    })
}

/// A statement borrows its connection, and a closure cannot keep both. The process ends soon.
fn leak(db: Connection) -> &'static Connection {
    Box::leak(Box::new(db))
}

fn open(source: &Source) -> Connection {
    let db = Connection::open(&source.path).expect("the database opens");
    db.execute_batch(&source.pragmas()).expect("settings");
    db
}
