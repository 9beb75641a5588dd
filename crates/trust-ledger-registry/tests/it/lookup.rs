//! Looking up single certificates, and their status.

use time::Duration;
use trust_ledger_registry::{Finding, Registry, RevocationReason, RevocationRequest, RevocationTarget, Serial, Status};

use crate::support::{Ca, Leaf, NOW, add, get, key, ledgers};

#[tokio::test]
async fn both_bounds_of_validity_are_part_of_it() {
    let registry = Registry::in_memory().await.unwrap();
    let (from, until) = (NOW, NOW + Duration::days(1));
    let id = add(&registry, &Ca::new("CA").issue(&Leaf::new("a.example").valid(from, until))).await;
    for (now, status) in [
        (from - Duration::seconds(1), Status::NotYetValid),
        (from, Status::Valid),
        (until, Status::Valid),
        // Certificates know whole seconds, and the last one is part of the validity.
        (until + Duration::milliseconds(999), Status::Valid),
        (until + Duration::seconds(1), Status::Expired),
    ] {
        assert_eq!(get(&registry.with_clock(move || now), id).await.status, status, "{now}");
    }
}

#[tokio::test]
async fn revoked_and_on_hold_come_before_expired() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        for (reason, status) in
            [(RevocationReason::Superseded, Status::Revoked), (RevocationReason::CertificateHold, Status::OnHold)]
        {
            let past = Leaf::new("a.example").valid(NOW - Duration::days(9), NOW - Duration::days(1));
            let id = add(&registry, &ca.issue(&past)).await;
            assert_eq!(get(&registry, id).await.status, Status::Expired);
            let request = RevocationRequest { reason, ..RevocationRequest::default() };
            registry.revoke(&RevocationTarget::Id(id), &request).await.unwrap();
            assert_eq!(get(&registry, id).await.status, status);
        }
    }
}

#[tokio::test]
async fn a_serial_without_record_is_unknown_and_nothing_else_is() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        add(&registry, &ca.certificate()).await;
        let leaf = ca.issue(&Leaf::new("a.example").serial(5));
        let issuer = get(&registry, add(&registry, &leaf).await).await.issuer_id;
        assert_eq!(registry.status(leaf.serial(), issuer).await.unwrap(), Status::Valid);
        let other = Serial::from_content(&[6]).unwrap();
        assert_eq!(registry.status(&other, issuer).await.unwrap(), Status::Unknown);
    }
}

#[tokio::test]
async fn serials_of_any_length_and_sign_are_found_and_kept_apart() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let (small, large) = (ca.issue(&Leaf::new("a.example").serial(0xff)), ca.issue(&Leaf::new("b.example")));
        let id = add(&registry, &small).await;
        add(&registry, &large).await;
        // 00ff and ff are different numbers: 255 and -1.
        let (positive, negative) = (Serial::from_content(&[0, 0xff]).unwrap(), Serial::from_content(&[0xff]).unwrap());
        assert_eq!(registry.by_serial(&positive, None).await.unwrap()[0].id, id);
        assert!(registry.by_serial(&negative, None).await.unwrap().is_empty());
        assert_eq!(registry.by_serial(large.serial(), None).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_serial_of_several_issuers_is_narrowed_by_the_issuer() {
    for registry in ledgers().await {
        let mut ids = Vec::new();
        for name in ["One", "Two"] {
            ids.push(add(&registry, &Ca::new(name).issue(&Leaf::new("a.example").serial(1))).await);
        }
        let serial = Serial::from_content(&[1]).unwrap();
        assert_eq!(registry.by_serial(&serial, None).await.unwrap().len(), 2);
        let issuer = get(&registry, ids[1]).await.issuer_id;
        let found = registry.by_serial(&serial, Some(issuer)).await.unwrap();
        assert_eq!(found.iter().map(|record| record.id).collect::<Vec<_>>(), [ids[1]]);
    }
}

/// Of several certificates of a name that are valid now, the one with the greatest notBefore is the current one, and
/// of two with the same, the one registered last.
#[tokio::test]
async fn get_by_name_answers_the_newest_that_is_valid_now() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let day = Duration::days;
        let older = ca.issue(&Leaf::new("a.example").valid(NOW - day(5), NOW + day(50)));
        let newer = ca.issue(&Leaf::new("other").dns("A.Example").valid(NOW - day(2), NOW + day(20)));
        let future = ca.issue(&Leaf::new("a.example").valid(NOW + day(1), NOW + day(20)));
        let past = ca.issue(&Leaf::new("a.example").valid(NOW - day(1), NOW - Duration::seconds(1)));
        let newer_id = add(&registry, &newer).await;
        let older_id = add(&registry, &older).await;
        for certificate in [future, past] {
            add(&registry, &certificate).await;
        }
        assert_eq!(registry.by_name("a.EXAMPLE.").await.unwrap().unwrap().id, newer_id);
        let twin = ca.issue(&Leaf::new("a.example").valid(NOW - day(2), NOW + day(3)));
        let twin_id = add(&registry, &twin).await;
        assert_eq!(registry.by_name("a.example").await.unwrap().unwrap().id, twin_id);
        for id in [twin_id, newer_id] {
            registry.revoke(&RevocationTarget::Id(id), &RevocationRequest::default()).await.unwrap();
        }
        assert_eq!(registry.by_name("a.example").await.unwrap().unwrap().id, older_id);
        assert_eq!(registry.by_name("b.example").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_precertificate_is_never_the_current_certificate() {
    for registry in ledgers().await {
        let (ca, key) = (Ca::new("CA"), key());
        let leaf = Leaf::new("a.example").serial(9).key(&key);
        let certificate = add(&registry, &ca.issue(&leaf)).await;
        let precertificate = add(&registry, &ca.issue(&leaf.clone().precertificate())).await;
        assert_eq!(registry.by_name("a.example").await.unwrap().unwrap().id, certificate);
        // It is replaced by its certificate, and does not replace it although it was registered later.
        assert_eq!(get(&registry, precertificate).await.replaced_by, Some(certificate));
        assert_eq!(get(&registry, certificate).await.replaced_by, None);
    }
}

#[tokio::test]
async fn names_are_shown_by_common_name_then_alternative_name_then_subject() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        for (leaf, shown) in [
            (Leaf::new("cn.example").dns("san.example"), "cn.example"),
            (Leaf::nameless("Org").dns("xn--bcher-kva.example"), "bücher.example"),
            (Leaf::nameless("Org"), "O=Org"),
        ] {
            let record = get(&registry, add(&registry, &ca.issue(&leaf)).await).await;
            assert_eq!(record.display_name(), shown);
        }
    }
}

