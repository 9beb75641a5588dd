//! PostgreSQL by sqlx.

use harness::PATIENCE;
use harness::postgres::{INSERT, Postgres, SELECT, TEXT};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

pub(crate) struct Database(PgPool);

impl Postgres for Database {
    async fn open(url: String, connections: usize) -> Self {
        let size = connections as u32;
        let pool = PgPoolOptions::new().min_connections(size).max_connections(size).acquire_timeout(PATIENCE);
        let pool = pool.test_before_acquire(false).max_lifetime(None).connect(&url).await;
        Database(pool.expect("the server lets us in"))
    }

    async fn read(&self, id: i64, _: usize) -> String {
        sqlx::query_scalar(SELECT).bind(id).fetch_one(&self.0).await.expect("a row")
    }

    async fn insert(&self, _: usize) {
        let mut transaction = self.0.begin().await.expect("a transaction");
        sqlx::query(INSERT).bind(TEXT).execute(&mut *transaction).await.expect("a row");
        transaction.commit().await.expect("a commit");
    }
}
