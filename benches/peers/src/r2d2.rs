//! r2d2, which blocks. It would test at each checkout, which is switched off.

use std::convert::Infallible;

use harness::pool::Connection;
use harness::{CONNECTIONS, PATIENCE, Run};

struct Manager;

impl r2d2::ManageConnection for Manager {
    type Connection = Connection;
    type Error = Infallible;

    fn connect(&self) -> Result<Connection, Infallible> {
        Ok(Connection)
    }

    fn is_valid(&self, _: &mut Connection) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Connection) -> bool {
        false
    }
}

pub(crate) fn run(run: &Run) {
    let builder = r2d2::Pool::builder().max_size(CONNECTIONS as u32).max_lifetime(None);
    let pool = builder.test_on_check_out(false).connection_timeout(PATIENCE).build(Manager).expect("connections");
    harness::pool::run_blocking(run, move || pool.get().expect("a connection"));
}
