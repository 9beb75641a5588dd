//! Ours: the pool, and the database handle.

mod postgres;

use std::convert::Infallible;
use std::pin::pin;

use futures_util::StreamExt;
use harness::pool::Connection;
use harness::sqlite::{
    BULK_ROWS, CACHE_KIB, CREATE, INSERT, INSERT_WITH_ID, ROWS, SELECT, SELECT_ALL, Source, Sqlite, TEXT, text,
};
use harness::{CONNECTIONS, PATIENCE, Run};
use strongroom::pool::{Connect, Settings};
use strongroom::{Config, KeySource, params};

pub(crate) use self::postgres::Server;

pub(crate) struct Pool(strongroom::pool::Pool<Connector>);

pub(crate) struct Connector;

impl Connect for Connector {
    type Connection = Connection;
    type Error = Infallible;

    async fn connect(&self) -> Result<Connection, Infallible> {
        Ok(Connection)
    }

    fn check_in(&self, _: &mut Connection) -> bool {
        true
    }
}

impl harness::pool::Pool for Pool {
    async fn new() -> Self {
        // The test after 1 s of idleness is the default.
        let settings = Settings::default().min_size(CONNECTIONS).max_size(CONNECTIONS).acquire_timeout(PATIENCE);
        Pool(strongroom::pool::Pool::new(Connector, settings))
    }

    async fn checkout(&self) -> impl Send {
        self.0.acquire().await.expect("a connection")
    }
}

pub(crate) struct Database(strongroom::Database);

impl Sqlite for Database {
    // The writer is one, whatever the number; the others read.
    const WRITERS: usize = CONNECTIONS;

    async fn open(source: Source) -> Self {
        let mut config = Config::sqlite(source.path)
            .pool_min_size(source.connections)
            .pool_max_size(source.connections)
            .acquire_timeout(PATIENCE)
            .inline_reads(source.inline)
            .cache_kib(CACHE_KIB);
        if let Some(key) = source.key {
            config = config.key(KeySource::literal(key));
        }
        Database(config.connect().await.expect("the database opens"))
    }

    async fn create(&self) {
        self.0.execute(CREATE, params![]).await.expect("a table");
    }

    async fn insert(&self) {
        self.0.execute(INSERT, params![TEXT]).await.expect("a row");
    }

    async fn read(&self, id: i64, _: i64) -> String {
        self.0.fetch_one(SELECT, params![id]).await.expect("a row").get(0).expect("a text")
    }

    async fn stream(&self) -> i64 {
        let mut rows = pin!(self.0.fetch(SELECT_ALL, params![]));
        let mut sum = 0;
        while let Some(row) = rows.next().await {
            let row = row.expect("a row");
            let (id, text): (i64, String) = (row.get(0).expect("an id"), row.get(1).expect("a text"));
            assert!(!text.is_empty());
            sum += id;
        }
        sum
    }

    async fn bulk_insert(&self) {
        let rows = (0..BULK_ROWS).map(|id| params![id, text(id)]);
        self.0.execute_many(INSERT_WITH_ID, rows).await.expect("rows");
    }

    async fn close(&self) {
        self.0.close().await.expect("nothing is under way");
    }
}

/// Writes the databases that are read.
pub(crate) fn prepare(run: &Run) {
    harness::runtime().block_on(async {
        for (source, rows) in [(run.full(true, 1), ROWS), (run.full(false, 1), ROWS), (run.with_passphrase(1), 1)] {
            harness::remove(&source.path);
            let database = Database::open(source).await;
            database.create().await;
            for first in (0..rows).step_by(BULK_ROWS as usize) {
                let batch = (first..rows.min(first + BULK_ROWS)).map(|id| params![id, text(id)]);
                database.0.execute_many(INSERT_WITH_ID, batch).await.expect("rows");
            }
            database.close().await;
        }
    });
}
