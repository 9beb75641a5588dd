//! diesel-async: diesel's queries over tokio-postgres, in deadpool. It would test with a query at each checkout.

use diesel::prelude::*;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use harness::postgres::{Postgres, TEXT};

diesel::table! {
    entry (id) {
        id -> BigInt,
        text -> Text,
    }
}

diesel::table! {
    // There is no key, and diesel wants one.
    written (text) {
        text -> Text,
    }
}

pub(crate) struct Diesel(Pool<AsyncPgConnection>);

impl Postgres for Diesel {
    async fn open(url: String, connections: usize) -> Self {
        let mut config = ManagerConfig::default();
        config.recycling_method = RecyclingMethod::Fast;
        let manager = AsyncDieselConnectionManager::new_with_config(url, config);
        Diesel(Pool::builder(manager).max_size(connections).build().expect("a pool"))
    }

    async fn read(&self, id: i64, _: usize) -> String {
        let mut connection = self.0.get().await.expect("a connection");
        entry::table.find(id).select(entry::text).first(&mut *connection).await.expect("a row")
    }

    async fn insert(&self, _: usize) {
        let mut connection = self.0.get().await.expect("a connection");
        let written = connection.transaction(async |connection| {
            diesel::insert_into(written::table).values(written::text.eq(TEXT)).execute(connection).await
        });
        assert_eq!(written.await.expect("a commit"), 1);
    }
}
