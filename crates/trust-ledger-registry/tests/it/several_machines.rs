//! Several machines that work on one ledger at once, which is on a server.

use std::sync::Arc;

use time::Duration;
use tokio::task::JoinSet;
use trust_ledger_registry::{
    Annotations, Certificate, ImportOptions, Registration, RevocationEntry, RevocationReason, RevocationRequest,
    RevocationTarget, Serial, Status,
};

use crate::counts::{assert_counts, assert_flags, number};
use crate::support::{Ca, Leaf, NOW, add, get, import_with, key, machines, pem};

/// Certificates that share serials and keys are registered at the same moment, one by one and together: each pair is
/// found, and every certificate is counted.
#[tokio::test(flavor = "multi_thread")]
async fn what_certificates_share_is_found_when_they_are_registered_at_once() {
    for round in 0..4_u64 {
        let machines = machines(3).await;
        let Some(first) = machines.first() else { return };
        let (ca, keys) = (Ca::new("CA"), [key(), key()]);
        // The issuer is known from the beginning, becomes known meanwhile, or stays unknown.
        if round % 3 == 0 {
            add(first, &ca.certificate()).await;
        }
        let mut certificates: Vec<Certificate> = (0..48_u64)
            .map(|index| {
                let leaf = Leaf::new(&format!("{index}.example")).serial(1 + index / 3);
                ca.issue(&if index % 9 < 3 { leaf.key(&keys[usize::from(index % 2 == 0)]) } else { leaf })
            })
            .collect();
        if round % 3 == 1 {
            certificates.insert(24, ca.certificate());
        }
        let total = certificates.len() + usize::from(round % 3 == 0);
        let mut calls = JoinSet::new();
        // Those that share something are registered by different calls, at about the same moment.
        for index in 0..15 {
            let some: Vec<_> = certificates.iter().skip(index).step_by(15).cloned().collect();
            let registry = (*machines[index % 3]).clone();
            calls.spawn(async move {
                if index % 5 == 0 {
                    registry.register_many(some, &Annotations::default()).await.unwrap();
                } else {
                    for certificate in some {
                        registry.register(&certificate, &Annotations::default()).await.unwrap();
                    }
                }
            });
        }
        calls.join_all().await;
        assert_flags(first).await;
        assert_counts(first, NOW).await;
        let counts = first.counts().await.unwrap();
        assert_eq!((counts.total, counts.by_issuer.len()), (total as u64, 1), "round {round}");
        let shared = "SELECT count(*) FROM certificate WHERE duplicate_serial = 1";
        assert_eq!(number(first, shared).await, 48);
    }
}

/// A certificate is registered on one machine while its revocation is recorded on another: whichever comes first, it is
/// revoked.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_revoked_while_it_is_registered_is_revoked() {
    let machines = machines(2).await;
    let [one, other] = &machines[..] else { return };
    let ca = Ca::new("CA");
    let issuer = get(one, add(one, &ca.certificate()).await).await.issuer_id;
    for round in 0..40_u64 {
        let leaf = ca.issue(&Leaf::new("a.example").serial(1_000 + round));
        let serial: Serial = leaf.serial().clone();
        let (registering, revoking) = ((**one).clone(), (**other).clone());
        let registered = tokio::spawn(async move { add(&registering, &leaf).await });
        let recorded = tokio::spawn(async move {
            let entry = RevocationEntry {
                serial,
                revoked_at: NOW,
                reason: Some(RevocationReason::Superseded),
                invalidity_date: None,
                not_after: None,
            };
            revoking.record_revocations(issuer, &[entry], None).await.unwrap()
        });
        let id = registered.await.unwrap();
        assert_eq!(recorded.await.unwrap().recorded, 1);
        assert_eq!(get(other, id).await.status, Status::Revoked, "round {round}");
    }
    assert_flags(one).await;
    assert_counts(one, NOW).await;
    let unknown_ends = "SELECT count(*) FROM revocation WHERE not_after IS NULL";
    assert_eq!(number(one, unknown_ends).await, 0, "each revocation knows how long its certificate lives");
}

