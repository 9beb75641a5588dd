//! Every change leaves an event.

use time::Duration;
use trust_ledger_registry::{
    AnnotationChange, Annotations, DeleteTarget, EventFilter, Page, RevocationEntry, RevocationReason,
    RevocationRequest, RevocationTarget, Role,
};

use crate::support::{Ca, Leaf, NOW, add, get, ledgers};

/// One certificate's whole life, each change by another actor.
#[tokio::test]
async fn every_change_appends_an_event_with_actor_object_before_and_after() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let leaf = ca.issue(&Leaf::new("a.example").valid(NOW - Duration::days(9), NOW - Duration::days(1)));
        let id = registry.acting_as("alice").register(&leaf, &Annotations::default()).await.unwrap().id();
        let target = RevocationTarget::Id(id);
        let by = |actor: &str| registry.acting_as(actor);
        let because = |reason| RevocationRequest { reason, ..RevocationRequest::default() };
        by("bob").revoke(&target, &because(RevocationReason::CertificateHold)).await.unwrap();
        by("carol").lift_hold(&target).await.unwrap();
        by("dave").revoke(&target, &because(RevocationReason::Superseded)).await.unwrap();
        by("erin").revoke(&target, &because(RevocationReason::KeyCompromise)).await.unwrap();
        let change = AnnotationChange { owner: Some("team".to_owned()), ..AnnotationChange::default() };
        by("frank").annotate(id, &change).await.unwrap();
        by("grace").register(&ca.certificate(), &Annotations::default()).await.unwrap();
        by("heidi").delete(DeleteTarget::Id(id), false).await.unwrap();

        let of_leaf = EventFilter { object: Some(id), ..EventFilter::default() };
        let mut events = registry.events(&of_leaf, &Page::default()).await.unwrap().events;
        events.reverse();
        let told: Vec<_> = events.iter().map(|event| (event.actor.as_str(), event.action.as_str())).collect();
        let expected = [
            ("alice", "certificate.registered"),
            ("bob", "revocation.recorded"),
            ("carol", "revocation.lifted"),
            ("dave", "revocation.recorded"),
            ("erin", "revocation.changed"),
            ("frank", "certificate.annotated"),
            ("heidi", "certificate.deleted"),
        ];
        assert_eq!(told, expected);
        let reason = |value: &Option<serde_json::Value>| value.as_ref().map(|value| value["reason"].to_string());
        let reasons: Vec<_> = events[1..5].iter().map(|event| (reason(&event.before), reason(&event.after))).collect();
        let text = |text: &str| Some(format!("{text:?}"));
        assert_eq!(
            reasons,
            [
                (None, text("certificateHold")),
                (text("certificateHold"), None),
                (None, text("superseded")),
                (text("superseded"), text("keyCompromise")),
            ]
        );
        assert_eq!(events[5].before.as_ref().unwrap()["owner"], serde_json::Value::Null);
        assert_eq!(events[5].after.as_ref().unwrap()["owner"], "team");
        let gone = events[6].before.as_ref().unwrap();
        assert_eq!(gone["fingerprint_sha256"], events[0].after.as_ref().unwrap()["fingerprint_sha256"]);
        assert!(events.iter().all(|event| event.at == NOW));

        let resolved = EventFilter { action: Some("issuer.resolved".to_owned()), ..EventFilter::default() };
        let resolved = registry.events(&resolved, &Page::default()).await.unwrap().events;
        assert_eq!((resolved.len(), resolved[0].actor.as_str()), (1, "grace"));
        assert_eq!(resolved[0].after.as_ref().unwrap()["certificates"], 1);
    }
}

#[tokio::test]
async fn what_changes_nothing_leaves_no_event() {
    for registry in ledgers().await {
        let leaf = Ca::new("CA").issue(&Leaf::new("a.example"));
        let target = RevocationTarget::Id(add(&registry, &leaf).await);
        registry.revoke(&target, &RevocationRequest::default()).await.unwrap();
        let count = async || registry.events(&EventFilter::default(), &Page::default()).await.unwrap().events.len();
        assert_eq!(count().await, 2);
        add(&registry, &leaf).await;
        registry.register_many(vec![leaf.clone()], &Annotations::default()).await.unwrap();
        registry.revoke(&target, &RevocationRequest::default()).await.unwrap();
        registry.lift_hold(&target).await.unwrap();
        let issuer = registry.by_fingerprint(leaf.fingerprint()).await.unwrap().unwrap().issuer_id;
        let known = RevocationEntry {
            serial: leaf.serial().clone(),
            revoked_at: NOW,
            reason: Some(RevocationReason::Superseded),
            invalidity_date: None,
            not_after: None,
        };
        registry.record_revocations(issuer, &[known], None).await.unwrap();
        assert_eq!(count().await, 2);
    }
}

