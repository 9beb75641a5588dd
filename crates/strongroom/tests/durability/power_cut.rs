//! The power goes at a random call, hundreds of times: every acknowledged unit is there afterwards, and none in part.
//!
//! `STRONGROOM_SEED` repeats the cuts of a run (not the order in which threads come), `STRONGROOM_CUTS` sets their number.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strongroom::{Database, Error, Result, params};

use crate::disk::{Disk, Image};
use crate::ledger::{CREATE, Findings, Ledger, Shape};
use crate::random::Random;
use crate::{RAW_KEY, config};

/// Cuts in one test run, unless the environment says otherwise.
const CUTS: u64 = 300;

/// Cuts that one database lives through before a new one is begun, so that checking it stays quick.
const CUTS_PER_DATABASE: u64 = 15;

const CALLERS: u64 = 64;

/// Opens the database, writes from many callers, closes it, and begins anew, until the power is gone.
///
/// Answers whether the table's creation was acknowledged.
async fn write_until_the_power_is_gone(disk: &Disk, ledger: &Arc<Ledger>, random: &mut Random) -> bool {
    let mut has_begun = false;
    loop {
        let opened = async {
            let db = config(disk).pool_max_size(2).connect().await?;
            db.execute(CREATE, params![]).await?;
            Ok(db)
        };
        let db = match opened.await {
            Ok(db) => db,
            Err::<_, Error>(_) if disk.is_off() => return has_begun,
            Err(error) => panic!("a database cannot be opened after a power cut: {error}"),
        };
        has_begun = true;
        let stop = Arc::new(AtomicBool::new(false));
        let checkpoints = std::thread::spawn({
            let (path, stop) = (disk.database(), Arc::clone(&stop));
            move || keep_checkpointing(&path, &stop)
        });
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (db, ledger, random) = (db.clone(), Arc::clone(ledger), Random::new(random.next()));
                tokio::spawn(async move { call(&db, &ledger, random).await })
            })
            .collect();
        let mut answers = Vec::new();
        for caller in callers {
            answers.push(caller.await.unwrap());
        }
        stop.store(true, Ordering::Relaxed);
        checkpoints.join().unwrap();
        let closed = db.close().await;
        if disk.is_off() {
            return has_begun;
        }
        answers.into_iter().for_each(Result::unwrap);
        closed.unwrap();
    }
}

/// One caller: some units of every kind, up to the first that fails.
async fn call(db: &Database, ledger: &Ledger, mut random: Random) -> Result<()> {
    for _ in 0..1 + random.below(6) {
        let shape = match random.below(16) {
            0..8 => Shape::Statement,
            8..11 => Shape::Batch,
            11..13 => Shape::Session,
            13 => Shape::Rollback,
            14 => Shape::Violation,
            _ => Shape::Large,
        };
        ledger.write(db, shape).await?;
    }
    Ok(())
}

/// Copies the log into the file again and again, as another process may do at any time; each way in its turn.
fn keep_checkpointing(path: &Path, stop: &AtomicBool) {
    let Ok(db) = raw(path) else { return };
    for mode in ["PASSIVE", "RESTART", "TRUNCATE"].iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // It may fail as everything else, when the power goes.
        let _ = db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A plain connection to an encrypted file.
fn raw(path: &Path) -> rusqlite::Result<rusqlite::Connection> {
    let db = rusqlite::Connection::open(path)?;
    db.execute_batch(&format!("PRAGMA key = \"{RAW_KEY}\"; PRAGMA cipher_log_level = NONE"))?;
    Ok(db)
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is {value}; expected a number")))
}

/// The seed of this run, printed so that a failure can be repeated.
fn seed() -> u64 {
    let seed = number("STRONGROOM_SEED").unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos().into()
    });
    println!("STRONGROOM_SEED={seed}");
    seed
}

/// How much of what was not synced survives a cut: nothing, everything as when only the process dies, or any part.
fn luck(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => 0,
        1 => 256,
        _ => random.below(257),
    }
}

/// Near or far: half of the cuts are among the first calls, in which the database is opened and recovered.
fn moment(random: &mut Random) -> u64 {
    let most = 1 << random.below(12);
    1 + random.below(most)
}

/// Goal: an answer is a promise. Method: 64 callers write units of every kind while the log is copied into the file beside
/// them; at a random call the power goes; what the disk holds is opened, compared with the answers, and lived on with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_unit_survives_a_power_cut_and_none_in_part() {
    let mut random = Random::new(seed());
    let (mut ledger, mut image, mut has_begun) = (Arc::new(Ledger::default()), Image::default(), false);
    let cuts = number("STRONGROOM_CUTS").unwrap_or(CUTS);
    let mut acknowledged = 0;
    for cut in 0..cuts {
        if cut % CUTS_PER_DATABASE == 0 || !has_begun {
            acknowledged += ledger.acknowledged().len();
            (ledger, image, has_begun) = (Arc::default(), Image::default(), false);
        }
        let disk = Disk::holding(&image);
        disk.cut_power_at(moment(&mut random));
        has_begun |= write_until_the_power_is_gone(&disk, &ledger, &mut random).await;
        let luck = luck(&mut random);
        image = disk.image(&mut random, luck);
        // A cut before that may leave a file without a whole first page, which is refused: nothing was promised.
        if has_begun {
            assert_eq!(ledger.inspect(&image).await, Findings::default(), "cut {cut}, luck {luck}");
            ledger.settle(&image).await;
        }
    }
    acknowledged += ledger.acknowledged().len();
    println!("{acknowledged} units were acknowledged in {cuts} cuts");
    assert!(acknowledged > 0 || cuts < CUTS, "nothing was ever acknowledged");
}

/// Goal: the test above can fail. Method: the same on a disk that answers a sync without doing it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_lies_about_syncs_loses_acknowledged_units() {
    let mut random = Random::new(seed());
    let mut lost = 0;
    for _ in 0..5 {
        let (disk, ledger) = (Disk::new(), Arc::new(Ledger::default()));
        disk.ignore_syncs();
        disk.cut_power_at(200);
        write_until_the_power_is_gone(&disk, &ledger, &mut random).await;
        lost += ledger.inspect(&disk.image(&mut random, 128)).await.lost.len();
    }
    assert!(lost > 0, "nothing is lost without a sync: the disk forgets nothing");
}

/// Goal: it is `synchronous=FULL` that keeps the promise. Method: one plain connection, the same disk, both settings.
#[test]
fn synchronous_off_loses_rows_and_synchronous_full_none() {
    let mut random = Random::new(seed());
    let mut lost = |synchronous: &str| -> i64 {
        let cuts = 50..70;
        cuts.map(|change| {
            let disk = Disk::new();
            let db = raw(&disk.database()).unwrap();
            db.execute_batch(&format!(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; CREATE TABLE entry (id INTEGER PRIMARY KEY)"
            ))
            .unwrap();
            disk.cut_power_at(change);
            let acknowledged = (1..).take_while(|id| db.execute("INSERT INTO entry (id) VALUES (?1)", [id]).is_ok());
            let acknowledged = acknowledged.last().unwrap_or(0);
            let after = Disk::holding(&disk.image(&mut random, 128));
            let count = |db: rusqlite::Connection| db.query_row("SELECT count(*) FROM entry", [], |row| row.get(0));
            // A file without its first page, or without its table, has lost them all.
            let found: i64 = raw(&after.database()).and_then(count).unwrap_or(0);
            (acknowledged - found).max(0)
        })
        .sum()
    };
    assert!(lost("OFF") > 0, "nothing is lost without a sync: the disk forgets nothing");
    assert_eq!(lost("FULL"), 0);
}
