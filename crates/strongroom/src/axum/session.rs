//! The write session that a request's middleware and handler share.

use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};

use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;
use tokio::sync::OwnedMutexGuard;

use super::Problem;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::session::{self, Controller};

/// The request's write session: an extractor, and cheap to clone. All of a request's clones are one session.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

struct Shared {
    db: Database,
    /// Empty until first used.
    session: Arc<tokio::sync::Mutex<Option<session::Session>>>,
    /// Guarded apart from the session, so that a request can end while somebody works in it.
    phase: Mutex<Phase>,
}

enum Phase {
    Running { controller: Option<Controller>, roll_back: bool },
    Ended,
}

impl Session {
    pub(super) fn of_request(db: Database) -> (Session, Writing) {
        let phase = Mutex::new(Phase::Running { controller: None, roll_back: false });
        let shared = Arc::new(Shared { db, session: Arc::default(), phase });
        (Session { shared: shared.clone() }, Writing { shared })
    }

    /// Waits until nobody else of this request works in the session, opens it at first use, and lends it.
    ///
    /// A guard that is kept while the rest of the request runs (in middleware, over `next.run`) makes a handler that locks
    /// wait for ever: let it go first.
    ///
    /// # Errors
    ///
    /// As [`Database::session`]; [`SessionEnded`](Error::SessionEnded) when the request's answer was ready before.
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing is lent, and a session that was being opened is not.
    #[track_caller]
    pub fn lock(&self) -> impl Future<Output = Result<SessionGuard>> + Send + use<> {
        let location = Location::caller();
        let shared = self.shared.clone();
        async move {
            let mut slot = shared.session.clone().lock_owned().await;
            if matches!(*shared.phase(), Phase::Ended) {
                return Err(Error::SessionEnded);
            }
            if slot.is_none() {
                let session = shared.db.session_at(location).await?;
                match &mut *shared.phase() {
                    Phase::Running { controller, .. } => *controller = Some(session.controller()),
                    // The request ended meanwhile; the session is dropped, and so rolled back.
                    Phase::Ended => return Err(Error::SessionEnded),
                }
                *slot = Some(session);
            }
            Ok(SessionGuard { slot })
        }
    }

    /// Has the session rolled back when the answer is ready, whatever the answer's status: for a trial run that is
    /// answered with 200.
    pub fn roll_back(&self) {
        if let Phase::Running { roll_back, .. } = &mut *self.shared.phase() {
            *roll_back = true;
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Shared {
    fn phase(&self) -> std::sync::MutexGuard<'_, Phase> {
        // Each holder makes one assignment, so a panic leaves nothing half done.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Session>().cloned().ok_or_else(|| Problem::no_layer("Session"))
    }
}

/// The session, lent to one part of the request: statements and savepoints as on [`Session`](crate::Session). The layer
/// commits it.
#[derive(Debug)]
pub struct SessionGuard {
    slot: OwnedMutexGuard<Option<session::Session>>,
}

impl Deref for SessionGuard {
    type Target = session::Session;

    fn deref(&self) -> &session::Session {
        self.slot.as_ref().expect("a guard is made after its session")
    }
}

impl DerefMut for SessionGuard {
    fn deref_mut(&mut self) -> &mut session::Session {
        self.slot.as_mut().expect("a guard is made after its session")
    }
}

/// The layer's end of the session. Dropped without [`end`](Self::end), it rolls back.
pub(super) struct Writing {
    shared: Arc<Shared>,
}

impl Writing {
    /// Commits or rolls back, by the answer's status, and gives the answer to send.
    pub(super) async fn end(self, response: Response) -> Response {
        let in_use = self.shared.session.try_lock().is_err();
        let Phase::Running { controller: Some(controller), roll_back } =
            mem::replace(&mut *self.shared.phase(), Phase::Ended)
        else {
            return response;
        };
        let failed = response.status().as_u16() >= 400;
        let ended = if failed || roll_back {
            // Awaited, so that the answer comes after the connection is free. That it failed changes nothing for the
            // client: what is not committed is not stored.
            if let Err(error) = controller.rollback().await {
                tracing::debug!(%error, "a request's session was not rolled back by us");
            }
            return response;
        } else if in_use {
            drop(controller);
            return Problem::still_in_use().into_response();
        } else {
            controller.commit().await
        };
        match ended {
            Ok(()) => response,
            Err(error) => error.into_response(),
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // A controller that is dropped rolls back.
        *self.shared.phase() = Phase::Ended;
    }
}
