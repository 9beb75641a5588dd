//! Sessions and savepoints: an order is stored as a whole, without the lines that could not be.
//!
//! `cargo run -p strongroom --example sessions_and_savepoints`
//!
//! Prints:
//!
//! ```text
//! paper: taken
//! lamp: not in stock
//! pencils: taken
//! stored: 1 order of 2 lines
//! after a dropped session: 1 order
//! ```

use strongroom::{Database, Result, params};

#[tokio::main]
async fn main() -> Result<()> {
    let db = Database::connect("sqlite::memory:").await?;
    db.execute_script(
        "CREATE TABLE stock (item TEXT PRIMARY KEY, count INTEGER NOT NULL CHECK (count >= 0));
         CREATE TABLE line (orders INTEGER NOT NULL, item TEXT NOT NULL);
         INSERT INTO stock (item, count) VALUES ('paper', 10), ('lamp', 0), ('pencils', 3);",
    )
    .await?;

    let mut session = db.session().await?;
    for item in ["paper", "lamp", "pencils"] {
        // What may fail goes into a savepoint: dropped or rolled back, the session is as before.
        let mut line = session.savepoint().await?;
        line.execute("INSERT INTO line (orders, item) VALUES (1, $1)", params![item]).await?;
        match line.execute("UPDATE stock SET count = count - 1 WHERE item = $1", params![item]).await {
            Ok(_) => {
                line.release().await?;
                println!("{item}: taken");
            }
            Err(_) => {
                line.rollback().await?;
                println!("{item}: not in stock");
            }
        }
    }
    session.commit().await?;

    let count = "SELECT count(DISTINCT orders) AS orders, count(*) AS lines FROM line";
    let row = db.fetch_one(count, params![]).await?;
    println!("stored: {} order of {} lines", row.get::<i64>("orders")?, row.get::<i64>("lines")?);

    let mut session = db.session().await?;
    session.execute("INSERT INTO line (orders, item) VALUES (2, 'paper')", params![]).await?;
    drop(session); // rolled back, as it would be by an error, a panic or a timeout
    let row = db.fetch_one(count, params![]).await?;
    println!("after a dropped session: {} order", row.get::<i64>("orders")?);
    Ok(())
}
