//! Who asks, and whether they may: bearer tokens and roles.
//!
//! Which role a route needs stands in one place, the route's own description (`security` of its OpenAPI operation), and is
//! enforced from there: a route that says nothing lets nobody in. A token is looked up in the ledger at most once a second,
//! so a revoked one works for a second more at most.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use trust_ledger_registry::{Registry, Role, Token};
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use uuid::Uuid;

use crate::problem::{Kind, Problem};
use crate::request::Client;
use crate::service::Service;
use crate::throttle::Throttle;

/// The name of the security scheme in the description.
pub(crate) const SCHEME: &str = "token";

/// How long what the ledger says of a token is believed.
const FRESH: Duration = Duration::from_secs(1);

/// Tokens that are remembered; beyond, all are forgotten.
const MOST: usize = 10_000;

/// Whether a role may do what another is needed for: everybody with a token may read, and an admin may do all.
fn may(role: Role, needed: Role) -> bool {
    role == Role::Admin || role == needed || needed == Role::Reader
}

/// Which role each route needs.
#[derive(Debug)]
pub(crate) struct Roles {
    needed: HashMap<String, Vec<(Method, Role)>>,
}

impl Roles {
    /// Reads the roles out of the description.
    pub(crate) fn described_in(description: &OpenApi) -> Roles {
        let mut needed: HashMap<String, Vec<(Method, Role)>> = HashMap::new();
        for (path, item) in &description.paths.paths {
            let of_path = operations(item).filter_map(|(method, operation)| Some((method, role_of(operation)?)));
            needed.insert(path.clone(), of_path.collect());
        }
        Roles { needed }
    }

    /// The path of a route as the description has it, wherever the router is mounted; the route's own if that has none.
    pub(crate) fn described<'a>(&'a self, route: &'a str) -> &'a str {
        if self.needed.contains_key(route) {
            return route;
        }
        let ends = self.needed.keys().map(String::as_str).filter(|path| route.ends_with(path));
        ends.max_by_key(|path| path.len()).unwrap_or(route)
    }

    fn needed(&self, method: &Method, path: &str) -> Option<Role> {
        // axum answers HEAD by what GET is.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.needed.get(path)?.iter().find(|(of, _)| of == method).map(|(_, role)| *role)
    }
}

fn operations(item: &PathItem) -> impl Iterator<Item = (Method, &Operation)> {
    let all = [
        (Method::GET, &item.get),
        (Method::PUT, &item.put),
        (Method::POST, &item.post),
        (Method::DELETE, &item.delete),
        (Method::PATCH, &item.patch),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}

/// The role in `security`, such as `[{"token": ["reader"]}]`.
fn role_of(operation: &Operation) -> Option<Role> {
    let security = serde_json::to_value(operation.security.as_ref()?).ok()?;
    security.get(0)?.get(SCHEME)?.get(0)?.as_str()?.parse().ok()
}

/// Whose request it is: in the request's extensions behind [`require`].
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    token: Arc<Token>,
    client: Client,
}

impl Caller {
    /// The register, with changes recorded as made by this caller, from there, in this request.
    pub(crate) fn acting_in(&self, registry: &Registry) -> Registry {
        let (origin, request) = (self.client.address.to_string(), self.client.request.to_string());
        registry.acting_as(&self.token.name).asked_from(&origin, Some(&request))
    }

    /// The name of the token.
    pub(crate) fn name(&self) -> &str {
        &self.token.name
    }
}

impl<S: Sync> axum::extract::FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Problem> {
        // A route that asks for it outside of `require` is a mistake of ours, and lets nobody in.
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.ok_or_else(|| Problem::new(Kind::Unauthenticated, "the route does not take tokens"))
    }
}

