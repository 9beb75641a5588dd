//! The blocking surface: as complete as the asynchronous one, without a runtime, on any thread but a task's.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use strongroom::blocking::{self, Database};
use strongroom::{Batch, Config, Error, KeySource, QueryErrorKind, params};

use crate::Place;

const INSERT: &str = "INSERT INTO entry (id, text) VALUES ($1, $2)";

fn open(place: &Place) -> Database {
    let db = place.config().connect_blocking().unwrap();
    create_entry(&db);
    db
}

fn create_entry(db: &Database) {
    db.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, text TEXT UNIQUE)", params![]).unwrap();
}

fn count(db: &Database) -> i64 {
    db.fetch_value("SELECT count(*) FROM entry", params![]).unwrap().unwrap()
}

/// An encrypted file and a database in memory, each with a table `entry`.
fn both() -> [(Database, Option<Place>); 2] {
    let place = Place::new();
    let file = open(&place);
    let memory = Database::connect("sqlite::memory:").unwrap();
    create_entry(&memory);
    [(file, Some(place)), (memory, None)]
}

/// Neither surface has a public method that the other lacks: the names are read from the sources of both.
#[test]
fn every_method_has_its_blocking_twin() {
    let asynchronous = surface(&["database", "session", "connection", "stream", "statements", "config"]);
    let blocking = ["database", "session", "connection", "statements"].map(|file| format!("blocking/{file}"));
    let blocking = blocking.each_ref().map(String::as_str);
    let blocking = surface(&blocking);
    for name in ["Database", "Session", "Savepoint", "ReadSession", "Connection"] {
        let methods = &asynchronous[name];
        assert!(methods.contains("fetch_one"), "{name}: {methods:?}");
        assert_eq!(*methods, blocking[name], "{name}");
    }
    // A stream has its one method from `Iterator`.
    assert_eq!(asynchronous["RowStream"], BTreeSet::from(["next".to_owned()]));
    // A setting waits for nothing; what does has a twin beside it.
    let waiting: BTreeSet<_> = asynchronous["Config"].iter().filter(|name| name.starts_with("connect")).collect();
    let settings =
        ["connect", "connect_attempts", "connect_delay", "connect_one", "connect_timeout"].map(str::to_owned);
    assert_eq!(waiting, settings.iter().collect());
    let twins = std::fs::read_to_string(sources().join("blocking.rs")).unwrap();
    for name in ["connect", "connect_one"] {
        assert!(twins.contains(&format!("pub fn {name}_blocking(self)")), "{name}");
    }
}

/// No type but those compared above has methods to be awaited, the pool aside: it is not of databases.
#[test]
fn no_other_type_is_asynchronous() {
    let mut found = BTreeSet::new();
    for file in std::fs::read_dir(sources()).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_some_and(|extension| extension == "rs") && name != "pool" {
            let text = std::fs::read_to_string(&path).unwrap();
            let awaited = |line: &str| line.trim_start().starts_with("pub async fn") || line.contains("-> impl Future");
            if text.lines().any(|line| awaited(line) && !line.contains("pub(crate)")) {
                found.insert(name);
            }
        }
    }
    let compared = ["config", "connection", "database", "session", "statements", "stream"];
    // `link` holds what macros write into those; `fn` there is private.
    let compared: BTreeSet<_> = compared.into_iter().chain(["link"]).map(str::to_owned).collect();
    assert!(found.is_subset(&compared), "{found:?}");
}

