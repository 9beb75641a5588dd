//! Without a runtime: threads share one handle, and a transaction borrows what is around it.
//!
//! `cargo run -p strongroom --example blocking`

use strongroom::blocking::Database;
use strongroom::{Result, params};

fn main() -> Result<()> {
    let db = Database::connect("sqlite::memory:")?;
    db.execute("CREATE TABLE visit (page TEXT PRIMARY KEY, count INTEGER NOT NULL)", params![])?;

    let pages = ["/", "/about", "/"];
    std::thread::scope(|scope| {
        let visits = pages.map(|page| {
            let db = &db;
            scope.spawn(move || {
                db.transaction(|session| {
                    session.execute("INSERT OR IGNORE INTO visit (page, count) VALUES ($1, 0)", params![page])?;
                    session.execute("UPDATE visit SET count = count + 1 WHERE page = $1", params![page])
                })
            })
        });
        visits.into_iter().try_for_each(|visit| visit.join().expect("no visit panics").map(drop))
    })?;

    for row in db.fetch("SELECT page, count FROM visit ORDER BY page", params![]) {
        let row = row?;
        println!("{:<8} {:>2}", row.get::<String>("page")?, row.get::<i64>("count")?);
    }
    Ok(())
}
