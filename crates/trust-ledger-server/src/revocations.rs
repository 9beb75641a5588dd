//! CRLs in, and what a CRL must hold out.

use std::io::Cursor;
use std::ops::ControlFlow;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument;
use trust_ledger_registry::intake::{self, Object};
use trust_ledger_registry::{Annotations, CrlEntry, CrlQuery, ImportInput, ImportOptions, ImportSummary, Registry};
use utoipa::IntoParams;
use uuid::Uuid;

use crate::auth::Caller;
use crate::body::{self, Moment, Query};
use crate::description::Problems;
use crate::media::{self, JSON, NDJSON};
use crate::problem::{Chain, Kind, Problem};
use crate::service::Service;

/// Bytes of entries that are sent together.
const TOGETHER: usize = 32 << 10;

/// Pieces that wait for the client.
const WAITING: usize = 4;

/// Bytes of an answer from which on it is sent while it is read. What is shorter has an ETag.
const WHOLE: usize = 1 << 20;

/// What is said about the CRL.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ImportParameters {
    /// Where it comes from. Default: who sends it.
    source: Option<String>,
}

/// Record a CRL
///
/// As DER or PEM. It is believed when its issuer signed it; while its issuer is not known, what it says is marked as not
/// checked, and checked when the issuer's certificate is registered. What the ledger had already is not recorded again.
#[utoipa::path(
    post,
    path = "/v1/crls",
    tag = "revocations",
    params(ImportParameters),
    request_body(description = "The CRL.", content((String = "application/pkix-crl"), (String = "application/x-pem-file"))),
    responses((status = 200, description = "What was recorded.", body = ImportSummary), Problems),
    security(("token" = ["revoker"]))
)]
pub(crate) async fn import(
    State(service): State<Service>,
    Query(parameters): Query<ImportParameters>,
    caller: Caller,
    request: Request,
) -> Result<Json<ImportSummary>, Problem> {
    let found = body::content_type(request.headers());
    let is_crl = matches!(
        found.as_deref(),
        Some("application/pkix-crl" | "application/x-pem-file" | "application/octet-stream" | "text/plain")
    );
    if !is_crl {
        let found = found.map_or("none is named".to_owned(), |found| format!("it is {found:?}"));
        let detail = format!("the body must be application/pkix-crl (DER) or application/x-pem-file; {found}");
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    let body = body::read(request, service.settings.limits.revocation_list).await?;
    only_lists(&body)?;
    let registry = caller.acting_in(&service.registry);
    let source = Some(parameters.source.unwrap_or_else(|| caller.name().to_owned()));
    let options =
        ImportOptions { annotations: Annotations { source, ..Annotations::default() }, ..ImportOptions::default() };
    let input = ImportInput::Stream { name: "the body".to_owned(), reader: Box::new(Cursor::new(body)) };
    let summary = registry.import(vec![input], &options, &mut |_| {}).await.map_err(|stopped| stopped.error)?;
    if let Some(refusal) = summary.refused.first().filter(|_| summary.refused_count > 0) {
        return Err(Problem::unprocessable(format!("{}: {}", refusal.position, refusal.reason)));
    }
    if summary.forged.is_empty() { Ok(Json(summary)) } else { Err(forged()) }
}

fn forged() -> Problem {
    Problem::unprocessable("the CRL's issuer is known and did not sign it: nothing that it says is believed")
}

/// Whoever may record revocations may not register certificates by it.
fn only_lists(body: &Bytes) -> Result<(), Problem> {
    let (mut lists, mut other) = (0, None);
    let read = intake::read(&**body, "the body", &mut |object| {
        match object.object {
            Object::RevocationList(_) => lists += 1,
            Object::Refused(reason) => other = Some(format!("{}: {reason}", object.position)),
            Object::Certificate(_) => {
                other = Some("the body holds a certificate: POST it to /v1/certificates".to_owned())
            }
            Object::Skipped(what) => other = Some(format!("the body holds {what}")),
            _ => other = Some("the body holds something else than a CRL".to_owned()),
        }
        if other.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    // What is in memory can be read.
    read.map_err(|error| Problem::internal(&error))?;
    match other {
        Some(other) => Err(Problem::unprocessable(other)),
        None if lists == 0 => Err(Problem::unprocessable("the body holds no CRL")),
        None => Ok(()),
    }
}

/// Which entries are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EntriesParameters {
    /// The issuer's id; `/v1/issuers` has them.
    issuer: Uuid,
    /// thisUpdate of the issuer's last CRL; what expired since is listed once more (RFC 5280 §3.3).
    #[param(value_type = Option<Moment>)]
    last_crl: Option<Moment>,
    /// Only what was revoked at or after this.
    #[param(value_type = Option<Moment>)]
    since: Option<Moment>,
    /// Only what was revoked within so many seconds.
    revoked_within_s: Option<u64>,
}

/// List what a CRL must hold
///
/// The revoked certificates of an issuer that have not expired, in the order of their serials, of one moment. As one JSON
/// array, or a line each as `application/x-ndjson`. An answer that breaks off is no CRL: it has no proper end.
#[utoipa::path(
    get,
    path = "/v1/crl-entries",
    tag = "revocations",
    params(EntriesParameters),
    responses(
        (status = 200, description = "The entries.", content(
            (Vec<CrlEntry> = "application/json"),
            (CrlEntry = "application/x-ndjson"),
        ), headers(
            ("etag" = String, description = "For If-None-Match; absent on an answer of over 1 MiB, which is sent while it is read."),
        )),
        (status = 304, description = "`If-None-Match` names what is there."),
        Problems
    ),
    security(("token" = ["reader"]))
)]
pub(crate) async fn entries(
    State(service): State<Service>,
    headers: HeaderMap,
    Query(parameters): Query<EntriesParameters>,
) -> Result<Response, Problem> {
    let kind = media::negotiate(&headers, &[JSON, NDJSON])?;
    let query = CrlQuery {
        last_crl: parameters.last_crl.map(|Moment(at)| at),
        since: parameters.since.map(|Moment(at)| at),
        revoked_within: parameters.revoked_within_s.map(Duration::from_secs),
    };
    let (begun, begins) = oneshot::channel();
    let (pieces, mut taken) = mpsc::channel::<Result<Vec<u8>, std::io::Error>>(WAITING);
    let reading = read_entries(service.registry.clone(), parameters.issuer, query, kind == JSON, begun, pieces);
    tokio::spawn(reading.in_current_span());
    // It says something in any case, unless it panicked.
    begins.await.map_err(|error| Problem::internal(&error))??;
    let mut first = Vec::new();
    while first.len() < WHOLE {
        match taken.recv().await {
            Some(Ok(piece)) => first.extend_from_slice(&piece),
            Some(Err(error)) => return Err(Problem::internal(&error)),
            None => return Ok(media::tagged(&headers, kind, first.into())),
        }
    }
    let rest = stream::unfold(taken, async |mut taken| Some((taken.recv().await?, taken)));
    let body = Body::from_stream(stream::once(async { Ok(first) }).chain(rest));
    Ok(([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store")], body).into_response())
}

/// Reads the entries and sends them in pieces, until nobody takes them any more.
async fn read_entries(
    registry: Registry,
    issuer: Uuid,
    query: CrlQuery,
    is_array: bool,
    begun: oneshot::Sender<Result<(), Problem>>,
    pieces: mpsc::Sender<Result<Vec<u8>, std::io::Error>>,
) {
    let mut entries = match registry.crl_entries(issuer, &query).await {
        Ok(entries) => entries,
        Err(error) => {
            let _ = begun.send(Err(error.into()));
            return;
        }
    };
    let _ = begun.send(Ok(()));
    let mut piece: Vec<u8> = Vec::with_capacity(TOGETHER + 1024);
    let mut is_first = true;
    while let Some(entry) = entries.next().await {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                tracing::error!(error = %Chain(&error), "a list of CRL entries broke off");
                // The connection is closed in the middle of the answer, which no client takes for its end.
                let _ = pieces.send(Err(std::io::Error::other("the ledger failed"))).await;
                return;
            }
        };
        piece.extend_from_slice(match (is_array, is_first) {
            (true, true) => b"[\n",
            (true, false) => b",\n",
            (false, true) => b"",
            (false, false) => b"\n",
        });
        is_first = false;
        // A struct of texts always has a JSON form, and memory takes all of it.
        let _ = serde_json::to_writer(&mut piece, &entry);
        if piece.len() >= TOGETHER && pieces.send(Ok(std::mem::take(&mut piece))).await.is_err() {
            return;
        }
    }
    piece.extend_from_slice(match (is_array, is_first) {
        (true, true) => b"[]\n",
        (true, false) => b"\n]\n",
        (false, true) => b"",
        (false, false) => b"\n",
    });
    let _ = pieces.send(Ok(piece)).await;
}
