//! Streams of certificates.

use axum::body::Body;
use axum::http::Method;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use test_servers::Ca;
use tokio::sync::mpsc;
use trust_ledger_registry::Role;
use trust_ledger_server::Settings;

use crate::support::{Service, certificates, der, on_file, services};

const NDJSON: &str = "application/x-ndjson";

async fn post(service: &Service, query: &str, body: impl Into<Body>) -> Vec<Value> {
    let ask = service.ask(Role::Registrar, Method::POST, &format!("/v1/certificates{query}"));
    let answer = ask.body(NDJSON, body).send().await.expect(200);
    assert_eq!(answer.header("content-type"), NDJSON);
    answer.lines()
}

async fn total(service: &Service) -> Value {
    service.get("/v1/certificates?total=true&limit=1").await.json()["total"].clone()
}

/// Good, known, malformed, empty and wrong lines in one stream: each is answered under its number, and spoils no other.
#[tokio::test]
async fn each_line_is_answered_by_its_number_and_spoils_no_other() {
    for service in services().await {
        let ca = Ca::new();
        let pems = certificates(&ca, &["a.example", "b.example", "c.example"]);
        let key = ca.server().key().to_owned();
        let lines = [
            json!({"pem": pems[0], "owner": "own", "tags": ["x"]}).to_string(),
            json!({"der": STANDARD.encode(der(&pems[1]))}).to_string(),
            String::new(),
            json!({"pem": pems[0]}).to_string(),
            "{\"pem\": ".to_owned(),
            json!({"pem": key}).to_string(),
            json!({"pem": pems[2], "der": ""}).to_string(),
            json!({"der": "!"}).to_string(),
            json!({"der": STANDARD.encode("junk")}).to_string(),
            json!({"cert": pems[2]}).to_string(),
            json!({"pem": pems[2]}).to_string(),
        ];
        let answers = post(&service, "?owner=usual&source=bulk", lines.join("\n")).await;
        let told: Vec<(u64, u64)> =
            answers.iter().map(|line| (line["line"].as_u64().unwrap(), line["status"].as_u64().unwrap())).collect();
        let expected =
            [(1, 201), (2, 201), (4, 200), (5, 400), (6, 422), (7, 422), (8, 422), (9, 422), (10, 422), (11, 201)];
        assert_eq!(told, expected, "{answers:?}");
        assert_eq!(answers[0]["id"], answers[2]["id"]);
        assert!(answers[4]["detail"].as_str().unwrap().contains("private key"), "{answers:?}");
        assert!(!answers[4].to_string().contains(key.lines().nth(1).unwrap()));
        let record = |line: usize| {
            let id = answers[line]["id"].as_str().unwrap().to_owned();
            let service = &service;
            async move { service.get(&format!("/v1/certificates/{id}")).await.expect(200).json() }
        };
        let (first, last) = (record(0).await, record(9).await);
        assert_eq!((&first["owner"], &first["source"], &first["tags"]), (&json!("own"), &json!("bulk"), &json!(["x"])));
        assert_eq!((&last["owner"], &last["tags"]), (&json!("usual"), &json!([])));
        assert_eq!(last["fingerprint_sha256"], answers[9]["fingerprint_sha256"]);
        assert_eq!(total(&service).await, 3);
    }
}

#[tokio::test]
async fn a_long_stream_is_answered_in_order_and_an_empty_one_with_nothing() {
    for service in services().await {
        let pems = certificates(&Ca::new(), &["a.example", "b.example"]);
        let lines: String = (0..2_500).map(|n| json!({"pem": pems[n % 2]}).to_string() + "\n").collect();
        let answers = post(&service, "", lines).await;
        assert_eq!(answers.len(), 2_500);
        assert!(answers.iter().enumerate().all(|(n, answer)| answer["line"] == n + 1));
        assert_eq!(answers.iter().filter(|answer| answer["status"] == 201).count(), 2);
        assert_eq!(total(&service).await, 2);
        for empty in ["", "\n\n \r\n"] {
            assert_eq!(post(&service, "", empty).await, Vec::<Value>::new());
        }
    }
}

