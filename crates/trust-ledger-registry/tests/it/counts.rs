//! Counts from summary rows.

use std::collections::BTreeMap;

use strongroom::params;
use time::{Duration, OffsetDateTime};
use trust_ledger_registry::{
    AnnotationChange, Category, DeleteTarget, Filter, Page, Registry, RevocationReason, RevocationRequest,
    RevocationTarget, Status,
};

use crate::support::{Ca, Leaf, NOW, add, ledgers};

/// Numbers that only look random, so that a failure can be seen again.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// After a few hundred operations of every kind, the summary equals a count of the rows at several times of day, and
/// the flags that triggers keep equal what the rows say.
#[tokio::test]
async fn counts_equal_a_count_of_all_rows_after_any_operations() {
    for registry in ledgers().await {
        let cas = [Ca::new("One"), Ca::new("Two")];
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let mut ids = Vec::new();
        let keys = [crate::support::key(), crate::support::key()];
        for step in 0..400 {
            let pick = |ids: &Vec<uuid::Uuid>, number: u64| ids[usize::try_from(number).unwrap() % ids.len()];
            match numbers.below(10) {
                0..5 => {
                    let hours = i64::try_from(numbers.below(96)).unwrap() - 48;
                    let until = NOW + Duration::hours(hours);
                    let from = until - Duration::hours(i64::try_from(numbers.below(60)).unwrap());
                    let mut leaf = Leaf::new("a.example").valid(from, until).serial(1 + numbers.below(40));
                    if numbers.below(3) == 0 {
                        leaf = leaf.key(&keys[usize::try_from(numbers.below(2)).unwrap()]);
                    }
                    if numbers.below(4) == 0 {
                        leaf = leaf.precertificate();
                    }
                    let ca = &cas[usize::try_from(numbers.below(2)).unwrap()];
                    ids.push(add(&registry, &ca.issue(&leaf)).await);
                }
                _ if ids.is_empty() => {}
                5 | 6 => {
                    let reason = match numbers.below(3) {
                        0 => RevocationReason::CertificateHold,
                        1 => RevocationReason::Superseded,
                        _ => RevocationReason::KeyCompromise,
                    };
                    let target = RevocationTarget::Id(pick(&ids, numbers.below(1_000)));
                    let request = RevocationRequest { reason, ..RevocationRequest::default() };
                    registry.revoke(&target, &request).await.unwrap();
                }
                7 => drop(registry.lift_hold(&RevocationTarget::Id(pick(&ids, numbers.below(1_000)))).await.unwrap()),
                8 => {
                    let category = Category::ALL[usize::try_from(numbers.below(5)).unwrap()];
                    let change = AnnotationChange { category: Some(category), ..AnnotationChange::default() };
                    registry.annotate(pick(&ids, numbers.below(1_000)), &change).await.unwrap();
                }
                _ => drop(registry.delete(DeleteTarget::Id(pick(&ids, numbers.below(1_000))), true).await),
            }
            // The CAs become known in the middle, which moves certificates between issuers.
            if step == 150 || step == 300 {
                ids.push(add(&registry, &cas[step / 300].certificate()).await);
            }
        }
        for hours in [-24, -12, -1, 0, 1, 13, 24] {
            let now = NOW + Duration::hours(hours);
            assert_counts(&registry.with_clock(move || now), now).await;
        }
        assert_flags(&registry).await;
        let seen = "SELECT count(*) FROM certificate WHERE duplicate_serial = 1 AND key_reused = 1 AND revoked > 0";
        assert!(number(&registry, seen).await > 0, "the operations met every case");
    }
}

/// The summary equals a count of the rows.
pub(crate) async fn assert_counts(registry: &Registry, now: OffsetDateTime) {
    let mut status: BTreeMap<Status, u64> = Status::ALL.into_iter().map(|status| (status, 0)).collect();
    let mut category: BTreeMap<Category, u64> = Category::ALL.into_iter().map(|category| (category, 0)).collect();
    let mut issuer = BTreeMap::new();
    let mut month = BTreeMap::new();
    let everything = Page { limit: 10_000, ..Page::default() };
    let records = registry.list(&Filter::default(), &everything).await.unwrap().records;
    for record in &records {
        *status.get_mut(&record.status).unwrap() += 1;
        *category.get_mut(&record.category).unwrap() += 1;
        *issuer.entry(record.issuer_id).or_insert(0) += 1;
        if record.revoked_at.is_none() {
            *month.entry((record.not_after.year(), u8::from(record.not_after.month()))).or_insert(0) += 1;
        }
    }
    let counts = registry.counts().await.unwrap();
    assert_eq!((counts.total, counts.by_status, counts.by_category), (records.len() as u64, status, category), "{now}");
    let by_issuer: BTreeMap<_, _> =
        counts.by_issuer.iter().map(|count| (count.issuer_id, count.certificates)).collect();
    assert_eq!(by_issuer, issuer);
    let by_month: BTreeMap<_, _> =
        counts.by_month.iter().map(|count| ((count.year, count.month), count.certificates)).collect();
    assert_eq!(by_month, month);
    // Each status lists exactly those that it counts.
    for (status, expected) in counts_of(&records) {
        let filter = Filter { status: Some(status), ..Filter::default() };
        let page = registry.list(&filter, &Page { total: true, ..everything.clone() }).await.unwrap();
        assert!(page.records.iter().all(|record| record.status == status));
        assert_eq!((page.records.len() as u64, page.total), (expected, Some(expected)), "{status} at {now}");
    }
}

fn counts_of(records: &[trust_ledger_registry::Record]) -> BTreeMap<Status, u64> {
    let mut counts: BTreeMap<Status, u64> = Status::ALL.into_iter().map(|status| (status, 0)).collect();
    for record in records {
        *counts.get_mut(&record.status).unwrap() += 1;
    }
    counts
}

/// What is kept with each certificate about others is what asking for it finds.
pub(crate) async fn assert_flags(registry: &Registry) {
    let duplicate = "SELECT count(*) FROM certificate AS c WHERE (duplicate_serial = 1) <> EXISTS (\
        SELECT 1 FROM certificate AS o WHERE o.serial = c.serial AND o.issuer = c.issuer \
          AND o.is_precertificate = c.is_precertificate AND o.id <> c.id)";
    let reused = "SELECT count(*) FROM certificate AS c WHERE (key_reused = 1) <> EXISTS (\
        SELECT 1 FROM certificate AS o WHERE o.public_key_hash = c.public_key_hash AND o.key_holder <> c.key_holder)";
    let revoked = "SELECT count(*) FROM certificate AS c WHERE revoked <> coalesce((\
        SELECT CASE r.reason WHEN 6 THEN 1 ELSE 2 END FROM revocation AS r \
        WHERE r.issuer = c.issuer AND r.serial = c.serial), 0)";
    for sql in [duplicate, reused, revoked] {
        assert_eq!(number(registry, sql).await, 0, "{sql}");
    }
}

pub(crate) async fn number(registry: &Registry, sql: &str) -> i64 {
    registry.database().fetch_one(sql, params![]).await.unwrap().get(0).unwrap()
}
