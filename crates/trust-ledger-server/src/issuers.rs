//! `/v1/issuers`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use trust_ledger_registry::Issuer;
use utoipa::{IntoParams, ToSchema};

use crate::body::Query;
use crate::description::Problems;
use crate::media;
use crate::problem::Problem;
use crate::service::Service;

/// Which issuers.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Parameters {
    /// Only those with this in their names, in any case.
    name: Option<String>,
}

/// Issuers, by name.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuerList {
    /// The issuers.
    issuers: Vec<Issuer>,
}

/// List issuers
///
/// Those with certificates or revocations in the ledger, and those whose own certificate is known.
#[utoipa::path(
    get,
    path = "/v1/issuers",
    tag = "certificates",
    params(Parameters),
    responses(
        (status = 200, description = "The issuers.", body = IssuerList),
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
    let mut issuers = service.registry.issuers().await?;
    if let Some(wanted) = parameters.name.map(|name| name.to_lowercase()) {
        issuers.retain(|issuer| issuer.name.to_lowercase().contains(&wanted));
    }
    media::json(&headers, &IssuerList { issuers })
}
