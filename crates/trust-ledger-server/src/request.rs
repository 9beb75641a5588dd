//! What holds for every request: an id, a line in the log, limits, an answer whatever happens.

use std::any::Any;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, OriginalUri, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http_body::Body as _;
use tracing::Instrument;
use trust_ledger_registry::Token;
use uuid::Uuid;

use crate::auth::too_many;
use crate::body::{Holding, Patient};
use crate::problem::{Kind, Problem};
use crate::service::Service;

/// The header that names the request, in every answer.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Headers of a request at most.
const HEADERS: usize = 100;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Routes whose work grows with what is asked of them.
const LONG: [&str; 2] = ["/v1/crls", "/v1/prune"];

/// The other end of the connection: put into a request's extensions by whoever accepts connections.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Who asks, and in which request.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    pub(crate) request: Uuid,
    /// For the log, once it is known.
    token: Arc<OnceLock<Arc<Token>>>,
}

impl Client {
    /// The client of a request that went through [`handle`].
    pub(crate) fn of(extensions: &Extensions) -> Result<Client, Problem> {
        let client = extensions.get::<Client>().cloned();
        // Behind `handle` there always is one; without, nobody is let in.
        client.ok_or_else(|| Problem::new(Kind::Forbidden, "it is not known who asks"))
    }

    /// It has shown this token.
    pub(crate) fn has_shown(&self, token: &Arc<Token>) {
        // A request is let in once.
        let _ = self.token.set(token.clone());
    }
}

/// Goes around all routes.
pub(crate) async fn handle(State(service): State<Service>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = Uuid::now_v7();
    let address = client_address(&request, &service.settings.trusted_proxies);
    let method = request.method().clone();
    let uri = request.extensions().get::<OriginalUri>().map_or_else(|| request.uri().clone(), |uri| uri.0.clone());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map(|route| service.roles.described(route.as_str()));
    // Written out for each request, logged or not: so what else there is to say stands in the answer's line. Nothing is recorded
    // in it later: a span that is logged as JSON would be parsed and written anew for that.
    let span = tracing::info_span!("request", %id, trace = trace_id(request.headers()));
    let client = Client { address, request: id, token: Arc::default() };
    request.extensions_mut().insert(client.clone());
    let stall = service.settings.limits.stall;
    let request = request.map(|body| Body::new(Patient::new(body, stall)));

    let answer = answer(&service, address, route, request, next);
    let mut response = match AssertUnwindSafe(answer).catch_unwind().instrument(span.clone()).await {
        Ok(response) => response,
        Err(panic) => span.in_scope(|| panicked(&*panic)),
    };
    let headers = response.headers_mut();
    secure(headers);
    // A UUID is made of what headers may hold.
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, value);
    }
    let (status, took) = (response.status(), began.elapsed());
    service.metrics.answered(route.unwrap_or("none"), &method, status, took);
    span.in_scope(|| log(&client, &method, uri.path(), status, took));
    response
}

async fn answer(service: &Service, address: IpAddr, route: Option<&str>, request: Request, next: Next) -> Response {
    if let Err(wait) = service.rate.take(address, Instant::now()) {
        return too_many(wait, "this client has used up its requests for now").into_response();
    }
    let limits = &service.settings.limits;
    if let Some(problem) = too_large(request.uri(), request.headers(), limits.headers) {
        return problem.into_response();
    }
    let Ok(turn) = service.turns.clone().try_acquire_owned() else {
        return Problem::new(Kind::Unavailable, "too many requests are under way").retry_after(1).into_response();
    };
    let is_long = route.is_some_and(|route| LONG.contains(&route));
    let limit = if is_long { limits.long_request_time } else { limits.request_time };
    match tokio::time::timeout(limit, next.run(request)).await {
        // A stream is under way for as long as it lasts.
        Ok(response) if response.body().size_hint().exact().is_none() => {
            response.map(|body| Body::new(Holding::new(body, turn)))
        }
        Ok(response) => response,
        Err(_) => {
            let detail = format!("no answer within {} s; what was not committed by then is not done", limit.as_secs());
            Problem::new(Kind::TimedOut, detail).retry_after(1).into_response()
        }
    }
}

