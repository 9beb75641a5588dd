//! Registering certificates: one by one, or as a stream of many.

use std::ops::ControlFlow;

use axum::extract::{OriginalUri, Request, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use trust_ledger_registry::intake::{self, Object};
use trust_ledger_registry::{Annotations, Category, Certificate, Record, Registration};
use utoipa::IntoParams;

use super::{bulk, changed};
use crate::auth::Caller;
use crate::body::{self, Query};
use crate::description::Problems;
use crate::media::NDJSON;
use crate::problem::{Kind, Problem};
use crate::service::Service;

/// What is said about the certificate, or about those of a stream whose lines do not say it themselves.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Parameters {
    /// Where it comes from.
    source: Option<String>,
    /// Who answers for it.
    owner: Option<String>,
    /// Tags, with commas between them.
    tags: Option<String>,
    /// What it is used for; by default what it says about itself.
    category: Option<Category>,
    /// Free text.
    note: Option<String>,
}

impl Parameters {
    fn annotations(self) -> Annotations {
        let tags = self.tags.unwrap_or_default().split(',').map(str::to_owned).collect();
        let Parameters { source, owner, category, note, .. } = self;
        Annotations { source, owner, tags, category, note, files: None }
    }
}

/// Register certificates
///
/// One, as PEM or DER: 201 with its record when it is new, 200 when the ledger had it. A certificate is known by its SHA-256,
/// so sending it again changes nothing.
///
/// Many, as NDJSON (`application/x-ndjson`): on each line an object with `pem`, or `der` in base64, and perhaps `source`,
/// `owner`, `tags` (a list), `category`, `note`. The answer is NDJSON too: for each line, in their order, its number as `line`,
/// the `status` that it would have had alone, and `id` and `fingerprint_sha256`, or `detail`. A line's answer comes after the
/// commit that holds it, while further lines are read; when the connection breaks off, what was answered is durable.
#[utoipa::path(
    post,
    path = "/v1/certificates",
    tag = "certificates",
    params(Parameters),
    request_body(description = "A certificate, or lines with one each.", content(
        (String = "application/pem-certificate-chain"),
        (String = "application/pkix-cert"),
        (bulk::Line = "application/x-ndjson"),
    )),
    responses(
        (status = 201, description = "It is new, and durable.", body = Record),
        (status = 200, description = "It was known; or the answers to a stream.", content(
            (Record = "application/json"),
            (bulk::Answer = "application/x-ndjson"),
        )),
        Problems
    ),
    security(("token" = ["registrar"]))
)]
pub(crate) async fn post(
    State(service): State<Service>,
    OriginalUri(here): OriginalUri,
    Query(parameters): Query<Parameters>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let registry = caller.acting_in(&service.registry);
    let annotations = parameters.annotations();
    let limit = service.settings.limits.body;
    match body::content_type(request.headers()).as_deref() {
        Some(
            "application/pem-certificate-chain"
            | "application/x-pem-file"
            | "application/pkix-cert"
            | "application/x-x509-ca-cert"
            | "application/x-x509-user-cert"
            | "application/octet-stream"
            | "text/plain",
        ) => {}
        Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => {
            let answers = bulk::register(service, registry, annotations, request, limit);
            return Ok(([(CONTENT_TYPE, NDJSON)], answers).into_response());
        }
        found => {
            let found = found.map_or("none is named".to_owned(), |found| format!("it is {found:?}"));
            return Err(Problem::new(
                Kind::UnsupportedMediaType,
                format!(
                    "the body must be application/pem-certificate-chain, application/pkix-cert (DER) or \
                     application/x-ndjson; {found}"
                ),
            ));
        }
    }
    let body = body::read(request, limit).await?;
    let certificate = only_certificate(&body)?;
    let registration = registry.register(&certificate, &annotations).await?;
    let status = match registration {
        Registration::Registered(_) => StatusCode::CREATED,
        Registration::AlreadyKnown(_) => StatusCode::OK,
    };
    let record = changed(&registry, registration.id()).await?;
    let mut response = (status, axum::Json(record)).into_response();
    if let Ok(place) = HeaderValue::from_str(&format!("{}/{}", here.path(), registration.id())) {
        response.headers_mut().insert(LOCATION, place);
    }
    Ok(response)
}

/// The one certificate in a text or DER. Of what else is there, above all of a private key, nothing is said but what it is.
pub(super) fn only_certificate(body: &[u8]) -> Result<Certificate, Problem> {
    let (mut found, mut other) = (Vec::new(), None);
    let read = intake::read(body, "the body", &mut |object| {
        match object.object {
            Object::Certificate(der) => found.push(der),
            Object::Refused(reason) => other = Some(format!("{}: {reason}", object.position)),
            Object::Skipped(what) if other.is_none() => other = Some(format!("the body holds {what}")),
            Object::RevocationList(_) => other = Some("the body holds a CRL: POST it to /v1/crls".to_owned()),
            _ => {}
        }
        if found.len() > 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    // What is in memory can be read.
    read.map_err(|error| Problem::internal(&error))?;
    match (found.as_slice(), other) {
        ([der], None) => Certificate::from_der(der).map_err(|error| Problem::unprocessable(error.to_string())),
        ([], None) => Err(Problem::unprocessable("the body holds no certificate")),
        ([], Some(other)) => Err(Problem::unprocessable(format!("{other}, and no certificate"))),
        ([_], Some(other)) => Err(Problem::unprocessable(format!("{other}, beside the certificate"))),
        _ => Err(Problem::unprocessable(
            "the body holds several certificates: send one, or many as application/x-ndjson",
        )),
    }
}
