//! Cancel safety, proven for each public async method on the real engine: its future is dropped at each await point, and
//! afterwards nothing of it is left but what was to be stored, and that as a whole.
//!
//! A future is polled only when it was woken, so that the *n*th poll is the *n*th step of its life. It is dropped after each
//! step, at once (the engine is at work) and when the next one could be made (the answer is there and was not heard); and
//! where others have the writer and the readers, before and after these are free.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use strongroom::{Batch, Config, Connection, Database, Error, KeySource, Params, Result, RowStream, Session, params};
use tokio::sync::Notify;

use crate::{Place, RAW_KEY, Server};

const OTHER_KEY: &str = "x'0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'";

/// A unit always writes two rows.
const PIECES: i64 = 2;
const INSERT: &str = "INSERT INTO piece (unit, part) VALUES ($1, 1), ($1, 2)";
const INSERT_ONE: &str = "INSERT INTO piece (unit, part) VALUES ($1, $2)";
const RETURNING: &str = "INSERT INTO piece (unit, part) VALUES ($1, 1), ($1, 2) RETURNING part";

/// Long enough for a shared machine; nothing here takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Steps that a future makes at most; more would be a loop.
const MOST_POLLS: usize = 60;

/// What a method is tried on.
#[derive(Clone)]
struct Stage {
    db: Database,
    /// Where the file is; none in memory.
    place: Option<Arc<Place>>,
    /// The unit that this run writes.
    unit: i64,
}

/// When a future is dropped.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// After so many polls, at once.
    After(usize),
    /// After so many polls, when it was woken for the next one.
    Woken(usize),
    /// After one poll, while somebody else has the writer and the readers.
    Queued,
    /// As before, but the others are gone and it was woken.
    Served,
}

/// What a run has left, as far as the method says.
struct Left {
    completed: bool,
    pieces: Pieces,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Pieces {
    None,
    All,
    AllOrNone,
}

type Run = fn(Stage, Cut) -> Pin<Box<dyn Future<Output = Left> + Send>>;

struct Case {
    name: &'static str,
    /// Whether its first await is the wait for a connection, which others may have.
    queues: bool,
    run: Run,
}

#[derive(Default)]
struct Woken(Notify);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

impl Cut {
    /// Polls the future as far as this says, and drops it. Answers its output if it came so far.
    async fn apply<F: Future>(self, db: &Database, future: F) -> Option<F::Output> {
        let (polls, wakes) = match self {
            Cut::After(polls) => (polls, false),
            Cut::Woken(polls) => (polls, true),
            Cut::Queued => (1, false),
            Cut::Served => (1, true),
        };
        let mut others = None;
        if matches!(self, Cut::Queued | Cut::Served) {
            // In memory there is one connection for both.
            let has_two = is_server(db) || db.stats().log_bytes > 0;
            let reader = if has_two { Some(db.read_session().await.unwrap()) } else { None };
            others = Some((db.session().await.unwrap(), reader));
        }
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut future = Box::pin(future);
        for poll in 1..=polls {
            let outcome = std::future::poll_fn(|_| Poll::Ready(future.as_mut().poll(&mut Context::from_waker(&waker))));
            if let Poll::Ready(output) = outcome.await {
                return Some(output);
            }
            if poll == polls {
                drop(others.take_if(|_| wakes));
            }
            if poll < polls || wakes {
                // What is waited for may need this thread's other tasks.
                let _ = tokio::time::timeout(PATIENCE, woken.0.notified()).await;
            }
        }
        drop(future);
        None
    }
}

impl Left {
    /// After a method that stores.
    fn stored<T>(ended: Option<Result<T>>, cut: Cut) -> Self {
        let pieces = match (&ended, cut) {
            (Some(ended), _) => {
                assert!(ended.is_ok(), "{:?}", ended.as_ref().err());
                Pieces::All
            }
            // Dropped before its turn, it is not run.
            (None, Cut::Queued | Cut::After(0)) => Pieces::None,
            (None, _) => Pieces::AllOrNone,
        };
        Left { completed: ended.is_some(), pieces }
    }

    /// After a method that stores nothing.
    fn nothing<T>(ended: Option<Result<T>>) -> Self {
        if let Some(Err(error)) = &ended {
            panic!("{error:?}");
        }
        Left { completed: ended.is_some(), pieces: Pieces::None }
    }