#[tokio::test]
async fn replaced_by_is_the_newest_of_the_same_issuer_category_and_names() {
    for registry in ledgers().await {
        let (ca, other_ca) = (Ca::new("CA"), Ca::new("Other CA"));
        let day = Duration::days;
        let leaf =
            |from: i64, until: i64| Leaf::new("a.example").dns("b.example").valid(NOW + day(from), NOW + day(until));
        let old = add(&registry, &ca.issue(&leaf(-9, 9))).await;
        let is_replaced = async || get(&registry, old).await.replaced_by;
        // Another issuer, other names, an earlier end, an earlier beginning: none of them takes its place.
        add(&registry, &other_ca.issue(&leaf(-5, 20))).await;
        add(&registry, &ca.issue(&Leaf::new("a.example").valid(NOW - day(5), NOW + day(20)))).await;
        add(&registry, &ca.issue(&leaf(-5, 8))).await;
        add(&registry, &ca.issue(&leaf(-20, 20))).await;
        assert_eq!(is_replaced().await, None);
        let annotations = trust_ledger_registry::Annotations {
            category: Some(trust_ledger_registry::Category::Internal),
            ..Default::default()
        };
        registry.register(&ca.issue(&leaf(-4, 20)), &annotations).await.unwrap();
        assert_eq!(is_replaced().await, None, "another category");
        // The same set of names in another order, and written differently.
        let first = Leaf::new("B.example").dns("a.example.").valid(NOW - day(5), NOW + day(9));
        let first = add(&registry, &ca.issue(&first)).await;
        assert_eq!(is_replaced().await, Some(first));
        let newest = add(&registry, &ca.issue(&leaf(-1, 30))).await;
        assert_eq!(is_replaced().await, Some(newest));
        registry.revoke(&RevocationTarget::Id(newest), &RevocationRequest::default()).await.unwrap();
        assert_eq!(is_replaced().await, Some(first), "a revoked one replaces nothing");
        assert_eq!(get(&registry, first).await.replaced_by, None);
    }
}

#[tokio::test]
async fn certificates_without_names_replace_each_other_by_subject_only() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let day = Duration::days;
        let valid = |leaf: Leaf, from: i64| leaf.valid(NOW + day(from), NOW + day(50));
        let old = add(&registry, &ca.issue(&valid(Leaf::nameless("One"), -9))).await;
        add(&registry, &ca.issue(&valid(Leaf::nameless("Two"), -5))).await;
        assert_eq!(get(&registry, old).await.replaced_by, None);
        let new = add(&registry, &ca.issue(&valid(Leaf::nameless("One"), -4))).await;
        assert_eq!(get(&registry, old).await.replaced_by, Some(new));
    }
}

