//! One certificate.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use trust_ledger_registry::Record;
use trust_ledger_registry::certificate::pem;

use super::Which;
use crate::body::Segment;
use crate::description::Problems;
use crate::media::{self, DER, JSON, PEM};
use crate::problem::Problem;
use crate::service::Service;

/// Get a certificate
///
/// By its id or its SHA-256 fingerprint, in the form that `Accept` asks for. The JSON's ETag is good for `If-Match` of a
/// change.
#[utoipa::path(
    get,
    path = "/v1/certificates/{certificate}",
    tag = "certificates",
    params((
            "certificate" = String,
            Path,
            description = "Its id, or its SHA-256 in hex.",
            pattern = "^([0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{64})$"
        )),
    responses(
        (status = 200, description = "The certificate.", content(
            (Record = "application/json"),
            (String = "application/pem-certificate-chain"),
            (String = "application/pkix-cert"),
        )),
        (status = 304, description = "`If-None-Match` names what is there."),
        Problems
    ),
    security(("token" = ["reader"]))
)]
pub(crate) async fn get(
    State(service): State<Service>,
    Segment(certificate): Segment,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let kind = media::negotiate(&headers, &[JSON, PEM, DER])?;
    let record = Which::parse(&certificate)?.find(&service.registry).await?;
    if kind == JSON {
        return media::json(&headers, &record);
    }
    let der = service.registry.der(record.id).await?;
    let der = der.ok_or_else(|| Problem::not_found("the certificate was deleted meanwhile"))?;
    let body = if kind == PEM { pem(&der).into_bytes() } else { der };
    Ok(media::tagged(&headers, kind, body.into()))
}
