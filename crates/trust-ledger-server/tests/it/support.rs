//! Services on each engine, and clients that ask them.

use std::collections::HashMap;
use std::net::IpAddr;

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use strongroom::{Config, KeySource};
use test_servers::{Ca, Postgres, TestDatabase};
use tower::ServiceExt;
use trust_ledger_registry::{MIGRATIONS, Registry, Role};
use trust_ledger_server::{Peer, Settings};

/// The address from which the tests ask.
pub(crate) const CLIENT: [u8; 4] = [192, 0, 2, 7];

/// A service on an empty ledger, with a token for each role.
pub(crate) struct Service {
    pub(crate) router: Router,
    pub(crate) registry: Registry,
    /// How its ledger is opened.
    pub(crate) config: Config,
    pub(crate) tokens: HashMap<Role, String>,
    /// Removed when this is dropped, after the ledger.
    _place: Place,
}

enum Place {
    Folder(#[expect(dead_code, reason = "removed when dropped")] tempfile::TempDir),
    Server(#[expect(dead_code, reason = "removed when dropped")] TestDatabase<'static>),
}

/// A service on an encrypted file, and one on a server where PostgreSQL is installed.
pub(crate) async fn services() -> Vec<Service> {
    services_with(Settings::default()).await
}

pub(crate) async fn services_with(settings: Settings) -> Vec<Service> {
    let mut services = vec![on_file(settings.clone()).await];
    if test_servers::needs::postgres() {
        let database = Postgres::shared().create_database();
        let config = Config::from_url(&database.url()).unwrap();
        services.push(service(config, Place::Server(database), settings).await);
    }
    services
}

/// A service on an encrypted file.
pub(crate) async fn on_file(settings: Settings) -> Service {
    let folder = tempfile::tempdir().unwrap();
    let key = KeySource::literal(format!("x'{}'", "5a".repeat(32)));
    let config = Config::sqlite(folder.path().join("ledger.db")).key(key);
    service(config, Place::Folder(folder), settings).await
}

async fn service(config: Config, place: Place, settings: Settings) -> Service {
    let config = config.migrations(&MIGRATIONS).migrate(true);
    let registry = Registry::open(config.clone().connect().await.unwrap());
    let mut tokens = HashMap::new();
    for role in Role::ALL {
        let (_, text) = registry.create_token(role.as_str(), role, None).await.unwrap();
        tokens.insert(role, text.expose().to_owned());
    }
    let router = trust_ledger_server::router(registry.clone(), settings);
    Service { router, registry, config, tokens, _place: place }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks the status; of a failure also that it is a whole problem document. Gives the answer back.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        if status >= 400 {
            assert_eq!(self.header("content-type"), "application/problem+json");
            let problem = self.json();
            assert_eq!(problem["status"], status);
            assert!(problem["type"].as_str().unwrap().starts_with("urn:trust-ledger:problem:"), "{problem}");
            assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        }
        assert!(!self.header("x-request-id").is_empty());
        assert_eq!(self.header("x-content-type-options"), "nosniff");
        self
    }

    /// What is wrong, in words.
    pub(crate) fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap().to_owned()
    }

    /// The answers of a stream.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A request under way.
pub(crate) struct Ask<'a> {
    service: &'a Service,
    request: axum::http::request::Builder,
    body: Body,
}

impl Service {
    /// A request with the token of a role.
    pub(crate) fn ask(&self, role: Role, method: Method, path: &str) -> Ask<'_> {
        self.ask_with(method, path).header(AUTHORIZATION.as_str(), &format!("Bearer {}", self.tokens[&role]))
    }

    /// A request without a token.
    pub(crate) fn ask_with(&self, method: Method, path: &str) -> Ask<'_> {
        let request = Request::builder().method(method).uri(path).extension(Peer(IpAddr::from(CLIENT)));
        Ask { service: self, request, body: Body::empty() }
    }

    /// Reads as a reader.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Role::Reader, Method::GET, path).send().await
    }

    /// Registers a certificate; its record.
    pub(crate) async fn add(&self, pem: &str) -> Value {
        let ask = self.ask(Role::Registrar, Method::POST, "/v1/certificates");
        ask.body("application/pem-certificate-chain", pem.to_owned()).send().await.expect(201).json()
    }
}

impl Ask<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn body(mut self, kind: &str, body: impl Into<Body>) -> Self {
        self.request = self.request.header(CONTENT_TYPE, kind);
        self.body = body.into();
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub(crate) async fn send(self) -> Answer {
        let response = self.service.router.clone().oneshot(self.request.body(self.body).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: head.status, headers: head.headers, body }
    }
}

/// Certificates of one CA, each for a name of its own, as PEM.
pub(crate) fn certificates(ca: &Ca, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| ca.server_with(&[name], -10..90).certificate().to_owned()).collect()
}

/// DER of a certificate in PEM.
pub(crate) fn der(pem: &str) -> Vec<u8> {
    openssl::x509::X509::from_pem(pem.as_bytes()).unwrap().to_der().unwrap()
}
