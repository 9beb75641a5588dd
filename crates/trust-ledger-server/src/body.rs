//! Bodies and queries of requests: read with patience and limits, refused with a problem that says what is wrong.

use std::error::Error as _;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, Sleep};

use crate::problem::{Kind, Problem};
use crate::service::Service;

/// A body whose sender may pause only so long.
pub(crate) struct Patient {
    inner: Body,
    stall: Duration,
    /// Set while something is waited for.
    until: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    pub(crate) fn new(inner: Body, stall: Duration) -> Patient {
        Patient { inner, stall, until: None }
    }
}

impl http_body::Body for Patient {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            self.until = None;
            return Poll::Ready(frame);
        }
        let deadline = Instant::now() + self.stall;
        let until = self.until.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        ready!(until.as_mut().poll(context));
        Poll::Ready(Some(Err(axum::Error::new(Stalled))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A body that keeps something until its end, or until it is given up.
pub(crate) struct Holding<T> {
    inner: Body,
    _held: T,
}

impl<T> Holding<T> {
    pub(crate) fn new(inner: Body, held: T) -> Holding<T> {
        Holding { inner, _held: held }
    }
}

impl<T: Unpin> http_body::Body for Holding<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Nothing came for too long.
#[derive(Debug)]
struct Stalled;

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing came for too long")
    }
}

impl std::error::Error for Stalled {}

/// What is wrong when a body cannot be read to its end.
pub(crate) fn broken_off(error: &axum::Error) -> Problem {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<Stalled>() {
            return Problem::new(Kind::TooSlow, "the body stopped coming");
        }
        cause = error.source();
    }
    Problem::malformed("the body broke off")
}

/// All of a body, up to a limit.
pub(crate) async fn read(request: Request, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Kind::TooLarge, format!("the body is larger than {limit} bytes"));
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut body = request.into_body();
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| broken_off(&error))?.into_data() else { continue };
        if read.len() + data.len() > limit {
            return Err(too_large());
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

/// The type of a body, in lower case and without parameters.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next()?.trim().to_ascii_lowercase())
}

/// A body of JSON.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Service> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, service: &Service) -> Result<Json<T>, Problem> {
        let found = content_type(request.headers());
        if !matches!(found.as_deref(), Some("application/json" | "application/merge-patch+json")) {
            let found = found.map_or("none is named".to_owned(), |found| format!("it is {found:?}"));
            return Err(Problem::new(
                Kind::UnsupportedMediaType,
                format!("the body must be application/json; {found}"),
            ));
        }
        let body = read(request, service.settings.limits.body).await?;
        // Well-formed JSON that says something else than the description has another status than no JSON. It is always an
        // object: serde would take a list for one without names.
        let object: serde_json::Value =
            serde_json::from_slice(&body).map_err(|error| Problem::malformed(format!("the body: {error}")))?;
        if !object.is_object() {
            return Err(Problem::unprocessable("the body must be a JSON object"));
        }
        T::deserialize(object).map(Json).map_err(|error| Problem::unprocessable(format!("the body: {error}")))
    }
}

/// The parameters of a query.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Query<T>, Problem> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query.map(|axum::extract::Query(query)| Query(query)).map_err(|error| {
            debug_assert_eq!(error.status(), StatusCode::BAD_REQUEST);
            let cause = error.source().map(ToString::to_string);
            Problem::malformed(format!("the query: {}", cause.unwrap_or_else(|| error.to_string())))
        })
    }
}

/// The variable part of a path.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Segment, Problem> {
        let path = axum::extract::Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let wrong = || Problem::malformed("the path is not UTF-8 in percent-encoding");
        // Where the router is mounted, there may be others before it.
        let last = path.map_err(|_| wrong())?.0.pop();
        last.map(|(_, part)| Segment(part)).ok_or_else(wrong)
    }
}

/// A moment in a query or body: RFC 3339, or a day, which begins at midnight UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, utoipa::ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-11-27T00:00:00Z")]
pub(crate) struct Moment(pub(crate) time::OffsetDateTime);

impl<'de> serde::Deserialize<'de> for Moment {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
        use time::format_description::well_known::{Iso8601, Rfc3339};
        let text = String::deserialize(deserializer)?;
        let day = || time::Date::parse(&text, &Iso8601::DATE).map(|day| day.midnight().assume_utc());
        let moment = time::OffsetDateTime::parse(&text, &Rfc3339).or_else(|_| day());
        moment.map(Moment).map_err(|_| {
            serde::de::Error::custom(format_args!("{text:?} is no time: write 2026-11-27T00:00:00Z or 2026-11-27"))
        })
    }
}