#[tokio::test]
async fn a_line_that_is_too_long_ends_the_stream_and_what_came_before_is_kept() {
    for service in services().await {
        let pem = &certificates(&Ca::new(), &["a.example"])[0];
        let long = json!({"pem": "A".repeat(3 << 20)});
        let answers = post(&service, "", format!("{}\n{long}\n{}", json!({"pem": pem}), json!({"pem": pem}))).await;
        assert_eq!(answers.iter().map(|answer| &answer["status"]).collect::<Vec<_>>(), [201, 413]);
    }
}

/// The answers to a line come while later lines are not yet sent; and when the client goes away in mid-stream, what was
/// answered is there.
#[tokio::test]
async fn lines_are_answered_while_the_stream_goes_on_and_survive_its_end() {
    for service in services().await {
        let pems = certificates(&Ca::new(), &["a.example", "b.example"]);
        let mut stream = Stream::open(&service).await;
        stream.send(json!({"pem": pems[0]}).to_string() + "\n{\"pem\": \"").await;
        let answer = stream.answer().await.unwrap();
        assert_eq!((&answer["line"], &answer["status"]), (&json!(1), &json!(201)));
        drop(stream);
        assert_eq!(total(&service).await, 1);
    }
}

/// A stream that outlasts its token is refused from the next line on, and ends.
#[tokio::test]
async fn a_stream_ends_with_its_token() {
    for service in services().await {
        let pems = certificates(&Ca::new(), &["a.example", "b.example"]);
        let mut stream = Stream::open(&service).await;
        stream.send(json!({"pem": pems[0]}).to_string() + "\n").await;
        assert_eq!(stream.answer().await.unwrap()["status"], 201);
        let tokens = service.registry.tokens().await.unwrap();
        let used = tokens.iter().find(|token| token.role == Role::Registrar).unwrap();
        service.registry.revoke_token(used.id).await.unwrap();
        // For so long it is believed what the ledger said of it.
        tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        stream.send(json!({"pem": pems[1]}).to_string() + "\n").await;
        let answer = stream.answer().await.unwrap();
        assert_eq!((&answer["line"], &answer["status"]), (&json!(2), &json!(401)), "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains("revoked"), "{answer}");
        assert_eq!(stream.answer().await, None);
        assert_eq!(total(&service).await, 1);
    }
}

/// A stream counts as a request for as long as it lasts.
#[tokio::test]
async fn streams_are_counted_among_the_requests_at_once() {
    let mut settings = Settings::default();
    settings.limits.requests = 1;
    let service = on_file(settings).await;
    let pem = &certificates(&Ca::new(), &["a.example"])[0];
    let mut stream = Stream::open(&service).await;
    stream.send(json!({"pem": pem}).to_string() + "\n").await;
    assert_eq!(stream.answer().await.unwrap()["status"], 201);
    service.get("/v1/stats").await.expect(503);
    drop(stream);
    service.get("/v1/stats").await.expect(200);
}

/// A stream under way: lines go in while answers come out.
struct Stream {
    lines: mpsc::Sender<Result<Bytes, std::io::Error>>,
    answers: Body,
}

impl Stream {
    async fn open(service: &Service) -> Stream {
        let (lines, receiver) = mpsc::channel(4);
        let body = Body::from_stream(futures_util::stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|piece| (piece, receiver))
        }));
        let request = axum::http::Request::builder()
            .method(Method::POST)
            .uri("/v1/certificates")
            .header(AUTHORIZATION, format!("Bearer {}", service.tokens[&Role::Registrar]))
            .header("content-type", NDJSON)
            .extension(trust_ledger_server::Peer(crate::support::CLIENT.into()))
            .body(body)
            .unwrap();
        let response = tower::ServiceExt::oneshot(service.router.clone(), request).await.unwrap();
        assert_eq!(response.status(), 200);
        Stream { lines, answers: response.into_body() }
    }

    async fn send(&self, text: String) {
        self.lines.send(Ok(text.into())).await.unwrap();
    }

    /// The next answer, which is a line; none at the end.
    async fn answer(&mut self) -> Option<Value> {
        let frame = http_body_util::BodyExt::frame(&mut self.answers).await?.unwrap();
        Some(serde_json::from_slice(frame.data_ref().unwrap()).unwrap())
    }
}
