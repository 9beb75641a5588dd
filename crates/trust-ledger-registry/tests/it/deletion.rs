//! Deleting, pruning and annotating.

use std::time::Duration as StdDuration;

use strongroom::params;
use time::Duration;
use trust_ledger_registry::{
    Annotated, AnnotationChange, Annotations, Category, DeleteTarget, Error, Filter, NamePattern, Page,
    RevocationReason, RevocationRequest, RevocationTarget,
};
use uuid::Uuid;

use crate::support::{Ca, Leaf, NOW, add, get, ledgers};

#[tokio::test]
async fn only_what_has_expired_is_deleted_without_force() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let valid = add(&registry, &ca.issue(&Leaf::new("a.example"))).await;
        let expired = Leaf::new("b.example").valid(NOW - Duration::days(2), NOW - Duration::seconds(1));
        let expired = add(&registry, &ca.issue(&expired)).await;
        let refused = registry.delete(DeleteTarget::Id(valid), false).await;
        assert!(matches!(refused, Err(Error::NotExpired { id, .. }) if id == valid));
        assert_eq!(registry.delete(DeleteTarget::Id(expired), false).await.unwrap(), 1);
        assert_eq!(registry.get(expired).await.unwrap(), None);
        assert_eq!(registry.delete(DeleteTarget::Id(valid), true).await.unwrap(), 1);
        assert_eq!(registry.delete(DeleteTarget::Id(valid), true).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_revoked_or_held_certificate_that_has_not_expired_is_never_deleted() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        for reason in [RevocationReason::Unspecified, RevocationReason::CertificateHold] {
            let id = add(&registry, &ca.issue(&Leaf::new("a.example"))).await;
            let request = RevocationRequest { reason, ..RevocationRequest::default() };
            registry.revoke(&RevocationTarget::Id(id), &request).await.unwrap();
            let refused = registry.delete(DeleteTarget::Id(id), true).await;
            assert!(matches!(refused, Err(Error::RevokedUnexpired { .. })));
            assert!(registry.get(id).await.unwrap().is_some());
        }
    }
}

#[tokio::test]
async fn certificates_are_deleted_by_their_files_all_or_none() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let files = Uuid::now_v7();
        let annotations = Annotations { files: Some(files), ..Annotations::default() };
        let expired = Leaf::new("b.example").valid(NOW - Duration::days(2), NOW - Duration::days(1));
        let both = vec![ca.issue(&expired), ca.issue(&Leaf::new("a.example"))];
        registry.register_many(both, &annotations).await.unwrap();
        let other = add(&registry, &ca.issue(&Leaf::new("c.example"))).await;
        assert!(registry.delete(DeleteTarget::Files(files), false).await.is_err());
        assert_eq!(registry.counts().await.unwrap().total, 3);
        assert_eq!(registry.delete(DeleteTarget::Files(files), true).await.unwrap(), 2);
        assert!(registry.get(other).await.unwrap().is_some());
    }
}

/// What deletion leaves behind: nothing in any index table, everything in events and revocations.
#[tokio::test]
async fn a_deleted_certificate_is_found_by_nothing_any_more() {
    for registry in ledgers().await {
        let long = format!("{}.example", "x".repeat(300));
        let leaf = Leaf::new("A.example").dns("b.example").dns(&long);
        let annotations = Annotations { tags: vec!["t".to_owned()], ..Annotations::default() };
        let id = registry.register(&Ca::new("CA").issue(&leaf), &annotations).await.unwrap().id();
        registry.delete(DeleteTarget::Id(id), true).await.unwrap();
        for sql in [
            "SELECT count(*) FROM certificate",
            "SELECT count(*) FROM certificate_name",
            "SELECT count(*) FROM certificate_name_reversed",
            "SELECT count(*) FROM certificate_tag",
            "SELECT sum(n) FROM certificate_count",
        ] {
            assert_eq!(registry.database().fetch_value::<i64>(sql, params![]).await.unwrap(), Some(0), "{sql}");
        }
    }
}