fn sources() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The public methods of each type, those that the macros of `statements` write included.
fn surface(files: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let mut types: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut uses = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(sources().join(file).with_extension("rs")).unwrap();
        let mut owner = String::new();
        for line in text.lines() {
            let word = |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned();
            let code = line.trim_start();
            if let Some(block) = line.strip_prefix("impl") {
                let block = block.strip_prefix("<'s>").or(block.strip_prefix("<'a>")).unwrap_or(block);
                owner = word(block.trim_start());
            } else if let Some(name) = line.strip_prefix("macro_rules! ") {
                owner = word(name);
            } else if let Some(method) = code.strip_prefix("pub async fn ").or(code.strip_prefix("pub fn ")) {
                types.entry(owner.clone()).or_default().insert(word(method));
            } else if let Some((name, _)) = code.split_once("_methods!(") {
                uses.push((owner.clone(), format!("{name}_methods")));
            }
        }
    }
    for (user, written) in uses {
        let methods = types[&written].clone();
        types.entry(user).or_default().extend(methods);
    }
    types
}

#[test]
fn statements_rows_batches_and_snapshots_work_without_a_runtime() {
    for (db, _place) in both() {
        assert_eq!(db.execute(INSERT, params![1, "a"]).unwrap(), 1);
        assert_eq!(db.execute_many(INSERT, [params![2, "b"], params![3, "c"]]).unwrap(), 2);
        let batch = Batch::new().then(INSERT, params![4, "d"]).then("DELETE FROM entry WHERE id < $1", params![3]);
        assert_eq!(db.batch(batch).unwrap(), [1, 2]);
        db.execute_script("CREATE TABLE other (id INTEGER); INSERT INTO other VALUES (1)").unwrap();
        assert!(db.table_exists("other").unwrap());
        assert!(db.execute(INSERT, params![4, "again"]).unwrap_err().is_unique_violation());
        let text = |id: i64| db.fetch_one("SELECT text FROM entry WHERE id = $1", params![id]);
        assert_eq!(text(4).unwrap().get::<String>(0).unwrap(), "d");
        assert!(matches!(text(5), Err(Error::NoRow)));
        assert!(db.fetch_optional("SELECT id FROM entry WHERE id = 5", params![]).unwrap().is_none());
        assert_eq!(db.fetch_all("SELECT id FROM entry", params![]).unwrap().len(), 2);
        let mut view = db.read_session().unwrap();
        assert_eq!(view.fetch_value::<i64>("SELECT count(*) FROM entry", params![]).unwrap(), Some(2));
        let error = view.fetch_all("DELETE FROM entry RETURNING id", params![]).unwrap_err();
        assert_eq!(error.query_kind(), Some(QueryErrorKind::ReadOnly));
        drop(view);
        let mut pinned = db.connection().unwrap();
        pinned.execute(INSERT, params![5, "e"]).unwrap();
        pinned.close().unwrap();
        assert!(db.check().is_ok());
    }
}

#[test]
fn rows_are_read_as_they_are_asked_for_and_end_with_their_first_error() {
    for (db, _place) in both() {
        let long = "x".repeat(1_000);
        db.execute_many(INSERT, (0..10_000).map(|id| params![id, format!("{id} {long}")])).unwrap();
        let ids =
            db.fetch("SELECT id FROM entry ORDER BY id", params![]).map(|row| row.unwrap().get::<i64>(0).unwrap());
        assert!(ids.eq(0..10_000));
        // Left early, the query is stopped and its connection free.
        for _ in 0..20 {
            assert_eq!(db.fetch("SELECT id, text FROM entry", params![]).take(3).count(), 3);
        }
        let failing =
            "SELECT CASE id WHEN 5000 THEN abs(-9223372036854775808) ELSE id END, text FROM entry ORDER BY id";
        let mut rows = db.fetch(failing, params![]);
        let error = rows.by_ref().find_map(Result::err).unwrap();
        assert!(matches!(error, Error::Query { .. }), "{error}");
        assert!(rows.next().is_none());
    }
}

