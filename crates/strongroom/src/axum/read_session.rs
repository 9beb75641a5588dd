//! The snapshot that a request's middleware, handler and body share.

use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};

use axum_core::extract::FromRequestParts;
use http::request::Parts;
use tokio::sync::OwnedMutexGuard;

use super::Problem;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::session::{self, Controller};

/// The request's read session: an extractor, and cheap to clone. All of a request's clones see one snapshot, taken at the
/// first [`lock`](Self::lock). It does not see what the request's write session has written.
///
/// It holds a connection of its own beside the write session's: on PostgreSQL a request that uses both needs two.
#[derive(Clone)]
pub struct ReadSession {
    shared: Arc<Shared>,
}

struct Shared {
    db: Database,
    /// Empty until first used.
    session: Arc<tokio::sync::Mutex<Option<session::ReadSession>>>,
    phase: Mutex<Phase>,
}

enum Phase {
    Running(#[expect(dead_code, reason = "ends the session when dropped")] Option<Controller>),
    Ended,
}

impl ReadSession {
    pub(super) fn of_request(db: Database) -> (ReadSession, EndOnDrop) {
        let shared = Arc::new(Shared { db, session: Arc::default(), phase: Mutex::new(Phase::Running(None)) });
        (ReadSession { shared: shared.clone() }, EndOnDrop { shared })
    }

    /// Waits until nobody else of this request reads in the session, opens it at first use, and lends it.
    ///
    /// # Errors
    ///
    /// As [`Database::read_session`]; [`SessionEnded`](Error::SessionEnded) when the answer's body has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing is lent, and a session that was being opened is not.
    #[track_caller]
    pub fn lock(&self) -> impl Future<Output = Result<ReadSessionGuard>> + Send + use<> {
        let location = Location::caller();
        let shared = self.shared.clone();
        async move {
            let mut slot = shared.session.clone().lock_owned().await;
            if matches!(*shared.phase(), Phase::Ended) {
                return Err(Error::SessionEnded);
            }
            if slot.is_none() {
                let session = shared.db.read_session_at(location).await?;
                match &mut *shared.phase() {
                    phase @ Phase::Running(_) => *phase = Phase::Running(Some(session.controller())),
                    Phase::Ended => return Err(Error::SessionEnded),
                }
                *slot = Some(session);
            }
            Ok(ReadSessionGuard { slot })
        }
    }
}

impl std::fmt::Debug for ReadSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadSession").finish_non_exhaustive()
    }
}

impl Shared {
    fn phase(&self) -> std::sync::MutexGuard<'_, Phase> {
        // Each holder makes one assignment, so a panic leaves nothing half done.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Sync> FromRequestParts<S> for ReadSession {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<ReadSession>().cloned().ok_or_else(|| Problem::no_layer("ReadSession"))
    }
}

/// The snapshot, lent to one part of the request: queries as on [`ReadSession`](crate::ReadSession).
#[derive(Debug)]
pub struct ReadSessionGuard {
    slot: OwnedMutexGuard<Option<session::ReadSession>>,
}

impl Deref for ReadSessionGuard {
    type Target = session::ReadSession;

    fn deref(&self) -> &session::ReadSession {
        self.slot.as_ref().expect("a guard is made after its session")
    }
}

impl DerefMut for ReadSessionGuard {
    fn deref_mut(&mut self) -> &mut session::ReadSession {
        self.slot.as_mut().expect("a guard is made after its session")
    }
}

/// The end of a request's read session, whoever has kept it.
pub(super) struct EndOnDrop {
    shared: Arc<Shared>,
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        *self.shared.phase() = Phase::Ended;
    }
}