    /// Whatever the method may have done within a transaction, it was committed.
    fn committed<T>(ended: Option<Result<T>>) -> Self {
        match Self::stored(ended, Cut::Woken(1)) {
            left @ Left { completed: true, .. } => left,
            left => Left { pieces: Pieces::AllOrNone, ..left },
        }
    }
}

/// One line of the table: the method, and a run of it.
macro_rules! case {
    ($cases:ident, $name:expr, |$stage:ident, $cut:ident| $body:block) => {
        case!(@push $cases, $name, false, |$stage, $cut| $body)
    };
    ($cases:ident, $name:expr, queues, |$stage:ident, $cut:ident| $body:block) => {
        case!(@push $cases, $name, true, |$stage, $cut| $body)
    };
    (@push $cases:ident, $name:expr, $queues:expr, |$stage:ident, $cut:ident| $body:block) => {
        $cases.push(Case { name: $name, queues: $queues, run: |$stage, $cut| Box::pin(async move { $body }) })
    };
}

/// The methods that read, on something that `$open` makes. Whatever became of the future, it can be used on.
macro_rules! reading {
    ($cases:ident, $type:literal, $stage:ident, $on:ident, { $($open:stmt;)+ }) => {
        reading!(@one $cases, concat!($type, "::fetch_one"), $stage, $on, { $($open;)+ }, fetch_one);
        reading!(@one $cases, concat!($type, "::fetch_optional"), $stage, $on, { $($open;)+ }, fetch_optional);
        reading!(@one $cases, concat!($type, "::fetch_all"), $stage, $on, { $($open;)+ }, fetch_all);
        reading!(@one $cases, concat!($type, "::fetch_value"), $stage, $on, { $($open;)+ }, fetch_value::<i64>);
        case!($cases, concat!("RowStream::next of ", $type), |$stage, cut| {
            $($open)+
            let rows = $on.fetch("SELECT unit FROM piece", params![]);
            let ended = cut.apply(&$stage.db, to_the_end(rows)).await;
            assert_eq!($on.fetch_value("SELECT 7", params![]).await.unwrap(), Some(7_i64));
            Left::nothing(ended)
        });
    };
    (@one $cases:ident, $name:expr, $stage:ident, $on:ident, { $($open:stmt;)+ }, $($method:tt)+) => {
        case!($cases, $name, |$stage, cut| {
            $($open)+
            let ended = cut.apply(&$stage.db, $on.$($method)+("SELECT count(*) FROM piece", params![])).await;
            assert_eq!($on.fetch_value("SELECT 7", params![]).await.unwrap(), Some(7_i64));
            Left::nothing(ended)
        });
    };
}

/// The methods that write. `$keep` makes the work durable, whatever became of the future.
macro_rules! writing {
    ($cases:ident, $type:literal, $stage:ident, $on:ident, { $($open:stmt;)+ }, $keep:block) => {
        writing!(@one $cases, concat!($type, "::execute"), $stage, $on, { $($open;)+ }, $keep,
            execute(INSERT, params![$stage.unit]));
        writing!(@one $cases, concat!($type, "::execute_many"), $stage, $on, { $($open;)+ }, $keep,
            execute_many(INSERT_ONE, rows($stage.unit)));
        writing!(@one $cases, concat!($type, "::execute_script"), $stage, $on, { $($open;)+ }, $keep,
            execute_script(&script($stage.unit)));
        writing!(@one $cases, concat!($type, "::batch"), $stage, $on, { $($open;)+ }, $keep, batch(batch($stage.unit)));
        writing!(@one $cases, concat!($type, "::fetch_all that writes"), $stage, $on, { $($open;)+ }, $keep,
            fetch_all(RETURNING, params![$stage.unit]));
        case!($cases, concat!("RowStream::next of ", $type, " that writes"), |$stage, cut| {
            $($open)+
            let rows = $on.fetch(RETURNING, params![$stage.unit]);
            let ended = cut.apply(&$stage.db, to_the_end(rows)).await;
            $keep
            Left::committed(ended)
        });
    };
    (@one $cases:ident, $name:expr, $stage:ident, $on:ident, { $($open:stmt;)+ }, $keep:block,
     $method:ident ($($arguments:expr),+)) => {
        case!($cases, $name, |$stage, cut| {
            $($open)+
            let ended = cut.apply(&$stage.db, $on.$method($($arguments),+)).await;
            assert_eq!($on.fetch_value("SELECT 7", params![]).await.unwrap(), Some(7_i64));
            $keep
            Left::committed(ended)
        });
    };
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    of_database(&mut cases);
    of_sessions(&mut cases);
    of_connections(&mut cases);
    of_upkeep(&mut cases);
    cases
}

fn of_database(cases: &mut Vec<Case>) {
    case!(cases, "Database::fetch_one", queues, |stage, cut| {
        Left::nothing(cut.apply(&stage.db, stage.db.fetch_one("SELECT count(*) FROM piece", params![])).await)
    });
    case!(cases, "Database::fetch_optional", queues, |stage, cut| {
        Left::nothing(cut.apply(&stage.db, stage.db.fetch_optional("SELECT unit FROM piece", params![])).await)
    });
    case!(cases, "Database::fetch_all", queues, |stage, cut| {
        // A text that was not seen before: whether it writes must be found out first.
        let sql = format!("SELECT unit, {} FROM piece", stage.unit);
        Left::nothing(cut.apply(&stage.db, stage.db.fetch_all(&sql, params![])).await)
    });
    case!(cases, "Database::fetch_all that writes", queues, |stage, cut| {
        let sql = format!("{RETURNING} AS returned_{}", stage.unit);
        Left::stored(cut.apply(&stage.db, stage.db.fetch_all(&sql, params![stage.unit])).await, cut)
    });
    case!(cases, "Database::copy_in", queues, |stage, cut| {
        let rows = rows(stage.unit);
        Left::stored(cut.apply(&stage.db, stage.db.copy_in("piece", &["unit", "part"], rows)).await, cut)
    });
    case!(cases, "Database::fetch_value", queues, |stage, cut| {
        let slow =
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) SELECT count(*) FROM n";
        Left::nothing(cut.apply(&stage.db, stage.db.fetch_value::<i64>(slow, params![])).await)
    });
    case!(cases, "RowStream::next of Database", queues, |stage, cut| {
        let rows = stage.db.fetch("SELECT unit FROM piece", params![]);
        Left::nothing(cut.apply(&stage.db, to_the_end(rows)).await)
    });
    case!(cases, "RowStream::next of Database that writes", queues, |stage, cut| {
        let rows = stage.db.fetch(RETURNING, params![stage.unit]);
        Left::stored(cut.apply(&stage.db, to_the_end(rows)).await, cut)
    });
    case!(cases, "Database::execute", queues, |stage, cut| {
        Left::stored(cut.apply(&stage.db, stage.db.execute(INSERT, params![stage.unit])).await, cut)
    });
    case!(cases, "Database::execute_many", queues, |stage, cut| {
        Left::stored(cut.apply(&stage.db, stage.db.execute_many(INSERT_ONE, rows(stage.unit))).await, cut)
    });
    case!(cases, "Database::execute_script", queues, |stage, cut| {
        Left::stored(cut.apply(&stage.db, stage.db.execute_script(&script(stage.unit))).await, cut)
    });
    case!(cases, "Database::batch", queues, |stage, cut| {
        Left::stored(cut.apply(&stage.db, stage.db.batch(batch(stage.unit))).await, cut)
    });
    case!(cases, "Database::table_exists", queues, |stage, cut| {
        Left::nothing(cut.apply(&stage.db, stage.db.table_exists("piece")).await)
    });
    case!(cases, "Database::session", queues, |stage, cut| {
        let ended = cut.apply(&stage.db, stage.db.session()).await;
        Left::nothing(ended)
    });
    case!(cases, "Database::read_session", queues, |stage, cut| {
        let ended = cut.apply(&stage.db, stage.db.read_session()).await;
        Left::nothing(ended)
    });
    case!(cases, "Database::connection", queues, |stage, cut| {
        let ended = cut.apply(&stage.db, stage.db.connection()).await;
        Left::nothing(ended)
    });
    case!(cases, "Database::transaction", queues, |stage, cut| {
        let unit = stage.unit;
        let transaction = stage.db.transaction(|mut session: Session| async move {
            session.execute(INSERT_ONE, params![unit, 1]).await?;
            let mut point = session.savepoint().await?;
            point.execute(INSERT_ONE, params![unit, 2]).await?;
            point.release().await
        });
        Left::stored(cut.apply(&stage.db, transaction).await, cut)
    });
    case!(cases, "Database::transaction that fails", queues, |stage, cut| {
        let unit = stage.unit;
        let transaction = stage.db.transaction(|mut session: Session| async move {
            session.execute(INSERT, params![unit]).await?;
            Err::<(), _>(Error::NoRow)
        });
        let ended = cut.apply(&stage.db, transaction).await;
        Left::nothing(ended.map(|failed| failed.map_or_else(|_| Ok(()), |()| Err(Error::Cancelled))))
    });
    case!(cases, "Database::check", queues, |stage, cut| {
        let ended = cut.apply(&stage.db, stage.db.check()).await;
        Left::nothing(ended.map(|report| report.failure().map_or(Ok(()), |error| Err(error.clone()))))
    });
}

