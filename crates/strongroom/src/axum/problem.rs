//! What a client is told of an error: a problem document (RFC 9457), without inner detail.

use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

use crate::error::{Error, QueryErrorKind};

/// A problem document, `application/problem+json`. It tells the client what to do and nothing of what lies inside: no SQL,
/// table, server, path or source line. Those go to the log, once, when an [`Error`] becomes a response: as an error for
/// 5xx, else at level debug.
///
/// | error | status | type |
/// |---|---|---|
/// | [`NoRow`](Error::NoRow) | 404 | `about:blank` |
/// | a unique or foreign key constraint | 409 | `urn:strongroom:constraint` |
/// | another constraint | 422 | `urn:strongroom:constraint` |
/// | [`PoolExhausted`](Error::PoolExhausted) | 503, `Retry-After: 1` | `urn:strongroom:busy` |
/// | a conflict with another transaction, a lock, a time-out | 503, `Retry-After: 1` | `urn:strongroom:conflict` |
/// | a server out of reach for now, [`SessionExpired`](Error::SessionExpired), [`Closed`](Error::Closed) | 503, `Retry-After: 5` | `urn:strongroom:unavailable` |
/// | [`CommitUnknown`](Error::CommitUnknown) | 500 | `urn:strongroom:commit-unknown` |
/// | all others | 500 | `about:blank` |
///
/// Types are stable: clients may go by them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    kind: &'static str,
    status: StatusCode,
    title: &'static str,
    detail: &'static str,
    retry_after: Option<u32>,
}

impl Problem {
    /// The HTTP status that it is sent with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    const fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: &'static str) -> Self {
        Problem { kind, status, title, detail, retry_after: None }
    }

    const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    const fn internal() -> Self {
        let detail = "The request could not be completed and nothing was stored. The service's log has the cause.";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "about:blank", "Internal Server Error", detail)
    }

    pub(super) fn no_layer(extractor: &str) -> Self {
        tracing::error!(
            "axum::{extractor} was asked for on a route without a SessionLayer: add the layer to the router"
        );
        Problem::internal()
    }

    pub(super) fn still_in_use() -> Self {
        tracing::error!(
            "a guard of axum::Session was still held when the answer was ready, so the session was rolled back: drop \
             it, and await the tasks that use it, before answering"
        );
        Problem::internal()
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        use QueryErrorKind::{Busy, Check, Constraint, ForeignKey, NotNull, Serialization, Timeout, Unique};

        let broken = |status| {
            let detail = "The data contradicts what is stored, or a rule for it.";
            Problem::new(status, "urn:strongroom:constraint", "Constraint violated", detail)
        };
        let unavailable = {
            let detail = "The database cannot be used at the moment. Nothing was stored; send the request again later.";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "urn:strongroom:unavailable", "Database unavailable", detail)
                .retry_after(5)
        };
        match error {
            Error::NoRow => {
                Problem::new(StatusCode::NOT_FOUND, "about:blank", "Not Found", "What was asked for is not there.")
            }
            Error::PoolExhausted { .. } => {
                let detail = "Too many requests at once. Nothing was stored; send the request again.";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "urn:strongroom:busy", "Database busy", detail)
                    .retry_after(1)
            }
            Error::CommitUnknown { .. } => {
                let detail = "It is unknown whether the request took effect. Read before sending it again.";
                let title = "Outcome unknown";
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "urn:strongroom:commit-unknown", title, detail)
            }
            Error::Query { kind: Unique | ForeignKey, .. } => broken(StatusCode::CONFLICT),
            Error::Query { kind: Check | NotNull | Constraint, .. } => broken(StatusCode::UNPROCESSABLE_ENTITY),
            Error::Query { kind: Serialization | Busy | Timeout, .. } => {
                let detail = "Another request was in the way. Nothing was stored; send the request again.";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "urn:strongroom:conflict", "Conflict, try again", detail)
                    .retry_after(1)
            }
            Error::SessionExpired { .. } | Error::Closed => unavailable,
            error if error.is_passing() => unavailable,
            // A session that refuses because a statement failed before: that one is the answer.
            Error::Transaction { source: Some(source), .. } => Problem::from(&**source),
            _ => Problem::internal(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Problem { kind, status, title, detail, retry_after } = self;
        let document = serde_json::json!({ "type": kind, "title": title, "status": status.as_u16(), "detail": detail });
        let mut response = Response::new(Body::from(document.to_string()));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// The error's [`Problem`], and the error itself into the log.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let problem = Problem::from(&self);
        let cause = std::error::Error::source(&self).map(ToString::to_string);
        if problem.status.is_server_error() {
            tracing::error!(error = %self, cause, status = problem.status.as_u16(), "a request failed");
        } else {
            tracing::debug!(error = %self, cause, status = problem.status.as_u16(), "a request was refused");
        }
        problem.into_response()
    }
}
