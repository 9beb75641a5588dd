//! deadpool-postgres: tokio-postgres in a pool with a cache of statements. Its recycling looks whether the connection is open.

use std::str::FromStr;

use deadpool_postgres::{Manager, ManagerConfig, RecyclingMethod, Runtime};
use harness::PATIENCE;
use harness::postgres::{INSERT, Postgres, SELECT, TEXT};
use tokio_postgres::{Config, NoTls};

pub(crate) struct Pool(deadpool_postgres::Pool);

impl Postgres for Pool {
    async fn open(url: String, connections: usize) -> Self {
        let config = Config::from_str(&url).expect("a URL");
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(config, NoTls, recycling);
        let builder = deadpool_postgres::Pool::builder(manager).max_size(connections);
        let builder = builder.runtime(Runtime::Tokio1).wait_timeout(Some(PATIENCE));
        Pool(builder.build().expect("a runtime for the timeout is named"))
    }

    async fn read(&self, id: i64, _: usize) -> String {
        let client = self.0.get().await.expect("a connection");
        let select = client.prepare_cached(SELECT).await.expect("a statement");
        client.query_one(&select, &[&id]).await.expect("a row").get(0)
    }

    async fn insert(&self, _: usize) {
        let mut client = self.0.get().await.expect("a connection");
        let transaction = client.transaction().await.expect("a transaction");
        let insert = transaction.prepare_cached(INSERT).await.expect("a statement");
        transaction.execute(&insert, &[&TEXT]).await.expect("a row");
        transaction.commit().await.expect("a commit");
    }
}
