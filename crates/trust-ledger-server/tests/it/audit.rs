//! The audit trail of what the service was asked for.

use axum::http::Method;
use serde_json::json;
use test_servers::Ca;
use trust_ledger_registry::Role;

use crate::support::{certificates, services};

/// Every kind of write through the service leaves events that name the token, the client's address and the request.
#[tokio::test]
async fn every_write_is_recorded_with_who_from_where_and_the_request() {
    for service in services().await {
        let pems = certificates(&Ca::new(), &["a.example", "b.example"]);
        let post = service.ask(Role::Registrar, Method::POST, "/v1/certificates");
        let registered = post.body("application/pem-certificate-chain", pems[0].clone()).send().await.expect(201);
        let path = format!("/v1/certificates/{}", registered.json()["id"].as_str().unwrap());
        let act = |role, method, path: &str, body| service.ask(role, method, path).json(&body).send();
        let annotated = act(Role::Registrar, Method::PATCH, &path, json!({"owner": "x"})).await.expect(200);
        let hold = json!({"reason": "certificateHold"});
        let held = act(Role::Revoker, Method::POST, &format!("{path}/revoke"), hold).await.expect(200);
        let lifted = act(Role::Admin, Method::POST, &format!("{path}/lift-hold"), json!({})).await.expect(200);
        let post = service.ask(Role::Registrar, Method::POST, "/v1/certificates");
        let bulk = post.body("application/x-ndjson", json!({"pem": pems[1]}).to_string()).send().await.expect(200);

        let trail = |query: &str| service.ask(Role::Admin, Method::GET, &format!("/v1/audit?{query}")).send();
        let events = trail("limit=5").await.expect(200).json()["events"].clone();
        let expected = [
            ("certificate.registered", "registrar", bulk),
            ("revocation.lifted", "admin", lifted),
            ("revocation.recorded", "revoker", held),
            ("certificate.annotated", "registrar", annotated),
            ("certificate.registered", "registrar", registered),
        ];
        for (event, (action, actor, answer)) in events.as_array().unwrap().iter().zip(expected) {
            assert_eq!((&event["action"], &event["actor"]), (&json!(action), &json!(actor)));
            assert_eq!(event["origin"], "192.0.2.7");
            assert_eq!(event["request"], answer.header("x-request-id"), "{action}");
        }
        let request = events[2]["request"].as_str().unwrap();
        let of = trail(&format!("request={request}")).await.expect(200).json();
        assert_eq!(of["events"], json!([events[2]]));
        let of = trail("actor=revoker").await.expect(200).json();
        assert_eq!(of["events"].as_array().unwrap().len(), 1);
        let tokens = trail("action=token.created&limit=3").await.expect(200);
        assert_eq!(tokens.json()["events"].as_array().unwrap().len(), 3);
        assert!(tokens.header("link").contains("action=token.created"), "{}", tokens.header("link"));
        // What a token may do is told, and nothing of its secret.
        assert!(service.tokens.values().all(|text| !tokens.text().contains(text.splitn(3, '_').nth(2).unwrap())));
        // What no text can hold is found nowhere.
        for query in ["actor=%00", "action=%00", "request=a%00"] {
            assert_eq!(trail(query).await.expect(200).json()["events"], json!([]), "{query}");
        }
        for query in ["object=x", "since=then", "limit=0", "cursor=x", "why=x"] {
            trail(query).await.expect(400);
        }
    }
}