/// Two machines revoke and delete what a third registers. Nothing fails for the others' sake.
#[tokio::test(flavor = "multi_thread")]
async fn registrations_revocations_and_deletions_at_once_all_succeed() {
    let machines = machines(3).await;
    let [one, other, third] = &machines[..] else { return };
    let ca = Ca::new("CA");
    add(one, &ca.certificate()).await;
    let expired =
        |serial| Leaf::new("old.example").serial(serial).valid(NOW - Duration::days(9), NOW - Duration::days(1));
    let old: Vec<_> = (0..40_u64).map(|index| ca.issue(&expired(1 + index % 10))).collect();
    one.register_many(old, &Annotations::default()).await.unwrap();
    let leaves: Arc<Vec<Certificate>> =
        Arc::new((0..60_u64).map(|index| ca.issue(&Leaf::new("a.example").serial(1 + index % 20))).collect());
    let mut calls = JoinSet::new();
    for caller in 0..4 {
        let (registry, leaves) = ((**one).clone(), leaves.clone());
        calls.spawn(async move {
            for leaf in leaves.iter().skip(caller).step_by(4) {
                let id = registry.register(leaf, &Annotations::default()).await.unwrap().id();
                let target = RevocationTarget::Id(id);
                registry.revoke(&target, &RevocationRequest::default()).await.unwrap();
            }
        });
    }
    let (pruning, also_pruning) = ((**other).clone(), (**third).clone());
    for registry in [pruning, also_pruning] {
        calls.spawn(async move {
            registry.prune(std::time::Duration::ZERO).await.unwrap();
        });
    }
    calls.join_all().await;
    assert_flags(one).await;
    assert_counts(one, NOW).await;
    assert_eq!(one.counts().await.unwrap().total, 61);
}

/// The same folder is imported by three machines at once: each certificate is new on one of them.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_on_several_machines_at_once_is_one_import() {
    let machines = machines(3).await;
    let ca = Ca::new("CA");
    let mut bundle = ca.x509.to_pem().unwrap();
    for index in 0..200_u64 {
        bundle.extend(pem(&ca.issue(&Leaf::new(&format!("{index}.example")).serial(1 + index))));
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bundle.pem"), bundle).unwrap();
    let mut imports = JoinSet::new();
    for machine in &machines {
        let (registry, path) = ((**machine).clone(), folder.path().to_owned());
        imports.spawn(async move { import_with(&registry, &path, &ImportOptions::default()).await });
    }
    let summaries = imports.join_all().await;
    let Some(first) = machines.first() else { return };
    assert_eq!(summaries.iter().map(|summary| summary.new).sum::<u64>(), 201);
    assert_eq!(summaries.iter().map(|summary| summary.known).sum::<u64>(), 402);
    assert_counts(first, NOW).await;
    assert_flags(first).await;
}

/// Once a minute a registration sums up what the ones before it have counted, and removes what they claimed.
#[tokio::test]
async fn what_registrations_leave_behind_is_tidied_up() {
    let machines = machines(1).await;
    let [registry] = &machines[..] else { return };
    let ca = Ca::new("CA");
    for index in 1..=30 {
        add(registry, &ca.issue(&Leaf::new("a.example").serial(index))).await;
    }
    let parts = "SELECT count(*) FROM certificate_count WHERE part <> '00000000-0000-0000-0000-000000000000'";
    let claims = "SELECT count(*) FROM claim";
    assert!(number(registry, parts).await > 20 && number(registry, claims).await >= 60);
    let expired = Leaf::new("b.example").valid(NOW - Duration::days(3), NOW + Duration::seconds(1));
    add(registry, &ca.issue(&expired)).await;
    let db = registry.database();
    db.execute("UPDATE claim SET at = at - INTERVAL '10 minutes'", strongroom::params![]).await.unwrap();
    let later = registry.with_clock(|| NOW + Duration::minutes(2));
    let last = later.register(&ca.issue(&Leaf::new("c.example")), &Annotations::default()).await.unwrap();
    assert!(matches!(last, Registration::Registered(_)));
    // After it was answered.
    let began = std::time::Instant::now();
    while (number(registry, parts).await, number(registry, claims).await) != (0, 2) {
        assert!(began.elapsed() < std::time::Duration::from_secs(10), "nothing is tidied up");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(number(registry, "SELECT count(*) FROM certificate WHERE lapsed = 1").await, 1);
    assert_counts(&later, NOW + Duration::minutes(2)).await;
}
