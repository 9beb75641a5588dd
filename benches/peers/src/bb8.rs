//! bb8. It would test at each checkout, which is switched off.

use std::convert::Infallible;

use harness::pool::Connection;
use harness::{CONNECTIONS, PATIENCE};

pub(crate) struct Pool(bb8::Pool<Manager>);

pub(crate) struct Manager;

impl bb8::ManageConnection for Manager {
    type Connection = Connection;
    type Error = Infallible;

    async fn connect(&self) -> Result<Connection, Infallible> {
        Ok(Connection)
    }

    async fn is_valid(&self, _: &mut Connection) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Connection) -> bool {
        false
    }
}

impl harness::pool::Pool for Pool {
    async fn new() -> Self {
        let size = CONNECTIONS as u32;
        let builder = bb8::Pool::builder().max_size(size).min_idle(size).max_lifetime(None);
        let pool = builder.test_on_check_out(false).connection_timeout(PATIENCE).build(Manager).await;
        Pool(pool.expect("connections"))
    }

    async fn checkout(&self) -> impl Send {
        self.0.get().await.expect("a connection")
    }
}
