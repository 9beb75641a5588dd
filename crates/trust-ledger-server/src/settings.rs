//! Settings of the service.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How the service listens, and what it allows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Where to listen. Default 127.0.0.1:8443; port 0 takes any. Other machines reach the service only when this is an
    /// address of theirs, which needs [`tls`](Settings::tls).
    pub listen: SocketAddr,
    /// Certificate and key; without them the service speaks plain HTTP, and only on loopback.
    pub tls: Option<TlsFiles>,
    /// Proxies that are believed when they say, in `X-Forwarded-For`, for whom they ask. Default none.
    pub trusted_proxies: Vec<IpAddr>,
    /// What the service allows.
    pub limits: Limits,
    /// Deletes what expired long ago, again and again. Default no.
    pub prune: Option<Prune>,
    /// How long requests that are under way may take to end after the service was told to stop. Default 30 s.
    pub shutdown_deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8443)),
            tls: None,
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
            prune: None,
            shutdown_deadline: Duration::from_secs(30),
        }
    }
}

/// The service's own certificate. The files are looked at once a minute and read again when they have changed.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM: the certificate, then those between it and its root.
    pub certificate: PathBuf,
    /// PEM: its private key, not encrypted.
    pub key: PathBuf,
}

/// Deleting on a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prune {
    /// What expired longer ago than this is deleted.
    pub expired_for: Duration,
    /// How often; first soon after the start.
    pub every: Duration,
}

/// What the service allows. What goes beyond is answered, or cut, at once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a request's body. Default 2 MiB, which holds the largest certificate that the ledger takes, as PEM. Beyond:
    /// 413. Of a stream of certificates it is the limit of each line.
    pub body: usize,
    /// Bytes of a CRL. Default 64 MiB, some 1.5 million entries. Beyond: 413.
    pub revocation_list: usize,
    /// Bytes of a request's line and headers together. Default 32 KiB, at least 8 KiB. Beyond: 431, and the connection is
    /// closed.
    pub headers: usize,
    /// How long a request may take, from its headers to those of its answer. Default 30 s. Beyond: 503, and nothing of it is
    /// left open. Streams may go on for longer.
    pub request_time: Duration,
    /// How long recording a CRL and pruning may take. Default 10 min. Beyond: 503; what was committed stays, and asking again
    /// goes on.
    pub long_request_time: Duration,
    /// How long a client may send nothing that was due, or take nothing of an answer. Default 30 s. Beyond, while headers are
    /// due or on a connection that waits for its next request: closed; within a body: 408; within an answer: cut.
    pub stall: Duration,
    /// Requests at once, from all clients. Default 512. Beyond: 503 with Retry-After.
    pub requests: usize,
    /// Connections at once. Default 16,384. Beyond, further ones wait until one ends.
    pub connections: usize,
    /// Requests per second that one client's address may make, in bursts of twice as many. Default 0: as many as it likes,
    /// with a token. Beyond: 429 with Retry-After.
    pub rate: u32,
    /// Requests per second of one address that are refused for want of a valid token; the same for paths that need none.
    /// Default 20, in bursts of five times as many. Beyond: 429 before the token is looked at.
    pub rate_without_token: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            body: 2 << 20,
            revocation_list: 64 << 20,
            headers: 32 << 10,
            request_time: Duration::from_secs(30),
            long_request_time: Duration::from_secs(600),
            stall: Duration::from_secs(30),
            requests: 512,
            connections: 16_384,
            rate: 0,
            rate_without_token: 20,
        }
    }
}