/// Lets a request through whose token's role may do what the route is for.
pub(crate) async fn require(State(service): State<Service>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    match service.tokens.admit(&service.roles, &head).await {
        Ok(caller) => {
            head.extensions.insert(caller);
            next.run(Request::from_parts(head, body)).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// A token as the ledger had it at a moment.
type Seen = (Instant, Arc<Token>);

/// Tokens as they are presented.
#[derive(Debug)]
pub(crate) struct Tokens {
    registry: Registry,
    /// By a hash of the text, so that no text is kept.
    known: Mutex<HashMap<[u8; 32], Seen>>,
    used: Mutex<HashMap<Uuid, OffsetDateTime>>,
    /// Of each address, those that were refused.
    refused: Throttle,
}

impl Tokens {
    pub(crate) fn new(registry: Registry, rate_of_refused: u32) -> Tokens {
        Tokens {
            registry,
            known: Mutex::default(),
            used: Mutex::default(),
            refused: Throttle::new(rate_of_refused, rate_of_refused.saturating_mul(5)),
        }
    }

    async fn admit(&self, roles: &Roles, head: &Parts) -> Result<Caller, Problem> {
        let client = Client::of(&head.extensions)?;
        let now = Instant::now();
        self.refused
            .has(client.address, now)
            .map_err(|wait| too_many(wait, "too many requests without a valid token"))?;
        let token = self.authenticate(&head.headers).await.inspect_err(|problem| {
            if problem.status().is_client_error() {
                self.note_refused(client.address, now);
            }
        })?;
        let path = head.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
        let needed = path.and_then(|path| roles.needed(&head.method, roles.described(path)));
        let needed = needed.ok_or_else(|| Problem::new(Kind::Forbidden, "the route names no role that may use it"))?;
        if !may(token.role, needed) {
            let detail =
                format!("the token {:?} is a {}'s; this needs a {needed}'s or an admin's", token.name, token.role);
            return Err(Problem::new(Kind::Forbidden, detail));
        }
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(token.id, OffsetDateTime::now_utc());
        client.has_shown(&token);
        Ok(Caller { token, client })
    }

    /// The token of a request, if it is good now. Who works on for long asks again.
    pub(crate) async fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Token>, Problem> {
        let refuse = |detail: &str| Problem::new(Kind::Unauthenticated, detail);
        let header = headers.get(AUTHORIZATION);
        let header =
            header.ok_or_else(|| refuse("say Authorization: Bearer and a token of `trust-ledger token create`"))?;
        let text = header.to_str().ok().and_then(|text| text.split_once(' '));
        let Some((_, text)) = text.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
            return Err(refuse("the Authorization header is not of the form: Bearer TOKEN"));
        };
        let token = self.find(text.trim()).await?;
        let token = token.ok_or_else(|| refuse("the token is none of this ledger's"))?;
        match token.is_live(OffsetDateTime::now_utc()) {
            true => Ok(token),
            false if token.revoked_at.is_some() => Err(refuse("the token is revoked")),
            false => Err(refuse("the token has expired")),
        }
    }

    async fn find(&self, text: &str) -> Result<Option<Arc<Token>>, Problem> {
        let key: [u8; 32] = Sha256::digest(text).into();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some((at, token)) = known
            && at.elapsed() < FRESH
        {
            return Ok(Some(token));
        }
        // From before the question, so that an answer is never believed for longer than it says.
        let asked = Instant::now();
        let Some(token) = self.registry.token(text).await?.map(Arc::new) else { return Ok(None) };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(key, (asked, token.clone()));
        Ok(Some(token))
    }

    fn note_refused(&self, client: IpAddr, now: Instant) {
        // Whether it had a turn left was asked before; of two at once, one more gets through.
        let _ = self.refused.take(client, now);
    }

    /// Writes down when tokens were last used.
    pub(crate) async fn write_uses(&self) -> trust_ledger_registry::Result<()> {
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        if used.is_empty() {
            return Ok(());
        }
        let uses: Vec<_> = used.into_iter().collect();
        self.registry.note_token_uses(&uses).await
    }
}

/// The answer to a client that asks too often.
pub(crate) fn too_many(wait: Duration, detail: &str) -> Problem {
    let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
    Problem::new(Kind::TooManyRequests, detail).retry_after(seconds)
}
