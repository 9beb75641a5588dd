//! A primary that dies under load, and a standby that takes over: with the hosts in the URL nothing is restarted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use strongroom::pool::CloseReason;
use strongroom::{Batch, Config, Database, Error, QueryErrorKind, Result, params};
use test_servers::{PgBouncer, Postgres, needs};

const TASKS: i64 = 8;

/// How long the primary is dead before the standby is told to take over.
const OUTAGE: Duration = Duration::from_millis(500);

/// From the promotion until everybody's commits are answered again.
const RECOVERY: Duration = Duration::from_secs(5);

/// How long the load goes on before, between and after.
const CALM: Duration = Duration::from_millis(1_500);

const INSERT: &str = "INSERT INTO work (number) VALUES ($1)";

/// What a writer knows of a row. The table has no unique index: a row that was written twice is there twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Acknowledged,
    Unknown,
    Failed,
}

/// Two servers, of which now the one and now the other is the primary, and a handle that knows both.
struct Pair {
    runtime: tokio::runtime::Runtime,
    servers: [Postgres; 2],
    db: Database,
}

impl Pair {
    fn start() -> Pair {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let primary = Postgres::plain().start();
        let standby = primary.standby();
        let db = runtime.block_on(config(&[&primary, &standby]).connect()).unwrap();
        runtime.block_on(db.execute("CREATE TABLE work (number BIGINT NOT NULL)", params![])).unwrap();
        Pair { runtime, servers: [primary, standby], db }
    }
}

fn config(servers: &[&Postgres; 2]) -> Config {
    let hosts: Vec<_> = servers.iter().map(|server| server.address().to_string()).collect();
    let url = format!("postgres://app@{}/app?target_session_attrs=primary", hosts.join(","));
    Config::from_url(&url).unwrap().pool_max_size(6)
}

/// Writers of every kind commit numbered rows while the primary is killed and its standby promoted, there and back. Then the
/// rows are compared with what the writers were told.
#[test]
fn a_failover_under_load_loses_no_acknowledged_commit_and_doubles_none() {
    if !needs::postgres() {
        return;
    }
    let Pair { runtime, servers, db } = Pair::start();
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..TASKS).map(|task| runtime.spawn(write_until(Arc::clone(&done), db.clone(), task))).collect();
    let mut promotions = Vec::new();
    for (old, new) in [(0, 1), (1, 0)] {
        std::thread::sleep(CALM);
        servers[old].kill();
        std::thread::sleep(OUTAGE);
        promotions.push(Instant::now());
        servers[new].promote();
        std::thread::sleep(CALM);
        if new == 1 {
            servers[old].rejoin(&servers[new]);
        }
    }
    std::thread::sleep(CALM);
    done.store(true, Ordering::Relaxed);

    let (mut answers, mut acknowledged) = (HashMap::new(), Vec::new());
    for writer in writers {
        let written = runtime.block_on(writer).unwrap();
        acknowledged
            .push(written.iter().filter(|row| row.1 == Answer::Acknowledged).map(|row| row.2).collect::<Vec<_>>());
        answers.extend(written.into_iter().map(|(number, answer, _)| (number, answer)));
    }
    let mut stored: HashMap<i64, u32> = HashMap::new();
    for row in servers[0].query_in("app", "select number from work") {
        *stored.entry(row[0].parse().unwrap()).or_default() += 1;
    }
    for (number, answer) in &answers {
        let times = stored.remove(number).unwrap_or_default();
        let allowed = match answer {
            Answer::Acknowledged => 1..=1,
            Answer::Unknown => 0..=1,
            Answer::Failed => 0..=0,
        };
        assert!(allowed.contains(&times), "row {number} was {answer:?} and is there {times} times");
    }
    assert!(stored.is_empty(), "rows that nobody wrote: {stored:?}");

    let count = |wanted| answers.values().filter(|answer| **answer == wanted).count();
    let [stored, unknown, failed] = [Answer::Acknowledged, Answer::Unknown, Answer::Failed].map(count);
    println!("{stored} acknowledged, {unknown} unknown, {failed} failed");
    for promoted in promotions {
        let first = |times: &Vec<Instant>| times.iter().find(|time| **time > promoted).map(|time| *time - promoted);
        let first: Option<Vec<_>> = acknowledged.iter().map(first).collect();
        let slowest = first.and_then(|first| first.into_iter().max()).expect("each writer goes on after each failover");
        println!("each writer had a commit {:.2} s after the promotion began", slowest.as_secs_f64());
        assert!(slowest < RECOVERY, "{slowest:?}");
    }
    // Each writer may have been in a commit both times.
    assert!(unknown + failed > 0, "the primary died under load");
    let open = "select count(*) from pg_stat_activity where state like 'idle in%'";
    assert_eq!(servers[0].query(open), [["0"]]);
    runtime.block_on(db.close()).unwrap();
}

