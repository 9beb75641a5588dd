//! Registering certificates: the record, and what makes two of them the same.

use serde_json::Value;
use time::Duration;
use trust_ledger_registry::{Annotations, Category, Certificate, Expiring, Filter, Page, Registration, Status};

use crate::support::{Ca, Leaf, NOW, add, get, key, ledgers};

/// Every field of a record, from a certificate with all of them, under the names and in the order that are fixed.
#[tokio::test]
async fn a_record_holds_every_field_in_its_fixed_order() {
    for registry in ledgers().await {
        let ca = Ca::new("Test CA");
        let leaf = ca.issue(&Leaf::new("www.example.com").dns("www.example.com").dns("example.com").serial(0xabcdef));
        add(&registry, &ca.certificate()).await;
        let annotations = Annotations {
            source: Some(" vault ".to_owned()),
            owner: Some("team a\0".to_owned()),
            tags: vec!["b".to_owned(), "a".to_owned(), "b".to_owned(), " ".to_owned()],
            category: Some(Category::Internal),
            note: Some(String::new()),
            files: None,
        };
        let id = registry.register(&leaf, &annotations).await.unwrap().id();
        let record = get(&registry, id).await;
        let json = serde_json::to_string(&record).unwrap();
        // A name of a field is followed by a colon, as no text in this record is.
        let fields: Vec<&str> = json
            .split("\":")
            .filter_map(|part| part.rsplit_once('"').map(|(_, name)| name))
            .filter(|name| !["type", "value", "}"].contains(name) && !name.contains('}'))
            .collect();
        let expected = [
            "id",
            "serial",
            "serial_decimal",
            "common_name",
            "subject",
            "issuer",
            "issuer_id",
            "names",
            "not_before",
            "not_after",
            "status",
            "category",
            "key_algorithm",
            "key_bits",
            "signature_algorithm",
            "is_ca",
            "fingerprint_sha256",
            "revoked_at",
            "revocation_reason",
            "revocation_checked",
            "source",
            "owner",
            "tags",
            "note",
            "replaced_by",
            "findings",
            "registered_at",
        ];
        assert_eq!(fields, expected);
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["serial"], "abcdef");
        assert_eq!(value["serial_decimal"], "11259375");
        assert_eq!(value["common_name"], "www.example.com");
        assert_eq!(value["subject"], "CN=www.example.com");
        assert_eq!(value["issuer"], "CN=Test CA");
        assert_eq!(value["names"][1]["type"], "dns");
        assert_eq!(value["names"][1]["value"], "example.com");
        assert_eq!(value["not_before"], "2026-11-11T12:00:00Z");
        assert_eq!(value["not_after"], "2027-02-19T12:00:00Z");
        assert_eq!(value["status"], "valid");
        assert_eq!(value["category"], "internal");
        assert_eq!(value["key_algorithm"], "EC P-256");
        assert_eq!(value["key_bits"], 256);
        assert_eq!(value["signature_algorithm"], "ecdsa-with-SHA256");
        assert_eq!(value["is_ca"], false);
        assert_eq!(value["revoked_at"], Value::Null);
        assert_eq!(value["source"], "vault");
        assert_eq!(value["owner"], "team a\\00");
        assert_eq!(value["tags"], serde_json::json!(["a", "b"]));
        assert_eq!(value["note"], Value::Null);
        assert_eq!(value["findings"], serde_json::json!([]));
        assert_eq!(value["registered_at"], "2026-11-21T12:00:00Z");
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(registry.der(id).await.unwrap().as_deref(), Some(leaf.der()));
    }
}

#[tokio::test]
async fn registering_again_changes_nothing_and_answers_the_first_id() {
    for registry in ledgers().await {
        let leaf = Ca::new("CA").issue(&Leaf::new("a.example"));
        let first = registry.register(&leaf, &Annotations::default()).await.unwrap();
        let other = Annotations { owner: Some("late".to_owned()), ..Annotations::default() };
        let second = registry.register(&leaf, &other).await.unwrap();
        assert_eq!(second, Registration::AlreadyKnown(first.id()));
        assert_eq!(first, Registration::Registered(first.id()));
        assert_eq!(get(&registry, first.id()).await.owner, None);
        assert_eq!(registry.counts().await.unwrap().total, 1);
    }
}