/// What is wrong when line and headers are more than allowed.
fn too_large(uri: &Uri, headers: &HeaderMap, most: usize) -> Option<Problem> {
    let line = uri.path().len() + uri.query().map_or(0, str::len);
    // With colon, space and the line's end.
    let bytes = line + headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    let detail = match (bytes, headers.len()) {
        (_, number) if number > HEADERS => format!("{number} headers are more than {HEADERS}"),
        (bytes, _) if bytes > most => format!("{bytes} bytes of line and headers are more than {most}"),
        _ => return None,
    };
    Some(Problem::new(Kind::HeadersTooLarge, detail))
}

fn panicked(panic: &(dyn Any + Send)) -> Response {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let error = std::io::Error::other(format!("a panic: {}", text.unwrap_or("without a message")));
    Problem::internal(&error).into_response()
}

/// Reads that went well are many and change nothing.
fn log(client: &Client, method: &Method, path: &str, status: StatusCode, took: Duration) {
    let (status, took_ms) = (status.as_u16(), (took.as_secs_f64() * 1e6).round() / 1e3);
    let token = client.token.get().map(|token| &*token.name);
    let client = client.address;
    if matches!(*method, Method::GET | Method::HEAD) && status < 400 {
        tracing::debug!(%client, token, %method, path, status, took_ms, "answered");
    } else {
        tracing::info!(%client, token, %method, path, status, took_ms, "answered");
    }
}

/// The peer; or whom it asks for, when it is a proxy that is trusted: the last one in `X-Forwarded-For`, which is what that
/// proxy itself has seen. What stands before it, anybody can have written.
fn client_address(request: &Request, trusted: &[IpAddr]) -> IpAddr {
    let unknown = IpAddr::from([0, 0, 0, 0]);
    let peer = request.extensions().get::<Peer>().map_or(unknown, |Peer(address)| address.to_canonical());
    if !trusted.contains(&peer) {
        return peer;
    }
    let last = request.headers().get_all(FORWARDED_FOR).iter().next_back();
    let last = last.and_then(|value| value.to_str().ok()).and_then(|value| value.rsplit(',').next());
    last.and_then(|address| address.trim().parse().ok()).unwrap_or(peer)
}

/// The trace id of a `traceparent` (W3C Trace Context, section 3.2): 32 hex digits, not all zero.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(TRACEPARENT)?.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace, parent) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex =
        |text: &str, length| text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    let is_well_formed = is_hex(version, 2) && version != "ff" && is_hex(trace, 32) && is_hex(parent, 16);
    (is_well_formed && !is_zero(trace) && !is_zero(parent)).then_some(trace)
}

/// The answers are data for programs: no page may frame, sniff, cache or run them.
fn secure(headers: &mut HeaderMap) {
    const USUAL: [(HeaderName, HeaderValue); 6] = [
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    ];
    for (name, value) in USUAL {
        headers.entry(name).or_insert(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(peer: [u8; 4], forwarded: &[&str]) -> Request {
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(Peer(IpAddr::from(peer)));
        for value in forwarded {
            request.headers_mut().append(FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
        }
        request
    }

    #[test]
    fn only_a_trusted_proxy_says_who_asks_and_only_its_own_word_counts() {
        let proxy = IpAddr::from([10, 0, 0, 1]);
        let asked = |peer, forwarded: &[&str]| client_address(&request(peer, forwarded), &[proxy]).to_string();
        assert_eq!(asked([192, 0, 2, 7], &["203.0.113.9"]), "192.0.2.7");
        assert_eq!(asked([10, 0, 0, 1], &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(asked([10, 0, 0, 1], &["1.1.1.1, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(asked([10, 0, 0, 1], &["1.1.1.1", "2001:db8::1"]), "2001:db8::1");
        assert_eq!(asked([10, 0, 0, 1], &["nonsense"]), "10.0.0.1");
        assert_eq!(asked([10, 0, 0, 1], &[]), "10.0.0.1");
    }

    #[test]
    fn a_trace_is_taken_only_from_a_well_formed_traceparent() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let told = |text: &str| {
            let headers = HeaderMap::from_iter([(TRACEPARENT, HeaderValue::from_str(text).unwrap())]);
            trace_id(&headers).map(str::to_owned)
        };
        assert_eq!(told(&format!("00-{trace}-00f067aa0ba902b7-01")).as_deref(), Some(trace));
        for wrong in [
            format!("ff-{trace}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
            format!("00-{trace}"),
            "x\"y".to_owned(),
        ] {
            assert_eq!(told(&wrong), None, "{wrong}");
        }
    }
}
