//! Revocations, holds and what goes into a CRL.

use std::time::Duration as StdDuration;

use time::Duration;
use time::macros::datetime;
use trust_ledger_registry::{
    CrlQuery, DeleteTarget, Error, Lift, Registry, RevocationEntry, RevocationReason, RevocationRequest,
    RevocationTarget, Revoke, Serial, Status,
};
use uuid::Uuid;

use crate::support::{Ca, Leaf, NOW, add, get, ledgers};

fn because(reason: RevocationReason) -> RevocationRequest {
    RevocationRequest { reason, ..RevocationRequest::default() }
}

async fn leaf(registry: &Registry) -> (Uuid, RevocationTarget) {
    let id = add(registry, &Ca::new("CA").issue(&Leaf::new("a.example"))).await;
    (id, RevocationTarget::Id(id))
}

async fn serials(registry: &Registry, issuer: Uuid, query: &CrlQuery) -> Vec<String> {
    let mut entries = registry.crl_entries(issuer, query).await.unwrap();
    let mut serials = Vec::new();
    while let Some(entry) = entries.next().await {
        serials.push(entry.unwrap().serial.to_hex());
    }
    serials
}

#[tokio::test]
async fn revoking_answers_revoked_then_already_revoked_with_date_and_reason_and_not_found() {
    for registry in ledgers().await {
        let (id, target) = leaf(&registry).await;
        let at = NOW - Duration::days(3);
        let request = RevocationRequest { revoked_at: Some(at), ..because(RevocationReason::Superseded) };
        assert_eq!(registry.revoke(&target, &request).await.unwrap(), Revoke::Revoked);
        let again = registry.revoke(&target, &because(RevocationReason::CessationOfOperation)).await.unwrap();
        assert_eq!(again, Revoke::AlreadyRevoked { since: at, reason: RevocationReason::Superseded });
        let record = get(&registry, id).await;
        assert_eq!((record.revoked_at, record.revocation_reason), (Some(at), Some(RevocationReason::Superseded)));
        let missing = RevocationTarget::Id(Uuid::nil());
        assert_eq!(registry.revoke(&missing, &request).await.unwrap(), Revoke::NotFound);
    }
}

#[tokio::test]
async fn a_certificate_is_revoked_by_fingerprint_and_by_serial_too() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let (one, two) = (ca.issue(&Leaf::new("a.example")), ca.issue(&Leaf::new("b.example")));
        let issuer = get(&registry, add(&registry, &one).await).await.issuer_id;
        add(&registry, &two).await;
        let targets = [
            RevocationTarget::Fingerprint(*one.fingerprint()),
            RevocationTarget::Serial { issuer, serial: two.serial().clone() },
        ];
        for target in targets {
            assert_eq!(registry.revoke(&target, &RevocationRequest::default()).await.unwrap(), Revoke::Revoked);
        }
        assert_eq!(registry.counts().await.unwrap().by_status[&Status::Revoked], 2);
    }
}

#[tokio::test]
async fn past_dates_are_allowed_and_future_ones_refused() {
    for registry in ledgers().await {
        let (_, target) = leaf(&registry).await;
        let future = RevocationRequest { revoked_at: Some(NOW + Duration::seconds(1)), ..Default::default() };
        assert!(matches!(registry.revoke(&target, &future).await, Err(Error::RevokedInFuture { .. })));
        let past = RevocationRequest { revoked_at: Some(datetime!(1999-01-01 0:00 UTC)), ..Default::default() };
        assert_eq!(registry.revoke(&target, &past).await.unwrap(), Revoke::Revoked);
    }
}

#[tokio::test]
async fn a_hold_can_be_lifted_and_then_leaves_only_its_events() {
    for registry in ledgers().await {
        let (id, target) = leaf(&registry).await;
        assert_eq!(registry.lift_hold(&target).await.unwrap(), Lift::NotOnHold);
        registry.revoke(&target, &because(RevocationReason::CertificateHold)).await.unwrap();
        assert_eq!(get(&registry, id).await.status, Status::OnHold);
        assert_eq!(registry.lift_hold(&target).await.unwrap(), Lift::Lifted);
        let record = get(&registry, id).await;
        assert_eq!((record.status, record.revoked_at), (Status::Valid, None));
        assert_eq!(registry.lift_hold(&RevocationTarget::Id(Uuid::nil())).await.unwrap(), Lift::NotFound);
    }
}

