//! A pinned connection: one physical connection, outside any transaction.

use crate::command::Command;
use crate::error::Result;
use crate::link::{Link, SessionLink, read_through_link, write_through_link};
use crate::statements::{reading_methods, writing_methods};

/// One physical connection, outside any transaction: each statement and each batch takes effect by itself, and is durable
/// when it is answered.
///
/// For what belongs to a connection and not to the database, such as TEMP tables. Writes wait in fair turn with all others.
/// On a database in memory, which has one connection only, everybody else waits for it, and it ends after
/// [`session_max_age`](crate::Config::session_max_age).
///
/// From [`Database::connection`](crate::Database::connection), or without any pool from
/// [`Config::connect_one`](crate::Config::connect_one). Dropped, it is given back, or closed.
///
/// # Cancel safety
///
/// A future dropped at any await leaves the connection usable. Whether the statement it was for has run is then unknown to
/// the caller: it may take effect.
#[derive(Debug)]
pub struct Connection {
    link: Link,
}

impl Connection {
    pub(crate) fn new(link: SessionLink) -> Self {
        Connection { link: Link::new(link) }
    }

    /// Gives the connection back, and answers when it is. Dropping it does the same without waiting.
    ///
    /// # Errors
    ///
    /// What the connection failed of before: a damaged page, a disk error.
    pub async fn close(self) -> Result<()> {
        self.link.ask(|reply| Command::Rollback { reply }).await
    }

    reading_methods!(&mut);
    writing_methods!(&mut);
    read_through_link!();
    write_through_link!();
}
