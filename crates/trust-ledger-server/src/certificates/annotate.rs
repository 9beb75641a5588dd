//! Changing what people say about a certificate.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::IF_MATCH;
use axum::response::Response;
use serde::{Deserialize, Deserializer};
use trust_ledger_registry::{Annotated, AnnotationChange, Category, Record};
use utoipa::ToSchema;

use super::{Which, changed};
use crate::auth::Caller;
use crate::body::{Json, Segment};
use crate::description::Problems;
use crate::media;
use crate::problem::{Document, Kind, Problem};
use crate::service::Service;

/// A JSON merge patch (RFC 7396): what is left out stays, null removes.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AnnotationPatch {
    /// Who answers for it.
    #[serde(deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    owner: Option<Option<String>>,
    /// Free text.
    #[serde(deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    note: Option<Option<String>>,
    /// Where it comes from.
    #[serde(deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    source: Option<Option<String>>,
    /// All of its tags.
    #[serde(deserialize_with = "said")]
    #[schema(value_type = Option<Vec<String>>)]
    tags: Option<Option<Vec<String>>>,
    /// What it is used for; cannot be removed.
    category: Option<Category>,
}

/// Tells null from what is left out.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl AnnotationPatch {
    fn change(self) -> AnnotationChange {
        // The registry removes text that is empty.
        let text = |said: Option<Option<String>>| said.map(Option::unwrap_or_default);
        AnnotationChange {
            owner: text(self.owner),
            note: text(self.note),
            source: text(self.source),
            tags: self.tags.map(Option::unwrap_or_default),
            category: self.category,
            ..AnnotationChange::default()
        }
    }
}

/// Change what is said about a certificate
///
/// Owner, tags, note, source and category, as a JSON merge patch. With `If-Match` only if nobody changed it since it was
/// read.
#[utoipa::path(
    patch,
    path = "/v1/certificates/{certificate}",
    tag = "certificates",
    params(
        (
            "certificate" = String,
            Path,
            description = "Its id, or its SHA-256 in hex.",
            pattern = "^([0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{64})$"
        ),
        ("if-match" = Option<String>, Header, description = "The ETag of the JSON that was read."),
    ),
    request_body(content((AnnotationPatch = "application/merge-patch+json"), (AnnotationPatch = "application/json"))),
    responses(
        (status = 200, description = "The certificate as it is now.", body = Record),
        (status = 412, description = "It was changed since.", body = Document, content_type = "application/problem+json"),
        Problems
    ),
    security(("token" = ["registrar"]))
)]
pub(crate) async fn patch(
    State(service): State<Service>,
    Segment(certificate): Segment,
    headers: HeaderMap,
    caller: Caller,
    Json(patch): Json<AnnotationPatch>,
) -> Result<Response, Problem> {
    let registry = caller.acting_in(&service.registry);
    let record = Which::parse(&certificate)?.find(&registry).await?;
    let change = patch.change();
    let annotated = if headers.contains_key(IF_MATCH) {
        let body = serde_json::to_vec(&record).map_err(|error| Problem::internal(&error))?;
        let tag = media::etag(&body);
        match headers.get_all(IF_MATCH).iter().any(|seen| media::names(seen, &tag)) {
            true => registry.annotate_unchanged(&record, &change).await?,
            false => None,
        }
    } else {
        Some(registry.annotate(record.id, &change).await?)
    };
    match annotated {
        None => Err(Problem::new(Kind::PreconditionFailed, "read it again, and decide anew")),
        Some(Annotated::NotFound) => Err(Problem::not_found("the certificate was deleted meanwhile")),
        Some(Annotated::Changed | Annotated::Unchanged) => {
            let record = changed(&registry, record.id).await?;
            media::json(&HeaderMap::new(), &record)
        }
    }
}
