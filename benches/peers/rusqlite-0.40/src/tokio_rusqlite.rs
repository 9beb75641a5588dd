//! tokio-rusqlite: a thread for each connection, and no pool. Tasks are spread over the connections evenly.

use harness::sqlite::{CREATE, Source, Sqlite};
use tokio_rusqlite::Connection;

use crate::statements;

pub(crate) struct Database(Vec<Connection>);

impl Sqlite for Database {
    async fn open(source: Source) -> Self {
        let mut connections = Vec::new();
        for _ in 0..source.connections {
            let connection = Connection::open(&source.path).await.expect("the database opens");
            let pragmas = source.pragmas();
            connection.call(move |db| db.execute_batch(&pragmas)).await.expect("settings");
            connections.push(connection);
        }
        Database(connections)
    }

    async fn create(&self) {
        self.0[0].call(|db| db.execute_batch(CREATE)).await.expect("a table");
    }

    async fn insert(&self) {
        self.0[0].call(|db| statements::insert(db)).await.expect("a row");
    }

    async fn read(&self, id: i64, turn: i64) -> String {
        // The upper half of the turn is the task.
        let connection = &self.0[(turn >> 32) as usize % self.0.len()];
        connection.call(move |db| statements::read(db, id)).await.expect("a row")
    }

    async fn bulk_insert(&self) {
        self.0[0].call(statements::bulk_insert).await.expect("rows");
    }

    async fn close(&self) {
        for connection in &self.0 {
            connection.clone().close().await.expect("nothing is under way");
        }
    }
}
