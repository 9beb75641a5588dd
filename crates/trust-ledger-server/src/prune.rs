//! Deleting what expired long ago: on request, and on a schedule.

use std::time::Duration;

use axum::Json as JsonAnswer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::body::{Json, Moment};
use crate::description::Problems;
use crate::problem::{Chain, Problem};
use crate::service::Service;
use crate::settings::Prune;

/// Who the schedule is in the audit trail.
const ACTOR: &str = "trust-ledger serve";

/// How long after the start it begins: what is asked for first is to be quick.
const FIRST: Duration = Duration::from_secs(10);

/// What is to be deleted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PruneRequest {
    /// What expired before this is deleted; not later than now.
    expired_before: Moment,
}

/// What was deleted.
#[derive(Serialize, ToSchema)]
pub(crate) struct PruneAnswer {
    /// Certificates.
    deleted: u64,
}

/// Delete what expired long ago
///
/// Certificates; their revocations and the audit trail stay. In transactions of at most 1,000: when it breaks off, those
/// before stay deleted.
#[utoipa::path(
    post,
    path = "/v1/prune",
    tag = "ledger",
    request_body = PruneRequest,
    responses((status = 200, description = "It is done.", body = PruneAnswer), Problems),
    security(("token" = ["admin"]))
)]
pub(crate) async fn post(
    State(service): State<Service>,
    caller: Caller,
    Json(request): Json<PruneRequest>,
) -> Result<JsonAnswer<PruneAnswer>, Problem> {
    let Moment(before) = request.expired_before;
    // Negative when it lies in the future.
    let expired_for = Duration::try_from(OffsetDateTime::now_utc() - before)
        .map_err(|_| Problem::unprocessable("expired_before lies in the future"))?;
    let pruned = caller.acting_in(&service.registry).prune(expired_for).await?;
    Ok(JsonAnswer(PruneAnswer { deleted: pruned.deleted }))
}

/// Deletes again and again, for as long as it is polled.
pub(crate) async fn on_schedule(service: &Service, prune: Prune) {
    let registry = service.registry.acting_as(ACTOR);
    tokio::time::sleep(FIRST.min(prune.every)).await;
    loop {
        match registry.prune(prune.expired_for).await {
            Ok(pruned) => tracing::info!(deleted = pruned.deleted, "pruned"),
            Err(error) => {
                tracing::error!(error = %Chain(&error), "pruning failed; it is tried again")
            }
        }
        tokio::time::sleep(prune.every).await;
    }
}
