//! Registering, finding, annotating and revoking certificates.

use axum::http::Method;
use serde_json::{Value, json};
use test_servers::Ca;
use trust_ledger_registry::Role;

use crate::support::{Service, certificates, der, services};

const PEM: &str = "application/pem-certificate-chain";

fn ids(list: &Value) -> Vec<&str> {
    list["certificates"].as_array().unwrap().iter().map(|record| record["id"].as_str().unwrap()).collect()
}

/// A page of `/v1/certificates`.
async fn list(service: &Service, query: &str) -> Value {
    service.get(&format!("/v1/certificates?{query}")).await.expect(200).json()
}

#[tokio::test]
async fn a_certificate_is_new_once_and_known_afterwards_in_either_form() {
    for service in services().await {
        let ca = Ca::new();
        let pem = &certificates(&ca, &["a.example"])[0];
        let post = |query: &str| service.ask(Role::Registrar, Method::POST, &format!("/v1/certificates{query}"));
        let first = post("?owner=web&tags=prod,eu&source=ci&note=n%20n&category=internal").body(PEM, pem.clone());
        let first = first.send().await.expect(201);
        let record = first.json();
        assert_eq!(first.header("location"), format!("/v1/certificates/{}", record["id"].as_str().unwrap()));
        assert_eq!(record["common_name"], "a.example");
        assert_eq!(record["serial"], "2");
        assert_eq!((&record["owner"], &record["tags"]), (&json!("web"), &json!(["eu", "prod"])));
        assert_eq!((&record["source"], &record["note"]), (&json!("ci"), &json!("n n")));
        assert_eq!(record["category"], "internal");
        for (kind, body) in [(PEM, pem.clone().into_bytes()), ("application/pkix-cert", der(pem))] {
            let again = post("?owner=other").body(kind, body).send().await.expect(200).json();
            assert_eq!(again, record);
        }
        assert_eq!(list(&service, "total=true").await["total"], 1);
    }
}

/// What is no single certificate is refused with what it is, nothing of it is stored, and nothing of a key is repeated.
#[tokio::test]
async fn what_is_no_certificate_is_refused_by_what_it_is() {
    for service in services().await {
        let ca = Ca::new();
        let identity = ca.server_with(&["a.example"], -10..90);
        let two = certificates(&ca, &["b.example", "c.example"]).concat();
        let with_key = format!("{}{}", identity.certificate(), identity.key());
        let cut_off = &identity.certificate()[..identity.certificate().len() / 2];
        for (body, kind, status, says) in [
            (String::new(), PEM, 422, "no certificate"),
            ("garbage".to_owned(), PEM, 422, "no certificate"),
            (identity.key().to_owned(), PEM, 422, "a private key"),
            (with_key, PEM, 422, "a private key"),
            (two, PEM, 422, "several certificates"),
            (cut_off.to_owned(), PEM, 422, "no certificate"),
            ("\0\u{1}\u{2}".to_owned(), "application/pkix-cert", 422, "no certificate"),
            ("{}".to_owned(), "application/json", 415, "application/x-ndjson"),
            ("x".to_owned(), "text/html", 415, "text/html"),
            ("A".repeat(3 << 20), PEM, 413, "larger than 2097152 bytes"),
        ] {
            let ask = service.ask(Role::Registrar, Method::POST, "/v1/certificates").body(kind, body);
            let answer = ask.send().await.expect(status);
            assert!(answer.detail().contains(says), "{}", answer.text());
            let secret = identity.key().lines().nth(1).unwrap();
            assert!(!answer.text().contains(secret));
        }
        let no_type = service.ask(Role::Registrar, Method::POST, "/v1/certificates").send().await.expect(415);
        assert!(no_type.detail().contains("none is named"));
        assert_eq!(list(&service, "total=true").await["total"], 0);
    }
}

