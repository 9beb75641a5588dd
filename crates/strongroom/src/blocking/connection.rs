//! A pinned connection, for a thread that waits.

use crate::blocking::statements::{blocking_reading_methods, blocking_writing_methods};
use crate::blocking::wait;
use crate::error::Result;

/// One physical connection, outside any transaction: a [`Connection`](crate::Connection) whose methods wait.
///
/// From [`Database::connection`](super::Database::connection) or
/// [`Config::connect_one_blocking`](crate::Config::connect_one_blocking). Dropped, it is given back, or closed, without
/// waiting.
#[derive(Debug)]
pub struct Connection {
    inner: crate::Connection,
}

impl Connection {
    pub(super) fn new(inner: crate::Connection) -> Self {
        Connection { inner }
    }

    /// Gives the connection back, and answers when it is. Dropping it does the same without waiting.
    ///
    /// # Errors
    ///
    /// What the connection failed of before: a damaged page, a disk error.
    pub fn close(self) -> Result<()> {
        wait(self.inner.close())
    }

    blocking_reading_methods!(&mut);
    blocking_writing_methods!(&mut);
}
