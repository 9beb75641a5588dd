//! Streaming: a million rows through a few hundred kilobytes of memory, and a stream that is left early.
//!
//! `cargo run -p strongroom --example streaming`
//!
//! Prints:
//!
//! ```text
//! 1000000 rows, the sum of their squares is 333333833333500000
//! the first that ends in 777: 777
//! nobody reads any more: 0 readers lent
//! ```

use std::time::Duration;

use strongroom::{Config, KeySource, Result, params};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let key = KeySource::literal("correct horse battery staple");
    let db = Config::sqlite(folder.path().join("streaming.db")).key(key).connect().await?;
    let numbers = "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < $1)
                   SELECT n FROM number";

    // Rows are read while they are asked for; a slow consumer slows the query down.
    let (mut count, mut sum) = (0_u64, 0_i64);
    let mut rows = db.fetch(numbers, params![1_000_000]);
    while let Some(row) = rows.next().await {
        let n: i64 = row?.get("n")?;
        count += 1;
        sum += n * n;
    }
    println!("{count} rows, the sum of their squares is {sum}");

    // A query without an end: dropping the stream stops it.
    let mut rows = db.fetch(numbers, params![i64::MAX]);
    while let Some(row) = rows.next().await {
        let n: i64 = row?.get("n")?;
        if n % 1_000 == 777 {
            println!("the first that ends in 777: {n}");
            break;
        }
    }
    drop(rows);

    while db.stats().readers.active > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("nobody reads any more: {} readers lent", db.stats().readers.active);
    db.close().await
}