#[tokio::test]
async fn a_certificate_is_found_by_id_and_fingerprint_and_given_in_the_form_that_is_accepted() {
    for service in services().await {
        let pem = &certificates(&Ca::new(), &["a.example"])[0];
        let record = service.add(pem).await;
        let (id, print) = (record["id"].as_str().unwrap(), record["fingerprint_sha256"].as_str().unwrap());
        for path in [id, print, &print.to_uppercase()] {
            assert_eq!(service.get(&format!("/v1/certificates/{path}")).await.expect(200).json(), record, "{path}");
        }
        let path = format!("/v1/certificates/{id}");
        let accepting = |accept: &str| service.ask(Role::Reader, Method::GET, &path).header("accept", accept).send();
        assert_eq!(accepting(PEM).await.expect(200).text(), *pem);
        assert_eq!(accepting("application/pkix-cert").await.expect(200).body, der(pem));
        accepting("text/html").await.expect(406);

        let tag = service.get(&path).await.header("etag").to_owned();
        let ask = service.ask(Role::Reader, Method::GET, &path).header("if-none-match", &tag);
        let unchanged = ask.send().await;
        assert_eq!((unchanged.status.as_u16(), unchanged.body.len(), unchanged.header("etag")), (304, 0, &*tag));
        service.ask(Role::Registrar, Method::PATCH, &path).json(&json!({"owner": "x"})).send().await.expect(200);
        service.ask(Role::Reader, Method::GET, &path).header("if-none-match", &tag).send().await.expect(200);

        service.get(&format!("/v1/certificates/{}", uuid())).await.expect(404);
        service.get(&format!("/v1/certificates/{}", "0".repeat(64))).await.expect(404);
        for wrong in ["x", "..%2f..%2fetc%2fpasswd", "%00", "1a2b", "%F0%28%8C%28"] {
            service.get(&format!("/v1/certificates/{wrong}")).await.expect(400);
        }
    }
}

fn uuid() -> &'static str {
    "0198c2f5-5d0e-7000-8000-0123456789ab"
}

#[tokio::test]
async fn lists_are_filtered_and_go_on_where_the_link_says() {
    for service in services().await {
        let ca = Ca::new();
        let mut expected = Vec::new();
        for pem in certificates(&ca, &["a.one.example", "b.one.example", "c.two.example", "d.two.example"]) {
            expected.insert(0, service.add(&pem).await);
        }
        let all: Vec<&str> = expected.iter().map(|record| record["id"].as_str().unwrap()).collect();
        let mut path = "/v1/certificates?limit=3&category=service".to_owned();
        let mut pages = Vec::new();
        loop {
            let answer = service.get(&path).await.expect(200);
            let page = answer.json();
            pages.push(ids(&page).len());
            let link = answer.header("link");
            assert_eq!(link.is_empty(), page["next"].is_null());
            match link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")) {
                Some(next) => path = next.to_owned(),
                None => break,
            }
            assert!(path.contains("category=service"), "{path}");
        }
        assert_eq!(pages, [3, 1]);
        assert_eq!(ids(&list(&service, "").await), all);
        let issuer = expected[0]["issuer_id"].as_str().unwrap();
        for (query, found) in [
            ("name=*.two.example".to_owned(), &all[..2]),
            ("name=a.one.example".to_owned(), &all[3..]),
            ("serial=0x3".to_owned(), &all[2..3]),
            (format!("serial=03&issuer={issuer}"), &all[2..3]),
            (format!("issuer={issuer}"), &all[..]),
            ("status=valid".to_owned(), &all[..]),
            ("status=expired".to_owned(), &[]),
            ("expires_before=2000-01-01".to_owned(), &[]),
            ("expires_after=2000-01-01T00:00:00Z".to_owned(), &all[..]),
            ("registered_before=2000-01-01T01:00:00%2B01:00".to_owned(), &[]),
            ("weak=true".to_owned(), &[]),
            ("owner=nobody".to_owned(), &[]),
            // What no text can hold is found nowhere.
            ("owner=%00".to_owned(), &[]),
            ("tag=a%00".to_owned(), &[]),
            ("source=%00&owner=a%00&tag=b%00".to_owned(), &[]),
        ] {
            assert_eq!(ids(&list(&service, &query).await), found, "{query}");
        }
        let soon = service.get("/v1/expiring?within_days=365").await.expect(200).json();
        assert_eq!(ids(&soon).len(), 4);
        assert_eq!(ids(&service.get("/v1/expiring?within_days=1").await.expect(200).json()).len(), 0);
        let issuers = service.get("/v1/issuers?name=TEST").await.expect(200).json();
        assert_eq!(issuers["issuers"][0]["id"], issuer);
        assert_eq!(service.get("/v1/issuers?name=nobody").await.expect(200).json(), json!({"issuers": []}));
    }
}

