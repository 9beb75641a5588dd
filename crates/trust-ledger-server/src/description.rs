//! The API's own description: OpenAPI 3.1, made from the routes, and a page to try it.

use std::collections::BTreeMap;

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use axum::middleware::map_response;
use axum::response::Response;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr,
    ResponseBuilder,
};
use utoipa::{IntoResponses, PartialSchema};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::auth::SCHEME;
use crate::problem::Document;
use crate::service::Service;

const TEXT: &str = "The register of certificates: what is valid, what expires next, what was revoked.

Every path below `/v1` needs a token, made by `trust-ledger token create NAME --role ROLE`, as `Authorization: Bearer TOKEN`. \
The role that an operation needs stands at the operation; every role may read, and `admin` may do all.

Errors are problem documents (RFC 9457, `application/problem+json`). Every answer has an `x-request-id`; the log and the \
audit trail name it too. Times are RFC 3339 in UTC, serials are text: minimal lower-case hex, `-` in front of negative ones. \
Fields may be added and never change.";

/// The description without its paths.
pub(crate) fn head() -> OpenApi {
    let mut scheme = Http::new(HttpAuthScheme::Bearer);
    scheme.description = Some("A token of `trust-ledger token create`.".to_owned());
    let license = LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build();
    let info = InfoBuilder::new()
        .title("trust-ledger")
        // The API's, which is in its paths; a new release of the program is no new API.
        .version("1")
        .description(Some(TEXT))
        .license(Some(license))
        .build();
    let tag = |name: &str, text: &str| TagBuilder::new().name(name).description(Some(text)).build();
    OpenApiBuilder::new()
        .info(info)
        .components(Some(
            ComponentsBuilder::new()
                .security_scheme(SCHEME, SecurityScheme::Http(scheme))
                .schema("Problem", Document::schema())
                .build(),
        ))
        .tags(Some([
            tag("certificates", "What was issued, or is trusted."),
            tag("revocations", "What is not to be relied on any more. Recorded here only: no CA is told."),
            tag("ledger", "The ledger as a whole."),
            tag("operation", "For whoever runs the service. Needs no token."),
        ]))
        .build()
}

/// The answers of every operation that needs a token.
pub(crate) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let problems = [
            ("400", "A parameter, header or body is malformed."),
            ("401", "No token, or one that is unknown, expired or revoked."),
            ("403", "The token's role does not allow it."),
            ("404", "There is no such thing."),
            ("406", "None of the accepted types can be had."),
            ("408", "The body stopped coming."),
            ("413", "The body is too large."),
            ("415", "The body is of another type."),
            ("422", "The body was understood, and cannot be taken."),
            ("429", "Too many requests; see Retry-After."),
            ("431", "The request's line and headers are too large."),
            ("500", "Something failed here, or the outcome of a commit is not known."),
            ("503", "Too much is going on, or the database cannot be reached; see Retry-After."),
        ];
        let content = || ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = |text| {
            ResponseBuilder::new().description(text).content("application/problem+json", content()).build().into()
        };
        problems.into_iter().map(|(status, text)| (status.to_owned(), response(text))).collect()
    }
}

/// `/openapi.json`, and `/docs`, a page to read and try it with.
pub(crate) fn pages(description: OpenApi) -> Router<Service> {
    let config = Config::default().try_it_out_enabled(true).persist_authorization(false).validator_url("none");
    let pages: Router<Service> = SwaggerUi::new("/docs").url("/openapi.json", description).config(config).into();
    pages.layer(map_response(async |mut response: Response| {
        // Scripts and styles of this service and no others; the page writes styles into itself.
        let policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; frame-ancestors 'none'";
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
        response
    }))
}
