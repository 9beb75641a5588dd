//! Several databases: one file and one key for each tenant, in one process.
//!
//! `cargo run -p strongroom --example several_databases`
//!
//! Prints:
//!
//! ```text
//! acme: note of acme
//! umbrella: note of umbrella
//! acme's key does not open umbrella's file
//! ```

use std::collections::BTreeMap;

use strongroom::{Config, Database, EncryptionProblem, Error, KeySource, Result, params};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    // In earnest each would be `KeySource::file` or `KeySource::env`.
    let keys = BTreeMap::from([("acme", "a key for acme"), ("umbrella", "another for umbrella")]);
    let config = |tenant: &str, key: &str| {
        let path = folder.path().join(format!("{tenant}.db"));
        // Small pools: there may be many tenants, and idle connections are closed.
        Config::sqlite(path).key(KeySource::literal(key)).pool_min_size(0).pool_max_size(3).cache_kib(1_024)
    };

    let mut tenants: BTreeMap<&str, Database> = BTreeMap::new();
    for (tenant, key) in &keys {
        // Lazily: the key is asked for and the file opened at the first use.
        tenants.insert(tenant, config(tenant, key).open()?);
    }
    for (tenant, db) in &tenants {
        db.execute("CREATE TABLE note (text TEXT NOT NULL)", params![]).await?;
        db.execute("INSERT INTO note (text) VALUES ($1)", params![format!("note of {tenant}")]).await?;
    }
    for (tenant, db) in &tenants {
        let text: Option<String> = db.fetch_value("SELECT text FROM note", params![]).await?;
        println!("{tenant}: {}", text.unwrap_or_default());
    }
    for db in tenants.values() {
        db.close().await?;
    }

    match config("umbrella", keys["acme"]).connect().await {
        Err(Error::Encryption { problem: EncryptionProblem::WrongKeyOrDamaged, .. }) => {
            println!("acme's key does not open umbrella's file");
            Ok(())
        }
        Err(error) => Err(error),
        Ok(_) => unreachable!("the files have different keys"),
    }
}
