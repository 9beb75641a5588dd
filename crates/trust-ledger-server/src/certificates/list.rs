//! Lists of certificates.

use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use trust_ledger_registry::{Category, Filter, NamePattern, NamePatternError, Page, Record, Serial, Status};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::body::{Moment, Query};
use crate::description::Problems;
use crate::media;
use crate::problem::Problem;
use crate::service::Service;

/// Records on a page, at most.
const MOST: u32 = 1_000;

/// Conditions that all have to hold, and which part of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Parameters {
    /// With this serial, in hex.
    #[param(pattern = "^-?(0x)?[0-9a-fA-F:]*[0-9a-fA-F][0-9a-fA-F:]*$")]
    serial: Option<String>,
    /// Of this issuer: its id.
    issuer: Option<Uuid>,
    /// With this name, common or alternative: exact, `text*`, `*.domain` or `*@domain`.
    name: Option<String>,
    /// With this status now.
    status: Option<Status>,
    /// Of this category.
    category: Option<Category>,
    /// Of this owner.
    owner: Option<String>,
    /// With this tag.
    tag: Option<String>,
    /// From this source.
    source: Option<String>,
    /// Only with findings: weak keys and signatures, duplicate serials, keys used twice.
    weak: bool,
    /// Valid until before this.
    #[param(value_type = Option<Moment>)]
    expires_before: Option<Moment>,
    /// Valid until this or longer.
    #[param(value_type = Option<Moment>)]
    expires_after: Option<Moment>,
    /// Registered before this.
    #[param(value_type = Option<Moment>)]
    registered_before: Option<Moment>,
    /// Registered at or after this.
    #[param(value_type = Option<Moment>)]
    registered_after: Option<Moment>,
    /// Certificates on the page at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// Where the page begins: `next` of the page before.
    #[param(format = Uuid)]
    cursor: Option<String>,
    /// Whether to count all that match.
    total: bool,
}

/// A part of a list, newest registered first.
#[derive(Serialize, ToSchema)]
pub(crate) struct CertificateList {
    /// The certificates.
    certificates: Vec<Record>,
    /// The cursor of the next page; null on the last.
    next: Option<String>,
    /// How many match, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
}

/// List certificates
///
/// Newest registered first, a page at a time: the answer's `next`, and its header `Link` with `rel="next"`, say where it goes
/// on.
#[utoipa::path(
    get,
    path = "/v1/certificates",
    tag = "certificates",
    params(Parameters),
    responses(
        (status = 200, description = "A page.", body = CertificateList, headers(
            ("link" = String, description = "The next page, with rel=\"next\"; absent on the last."),
            ("etag" = String, description = "For If-None-Match."),
        )),
        (status = 304, description = "`If-None-Match` names what is there."),
        Problems
    ),
    security(("token" = ["reader"]))
)]
pub(crate) async fn get(
    State(service): State<Service>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    Query(parameters): Query<Parameters>,
) -> Result<Response, Problem> {
    let page = Page { after: parameters.cursor.clone(), limit: limit(parameters.limit)?, total: parameters.total };
    let listed = service.registry.list(&parameters.filter()?, &page).await?;
    let link = listed.next.as_deref().map(|cursor| media::next_page(&uri, cursor));
    let list = CertificateList { certificates: listed.records, next: listed.next, total: listed.total };
    let response = media::json(&headers, &list)?;
    Ok((link.map(|link| [link]), response).into_response())
}

/// The size of a page.
pub(crate) fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    match asked {
        None => Ok(Page::default().limit),
        Some(limit @ 1..=MOST) => Ok(limit),
        Some(other) => Err(Problem::malformed(format!("limit is 1 to {MOST}, not {other}"))),
    }
}

impl Parameters {
    fn filter(self) -> Result<Filter, Problem> {
        let name = self.name.as_deref().map(NamePattern::parse).transpose();
        Ok(Filter {
            serial: self.serial.as_deref().map(serial).transpose()?,
            status: self.status,
            category: self.category,
            issuer: self.issuer,
            name: name.map_err(|error| Problem::malformed(unusable(&error)))?,
            owner: self.owner,
            tag: self.tag,
            source: self.source,
            weak: self.weak,
            expires_from: self.expires_after.map(|Moment(at)| at),
            expires_until: self.expires_before.map(|Moment(at)| at),
            registered_from: self.registered_after.map(|Moment(at)| at),
            registered_until: self.registered_before.map(|Moment(at)| at),
        })
    }
}

fn unusable(error: &NamePatternError) -> String {
    match error {
        NamePatternError::NeedsScan { pattern } => {
            format!("name: {pattern:?} would have to look at every name: write a name, text*, *.domain or *@domain")
        }
        error => format!("name: {error}"),
    }
}

/// A serial as the ledger's JSON writes it; colons and `0x` are allowed.
fn serial(text: &str) -> Result<Serial, Problem> {
    let digits: String = text.chars().filter(|character| *character != ':').collect();
    let (sign, digits) = digits.strip_prefix('-').map_or(("", &*digits), |digits| ("-", digits));
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    let parsed = Serial::parse_candidates(&format!("{sign}0x{digits}"));
    let wrong = || Problem::malformed(format!("serial: {text:?} is no serial in hex"));
    parsed.map_err(|_| wrong())?.into_iter().next().ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_hex_in_any_common_spelling() {
        for text in ["10", "0x10", "00:10", "0010"] {
            assert_eq!(serial(text).unwrap().to_decimal(), "16", "{text}");
        }
        assert_eq!(serial("-1").unwrap().to_decimal(), "-1");
        for text in ["", "0x", "xyz", "--1", "1 0"] {
            assert!(serial(text).is_err(), "{text}");
        }
    }
}
