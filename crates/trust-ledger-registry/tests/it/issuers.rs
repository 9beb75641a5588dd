//! Who issued what, and what changes when a CA becomes known.

use openssl::x509::X509;
use time::Duration;
use trust_ledger_registry::{
    Annotations, Filter, Page, RevocationEntry, RevocationReason, RevocationRequest, RevocationTarget, Status,
};

use crate::support::{Ca, Leaf, NOW, add, get, key, ledgers};

#[tokio::test]
async fn a_certificate_belongs_to_the_ca_whose_key_signed_it_and_not_to_its_namesake() {
    for registry in ledgers().await {
        let (one, two) = (Ca::new("Same name"), Ca::new("Same name"));
        add(&registry, &one.certificate()).await;
        add(&registry, &two.certificate()).await;
        // Without an authority key identifier, only the signature tells them apart.
        let leaf = Leaf::new("a.example").without_authority_key_id();
        let of_one = get(&registry, add(&registry, &one.issue(&leaf)).await).await.issuer_id;
        let of_two = get(&registry, add(&registry, &two.issue(&leaf)).await).await.issuer_id;
        assert_ne!(of_one, of_two, "a re-keyed CA is two issuers");
        let known = registry.issuers().await.unwrap();
        assert_eq!(known.iter().filter(|issuer| issuer.known && issuer.name == "CN=Same name").count(), 2);
    }
}

#[tokio::test]
async fn a_cross_signed_ca_is_one_issuer() {
    for registry in ledgers().await {
        let (root, sub_key) = (Ca::new("Root"), key());
        let sub = Ca::with_key("Sub", sub_key.clone());
        add(&registry, &root.certificate()).await;
        add(&registry, &sub.certificate()).await;
        let cross = root.issue(&Leaf::new("Sub").ca().key(&sub_key));
        add(&registry, &cross).await;
        let subs = registry.issuers().await.unwrap().into_iter().filter(|issuer| issuer.name == "CN=Sub");
        assert_eq!(subs.count(), 1);
    }
}

#[tokio::test]
async fn an_unknown_issuer_is_told_by_name_and_authority_key_identifier() {
    for registry in ledgers().await {
        let (one, two) = (Ca::new("Same name"), Ca::new("Same name"));
        let mut issuers = Vec::new();
        for ca in [&one, &one, &two] {
            issuers.push(get(&registry, add(&registry, &ca.issue(&Leaf::new("a.example"))).await).await.issuer_id);
        }
        assert_eq!(issuers[0], issuers[1]);
        assert_ne!(issuers[0], issuers[2]);
        assert!(registry.issuers().await.unwrap().iter().all(|issuer| !issuer.known));
    }
}

#[tokio::test]
async fn importing_the_ca_later_resolves_its_certificates_and_revocations() {
    for registry in ledgers().await {
        let (ca, stranger) = (Ca::new("Same name"), Ca::new("Same name"));
        let leaf = Leaf::new("a.example").without_authority_key_id();
        let (mine, held) = (ca.issue(&leaf.clone().serial(1)), ca.issue(&Leaf::new("b.example").serial(2)));
        let foreign = stranger.issue(&leaf.serial(1));
        let mut ids = Vec::new();
        for certificate in [&mine, &held, &foreign] {
            ids.push(add(&registry, certificate).await);
        }
        let before = get(&registry, ids[0]).await.issuer_id;
        assert_eq!(get(&registry, ids[2]).await.issuer_id, before);
        let revoke = |reason| RevocationRequest { reason, ..RevocationRequest::default() };
        registry.revoke(&RevocationTarget::Id(ids[0]), &revoke(RevocationReason::KeyCompromise)).await.unwrap();
        registry.revoke(&RevocationTarget::Id(ids[1]), &revoke(RevocationReason::CertificateHold)).await.unwrap();
        // A revocation without certificate, of the issuer that the authority key identifier names.
        let unseen = trust_ledger_registry::Serial::from_content(&[77]).unwrap();
        let entry = RevocationEntry {
            serial: unseen.clone(),
            revoked_at: NOW,
            reason: Some(RevocationReason::Superseded),
            invalidity_date: None,
            not_after: None,
        };
        let named = get(&registry, ids[1]).await.issuer_id;
        registry.record_revocations(named, &[entry], None).await.unwrap();

        add(&registry, &ca.certificate()).await;

        let (record, on_hold, other) =
            (get(&registry, ids[0]).await, get(&registry, ids[1]).await, get(&registry, ids[2]).await);
        assert_ne!(record.issuer_id, before);
        assert_eq!(on_hold.issuer_id, record.issuer_id);
        assert_eq!(other.issuer_id, before, "signed by another key");
        assert_eq!((record.status, on_hold.status), (Status::Revoked, Status::OnHold));
        assert_eq!(record.revocation_reason, Some(RevocationReason::KeyCompromise));
        // The revocation was of a serial that the other one has too: it keeps it until somebody says otherwise.
        assert_eq!(other.status, Status::Revoked);
        assert_eq!(registry.status(&unseen, record.issuer_id).await.unwrap(), Status::Revoked);
        // What was a duplicate serial under one name is none under two keys.
        assert_eq!((record.findings, other.findings), (vec![], vec![]));
        let of_issuer = Filter { issuer: Some(record.issuer_id), ..Filter::default() };
        assert_eq!(registry.list(&of_issuer, &Page { total: true, ..Page::default() }).await.unwrap().total, Some(3));
    }
}

#[tokio::test]
async fn an_issuers_id_is_the_same_in_every_ledger_and_order() {
    let ca = Ca::new("CA");
    let leaf = ca.issue(&Leaf::new("a.example"));
    let mut ids = Vec::new();
    for ca_first in [true, false] {
        for registry in ledgers().await {
            let mut both = vec![ca.certificate(), leaf.clone()];
            if !ca_first {
                both.reverse();
            }
            for certificate in &both {
                add(&registry, certificate).await;
            }
            ids.push(registry.by_fingerprint(leaf.fingerprint()).await.unwrap().unwrap().issuer_id);
        }
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn a_self_signed_certificate_that_is_no_ca_is_its_own_issuer() {
    for registry in ledgers().await {
        let one: X509 = Leaf::new("localhost").build(None);
        let two: X509 = Leaf::new("localhost").build(None);
        let certificates =
            [one, two].map(|x509| trust_ledger_registry::Certificate::from_der(&x509.to_der().unwrap()).unwrap());
        let answers = registry.register_many(certificates.to_vec(), &Annotations::default()).await.unwrap();
        let (one, two) = (get(&registry, answers[0].id()).await, get(&registry, answers[1].id()).await);
        assert_ne!(one.issuer_id, two.issuer_id);
        assert!(registry.issuers().await.unwrap().iter().all(|issuer| issuer.known));
        // Different issuers: neither takes the other's place.
        assert_eq!((one.replaced_by, two.replaced_by), (None, None));
    }
}

#[tokio::test]
async fn a_forged_issuer_name_is_not_believed() {
    for registry in ledgers().await {
        let (ca, forger) = (Ca::new("CA"), Ca::new("CA"));
        add(&registry, &ca.certificate()).await;
        let real = get(&registry, add(&registry, &ca.issue(&Leaf::new("a.example"))).await).await;
        let forged = forger.issue(&Leaf::new("a.example").valid(NOW - Duration::days(1), NOW + Duration::days(200)));
        let forged = get(&registry, add(&registry, &forged).await).await;
        assert_ne!(forged.issuer_id, real.issuer_id);
        assert_eq!(get(&registry, real.id).await.replaced_by, None);
    }
}