/// A session is dropped by leaving its scope, by a panic, and on another thread than it was opened on.
#[test]
fn a_dropped_session_or_savepoint_is_rolled_back() {
    for (db, _place) in both() {
        let mut session = db.session().unwrap();
        session.execute(INSERT, params![1, "a"]).unwrap();
        drop(session);
        let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let mut session = db.session().unwrap();
            session.execute(INSERT, params![1, "a"]).unwrap();
            std::panic::resume_unwind(Box::new("on purpose"));
        }));
        assert!(panicked.is_err());
        let mut session = db.session().unwrap();
        session.execute(INSERT, params![1, "a"]).unwrap();
        std::thread::spawn(move || drop(session)).join().unwrap();
        assert_eq!(count(&db), 0);

        let mut session = db.session().unwrap();
        session.execute(INSERT, params![1, "a"]).unwrap();
        let mut point = session.savepoint().unwrap();
        assert!(point.execute(INSERT, params![1, "again"]).unwrap_err().is_unique_violation());
        drop(point);
        let mut point = session.savepoint().unwrap();
        point.execute(INSERT, params![2, "b"]).unwrap();
        let mut inner = point.savepoint().unwrap();
        inner.execute(INSERT, params![3, "c"]).unwrap();
        inner.rollback().unwrap();
        point.release().unwrap();
        session.commit().unwrap();
        assert_eq!(count(&db), 2);
    }
}

#[test]
fn a_transaction_borrows_commits_and_is_rolled_back_on_an_error_and_on_a_panic() {
    for (db, _place) in both() {
        let mut runs = 0;
        let affected = db.transaction(|session| {
            runs += 1;
            session.execute(INSERT, params![1, "a"])
        });
        assert_eq!((affected.unwrap(), runs), (1, 1));
        let failed: Result<(), Box<dyn std::error::Error>> = db.transaction(|session| {
            session.execute(INSERT, params![2, "b"])?;
            Err("not today".into())
        });
        assert_eq!(failed.unwrap_err().to_string(), "not today");
        let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| {
            db.transaction(|session| -> strongroom::Result<()> {
                session.execute(INSERT, params![3, "c"])?;
                std::panic::resume_unwind(Box::new("on purpose"));
            })
        }));
        assert!(panicked.is_err());
        // An error that is no conflict is not tried again.
        let failed = db.transaction(|session| {
            runs += 1;
            session.execute(INSERT, params![1, "again"])
        });
        assert!(failed.unwrap_err().is_unique_violation());
        assert_eq!((count(&db), runs), (1, 2));
    }
}

/// Whatever stands next to a transaction in the writer's queue, each one takes effect once.
#[test]
fn a_transaction_is_done_again_when_another_one_rolled_it_back() {
    let place = Place::new();
    let db = open(&place);
    db.execute(INSERT, params![0, "taken"]).unwrap();
    std::thread::scope(|scope| {
        let spoiler = scope.spawn(|| {
            for _ in 0..200 {
                let spoiled = db.execute("INSERT OR ROLLBACK INTO entry (id, text) VALUES (0, 'again')", params![]);
                assert!(spoiled.unwrap_err().is_unique_violation());
            }
        });
        for id in 1..=200 {
            db.transaction(|session| session.execute(INSERT, params![id, format!("{id}")])).unwrap();
        }
        spoiler.join().unwrap();
    });
    assert_eq!(count(&db), 201);
}

