//! Monitoring: the handle's numbers in Prometheus' text format, and who holds the writer.
//!
//! `cargo run -p strongroom --example monitoring`
//!
//! Prints, among others:
//!
//! ```text
//! strongroom_pool_connections{pool="readers",state="active"} 1
//! strongroom_commits_total 2
//! strongroom_timeouts_total 1
//! ```

use std::time::Duration;

use strongroom::{Config, Database, KeySource, Result, params};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let db = Config::sqlite(folder.path().join("monitoring.db"))
        .key(KeySource::literal("correct horse battery staple"))
        .acquire_timeout(Duration::from_secs(1))
        .connect()
        .await?;
    db.execute("CREATE TABLE job (id INTEGER PRIMARY KEY)", params![]).await?;
    db.execute("INSERT INTO job (id) VALUES (1)", params![]).await?;

    let snapshot = db.read_session().await?;
    let session = db.session().await?;
    // Whoever waits in vain is told the line of source that holds the writer.
    if let Err(error) = db.execute("INSERT INTO job (id) VALUES (2)", params![]).await {
        println!("# {error}");
    }
    print!("{}", metrics(&db));
    drop((session, snapshot));
    db.close().await
}

/// What a `/metrics` route would answer.
fn metrics(db: &Database) -> String {
    let stats = db.stats();
    let mut text = stats.readers.to_prometheus("readers");
    let own = [
        ("connections", "gauge", "Open physical connections, the writer included.", stats.connections as u64),
        ("log_bytes", "gauge", "Length of the write-ahead log.", stats.log_bytes),
        ("commits_total", "counter", "Durable commits.", stats.commits),
        ("units_committed_total", "counter", "Units that those made durable.", stats.units_committed),
        ("units_failed_total", "counter", "Units that failed and were rolled back alone.", stats.units_failed),
        ("timeouts_total", "counter", "Callers that waited for the writer in vain.", stats.timeouts),
    ];
    for (name, kind, help, value) in own {
        text +=
            &format!("# HELP strongroom_{name} {help}\n# TYPE strongroom_{name} {kind}\nstrongroom_{name} {value}\n");
    }
    text
}
