//! Bulk: many rows in one durable commit, and many callers that share one.
//!
//! `cargo run -p strongroom --example bulk`
//!
//! Prints:
//!
//! ```text
//! loaded: 10000 rows
//! all or none: 10000 rows after a batch that failed
//! 100 callers shared fewer than 100 commits
//! ```

use strongroom::{Batch, Config, KeySource, Result, params};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let key = KeySource::literal("correct horse battery staple");
    let db = Config::sqlite(folder.path().join("bulk.db")).key(key).connect().await?;
    db.execute("CREATE TABLE reading (id INTEGER PRIMARY KEY, celsius REAL NOT NULL)", params![]).await?;

    let insert = "INSERT INTO reading (id, celsius) VALUES ($1, $2)";
    let rows = (0..10_000).map(|id| params![id, 20.0 + f64::from(id % 7)]);
    println!("loaded: {} rows", db.execute_many(insert, rows).await?);

    // Several statements, one trip to the writer. The second row is there already, so neither is stored.
    let batch = Batch::new().then(insert, params![10_000, 21.5]).then(insert, params![0, 21.5]);
    assert!(db.batch(batch).await.is_err_and(|error| error.is_unique_violation()));
    let count: Option<i64> = db.fetch_value("SELECT count(*) FROM reading", params![]).await?;
    println!("all or none: {} rows after a batch that failed", count.unwrap_or(0));

    // Callers need not know of each other: whoever waits at the same time shares the next commit.
    let before = db.stats().commits;
    let mut callers = tokio::task::JoinSet::new();
    for id in 20_000..20_100 {
        let db = db.clone();
        callers.spawn(async move { db.execute(insert, params![id, 19.0]).await });
    }
    while let Some(written) = callers.join_next().await {
        written.expect("no caller panics")?;
    }
    let commits = db.stats().commits - before;
    println!("100 callers shared {} commits", if commits < 100 { "fewer than 100" } else { "100" });
    db.close().await
}