fn of_sessions(cases: &mut Vec<Case>) {
    reading!(cases, "ReadSession", stage, view, {
        let mut view = stage.db.read_session().await.unwrap();
    });
    reading!(cases, "Session", stage, session, {
        let mut session = stage.db.session().await.unwrap();
    });
    writing!(
        cases,
        "Session",
        stage,
        session,
        {
            let mut session = stage.db.session().await.unwrap();
        },
        {
            session.commit().await.unwrap();
        }
    );
    reading!(cases, "Savepoint", stage, point, {
        let mut session = stage.db.session().await.unwrap();
        let mut point = session.savepoint().await.unwrap();
    });
    writing!(
        cases,
        "Savepoint",
        stage,
        point,
        {
            let mut session = stage.db.session().await.unwrap();
            let mut point = session.savepoint().await.unwrap();
        },
        {
            point.release().await.unwrap();
            session.commit().await.unwrap();
        }
    );
    case!(cases, "Session::savepoint", |stage, cut| {
        let mut session = stage.db.session().await.unwrap();
        let ended = cut.apply(&stage.db, session.savepoint()).await;
        let completed = ended.map(|point| drop(point.unwrap())).is_some();
        // Were the savepoint still open, the rows would be in it, and gone with the next one of its name.
        session.execute(INSERT, params![stage.unit]).await.unwrap();
        drop(session.savepoint().await.unwrap());
        session.commit().await.unwrap();
        Left { completed, pieces: Pieces::All }
    });
    case!(cases, "Savepoint::savepoint", |stage, cut| {
        let mut session = stage.db.session().await.unwrap();
        let mut point = session.savepoint().await.unwrap();
        point.execute(INSERT_ONE, params![stage.unit, 1]).await.unwrap();
        let ended = cut.apply(&stage.db, point.savepoint()).await;
        let completed = ended.map(|inner| drop(inner.unwrap())).is_some();
        point.execute(INSERT_ONE, params![stage.unit, 2]).await.unwrap();
        point.release().await.unwrap();
        session.commit().await.unwrap();
        Left { completed, pieces: Pieces::All }
    });
    case!(cases, "Savepoint::release", |stage, cut| {
        let mut session = stage.db.session().await.unwrap();
        let mut point = session.savepoint().await.unwrap();
        point.execute(INSERT, params![stage.unit]).await.unwrap();
        let ended = cut.apply(&stage.db, point.release()).await;
        session.execute(INSERT_ONE, params![-stage.unit, 1]).await.unwrap();
        session.commit().await.unwrap();
        let after = stage.db.fetch_value("SELECT count(*) FROM piece WHERE unit = $1", params![-stage.unit]);
        assert_eq!(after.await.unwrap(), Some(1_i64), "what the session did afterwards is kept");
        Left::committed(ended)
    });
    case!(cases, "Savepoint::rollback", |stage, cut| {
        let mut session = stage.db.session().await.unwrap();
        let mut point = session.savepoint().await.unwrap();
        point.execute(INSERT, params![stage.unit]).await.unwrap();
        let ended = cut.apply(&stage.db, point.rollback()).await;
        session.commit().await.unwrap();
        Left::nothing(ended)
    });
    case!(cases, "Session::commit", |stage, cut| {
        let mut session = stage.db.session().await.unwrap();
        session.execute(INSERT, params![stage.unit]).await.unwrap();
        Left::stored(cut.apply(&stage.db, session.commit()).await, cut)
    });
    case!(cases, "Session::rollback", |stage, cut| {
        let mut session = stage.db.session().await.unwrap();
        session.execute(INSERT, params![stage.unit]).await.unwrap();
        Left::nothing(cut.apply(&stage.db, session.rollback()).await)
    });
    case!(cases, "Session::execute, dropped with its session", |stage, cut| {
        let mut session = stage.db.session().await.unwrap();
        session.execute("CREATE TEMP TABLE draft (id INTEGER)", params![]).await.unwrap();
        let ended = cut.apply(&stage.db, session.execute(INSERT, params![stage.unit])).await;
        drop(session);
        Left::nothing(ended)
    });
}

