//! What a client is told when something is wrong: a problem document (RFC 9457).
//!
//! The one place where errors become answers. A client learns what it can act on; the cause of a failure of ours goes to the
//! log, with the request's id, and nothing of it into the answer.

use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use trust_ledger_registry::Error;
use utoipa::ToSchema;

/// What is wrong, as a class: it decides status, `type` and `title`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A parameter, header or body is not what the description says.
    Malformed,
    /// No token, or one that is unknown, expired or revoked.
    Unauthenticated,
    /// The token's role does not allow it.
    Forbidden,
    /// There is no such thing, or no such path.
    NotFound,
    /// The path has other methods.
    MethodNotAllowed,
    /// None of the accepted forms can be had.
    NotAcceptable,
    /// The body did not arrive in time.
    TooSlow,
    /// The thing is in a state that does not allow it.
    Conflict,
    /// `If-Match` names another state.
    PreconditionFailed,
    /// The body is larger than allowed.
    TooLarge,
    /// Line and headers are larger than allowed.
    HeadersTooLarge,
    /// The body is of another type.
    UnsupportedMediaType,
    /// The body was understood, and what it says cannot be done.
    Unprocessable,
    /// The client asks more often than allowed.
    TooManyRequests,
    /// Something failed here.
    Internal,
    /// The database lost its connection in a commit.
    OutcomeUnknown,
    /// Too much is going on, or the database cannot be reached.
    Unavailable,
    /// The request took longer than it may.
    TimedOut,
}

impl Kind {
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Kind::Malformed => (StatusCode::BAD_REQUEST, "malformed", "The request is malformed"),
            Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "A valid token is needed"),
            Kind::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "The token's role does not allow this"),
            Kind::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such thing"),
            Kind::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The path does not have this method")
            }
            Kind::NotAcceptable => (StatusCode::NOT_ACCEPTABLE, "not-acceptable", "None of the accepted types is had"),
            Kind::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too-slow", "The request did not arrive in time"),
            Kind::Conflict => (StatusCode::CONFLICT, "conflict", "Its state does not allow this"),
            Kind::PreconditionFailed => {
                (StatusCode::PRECONDITION_FAILED, "precondition-failed", "It was changed meanwhile")
            }
            Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request is too large"),
            Kind::HeadersTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers-too-large",
                "The request's headers are too large",
            ),
            Kind::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body is of another type")
            }
            Kind::Unprocessable => {
                (StatusCode::UNPROCESSABLE_ENTITY, "unprocessable", "What the request asks cannot be done")
            }
            Kind::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests"),
            Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something failed here"),
            Kind::OutcomeUnknown => {
                (StatusCode::INTERNAL_SERVER_ERROR, "outcome-unknown", "Whether it was done is not known")
            }
            Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The service cannot do this now"),
            Kind::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, "timed-out", "The request took too long"),
        }
    }
}

/// An answer that says what is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    /// Seconds after which to try again.
    retry_after: Option<u32>,
}

/// The document of RFC 9457, as it is sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document {
    /// What kind of problem it is: `urn:trust-ledger:problem:` and a word that does not change.
    #[serde(rename = "type")]
    #[schema(example = "urn:trust-ledger:problem:not-found")]
    kind: String,
    /// The kind in words.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// What is wrong with this request, and what to do.
    pub(crate) detail: String,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        Problem { kind, detail: detail.into(), retry_after: None }
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Problem {
        Problem::new(Kind::Malformed, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(Kind::NotFound, detail)
    }

    pub(crate) fn unprocessable(detail: impl Into<String>) -> Problem {
        Problem::new(Kind::Unprocessable, detail)
    }

    /// Something of ours failed: the cause goes to the log.
    pub(crate) fn internal(cause: &dyn std::error::Error) -> Problem {
        tracing::error!(error = %Chain(cause), "a request failed");
        Problem::new(Kind::Internal, "the cause is in the service's log, under this answer's x-request-id")
    }

    pub(crate) fn retry_after(mut self, seconds: u32) -> Problem {
        self.retry_after = Some(seconds);
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.kind.parts().0
    }

    pub(crate) fn document(&self) -> Document {
        let (status, word, title) = self.kind.parts();
        Document {
            kind: format!("urn:trust-ledger:problem:{word}"),
            title,
            status: status.as_u16(),
            detail: self.detail.clone(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // A document of texts and a number always has a JSON form.
        let body = serde_json::to_vec(&self.document()).unwrap_or_default();
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.kind == Kind::HeadersTooLarge {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.kind == Kind::Unauthenticated {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"trust-ledger\""));
        }
        response
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        match error {
            Error::Database(error) => error.into(),
            Error::RevokedInFuture { .. } => Problem::unprocessable(error.to_string()),
            Error::NotExpired { .. } | Error::RevokedUnexpired { .. } => {
                Problem::new(Kind::Conflict, error.to_string())
            }
            Error::Cursor { .. } | Error::PageSize { .. } => Problem::malformed(error.to_string()),
            Error::UnknownIssuer { .. } => Problem::not_found(error.to_string()),
            Error::Contended { .. } => Problem::new(Kind::Unavailable, error.to_string()).retry_after(1),
            other => Problem::internal(&other),
        }
    }
}

impl From<strongroom::Error> for Problem {
    fn from(error: strongroom::Error) -> Problem {
        use strongroom::Error as E;
        use strongroom::QueryErrorKind::{Busy, Full, ReadOnly, Timeout};
        let unavailable = |detail: &str| Problem::new(Kind::Unavailable, detail).retry_after(1);
        match &error {
            E::PoolExhausted { .. } => {
                tracing::warn!(%error, "the database has no connection left");
                unavailable("every connection of the database is in use")
            }
            E::CommitUnknown { .. } => {
                tracing::error!(error = %Chain(&error), "the outcome of a commit is not known");
                Problem::new(Kind::OutcomeUnknown, "the database was lost in the commit: read before you write again")
            }
            E::Connection { .. } | E::Credential { .. } | E::Closed => {
                tracing::error!(error = %Chain(&error), "the database cannot be reached");
                unavailable("the database cannot be reached")
            }
            E::Query { kind: Busy | ReadOnly | Timeout | Full, .. } => {
                tracing::error!(error = %Chain(&error), "the database takes no work");
                unavailable("the database takes no such work now")
            }
            _ if error.is_retryable() => {
                tracing::warn!(error = %Chain(&error), "another transaction was in the way");
                unavailable("another request was in the way")
            }
            _ => Problem::internal(&error),
        }
    }
}

/// An error with its causes, in one line.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
