//! Who is let in, and to what.

use std::time::Duration;

use axum::http::Method;
use serde_json::Value;
use trust_ledger_registry::Role;
use trust_ledger_server::Settings;

use crate::support::{on_file, services};

/// What the description says of each operation that needs a token: method, path, the role it names.
fn described() -> Vec<(Method, String, Role)> {
    let description: Value = serde_json::from_str(&trust_ledger_server::openapi()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            match operation["security"].as_array() {
                None => assert!(!path.starts_with("/v1/"), "{method} {path} names no role"),
                Some(security) => {
                    let role = security[0]["token"][0].as_str().unwrap().parse().unwrap();
                    operations.push((method, path.clone(), role));
                }
            }
        }
    }
    operations
}

/// Every route with every role: let in exactly where the description says so. What is asked for is not there, or malformed,
/// so whoever is let in gets another refusal than 401 and 403, or an answer.
#[tokio::test]
async fn every_route_lets_in_whom_its_description_names_and_nobody_else() {
    let operations = described();
    assert!(operations.len() >= 13, "{operations:?}");
    for service in services().await {
        for (method, path, needed) in &operations {
            let path = path.replace("{certificate}", "0198c2f5-5d0e-7000-8000-0123456789ab");
            for role in Role::ALL {
                let status = service.ask(role, method.clone(), &path).send().await.status.as_u16();
                let may = role == Role::Admin || role == *needed || *needed == Role::Reader;
                assert_eq!(status != 403, may, "{method} {path} as {role}: {status}");
                assert!(status != 401 && status < 500, "{method} {path} as {role}: {status}");
            }
            let answer = service.ask_with(method.clone(), &path).send().await.expect(401);
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"trust-ledger\"");
        }
    }
}

/// Writing needs more than reading: said here once in plain words, since the test above believes the description.
#[test]
fn writing_needs_a_role_for_it() {
    for (method, path, needed) in described() {
        let expected = match (&method, path.as_str()) {
            (_, "/v1/audit" | "/v1/prune") => Role::Admin,
            (_, "/v1/crls") => Role::Revoker,
            (&Method::POST, path) if path.ends_with("/revoke") || path.ends_with("/lift-hold") => Role::Revoker,
            (&Method::POST | &Method::PATCH, _) => Role::Registrar,
            _ => Role::Reader,
        };
        assert_eq!(needed, expected, "{method} {path}");
    }
}

#[tokio::test]
async fn only_a_live_token_of_this_ledger_lets_in() {
    let mut settings = Settings::default();
    settings.limits.rate_without_token = 0;
    for service in crate::support::services_with(settings).await {
        let with = |value: &str| service.ask_with(Method::GET, "/v1/stats").header("authorization", value).send();
        let good = service.tokens[&Role::Reader].clone();
        with(&format!("Bearer {good}")).await.expect(200);
        with(&format!("bearer  {good}")).await.expect(200);
        let (id, secret) = good[3..].split_once('_').unwrap();
        let other = if secret.starts_with('A') { "B" } else { "A" };
        for wrong in [
            String::new(),
            "Bearer".to_owned(),
            good.clone(),
            format!("Basic {good}"),
            "Bearer x".to_owned(),
            format!("Bearer {good}x"),
            format!("Bearer {}", &good[..good.len() - 1]),
            format!("Bearer tl_{id}_{other}{}", &secret[1..]),
            format!("Bearer tl_{}_{secret}", "0".repeat(32)),
        ] {
            let answer = with(&wrong).await.expect(401);
            assert!(!answer.text().contains(secret), "{}", answer.text());
        }

        let soon = time::OffsetDateTime::now_utc() + Duration::from_millis(300);
        let (_, brief) = service.registry.create_token("brief", Role::Reader, Some(soon)).await.unwrap();
        let brief = format!("Bearer {}", brief.expose());
        with(&brief).await.expect(200);
        tokio::time::sleep(Duration::from_millis(350)).await;
        assert!(with(&brief).await.expect(401).detail().contains("expired"));

        let (token, text) = service.registry.create_token("revoked", Role::Reader, None).await.unwrap();
        let text = format!("Bearer {}", text.expose());
        with(&text).await.expect(200);
        service.registry.revoke_token(token.id).await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        assert!(with(&text).await.expect(401).detail().contains("revoked"));
    }
}

/// Guessing is slowed down, and does not slow down anybody else.
#[tokio::test]
async fn an_address_that_keeps_asking_without_a_token_has_to_wait() {
    let mut settings = Settings::default();
    settings.limits.rate_without_token = 1;
    let service = on_file(settings).await;
    for _ in 0..5 {
        service.ask_with(Method::GET, "/v1/stats").send().await.expect(401);
    }
    let answer = service.ask_with(Method::GET, "/v1/stats").send().await.expect(429);
    assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
    // Its good tokens wait, too: else the answer would tell a good guess.
    service.get("/v1/stats").await.expect(429);
    service.ask_with(Method::GET, "/livez").send().await.expect(200);
}

#[tokio::test]
async fn a_path_that_is_not_there_and_a_method_that_is_not_meant_are_told_apart() {
    for service in services().await {
        for path in
            ["/", "/v1", "/v1/nothing", "/v2/certificates", "/v1/certificates/", "//v1/stats", "/v1/../v1/stats"]
        {
            service.get(path).await.expect(404);
        }
        let answer = service.ask(Role::Admin, Method::DELETE, "/v1/certificates").send().await.expect(405);
        assert_eq!(answer.header("allow"), "GET,HEAD,POST");
    }
}