#[tokio::test]
async fn a_query_that_says_something_else_is_refused_by_name() {
    for service in services().await {
        for (query, says) in [
            ("limit=0", "limit is 1 to 1000"),
            ("limit=1001", "limit is 1 to 1000"),
            ("limit=-1", "limit"),
            ("cursor=made-up", "cursor"),
            ("cursor=%00", "cursor"),
            ("serial=xyz", "serial"),
            ("serial=", "serial"),
            ("issuer=nobody", "issuer"),
            ("status=fine", "status"),
            ("expires_before=tomorrow", "tomorrow"),
            ("name=*db*", "name"),
            ("weak=perhaps", "weak"),
            ("unknown=1", "unknown"),
            ("limit=1&limit=2", "limit"),
        ] {
            let answer = service.get(&format!("/v1/certificates?{query}")).await.expect(400);
            assert!(answer.detail().contains(says), "{query}: {}", answer.text());
        }
        for query in ["within_days=40000", "limit=0", "x=1"] {
            service.get(&format!("/v1/expiring?{query}")).await.expect(400);
        }
    }
}

#[tokio::test]
async fn a_merge_patch_sets_what_it_names_removes_what_is_null_and_leaves_the_rest() {
    for service in services().await {
        let record = service.add(&certificates(&Ca::new(), &["a.example"])[0]).await;
        let path = format!("/v1/certificates/{}", record["id"].as_str().unwrap());
        let patch = |body: Value| {
            let ask = service.ask(Role::Registrar, Method::PATCH, &path);
            ask.body("application/merge-patch+json", body.to_string()).send()
        };
        let now = patch(json!({"owner": "web", "tags": ["b", "a"], "note": "n"})).await.expect(200).json();
        assert_eq!((&now["owner"], &now["tags"], &now["note"]), (&json!("web"), &json!(["a", "b"]), &json!("n")));
        let now = patch(json!({"owner": null, "tags": ["c"], "category": "user"})).await.expect(200).json();
        assert_eq!((&now["owner"], &now["tags"], &now["note"]), (&Value::Null, &json!(["c"]), &json!("n")));
        assert_eq!(now["category"], "user");
        assert_eq!(patch(json!({"tags": null})).await.expect(200).json()["tags"], json!([]));
        assert_eq!(patch(json!({})).await.expect(200).json()["note"], "n");
        for (body, status) in [
            (json!({"status": "valid"}), 422),
            (json!({"owner": 7}), 422),
            (json!({"tags": "x"}), 422),
            (json!({"category": "fun"}), 422),
            (json!([]), 422),
        ] {
            patch(body).await.expect(status);
        }
        let ask = service.ask(Role::Registrar, Method::PATCH, &path);
        ask.body("application/json", "{\"owner\": ").send().await.expect(400);
        service.ask(Role::Registrar, Method::PATCH, &path).body("text/plain", "{}").send().await.expect(415);
        let missing = format!("/v1/certificates/{}", uuid());
        service.ask(Role::Registrar, Method::PATCH, &missing).json(&json!({"owner": "x"})).send().await.expect(404);
    }
}

