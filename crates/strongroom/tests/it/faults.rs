//! Disks that are full, folders that are read-only, files that move: it is said, and nothing is lost.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use strongroom::{Config, Error, KeySource, QueryErrorKind, params};

use crate::{Place, RAW_KEY, count, create_entry};

/// A file system of its own in memory, of a fixed size; unmounted when dropped.
pub(crate) struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// None, and the test skipped, when this user may not mount.
    pub(crate) fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            test_servers::needs::skip("the right to mount a file system (root)");
            return None;
        }
        Some(SmallDisk { folder })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("test.db")
    }

    pub(crate) fn config(&self) -> Config {
        Config::sqlite(self.path()).key(KeySource::literal(RAW_KEY))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Detached even while files are open; a mount left behind would be the test machine's problem, not the test's.
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_says_so_keeps_what_was_acknowledged_and_goes_on_when_there_is_room() {
    let Some(disk) = SmallDisk::mount("4m") else { return };
    let db = disk.config().connect().await.unwrap();
    create_entry(&db).await;
    let ballast = disk.folder.path().join("ballast");
    std::fs::write(&ballast, vec![0; 1024 * 1024]).unwrap();

    let mut acknowledged = 0;
    let error = loop {
        let row = params![acknowledged, format!("{acknowledged:0>2000}")];
        match db.execute("INSERT INTO entry (id, text) VALUES ($1, $2)", row).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 4000, "the disk never fills up");
    };
    assert_eq!(error.query_kind(), Some(QueryErrorKind::Full), "{error}");
    assert!(error.to_string().starts_with("disk full"), "{error}");
    assert_eq!(count(&db).await, acknowledged);

    std::fs::remove_file(&ballast).unwrap();
    db.execute("INSERT INTO entry (id) VALUES ($1)", params![-1]).await.unwrap();
    db.close().await.unwrap();
    let db = disk.config().connect().await.unwrap();
    assert_eq!(count(&db).await, acknowledged + 1);
    assert_eq!(db.fetch_value::<String>("PRAGMA integrity_check", params![]).await.unwrap().as_deref(), Some("ok"));
    assert!(db.fetch_all("PRAGMA cipher_integrity_check", params![]).await.unwrap().is_empty());
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_read_only_file_system_is_named_as_the_reason() {
    let Some(disk) = SmallDisk::mount("4m") else { return };
    let db = disk.config().connect().await.unwrap();
    create_entry(&db).await;
    db.close().await.unwrap();
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(disk.folder.path()).status().unwrap();
    assert!(remounted.success());
    let error = disk.config().connect().await.unwrap_err();
    assert!(error.to_string().contains("must be writable"), "{error}");
    let missing = Config::sqlite(disk.folder.path().join("new.db")).connect().await.unwrap_err();
    assert!(missing.to_string().contains("cannot be created (read-only filesystem"), "{missing}");
}

#[tokio::test]
async fn a_missing_folder_and_a_folder_in_the_files_place_are_named() {
    let place = Place::new();
    let error = Config::sqlite(place.folder.path().join("no/such.db")).connect().await.unwrap_err();
    assert!(error.to_string().contains("its folder does not exist"), "{error}");
    let error = Config::sqlite(place.folder.path()).connect().await.unwrap_err();
    assert!(error.to_string().contains("is not a regular file"), "{error}");
}

#[tokio::test]
async fn a_file_moved_deleted_or_replaced_while_open_is_noticed_before_a_write_is_acknowledged() {
    for case in ["moved", "deleted", "replaced"] {
        let place = Place::new();
        let db = place.open().await;
        create_entry(&db).await;
        db.execute("INSERT INTO entry (id) VALUES (1)", params![]).await.unwrap();
        let mut session = db.session().await.unwrap();
        session.execute("INSERT INTO entry (id) VALUES (2)", params![]).await.unwrap();
        let aside = place.folder.path().join("aside.db");
        match case {
            "moved" => std::fs::rename(place.path(), &aside).unwrap(),
            "deleted" => std::fs::remove_file(place.path()).unwrap(),
            _ => {
                std::fs::rename(place.path(), &aside).unwrap();
                std::fs::write(place.path(), b"something else").unwrap();
            }
        }
        let expected = if case == "replaced" { "replaced by another file" } else { "moved or deleted" };
        let at_commit = session.commit().await.unwrap_err();
        assert!(at_commit.to_string().contains(expected), "{case}: {at_commit}");
        let at_write = db.execute("INSERT INTO entry (id) VALUES (3)", params![]).await.unwrap_err();
        assert!(matches!(&at_write, Error::Connection { .. }), "{case}: {at_write}");
        let at_read = db.fetch_one("SELECT 1", params![]).await.unwrap_err();
        assert!(matches!(&at_read, Error::Connection { .. }), "{case}: {at_read}");
        if case != "deleted" {
            std::fs::rename(&aside, place.path()).unwrap();
            // Put back, it goes on: nothing was written meanwhile, and no reader was bound to the other file.
            db.execute("INSERT INTO entry (id) VALUES (4)", params![]).await.unwrap();
            assert_eq!(count(&db).await, 2);
        }
    }
}

#[tokio::test]
async fn another_processes_lock_is_waited_for_and_then_named() {
    let place = Place::new();
    let one = place.open().await;
    let other = place.config().acquire_timeout(Duration::from_secs(1)).connect().await.unwrap();
    create_entry(&one).await;
    let holding = one.session().await.unwrap();
    let error = other.execute("INSERT INTO entry (id) VALUES (1)", params![]).await.unwrap_err();
    assert_eq!(error.query_kind(), Some(QueryErrorKind::Busy), "{error}");
    assert!(error.to_string().starts_with("locked by another process"), "{error}");
    drop(holding);
    other.execute("INSERT INTO entry (id) VALUES (1)", params![]).await.unwrap();
    assert_eq!(count(&one).await, 1);
}

#[tokio::test]
async fn a_process_that_ends_right_after_its_last_statement_ends_in_order() {
    // SQLCipher gives its state away when the process ends; a connection that is just being closed must not need it.
    let place = Place::new();
    for round in 0..40 {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "faults::child_that_ends_at_once"])
            .env("STRONGROOM_CHILD", place.path())
            .output()
            .unwrap();
        assert!(child.status.success(), "round {round}: {:?}", child.status);
    }
}