#[tokio::test]
async fn many_are_registered_in_their_order_and_each_once() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let known = ca.issue(&Leaf::new("known.example"));
        let known_id = add(&registry, &known).await;
        let a = ca.issue(&Leaf::new("a.example"));
        let answers = registry
            .register_many(vec![a.clone(), known, a.clone(), ca.certificate()], &Annotations::default())
            .await
            .unwrap();
        assert!(matches!(answers[0], Registration::Registered(_)));
        assert_eq!(answers[1], Registration::AlreadyKnown(known_id));
        assert_eq!(answers[2], Registration::AlreadyKnown(answers[0].id()));
        assert!(matches!(answers[3], Registration::Registered(_)));
        // The CA came last and is the others' issuer all the same.
        let issuer = get(&registry, answers[0].id()).await.issuer_id;
        assert_eq!(get(&registry, known_id).await.issuer_id, issuer);
        assert!(registry.issuers().await.unwrap().iter().any(|known| known.id == issuer && known.known));
    }
}

#[tokio::test]
async fn only_the_fingerprint_is_unique() {
    for registry in ledgers().await {
        let (ca, same_key) = (Ca::new("CA"), key());
        let leaf = Leaf::new("a.example").serial(7).key(&same_key);
        // ECDSA signatures differ each time, so these two differ in nothing else.
        let (one, two) = (ca.issue(&leaf), ca.issue(&leaf));
        assert_ne!(add(&registry, &one).await, add(&registry, &two).await);
    }
}

#[tokio::test]
async fn the_category_is_guessed_unless_given() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let guessed = add(&registry, &ca.certificate()).await;
        assert_eq!(get(&registry, guessed).await.category, Category::Ca);
        let leaf = add(&registry, &ca.issue(&Leaf::new("a.example"))).await;
        assert_eq!(get(&registry, leaf).await.category, Category::Service);
    }
}

#[tokio::test]
async fn times_before_1970_at_never_and_in_the_wrong_order_are_kept() {
    for registry in ledgers().await {
        use time::macros::datetime;
        let ca = Ca::new("CA");
        let (early, never) = (datetime!(1955-01-01 0:00 UTC), datetime!(9999-12-31 23:59:59 UTC));
        for (from, until, status) in [
            (early, never, Status::Valid),
            (early, datetime!(1960-01-01 0:00 UTC), Status::Expired),
            (NOW + time::Duration::days(2), NOW + time::Duration::days(1), Status::NotYetValid),
            (never, early, Status::Expired),
        ] {
            let certificate: Certificate = ca.issue(&Leaf::new("odd.example").valid(from, until));
            let record = get(&registry, add(&registry, &certificate).await).await;
            assert_eq!((record.not_before, record.not_after, record.status), (from, until, status));
        }
        let counts = registry.counts().await.unwrap();
        assert_eq!(counts.by_status[&Status::Expired], 2);
        assert_eq!(counts.by_status[&Status::NotYetValid], 1);
        let page = registry.list(&Filter::default(), &Page::default()).await.unwrap();
        assert_eq!(page.records.len(), 4);
    }
}

#[tokio::test]
async fn a_certificate_that_begins_after_another_has_ended_does_not_replace_it() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let days = Duration::days;
        let first = add(&registry, &ca.issue(&Leaf::new("gap.example").valid(NOW - days(80), NOW + days(10)))).await;
        add(&registry, &ca.issue(&Leaf::new("gap.example").valid(NOW + days(30), NOW + days(120)))).await;
        assert_eq!(get(&registry, first).await.replaced_by, None);
        let expiring = registry.expiring(&Expiring::default()).await.unwrap();
        assert_eq!(expiring.iter().map(|record| record.id).collect::<Vec<_>>(), [first]);
        let next = add(&registry, &ca.issue(&Leaf::new("gap.example").valid(NOW + days(10), NOW + days(100)))).await;
        assert_eq!(get(&registry, first).await.replaced_by, Some(next));
    }
}