fn of_connections(cases: &mut Vec<Case>) {
    reading!(cases, "Connection", stage, pinned, {
        let mut pinned = stage.db.connection().await.unwrap();
    });
    writing!(
        cases,
        "Connection",
        stage,
        pinned,
        {
            let mut pinned = stage.db.connection().await.unwrap();
        },
        {
            pinned.close().await.unwrap();
        }
    );
    case!(cases, "Connection::close", |stage, cut| {
        let mut pinned = stage.db.connection().await.unwrap();
        pinned.execute("CREATE TEMP TABLE draft (id INTEGER)", params![]).await.unwrap();
        let ended = cut.apply(&stage.db, pinned.close()).await;
        if ended.is_some() {
            assert_eq!(stage.db.stats().readers.active, 0, "it answers when the connection is back");
        }
        Left::nothing(ended)
    });
    case!(cases, "Connection::execute, dropped with its connection", |stage, cut| {
        let mut pinned = stage.db.connection().await.unwrap();
        let ended = cut.apply(&stage.db, pinned.execute(INSERT, params![stage.unit])).await;
        drop(pinned);
        Left::committed(ended)
    });
    case!(cases, "Config::connect", |stage, cut| {
        let place = Place::new();
        let ended = cut.apply(&stage.db, place.config().pool_min_size(3).connect()).await;
        opens(place.config()).await;
        Left::nothing(ended)
    });
    case!(cases, "Database::connect", |stage, cut| {
        let place = Place::new();
        let url = format!("sqlite:{}", place.path().display());
        let ended = cut.apply(&stage.db, Database::connect(&url)).await;
        opens(Config::sqlite(place.path())).await;
        Left::nothing(ended)
    });
    case!(cases, "Config::connect_one", |stage, cut| {
        let place = Place::new();
        let ended: Option<Result<Connection>> = cut.apply(&stage.db, place.config().connect_one()).await;
        opens(place.config()).await;
        Left::nothing(ended)
    });
}

