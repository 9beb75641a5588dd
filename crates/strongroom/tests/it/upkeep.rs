//! Backup, another key, and what a database needs from time to time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strongroom::{Config, Database, EncryptionProblem, Error, KeySource, QueryErrorKind, params};

use crate::{Place, RAW_KEY, count, create_entry};

const OTHER_KEY: &str = "x'0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'";
const INSERT: &str = "INSERT INTO entry (id, text) VALUES ($1, $2)";

/// A database with some megabytes in it.
async fn filled(place: &Place) -> Database {
    let db = place.open().await;
    fill(&db).await;
    db
}

async fn fill(db: &Database) {
    create_entry(db).await;
    db.execute_many(INSERT, (0..5_000).map(|id| params![id, format!("{id:0>1000}")])).await.unwrap();
}

async fn integrity(db: &Database) {
    let found: Option<String> = db.fetch_value("PRAGMA integrity_check", params![]).await.unwrap();
    assert_eq!(found.as_deref(), Some("ok"));
    assert!(db.fetch_all("PRAGMA cipher_integrity_check", params![]).await.unwrap().is_empty());
}

/// Under a steady load of writes: the copy ends, is of one moment, and opens with the same key.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_a_copy_of_one_moment_while_others_write() {
    let place = Place::new();
    let db = filled(&place).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let (db, stop) = (db.clone(), Arc::clone(&stop));
        async move {
            let mut next = 10_000;
            while !stop.load(Ordering::Relaxed) {
                // Two rows in one unit: a copy that holds one of them is not of one moment.
                let rows = [params![next, next.to_string()], params![next + 1, (next + 1).to_string()]];
                db.execute_many(INSERT, rows).await.unwrap();
                next += 2;
            }
            next
        }
    });
    let seen = Arc::new(Mutex::new(Vec::new()));
    let copy = place.folder.path().join("copy.db");
    let progress = Arc::clone(&seen);
    db.backup(&copy, move |at| progress.lock().unwrap().push(at)).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let written = writing.await.unwrap();
    assert_eq!(count(&db).await, 5_000 + (written - 10_000));

    let seen = seen.lock().unwrap().clone();
    assert!(
        seen.len() > 1 && seen.last().is_some_and(|last| last.done == last.total && last.total > 1_000),
        "{seen:?}"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let copied = Config::sqlite(&copy).key(KeySource::literal(RAW_KEY)).connect().await.unwrap();
    integrity(&copied).await;
    let copied = count(&copied).await;
    assert!(copied >= 5_000 && copied % 2 == 0, "{copied} rows");
}

