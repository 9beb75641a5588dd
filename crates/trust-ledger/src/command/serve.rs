//! `serve`: the ledger over HTTP.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, value_parser};
use tokio::signal::unix::{Signal, SignalKind, signal};

use trust_ledger_registry::Registry;
use trust_ledger_server::{Prune, Server, Settings, TlsFiles};

use crate::failure::{Exit, Failure, Result};
use crate::memory;
use crate::output::time::parse_span;

/// Give programs the ledger over HTTP
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger serve                  on http://127.0.0.1:8443, for this machine
  trust-ledger serve --listen 0.0.0.0:8443 --tls-cert a.pem --tls-key a.key
  trust-ledger token create ci --role registrar          who may use it

Other machines need TLS. The API describes itself at /openapi.json, and at /docs for people. SIGTERM and SIGINT end it: requests \
under way may end, for 30 seconds; a second one ends it at once.")]
pub(crate) struct Arguments {
    /// Where to listen
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,

    /// The service's certificate and those above it, PEM; read again when it is renewed
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Proxy whose X-Forwarded-For is believed; may be repeated
    #[arg(long, value_name = "ADDR")]
    trust_proxy: Vec<IpAddr>,

    /// Requests per second of one client; 0 for as many as it likes
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Limits")]
    rate: u32,

    /// Requests at once
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = value_parser!(u32).range(1..), help_heading = "Limits")]
    max_requests: u32,

    /// How long a request may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = value_parser!(u64).range(1..=3600), help_heading = "Limits")]
    timeout: u64,

    /// Delete what expired longer ago than this, again and again
    #[arg(long, value_name = "DURATION", value_parser = parse_span, help_heading = "Upkeep")]
    prune_expired_before: Option<Duration>,

    /// How often
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "1d",
        value_parser = parse_span,
        requires = "prune_expired_before",
        help_heading = "Upkeep"
    )]
    prune_every: Duration,
}

pub(crate) async fn run(registry: &Registry, arguments: Arguments) -> Result<Exit> {
    // Before anybody is let in. Each step is logged as it is taken.
    if let Some(error) = registry.database().check().await.failure() {
        return Err(Failure::failed("the ledger cannot be served").caused_by(error.clone()));
    }
    let signals = (end(SignalKind::terminate())?, end(SignalKind::interrupt())?);
    let server = Server::bind(registry.clone(), settings(&arguments)).await?;
    let scheme = if arguments.tls_cert.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", server.address()?);
    tracing::info!(url, "listening");
    if registry.tokens().await?.is_empty() {
        tracing::warn!("nobody may use it yet; `trust-ledger token create NAME --role reader` lets somebody in");
    }
    tokio::select! {
        ended = server.run(stopped(signals)) => ended?,
        () = memory::give_back() => {}
    }
    Ok(Exit::Done)
}

fn settings(arguments: &Arguments) -> Settings {
    let mut settings = Settings::default();
    settings.listen = arguments.listen;
    let files = arguments.tls_cert.clone().zip(arguments.tls_key.clone());
    settings.tls = files.map(|(certificate, key)| TlsFiles { certificate, key });
    settings.trusted_proxies.clone_from(&arguments.trust_proxy);
    settings.limits.rate = arguments.rate;
    settings.limits.requests = arguments.max_requests as usize;
    settings.limits.request_time = Duration::from_secs(arguments.timeout);
    let every = arguments.prune_every;
    settings.prune = arguments.prune_expired_before.map(|expired_for| Prune { expired_for, every });
    settings
}

fn end(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|error| Failure::failed("signals cannot be listened to").caused_by(error))
}

/// Until the first signal. A second one ends the process at once: what was answered is durable.
async fn stopped((mut terminate, mut interrupt): (Signal, Signal)) {
    either(&mut terminate, &mut interrupt).await;
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        tracing::warn!("stopped at once");
        std::process::exit(1);
    });
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