fn of_upkeep(cases: &mut Vec<Case>) {
    case!(cases, "Database::vacuum", queues, |stage, cut| {
        Left::nothing(cut.apply(&stage.db, stage.db.vacuum()).await)
    });
    case!(cases, "Database::optimize", queues, |stage, cut| {
        Left::nothing(cut.apply(&stage.db, stage.db.optimize()).await)
    });
    case!(cases, "Database::checkpoint", queues, |stage, cut| {
        Left::nothing(cut.apply(&stage.db, stage.db.checkpoint()).await)
    });
    case!(cases, "Database::backup", queues, |stage, cut| {
        let folder = Place::new();
        let target = folder.folder.path().join("copy.db");
        let ended = cut.apply(&stage.db, stage.db.backup(&target, |_| ())).await;
        // What was begun is taken away again; a copy that is there is complete.
        let is_clean = || files(&folder).iter().all(|name| name == "copy.db");
        assert!(becomes_true(is_clean).await, "{:?}", files(&folder));
        if ended.is_some() || target.exists() {
            let config = Config::sqlite(&target);
            let is_file = stage.place.is_some();
            let copy = if is_file { config.key(KeySource::literal(RAW_KEY)) } else { config }.connect().await.unwrap();
            assert!(copy.table_exists("piece").await.unwrap());
            copy.close().await.unwrap();
        }
        Left::nothing(ended)
    });
    case!(cases, "Database::rekey", |stage, cut| {
        let (place, key) = (Place::new(), || KeySource::literal(OTHER_KEY));
        let db = own_database(place.config()).await;
        let ended = cut.apply(&db, db.rekey(key(), |_| ())).await;
        sound_after_a_new_key(&stage, &place, db, ended, place.config()).await
    });
    case!(cases, "Database::rekey while others hold on", queues, |stage, cut| {
        let (place, key) = (Place::new(), || KeySource::literal(OTHER_KEY));
        let db = own_database(place.config()).await;
        let session = db.session().await.unwrap();
        let rekeying = cut.apply(&stage.db, db.rekey(key(), |_| ())).await;
        assert!(rekeying.is_none(), "it waits for the writer");
        // Who gave up keeps nobody from reading.
        let read = tokio::time::timeout(PATIENCE, db.fetch_value::<i64>("SELECT 1", params![])).await;
        assert_eq!(read.expect("readers are not held up").unwrap(), Some(1));
        drop(session);
        sound_after_a_new_key(&stage, &place, db, Some(Ok(())).filter(|_| false), place.config()).await;
        Left { completed: true, pieces: Pieces::None }
    });
    case!(cases, "Database::encrypt", |stage, cut| {
        let place = Place::new();
        let db = own_database(Config::sqlite(place.path())).await;
        let ended = cut.apply(&db, db.encrypt(KeySource::literal(OTHER_KEY))).await;
        sound_after_a_new_key(&stage, &place, db, ended, Config::sqlite(place.path())).await
    });
    case!(cases, "Database::close", |stage, cut| {
        let place = Place::new();
        let db = own_database(place.config()).await;
        let ended = cut.apply(&stage.db, db.close()).await;
        if !matches!(cut, Cut::After(0) | Cut::Woken(0)) {
            assert!(matches!(db.execute(INSERT, params![1]).await, Err(Error::Closed)));
            // It goes on by itself: the last connection takes the log along.
            assert!(becomes_true(|| files(&place) == ["test.db"]).await, "{:?}", files(&place));
        }
        db.close().await.unwrap();
        opens(place.config()).await;
        Left::nothing(ended)
    });
}

