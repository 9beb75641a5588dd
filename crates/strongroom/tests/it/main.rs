//! strongroom from outside: what its users rely on, on files and in memory.

mod aws;
mod blocking;
mod cancellation;
mod connections;
mod encryption;
mod examples;
mod faults;
mod group_commit;
mod migrations;
mod queries;
mod sessions;
mod settings;
mod upkeep;

use std::path::PathBuf;

use strongroom::{Config, Database, KeySource};

/// A raw key, so that tests do not spend their time on key derivation.
const RAW_KEY: &str = "x'2DD29CA851E7B56E4697B0E1F08507293D761A05CE4D1B628663F411A8086D99'";

/// A folder of its own with the path of a database in it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("test.db")
    }

    fn config(&self) -> Config {
        Config::sqlite(self.path()).key(KeySource::literal(RAW_KEY))
    }

    async fn open(&self) -> Database {
        self.config().connect().await.unwrap()
    }
}

/// An encrypted file and a database in memory, each with a table `entry`: what holds on one must hold on the other.
async fn both() -> [(Database, Option<Place>); 2] {
    let place = Place::new();
    let file = place.open().await;
    let memory = Database::connect("sqlite::memory:").await.unwrap();
    let databases = [(file, Some(place)), (memory, None)];
    for (db, _) in &databases {
        create_entry(db).await;
    }
    databases
}

async fn create_entry(db: &Database) {
    db.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, text TEXT UNIQUE)", strongroom::params![]).await.unwrap();
}

async fn count(db: &Database) -> i64 {
    db.fetch_value("SELECT count(*) FROM entry", strongroom::params![]).await.unwrap().unwrap()
}

/// Skips a test that misses something of its surroundings; where nothing may be skipped, fails it. See CONTRIBUTING.md.
fn skip(needs: &str) {
    let required = std::env::var_os("TRUST_LEDGER_REQUIRE_JUDGES").is_some_and(|value| value == "1")
        || std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!required, "needs {needs}");
    println!("skipped: needs {needs}");
}
