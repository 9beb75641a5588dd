//! What all requests share, and the router over it.

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware::from_fn_with_state;
use tokio::sync::Semaphore;
use trust_ledger_registry::Registry;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{self, Roles, Tokens};
use crate::health::{self, Health};
use crate::metrics::{self, Metrics};
use crate::problem::{Kind, Problem};
use crate::settings::Settings;
use crate::throttle::Throttle;
use crate::{audit, certificates, description, issuers, prune, request, revocations, stats};

/// The state of the service; a cheap handle.
#[derive(Clone, Debug)]
pub(crate) struct Service(Arc<State>);

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) registry: Registry,
    pub(crate) settings: Settings,
    pub(crate) tokens: Tokens,
    pub(crate) roles: Roles,
    pub(crate) rate: Throttle,
    /// One for each request that may be under way.
    pub(crate) turns: Arc<Semaphore>,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
}

impl Deref for Service {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl Service {
    pub(crate) fn new(registry: Registry, settings: Settings) -> Service {
        let limits = &settings.limits;
        Service(Arc::new(State {
            tokens: Tokens::new(registry.clone(), limits.rate_without_token),
            roles: Roles::described_in(&routes().1),
            rate: Throttle::new(limits.rate, limits.rate.saturating_mul(2)),
            turns: Arc::new(Semaphore::new(limits.requests.min(Semaphore::MAX_PERMITS))),
            metrics: Metrics::default(),
            health: Health::default(),
            registry,
            settings,
        }))
    }

    pub(crate) fn router(&self) -> Router {
        let ((for_tokens, for_all), description) = routes();
        for_tokens
            .route_layer(from_fn_with_state(self.clone(), auth::require))
            .merge(for_all)
            .merge(description::pages(description))
            .fallback(async |uri: Uri| Problem::not_found(format!("there is no {}", uri.path())))
            .method_not_allowed_fallback(async |method: Method, uri: Uri| {
                Problem::new(Kind::MethodNotAllowed, format!("{} has no {method}; see allow", uri.path()))
            })
            .layer(from_fn_with_state(self.clone(), request::handle))
            .with_state(self.clone())
    }
}

/// The description of the API, as `/openapi.json` serves it.
pub(crate) fn described() -> OpenApi {
    routes().1
}

/// The routes that need a token, those that need none, and the description of both.
fn routes() -> ((Router<Service>, Router<Service>), OpenApi) {
    let (for_tokens, described) = OpenApiRouter::with_openapi(description::head())
        .routes(routes!(certificates::list::get, certificates::register::post))
        .routes(routes!(certificates::one::get, certificates::annotate::patch))
        .routes(routes!(certificates::revoke::revoke))
        .routes(routes!(certificates::revoke::lift_hold))
        .routes(routes!(certificates::expiring::get))
        .routes(routes!(issuers::get))
        .routes(routes!(revocations::import))
        .routes(routes!(revocations::entries))
        .routes(routes!(stats::get))
        .routes(routes!(audit::get))
        .routes(routes!(prune::post))
        .split_for_parts();
    let (for_all, described) = OpenApiRouter::with_openapi(described)
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::get))
        .split_for_parts();
    ((for_tokens, for_all), described)
}
