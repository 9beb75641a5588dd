//! Forms of an answer: what the client accepts, and whether it has it already.

use axum::body::Body;
use axum::http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LINK};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::problem::{Kind, Problem};

pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";
pub(crate) const PEM: &str = "application/pem-certificate-chain";
pub(crate) const DER: &str = "application/pkix-cert";

/// Bytes of a record as JSON, with room to spare.
const USUAL_LENGTH: usize = 2048;

/// Which of the offered types the client likes best (RFC 9110, section 12.5.1); of those it likes alike, the first offered.
pub(crate) fn negotiate(headers: &HeaderMap, offered: &[&'static str]) -> Result<&'static str, Problem> {
    let accepted: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let accepted = if accepted.is_empty() { "*/*".to_owned() } else { accepted.join(",") };
    // Negated, so that of equals the first is the least.
    let liking = |kind: &&&'static str| -quality(&accepted, kind);
    let best = offered.iter().min_by_key(liking).filter(|kind| quality(&accepted, kind) > 0);
    best.copied().ok_or_else(|| {
        Problem::new(
            Kind::NotAcceptable,
            format!("the answer can be {}; accepted is {accepted:?}", offered.join(" or ")),
        )
    })
}

/// What an `Accept` header says of a type, in thousandths: the most specific range decides.
fn quality(accepted: &str, kind: &str) -> i32 {
    let main = kind.split('/').next().unwrap_or_default();
    let mut best = (0, 0);
    for range in accepted.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let specific = match name.split_once('/') {
            _ if name == kind => 3,
            Some((of, "*")) if of == main => 2,
            Some(("*", "*")) => 1,
            _ => continue,
        };
        let quality = parts
            .find_map(|part| part.strip_prefix(['q', 'Q'])?.strip_prefix('='))
            .map_or(Some(1.0), |text| text.parse::<f32>().ok());
        if specific >= best.0 {
            // Between 0 and 1000 after the clamp.
            #[expect(clippy::cast_possible_truncation, reason = "clamped")]
            let thousandths = (quality.unwrap_or(0.0).clamp(0.0, 1.0) * 1000.0) as i32;
            best = (specific, thousandths);
        }
    }
    best.1
}

/// Something that was read, as JSON with an ETag; only that it is unchanged when the client has it.
pub(crate) fn json(headers: &HeaderMap, value: &impl Serialize) -> Result<Response, Problem> {
    let mut body = Vec::with_capacity(USUAL_LENGTH);
    serde_json::to_writer(&mut body, value).map_err(|error| Problem::internal(&error))?;
    Ok(tagged(headers, JSON, body.into()))
}

/// Something that was read, with an ETag.
pub(crate) fn tagged(headers: &HeaderMap, kind: &'static str, body: Bytes) -> Response {
    let tag = etag(&body);
    let has_it = headers.get_all(IF_NONE_MATCH).iter().any(|value| names(value, &tag));
    let mut response = if has_it {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, kind)], Body::from(body)).into_response()
    };
    // Hex within quotes is what a header may hold.
    if let Ok(value) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, value);
    }
    // What is read may be kept by who asked, and is to be asked for anew each time.
    response.headers_mut().insert(axum::http::header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response.headers_mut().insert(axum::http::header::VARY, HeaderValue::from_static("accept, authorization"));
    response
}

/// The strong validator of a body: the first half of its SHA-256.
pub(crate) fn etag(body: &[u8]) -> String {
    let hash = Sha256::digest(body);
    let half = u128::from_be_bytes(std::array::from_fn(|index| hash[index]));
    format!("\"{half:032x}\"")
}

/// Whether a list of entity tags (`If-Match`, `If-None-Match`) names one.
pub(crate) fn names(value: &HeaderValue, tag: &str) -> bool {
    let named =
        |text: &str| text.split(',').any(|one| matches!(one.trim(), "*") || one.trim().trim_start_matches("W/") == tag);
    value.to_str().is_ok_and(named)
}

/// The header that says where a list goes on: the same query with another cursor.
pub(crate) fn next_page(uri: &Uri, cursor: &str) -> (HeaderName, String) {
    let rest = uri.query().unwrap_or_default().split('&');
    let kept = rest.filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let query: Vec<&str> = kept.collect();
    let and = if query.is_empty() { "" } else { "&" };
    (LINK, format!("<{}?{}{and}cursor={cursor}>; rel=\"next\"", uri.path(), query.join("&")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepting(text: &str) -> Result<&'static str, Problem> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_str(text).unwrap())]);
        negotiate(&headers, &[JSON, PEM, DER])
    }

    #[test]
    fn the_form_is_what_the_client_likes_best() {
        assert_eq!(negotiate(&HeaderMap::new(), &[JSON, PEM]).unwrap(), JSON);
        for (accept, expected) in [
            ("*/*", JSON),
            ("application/*", JSON),
            ("application/pkix-cert", DER),
            ("Application/PEM-certificate-chain;q=0.9, application/json;q=0.5", PEM),
            ("application/json;q=0, */*", PEM),
            ("application/json;Q=0, */*", PEM),
            ("text/html, application/pkix-cert;q=0.1", DER),
        ] {
            assert_eq!(accepting(accept).unwrap(), expected, "{accept}");
        }
        for accept in ["text/html", "application/json;q=0", "nonsense"] {
            assert_eq!(accepting(accept).unwrap_err().status(), StatusCode::NOT_ACCEPTABLE, "{accept}");
        }
    }

    #[test]
    fn the_next_page_has_the_query_of_this_one_and_another_cursor() {
        let next = |uri: &str| next_page(&uri.parse().unwrap(), "B").1;
        assert_eq!(next("/v1/certificates"), "</v1/certificates?cursor=B>; rel=\"next\"");
        assert_eq!(next("/x?a=%20b&cursor=A&limit=2"), "</x?a=%20b&limit=2&cursor=B>; rel=\"next\"");
    }

    #[test]
    fn tags_are_compared_one_by_one() {
        let is_named = |text: &str| names(&HeaderValue::from_str(text).unwrap(), "\"ab\"");
        assert!(is_named("\"ab\"") && is_named("\"x\", W/\"ab\"") && is_named("*"));
        assert!(!is_named("\"abc\"") && !is_named("ab"));
    }
}