#[tokio::test]
async fn events_of_unseen_certificates_are_of_their_issuer_and_pages_go_backwards() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let issuer = get(&registry, add(&registry, &ca.certificate()).await).await.issuer_id;
        let entries: Vec<RevocationEntry> = (1..=5)
            .map(|serial| RevocationEntry {
                serial: trust_ledger_registry::Serial::from_content(&[serial]).unwrap(),
                revoked_at: NOW,
                reason: Some(RevocationReason::Superseded),
                invalidity_date: None,
                not_after: None,
            })
            .collect();
        registry.record_revocations(issuer, &entries, None).await.unwrap();
        let filter = EventFilter { object: Some(issuer), ..EventFilter::default() };
        let mut page = Page { limit: 2, ..Page::default() };
        let mut serials = Vec::new();
        loop {
            let events = registry.events(&filter, &page).await.unwrap();
            serials.extend(events.events.iter().map(|event| event.after.as_ref().unwrap()["serial"].to_string()));
            match events.next {
                Some(next) => page.after = Some(next),
                None => break,
            }
        }
        assert_eq!(serials, ["\"5\"", "\"4\"", "\"3\"", "\"2\"", "\"1\""]);
    }
}

/// Each operation that writes, asked for from an address by a request: its events say so, and those of others do not.
#[tokio::test]
async fn every_event_says_from_where_and_by_which_request_it_was_asked_for() {
    for registry in ledgers().await {
        let (ca, other) = (Ca::new("CA"), Ca::new("other"));
        let by = |request: &str| registry.acting_as("ci").asked_from("192.0.2.7", Some(request)).acting_as("cd");
        let old = ca.issue(&Leaf::new("a.example").valid(NOW - Duration::days(9), NOW - Duration::days(1)));
        let leaf = ca.issue(&Leaf::new("b.example"));
        let id = by("1").register(&old, &Annotations::default()).await.unwrap().id();
        by("2").register_many(vec![leaf.clone(), other.certificate()], &Annotations::default()).await.unwrap();
        let of_leaf = RevocationTarget::Id(registry.by_fingerprint(leaf.fingerprint()).await.unwrap().unwrap().id);
        let because = |reason| RevocationRequest { reason, ..RevocationRequest::default() };
        by("3").revoke(&of_leaf, &because(RevocationReason::CertificateHold)).await.unwrap();
        by("4").revoke(&of_leaf, &because(RevocationReason::KeyCompromise)).await.unwrap();
        let change = AnnotationChange { owner: Some("team".to_owned()), ..AnnotationChange::default() };
        by("5").annotate(id, &change).await.unwrap();
        by("6").register(&ca.certificate(), &Annotations::default()).await.unwrap();
        by("7").delete(DeleteTarget::Id(id), false).await.unwrap();
        let token = by("8").create_token("x", Role::Reader, None).await.unwrap().0;
        by("9").revoke_token(token.id).await.unwrap();
        let nobody = registry.acting_as("nobody").asked_from(" ", Some(""));
        nobody.create_token("y", Role::Reader, None).await.unwrap();

        let mut events = registry.events(&EventFilter::default(), &Page::default()).await.unwrap().events;
        let last = events.remove(0);
        assert_eq!((last.actor.as_str(), last.origin, last.request), ("nobody", None, None));
        events.reverse();
        assert!(events.iter().all(|event| event.actor == "cd" && event.origin.as_deref() == Some("192.0.2.7")));
        let requests: String = events.iter().filter_map(|event| event.request.as_deref()).collect();
        // The CA's registration settles who the leaves' issuer is.
        assert_eq!(requests, "12234566789", "{events:?}");
        let filter = EventFilter { request: Some("2".to_owned()), ..EventFilter::default() };
        assert_eq!(registry.events(&filter, &Page::default()).await.unwrap().events.len(), 2);
    }
}