/// What the one above starts in a process of its own; does nothing otherwise.
#[test]
fn child_that_ends_at_once() {
    let Some(path) = std::env::var_os("STRONGROOM_CHILD") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let key = KeySource::literal(RAW_KEY);
        let db = Config::sqlite(path).key(key).pool_min_size(10).connect().await.unwrap();
        db.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER)", params![]).await.unwrap();
        db.fetch_all("SELECT id FROM t", params![]).await.unwrap();
    });
    std::process::exit(0);
}

#[tokio::test]
async fn opening_behind_another_processes_lock_is_bounded_for_every_caller() {
    let place = Place::new();
    let db = place.open().await;
    create_entry(&db).await;
    db.close().await.unwrap();
    // Another program in its exclusive mode, on the plain file format of locks.
    let locking = rusqlite::Connection::open(place.path()).unwrap();
    locking
        .execute_batch(&format!("PRAGMA key = \"{RAW_KEY}\"; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE"))
        .unwrap();
    let late = place.config().acquire_timeout(Duration::from_secs(1)).open().unwrap();
    let began = std::time::Instant::now();
    let callers: Vec<_> = (0..5)
        .map(|_| {
            let late = late.clone();
            tokio::spawn(async move { late.fetch_one("SELECT 1", params![]).await })
        })
        .collect();
    for caller in callers {
        assert!(caller.await.unwrap().is_err());
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}
