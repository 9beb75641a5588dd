//! What a session's or pinned connection's holder asks of whoever serves it, the same on both engines.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::batch::{Answer, Step, Want};
use crate::error::{Error, Result};

/// A caller's place for the answer.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// What a session's holder asks of it.
pub(crate) enum Command {
    Run {
        steps: Vec<Step>,
        want: Want,
        reply: Reply<Vec<Answer>>,
    },
    /// Savepoints are numbered by their depth, from 1.
    Savepoint {
        depth: u32,
        reply: Reply<()>,
    },
    Release {
        depth: u32,
        reply: Reply<()>,
    },
    /// Without a reply when the savepoint was dropped.
    RollbackTo {
        depth: u32,
        reply: Option<Reply<()>>,
    },
    Commit {
        reply: Reply<()>,
    },
    Rollback {
        reply: Reply<()>,
    },
}

/// What has happened to a session that its holder may not have seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(Arc<Mutex<FateState>>);

#[derive(Debug, Default)]
struct FateState {
    /// Why the session ended without its holder's doing.
    ended: Option<Error>,
    /// A statement or the commit met another transaction.
    conflict: bool,
}

impl Fate {
    pub(crate) fn end(&self, error: Error) {
        self.lock().ended.get_or_insert(error);
    }

    pub(crate) fn ended(&self) -> Option<Error> {
        self.lock().ended.clone()
    }

    pub(crate) fn note_conflict(&self) {
        self.lock().conflict = true;
    }

    pub(crate) fn conflict(&self) -> bool {
        self.lock().conflict
    }

    fn lock(&self) -> MutexGuard<'_, FateState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
