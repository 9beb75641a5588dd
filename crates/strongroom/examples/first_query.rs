//! The first minutes: a database in memory, a table, a row, a transaction.
//!
//! `cargo run -p strongroom --example first_query`

use strongroom::{Database, Result, params};

#[tokio::main]
async fn main() -> Result<()> {
    let db = Database::connect("sqlite::memory:").await?;
    db.execute("CREATE TABLE account (name TEXT PRIMARY KEY, balance INTEGER NOT NULL)", params![]).await?;
    let rows = [params!["alice", 100], params!["bob", 0]];
    db.execute_many("INSERT INTO account (name, balance) VALUES ($1, $2)", rows).await?;

    db.transaction(|mut session| async move {
        let transfer = "UPDATE account SET balance = balance + $1 WHERE name = $2";
        session.execute(transfer, params![-30, "alice"]).await?;
        session.execute(transfer, params![30, "bob"]).await
    })
    .await?;

    let mut rows = db.fetch("SELECT name, balance FROM account ORDER BY name", params![]);
    while let Some(row) = rows.next().await {
        let row = row?;
        println!("{:<6} {:>4}", row.get::<String>("name")?, row.get::<i64>("balance")?);
    }
    Ok(())
}
