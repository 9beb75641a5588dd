//! The same handle on a PostgreSQL server: `POSTGRES_URL=postgres://user@host/database`, and the password, if the server
//! wants one, in `POSTGRES_PASSWORD`.
//!
//! `cargo run -p strongroom --example postgres`

use strongroom::{Config, KeySource, Password, Result, params};

#[tokio::main]
async fn main() -> Result<()> {
    let (Ok(url), user) = (std::env::var("POSTGRES_URL"), std::env::var("POSTGRES_USER")) else {
        println!("POSTGRES_URL names no server, such as postgres://app@db.example.com/app");
        return Ok(());
    };
    let mut config = Config::from_url(&url)?;
    if let Ok(user) = user {
        // Asked for each physical connection, so that a password may change while the program runs.
        config = config.credentials(Password::new(user, KeySource::env("POSTGRES_PASSWORD")));
    }
    let db = config.application_name("strongroom example").connect().await?;
    print!("{}", db.check().await);

    // A session is a transaction: REPEATABLE READ, and rolled back when it is dropped.
    let mut session = db.session().await?;
    session.execute("CREATE TABLE example (id uuid PRIMARY KEY, note text, at timestamptz)", params![]).await?;
    let id = uuid::Uuid::now_v7();
    let now = time::OffsetDateTime::now_utc();
    session.execute("INSERT INTO example (id, note, at) VALUES ($1, $2, $3)", params![id, "hello", now]).await?;
    let row = session.fetch_one("SELECT note, at FROM example WHERE id = $1", params![id]).await?;
    println!("{} at {}", row.get::<String>("note")?, row.get::<time::OffsetDateTime>("at")?);
    session.rollback().await?;
    db.close().await
}
