//! CRLs in and CRL entries out.

use std::path::PathBuf;

use axum::http::Method;
use serde_json::json;
use test_servers::Ca;
use trust_ledger_registry::Role;

use crate::support::{Service, certificates, der, services};

const CRL: &str = "application/pkix-crl";

/// NIST's path validation suite, which the test set-up provides (see CONTRIBUTING.md).
fn pkits() -> Option<PathBuf> {
    let folder = std::env::var_os("TRUST_LEDGER_PKITS");
    if folder.is_none() {
        test_servers::needs::skip("TRUST_LEDGER_PKITS");
    }
    folder.map(PathBuf::from)
}

async fn record(service: &Service, crl: Vec<u8>) -> crate::support::Answer {
    service.ask(Role::Revoker, Method::POST, "/v1/crls").body(CRL, crl).send().await
}

/// A CA's certificate, then its CRL, from NIST's suite: recorded once, believed, and listed for a CRL to come.
#[tokio::test]
async fn a_crl_is_recorded_once_and_its_entries_are_listed() {
    let Some(pkits) = pkits() else { return };
    let file = |name: &str| std::fs::read(pkits.join(name)).unwrap();
    for service in services().await {
        let post = service.ask(Role::Registrar, Method::POST, "/v1/certificates");
        let ca = post.body("application/pkix-cert", file("certs/GoodCACert.crt")).send().await.expect(201).json();
        let first = record(&service, file("crls/GoodCACRL.crl")).await.expect(200).json();
        assert_eq!((&first["revocations"], &first["refused_count"]), (&json!(2), &json!(0)), "{first}");
        let again = record(&service, file("crls/GoodCACRL.crl")).await.expect(200).json();
        assert_eq!((&again["revocations"], &again["revocations_known"]), (&json!(0), &json!(2)));

        let issuers = service.get("/v1/issuers?name=good%20ca").await.json()["issuers"].clone();
        let issuer = issuers.as_array().unwrap().iter().find(|issuer| issuer["known"] == true).unwrap()["id"].clone();
        let path = format!("/v1/crl-entries?issuer={}", issuer.as_str().unwrap());
        let answer = service.get(&path).await.expect(200);
        let unchanged = service.ask(Role::Reader, Method::GET, &path).header("if-none-match", answer.header("etag"));
        assert!(unchanged.send().await.expect(304).body.is_empty());
        let entries = answer.json();
        let serials: Vec<_> = entries.as_array().unwrap().iter().map(|entry| entry["serial"].clone()).collect();
        assert_eq!(serials, ["e", "f"]);
        let lines = service.ask(Role::Reader, Method::GET, &path).header("accept", "application/x-ndjson");
        assert_eq!(json!(lines.send().await.expect(200).lines()), entries);
        let since = service.get(&format!("{path}&since=2999-01-01")).await.expect(200);
        assert_eq!(since.json(), json!([]));
        assert_eq!(service.get(&format!("{path}&revoked_within_s=1")).await.expect(200).json(), json!([]));

        // A CRL that its known issuer did not sign is evidence, and believed in nothing.
        let bad = service.ask(Role::Registrar, Method::POST, "/v1/certificates");
        bad.body("application/pkix-cert", file("certs/BadCRLSignatureCACert.crt")).send().await.expect(201);
        let forged = record(&service, file("crls/BadCRLSignatureCACRL.crl")).await.expect(422);
        assert!(forged.detail().contains("did not sign it"), "{}", forged.text());
        drop(ca);
    }
}

/// Whoever may revoke may not register.
#[tokio::test]
async fn nothing_but_a_crl_is_taken_for_one() {
    for service in services().await {
        let pem = certificates(&Ca::new(), &["a.example"])[0].clone();
        for (body, says) in [
            (der(&pem), "POST it to /v1/certificates"),
            (pem.into_bytes(), "POST it to /v1/certificates"),
            (b"garbage".to_vec(), "nothing recognised"),
            (Vec::new(), ""),
            (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n".to_vec(), "the body"),
        ] {
            let answer = record(&service, body).await.expect(422);
            assert!(answer.detail().contains(says), "{}", answer.text());
        }
        service.ask(Role::Revoker, Method::POST, "/v1/crls").body("application/json", "{}").send().await.expect(415);
        assert_eq!(service.get("/v1/certificates?total=true").await.json()["total"], 0);
    }
}

#[tokio::test]
async fn entries_of_an_unknown_issuer_are_no_empty_list() {
    for service in services().await {
        let unknown = "0198c2f5-5d0e-7000-8000-0123456789ab";
        service.get(&format!("/v1/crl-entries?issuer={unknown}")).await.expect(404);
        for query in
            ["", "issuer=x", "issuer=&since=now", "issuer=0198c2f5-5d0e-7000-8000-0123456789ab&revoked_within_s=-1"]
        {
            service.get(&format!("/v1/crl-entries?{query}")).await.expect(400);
        }
        service
            .ask(Role::Reader, Method::GET, &format!("/v1/crl-entries?issuer={unknown}"))
            .header("accept", "text/csv")
            .send()
            .await
            .expect(406);
    }
}
