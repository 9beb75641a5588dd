//! `/metrics`: requests, the pool, the ledger, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::sync::Mutex as AsyncMutex;

use crate::problem::Problem;
use crate::service::Service;

/// Upper bounds of the histogram, in seconds.
const BOUNDS: [f64; 12] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0];

/// Methods that have series of their own.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"];

/// For how long the ledger's numbers are told again: counting them takes milliseconds, and anybody may ask.
const FRESH: Duration = Duration::from_secs(5);

/// What was answered so far.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    routes: Mutex<BTreeMap<String, Route>>,
    ledger: AsyncMutex<Option<(Instant, String)>>,
}

/// The answers of one route.
#[derive(Debug, Default)]
struct Route {
    /// By method and status.
    answered: BTreeMap<(&'static str, u16), u64>,
    took: Histogram,
}

#[derive(Debug, Default)]
struct Histogram {
    /// One more than there are bounds.
    counts: [u64; BOUNDS.len() + 1],
    total: Duration,
}

impl Metrics {
    /// Counts an answer. `route` is the pattern, so that there are as many series as routes.
    pub(crate) fn answered(&self, route: &str, method: &Method, status: StatusCode, took: Duration) {
        // Other methods are anybody's words.
        let method = METHODS.into_iter().find(|known| method.as_str() == *known).unwrap_or("other");
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked up first: all but each route's first answer need no text of their own.
        let of_route = match routes.get_mut(route) {
            Some(of_route) => of_route,
            None => routes.entry(route.to_owned()).or_default(),
        };
        *of_route.answered.entry((method, status.as_u16())).or_default() += 1;
        let seconds = took.as_secs_f64();
        of_route.took.counts[BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len())] += 1;
        of_route.took.total += took;
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let name = "trust_ledger_http_requests_total";
        writeln!(text, "# HELP {name} Answers by route, method and status.\n# TYPE {name} counter")?;
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        for (route, Route { answered, .. }) in &*routes {
            for ((method, status), count) in answered {
                writeln!(text, "{name}{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}} {count}")?;
            }
        }
        let name = "trust_ledger_http_request_seconds";
        writeln!(text, "# HELP {name} Time from a request's headers to those of its answer.\n# TYPE {name} histogram")?;
        for (route, Route { took: histogram, .. }) in &*routes {
            let mut count = 0;
            for (bound, here) in BOUNDS.iter().zip(histogram.counts) {
                count += here;
                writeln!(text, "{name}_bucket{{route=\"{route}\",le=\"{bound}\"}} {count}")?;
            }
            count += histogram.counts[BOUNDS.len()];
            writeln!(text, "{name}_bucket{{route=\"{route}\",le=\"+Inf\"}} {count}")?;
            writeln!(text, "{name}_sum{{route=\"{route}\"}} {}", histogram.total.as_secs_f64())?;
            writeln!(text, "{name}_count{{route=\"{route}\"}} {count}")?;
        }
        Ok(())
    }
}

/// Numbers for Prometheus
///
/// Text format 0.0.4. Needs no token, and tells no names: counts by status, category, finding and month, the days to the
/// next expiry, the database's pool, and requests by route.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operation",
    responses((status = 200, description = "The numbers.", body = String, content_type = "text/plain"))
)]
pub(crate) async fn get(State(service): State<Service>) -> Result<Response, Problem> {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = service.metrics.write(&mut text);
    let name = "trust_ledger_http_requests_under_way";
    let under_way = service.settings.limits.requests - service.turns.available_permits();
    let _ =
        writeln!(text, "# HELP {name} Requests under way, this one included.\n# TYPE {name} gauge\n{name} {under_way}");
    text.push_str(&service.registry.database().stats().to_prometheus("ledger"));
    let mut ledger = service.metrics.ledger.lock().await;
    if ledger.as_ref().is_none_or(|(at, _)| at.elapsed() > FRESH) {
        *ledger = Some((Instant::now(), service.registry.metrics(false).await?));
    }
    if let Some((_, told)) = &*ledger {
        text.push_str(told);
    }
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_route_and_time() {
        let metrics = Metrics::default();
        metrics.answered("/v1/x/{id}", &Method::GET, StatusCode::OK, Duration::from_micros(400));
        metrics.answered("/v1/x/{id}", &Method::GET, StatusCode::OK, Duration::from_secs(60));
        metrics.answered("none", &Method::from_bytes(b"MADE-UP").unwrap(), StatusCode::NOT_FOUND, Duration::ZERO);
        let mut text = String::new();
        metrics.write(&mut text).unwrap();
        for line in [
            "trust_ledger_http_requests_total{route=\"/v1/x/{id}\",method=\"GET\",status=\"200\"} 2",
            "trust_ledger_http_requests_total{route=\"none\",method=\"other\",status=\"404\"} 1",
            "trust_ledger_http_request_seconds_bucket{route=\"/v1/x/{id}\",le=\"0.00025\"} 0",
            "trust_ledger_http_request_seconds_bucket{route=\"/v1/x/{id}\",le=\"0.0005\"} 1",
            "trust_ledger_http_request_seconds_bucket{route=\"/v1/x/{id}\",le=\"+Inf\"} 2",
            "trust_ledger_http_request_seconds_sum{route=\"/v1/x/{id}\"} 60.0004",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
    }
}