/// On both flavors of runtime, in the root future and in a spawned task; then on the threads that may block.
#[test]
fn a_call_inside_a_task_is_refused_and_one_on_a_thread_made_for_blocking_is_not() {
    let place = Place::new();
    let db = open(&place);
    let single = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let several = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut session = db.session().unwrap();
    session.execute(INSERT, params![1, "kept"]).unwrap();
    for runtime in [&single, &several] {
        let refused = {
            let db = db.clone();
            move || {
                let refused = |error: Error| assert!(matches!(error, Error::BlockingInTask), "{error}");
                refused(db.execute(INSERT, params![2, "b"]).unwrap_err());
                refused(db.transaction(|session| session.execute(INSERT, params![2, "b"])).unwrap_err());
                refused(db.session().map(drop).unwrap_err());
                refused(Database::connect("sqlite::memory:").unwrap_err());
                refused(db.close().unwrap_err());
                refused(db.check().failure().unwrap().clone());
                let mut rows = db.fetch("SELECT id FROM entry", params![]);
                refused(rows.next().unwrap().unwrap_err());
                assert!(rows.next().is_none());
            }
        };
        runtime.block_on(async {
            refused();
            // A task that asks again and again has not spent its budget by asking.
            (0..100).for_each(|_| refused());
            let task = tokio::spawn(async move { refused() });
            task.await.unwrap();
            assert!(matches!(session.execute(INSERT, params![2, "b"]), Err(Error::BlockingInTask)));
            let db = db.clone();
            let counted = tokio::task::spawn_blocking(move || count(&db)).await.unwrap();
            assert_eq!(counted, 0, "the session is open");
        });
        let _entered = runtime.enter();
        assert_eq!(count(&db), 0);
    }
    session.commit().unwrap();
    let kept =
        several.block_on(async { tokio::spawn(async move { tokio::task::block_in_place(|| count(&db)) }).await });
    assert_eq!(kept.unwrap(), 1);
}

/// A session that a task drops, or is refused to commit, is rolled back like any other.
#[tokio::test]
async fn a_blocking_session_may_be_dropped_inside_a_task() {
    let place = Place::new();
    let db = place.open().await;
    crate::create_entry(&db).await;
    let waiting = Database::from(db.clone());
    let open = move || {
        let mut session = waiting.session().unwrap();
        session.execute(INSERT, params![1, "a"]).unwrap();
        session
    };
    drop(tokio::task::spawn_blocking(open.clone()).await.unwrap());
    let session = tokio::task::spawn_blocking(open).await.unwrap();
    assert!(matches!(session.commit(), Err(Error::BlockingInTask)));
    assert_eq!(crate::count(&db).await, 0);
}

#[test]
fn sixteen_threads_do_mixed_work_on_one_handle() {
    const THREADS: i64 = 16;
    const EACH: i64 = 60;
    for (db, _place) in both() {
        let rolled_back = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (db, rolled_back) = (db.clone(), &rolled_back);
                scope.spawn(move || {
                    for id in (0..EACH).map(|i| thread * EACH + i) {
                        let text = format!("text {id}");
                        match id % 6 {
                            0 => db.execute(INSERT, params![id, text]).map(drop).unwrap(),
                            1 => {
                                db.transaction(|session| session.execute(INSERT, params![id, &text])).map(drop).unwrap()
                            }
                            2 => {
                                let mut session = db.session().unwrap();
                                session.execute(INSERT, params![id, text]).unwrap();
                                rolled_back.fetch_add(1, Ordering::Relaxed);
                            }
                            3 => {
                                let mut pinned = db.connection().unwrap();
                                pinned.execute(INSERT, params![id, text]).unwrap();
                            }
                            4 => {
                                db.batch(Batch::new().then(INSERT, params![id, text])).unwrap();
                                let rows = db.fetch("SELECT id FROM entry ORDER BY id DESC", params![]);
                                assert!(rows.take(2).all(|row| row.is_ok()));
                            }
                            _ => {
                                let mut view = db.read_session().unwrap();
                                let sql = "SELECT count(*) FROM entry";
                                let before: i64 = view.fetch_value(sql, params![]).unwrap().unwrap();
                                drop(view);
                                db.execute_many(INSERT, [params![id, text]]).unwrap();
                                assert!(count(&db) > before);
                            }
                        }
                        let seen = db.fetch_optional("SELECT text FROM entry WHERE id = $1", params![id]).unwrap();
                        assert_eq!(seen.is_none(), id % 6 == 2);
                    }
                });
            }
        });
        assert_eq!(count(&db), THREADS * EACH - i64::from(rolled_back.load(Ordering::Relaxed)));
        db.close().unwrap();
        assert!(matches!(db.execute(INSERT, params![-1, "late"]), Err(Error::Closed)));
    }
}