#[tokio::test]
async fn a_backup_never_replaces_a_file_and_leaves_nothing_when_it_fails() {
    let place = Place::new();
    let db = filled(&place).await;
    let taken = place.folder.path().join("taken");
    std::fs::write(&taken, "mine").unwrap();
    let error = db.backup(&taken, |_| ()).await.unwrap_err();
    assert!(matches!(&error, Error::Connection { reason, .. } if reason.contains("exists already")), "{error}");
    assert_eq!(std::fs::read(&taken).unwrap(), b"mine");
    let nowhere = place.folder.path().join("no/such/folder");
    assert!(matches!(db.backup(&nowhere, |_| ()).await, Err(Error::Connection { .. })));

    // Dropped in mid-copy: neither the copy nor its draft stays.
    let target = place.folder.path().join("dropped.db");
    let copying = db.backup(&target, |_| std::thread::sleep(Duration::from_millis(50)));
    assert!(tokio::time::timeout(Duration::from_millis(20), copying).await.is_err());
    let left_over = || {
        let entries = std::fs::read_dir(place.folder.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .find(|name| name.starts_with(".strongroom"))
    };
    for _ in 0..200 {
        if left_over().is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((left_over(), target.exists()), (None, false));
}

#[tokio::test]
async fn a_database_in_memory_can_be_backed_up_into_a_plain_file() {
    let place = Place::new();
    let db = Database::connect("sqlite::memory:").await.unwrap();
    fill(&db).await;
    db.backup(place.path(), |_| ()).await.unwrap();
    let copy = Config::sqlite(place.path()).connect().await.unwrap();
    assert_eq!((count(&copy).await, copy.is_encrypted()), (5_000, false));
}

/// Readers and writers work on while the key changes; afterwards only the new one opens the file.
#[tokio::test(flavor = "multi_thread")]
async fn rekey_changes_the_key_under_readers_and_writers() {
    let place = Place::new();
    let db = filled(&place).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4_i64 {
        let (db, stop) = (db.clone(), Arc::clone(&stop));
        tasks.spawn(async move {
            let mut written = 0;
            while !stop.load(Ordering::Relaxed) {
                let id = 10_000 + task * 1_000_000 + written;
                db.execute(INSERT, params![id, format!("{id}")]).await.unwrap();
                assert_eq!(db.fetch_value("SELECT id FROM entry WHERE id = $1", params![id]).await.unwrap(), Some(id));
                written += 1;
            }
            written
        });
    }
    db.rekey(KeySource::literal(OTHER_KEY), |_| ()).await.unwrap();
    db.rekey(KeySource::literal("a passphrase"), |_| ()).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let written: i64 = tasks.join_all().await.into_iter().sum();
    assert!(written > 0);
    assert_eq!(count(&db).await, 5_000 + written);
    integrity(&db).await;
    db.close().await.unwrap();

    let again = Config::sqlite(place.path()).key(KeySource::literal("a passphrase")).connect().await.unwrap();
    assert_eq!(count(&again).await, 5_000 + written);
    again.close().await.unwrap();
    for old in [RAW_KEY, OTHER_KEY] {
        let error = Config::sqlite(place.path()).key(KeySource::literal(old)).connect().await.unwrap_err();
        assert!(
            matches!(error, Error::Encryption { problem: EncryptionProblem::WrongKeyOrDamaged, .. }),
            "{old}: {error}"
        );
    }
}

#[tokio::test]
async fn rekey_is_refused_while_another_process_uses_the_file_and_the_old_key_stays() {
    let place = Place::new();
    let db = filled(&place).await;
    // As another process would: connections of its own to the same file.
    let other = place.config().connect().await.unwrap();
    assert_eq!(count(&other).await, 5_000);
    let error = db.rekey(KeySource::literal(OTHER_KEY), |_| ()).await.unwrap_err();
    assert_eq!(error.query_kind(), Some(QueryErrorKind::Busy), "{error}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
    db.execute(INSERT, params![-1, "still there"]).await.unwrap();
    assert_eq!((count(&db).await, count(&other).await), (5_001, 5_001));
    other.close().await.unwrap();
    db.rekey(KeySource::literal(OTHER_KEY), |_| ()).await.unwrap();
    assert_eq!(count(&db).await, 5_001);
}

#[tokio::test]
async fn while_a_rekey_waits_for_its_turn_the_session_before_it_may_read_beside() {
    let place = Place::new();
    let db = filled(&place).await;
    let mut session = db.session().await.unwrap();
    session.execute(INSERT, params![-1, "mine"]).await.unwrap();
    let rekeying = tokio::spawn({
        let db = db.clone();
        async move { db.rekey(KeySource::literal(OTHER_KEY), |_| ()).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let counted = tokio::time::timeout(Duration::from_secs(5), count(&db)).await;
    assert_eq!(counted.expect("readers are not held up yet"), 5_000);
    session.commit().await.unwrap();
    rekeying.await.unwrap().unwrap();
    assert_eq!(count(&db).await, 5_001);
}

/// A copy that cannot be written, or a key that cannot be had, changes nothing.
#[tokio::test]
async fn a_rekey_that_fails_leaves_file_and_key_as_they_were() {
    let place = Place::new();
    let db = filled(&place).await;
    let error = db.rekey(KeySource::env("STRONGROOM_TEST_NO_SUCH_KEY"), |_| ()).await.unwrap_err();
    assert!(matches!(error, Error::Credential { .. }), "{error}");
    let error = db.encrypt(KeySource::literal(OTHER_KEY)).await.unwrap_err();
    assert!(error.to_string().contains("Database::rekey"), "{error}");

    let Some(disk) = crate::faults::SmallDisk::mount("64m") else { return };
    let full = disk.config().connect().await.unwrap();
    fill(&full).await;
    full.checkpoint().await.unwrap();
    // Room for half of a copy is left.
    let taken = std::fs::metadata(disk.path()).unwrap().len() as usize * 3 / 2;
    std::fs::write(disk.path().with_file_name("ballast"), vec![0; (64 << 20) - taken]).unwrap();
    let error = full.rekey(KeySource::literal(OTHER_KEY), |_| ()).await.unwrap_err();
    assert_eq!(error.query_kind(), Some(QueryErrorKind::Full), "{error}");
    for db in [db, full] {
        db.execute(INSERT, params![-1, "still there"]).await.unwrap();
        assert_eq!(count(&db).await, 5_001);
        integrity(&db).await;
    }
}

#[tokio::test]
async fn a_plain_file_can_be_encrypted_and_keeps_what_it_holds() {
    let place = Place::new();
    let db = Config::sqlite(place.path()).connect().await.unwrap();
    fill(&db).await;
    db.execute_script(
        "CREATE INDEX entry_length ON entry (length(text));
         CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, note TEXT);
         INSERT INTO counted (note) VALUES ('a'), ('b');
         DELETE FROM counted;",
    )
    .await
    .unwrap();
    let error = db.rekey(KeySource::literal(RAW_KEY), |_| ()).await.unwrap_err();
    assert!(error.to_string().contains("Database::encrypt"), "{error}");
    db.encrypt(KeySource::literal(RAW_KEY)).await.unwrap();
    assert!(db.is_encrypted());
    assert_eq!(count(&db).await, 5_000);
    db.execute("INSERT INTO counted (note) VALUES ('c')", params![]).await.unwrap();
    assert_eq!(db.fetch_value("SELECT id FROM counted", params![]).await.unwrap(), Some(3_i64));
    integrity(&db).await;
    db.close().await.unwrap();
    assert!(!std::fs::read(place.path()).unwrap().starts_with(b"SQLite format 3"));
    let again = place.open().await;
    assert_eq!(count(&again).await, 5_000);
    let indexes: Option<i64> =
        again.fetch_value("SELECT count(*) FROM sqlite_schema WHERE name = 'entry_length'", params![]).await.unwrap();
    assert_eq!(indexes, Some(1));
}

#[cfg(unix)]
#[tokio::test]
async fn rekey_keeps_the_files_mode_and_a_symbolic_link() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    filled(&place).await.close().await.unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
    let link = place.folder.path().join("link.db");
    std::os::unix::fs::symlink(place.path(), &link).unwrap();
    let db = Config::sqlite(&link).key(KeySource::literal(RAW_KEY)).connect().await.unwrap();
    db.rekey(KeySource::literal(OTHER_KEY), |_| ()).await.unwrap();
    assert_eq!(count(&db).await, 5_000);
    assert!(link.is_symlink());
    assert_eq!(std::fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o640);
}

#[tokio::test]
async fn vacuum_shrinks_the_file_checkpoint_empties_the_log_and_optimize_runs() {
    let place = Place::new();
    let db = filled(&place).await;
    assert!(db.checkpoint().await.unwrap());
    assert_eq!(db.stats().log_bytes, 0);
    let full = std::fs::metadata(place.path()).unwrap().len();
    db.execute("DELETE FROM entry WHERE id > 10", params![]).await.unwrap();
    let snapshot = db.read_session().await.unwrap();
    db.execute(INSERT, params![-1, "newer"]).await.unwrap();
    assert!(!db.checkpoint().await.unwrap(), "a snapshot keeps part of the log");
    drop(snapshot);
    db.vacuum().await.unwrap();
    db.optimize().await.unwrap();
    while !db.checkpoint().await.unwrap() {
        // The snapshot's end is seen by its thread a moment later.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(std::fs::metadata(place.path()).unwrap().len() < full / 10);
    assert_eq!(count(&db).await, 12);
    integrity(&db).await;
}

#[tokio::test]
async fn a_script_takes_effect_as_a_whole_or_not_at_all() {
    for (db, _place) in crate::all().await {
        db.execute_script("INSERT INTO entry (id) VALUES (1); UPDATE entry SET text = 'a;b'; -- the end\n")
            .await
            .unwrap();
        let error = db.execute_script("INSERT INTO entry (id) VALUES (2); INSERT INTO entry (id) VALUES (1)").await;
        assert!(error.unwrap_err().is_unique_violation());
        for (script, kind) in [
            ("INSERT INTO entry (id) VALUES (3); SELEC 1", QueryErrorKind::Syntax),
            ("INSERT INTO entry (id) VALUES ($1)", QueryErrorKind::Parameters),
        ] {
            assert_eq!(db.execute_script(script).await.unwrap_err().query_kind(), Some(kind), "{script}");
        }
        let refused = db.execute_script("INSERT INTO entry (id) VALUES (4); COMMIT").await.unwrap_err();
        assert!(matches!(refused, Error::Transaction { .. }), "{refused}");
        assert_eq!(count(&db).await, 1);
        let mut session = db.session().await.unwrap();
        session.execute_script("INSERT INTO entry (id) VALUES (5); INSERT INTO entry (id) VALUES (6)").await.unwrap();
        drop(session);
        assert_eq!(count(&db).await, 1);
    }
}
