//! Copies of ledgers, between all engines.

use std::sync::Mutex;

use strongroom::params;
use time::Duration;
use trust_ledger_registry::{
    Annotations, Copied, CopyPhase, Error, EventFilter, Filter, Page, Registry, RevocationEntry, RevocationReason,
    RevocationRequest, RevocationTarget, Revoke, blocking,
};

use crate::support::{Ca, Leaf, NOW, add, key, ledgers};

async fn copy(source: &Registry, target: &Registry) -> Copied {
    source.copy_to(target, &mut |_| {}).await.unwrap()
}

async fn revoke(registry: &Registry, id: uuid::Uuid, reason: RevocationReason) {
    let request = RevocationRequest { reason, ..RevocationRequest::default() };
    assert_eq!(registry.revoke(&RevocationTarget::Id(id), &request).await.unwrap(), Revoke::Revoked);
}

/// Something of everything that triggers follow: shared serials and keys, revocations with and without certificates, holds,
/// expired certificates, tags; and names whose order differs between collations.
async fn fill(registry: &Registry) {
    let ca = Ca::new("CA");
    add(registry, &ca.certificate()).await;
    let shared = key();
    let annotations = Annotations {
        owner: Some("Ärztin".to_owned()),
        tags: vec!["b".to_owned(), "A".to_owned()],
        note: Some(String::new()),
        ..Annotations::default()
    };
    let mut ids = Vec::new();
    for (number, name) in ["b.example", "B.example", "a-b.example", "ä.example", "a.b.example"].iter().enumerate() {
        let days = i64::try_from(number).unwrap() * 60 - 100;
        let from = NOW + Duration::days(days - 50);
        let leaf = Leaf::new(name).dns(name).serial(1 + number as u64 / 2).valid(from, NOW + Duration::days(days));
        let leaf = if number < 2 { leaf.key(&shared) } else { leaf };
        ids.push(registry.register(&ca.issue(&leaf), &annotations).await.unwrap().id());
    }
    let ca_id = registry.get(ids[0]).await.unwrap().unwrap().issuer_id;
    revoke(registry, ids[2], RevocationReason::CertificateHold).await;
    revoke(registry, ids[4], RevocationReason::KeyCompromise).await;
    let serial = trust_ledger_registry::Serial::from_content(&[0x7f]).unwrap();
    let unknown = RevocationEntry {
        serial,
        revoked_at: NOW,
        reason: Some(RevocationReason::Superseded),
        invalidity_date: None,
        not_after: None,
    };
    registry.record_revocations(ca_id, &[unknown], Some("index.txt")).await.unwrap();
}

async fn assert_same(one: &Registry, other: &Registry) {
    let page = Page::default();
    let (here, there) =
        (one.list(&Filter::default(), &page).await.unwrap(), other.list(&Filter::default(), &page).await);
    assert_eq!(here.records, there.unwrap().records);
    assert_eq!(one.counts().await.unwrap(), other.counts().await.unwrap());
    assert_eq!(one.findings().await.unwrap(), other.findings().await.unwrap());
    let (here, there) =
        (one.events(&EventFilter::default(), &page).await, other.events(&EventFilter::default(), &page).await);
    assert_eq!(here.unwrap(), there.unwrap());
}

/// From each engine to each, a copy is equal in all that can be asked; a second one finds nothing to do.
#[tokio::test]
async fn a_copy_is_equal_on_every_engine_and_copying_again_changes_nothing() {
    for (position, source) in ledgers().await.iter().enumerate() {
        fill(source).await;
        for target in ledgers().await {
            let copied = copy(source, &target).await;
            assert!(copied.equal && !copied.source_changed, "from {position}: {copied:?}");
            let rows: u64 = copied.tables.iter().map(|table| table.source_rows).sum();
            let counts = copied.tables.last().unwrap().source_rows;
            assert!(copied.tables[1].source_rows == 6 && copied.rows_copied == rows - counts, "{copied:?}");
            assert_same(source, &target).await;
            let again = copy(source, &target).await;
            assert!(again.equal && again.rows_copied == 0 && again.tables == copied.tables, "{again:?}");
        }
    }
}

