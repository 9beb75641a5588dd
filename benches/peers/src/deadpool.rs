//! deadpool. It recycles at each checkout, which cannot be switched off; here that does nothing.

use std::convert::Infallible;

use deadpool::Runtime;
use deadpool::managed::{self, Metrics, RecycleResult};
use harness::pool::Connection;
use harness::{CONNECTIONS, PATIENCE};

pub(crate) struct Pool(managed::Pool<Manager>);

pub(crate) struct Manager;

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = Infallible;

    async fn create(&self) -> Result<Connection, Infallible> {
        Ok(Connection)
    }

    async fn recycle(&self, _: &mut Connection, _: &Metrics) -> RecycleResult<Infallible> {
        Ok(())
    }
}

impl harness::pool::Pool for Pool {
    async fn new() -> Self {
        // As ours does, it lends the connection that was used last.
        let builder = managed::Pool::builder(Manager).max_size(CONNECTIONS).queue_mode(managed::QueueMode::Lifo);
        let builder = builder.runtime(Runtime::Tokio1).wait_timeout(Some(PATIENCE));
        Pool(builder.build().expect("a runtime for the timeout is named"))
    }

    async fn checkout(&self) -> impl Send {
        self.0.get().await.expect("a connection")
    }
}
