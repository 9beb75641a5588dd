//! What expires next.

use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use trust_ledger_registry::{Expiring, Record};
use utoipa::{IntoParams, ToSchema};

use super::list::limit;
use crate::body::Query;
use crate::description::Problems;
use crate::media;
use crate::problem::Problem;
use crate::service::Service;

/// What counts as expiring soon.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Parameters {
    /// Expires within so many days. Default: less than a third of its lifetime or 30 days left, whichever is less.
    #[param(minimum = 0, maximum = 36500)]
    within_days: Option<u32>,
    /// Also what has been replaced already.
    all: bool,
    /// Certificates at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// What expires soon, soonest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExpiringList {
    /// The certificates.
    certificates: Vec<Record>,
}

/// List what expires next
///
/// Valid certificates that expire soon and have not been replaced, soonest first.
#[utoipa::path(
    get,
    path = "/v1/expiring",
    tag = "certificates",
    params(Parameters),
    responses(
        (status = 200, description = "The certificates.", body = ExpiringList),
        (status = 304, description = "`If-None-Match` names what is there."),
        Problems
    ),
    security(("token" = ["reader"]))
)]
pub(crate) async fn get(
    State(service): State<Service>,
    headers: HeaderMap,
    Query(parameters): Query<Parameters>,
) -> Result<Response, Problem> {
    let within = match parameters.within_days {
        None => None,
        Some(days @ ..=36_500) => Some(Duration::from_secs(u64::from(days) * 86_400)),
        Some(other) => return Err(Problem::malformed(format!("within_days is 0 to 36500, not {other}"))),
    };
    let limit = limit(parameters.limit)?;
    let question = Expiring { within, all: parameters.all, limit, ..Expiring::default() };
    let certificates = service.registry.expiring(&question).await?;
    media::json(&headers, &ExpiringList { certificates })
}