/// Writes rows, each once, by every way there is in turn. A row that failed is given up: its number is never used again.
async fn write_until(done: Arc<AtomicBool>, db: Database, task: i64) -> Vec<(i64, Answer, Instant)> {
    let mut written = Vec::new();
    let mut number = task;
    while !done.load(Ordering::Relaxed) {
        let answer = match write(&db, number, (number / TASKS) % 4).await {
            Ok(()) => Answer::Acknowledged,
            Err(Error::CommitUnknown { .. }) => Answer::Unknown,
            Err(Error::Connection { .. } | Error::PoolExhausted { .. }) => {
                // As a service's next request would come, and not as fast as a loop turns.
                tokio::time::sleep(Duration::from_millis(10)).await;
                Answer::Failed
            }
            Err(other) => panic!("row {number}: {other:?}"),
        };
        written.push((number, answer, Instant::now()));
        number += TASKS;
    }
    written
}

async fn write(db: &Database, number: i64, way: i64) -> Result<()> {
    match way {
        0 => db.execute(INSERT, params![number]).await.map(drop),
        1 => db.batch(Batch::new().then("SELECT 1", params![]).then(INSERT, params![number])).await.map(drop),
        2 => {
            let mut session = db.session().await?;
            session.execute(INSERT, params![number]).await?;
            session.commit().await
        }
        _ => {
            db.transaction(|mut session| async move { session.execute(INSERT, params![number]).await }).await.map(drop)
        }
    }
}

/// The standby is gone, so the primary keeps a commit waiting. A statement that commits by itself and is stopped then, at its
/// age, is answered by PostgreSQL as if it were done; but it is on the primary's disk only, which a failover would lose.
#[test]
fn a_commit_that_no_standby_has_confirmed_is_never_acknowledged() {
    if !needs::postgres() {
        return;
    }
    let Pair { runtime, servers, db } = Pair::start();
    runtime.block_on(db.close()).unwrap();
    let config = config(&[&servers[0], &servers[1]]).session_max_age(Duration::from_secs(1));
    let db = runtime.block_on(config.connect()).unwrap();
    servers[1].stop();
    runtime.block_on(async {
        let alone = db.execute(INSERT, params![1]).await;
        assert!(matches!(alone, Err(Error::CommitUnknown { .. })), "{alone:?}");
        let mut pinned = db.connection().await.unwrap();
        let alone = pinned.execute(INSERT, params![2]).await;
        assert!(matches!(alone, Err(Error::CommitUnknown { .. })), "{alone:?}");
        let returning = format!("{INSERT} RETURNING number");
        let streamed = db.fetch(&returning, params![3]).next().await.unwrap();
        assert!(matches!(streamed, Err(Error::CommitUnknown { .. })), "{streamed:?}");
        let copied = db.copy_in("work", &["number"], [params![4]]).await;
        assert!(matches!(copied, Err(Error::CommitUnknown { .. })), "{copied:?}");
    });
    // They are there, on the primary alone: unknown is the truth.
    assert_eq!(servers[0].query_in("app", "select count(*) from work"), [["4"]]);
}

