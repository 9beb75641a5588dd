//! Prepared point selects on a PostgreSQL server of its own: eight tasks through the pool, and eight bare connections.
//!
//! `cargo bench -p strongroom --bench postgres`. The two take turns, so that what else the machine does hits both; the ratio
//! is what counts.

use std::time::{Duration, Instant};

use strongroom::{Config, Database, params};
use tokio_postgres::NoTls;

const TASKS: usize = 8;
const ROWS: i64 = 100_000;
const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;
const SELECT: &str = "SELECT text FROM entry WHERE id = $1";

fn main() {
    if !test_servers::needs::postgres() {
        return;
    }
    let server = test_servers::Postgres::shared();
    let database = server.create_database();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(compare(&database.url()));
}

async fn compare(url: &str) {
    let db = Config::from_url(url).unwrap().pool_min_size(TASKS).pool_max_size(TASKS).connect().await.unwrap();
    db.execute("CREATE TABLE entry (id BIGINT PRIMARY KEY, text TEXT NOT NULL)", params![]).await.unwrap();
    db.copy_in("entry", &["id", "text"], (0..ROWS).map(|id| params![id, format!("entry {id}")])).await.unwrap();
    db.vacuum().await.unwrap();
    let mut bare = Vec::new();
    for _ in 0..TASKS {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let statement = client.prepare(SELECT).await.unwrap();
        bare.push(std::sync::Arc::new((client, statement)));
    }
    let mut ratios = Vec::new();
    println!("prepared point selects a second, {TASKS} tasks: through the pool, bare tokio-postgres, ratio");
    for _ in 0..ROUNDS {
        let pooled = through_the_pool(&db).await;
        let alone = on_bare_connections(&bare).await;
        ratios.push(pooled / alone);
        println!("{pooled:>9.0} {alone:>9.0}  {:.3}", pooled / alone);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.3}", ratios[ROUNDS / 2]);
}

async fn through_the_pool(db: &Database) -> f64 {
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS as i64 {
        let db = db.clone();
        tasks.spawn(async move {
            let (began, mut done) = (Instant::now(), 0_i64);
            while began.elapsed() < ROUND {
                let row = db.fetch_one(SELECT, params![(task * 7_919 + done * 13) % ROWS]).await.unwrap();
                assert!(!row.get::<String>(0).unwrap().is_empty());
                done += 1;
            }
            done
        });
    }
    tasks.join_all().await.iter().sum::<i64>() as f64 / ROUND.as_secs_f64()
}

async fn on_bare_connections(bare: &[std::sync::Arc<(tokio_postgres::Client, tokio_postgres::Statement)>]) -> f64 {
    let mut tasks = tokio::task::JoinSet::new();
    for (task, connection) in (0_i64..).zip(bare) {
        let connection = std::sync::Arc::clone(connection);
        tasks.spawn(async move {
            let (client, statement) = &*connection;
            let (began, mut done) = (Instant::now(), 0_i64);
            while began.elapsed() < ROUND {
                let row = client.query_one(statement, &[&((task * 7_919 + done * 13) % ROWS)]).await.unwrap();
                assert!(!row.get::<_, String>(0).is_empty());
                done += 1;
            }
            done
        });
    }
    tasks.join_all().await.iter().sum::<i64>() as f64 / ROUND.as_secs_f64()
}