#[tokio::test]
async fn prune_deletes_what_expired_longer_ago_and_nothing_else() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let day = Duration::days;
        let mut certificates = Vec::new();
        for age in 1..=1_203 {
            let until = NOW - if age <= 1_201 { day(91) } else { day(90) };
            certificates.push(ca.issue(&Leaf::new("a.example").valid(NOW - day(200), until)));
        }
        certificates.push(ca.issue(&Leaf::new("b.example")));
        registry.register_many(certificates, &Annotations::default()).await.unwrap();
        let ninety_days = StdDuration::from_secs(90 * 86_400);
        assert_eq!(registry.prune(ninety_days).await.unwrap().deleted, 1_201);
        assert_eq!(registry.prune(ninety_days).await.unwrap().deleted, 0);
        assert_eq!(registry.counts().await.unwrap().total, 3);
        assert_eq!(registry.prune(StdDuration::MAX).await.unwrap().deleted, 0);
    }
}

#[tokio::test]
async fn annotations_are_changed_one_by_one() {
    for registry in ledgers().await {
        let annotations = Annotations {
            owner: Some("a".to_owned()),
            tags: vec!["one".to_owned(), "two".to_owned()],
            ..Annotations::default()
        };
        let leaf = Ca::new("CA").issue(&Leaf::new("a.example"));
        let id = registry.register(&leaf, &annotations).await.unwrap().id();
        let change = AnnotationChange {
            owner: Some(String::new()),
            tags: None,
            add_tags: vec!["three".to_owned()],
            remove_tags: vec!["one".to_owned()],
            note: Some("seen".to_owned()),
            category: Some(Category::Device),
            source: None,
        };
        assert_eq!(registry.annotate(id, &change).await.unwrap(), Annotated::Changed);
        assert_eq!(registry.annotate(id, &change).await.unwrap(), Annotated::Unchanged);
        assert_eq!(registry.annotate(Uuid::nil(), &change).await.unwrap(), Annotated::NotFound);
        let record = get(&registry, id).await;
        assert_eq!((record.owner, record.note.as_deref()), (None, Some("seen")));
        assert_eq!((record.tags, record.category), (vec!["three".to_owned(), "two".to_owned()], Category::Device));
        for (tag, found) in [("one", 0), ("two", 1), ("three", 1)] {
            let filter = Filter { tag: Some(tag.to_owned()), ..Filter::default() };
            assert_eq!(registry.list(&filter, &Page::default()).await.unwrap().records.len(), found, "{tag}");
        }
        let name = Filter { name: Some(NamePattern::parse("a.example").unwrap()), ..Filter::default() };
        assert_eq!(registry.list(&name, &Page::default()).await.unwrap().records.len(), 1);
    }
}

/// Who decides by what they read must not undo what another wrote since, and all tags can be replaced at once.
#[tokio::test]
async fn a_change_is_made_only_if_nobody_changed_the_annotations_since_they_were_read() {
    for registry in ledgers().await {
        let id = add(&registry, &Ca::new("CA").issue(&Leaf::new("a.example"))).await;
        let seen = get(&registry, id).await;
        let tags = |tags: &[&str]| AnnotationChange {
            tags: Some(tags.iter().map(|tag| (*tag).to_owned()).collect()),
            ..AnnotationChange::default()
        };
        assert_eq!(registry.annotate_unchanged(&seen, &tags(&["b", "a"])).await.unwrap(), Some(Annotated::Changed));
        assert_eq!(registry.annotate_unchanged(&seen, &tags(&["c"])).await.unwrap(), None);
        let seen = get(&registry, id).await;
        assert_eq!(seen.tags, ["a", "b"]);
        assert_eq!(registry.annotate_unchanged(&seen, &tags(&["c"])).await.unwrap(), Some(Annotated::Changed));
        assert_eq!(get(&registry, id).await.tags, ["c"]);
        registry.annotate(id, &tags(&[])).await.unwrap();
        assert_eq!(get(&registry, id).await.tags, Vec::<String>::new());
        registry.delete(DeleteTarget::Id(id), true).await.unwrap();
        assert_eq!(registry.annotate_unchanged(&seen, &tags(&[])).await.unwrap(), Some(Annotated::NotFound));
    }
}
