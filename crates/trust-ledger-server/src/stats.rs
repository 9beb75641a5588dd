//! `/v1/stats`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use trust_ledger_registry::Stats;

use crate::description::Problems;
use crate::media;
use crate::problem::Problem;
use crate::service::Service;

/// Count certificates
///
/// By status, category, issuer, finding and month of expiry.
#[utoipa::path(
    get,
    path = "/v1/stats",
    tag = "ledger",
    responses(
        (status = 200, description = "The counts.", body = Stats),
        (status = 304, description = "`If-None-Match` names what is there."),
        Problems
    ),
    security(("token" = ["reader"]))
)]
pub(crate) async fn get(State(service): State<Service>, headers: HeaderMap) -> Result<Response, Problem> {
    media::json(&headers, &service.registry.stats().await?)
}
