//! The router below a path of somebody else's service.

use axum::Router;
use axum::http::Method;
use test_servers::Ca;
use trust_ledger_registry::Role;
use trust_ledger_server::Settings;

use crate::support::{certificates, on_file};

/// Roles are enforced, and links lead, where the router is mounted: below a path, one with a variable part, or as a service.
#[tokio::test]
async fn below_a_path_roles_hold_and_links_lead() {
    for (place, mount) in [
        ("/ledger", (|api| Router::new().nest("/ledger", api)) as fn(Router) -> Router),
        ("/of/anna", |api| Router::new().nest("/of/{whom}", api)),
        ("/a/b", |api| Router::new().nest_service("/a/b", api)),
    ] {
        let mut service = on_file(Settings::default()).await;
        service.router = mount(service.router);
        let certificates_at = format!("{place}/v1/certificates");
        for pem in certificates(&Ca::new(), &["a.example", "b.example"]) {
            let ask = service.ask(Role::Registrar, Method::POST, &certificates_at);
            let answer = ask.body("application/pem-certificate-chain", pem).send().await.expect(201);
            let location = answer.header("location").to_owned();
            assert!(location.starts_with(&certificates_at), "{location}");
            service.get(&location).await.expect(200);
        }
        let page = service.get(&format!("{certificates_at}?limit=1")).await.expect(200);
        let link = page.header("link");
        let next = link.strip_prefix('<').and_then(|link| link.split_once('>')).expect("a link").0.to_owned();
        assert_eq!(service.get(&next).await.expect(200).json()["certificates"].as_array().unwrap().len(), 1);
        service.ask(Role::Reader, Method::POST, &certificates_at).send().await.expect(403);
        service.get(&format!("{place}/v1/audit")).await.expect(403);
        service.ask_with(Method::GET, &certificates_at).send().await.expect(401);
        service.ask_with(Method::GET, &format!("{place}/livez")).send().await.expect(200);
        let metrics = service.ask_with(Method::GET, &format!("{place}/metrics")).send().await.expect(200).text();
        assert!(metrics.contains("route=\"/v1/certificates\""), "{metrics}");
    }
}
