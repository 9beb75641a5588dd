//! What is too much, too long or too often.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use bytes::Bytes;
use futures_util::stream;
use trust_ledger_registry::Role;
use trust_ledger_server::Settings;

use crate::support::{on_file, services_with};

const PEM: &str = "application/pem-certificate-chain";

/// A body that sends one piece and then nothing, and does not end.
fn stalled() -> Body {
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"-----BEGIN"))]);
    Body::from_stream(futures_util::StreamExt::chain(first, stream::pending()))
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up_and_leaves_nothing() {
    let mut settings = Settings::default();
    settings.limits.stall = Duration::from_millis(100);
    for service in services_with(settings).await {
        for (path, role, kind) in [
            ("/v1/certificates", Role::Registrar, PEM),
            ("/v1/crls", Role::Revoker, "application/pkix-crl"),
            ("/v1/prune", Role::Admin, "application/json"),
        ] {
            let answer = service.ask(role, Method::POST, path).body(kind, stalled()).send().await.expect(408);
            assert!(answer.detail().contains("stopped coming"), "{}", answer.text());
        }
        let ask = service.ask(Role::Registrar, Method::POST, "/v1/certificates");
        let answers = ask.body("application/x-ndjson", stalled()).send().await.expect(200).lines();
        assert_eq!((answers.len(), &answers[0]["status"]), (1, &408.into()));
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_and_ended() {
    let mut settings = Settings::default();
    settings.limits.request_time = Duration::from_millis(100);
    for service in services_with(settings).await {
        let ask = service.ask(Role::Registrar, Method::POST, "/v1/certificates").body(PEM, stalled());
        let answer = ask.send().await.expect(503);
        assert_eq!(answer.json()["type"], "urn:trust-ledger:problem:timed-out");
        assert_eq!(service.get("/v1/certificates").await.expect(200).json()["certificates"], serde_json::json!([]));
    }
}

#[tokio::test]
async fn more_requests_than_allowed_at_once_are_sent_away() {
    let mut settings = Settings::default();
    settings.limits.requests = 1;
    let service = on_file(settings).await;
    let slow = service.ask(Role::Registrar, Method::POST, "/v1/certificates").body(PEM, stalled()).send();
    let mut slow = std::pin::pin!(slow);
    // Its first poll begins it.
    assert!(tokio::time::timeout(Duration::from_millis(50), slow.as_mut()).await.is_err());
    let answer = service.get("/v1/stats").await.expect(503);
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test]
async fn a_client_that_asks_more_often_than_allowed_is_told_when_to_come_back() {
    let mut settings = Settings::default();
    settings.limits.rate = 2;
    let service = on_file(settings).await;
    for _ in 0..4 {
        service.get("/v1/stats").await.expect(200);
    }
    assert_eq!(service.get("/v1/stats").await.expect(429).header("retry-after"), "1");
    tokio::time::sleep(Duration::from_millis(550)).await;
    service.get("/v1/stats").await.expect(200);
}

/// A body of unknown length is cut off at the limit; one that says how long it is is not even read.
#[tokio::test]
async fn a_body_of_a_hundred_megabytes_is_refused_without_being_held() {
    let service = on_file(Settings::default()).await;
    let piece = Bytes::from(vec![b'A'; 1 << 20]);
    let endless = move || {
        let piece = piece.clone();
        Body::from_stream(stream::iter((0..100).map(move |_| Ok::<_, Infallible>(piece.clone()))))
    };
    let ask = service.ask(Role::Registrar, Method::POST, "/v1/certificates").body(PEM, endless());
    ask.send().await.expect(413);
    let ask = service.ask(Role::Registrar, Method::POST, "/v1/certificates").body(PEM, endless());
    ask.header("content-length", "104857600").send().await.expect(413);
    let ask = service.ask(Role::Revoker, Method::POST, "/v1/crls").body("application/pkix-crl", endless());
    ask.send().await.expect(413);
}
