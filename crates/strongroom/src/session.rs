//! Sessions: several statements in one transaction, under the caller's control.
//!
//! Start from [`Session`], which [`Database::session`](crate::Database::session) opens. A session that is dropped rolls
//! back; it never leaves a transaction open, whatever await it is dropped at.

use crate::command::Command;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::link::{Link, SessionLink, read_through_link, write_through_link};
use crate::statements::{reading_methods, writing_methods};

/// A read-write unit of work: all of it takes effect at [`commit`](Self::commit), or none.
///
/// On PostgreSQL it is a transaction in REPEATABLE READ, which sees the database as it was at its first statement; one that
/// changes a row which another has changed since fails as [retryable](Error::is_retryable).
///
/// On SQLite it has the one writer to itself until it ends, so it should end soon: after
/// [`session_max_age`](crate::Config::session_max_age) (60 s by default) it is rolled back and answers
/// [`SessionExpired`](Error::SessionExpired). Code that holds a session and writes through the
/// [`Database`](crate::Database) waits for itself, until the acquire timeout names the session's place.
///
/// After a statement has failed, the session answers every further one with [`Transaction`](Error::Transaction) until it
/// is rolled back; statements that may fail belong into a [`savepoint`](Self::savepoint). (PostgreSQL behaves so; doing
/// the same on both engines keeps code tested on one right on the other.)
///
/// # Cancel safety
///
/// A future dropped at any await leaves the session usable. Whether the statement it was for has run is then unknown to
/// the caller, within the session; nothing is stored without [`commit`](Self::commit).
#[derive(Debug)]
pub struct Session {
    link: Link,
}

impl Session {
    pub(crate) fn new(link: SessionLink) -> Self {
        Session { link: Link::new(link) }
    }

    /// Makes the session's work durable, and answers when it is.
    ///
    /// # Errors
    ///
    /// [`CommitUnknown`](Error::CommitUnknown) when a disk error, or a lost connection, in the commit leaves its outcome open;
    /// [`Query`](Error::Query) when the commit failed and nothing is stored: a deferred foreign key, a full disk, or
    /// (retryable) another unit that made the engine roll back the group.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the commit may take effect or not.
    pub async fn commit(self) -> Result<()> {
        self.link.ask(|reply| Command::Commit { reply }).await
    }

    /// Takes back the session's work. Dropping the session does the same without waiting.
    ///
    /// # Errors
    ///
    /// [`SessionExpired`](Error::SessionExpired) when that has happened before.
    pub async fn rollback(self) -> Result<()> {
        self.link.ask(|reply| Command::Rollback { reply }).await
    }

    /// Opens a savepoint: a part of the session that can be taken back alone.
    ///
    /// # Errors
    ///
    /// As every statement of a session.
    pub async fn savepoint(&mut self) -> Result<Savepoint<'_>> {
        Savepoint::open(&mut self.link).await
    }

    reading_methods!(&mut);
    writing_methods!(&mut);
    read_through_link!();
    write_through_link!();

    /// The other end of the session, for [`Database::transaction`](crate::Database::transaction), which ends the session
    /// that it has given away.
    pub(crate) fn controller(&self) -> Controller {
        Controller { link: Link::new(self.link.session.clone()) }
    }
}

/// Ends a session that somebody else works in. Dropped, it rolls back, even when that one has kept the session.
pub(crate) struct Controller {
    link: Link,
}

impl Controller {
    pub(crate) async fn commit(&self) -> Result<()> {
        self.link.ask(|reply| Command::Commit { reply }).await
    }

    pub(crate) async fn rollback(&self) -> Result<()> {
        self.link.ask(|reply| Command::Rollback { reply }).await
    }

    /// Whether another transaction was in this one's way.
    pub(crate) fn met_conflict(&self) -> bool {
        self.link.session.fate().conflict()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // A session that has been ended does not hear it.
        let (reply, _) = tokio::sync::oneshot::channel();
        self.link.tell(Command::Rollback { reply });
    }
}

/// A consistent snapshot: every statement sees the database as it was when the session was opened.
///
/// It never blocks the writer and is never blocked by it. While it lives, the write-ahead log cannot be reset and grows;
/// after [`session_max_age`](crate::Config::session_max_age) it is ended.
///
/// On a database in memory it takes its turn on the one connection instead, and writers wait for it.
#[derive(Debug)]
pub struct ReadSession {
    link: Link,
}

impl ReadSession {
    pub(crate) fn new(link: SessionLink) -> Self {
        ReadSession { link: Link::new(link) }
    }

    /// As [`Session::controller`], for the request that ends a snapshot whose holder may have kept it.
    #[cfg(feature = "axum")]
    pub(crate) fn controller(&self) -> Controller {
        Controller { link: Link::new(self.link.session.clone()) }
    }

    reading_methods!(&mut);
    read_through_link!();
}

/// A part of a session that can be taken back alone. Dropped without [`release`](Self::release), it is rolled back.
#[derive(Debug)]
pub struct Savepoint<'s> {
    link: &'s mut Link,
    depth: u32,
    open: bool,
}

impl<'s> Savepoint<'s> {
    async fn open(link: &'s mut Link) -> Result<Self> {
        let depth = link.depth + 1;
        // The guard is there before the savepoint, so that a future dropped while it waits takes it back.
        link.depth = depth;
        let mut point = Savepoint { link, depth, open: true };
        let opened = point.link.ask(|reply| Command::Savepoint { depth, reply }).await;
        if opened.is_err() {
            point.open = false;
        }
        opened.map(|()| point)
    }

    /// Keeps the savepoint's work as part of the session.
    ///
    /// # Errors
    ///
    /// [`Transaction`](Error::Transaction) when a statement has failed in it; the savepoint is rolled back then.
    pub async fn release(mut self) -> Result<()> {
        let depth = self.depth;
        let released = self.link.ask(|reply| Command::Release { depth, reply }).await;
        self.open = released.is_err();
        released
    }

    /// Takes the savepoint's work back, and a failure in it too: the session can go on.
    ///
    /// # Errors
    ///
    /// [`SessionExpired`](Error::SessionExpired) when the whole session was rolled back before.
    pub async fn rollback(mut self) -> Result<()> {
        let depth = self.depth;
        self.open = false;
        self.link.ask(|reply| Command::RollbackTo { depth, reply: Some(reply) }).await
    }

    /// Opens a savepoint within this one.
    ///
    /// # Errors
    ///
    /// As every statement of a session.
    pub async fn savepoint(&mut self) -> Result<Savepoint<'_>> {
        Savepoint::open(self.link).await
    }

    reading_methods!(&mut);
    writing_methods!(&mut);
    read_through_link!();
    write_through_link!();
}

impl Drop for Savepoint<'_> {
    fn drop(&mut self) {
        self.link.depth = self.depth - 1;
        if self.open {
            // Commands are served in order, so whatever the session does next comes after the rollback.
            self.link.tell(Command::RollbackTo { depth: self.depth, reply: None });
        }
    }
}
