//! deadpool-sqlite. It tests at each checkout, with a query in another thread, and has no setting for that: its manager is
//! wrapped in one that does not.

use deadpool::Runtime;
use deadpool::managed::{Manager, Metrics, Pool, RecycleError, RecycleResult};
use harness::PATIENCE;
use harness::sqlite::{CREATE, Source, Sqlite};
use rusqlite::Connection;

use crate::statements;

pub(crate) struct Database(Pool<Untested>);

pub(crate) struct Untested {
    manager: deadpool_sqlite::Manager,
    pragmas: String,
}

impl Manager for Untested {
    type Type = <deadpool_sqlite::Manager as Manager>::Type;
    type Error = rusqlite::Error;

    async fn create(&self) -> rusqlite::Result<Self::Type> {
        let connection = self.manager.create().await?;
        let pragmas = self.pragmas.clone();
        connection.interact(move |db| db.execute_batch(&pragmas)).await.expect("no panic")?;
        Ok(connection)
    }

    async fn recycle(&self, connection: &mut Self::Type, _: &Metrics) -> RecycleResult<rusqlite::Error> {
        if connection.is_mutex_poisoned() { Err(RecycleError::message("a closure panicked")) } else { Ok(()) }
    }
}

impl Database {
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> T {
        let connection = self.0.get().await.expect("a connection");
        connection.interact(work).await.expect("no panic").expect("it works")
    }
}

impl Sqlite for Database {
    async fn open(source: Source) -> Self {
        let config = deadpool_sqlite::Config::new(&source.path);
        let manager = deadpool_sqlite::Manager::from_config(&config, Runtime::Tokio1);
        let builder = Pool::builder(Untested { manager, pragmas: source.pragmas() });
        let builder = builder.max_size(source.connections).runtime(Runtime::Tokio1).wait_timeout(Some(PATIENCE));
        let pool = builder.build().expect("a runtime for the timeout is named");
        // Of connections that are the process's first, opened at the same moment, one in some hundred fails to be given its
        // key, so one goes ahead. The pool connects only when it is asked; asked for all at once, it does so in parallel.
        let first = pool.get().await.expect("a connection");
        let others = (1..source.connections).map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.get().await.expect("a connection") })
        });
        let others: Vec<_> = others.collect();
        let mut opened = vec![first];
        for other in others {
            opened.push(other.await.expect("no panic"));
        }
        drop(opened);
        Database(pool)
    }

    async fn create(&self) {
        self.with(|db| db.execute_batch(CREATE)).await;
    }

    async fn insert(&self) {
        self.with(|db| statements::insert(db)).await;
    }

    async fn read(&self, id: i64, _: i64) -> String {
        self.with(move |db| statements::read(db, id)).await
    }

    async fn bulk_insert(&self) {
        self.with(statements::bulk_insert).await;
    }

    async fn close(&self) {
        // The connections are closed by the runtime's threads, which it waits for when it ends.
        self.0.close();
    }
}
