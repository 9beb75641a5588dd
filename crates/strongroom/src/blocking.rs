//! The same surface without a runtime of the caller's: methods that answer when the work is done.
//!
//! Start from [`Database::connect`] or [`Config::connect_blocking`](crate::Config::connect_blocking). Every type and method
//! has the name, the meaning and the errors of its asynchronous twin; here only what waiting changes is said.
//!
//! ```
//! use strongroom::{blocking::Database, params};
//!
//! # fn main() -> strongroom::Result<()> {
//! let db = Database::connect("sqlite::memory:")?;
//! db.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL)", params![])?;
//! db.transaction(|session| session.execute("INSERT INTO users (name) VALUES ($1)", params!["alice"]))?;
//! for row in db.fetch("SELECT name FROM users", params![]) {
//!     assert_eq!(row?.get::<String>("name")?, "alice");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Threads
//!
//! Handles may be used from any number of threads at once. A call works on the caller's thread, as far as the asynchronous
//! one works in the caller's task: a quick read runs there to its end. Timeouts and the pool's upkeep are left to one thread
//! of this module's own, which the first call starts and which all databases share; it does no work of SQLite's.
//!
//! Dropping needs neither a runtime nor that thread: a session that is dropped, or whose thread panics, is rolled back.
//!
//! # Inside asynchronous code
//!
//! A blocking call in a Tokio task, of either runtime flavor, would stop the task's thread, and maybe what it waits for. It
//! answers [`BlockingInTask`](crate::Error::BlockingInTask) and does nothing. On threads made for blocking
//! (`spawn_blocking`, `block_in_place`) calls are welcome. Other runtimes, and `tokio::task::unconstrained`, are not noticed.
//!
//! Both kinds of handle can be had of one database: [`From`] turns either into the other, and they share all connections.
//!
//! # fork
//!
//! A process made by `fork` has none of the threads, of this module's or of any handle's. Until it calls `exec`, it may use
//! strongroom only if the process that forked had not; so fork first, then connect. `std::process::Command` is safe.

mod connection;
mod database;
mod rows;
mod runtime;
mod session;
mod statements;

pub use self::connection::Connection;
pub use self::database::Database;
pub use self::rows::Rows;
pub use self::session::{ReadSession, Savepoint, Session};

use crate::config::Config;
use crate::error::{Error, Result};

/// Waits, on the caller's thread, for a future that uses this crate: for blocking surfaces over asynchronous code on a
/// [`Database`](crate::Database).
///
/// Tasks that the future spawns on Tokio's current runtime run on the one thread of this [module](self)'s own. When the call
/// panics, they go on.
///
/// # Errors
///
/// The future's; [`BlockingInTask`](Error::BlockingInTask) inside a Tokio task; [`Connection`](Error::Connection) when the
/// system gives no thread.
pub fn wait<T, E: From<Error>>(future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    Ok(runtime::handle()?.block_on(future))?
}

impl Config {
    /// [`connect`](Config::connect), waited for.
    ///
    /// # Errors
    ///
    /// As there; [`BlockingInTask`](Error::BlockingInTask) inside a Tokio task.
    pub fn connect_blocking(self) -> Result<Database> {
        wait(self.connect()).map(Database::from)
    }

    /// [`connect_one`](Config::connect_one), waited for.
    ///
    /// # Errors
    ///
    /// As there; [`BlockingInTask`](Error::BlockingInTask) inside a Tokio task.
    pub fn connect_one_blocking(self) -> Result<Connection> {
        wait(self.connect_one()).map(Connection::new)
    }
}
