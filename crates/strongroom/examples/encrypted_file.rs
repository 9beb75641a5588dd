//! An encrypted file: made with a key, opened again with it, and refused with another.
//!
//! `cargo run -p strongroom --example encrypted_file`

use strongroom::{Config, KeySource, Result, params};

#[tokio::main]
async fn main() -> Result<()> {
    let path = std::env::temp_dir().join(format!("strongroom-example-{}.db", std::process::id()));
    let open = |key: &str| Config::sqlite(&path).key(KeySource::literal(key)).connect();

    let db = open("correct horse battery staple").await?;
    db.execute("CREATE TABLE note (text TEXT NOT NULL)", params![]).await?;
    db.execute("INSERT INTO note (text) VALUES ($1)", params!["only for us"]).await?;
    db.close().await?;

    if let Err(error) = open("wrong").await {
        println!("{error}");
    }
    let db = open("correct horse battery staple").await?;
    let text: Option<String> = db.fetch_value("SELECT text FROM note", params![]).await?;
    println!("{}", text.unwrap_or_default());
    print!("{}", db.check().await);
    db.close().await?;

    for suffix in ["", "-wal", "-shm"] {
        // The log and its index are gone when the database was closed in order.
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    Ok(())
}