/// Each method, each step of its life, on a file, in memory, and on a server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_future_dropped_at_any_await_leaves_nothing_but_whole_units() {
    let place = Arc::new(Place::new());
    let server = Server::if_there();
    let mut engines = vec![(place.config(), Some(place), "in a file"), (Config::memory(), None, "in memory")];
    engines.extend(server.as_ref().map(|server| (server.config(), None, "on a server")));
    for (config, place, on) in engines {
        // One reader, so that whoever holds it is in everybody's way.
        let db = config.pool_max_size(2).connect().await.unwrap();
        create(&db).await;
        let units = AtomicI64::new(1);
        for case in cases() {
            if is_server(&db) && case.name == "Database::backup" {
                continue;
            }
            let run = async |cut: Cut| {
                let unit = units.fetch_add(1, Ordering::Relaxed);
                let stage = Stage { db: db.clone(), place: place.clone(), unit };
                let what = format!("{}, {cut:?}, {on}", case.name);
                let left = tokio::spawn((case.run)(stage, cut)).await.unwrap_or_else(|_| panic!("{what}"));
                nothing_is_left(&db, unit, left.pieces, &what).await;
                left.completed
            };
            let mut polls = 0;
            while !run(Cut::After(polls)).await {
                run(Cut::Woken(polls)).await;
                polls += 1;
                assert!(polls < MOST_POLLS, "{} does not end", case.name);
            }
            if case.queues {
                run(Cut::Queued).await;
                run(Cut::Served).await;
            }
        }
        if let (true, Some(server)) = (is_server(&db), &server) {
            let open =
                "select state from pg_stat_activity where datname = current_database() and state like 'idle in%'";
            assert_eq!(server.query(open), [[""; 0]; 0]);
        }
        db.close().await.unwrap();
    }
}

fn is_server(db: &Database) -> bool {
    format!("{db:?}").contains("postgres://")
}