#[test]
fn whoever_waits_in_vain_is_told_the_line_that_called() {
    let place = Place::new();
    let db = place.config().acquire_timeout(Duration::from_secs(1)).connect_blocking().unwrap();
    create_entry(&db);
    let session = db.session().unwrap();
    let error = db.execute(INSERT, params![1, "a"]).unwrap_err();
    assert!(error.to_string().contains("it/blocking.rs"), "{error}");
    drop(session);
    let mut views = Vec::new();
    let error = loop {
        match db.read_session() {
            Ok(view) => views.push(view),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::PoolExhausted { .. }) && error.to_string().contains("it/blocking.rs"), "{error}");
}

/// The file is whole and without a log when the last handle, of either kind, is gone.
#[test]
fn dropping_the_last_handle_closes_the_database() {
    let place = Place::new();
    let db = open(&place);
    db.execute(INSERT, params![1, "a"]).unwrap();
    let log = place.path().with_extension("db-wal");
    let shared = strongroom::Database::from(db.clone());
    drop(db);
    assert!(log.exists());
    drop(shared);
    assert!(!log.exists());
    assert_eq!(count(&place.config().connect_blocking().unwrap()), 1);
}

#[test]
fn upkeep_waits_until_it_is_done() {
    let place = Place::new();
    let db = open(&place);
    db.execute(INSERT, params![1, "a"]).unwrap();
    let copy = place.path().with_file_name("copy.db");
    db.backup(&copy, drop).unwrap();
    db.vacuum().unwrap();
    db.optimize().unwrap();
    assert!(db.checkpoint().unwrap());
    db.rekey(KeySource::literal("another"), drop).unwrap();
    assert!(matches!(db.encrypt(KeySource::literal("third")), Err(Error::Config { .. })));
    assert!(db.is_encrypted() && db.pool_size() > 0 && db.stats().commits > 0);
    db.close().unwrap();
    let mut one = Config::sqlite(place.path()).key(KeySource::literal("another")).connect_one_blocking().unwrap();
    assert_eq!(one.fetch_value::<i64>("SELECT count(*) FROM entry", params![]).unwrap(), Some(1));
    let copied = Config::sqlite(copy).key(KeySource::literal(crate::RAW_KEY)).connect_blocking().unwrap();
    assert_eq!(count(&copied), 1);
}

/// For code that has no handle of this crate's in sight.
#[test]
fn a_future_that_uses_the_handle_can_be_waited_for() {
    let place = Place::new();
    let db = strongroom::Database::from(open(&place));
    let counted = blocking::wait(async {
        let spawned = tokio::spawn({
            let db = db.clone();
            async move { db.execute(INSERT, params![1, "a"]).await }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        spawned.await.unwrap()?;
        // A blocking call below a future that is waited for is one inside a task.
        assert!(matches!(Database::from(db.clone()).close(), Err(Error::BlockingInTask)));
        Ok::<_, Error>(crate::count(&db).await)
    });
    assert_eq!(counted.unwrap(), 1);
}

/// A handle that is dropped right behind its sessions leaves nothing to be closed when the process ends.
#[test]
fn dropping_the_last_handle_closes_behind_sessions_dropped_before_and_leaves_those_that_live() {
    for _ in 0..20 {
        let place = Place::new();
        let db = open(&place);
        let log = place.path().with_extension("db-wal");
        let views = [db.read_session().unwrap(), db.read_session().unwrap()];
        let mut session = db.session().unwrap();
        session.execute(INSERT, params![1, "a"]).unwrap();
        drop((views, session, db));
        assert!(!log.exists());
        let one = place.config().connect_one_blocking().unwrap();
        assert!(log.exists());
        drop(one);
        assert!(!log.exists());
    }
    let place = Place::new();
    let db = open(&place);
    let mut session = db.session().unwrap();
    drop(db);
    session.execute(INSERT, params![1, "a"]).unwrap();
    session.commit().unwrap();
}
