//! `/v1/audit`.

use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use trust_ledger_registry::{Event, EventFilter, Page};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::body::{Moment, Query};
use crate::certificates::list::limit;
use crate::description::Problems;
use crate::media;
use crate::problem::Problem;
use crate::service::Service;

/// Conditions that all have to hold, and which part of the trail.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Parameters {
    /// Of this certificate, issuer or token: its id.
    object: Option<Uuid>,
    /// Of this kind, such as `certificate.deleted`.
    action: Option<String>,
    /// By this actor: a token's name, or a user of the command line.
    actor: Option<String>,
    /// By this request: the `x-request-id` of its answer.
    request: Option<String>,
    /// At or after.
    #[param(value_type = Option<Moment>)]
    since: Option<Moment>,
    /// Before.
    #[param(value_type = Option<Moment>)]
    until: Option<Moment>,
    /// Events on the page at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// Where the page begins: `next` of the page before.
    #[param(format = Uuid)]
    cursor: Option<String>,
}

/// A part of the audit trail, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct Trail {
    /// The changes.
    events: Vec<Event>,
    /// The cursor of the next page; null on the last.
    next: Option<String>,
}

/// Read the audit trail
///
/// Every change, with who made it, from where, and in which request. Newest first, a page at a time.
#[utoipa::path(
    get,
    path = "/v1/audit",
    tag = "ledger",
    params(Parameters),
    responses(
        (status = 200, description = "A page.", body = Trail, headers(
            ("link" = String, description = "The next page, with rel=\"next\"; absent on the last."),
        )),
        (status = 304, description = "`If-None-Match` names what is there."),
        Problems
    ),
    security(("token" = ["admin"]))
)]
pub(crate) async fn get(
    State(service): State<Service>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    Query(parameters): Query<Parameters>,
) -> Result<Response, Problem> {
    let page = Page { after: parameters.cursor, limit: limit(parameters.limit)?, ..Page::default() };
    let filter = EventFilter {
        object: parameters.object,
        action: parameters.action,
        actor: parameters.actor,
        request: parameters.request,
        since: parameters.since.map(|Moment(at)| at),
        until: parameters.until.map(|Moment(at)| at),
    };
    let found = service.registry.events(&filter, &page).await?;
    let link = found.next.as_deref().map(|cursor| media::next_page(&uri, cursor));
    let response = media::json(&headers, &Trail { events: found.events, next: found.next })?;
    Ok((link.map(|link| [link]), response).into_response())
}
