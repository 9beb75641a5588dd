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

/// On a server, those who register at the same moment share a statement: each gets what is its own, and what one of them
/// cannot have is not the others' loss.
#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_that_register_at_once_gets_its_own_answer() {
    for registry in ledgers().await {
        let on_server = registry.database().dialect() == strongroom::Dialect::Postgres;
        let ca = Ca::new("CA");
        add(&registry, &ca.certificate()).await;
        let mut calls = JoinSet::new();
        let mut leaves: Vec<_> = (0..40).map(|number| ca.issue(&Leaf::new(&format!("{number}.example")))).collect();
        // Some twice.
        leaves.extend_from_within(..20);
        for (number, leaf) in leaves.into_iter().enumerate() {
            let registry =
                registry.acting_as(&format!("caller {number}")).asked_from("192.0.2.1", Some(&format!("{number}")));
            calls.spawn(async move {
                // An index of PostgreSQL takes no entry of this length.
                let owner = (number == 31).then(|| noise(20_000));
                let annotations = Annotations { owner, ..Annotations::default() };
                (number, leaf.clone(), registry.register(&leaf, &annotations).await)
            });
        }
        let mut new = 0;
        for (number, leaf, answer) in calls.join_all().await {
            if number == 31 && on_server {
                assert!(matches!(answer, Err(trust_ledger_registry::Error::Database(_))), "{answer:?}");
                assert!(registry.by_fingerprint(leaf.fingerprint()).await.unwrap().is_none());
                continue;
            }
            let answer = answer.unwrap();
            let record = registry.by_fingerprint(leaf.fingerprint()).await.unwrap().unwrap();
            assert_eq!(record.id, answer.id());
            if matches!(answer, Registration::Registered(_)) {
                new += 1;
                let of_object = EventFilter { object: Some(record.id), ..EventFilter::default() };
                let events = registry.events(&of_object, &Page::default()).await.unwrap().events;
                assert_eq!(events.len(), 1);
                assert_eq!(events[0].actor, format!("caller {number}"));
                assert_eq!(events[0].request, Some(number.to_string()));
            }
        }
        assert_eq!(registry.counts().await.unwrap().total, 1 + new);
    }
}

/// Text that nothing compresses.
fn noise(length: usize) -> String {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + (state >> 33) as u8 % 90)
    };
    (0..length).map(|_| next()).collect()
}

/// Whoever gives up takes nobody along, and nothing stays under way that would keep the next from being registered.
#[tokio::test(flavor = "multi_thread")]
async fn registrations_that_are_dropped_leave_the_others_and_the_ledger_whole() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let mut kept = JoinSet::new();
        let mut dropped = Vec::new();
        for number in 0..80 {
            let leaf = ca.issue(&Leaf::new(&format!("{number}.example")));
            let registry = registry.clone();
            let call = async move { registry.register(&leaf, &Annotations::default()).await.unwrap() };
            if number % 2 == 0 {
                kept.spawn(call);
            } else {
                dropped.push(tokio::spawn(call));
            }
        }
        for (number, call) in dropped.into_iter().enumerate() {
            if number % 4 == 0 {
                tokio::task::yield_now().await;
            }
            call.abort();
        }
        assert_eq!(kept.join_all().await.len(), 40);
        let counts = registry.counts().await.unwrap();
        let events = registry.events(&EventFilter::default(), &Page { limit: 1_000, ..Page::default() }).await.unwrap();
        assert_eq!(counts.total as usize, events.events.len());
        assert!((40..=80).contains(&counts.total), "{}", counts.total);
        add(&registry, &ca.issue(&Leaf::new("last.example"))).await;
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