#[tokio::test]
async fn a_hold_made_final_keeps_its_date_and_can_not_be_lifted() {
    for registry in ledgers().await {
        let (id, target) = leaf(&registry).await;
        let at = NOW - Duration::days(2);
        let hold = RevocationRequest { revoked_at: Some(at), ..because(RevocationReason::CertificateHold) };
        registry.revoke(&target, &hold).await.unwrap();
        assert_eq!(registry.revoke(&target, &because(RevocationReason::Superseded)).await.unwrap(), Revoke::Revoked);
        let record = get(&registry, id).await;
        assert_eq!((record.status, record.revoked_at), (Status::Revoked, Some(at)));
        let lift = registry.lift_hold(&target).await.unwrap();
        assert_eq!(lift, Lift::Revoked { since: at, reason: RevocationReason::Superseded });
        let hold_again = registry.revoke(&target, &hold).await.unwrap();
        assert_eq!(hold_again, Revoke::AlreadyRevoked { since: at, reason: RevocationReason::Superseded });
    }
}

#[tokio::test]
async fn any_reason_may_become_key_compromise_and_none_may_leave_it() {
    for registry in ledgers().await {
        for reason in RevocationReason::ALL.into_iter().filter(|reason| *reason != RevocationReason::KeyCompromise) {
            let (id, target) = leaf(&registry).await;
            registry.revoke(&target, &because(reason)).await.unwrap();
            let earlier = NOW - Duration::days(30);
            let compromised =
                RevocationRequest { revoked_at: Some(earlier), ..because(RevocationReason::KeyCompromise) };
            assert_eq!(registry.revoke(&target, &compromised).await.unwrap(), Revoke::Revoked, "{reason:?}");
            let record = get(&registry, id).await;
            assert_eq!(record.revocation_reason, Some(RevocationReason::KeyCompromise));
            assert_eq!(record.revoked_at, Some(earlier));
            let back = registry.revoke(&target, &because(reason)).await.unwrap();
            assert_eq!(back, Revoke::AlreadyRevoked { since: earlier, reason: RevocationReason::KeyCompromise });
        }
    }
}

#[tokio::test]
async fn revocations_of_certificates_never_seen_are_recorded_and_met_by_the_certificate_later() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let root = add(&registry, &ca.certificate()).await;
        let issuer = get(&registry, root).await.issuer_id;
        let leaf = ca.issue(&Leaf::new("a.example").serial(42));
        let entry = RevocationEntry {
            serial: leaf.serial().clone(),
            revoked_at: NOW,
            reason: Some(RevocationReason::KeyCompromise),
            invalidity_date: Some(NOW - Duration::days(1)),
            not_after: None,
        };
        let recorded = registry.record_revocations(issuer, &[entry.clone(), entry.clone()], Some("crl")).await.unwrap();
        assert_eq!((recorded.recorded, recorded.known), (1, 1));
        assert_eq!(registry.status(leaf.serial(), issuer).await.unwrap(), Status::Revoked);
        assert_eq!(get(&registry, add(&registry, &leaf).await).await.status, Status::Revoked);
        let revocation = registry.revocation(leaf.serial(), issuer).await.unwrap().unwrap();
        assert_eq!((revocation.source.as_deref(), revocation.invalidity_date), (Some("crl"), entry.invalidity_date));
        let unknown = registry.record_revocations(Uuid::nil(), &[entry], None).await;
        assert!(matches!(unknown, Err(Error::UnknownIssuer { .. })));
    }
}

