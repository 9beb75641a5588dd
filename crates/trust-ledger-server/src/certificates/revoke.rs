//! Revoking a certificate, and lifting its hold.

use axum::Json as JsonAnswer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use trust_ledger_registry::{Lift, Record, RevocationReason, RevocationRequest, RevocationTarget, Revoke};
use utoipa::ToSchema;

use super::{Which, changed};
use crate::auth::Caller;
use crate::body::{Json, Moment, Segment};
use crate::description::Problems;
use crate::problem::{Document, Kind, Problem};
use crate::service::Service;

/// How a certificate is to be revoked.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revocation {
    /// Why; `certificateHold` puts it on hold. Default `unspecified`.
    #[serde(default)]
    reason: RevocationReason,
    /// Since when. Default now; the past is allowed.
    revoked_at: Option<Moment>,
    /// Since when the key is thought to be in other hands.
    invalidity_date: Option<Moment>,
    /// Who or what says so.
    source: Option<String>,
}

/// What became of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Revoked {
    /// Whether this request did it.
    outcome: RevokeOutcome,
    /// The certificate as it is now.
    certificate: Record,
    /// That no CA was told.
    note: &'static str,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RevokeOutcome {
    /// It is revoked, or on hold, by this request.
    Revoked,
    /// It was before, and nothing was changed.
    AlreadyRevoked,
}

/// Revoke a certificate
///
/// Or put it on hold, make a hold final, or turn any reason into keyCompromise. Recorded here only: the CA is not told.
#[utoipa::path(
    post,
    path = "/v1/certificates/{certificate}/revoke",
    tag = "revocations",
    params((
            "certificate" = String,
            Path,
            description = "Its id, or its SHA-256 in hex.",
            pattern = "^([0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{64})$"
        )),
    request_body = Revocation,
    responses((status = 200, description = "It is revoked.", body = Revoked), Problems),
    security(("token" = ["revoker"]))
)]
pub(crate) async fn revoke(
    State(service): State<Service>,
    Segment(certificate): Segment,
    caller: Caller,
    Json(revocation): Json<Revocation>,
) -> Result<JsonAnswer<Revoked>, Problem> {
    let registry = caller.acting_in(&service.registry);
    let id = Which::parse(&certificate)?.find(&registry).await?.id;
    let request = RevocationRequest {
        reason: revocation.reason,
        revoked_at: revocation.revoked_at.map(|Moment(at)| at),
        invalidity_date: revocation.invalidity_date.map(|Moment(at)| at),
        source: revocation.source,
    };
    let outcome = match registry.revoke(&RevocationTarget::Id(id), &request).await? {
        Revoke::Revoked => RevokeOutcome::Revoked,
        Revoke::AlreadyRevoked { .. } => RevokeOutcome::AlreadyRevoked,
        Revoke::NotFound => return Err(Problem::not_found("the certificate was deleted meanwhile")),
    };
    let certificate = changed(&registry, id).await?;
    Ok(JsonAnswer(Revoked { outcome, certificate, note: "recorded here only; your CA was not told" }))
}

/// What became of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Lifted {
    /// Whether this request did it.
    outcome: LiftOutcome,
    /// The certificate as it is now.
    certificate: Record,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LiftOutcome {
    /// The hold is lifted by this request.
    Lifted,
    /// It was not on hold, and nothing was changed.
    NotOnHold,
}

/// Lift a hold
///
/// The certificate is then as if it had never been on hold; only the audit trail knows.
#[utoipa::path(
    post,
    path = "/v1/certificates/{certificate}/lift-hold",
    tag = "revocations",
    params((
            "certificate" = String,
            Path,
            description = "Its id, or its SHA-256 in hex.",
            pattern = "^([0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{64})$"
        )),
    responses(
        (status = 200, description = "It is not on hold.", body = Lifted),
        (status = 409, description = "It is revoked for good.", body = Document, content_type = "application/problem+json"),
        Problems
    ),
    security(("token" = ["revoker"]))
)]
pub(crate) async fn lift_hold(
    State(service): State<Service>,
    Segment(certificate): Segment,
    caller: Caller,
) -> Result<JsonAnswer<Lifted>, Problem> {
    let registry = caller.acting_in(&service.registry);
    let id = Which::parse(&certificate)?.find(&registry).await?.id;
    let outcome = match registry.lift_hold(&RevocationTarget::Id(id)).await? {
        Lift::Lifted => LiftOutcome::Lifted,
        Lift::NotOnHold => LiftOutcome::NotOnHold,
        Lift::Revoked { reason, .. } => {
            return Err(Problem::new(Kind::Conflict, format!("it is revoked for good: {reason}")));
        }
        Lift::NotFound => return Err(Problem::not_found("the certificate was deleted meanwhile")),
    };
    Ok(JsonAnswer(Lifted { outcome, certificate: changed(&registry, id).await? }))
}