/// Of two who read the same, the second to write learns that it is not the same any more.
#[tokio::test]
async fn a_change_with_if_match_is_refused_after_another_one() {
    for service in services().await {
        let record = service.add(&certificates(&Ca::new(), &["a.example"])[0]).await;
        let path = format!("/v1/certificates/{}", record["id"].as_str().unwrap());
        let tag = service.get(&path).await.header("etag").to_owned();
        let change = |owner: &str, tag: &str| {
            let ask = service.ask(Role::Registrar, Method::PATCH, &path).header("if-match", tag);
            ask.json(&json!({"owner": owner})).send()
        };
        let first = change("first", &tag).await.expect(200);
        assert_eq!(
            change("second", &tag).await.expect(412).json()["type"],
            "urn:trust-ledger:problem:precondition-failed"
        );
        assert_eq!(service.get(&path).await.json()["owner"], "first");
        change("third", first.header("etag")).await.expect(200);
        change("fourth", "*").await.expect(200);
    }
}

#[tokio::test]
async fn revoking_is_done_once_and_a_hold_can_be_lifted_or_made_final() {
    for service in services().await {
        let record = service.add(&certificates(&Ca::new(), &["a.example"])[0]).await;
        let path = format!("/v1/certificates/{}", record["id"].as_str().unwrap());
        let act = |what: &str, body: Value| {
            service.ask(Role::Revoker, Method::POST, &format!("{path}/{what}")).json(&body).send()
        };
        let outcome = |answer: crate::support::Answer| {
            let answer = answer.expect(200).json();
            (answer["outcome"].clone(), answer["certificate"]["status"].clone())
        };
        assert_eq!(outcome(act("lift-hold", json!({})).await), (json!("not-on-hold"), json!("valid")));
        let hold = json!({"reason": "certificateHold"});
        assert_eq!(outcome(act("revoke", hold.clone()).await), (json!("revoked"), json!("on-hold")));
        assert_eq!(outcome(act("revoke", hold.clone()).await), (json!("already-revoked"), json!("on-hold")));
        assert_eq!(outcome(act("lift-hold", json!({})).await), (json!("lifted"), json!("valid")));
        let compromised =
            json!({"reason": "keyCompromise", "revoked_at": "2026-01-02", "invalidity_date": "2026-01-01"});
        let revoked = act("revoke", compromised).await.expect(200).json();
        assert_eq!(revoked["note"], "recorded here only; your CA was not told");
        assert_eq!(revoked["certificate"]["revoked_at"], "2026-01-02T00:00:00Z");
        assert_eq!(revoked["certificate"]["revocation_reason"], "keyCompromise");
        act("lift-hold", json!({})).await.expect(409);
        for (body, status) in [
            (json!({"revoked_at": "2999-01-01"}), 422),
            (json!({"reason": "removeFromCRL"}), 422),
            (json!({"reason": 1}), 422),
            (json!({"why": "x"}), 422),
        ] {
            act("revoke", body).await.expect(status);
        }
        service.ask(Role::Revoker, Method::POST, &format!("{path}/revoke")).send().await.expect(415);
        let gone = format!("/v1/certificates/{}/revoke", uuid());
        service.ask(Role::Revoker, Method::POST, &gone).json(&json!({})).send().await.expect(404);
    }
}

#[tokio::test]
async fn what_expired_is_pruned_on_request() {
    for service in services().await {
        let ca = Ca::new();
        service.add(ca.expired_server().certificate()).await;
        service.add(ca.server().certificate()).await;
        let prune = |before: &str| {
            let ask = service.ask(Role::Admin, Method::POST, "/v1/prune");
            ask.json(&json!({"expired_before": before})).send()
        };
        assert_eq!(prune("2000-01-01").await.expect(200).json()["deleted"], 0);
        prune("2999-01-01").await.expect(422);
        prune("yesterday").await.expect(422);
        let now = time::OffsetDateTime::now_utc() - time::Duration::seconds(1);
        let now = now.format(&time::format_description::well_known::Rfc3339).unwrap();
        assert_eq!(prune(&now).await.expect(200).json()["deleted"], 1);
        assert_eq!(list(&service, "total=true").await["total"], 1);
    }
}
