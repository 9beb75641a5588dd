//! What the handle costs and gains, against raw rusqlite doing the same work in a plain loop, in the same run.
//!
//! `cargo bench -p strongroom`. Both sides write an encrypted file with `synchronous=FULL` in the same folder
//! (`BENCH_DIR`, by default the system's temporary folder: choose a real disk). Each case is run several times in turn,
//! ours and theirs, and the medians are compared, so that a machine whose speed drifts treats both alike.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use strongroom::{Config, Database, KeySource, params};

const RAW_KEY: &str = "x'2DD29CA851E7B56E4697B0E1F08507293D761A05CE4D1B628663F411A8086D99'";
const PASSPHRASE: &str = "correct horse battery staple";
const CALLERS: i64 = 64;
const WRITES: i64 = 3_200;
const READS: i64 = 20_000;
const ROUNDS: usize = 5;

fn main() {
    let folder = tempfile::tempdir_in(std::env::var_os("BENCH_DIR").unwrap_or_else(|| std::env::temp_dir().into()));
    let folder = folder.expect("BENCH_DIR must be a folder to write to");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!("fdatasync of 4 KiB: {:.0?} (median of 200)", fdatasync(folder.path()));
    println!("{:<46} {:>12} {:>12} {:>7}  target", "case", "ours", "raw", "ratio");

    let mut fresh = Fresh { folder: folder.path().to_owned(), next: 0 };
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        raw.push(raw_commits(&fresh.path()));
        ours.push(runtime.block_on(grouped_commits(&fresh.path())));
    }
    rate("durable single-row units/s, 64 callers", WRITES, median(ours), median(raw), ">= 8");

    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    let path = fresh.path();
    runtime.block_on(async { fill(&open(&path, RAW_KEY, 1).await).await });
    let db = runtime.block_on(open(&path, RAW_KEY, 2));
    for _ in 0..ROUNDS {
        raw.push(raw_reads(&path));
        ours.push(runtime.block_on(reads(&db)));
    }
    rate("point reads/s through the hop, 1 task", READS, median(ours), median(raw), "");

    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    let waiting = strongroom::blocking::Database::from(db.clone());
    for _ in 0..ROUNDS {
        raw.push(runtime.block_on(reads(&db)));
        ours.push(blocking_reads(&waiting));
    }
    rate("point reads/s, blocking handle / asynchronous", READS, median(ours), median(raw), "");

    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    let path = fresh.path();
    runtime.block_on(async { fill(&open(&path, PASSPHRASE, 1).await).await });
    for _ in 0..ROUNDS {
        raw.push(raw_open(&path));
        let began = Instant::now();
        let db = runtime.block_on(open(&path, PASSPHRASE, 10));
        ours.push(began.elapsed());
        assert_eq!(db.pool_size(), 10);
    }
    let (ours, raw) = (median(ours), median(raw));
    let ratio = ours.as_secs_f64() / raw.as_secs_f64();
    let what = "open 10 connections / one key derivation";
    println!("{what:<46} {ours:>12.1?} {raw:>12.1?} {ratio:>7.2}  <= 1.2");
}

struct Fresh {
    folder: PathBuf,
    next: u32,
}

impl Fresh {
    fn path(&mut self) -> PathBuf {
        self.next += 1;
        self.folder.join(format!("{}.db", self.next))
    }
}

fn rate(what: &str, operations: i64, ours: Duration, raw: Duration, target: &str) {
    let per_second = |time: Duration| operations as f64 / time.as_secs_f64();
    let (ours, raw) = (per_second(ours), per_second(raw));
    println!("{what:<46} {ours:>12.0} {raw:>12.0} {:>7.2}  {target}", ours / raw);
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn fdatasync(folder: &Path) -> Duration {
    let mut file = std::fs::File::create(folder.join("sync")).expect("a file");
    let times = (0..200).map(|_| {
        file.write_all(&[7; 4096]).expect("a write");
        let began = Instant::now();
        file.sync_data().expect("a sync");
        began.elapsed()
    });
    median(times.collect())
}

async fn open(path: &Path, key: &str, size: usize) -> Database {
    let key = KeySource::literal(key);
    Config::sqlite(path).key(key).pool_min_size(size).pool_max_size(10).connect().await.expect("the database opens")
}

async fn fill(db: &Database) {
    db.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, text TEXT NOT NULL)", params![]).await.expect("a table");
    let rows = (0..READS).map(|id| params![id, format!("text {id}")]);
    db.execute_many("INSERT INTO entry (id, text) VALUES ($1, $2)", rows).await.expect("rows");
}

/// 64 tasks that each wait for every row's commit.
async fn grouped_commits(path: &Path) -> Duration {
    let db = open(path, RAW_KEY, 1).await;
    db.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, text TEXT NOT NULL)", params![]).await.expect("a table");
    let began = Instant::now();
    let tasks: Vec<_> = (0..CALLERS)
        .map(|task| {
            let db = db.clone();
            tokio::spawn(async move {
                for i in 0..WRITES / CALLERS {
                    let id = task * WRITES + i;
                    let insert = "INSERT INTO entry (id, text) VALUES ($1, $2)";
                    db.execute(insert, params![id, "some text"]).await.expect("a row");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    began.elapsed()
}

fn raw(path: &Path, key: &str) -> Connection {
    let db = Connection::open(path).expect("the database opens");
    let key = if key.starts_with('x') { format!("\"{key}\"") } else { format!("'{key}'") };
    db.execute_batch(&format!(
        "PRAGMA key = {key}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16384;"
    ))
    .expect("PRAGMAs");
    db
}

/// One commit each, in one thread.
fn raw_commits(path: &Path) -> Duration {
    let db = raw(path, RAW_KEY);
    db.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, text TEXT NOT NULL)", []).expect("a table");
    let mut insert = db.prepare("INSERT INTO entry (id, text) VALUES (?1, ?2)").expect("a statement");
    let began = Instant::now();
    for id in 0..WRITES {
        insert.execute((id, "some text")).expect("a row");
    }
    began.elapsed()
}

async fn reads(db: &Database) -> Duration {
    let began = Instant::now();
    for id in 0..READS {
        let row = db.fetch_one("SELECT text FROM entry WHERE id = $1", params![id * 7 % READS]).await.expect("a row");
        assert!(row.get::<String>(0).expect("text").starts_with("text"));
    }
    began.elapsed()
}

fn blocking_reads(db: &strongroom::blocking::Database) -> Duration {
    let began = Instant::now();
    for id in 0..READS {
        let row = db.fetch_one("SELECT text FROM entry WHERE id = $1", params![id * 7 % READS]).expect("a row");
        assert!(row.get::<String>(0).expect("text").starts_with("text"));
    }
    began.elapsed()
}

fn raw_reads(path: &Path) -> Duration {
    let db = raw(path, RAW_KEY);
    let mut select = db.prepare("SELECT text FROM entry WHERE id = ?1").expect("a statement");
    let began = Instant::now();
    for id in 0..READS {
        let text: String = select.query_row([id * 7 % READS], |row| row.get(0)).expect("a row");
        assert!(text.starts_with("text"));
    }
    began.elapsed()
}

fn raw_open(path: &Path) -> Duration {
    let began = Instant::now();
    let db = raw(path, PASSPHRASE);
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).expect("the key fits");
    began.elapsed()
}
