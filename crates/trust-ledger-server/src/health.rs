//! `/livez` and `/readyz`: for whoever restarts the service, and whoever sends it requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::problem::Chain;
use crate::service::Service;

/// How long the database may take for one read.
const PATIENCE: Duration = Duration::from_secs(2);

/// For how long an answer is told again.
const FRESH: Duration = Duration::from_secs(1);

/// What the service depends on, as last seen.
#[derive(Debug, Default)]
pub(crate) struct Health {
    stopping: AtomicBool,
    database: Mutex<Option<(Instant, Dependency)>>,
}

impl Health {
    /// From now on the service is not ready.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// Whether the service can work.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// Whether all that it needs is there.
    ready: bool,
    /// Whether it was told to stop.
    stopping: bool,
    /// The ledger's database.
    database: Dependency,
}

/// Something that the service needs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Dependency {
    /// Whether it answered.
    ok: bool,
    /// How long it took, in milliseconds.
    took_ms: f64,
}

/// Whether the process lives
///
/// Looks at nothing: who does not answer it is to be started anew.
#[utoipa::path(get, path = "/livez", tag = "operation", responses((status = 200, description = "It does.", body = String, content_type = "text/plain")))]
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// Whether requests can be served
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operation",
    responses(
        (status = 200, description = "They can.", body = Readiness),
        (status = 503, description = "They cannot, and this is why.", body = Readiness)
    )
)]
pub(crate) async fn ready(State(service): State<Service>) -> Response {
    let mut seen = service.health.database.lock().await;
    let database = match &*seen {
        Some((at, database)) if at.elapsed() < FRESH => database.clone(),
        _ => {
            let began = Instant::now();
            let ok = match tokio::time::timeout(PATIENCE, service.registry.get(Uuid::nil())).await {
                Ok(Ok(_)) => true,
                Ok(Err(error)) => {
                    tracing::warn!(error = %Chain(&error), "the database does not answer");
                    false
                }
                Err(_) => {
                    tracing::warn!("the database did not answer within {} s", PATIENCE.as_secs());
                    false
                }
            };
            let database = Dependency { ok, took_ms: (began.elapsed().as_secs_f64() * 1e6).round() / 1e3 };
            *seen = Some((Instant::now(), database.clone()));
            database
        }
    };
    drop(seen);
    let stopping = service.health.stopping.load(Ordering::Relaxed);
    let ready = database.ok && !stopping;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, stopping, database })).into_response()
}