/// The writer is free, the readers are home, no transaction is open, and the unit is there as it should.
async fn nothing_is_left(db: &Database, unit: i64, pieces: Pieces, what: &str) {
    let mut session = tokio::time::timeout(PATIENCE, db.session()).await.expect(what).expect(what);
    let of_catalogue = match is_server(db) {
        true => "SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()",
        false => "SELECT count(*) FROM sqlite_temp_schema",
    };
    let temporary = session.fetch_value::<i64>(of_catalogue, params![]).await.expect(what);
    assert_eq!(temporary, Some(0), "{what}: TEMP objects");
    session.execute(INSERT_ONE, params![0, unit]).await.expect(what);
    session.commit().await.expect(what);
    let is_home = || {
        let readers = db.stats().readers;
        readers.active == 0 && readers.waiting == 0
    };
    assert!(becomes_true(is_home).await, "{what}: {:?}", db.stats());
    let mut view = db.read_session().await.expect(what);
    let sql = "SELECT count(*) FROM piece WHERE unit = $1";
    let found = view.fetch_value::<i64>(sql, params![unit]).await.expect(what).expect("a count is never NULL");
    let may_be = match pieces {
        Pieces::None => found == 0,
        Pieces::All => found == PIECES,
        Pieces::AllOrNone => found == 0 || found == PIECES,
    };
    assert!(may_be, "{what}: {found} rows where {pieces:?} are expected");
    let noted = view.fetch_value("SELECT count(*) FROM piece WHERE unit = 0 AND part = $1", params![unit]).await;
    assert_eq!(noted.expect(what), Some(1_i64), "{what}: a later session was not stored");
    // What this had is back too before the next run counts.
    drop(view);
    assert!(becomes_true(is_home).await, "{what}: {:?}", db.stats());
}

/// A transaction that panics, at each place where it can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_inside_a_transaction_leaves_nothing_wherever_it_comes() {
    for (db, _place) in crate::all().await {
        create(&db).await;
        for place in 0..8 {
            let (inner, unit) = (db.clone(), i64::from(place) + 1);
            let (kept, keeper) = std::sync::mpsc::channel();
            let task = tokio::spawn(async move {
                inner
                    .transaction(|mut session: Session| {
                        let at = |here: i32| assert_ne!(place, here, "as planned");
                        at(0);
                        let kept = kept.clone();
                        async move {
                            at(1);
                            session.execute(INSERT_ONE, params![unit, 1]).await?;
                            at(2);
                            let mut rows = session.fetch("SELECT unit FROM piece", params![]);
                            rows.next().await.transpose()?;
                            at(3);
                            drop(rows);
                            let mut point = session.savepoint().await?;
                            at(4);
                            point.execute(INSERT_ONE, params![unit, 2]).await?;
                            at(5);
                            drop(point.execute(INSERT_ONE, params![unit, 3]));
                            at(6);
                            point.release().await?;
                            // Given away, the session does not outlive its transaction.
                            let _ = kept.send(session);
                            at(7);
                            Ok::<_, Error>(())
                        }
                    })
                    .await
            });
            assert!(task.await.unwrap_err().is_panic());
            nothing_is_left(&db, unit, Pieces::None, &format!("panic at {place}")).await;
            for mut session in keeper.try_iter() {
                assert!(matches!(session.execute(INSERT, params![1]).await, Err(Error::SessionEnded)));
            }
        }
    }
}

/// What is told of the progress is the caller's code, on a thread that is not.
#[tokio::test]
async fn a_panic_in_what_is_told_of_the_progress_fails_its_own_work_only() {
    for (db, place) in crate::both().await {
        create(&db).await;
        let folder = Place::new();
        let target = folder.folder.path().join("copy.db");
        let error = db.backup(&target, |_| panic!("as planned")).await.unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
        assert_eq!(files(&folder), [""; 0]);
        if place.is_some() {
            let error = db.rekey(KeySource::literal(OTHER_KEY), |_| panic!("as planned")).await.unwrap_err();
            assert!(error.to_string().contains("panicked"), "{error}");
        }
        nothing_is_left(&db, 1, Pieces::None, "panic in the progress").await;
    }
}

/// Compares the table with the sources, so that a new method cannot be forgotten.
#[test]
fn every_public_async_method_is_in_the_table() {
    let in_table: BTreeSet<String> =
        cases().iter().map(|case| case.name.split([' ', ',']).next().unwrap_or_default().to_owned()).collect();
    assert_eq!(in_table, public_async_methods());
}

