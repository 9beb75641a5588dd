//! Copies of a whole database, and how far one is.

/// How far a copy of a database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Pages copied.
    pub done: u64,
    /// Pages of the database. It may grow while it is copied by another process.
    pub total: u64,
}

/// Called from time to time while a database is copied, on the thread that copies; it should return soon.
pub(crate) type OnProgress = Box<dyn FnMut(Progress) + Send>;