#[tokio::test]
async fn a_serial_given_twice_is_a_finding_on_both_until_one_is_deleted() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let one = add(&registry, &ca.issue(&Leaf::new("a.example").serial(3))).await;
        assert_eq!(get(&registry, one).await.findings, []);
        let two = add(&registry, &ca.issue(&Leaf::new("b.example").serial(3))).await;
        for id in [one, two] {
            assert_eq!(get(&registry, id).await.findings, [Finding::DuplicateSerial]);
        }
        // Another issuer may use the serial.
        let other = add(&registry, &Ca::new("Other").issue(&Leaf::new("c.example").serial(3))).await;
        assert_eq!(get(&registry, other).await.findings, []);
        registry.delete(trust_ledger_registry::DeleteTarget::Id(two), true).await.unwrap();
        assert_eq!(get(&registry, one).await.findings, []);
    }
}

#[tokio::test]
async fn a_precertificate_and_its_certificate_share_serial_and_key_without_a_finding() {
    for registry in ledgers().await {
        let (ca, key) = (Ca::new("CA"), key());
        let leaf = Leaf::new("a.example").serial(3).key(&key);
        let pair = [ca.issue(&leaf.clone().precertificate()), ca.issue(&leaf)];
        for certificate in &pair {
            add(&registry, certificate).await;
        }
        for certificate in &pair {
            let record = registry.by_fingerprint(certificate.fingerprint()).await.unwrap().unwrap();
            assert_eq!(record.findings, []);
        }
    }
}

#[tokio::test]
async fn a_key_used_twice_is_a_finding_except_for_cas_of_one_subject() {
    for registry in ledgers().await {
        let (root, key) = (Ca::new("Root"), key());
        // A renewed and a cross-signed CA keep their key.
        let sub = Leaf::new("Sub").ca().key(&key);
        let first = add(&registry, &root.issue(&sub)).await;
        let second = add(&registry, &Ca::new("Other root").issue(&sub)).await;
        for id in [first, second] {
            assert_eq!(get(&registry, id).await.findings, []);
        }
        let leaf = add(&registry, &root.issue(&Leaf::new("a.example").key(&key))).await;
        for id in [first, second, leaf] {
            assert_eq!(get(&registry, id).await.findings, [Finding::KeyReuse]);
        }
        registry.delete(trust_ledger_registry::DeleteTarget::Id(leaf), true).await.unwrap();
        for id in [first, second] {
            assert_eq!(get(&registry, id).await.findings, []);
        }
    }
}

#[tokio::test]
async fn weak_signatures_are_a_finding() {
    for registry in ledgers().await {
        let weak = add(&registry, &Ca::new("CA").issue(&Leaf::new("a.example").sha1())).await;
        assert_eq!(get(&registry, weak).await.findings, [Finding::WeakSignature]);
        let counts = registry.findings().await.unwrap();
        assert_eq!((counts.certificates, counts.by_finding[&Finding::WeakSignature]), (1, 1));
        assert_eq!(counts.by_finding[&Finding::KeyReuse], 0);
    }
}

/// A database that lacks a table answers every question with an error: nothing turns into "none", "false" or an empty
/// list.
#[tokio::test]
async fn a_database_error_is_never_an_empty_answer() {
    use strongroom::{Database, params};
    use trust_ledger_registry::{Annotations, CrlQuery, DeleteTarget, Error, EventFilter, Expiring, Filter, Page};
    let registry = Registry::open(Database::connect("sqlite::memory:").await.unwrap());
    registry.database().execute("CREATE TABLE unrelated (id INTEGER)", params![]).await.unwrap();
    let id = uuid::Uuid::nil();
    let serial = Serial::from_content(&[1]).unwrap();
    let target = RevocationTarget::Id(id);
    macro_rules! fails {
        ($($call:expr),+ $(,)?) => {$(
            assert!(matches!($call.await.map(|_| ()), Err(Error::Database(_))), stringify!($call));
        )+};
    }
    let certificate = Ca::new("CA").certificate();
    fails!(
        registry.register(&certificate, &Annotations::default()),
        registry.register_many(vec![certificate.clone()], &Annotations::default()),
        registry.get(id),
        registry.by_fingerprint(&[0; 32]),
        registry.by_serial(&serial, None),
        registry.by_name("a"),
        registry.status(&serial, id),
        registry.der(id),
        registry.issuers(),
        registry.list(&Filter::default(), &Page::default()),
        registry.expiring(&Expiring::default()),
        registry.revoke(&target, &RevocationRequest::default()),
        registry.lift_hold(&target),
        registry.crl_entries(id, &CrlQuery::default()),
        registry.counts(),
        registry.findings(),
        registry.annotate(id, &Default::default()),
        registry.delete(DeleteTarget::Id(id), true),
        registry.prune(std::time::Duration::ZERO),
        registry.events(&EventFilter::default(), &Page::default()),
        registry.record_revocations(id, &[], None),
    );
}