/// `Type::method`, as the sources of the types that this is about declare them.
fn public_async_methods() -> BTreeSet<String> {
    let sources = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let read = |name: &str| std::fs::read_to_string(sources.join(name)).unwrap();
    let shared = read("statements.rs");
    let (reading, writing) = shared.split_once("macro_rules! writing_methods").unwrap();
    let mut methods = BTreeSet::new();
    for file in ["database.rs", "session.rs", "connection.rs", "stream.rs", "config.rs"] {
        let text = read(file);
        // Blocks begin and end at the beginning of a line; that is rustfmt's doing.
        for block in text.split("\nimpl").skip(1) {
            let (head, body) = block.split_once("{\n").unwrap();
            if head.contains(" for ") {
                continue;
            }
            let body = body.split("\n}").next().unwrap();
            let of = head.trim_start_matches(|c| c != ' ').trim().split('<').next().unwrap();
            let mut add = |text: &str| {
                methods.extend(async_methods(text).into_iter().map(|method| format!("{of}::{method}")));
            };
            add(body);
            if body.contains("reading_methods!(") {
                add(reading);
            }
            if body.contains("writing_methods!(") {
                add(writing);
            }
        }
    }
    assert!(methods.len() > 40, "the sources are written in another way now: {methods:?}");
    methods
}

fn async_methods(text: &str) -> Vec<String> {
    let declared = text.split("pub ").skip(1).filter_map(|declaration| {
        let signature = declaration.split("{\n").next()?;
        let is_async = signature.starts_with("async fn ") || signature.contains("-> impl Future<");
        let name = signature.trim_start_matches("async ").strip_prefix("fn ")?;
        is_async.then(|| name.split(['<', '(']).next().unwrap_or_default().to_owned())
    });
    declared.collect()
}

async fn create(db: &Database) {
    db.execute("CREATE TABLE piece (unit INTEGER NOT NULL, part INTEGER NOT NULL)", params![]).await.unwrap();
    // More than one chunk of a stream.
    db.execute_many(INSERT_ONE, (0..50).map(|part| params![-1, part])).await.unwrap();
}

/// A database of one run's own, with the table.
async fn own_database(config: Config) -> Database {
    let db = config.connect().await.unwrap();
    create(&db).await;
    db
}

/// A file that was left in whichever state can be opened and written.
async fn opens(config: Config) {
    let db = config.connect().await.unwrap();
    db.execute("CREATE TABLE IF NOT EXISTS later (id INTEGER)", params![]).await.unwrap();
    db.close().await.unwrap();
}

/// Exactly one of the keys opens the file, and everything is there: the old one, or the new one when that was acknowledged.
async fn sound_after_a_new_key(
    stage: &Stage,
    place: &Place,
    db: Database,
    ended: Option<Result<()>>,
    old: Config,
) -> Left {
    let _ = stage;
    nothing_is_left(&db, 1, Pieces::None, "a new key").await;
    db.close().await.unwrap();
    let new = Config::sqlite(place.path()).key(KeySource::literal(OTHER_KEY));
    let mut fitting = Vec::new();
    for config in [old, new] {
        let opened = config.connect().await;
        if let Ok(db) = &opened {
            assert_eq!(db.fetch_value("SELECT count(*) FROM piece", params![]).await.unwrap(), Some(51_i64));
            db.close().await.unwrap();
        }
        fitting.push(opened.is_ok());
    }
    assert!(fitting == [false, true] || (ended.is_none() && fitting == [true, false]), "{fitting:?}");
    assert_eq!(files(place), ["test.db"]);
    Left::nothing(ended)
}

async fn to_the_end(mut rows: RowStream<'_>) -> Result<()> {
    while let Some(row) = rows.next().await {
        row?;
    }
    Ok(())
}

fn rows(unit: i64) -> [Params; 2] {
    [params![unit, 1], params![unit, 2]]
}

fn script(unit: i64) -> String {
    format!("INSERT INTO piece (unit, part) VALUES ({unit}, 1); INSERT INTO piece (unit, part) VALUES ({unit}, 2)")
}

fn batch(unit: i64) -> Batch {
    Batch::new().then_many(INSERT_ONE, rows(unit))
}

fn files(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.folder.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

async fn becomes_true(holds: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while !holds() {
        if began.elapsed() > PATIENCE {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    true
}
