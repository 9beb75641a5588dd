//! Health and metrics.

use axum::http::Method;
use test_servers::Ca;
use trust_ledger_registry::Role;

use crate::support::{certificates, services};

#[tokio::test]
async fn metrics_tell_requests_pool_and_ledger_and_no_names() {
    for service in services().await {
        service.add(&certificates(&Ca::new(), &["secret.example"])[0]).await;
        service.get("/v1/certificates/x").await.expect(400);
        let answer = service.ask_with(Method::GET, "/metrics").send().await.expect(200);
        assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        let text = answer.text();
        for line in [
            "trust_ledger_http_requests_total{route=\"/v1/certificates\",method=\"POST\",status=\"201\"} 1",
            "trust_ledger_http_requests_total{route=\"/v1/certificates/{certificate}\",method=\"GET\",status=\"400\"} 1",
            "trust_ledger_http_requests_under_way 1",
            "trust_ledger_certificates{status=\"valid\"} 1",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
        for metric in ["strongroom_pool_connections{", "strongroom_commits_total{"] {
            assert!(text.contains(metric), "{metric}\n{text}");
        }
        let days = text.lines().find_map(|line| line.strip_prefix("trust_ledger_next_expiry_days ")).unwrap();
        assert!((89.9..=90.0).contains(&days.parse::<f64>().unwrap()), "{days}");
        assert!(!text.contains("Test CA") && !text.contains("secret.example"), "{text}");
        let described = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).count();
        assert!(described > 20, "{text}");
    }
}

#[tokio::test]
async fn readiness_follows_the_database_and_liveness_does_not() {
    for service in services().await {
        let ready = service.ask_with(Method::GET, "/readyz").send().await.expect(200).json();
        assert_eq!((&ready["ready"], &ready["database"]["ok"]), (&true.into(), &true.into()));
        service.registry.database().close().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(1_050)).await;
        let answer = service.ask_with(Method::GET, "/readyz").send().await;
        assert_eq!((answer.status.as_u16(), &answer.json()["database"]["ok"]), (503, &false.into()));
        service.ask_with(Method::GET, "/livez").send().await.expect(200);
        // Whoever asks for more learns that it is to come back, and nothing of the database.
        let answer = service.ask(Role::Admin, Method::GET, "/v1/audit").send().await.expect(503);
        assert_eq!(answer.header("retry-after"), "1");
        assert!(!answer.text().contains("ledger.db") && !answer.text().contains("postgres"), "{}", answer.text());
    }
}
