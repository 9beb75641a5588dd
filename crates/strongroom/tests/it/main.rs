//! strongroom from outside: what its users rely on, on files and in memory.

mod aws;
#[cfg(feature = "axum")]
mod axum;
mod blocking;
mod cancellation;
mod connections;
mod encryption;
mod examples;
mod faults;
mod group_commit;
mod migrations;
mod postgres;
mod queries;
#[cfg(feature = "aws")]
mod rotation;
mod sessions;
mod settings;
mod sops;
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

/// [`both`], and a database on a PostgreSQL server, where there is one.
async fn all() -> Vec<(Database, Keep)> {
    let mut databases: Vec<_> = both().await.into_iter().map(|(db, place)| (db, Keep::Sqlite(place))).collect();
    if test_servers::needs::postgres() {
        let server = Server::new();
        let db = server.open().await;
        create_entry(&db).await;
        databases.push((db, Keep::Postgres(server)));
    }
    databases
}

/// What a database needs while it is in use.
enum Keep {
    Sqlite(#[allow(dead_code, reason = "removed when dropped; tests of a feature read it")] Option<Place>),
    Postgres(#[allow(dead_code, reason = "removed when dropped; tests of a feature read it")] Server),
}

impl Keep {
    fn is_postgres(&self) -> bool {
        matches!(self, Keep::Postgres(_))
    }
}

/// A database of its own on the PostgreSQL server that the tests share.
struct Server {
    database: test_servers::TestDatabase<'static>,
}

impl Server {
    fn new() -> Self {
        Server { database: test_servers::Postgres::shared().create_database() }
    }

    fn config(&self) -> Config {
        Config::from_url(&self.database.url()).unwrap()
    }

    /// None, and a word on why, where there is no PostgreSQL.
    fn if_there() -> Option<Self> {
        test_servers::needs::postgres().then(Self::new)
    }

    fn server(&self) -> &'static test_servers::Postgres {
        test_servers::Postgres::shared()
    }

    fn name(&self) -> &str {
        self.database.name()
    }

    fn url(&self) -> String {
        self.database.url()
    }

    async fn open(&self) -> Database {
        self.config().connect().await.unwrap()
    }

    /// What the server answers to somebody else.
    fn query(&self, sql: &str) -> Vec<Vec<String>> {
        self.database.query(sql)
    }
}

async fn create_entry(db: &Database) {
    db.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, text TEXT UNIQUE)", strongroom::params![]).await.unwrap();
}

async fn count(db: &Database) -> i64 {
    db.fetch_value("SELECT count(*) FROM entry", strongroom::params![]).await.unwrap().unwrap()
}
