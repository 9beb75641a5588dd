//! The layer that gives a request its sessions, and ends them.

use std::convert::Infallible;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum_core::body::Body;
use axum_core::extract::Request;
use axum_core::response::Response;
use tower_layer::Layer;
use tower_service::Service;

use super::body::HoldingBody;
use super::{ReadSession, Session};
use crate::database::Database;

/// Gives each request a [`Session`] and a [`ReadSession`] on a database; see the [module](super).
///
/// What is added to a router after it (outside it) has no session. A time-out belongs outside it, so that it covers the
/// commit too. A service with several databases makes this layer for one of them.
#[derive(Clone, Debug)]
pub struct SessionLayer {
    db: Database,
}

impl SessionLayer {
    /// Sessions of `db`, opened when a request first uses them.
    pub fn new(db: Database) -> Self {
        SessionLayer { db }
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService { inner, db: self.db.clone() }
    }
}

/// The service that [`SessionLayer`] makes.
///
/// # Cancel safety
///
/// Its future dropped, the write session is rolled back and the read session ended, also when a task of the handler's own
/// has kept them. Dropped during the commit, that may take effect or not.
#[derive(Clone, Debug)]
pub struct SessionService<S> {
    inner: S,
    db: Database,
}

impl<S> Service<Request> for SessionService<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let (session, writing) = Session::of_request(self.db.clone());
        let (read_session, reading) = ReadSession::of_request(self.db.clone());
        request.extensions_mut().insert(session);
        request.extensions_mut().insert(read_session);
        // The one that was asked whether it is ready is the one to call; its clone may not be.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let response = inner.call(request).await?;
            let response = writing.end(response).await;
            Ok(response.map(|body| Body::new(HoldingBody { body, reading: Some(reading) })))
        })
    }
}