#[tokio::test]
async fn a_delta_crls_removal_lifts_a_hold_and_nothing_else() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let issuer = get(&registry, add(&registry, &ca.certificate()).await).await.issuer_id;
        let entry = |serial: u8, reason| RevocationEntry {
            serial: Serial::from_content(&[serial]).unwrap(),
            revoked_at: NOW,
            reason,
            invalidity_date: None,
            not_after: None,
        };
        let (held, gone) = (Some(RevocationReason::CertificateHold), Some(RevocationReason::Superseded));
        registry.record_revocations(issuer, &[entry(1, held), entry(2, gone)], None).await.unwrap();
        let removed = registry.record_revocations(issuer, &[entry(1, None), entry(2, None)], None).await.unwrap();
        assert_eq!((removed.lifted, removed.known), (1, 1));
        assert_eq!(serials(&registry, issuer, &CrlQuery::default()).await, ["2"]);
    }
}

/// RFC 5280 §3.3: an entry stays until one CRL was issued after the certificate's end.
#[tokio::test]
async fn crl_entries_hold_what_is_unexpired_and_what_expired_since_the_last_crl() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let issuer = get(&registry, add(&registry, &ca.certificate()).await).await.issuer_id;
        let day = Duration::days;
        for (serial, until) in [(1, NOW - day(10)), (2, NOW - day(3)), (3, NOW), (4, NOW + day(9))] {
            let id =
                add(&registry, &ca.issue(&Leaf::new("a.example").serial(serial).valid(NOW - day(50), until))).await;
            let at = NOW - day(20) + day(i64::try_from(serial).unwrap());
            let request = RevocationRequest { revoked_at: Some(at), ..Default::default() };
            registry.revoke(&RevocationTarget::Id(id), &request).await.unwrap();
        }
        let unseen = RevocationEntry {
            serial: Serial::from_content(&[9]).unwrap(),
            revoked_at: NOW - day(400),
            reason: Some(RevocationReason::Unspecified),
            invalidity_date: None,
            not_after: None,
        };
        registry.record_revocations(issuer, &[unseen], None).await.unwrap();
        let query = CrlQuery::default();
        assert_eq!(serials(&registry, issuer, &query).await, ["3", "4", "9"]);
        let last_crl = Some(NOW - day(5));
        let since_last = CrlQuery { last_crl, ..query.clone() };
        assert_eq!(serials(&registry, issuer, &since_last).await, ["2", "3", "4", "9"]);
        let since = CrlQuery { since: Some(NOW - day(17)), ..query.clone() };
        assert_eq!(serials(&registry, issuer, &since).await, ["3", "4"]);
        let within = CrlQuery { revoked_within: Some(StdDuration::from_secs(16 * 86_400)), ..query };
        assert_eq!(serials(&registry, issuer, &within).await, ["4"]);
        let nobody = registry.crl_entries(Uuid::nil(), &CrlQuery::default()).await;
        assert!(matches!(nobody, Err(Error::UnknownIssuer { .. })));
    }
}

#[tokio::test]
async fn a_revocation_survives_the_deletion_of_its_certificate_and_leaves_the_crl_in_time() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let day = Duration::days;
        let leaf = ca.issue(&Leaf::new("a.example").valid(NOW - day(9), NOW - day(2)));
        let id = add(&registry, &leaf).await;
        let issuer = get(&registry, id).await.issuer_id;
        registry.revoke(&RevocationTarget::Id(id), &RevocationRequest::default()).await.unwrap();
        registry.delete(DeleteTarget::Id(id), false).await.unwrap();
        assert_eq!(registry.status(leaf.serial(), issuer).await.unwrap(), Status::Revoked);
        // Known to have expired two days ago although the certificate is gone.
        assert!(serials(&registry, issuer, &CrlQuery::default()).await.is_empty());
        let since_last = CrlQuery { last_crl: Some(NOW - day(3)), ..CrlQuery::default() };
        assert_eq!(serials(&registry, issuer, &since_last).await.len(), 1);
        assert_eq!(get(&registry, add(&registry, &leaf).await).await.status, Status::Revoked);
    }
}