/// An address that leads to a primary and, after a failover, to what was its standby, with connections that outlive that: as
/// at Aurora, and behind a load balancer.
#[test]
fn a_primary_that_was_demoted_is_left_by_all_connections_at_the_first_refused_write() {
    if !needs::postgres() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let primary = Postgres::plain().start();
    let standby = primary.standby();
    // Nothing is asked of the host, so that a standby will do for the connections.
    let url = standby.url("app");
    runtime.block_on(async {
        let writer = Config::from_url(&primary.url("app")).unwrap().connect().await.unwrap();
        writer.execute("CREATE TABLE work (number BIGINT NOT NULL)", params![]).await.unwrap();
        let db = Config::from_url(&url).unwrap().pool_min_size(3).connect().await.unwrap();
        wait_for(&db, 3).await;
        let refused = db.execute(INSERT, params![1]).await.unwrap_err();
        assert_eq!(refused.query_kind(), Some(QueryErrorKind::ReadOnly), "{refused}");
        primary.kill();
        standby.promote();
        db.execute(INSERT, params![2]).await.unwrap();
        let closed = db.stats().readers.closed(CloseReason::Generation);
        assert!(closed >= 3, "{closed} were closed");
    });
    assert_eq!(standby.query_in("app", "select number from work"), [["2"]]);
}

/// The administrator restarts the server (57P01): whoever asks when it is back is served, on connections made anew.
#[test]
fn a_server_that_is_restarted_is_used_again_without_an_error_by_those_who_come_afterwards() {
    if !needs::postgres() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let server = Postgres::plain().start();
    runtime.block_on(async {
        let config = Config::from_url(&server.url("app")).unwrap().pool_min_size(4).pool_max_size(4);
        let db = config.connect().await.unwrap();
        db.execute("CREATE TABLE work (number BIGINT NOT NULL)", params![]).await.unwrap();
        for round in 0..5 {
            let mut session = db.session().await.unwrap();
            session.execute(INSERT, params![-1]).await.unwrap();
            server.restart();
            let told = session.execute(INSERT, params![-1]).await.unwrap_err();
            assert!(matches!(told, Error::Connection { passing: true, .. }), "{told:?}");
            for number in 0..8 {
                db.execute(INSERT, params![10 * round + number]).await.unwrap();
            }
        }
    });
    assert_eq!(server.query_in("app", "select count(*), min(number) from work"), [["40", "0"]]);
}

/// A pooler cuts what has been idle for a second (pgbouncer: 08P01, then the end): nobody is given such a connection.
#[test]
fn connections_that_a_pooler_cuts_for_being_idle_are_replaced_before_anybody_gets_one() {
    if !needs::postgres() || !needs::pgbouncer() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let server = Postgres::plain().start();
    let pooler = PgBouncer::in_front_of(&server).client_idle_timeout(Duration::from_secs(1)).start();
    runtime.block_on(async {
        let config = Config::from_url(&pooler.url("app")).unwrap().named_statements(false);
        // Not even tested when it is lent: that it was cut is known by then.
        let db = config.pool_min_size(3).pool_test_after_idle(None).connect().await.unwrap();
        wait_for(&db, 3).await;
        let made = db.stats().readers.created;
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            assert_eq!(db.fetch_value("SELECT 1", params![]).await.unwrap(), Some(1));
        }
        assert!(db.stats().readers.created >= made + 3, "{:?}", db.stats().readers);
    });
    assert!(pooler.log().contains("client_idle_timeout"), "{}", pooler.log());
}

async fn wait_for(db: &Database, connections: usize) {
    for _ in 0..250 {
        if db.pool_size() >= connections {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{connections} connections were to be opened: {:?}", db.stats());
}
