//! Sessions, for a thread that waits.

use crate::blocking::statements::{blocking_reading_methods, blocking_writing_methods};
use crate::blocking::wait;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;

/// A read-write unit of work: a [`Session`](crate::Session) whose methods wait.
///
/// Dropped without [`commit`](Self::commit), by a panic too, it is rolled back; dropping does not wait for that. What a call
/// refused with [`BlockingInTask`](Error::BlockingInTask) was to do is not done, and the session stays as it was, but for
/// `commit` and `rollback`: they consume it, so it is rolled back.
#[derive(Debug)]
pub struct Session {
    pub(super) inner: crate::Session,
}

impl Session {
    pub(super) fn new(inner: crate::Session) -> Self {
        Session { inner }
    }

    /// Makes the session's work durable, and answers when it is.
    ///
    /// # Errors
    ///
    /// [`CommitUnknown`](Error::CommitUnknown) when a disk error in the commit leaves its outcome open;
    /// [`Query`](Error::Query) when the commit failed and nothing is stored.
    pub fn commit(self) -> Result<()> {
        wait(self.inner.commit())
    }

    /// Takes back the session's work. Dropping the session does the same without waiting.
    ///
    /// # Errors
    ///
    /// [`SessionExpired`](Error::SessionExpired) when that has happened before.
    pub fn rollback(self) -> Result<()> {
        wait(self.inner.rollback())
    }

    /// Opens a savepoint: a part of the session that can be taken back alone.
    ///
    /// # Errors
    ///
    /// As every statement of a session.
    pub fn savepoint(&mut self) -> Result<Savepoint<'_>> {
        wait(self.inner.savepoint()).map(Savepoint::new)
    }

    blocking_reading_methods!(&mut);
    blocking_writing_methods!(&mut);
}

/// A consistent snapshot: a [`ReadSession`](crate::ReadSession) whose methods wait. Dropped, it ends, without waiting.
#[derive(Debug)]
pub struct ReadSession {
    inner: crate::ReadSession,
}

impl ReadSession {
    pub(super) fn new(inner: crate::ReadSession) -> Self {
        ReadSession { inner }
    }

    blocking_reading_methods!(&mut);
}

/// A part of a session that can be taken back alone: a [`Savepoint`](crate::Savepoint) whose methods wait. Dropped without
/// [`release`](Self::release), it is rolled back; what the session does next comes after that.
#[derive(Debug)]
pub struct Savepoint<'s> {
    inner: crate::Savepoint<'s>,
}

impl<'s> Savepoint<'s> {
    fn new(inner: crate::Savepoint<'s>) -> Self {
        Savepoint { inner }
    }

    /// Keeps the savepoint's work as part of the session.
    ///
    /// # Errors
    ///
    /// [`Transaction`](Error::Transaction) when a statement has failed in it; the savepoint is rolled back then.
    pub fn release(self) -> Result<()> {
        wait(self.inner.release())
    }

    /// Takes the savepoint's work back, and a failure in it too: the session can go on.
    ///
    /// # Errors
    ///
    /// [`SessionExpired`](Error::SessionExpired) when the whole session was rolled back before.
    pub fn rollback(self) -> Result<()> {
        wait(self.inner.rollback())
    }

    /// Opens a savepoint within this one.
    ///
    /// # Errors
    ///
    /// As every statement of a session.
    pub fn savepoint(&mut self) -> Result<Savepoint<'_>> {
        wait(self.inner.savepoint()).map(Savepoint::new)
    }

    blocking_reading_methods!(&mut);
    blocking_writing_methods!(&mut);
}
