//! The register of certificates over HTTP.
//!
//! Terms: the *service* answers requests on a [`Registry`]; a *token* says who asks, and its
//! *role* what they may; a *problem* is an answer that says what is wrong (RFC 9457).
//!
//! Start from [`Server`], which listens, or from [`router`], to mount the service in one of your own. Every request that
//! changes something is one unit of the registry: it is committed before it is answered, and many at once share a commit.
//!
//! ```no_run
//! # async fn run(registry: trust_ledger_registry::Registry) -> Result<(), Box<dyn std::error::Error>> {
//! use trust_ledger_server::{Server, Settings};
//!
//! let server = Server::bind(registry, Settings::default()).await?;
//! println!("http://{}", server.address()?);
//! server.run(async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await?;
//! # Ok(()) }
//! ```

mod audit;
mod auth;
mod body;
mod certificates;
mod description;
mod health;
mod issuers;
mod listener;
mod media;
mod metrics;
mod problem;
mod prune;
mod request;
mod revocations;
mod server;
mod service;
mod settings;
mod stats;
mod throttle;

use axum::Router;
use trust_ledger_registry::Registry;

pub use request::Peer;
pub use server::{Server, StartError, TlsError};
pub use settings::{Limits, Prune, Settings, TlsFiles};

/// The service as a router, for programs that listen themselves.
///
/// Whoever accepts connections puts a [`Peer`] into each request's extensions: rates, the log and the audit trail go by it.
/// How many connections there may be, how long each may send no request or take nothing of an answer, and how large a head may
/// get before it is a request, are the listener's to limit; the other limits hold here. Pruning, and writing down when tokens
/// were last used, are [`Server`]'s alone.
pub fn router(registry: Registry, settings: Settings) -> Router {
    service::Service::new(registry, settings).router()
}

/// The API's description, OpenAPI 3.1 in JSON: what `/openapi.json` answers.
///
/// # Panics
///
/// Never: a description always has a JSON form.
pub fn openapi() -> String {
    service::described().to_pretty_json().expect("texts, numbers and lists have a JSON form")
}
