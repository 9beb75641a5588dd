//! The description of the API, and the page to try it.

use axum::http::Method;
use serde_json::Value;
use trust_ledger_server::Settings;

use crate::support::on_file;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

/// Whoever makes a client from the description reads in its history what has changed.
#[test]
fn the_description_is_the_one_that_is_checked_in() {
    let made = trust_ledger_server::openapi() + "\n";
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(GOLDEN, &made).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    assert!(made == golden, "openapi.json differs: run the test with UPDATE_OPENAPI=1 and read the difference");
}

#[test]
fn the_description_is_openapi_3_1_and_every_reference_in_it_leads_somewhere() {
    fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let description: Value = serde_json::from_str(&trust_ledger_server::openapi()).unwrap();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1."));
    let mut found = Vec::new();
    references(&description, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        let place = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(place).is_some(), "{reference}");
    }
    for (path, item) in description["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{path}: {operation}");
        }
    }
}

#[tokio::test]
async fn the_description_and_the_page_to_try_it_are_served_without_a_token() {
    let service = on_file(Settings::default()).await;
    let served = service.ask_with(Method::GET, "/openapi.json").send().await.expect(200).json();
    assert_eq!(served, serde_json::from_str::<Value>(&trust_ledger_server::openapi()).unwrap());
    let page = service.ask_with(Method::GET, "/docs/").send().await.expect(200);
    assert!(page.text().contains("swagger-ui"), "{}", page.text());
    assert!(page.header("content-security-policy").contains("script-src 'self'"));
    let script = service.ask_with(Method::GET, "/docs/swagger-initializer.js").send().await.expect(200);
    assert!(script.text().contains("/openapi.json"), "{}", script.text());
    // Nothing of the page is fetched from elsewhere.
    assert!(!page.text().contains("https://") && !page.text().contains("<script>"), "{}", page.text());
}