/// A copy goes on whatever is missing: the end of one table, the middle of another, tables that were not begun.
#[tokio::test]
async fn a_copy_goes_on_from_what_is_there() {
    for target in ledgers().await {
        let source = &ledgers().await[0];
        fill(source).await;
        copy(source, &target).await;
        for (missing, rows) in [
            ("DELETE FROM event", 9),
            ("DELETE FROM certificate_name WHERE name LIKE 'a%'", 2),
            ("DELETE FROM certificate_tag WHERE tag = 'A'", 5),
        ] {
            target.database().execute(missing, params![]).await.unwrap();
            let copied = copy(source, &target).await;
            assert!(copied.equal && copied.rows_copied == rows, "{missing}: {copied:?}");
            assert_same(source, &target).await;
        }
        // What came since is added.
        add(source, &Ca::new("Later").certificate()).await;
        let copied = copy(source, &target).await;
        assert!(copied.equal && copied.rows_copied >= 3, "{copied:?}");
        assert_same(source, &target).await;
    }
}

/// What is not from the source stays as it is: another ledger's rows, and rows that the source has changed since.
#[tokio::test]
async fn a_target_with_other_rows_is_refused_and_untouched() {
    for target in ledgers().await {
        let source = &ledgers().await[0];
        fill(source).await;
        let other = add(&target, &Ca::new("Other").certificate()).await;
        let before = target.counts().await.unwrap();
        let refused = source.copy_to(&target, &mut |_| {}).await.unwrap_err();
        assert!(matches!(refused, Error::CopyRefused { table: "issuer" }), "{refused}");
        assert_eq!(target.counts().await.unwrap(), before);
        assert!(target.get(other).await.unwrap().is_some());
    }
    for target in ledgers().await {
        let source = &ledgers().await[0];
        fill(source).await;
        copy(source, &target).await;
        let id = source.list(&Filter::default(), &Page::default()).await.unwrap().records[3].id;
        revoke(source, id, RevocationReason::Superseded).await;
        let refused = source.copy_to(&target, &mut |_| {}).await.unwrap_err();
        assert!(matches!(refused, Error::CopyRefused { table: "certificate" }), "{refused}");
    }
}

/// Equality is looked for in the target: rows that something else changed there are found, in the counts too.
#[tokio::test]
async fn a_target_that_loses_what_was_written_is_not_equal() {
    for target in ledgers().await {
        let source = &ledgers().await[0];
        fill(source).await;
        copy(source, &target).await;
        target.database().execute("UPDATE certificate_count SET n = n + 1", params![]).await.unwrap();
        let copied = copy(source, &target).await;
        let unequal: Vec<_> = copied.tables.iter().filter(|table| !table.equal).map(|table| table.table).collect();
        assert!(!copied.equal && unequal == ["certificate_count"], "{copied:?}");
    }
}

/// A certificate that comes in mid-copy is not in the copy, which says so; the next run brings it.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changes_meanwhile_is_told_and_the_next_copy_brings_what_came() {
    let (sources, targets) = (ledgers().await, ledgers().await);
    let (source, target) = (&sources[1], &targets[1]);
    fill(source).await;
    let late = Mutex::new(Some(Ca::new("Late").certificate()));
    let copied = source
        .copy_to(target, &mut |at| {
            if let (CopyPhase::Copying, Some(late)) = (at.phase, late.lock().unwrap().take()) {
                let source = blocking::Registry::from((**source).clone());
                let write = || source.register(&late, &Annotations::default()).unwrap();
                std::thread::scope(|scope| scope.spawn(write).join().unwrap());
            }
        })
        .await
        .unwrap();
    assert!(copied.equal && copied.source_changed, "{copied:?}");
    assert_eq!(target.counts().await.unwrap().total, 6);
    let copied = copy(source, target).await;
    assert!(copied.equal && !copied.source_changed && copied.rows_copied > 0, "{copied:?}");
    assert_same(source, target).await;
}
