//! Several callers at once.

use tokio::task::JoinSet;
use trust_ledger_registry::{
    Annotations, EventFilter, Lift, Page, Registration, RevocationReason, RevocationRequest, RevocationTarget, Revoke,
};

use crate::support::{Ca, Leaf, NOW, add, ledgers};

#[tokio::test(flavor = "multi_thread")]
async fn of_many_revocations_at_once_exactly_one_revokes() {
    for registry in ledgers().await {
        let target = RevocationTarget::Id(add(&registry, &Ca::new("CA").issue(&Leaf::new("a.example"))).await);
        let mut calls = JoinSet::new();
        for _ in 0..16 {
            let (registry, target) = (registry.clone(), target.clone());
            let request = RevocationRequest { reason: RevocationReason::Superseded, ..RevocationRequest::default() };
            calls.spawn(async move { registry.revoke(&target, &request).await.unwrap() });
        }
        let answers = calls.join_all().await;
        let already = Revoke::AlreadyRevoked { since: NOW, reason: RevocationReason::Superseded };
        assert_eq!(answers.iter().filter(|answer| **answer == Revoke::Revoked).count(), 1);
        assert_eq!(answers.iter().filter(|answer| **answer == already).count(), 15);
        let events = registry.events(&EventFilter::default(), &Page::default()).await.unwrap().events;
        assert_eq!(events.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_and_lifts_at_once_leave_one_event_per_change() {
    for registry in ledgers().await {
        let target = RevocationTarget::Id(add(&registry, &Ca::new("CA").issue(&Leaf::new("a.example"))).await);
        let mut calls = JoinSet::new();
        for number in 0..32 {
            let (registry, target) = (registry.clone(), target.clone());
            let hold = RevocationRequest { reason: RevocationReason::CertificateHold, ..RevocationRequest::default() };
            calls.spawn(async move {
                if number % 2 == 0 {
                    registry.revoke(&target, &hold).await.unwrap() == Revoke::Revoked
                } else {
                    registry.lift_hold(&target).await.unwrap() == Lift::Lifted
                }
            });
        }
        let changes = calls.join_all().await.into_iter().filter(|changed| *changed).count();
        let events = registry.events(&EventFilter::default(), &Page::default()).await.unwrap().events;
        assert_eq!(events.len(), 1 + changes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_certificate_registered_by_many_at_once_is_new_once() {
    for registry in ledgers().await {
        let leaf = Ca::new("CA").issue(&Leaf::new("a.example"));
        let mut calls = JoinSet::new();
        for number in 0..16 {
            let (registry, leaf) = (registry.clone(), leaf.clone());
            calls.spawn(async move {
                let annotations = Annotations::default();
                match number % 2 {
                    0 => registry.register(&leaf, &annotations).await.unwrap(),
                    _ => registry.register_many(vec![leaf], &annotations).await.unwrap()[0],
                }
            });
        }
        let answers = calls.join_all().await;
        let new = answers.iter().filter(|answer| matches!(answer, Registration::Registered(_))).count();
        assert_eq!(new, 1);
        assert!(answers.iter().all(|answer| answer.id() == answers[0].id()));
    }
}

/// Leaves are registered while their CA is: whichever comes first, every leaf ends up with the CA as its known issuer.
#[tokio::test(flavor = "multi_thread")]
async fn a_ca_registered_among_its_leaves_misses_none_of_them() {
    let mut rounds = Vec::new();
    for round in 0..8 {
        rounds.extend(ledgers().await.into_iter().map(|registry| (round, registry)));
    }
    for (round, registry) in rounds {
        let ca = Ca::new("CA");
        let mut calls = JoinSet::new();
        for number in 0..24 {
            let (registry, leaf) = (registry.clone(), ca.issue(&Leaf::new("a.example")));
            let certificate = if number == 3 * round { ca.certificate() } else { leaf };
            calls.spawn(async move {
                match number % 3 {
                    0 => registry.register(&certificate, &Annotations::default()).await.unwrap(),
                    _ => registry.register_many(vec![certificate], &Annotations::default()).await.unwrap()[0],
                }
            });
        }
        calls.join_all().await;
        let counts = registry.counts().await.unwrap();
        assert_eq!((counts.total, counts.by_issuer.len()), (24, 1), "round {round}");
        let issuers = registry.issuers().await.unwrap();
        assert!(issuers.len() == 1 && issuers[0].known);
    }
}
